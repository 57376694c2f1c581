"""Data sets of pairs made from clean pictures: dark RAWs and their long exposures, as SID has them.

With them the published systems can be trained and scored where SID itself, 77 GB, is not at hand,
and for a camera of one's choice. The sensor is the one of `simulated`, its noise measured on SID.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from darkroom.color.transfer import bt709_encode, srgb_decode
from darkroom.errors import UsageError
from darkroom.evaluation.simulated import Scene, photograph_scene
from darkroom.mosaic.packing import BAYER
from darkroom.output.atomic import atomic_write, make_folder
from darkroom.output.dng import write_dng
from darkroom.output.png import write_png
from darkroom.raw.image import CFA, Color, Exposure, RawImage, Sensor

LONG_SECONDS = 10.0
"""Exposure time of the references. Source: most of SID's have it, as their names say."""
LISTS = ("train_list.txt", "test_list.txt")
TEST_ID = 11_000
"""Added to the numbers of test scenes: SID's 1xxxx, past those that it calls misaligned."""
GRID = 6
"""Photosites in whose steps scenes are cut, so that both kinds of sensor end with a block."""
MIN_SIDE = 96
MIN_XTRANS_SIDE = 516
"""LibRaw develops no X-Trans photos below 512, so they could be no references; 510 is in GRID."""
MAX_SCENES = 8_999


@dataclass(frozen=True, slots=True)
class PairsRequest:
    """What a data set of simulated pairs is made with.

    `ratios`: one dark photo of each scene for each, 1 to 1000. `shots`: photos of a scene at one
    ratio, each with noise of its own. `camera`, `color`: the sensor's name and colours. `raw_long`:
    whether the references are RAW photos too, noise and all, and not the scenes themselves.
    `test_every`: every such scene is for testing; 0 for none. `side`: of the squares cut from the
    middles of the pictures, in photosites; 0 for whole pictures.
    """

    camera: str
    color: Color
    ratios: tuple[float, ...] = (100.0,)
    shots: int = 1
    cfa: CFA = BAYER
    raw_long: bool = False
    test_every: int = 5
    side: int = 0

    def __post_init__(self) -> None:
        if not self.ratios or not all(1 <= ratio <= 1000 for ratio in self.ratios):
            raise UsageError("--ratio: give numbers from 1 to 1000")


def write_pairs(
    scenes: Sequence[Scene], folder: Path, request: PairsRequest, overwrite: bool = False
) -> Iterator[Path]:
    """Write `folder`/short, `folder`/long and, last, the lists in SID's format.

    References that are no RAWs are 16-bit PNGs with the curve of BT.709, as LibRaw gives SID's.
    The same scenes and request give the same files. Yields each short exposure once it is written.
    Raises UsageError for scenes that are too small or too many, OutputError
    where something cannot be written or is there already.
    """
    if len(scenes) > MAX_SCENES:
        raise UsageError(f"{len(scenes)} pictures: SID's numbers end at {MAX_SCENES}; give fewer")
    cut = [_cut(scene, request) for scene in scenes]
    for name in ("short", "long"):
        make_folder(folder / name)
    lines: dict[str, list[str]] = {name: [] for name in LISTS}
    for number, scene in enumerate(cut, start=1):
        testing = request.test_every > 0 and number % request.test_every == 0
        scene_id = f"{number + TEST_ID * testing:05d}"
        long = f"long/{scene_id}_00_{LONG_SECONDS:g}s.{'dng' if request.raw_long else 'png'}"
        _write_long(scene, folder / long, request, overwrite)
        for ratio in request.ratios:
            seconds = LONG_SECONDS / ratio
            for shot in range(request.shots):
                short = f"short/{scene_id}_{shot:02d}_{seconds:.4g}s.dng"
                photo = _photograph(scene, request, ratio, shot)
                with atomic_write(folder / short, overwrite) as stream:
                    write_dng(stream, photo)
                lines[LISTS[testing]].append(f"./{short} ./{long} ISO0 F0\n")
                yield folder / short
    for name, text in lines.items():
        if text:
            with atomic_write(folder / name, overwrite) as stream:
                stream.write("".join(text).encode())


def _cut(scene: Scene, request: PairsRequest) -> Scene:
    cut = scene.crop_middle(request.side or max(scene.codes.shape[:2]), GRID)
    is_developed = request.raw_long and request.cfa.sensor is Sensor.XTRANS
    least = MIN_XTRANS_SIDE if is_developed else MIN_SIDE
    if min(cut.codes.shape[:2]) < least:
        raise UsageError(f"{scene.name}: give pictures, and --size, of {least} pixels or more")
    return cut


def _photograph(scene: Scene, request: PairsRequest, ratio: float, shot: int = 0) -> RawImage:
    photo = photograph_scene(scene, ratio, request.cfa, request.color, shot)
    exposure = Exposure(seconds=LONG_SECONDS / ratio)
    return replace(photo, camera=request.camera, exposure=exposure)


def _write_long(scene: Scene, path: Path, request: PairsRequest, overwrite: bool) -> None:
    with atomic_write(path, overwrite) as stream:
        if request.raw_long:
            write_dng(stream, _photograph(scene, request, 1.0))
            return
        seen = bt709_encode(srgb_decode(scene.picture.double()))
        codes = torch.round(seen * np.iinfo(np.uint16).max).permute(1, 2, 0).numpy()
        write_png(stream, codes.astype(np.uint16))
