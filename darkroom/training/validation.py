"""How good the network is while it is trained: fixed photos of known truth, scored now and then."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from darkroom.color.render import render
from darkroom.color.white_balance import balance_white
from darkroom.errors import UsageError
from darkroom.evaluation.chart import COLOR, WHITE_BALANCE
from darkroom.evaluation.simulated import (
    RATIOS,
    PictureScore,
    Scene,
    amplification,
    name_ratio,
    photograph_scene,
    read_scenes,
    score_picture,
    true_noise,
)
from darkroom.models.architectures.base import Conditions, State
from darkroom.models.architectures.safelight import SAFELIGHT, condition
from darkroom.mosaic.packing import BAYER, linearise, pack
from darkroom.raw.image import CFA

PICTURES = 12
SIDE, GRID = 288, 96
"""The middle of each picture is scored, sides of at most so many pixels, in whole steps of GRID: on
this grid both kinds of sensor need no padding."""


@dataclass(frozen=True, slots=True)
class ValidationPhoto:
    """A photo of a scene as the network takes it: (C, h, w), amplified and white-balanced."""

    scene: Scene
    packed: Tensor


@dataclass(frozen=True, slots=True)
class Validation:
    """The fixed photos, by ratio; the same pictures make the same photos, to the bit."""

    photos: dict[float, list[ValidationPhoto]]

    @classmethod
    def simulate(cls, folder: Path, cfa: CFA = BAYER) -> "Validation":
        """Simulate photos of the first pictures of a folder. Raises UsageError without any."""
        scenes = [scene.crop_middle(SIDE, GRID) for scene in read_scenes(folder)[:PICTURES]]
        for scene in scenes:
            if scene.codes.size == 0:
                raise UsageError(f"{folder / scene.name}: give pictures of {GRID}x{GRID} or more")
        return cls({ratio: [_photo(one, ratio, cfa) for one in scenes] for ratio in RATIOS})

    @torch.no_grad()
    def score(self, state: State) -> dict[str, PictureScore]:
        """Return mean scores of safelight's weights at each ratio, told the true noise."""
        network, scores = SAFELIGHT.build(state), {}
        for ratio, photos in self.photos.items():
            body = condition(network, Conditions.of(true_noise(ratio), WHITE_BALANCE))
            place = next(body.parameters()).device
            found = [
                score_picture(render(body(photo.packed[None].to(place))[0], COLOR), photo.scene)
                for photo in photos
            ]
            scores[name_ratio(ratio)] = PictureScore(
                fmean(one.psnr for one in found), fmean(one.ssim for one in found)
            )
        return scores


def _photo(scene: Scene, ratio: float, cfa: CFA) -> ValidationPhoto:
    raw = photograph_scene(scene, ratio, cfa)
    packed = torch.from_numpy(pack(linearise(raw), cfa)) * amplification(ratio)
    return ValidationPhoto(scene, balance_white(packed, COLOR))
