"""The papers' scoring scripts written out plainly once more, against ours, on SID's own layout.

Each literal script reads RAW files with rawpy, packs, runs a network written as published with the
same weights, and scores with scikit-image; nothing of darkroom's is in it but that network's
description, `darkroom.evaluation.published`, which shares no code with `darkroom.models`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import rawpy
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sid_layout import write_sid
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from darkroom.evaluation.contenders import Protocol, contend, contend_libraw
from darkroom.evaluation.decoded_pairs import DecodedAnew
from darkroom.evaluation.paired import score_pairs
from darkroom.evaluation.published.sid import LAVI
from darkroom.evaluation.published.sid_tensorflow import pack_bayer, pack_xtrans
from darkroom.evaluation.scores import Metric
from darkroom.models.loading import load_model
from darkroom.models.tiling import Edges
from darkroom.mosaic.packing import XTRANS
from darkroom.pairs.layouts import read_pairs
from darkroom.pipeline import Options

DB = 0.01
"""What the issue allows. Ours goes through 16-bit codes, and so does the literal reference."""
Picture = NDArray[np.float32]
Scores = tuple[float, float]


@pytest.fixture(name="listed", scope="module")
def listed_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sid(tmp_path_factory.mktemp("sid"))


@pytest.fixture(name="weights", scope="module")
def weights_fixture() -> Mapping[str, Tensor]:
    return LAVI.weights(4, 3)


def postprocess(path: Path) -> Picture:
    """The reference of every script: LibRaw, camera white balance, 16 bits."""
    with rawpy.imread(str(path)) as raw:
        image = raw.postprocess(
            use_camera_wb=True, half_size=False, no_auto_bright=True, output_bps=16
        )
    return np.float32(image / 65535.0)


def run_lavi(weights: Mapping[str, Tensor], packed: NDArray[np.float32]) -> Picture:
    """Run the network in float64; (H, W, 3) from 0 to 1."""
    exact = {name: weight.double() for name, weight in weights.items()}
    picture = LAVI.network(exact, torch.from_numpy(packed).double())
    return np.clip(picture.permute(1, 2, 0).float().numpy(), 0, 1)


def run_sid(weights: Mapping[str, Tensor], path: Path, ratio: float) -> Picture:
    """SID's test script: black 512, white 16383, times the ratio, at most 1; clipped at the end."""
    with rawpy.imread(str(path)) as raw:
        visible = raw.raw_image_visible.astype(np.float32)
    light = np.maximum(visible - 512, 0) / (16383 - 512)
    packed = np.minimum(pack_bayer(light) * ratio, 1.0).astype(np.float32)
    return run_lavi(weights, packed)


def score_cydonia(output: Picture, truth: Picture) -> Scores:
    """cydonia999: 0 to 255, not rounded, Gaussian windows, the population's covariance."""
    x, y = truth * np.float32(255), output * np.float32(255)
    similarity = structural_similarity(
        x, y, data_range=255, gaussian_weights=True, use_sample_covariance=False, channel_axis=2
    )
    return peak_signal_noise_ratio(x, y, data_range=255), similarity


def score_llpacknet(output: Picture, truth: Picture) -> Scores:
    """LLPackNet's test.py: both to uint8 by truncation, scikit-image's defaults."""
    x, y = ((np.clip(one, 0, 1) * 255).astype(np.uint8) for one in (truth, output))
    return peak_signal_noise_ratio(x, y), structural_similarity(x, y, channel_axis=2)


def score_floats(output: Picture, truth: Picture) -> Scores:
    """The plain metric on values in [0, 1]."""
    similarity = structural_similarity(truth, output, data_range=1, channel_axis=2)
    return peak_signal_noise_ratio(truth, output, data_range=1), similarity


def name_ratio(name: str) -> float:
    """SID's own reading of the names: the times at their ends, at most 300."""
    short = float(name[9:-1])
    return min(10.0 / short, 300)


