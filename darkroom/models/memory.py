"""How much memory a network needs for its tiles, and how much it may use."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from darkroom.mosaic.packed_photo import PackedPhoto

CPU_LIMIT = 1_500_000_000
"""Bytes of tensors that a tile may take on the processor, however much is free.

Larger tiles gain little. With libraries, the mosaic, the packed photo and a 16-bit picture a photo
of 100 MP then stays well below 4 GB (3.8 GB were measured with 2 GB here).
"""

SHARE = 0.6
"""Part of the free memory that is planned for; the rest is for what grows meanwhile."""

OVERHEAD = 1.3
"""Scratch memory of convolutions, on top of the tensors, as a factor."""

PROBE = 64
"""Packed pixels along the side of the sample on which the need is measured."""


def budget(device: torch.device) -> int:
    """Return the bytes that a tile may take on a device, from what is free at this moment."""
    return usable(device) if device.type == "cuda" else min(usable(device), CPU_LIMIT)


def usable(device: torch.device) -> int:
    """Return the bytes that may be planned for on a device, of what is free at this moment."""
    if device.type == "cuda":
        # What torch keeps of earlier tiles is free for the next one.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int((torch.cuda.mem_get_info(device)[0] + kept) * SHARE)
    return int(min(psutil.virtual_memory().available, cgroup_free()) * SHARE)


def cgroup_free(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes left below this process's control-group limits; huge where there are none.

    Versions 1 and 2; the page cache that the kernel can drop counts as free.
    """
    if not own.is_file():
        return 2**63
    left = [2**63]
    for line in own.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "memory" if "memory" in controllers.split(",") else root
        if controllers and base == root:
            continue
        names = ("memory.max", "memory.current", "inactive_file")
        if controllers:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(base):
                left.append(_left(place, *names))
    return min(left)


def _left(folder: Path, limit: str, usage: str, cache: str) -> int:
    """Return the bytes left in one control group, huge where it sets no limit."""
    if not (folder / limit).is_file() or not (folder / usage).is_file():
        return 2**63
    most = (folder / limit).read_text(encoding="utf-8").strip()
    if not most.isdigit():
        return 2**63
    used = int((folder / usage).read_text(encoding="utf-8"))
    stat = folder / "memory.stat"
    lines = stat.read_text(encoding="utf-8").splitlines() if stat.is_file() else []
    droppable = sum(int(line.split()[1]) for line in lines if line.split()[0] == cache)
    return max(int(most) - used + droppable, 0)


def bytes_per_pixel(
    model: Callable[[Tensor], Tensor], packed: Tensor | PackedPhoto, multiple: int
) -> float:
    """Measure the bytes of tensors alive at once per packed pixel, by running a small sample."""
    side = -(-PROBE // multiple) * multiple
    sample = torch.zeros(1, packed.shape[0], side, side)
    peak = _Peak()
    with peak:
        model(sample)
    return peak.bytes * OVERHEAD / side**2


class _Peak(TorchFunctionMode):
    """Counts the bytes of all tensors that are made inside and alive at the same time.

    A dispatch mode would see more of them, but importing it takes a second and a half.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._live: dict[int, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._live:
            self._live[key] = storage.nbytes()
            weakref.finalize(storage, self._live.pop, key, None)
            self.bytes = max(self.bytes, sum(self._live.values()))
