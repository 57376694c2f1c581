"""How good a network is while it is trained on pairs: the middles of test photos, now and then."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from darkroom.errors import UsageError
from darkroom.evaluation.image_grid import draw_picture_grid
from darkroom.evaluation.metrics import psnr, ssim
from darkroom.evaluation.simulated import PictureScore, name_ratio
from darkroom.output.atomic import make_folder
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.pairs.exposures import ExposurePair
from darkroom.pairs.store import PairStore
from darkroom.training.pairs.batches import cut_crop, find_frame, stack_crops
from darkroom.training.pairs.networks.base import KINDS, PairBatch, TrainableNetwork

SIDE = 1024
"""Photosites along each side of a middle, at most."""

COUNT = 24
"""Test pairs that are scored, at most; they lie evenly in their list. `evaluate` scores all."""

SHOWN, SHOWN_HEIGHT = 4, 384
"""Pairs on a sheet, and its pictures' height in pixels."""

MAX_RATIOS = 6
"""Ratios whose scores are told one by one; SID has three."""

OVERALL = "all"
SAMPLES = "samples"


@dataclass(frozen=True, slots=True)
class TestPairs:
    """Pairs to score with, or, where none are given to test with, to look at alone."""

    __test__ = False  # for pytest

    store: PairStore
    pairs: tuple[ExposurePair, ...]
    scored: bool = True

    @classmethod
    def choose(cls, store: PairStore, pairs: Sequence[ExposurePair], scored: bool) -> "TestPairs":
        """Take at most COUNT pairs, evenly, or those that a sheet shows."""
        count = min(COUNT if scored else SHOWN, len(pairs))
        places = np.linspace(0, len(pairs) - 1, count).round().astype(int)
        return cls(store, tuple(pairs[i] for i in places), scored)

    @torch.no_grad()
    def score(
        self, network: nn.Module, known: TrainableNetwork, grid: int
    ) -> tuple[dict[str, PictureScore], NDArray[np.uint8]]:
        """Return mean scores, by ratio and over all, and a sheet of targets beside outputs.

        `grid`: photosites in whose steps the network takes crops. No scores where `scored` is not.
        """
        device = next(network.parameters()).device
        found: dict[float, list[PictureScore]] = {}
        panels = []
        for number, pair in enumerate(self.pairs):
            batch = self.cut(pair, known, grid)
            picture = known.forward(network, batch.to(device))[0].float().clamp(0, 1).cpu()
            target = batch.targets[0]
            score = PictureScore(psnr(picture, target), ssim(picture, target))
            found.setdefault(round(pair.ratio, 1), []).append(score)
            if number < SHOWN:
                panels += [
                    (f"{pair.name}, reference", _codes(target)),
                    (f"output, {score.psnr:.2f} dB", _codes(picture)),
                ]
        # None by itself where each photo is amplified by what it asks for.
        ratios = sorted(found) if len(found) <= MAX_RATIOS else []
        means = {name_ratio(ratio): _mean(found[ratio]) for ratio in ratios}
        means[OVERALL] = _mean([score for scores in found.values() for score in scores])
        sheet = draw_picture_grid(panels, height=SHOWN_HEIGHT, columns=2)
        return (means if self.scored else {}), sheet

    def cut(self, pair: ExposurePair, known: TrainableNetwork, grid: int) -> PairBatch:
        """Cut the middle of a pair as its network is fed: a batch of one."""
        middle = known.middle or cut_stated_middle
        return middle(self.store, pair, self._side(pair, grid))

    def check(self, known: TrainableNetwork, grid: int) -> None:
        """Raise UsageError where a pair cannot be scored: before the run, not hours later."""
        for pair in self.pairs:
            sensor = self.store.raw(pair.short).cfa.sensor
            if sensor is not known.sensor:
                raise UsageError(
                    f"{pair.short}: {KINDS[sensor]}, and {KINDS[known.sensor]} is learned; test "
                    "with pairs of one kind"
                )
            self._side(pair, grid)

    def _side(self, pair: ExposurePair, grid: int) -> int:
        frame = find_frame(self.store.raw(pair.short))
        side = min(SIDE, min(frame.size) * frame.scale) // grid * grid
        if side == 0:
            raise UsageError(f"{pair.short}: is smaller than {grid} photosites; test with others")
        return side


def cut_stated_middle(store: PairStore, pair: ExposurePair, side: int) -> PairBatch:
    """Cut the middle of a pair as published networks are fed: a batch of one."""
    return stack_crops([cut_crop(store, pair, side)])


def _mean(scores: Sequence[PictureScore]) -> PictureScore:
    return PictureScore(fmean(one.psnr for one in scores), fmean(one.ssim for one in scores))


def _codes(picture: Tensor) -> NDArray[np.uint8]:
    codes: NDArray[np.uint8] = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    return codes


def write_sheet(folder: Path, step: int, sheet: NDArray[np.uint8]) -> None:
    """Write the sheet of a step to a run's folder, as samples/step-00000500.png."""
    make_folder(folder / SAMPLES)
    save = SaveOptions(PictureFormat.PNG, overwrite=True)
    save_picture(sheet, folder / SAMPLES / f"step-{step:08d}.png", save)
