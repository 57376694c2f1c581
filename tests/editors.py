"""A DNG as editors open it: LibRaw, darktable and RawTherapee, all that they like to add left off.

Also a tool: `python tests/editors.py PHOTO...` enhances photos and says how far editors are off.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rawpy
import tifffile
from numpy.typing import NDArray

Linear = NDArray[np.float64]
"""(H, W, 3) linear sRGB, upright, 1 = the picture's white."""

BLOCK = 8
DARKEST, BRIGHTEST = 0.02, 0.75
"""Below, a percent is less than rounding; above, our own tone curve begins."""
DULLEST = 0.15
"""Of the largest channel, the smallest: more vivid colours our own gamut compression may move."""
SMOOTH = 0.04
"""Standard deviation of the brightest channel in a block, by its mean."""
PROFILE = """[Version]
AppVersion=5.9
Version=349
[Exposure]
Auto=false
Compensation={exposure:.6f}
HistogramMatching=false
ClampOOG=false
[HLRecovery]
Enabled=false
[Sharpening]
Enabled=false
[White Balance]
Enabled=true
Setting=Camera
[Color Management]
InputProfile=(camera)
ToneCurve=false
ApplyLookTable=false
ApplyBaselineExposureOffset=false
ApplyHueSatMap=false
WorkingProfile=ProPhoto
OutputProfile=RTv4_sRGB
OutputProfileIntent=Relative
[LensProfile]
LcMode=none
[RAW]
CA=false
HotPixelFilter=false
DeadPixelFilter=false
"""


def baseline_exposure(dng: Path) -> float:
    with tifffile.TiffFile(dng) as file:
        numerator, denominator = file.pages.first.tags["BaselineExposure"].value
    return float(numerator / denominator)


def green_multiplier(dng: Path) -> float:
    """Return green's white balance, the least being 1: darktable's exposure is relative to it."""
    with tifffile.TiffFile(dng) as file:
        parts = np.array(file.pages.first.tags["AsShotNeutral"].value).reshape(3, 2)
    neutral = parts[:, 0] / parts[:, 1]
    return float(neutral.max() / neutral[1])


def open_in_libraw(dng: Path) -> Linear:
    with rawpy.imread(str(dng)) as raw:
        shown = raw.postprocess(
            gamma=(1, 1),
            no_auto_bright=True,
            use_camera_wb=True,
            output_bps=16,
            adjust_maximum_thr=0,
            bright=2 ** baseline_exposure(dng),
        )
    return np.asarray(shown / 65535)


def open_in_darktable(dng: Path) -> Linear:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.tif"
        options = ["--icc-type", "LIN_REC709", "--core", "--configdir", folder, "--library"]
        options += [":memory:", "--disable-opencl", "--conf", "plugins/darkroom/workflow=none"]
        options += ["--conf", "plugins/imageio/format/tiff/bpp=32"]
        options += ["--conf", "plugins/imageio/format/tiff/compress=0"]
        _run("darktable-cli", str(dng), str(out), *options)
        scale = 2 ** baseline_exposure(dng) * green_multiplier(dng)
        return np.asarray(tifffile.imread(out)[..., :3] * scale)


def open_in_rawtherapee(dng: Path) -> Linear:
    with TemporaryDirectory() as folder:
        out, profile = Path(folder) / "out.tif", Path(folder) / "neutral.pp3"
        profile.write_text(PROFILE.format(exposure=baseline_exposure(dng)))
        _run("rawtherapee-cli", "-o", str(out), "-p", str(profile), "-t", "-b16", "-c", str(dng))
        return decode(tifffile.imread(out) / 65535)


EDITORS: dict[str, Callable[[Path], Linear]] = {
    "libraw": open_in_libraw,
    "darktable-cli": open_in_darktable,
    "rawtherapee-cli": open_in_rawtherapee,
}


def is_there(editor: str) -> bool:
    return editor == "libraw" or shutil.which(editor) is not None


def decode(codes: NDArray[np.floating]) -> Linear:
    """Undo sRGB's curve."""
    low = codes / 12.92
    return np.asarray(np.where(codes <= 0.04045, low, ((codes + 0.055) / 1.055) ** 2.4))


def differences(ours: Linear, theirs: Linear, *, border: int = 16) -> Linear:
    """Return how far each channel of smooth blocks is off, as a share of the brightest one."""
    size = [
        (min(a, b) - 2 * border) // BLOCK * BLOCK
        for a, b in zip(ours.shape, theirs.shape, strict=True)
    ][:2]
    blocks = []
    for picture in (ours, theirs):
        top, left = ((whole - part) // 2 for whole, part in zip(picture.shape, size, strict=False))
        part = picture[top : top + size[0], left : left + size[1]]
        blocks.append(part.reshape(size[0] // BLOCK, BLOCK, size[1] // BLOCK, BLOCK, 3))
    means = [part.mean(axis=(1, 3)) for part in blocks]
    high, low = means[0].max(axis=2), means[0].min(axis=2)
    deviation = blocks[0].max(axis=4).std(axis=(1, 3)) / high.clip(1e-9)
    chosen = (high < BRIGHTEST) & (high > DARKEST) & (low > DULLEST * high) & (deviation < SMOOTH)
    return np.asarray((means[1] - means[0])[chosen] / high[chosen][:, None])


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def main(photos: list[str]) -> None:
    for photo in photos:
        with TemporaryDirectory() as folder:
            ours, dng = Path(folder) / "ours.tif", Path(folder) / "linear.dng"
            for out, more in ((ours, ["--bits", "16"]), (dng, [])):
                command = [sys.executable, "-m", "darkroom", "enhance", photo, "-o", str(out), "-q"]
                _run(*command, *more)
            picture = decode(tifffile.imread(ours) / 65535)
            sys.stdout.write(f"{Path(photo).name}: {baseline_exposure(dng):+.3f} EV\n")
            for name in filter(is_there, EDITORS):
                off = differences(picture, EDITORS[name](dng))
                worst = np.percentile(np.abs(off), (50, 95), axis=0).max(axis=1)
                mean = ", ".join(f"{value:+.2%}" for value in np.median(off, axis=0))
                line = f"  {name}: median {worst[0]:.2%}, 95 % within {worst[1]:.2%}; {mean}"
                sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
