"""The need of a network, measured, and what control groups leave."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from darkroom.models import memory


def test_bytes_per_pixel_counts_what_is_alive_at_once():
    def network(packed: torch.Tensor) -> torch.Tensor:
        wide = torch.cat([packed] * 10, dim=1)  # 160 bytes
        wide = wide.sin()  # 320 for a moment, then 160
        return wide[:, :4].cos()  # 176

    packed = torch.zeros(4, 8, 8)
    need = memory.bytes_per_pixel(network, packed, 1)
    assert need == pytest.approx(320 * 1.3, rel=0.02)


def test_the_sample_is_on_the_grid_and_no_smaller_than_the_probe():
    sides = []

    def network(packed: torch.Tensor) -> torch.Tensor:
        sides.append(packed.shape[2:])
        return packed.cos()

    for multiple in (1, 16, 48, 100):
        memory.bytes_per_pixel(network, torch.zeros(4, 8, 8), multiple)
    assert sides == [(64, 64), (64, 64), (96, 96), (100, 100)]


def test_budget_is_what_is_free_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    cpu = torch.device("cpu")
    free = SimpleNamespace(available=10**9)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(memory, "cgroup_free", lambda: 2**63)
    # Two fifths are left for what grows meanwhile.
    assert memory.budget(cpu) == memory.usable(cpu) == 600_000_000
    monkeypatch.setattr(memory, "cgroup_free", lambda: 5 * 10**8)
    assert memory.budget(cpu) == 300_000_000
    monkeypatch.setattr(memory, "cgroup_free", lambda: 2**63)
    free.available = 10**11
    assert memory.usable(cpu) == 60_000_000_000
    assert memory.budget(cpu) == 1_500_000_000


def test_what_torch_keeps_on_cuda_is_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 8 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * 10**9)
    assert memory.budget(torch.device("cuda")) == 1_200_000_000


def test_control_groups_of_version_2(tmp_path: Path):
    inner = tmp_path / "cg" / "user" / "job"
    inner.mkdir(parents=True)
    (tmp_path / "self").write_text("0::/user/job\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("50\n")
    assert memory.cgroup_free(tmp_path / "cg", tmp_path / "self") == 2**63
    (inner.parent / "memory.max").write_text("1000\n")
    (inner.parent / "memory.current").write_text("700\n")
    (inner.parent / "memory.stat").write_text("anon 500\ninactive_file 200\n")
    assert memory.cgroup_free(tmp_path / "cg", tmp_path / "self") == 500
    (inner.parent / "memory.current").write_text("1300\n")
    assert memory.cgroup_free(tmp_path / "cg", tmp_path / "self") == 0


def test_control_groups_of_version_1(tmp_path: Path):
    inner = tmp_path / "cg" / "memory" / "job"
    inner.mkdir(parents=True)
    (tmp_path / "self").write_text("5:cpu:/job\n4:memory:/job\n")
    (inner / "memory.limit_in_bytes").write_text("900\n")
    (inner / "memory.usage_in_bytes").write_text("300\n")
    assert memory.cgroup_free(tmp_path / "cg", tmp_path / "self") == 600


def test_no_control_groups(tmp_path: Path):
    assert memory.cgroup_free(tmp_path, tmp_path / "self") == 2**63