SCRIPTS: dict[str, tuple[Callable[[Picture, Picture], Scores], str, str]] = {
    "sid": (score_floats, "psnr", "ssim"),
    "8bit": (score_llpacknet, "psnr_8bit", "ssim_8bit"),
    "gaussian": (score_cydonia, "psnr", "ssim_gaussian"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scores_are_those_of_the_published_script(
    listed: Path, weights: Mapping[str, Tensor], script: str, tmp_path: Path
) -> None:
    """SSIM to 1e-4, which is what 0.01 dB is at these scores."""
    torch.set_num_threads(1)
    save_file(dict(weights), tmp_path / "sid.safetensors")
    model = load_model(f"sid={tmp_path / 'sid.safetensors'}", "cpu", "fp32")
    ours = contend("sid", "", model, Options(), Protocol())
    metrics = [Metric.SID, Metric(script)]
    with DecodedAnew() as decoded:
        found = [one for _, one in score_pairs(read_pairs(listed), [ours], metrics, decoded)]
    score, psnr, ssim = SCRIPTS[script]
    assert [one.gain for one in found] == [100, 250, 300]
    for one in found:
        truth = postprocess(listed.parent / "Sony" / "long" / f"{one.scene}_00_10s.ARW")
        short = listed.parent / "Sony" / "short" / f"{one.name}.ARW"
        expected = score(run_sid(weights, short, name_ratio(one.name)), truth)
        assert one.figures[psnr] == pytest.approx(expected[0], abs=DB)
        assert one.figures[ssim] == pytest.approx(expected[1], abs=1e-4)


def test_fuji_is_cropped_and_scored_as_by_the_published_script(tmp_path: Path) -> None:
    """SID's test_Fuji.py: what is beyond whole blocks of 6 is cut, of the reference too.

    LibRaw demosaics no X-Trans photo smaller than this.
    """
    torch.set_num_threads(1)
    shorts = [("10019", "00", "0.1", "10")]
    listed = write_sid(tmp_path, shorts, size=(514, 521), cfa=XTRANS.pattern, ending="RAF")
    weights = LAVI.weights(9, 4)
    save_file(dict(weights), tmp_path / "sid.safetensors")
    model = load_model(tmp_path / "sid.safetensors", "cpu", "fp32")
    ours = contend("sid", "", model, Options(edges=Edges.CROP), Protocol())
    with DecodedAnew() as decoded:
        ((_, one),) = score_pairs(
            read_pairs(listed), [ours], [Metric.SID, Metric.GAUSSIAN], decoded
        )
    with rawpy.imread(str(tmp_path / "Sony" / "short" / "10019_00_0.1s.RAF")) as raw:
        visible = raw.raw_image_visible.astype(np.float32)
    light = np.maximum(visible - 512, 0) / (16383 - 512)
    packed = np.minimum(pack_xtrans(light) * 100, 1.0).astype(np.float32)
    output = run_lavi(weights, packed)
    assert output.shape == (510, 516, 3)
    truth = postprocess(tmp_path / "Sony" / "long" / "10019_00_10s.RAF")[:510, :516]
    expected = score_cydonia(output, truth)
    assert one.figures["psnr"] == pytest.approx(expected[0], abs=DB)
    assert one.figures["ssim_gaussian"] == pytest.approx(expected[1], abs=1e-4)


def test_libraw_is_scaled_as_the_published_script_has_it(listed: Path) -> None:
    """SID's `scale_full`; its own rounding to 8 bits is left out, as for the metric sid."""
    with DecodedAnew() as decoded:
        libraw = contend_libraw(decoded)
        found = [one for _, one in score_pairs(read_pairs(listed), [libraw], [Metric.SID], decoded)]
    for one in found:
        truth = postprocess(listed.parent / "Sony" / "long" / f"{one.scene}_00_10s.ARW")
        dark = postprocess(listed.parent / "Sony" / "short" / f"{one.name}.ARW")
        scaled = np.clip(dark * (np.mean(truth) / np.mean(dark)), 0, 1)
        expected = score_floats(scaled, truth)
        assert one.gain is None
        assert one.figures["psnr"] == pytest.approx(expected[0], abs=DB)
        assert one.figures["ssim"] == pytest.approx(expected[1], abs=1e-4)
