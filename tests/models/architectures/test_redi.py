"""REDI, for Bayer and X-Trans, against the network as published."""

from pathlib import Path

import numpy as np
import parity
import pytest
import torch
from places import SHARED

from darkroom.evaluation.published import Published
from darkroom.evaluation.published import redi as published
from darkroom.models.architectures import ARCHITECTURES, identify, redi, redi_xtrans
from darkroom.models.architectures.base import Architecture, State, shapes_of
from darkroom.models.tiling import run_tiled
from darkroom.mosaic.packing import BAYER, pack
from darkroom.raw.image import Sensor
from darkroom.weights.checkpoint import read_checkpoint

(REDI,) = redi.ARCHITECTURES
(XTRANS,) = redi_xtrans.ARCHITECTURES
KNOWN = {one.name: one for one in (REDI, XTRANS)}
PLAIN = [one for one in published.PUBLISHED if one.network in KNOWN]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def checkpoint(architecture: Architecture = REDI) -> State:
    """Weights in the authors' own form."""
    return next(one for one in PLAIN if one.network == architecture.name).weights(0)


@pytest.mark.parametrize("one", PLAIN, ids=lambda one: f"{one.network}, {one.dialect}")
def test_every_form_as_published(tmp_path: Path, one: Published) -> None:
    """From a file to a photo whose size is a multiple of nothing."""
    state = one.weights(1)
    model = parity.load_published(one, state, tmp_path / "weights")
    assert model.architecture is KNOWN[one.network]
    assert parity.error(one, state, model) < parity.TOLERANCE


@pytest.mark.parametrize(
    "form",
    [
        published.RediForm(weight_norm="weight_g"),
        published.RediForm(),
        published.RediForm(joined=2),
        published.RediForm(depths=(4, 5), joined=2),
    ],
    ids=["weight norm", "folded", "two of three blocks", "two blocks"],
)
def test_folding_is_exact(form: published.RediForm) -> None:
    state = {key: t.double() for key, t in published.make_weights(form, 2).items()}
    packed = torch.rand(2, 4, 32, 48, dtype=torch.float64) * 0.6
    with torch.inference_mode():
        wanted = published.load_network(form, state)(packed)
        found = redi._build(REDI.convert(state))(packed)
    assert wanted.std() > 0.05  # or there would be nothing to compare
    # Sums of thousands of float64 products.
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def test_the_authors_code_crops_photos_off_its_grid() -> None:
    for architecture, shape in ((REDI, (96, 64, 3)), (XTRANS, (96, 48, 3))):
        one = next(one for one in PLAIN if one.network == architecture.name)
        mosaic = parity.random_mosaic(one)  # 106 x 74, or 102 x 72
        picture = one.picture(one.weights(1), mosaic)
        assert picture.shape == shape
        inside = one.picture(one.weights(1), mosaic[: shape[0], : shape[1]])
        np.testing.assert_array_equal(picture, inside)


def test_parameter_counts_are_the_published_ones() -> None:
    sizes = [sum(map(int, map(np.prod, dialect.values()))) for dialect in REDI.dialects]
    # Source: REDI's paper, table 1; the reduction's authors, who still count the unused block.
    assert sizes[0] == 784_768
    norms = sum(shape[0] for shape in REDI.dialects[2].values() if len(shape) == 4)
    assert sizes[2] + norms == 780_672


def test_facts() -> None:
    assert REDI.sensor is Sensor.BAYER
    assert (REDI.channels, REDI.scale, REDI.multiple) == (4, 2, 16)
    assert XTRANS.sensor is Sensor.XTRANS
    assert (XTRANS.channels, XTRANS.scale, XTRANS.multiple) == (9, 3, 16)


def test_shapes_tell_the_two_sensors_apart() -> None:
    for architecture in (REDI, XTRANS):
        shapes = shapes_of(checkpoint(architecture))
        assert identify(shapes) is architecture
        assert [a.name for a in ARCHITECTURES if a.recognise(shapes)] == [architecture.name]


@pytest.mark.parametrize("architecture", [REDI, XTRANS], ids=lambda one: one.name)
def test_halo_is_the_reach_of_an_impulse(architecture: Architecture) -> None:
    state = {name: tensor.double() for name, tensor in checkpoint(architecture).items()}
    network = architecture.build(architecture.convert(state))
    size, scale = 2 * architecture.halo + 36, architecture.scale
    packed = torch.rand(1, architecture.channels, size // 16 * 16, 16, dtype=torch.float64) * 0.5
    reach = 0
    with torch.inference_mode():
        plain = network(packed)
        for row in (304, 307, 319):
            changed = packed.clone()
            changed[:, :, row] += 1
            rows = (network(changed) - plain).abs().amax((0, 1, 3)).nonzero().flatten() // scale
            reach = max(reach, row - int(rows[0]), int(rows[-1]) - row)
    assert architecture.halo - 16 < reach <= architecture.halo


def test_tiles_of_xtrans_equal_the_whole(tmp_path: Path) -> None:
    one = next(one for one in PLAIN if one.network == "redi-xtrans")
    model = parity.load_published(one, one.weights(1), tmp_path / "weights")
    packed = torch.rand(9, 650, 22) * 0.7 - 0.1
    whole, tiled = run_tiled(model, packed, "off"), run_tiled(model, packed, 144)
    assert whole.shape == (3, 1950, 66)
    # The same float32 numbers in convolutions of another size.
    torch.testing.assert_close(whole, tiled, rtol=0, atol=1e-5)


PUBLISHED = sorted((SHARED / "data/sid/short").glob("*.dng"))


@pytest.mark.skipif(not PUBLISHED, reason="needs the published checkpoint and its outputs")
@pytest.mark.parametrize("path", PUBLISHED[::5], ids=lambda path: path.stem)
def test_published_weights_give_the_published_pictures(path: Path) -> None:
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
    if path == PUBLISHED[0]:  # and so does the network that darkroom's is held against
        plain = PLAIN[0].picture(state, mosaic * 100)
        assert np.abs(plain * 65535.0 - expected).max() < 1
