"""Whole photos: tiles, colours, highlights, memory that runs out, several devices, batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import synthetic_raw
from numpy.typing import NDArray
from PIL import Image

from darkroom.batch.devices import load_models
from darkroom.batch.run import BatchOptions, enhance_all
from darkroom.color.highlights import Highlights
from darkroom.gain import given_gain
from darkroom.models.device import count_devices
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.output.dng import write_dng
from darkroom.pipeline import Options, enhance
from darkroom.raw.image import RawImage

GAIN = given_gain(30.0)


def photo(cfa: str = "RGGB", size: tuple[int, int] = (480, 606)) -> RawImage:
    """A dark photo with a lamp, which is above white and makes the network run again there."""
    raw = synthetic_raw(*size, cfa=cfa, exposure=0.03)
    raw.mosaic[100:140, 200:260] = 15000
    return raw


def codes_off(found: NDArray[Any], wanted: NDArray[Any]) -> dict[str, float]:
    off = np.abs(found.astype(np.float64) - wanted)
    return {"mean": off.mean(), "p99.9": float(np.quantile(off, 0.999)), "max": off.max()}


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
@pytest.mark.parametrize(("bits", "precision", "limit"), [
    (8, "fp32", 1), (16, "fp32", 26), (8, "bf16", 1),
])  # fmt: skip
def test_pictures_are_the_processors(
    cfa: str,
    bits: int,
    precision: str,
    limit: float,
    device: torch.device,
    figures: dict[str, Any],
) -> None:
    """To one code of 255 at the 99.9th percentile; at 16 bits in float32 to a tenth of that."""
    options, raw = Options(GAIN, bits=bits), photo(cfa)
    wanted = enhance(raw, load_model("safelight", "cpu", "fp32", bits=bits), options)
    model = load_model("safelight", str(device), precision, bits=bits)
    found = enhance(raw, model, options)
    assert found.pixels.dtype == wanted.pixels.dtype
    off = codes_off(found.pixels, wanted.pixels)
    figures.setdefault("pictures", {})[f"{cfa}, {bits} bits, {precision}"] = off
    assert off["p99.9"] <= limit


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
def test_tiled_equals_whole(cfa: str, device: torch.device) -> None:
    """In float32, to one code of 65535 at the 99.9th percentile: sums go in another order.

    Highlights are clipped, for where a lamp is they are merged from windows, which tiles cut.
    """
    clip = Highlights.CLIP
    model = load_model("safelight", str(device), "fp32", bits=16)
    whole = enhance(photo(cfa), model, Options(GAIN, bits=16, tile="off", highlights=clip))
    tiled = enhance(photo(cfa), model, Options(GAIN, bits=16, tile=192, highlights=clip))
    assert codes_off(tiled.pixels, whole.pixels)["p99.9"] <= 1


@contextmanager
def little_memory(device: torch.device, patch: pytest.MonkeyPatch, size: int) -> Iterator[None]:
    """Leave a CUDA device so many bytes; in its place have the network refuse large tiles."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.mem_get_info(device)[1]
        held = torch.cuda.memory_reserved(device)
        torch.cuda.set_per_process_memory_fraction(min(1.0, (held + size) / total), device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        return
    before, on_cpu, fallen = Model.__call__, Model.on_cpu, []

    def call(self: Model, packed: torch.Tensor) -> torch.Tensor:
        if not fallen and packed.numel() * 4000 > size:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return before(self, packed)

    def fall(self: Model) -> Model:
        fallen.append(True)
        return on_cpu(self)

    with patch.context() as inner:
        inner.setattr(Model, "__call__", call)
        inner.setattr(Model, "on_cpu", fall)
        yield


@pytest.mark.parametrize("megabytes", [1000, 60, 1])
def test_memory_runs_out(
    megabytes: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles are halved, then the processor goes on; the picture is there, whole and the same."""
    raw = photo(size=(1200, 1600))
    options = Options(GAIN, tile="off", highlights=Highlights.CLIP)
    wanted = enhance(raw, load_model("safelight", "cpu", "fp32"), options)
    model = load_model("safelight", str(device), "fp32")
    with little_memory(device, monkeypatch, megabytes * 10**6):
        found = enhance(raw, model, options)
    assert codes_off(found.pixels, wanted.pixels)["p99.9"] <= 1
    said = [line for line in found.warnings if "out of memory" in line]
    assert sum("processor" in line for line in said) <= 1
    if megabytes == 1:
        assert "processor" in said[-1]


def test_batches_over_all_devices(device: torch.device, tmp_path: Path) -> None:
    """As many models as devices, two on one where there is one; pictures as of single photos."""
    count = count_devices(device.type) if device.type != "cpu" else 1
    if count > 1:
        models = load_models("safelight", f"{device.type}:all", "fp32")
    else:
        models = load_models("safelight", str(device), "fp32") * 2
    assert len(models) >= 2
    for number in range(8):
        raw = synthetic_raw(240, 320, seed=number, exposure=0.02)
        write_dng(tmp_path / f"p{number}.dng", raw)
    options = BatchOptions(Options(GAIN), jobs=2)
    outcomes = list(enhance_all([tmp_path], tmp_path / "out", models, options))
    assert {outcome.status.value for outcome in outcomes} == {"done"}
    assert {outcome.device for outcome in outcomes} <= {str(model.device) for model in models}
    from darkroom.raw.reader import read_raw

    for number in range(8):
        wanted = enhance(read_raw(tmp_path / f"p{number}.dng"), models[0], options.picture)
        with Image.open(tmp_path / "out" / f"p{number}.png") as found:
            off = codes_off(np.asarray(found), wanted.pixels)
        assert off["p99.9"] <= 1
