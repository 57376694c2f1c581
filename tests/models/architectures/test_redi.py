"""REDI against a second, literal network made from its published description and tensor names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from places import SHARED
from torch import Tensor
from torch.nn import functional

from darkroom.models.architectures import identify, redi
from darkroom.models.architectures.base import State, shapes_of
from darkroom.models.loading import load_model
from darkroom.models.tiling import run_tiled
from darkroom.mosaic.packing import BAYER, pack
from darkroom.raw.image import Sensor
from darkroom.weights.checkpoint import read_checkpoint

(REDI,) = redi.ARCHITECTURES
DIALECTS = ["weight norm", "folded", "two of three blocks", "two blocks"]


def checkpoint(dialect: int, seed: int = 0) -> State:
    """A seeded random checkpoint under the published names, of gain near 1 per layer."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in REDI.dialects[dialect].items():
        draw = torch.randn(*shape, dtype=torch.float64, generator=generator)
        if name.endswith("_g"):
            state[name] = 1 + 0.2 * draw
        elif len(shape) == 4:
            state[name] = draw / np.prod(shape[1:]) ** 0.5
        else:
            state[name] = draw * 0.1
    return state


def literal(state: State, packed: Tensor) -> Tensor:
    """REDI as its paper describes it: no folding, the authors' shuffles, one step after another."""

    def conv(x: Tensor, name: str, groups: int = 1) -> Tensor:
        if f"{name}.weight_v" in state:
            v, g = state[f"{name}.weight_v"], state[f"{name}.weight_g"]
            weight = v * (g / v.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
        else:
            weight = state[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        return functional.conv2d(x, weight, state.get(f"{name}.bias"), 1, padding, 1, groups)

    def block(x: Tensor, name: str, layers: int) -> Tensor:
        seen = x
        for j in range(layers):
            middle = 0 < j < layers - 1
            entry = torch.where(seen > 0, seen, 0.2 * seen) if middle else seen
            layer = f"{name}.dense_layers.{j}.conv.{min(j, 1)}"
            seen = torch.cat([seen, conv(entry, layer)], dim=1)
        return x + conv(seen, f"{name}.conv_1x1.0")

    packed = packed.clamp(min=0)
    first = conv(functional.pixel_unshuffle(packed, 16), "conv32x.0.0", groups=128)
    first = conv(first, "conv32x.1.0")
    joined = next(v for k, v in state.items() if k in ("rdball.0.weight", "rdball.0.weight_v"))
    x, outputs = first, []
    for i, layers in zip(range(joined.shape[1] // 64), (4, 5, 5), strict=False):
        x = block(x, f"RDB{i + 1}", layers)
        outputs.append(x)
    coarse = first + conv(torch.cat(outputs, dim=1), "rdball.0")
    coarse = conv(functional.pixel_shuffle(coarse, 4), "conv_rdb8x.0")
    eighth = functional.pixel_unshuffle(packed, 4)
    inner = functional.leaky_relu(conv(eighth, "resblock8x.conv1.0"), 0.2)
    eighth = eighth + conv(inner, "resblock8x.conv2.0")
    # Channel shuffle in two groups: the branches' channels alternate.
    both = torch.stack([eighth, coarse], dim=2).flatten(1, 2)
    both = conv(conv(both, "conv32_8_cat.0.0", groups=4), "conv32_8_cat.1.0")
    both = functional.pixel_shuffle(functional.leaky_relu(both, 0.2), 4)
    last = conv(torch.cat([conv(packed, "conv2x.0"), both], dim=1), "conv_2_8_32.0")
    return functional.pixel_shuffle(last, 2).clamp(0, 1)


@pytest.mark.parametrize("dialect", range(4), ids=DIALECTS)
def test_folded_equals_literal(dialect: int):
    state = checkpoint(dialect)
    assert identify(shapes_of(state)) is REDI
    packed = torch.rand(2, 4, 32, 48, dtype=torch.float64) * 0.6 - 0.05
    expected = literal(state, packed)
    assert expected.std() > 0.05  # or there would be nothing to compare
    exact = redi._build(REDI.convert(state))
    # Sums of thousands of float64 products.
    torch.testing.assert_close(exact(packed).detach(), expected, rtol=0, atol=1e-11)
    single = REDI.load(state)(packed.float()).double()
    # Of values up to 1; seen are up to 2e-6.
    torch.testing.assert_close(single, expected, rtol=0, atol=1e-5)


def test_a_checkpoint_for_a_photo_of_any_size(tmp_path: Path):
    """Saved as the authors do, for a photo whose size is a multiple of nothing."""
    state = checkpoint(0)
    torch.save({"model": {name: t.float() for name, t in state.items()}}, tmp_path / "weights")
    model = load_model(tmp_path / "weights", device="cpu", precision="fp32")
    packed = torch.rand(4, 53, 41) * 0.6 - 0.05
    grid = functional.pad(packed[None], (0, 48 - 41, 0, 64 - 53), mode="reflect").double()
    single = {name: t.float().double() for name, t in state.items()}
    expected = literal(single, grid)[0, :, : 2 * 53, : 2 * 41]
    found = run_tiled(model, packed, "off").double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_parameter_counts_are_the_published_ones():
    sizes = [sum(map(int, map(np.prod, dialect.values()))) for dialect in REDI.dialects]
    # Source: REDI's paper, table 1; the reduction's authors, who still count the unused block.
    assert sizes[0] == 784_768
    norms = sum(shape[0] for shape in REDI.dialects[2].values() if len(shape) == 4)
    assert sizes[2] + norms == 780_672


def test_facts():
    assert REDI.sensor is Sensor.BAYER
    assert (REDI.channels, REDI.scale, REDI.multiple) == (4, 2, 16)


def test_halo_is_the_reach_of_an_impulse():
    state = checkpoint(0)
    network = redi._build(REDI.convert(state))
    size = 2 * REDI.halo + 36
    packed = torch.rand(1, 4, size // 16 * 16, 16, dtype=torch.float64) * 0.5
    reach = 0
    with torch.inference_mode():
        plain = network(packed)
        for row in (304, 307, 319):
            changed = packed.clone()
            changed[:, :, row] += 1
            rows = (network(changed) - plain).abs().amax((0, 1, 3)).nonzero().flatten() // 2
            reach = max(reach, row - int(rows[0]), int(rows[-1]) - row)
    assert REDI.halo - 16 < reach <= REDI.halo


PUBLISHED = sorted((SHARED / "data/sid/short").glob("*.dng"))


@pytest.mark.skipif(not PUBLISHED, reason="needs the published checkpoint and its outputs")
@pytest.mark.parametrize("path", PUBLISHED[::5], ids=lambda path: path.stem)
def test_published_weights_give_the_published_pictures(path: Path):
    cv2 = pytest.importorskip("cv2")
    rawpy = pytest.importorskip("rawpy")
    state = read_checkpoint(SHARED / "weights/redi/weights")
    network = identify(shapes_of(state)).load(state).to(memory_format=torch.channels_last)
    with rawpy.imread(str(path)) as raw:
        mosaic = (raw.raw_image_visible.astype(np.float32) - 512) / np.float32(16383 - 512)
    picture = network(torch.from_numpy(pack(mosaic, BAYER))[None] * 100)[0]
    file = SHARED / "data/sid/redi" / f"{path.stem}_x100.png"
    expected = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.float64)
    # Half a code of the stored 16-bit picture, and float32 in another order of summation.
    assert np.abs(picture.permute(1, 2, 0).numpy() * 65535.0 - expected).max() < 1
