"""How a published network was trained on pairs of exposures: loss, rates, crops, and how often."""

from dataclasses import dataclass

from darkroom.errors import UsageError
from darkroom.gain import GainRule, find_m

MAX_BATCH, MAX_CROP = 1024, 1 << 14
"""Far more than any paper takes; what lies beyond is a slip of the finger."""


@dataclass(frozen=True, slots=True)
class PairRecipe:
    """All that decides a training run on pairs, but the pairs and the network themselves.

    `loss`: a name in `loss.LOSSES`. `rate`: Adam's, until `drop_at` (a share of the run) is
    over, `rate_after` from there on. `epochs`: how often each scene is seen, each time in a random
    one of its short exposures; or `steps`, if not 0, which count instead. `batch`: crops in a step,
    of all processes together. `crop`: photosites along each side. `flip_rows`, `flip_columns`,
    `transpose`: the probability of each. `bursts`: draw from all the files of a burst, not only
    from the first of each exposure time. `ema`: how much the averaged weights keep at each step;
    0 for none. `fraction`: of the scenes, chosen by the seed. `flip_sites`: whether flips turn the
    mosaic, so that Bayer's sites change places, and not its packed form. `m`: photos are amplified
    by REDI's estimate with this m, 1 to 9, and not by their ratio; 0 for by their ratio. `mix`: the
    share of crops of simulated sensors, for safelight. Raises UsageError where a number is out of
    range.
    """

    loss: str
    rate: float
    epochs: int
    batch: int
    crop: int
    rate_after: float = 0.0
    drop_at: float = 1.0
    steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    flip_rows: float = 0.0
    flip_columns: float = 0.0
    transpose: float = 0.0
    flip_sites: bool = False
    bursts: bool = False
    ema: float = 0.0
    fraction: float = 1.0
    m: float = 0.0
    mix: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most, words in (
            ("rate", 0.0, 1.0, "a number above 0, at most 1"),
            ("fraction", 0.0, 1.0, "a number above 0, at most 1"),
            ("batch", 0, MAX_BATCH, f"1 to {MAX_BATCH}"),
            ("crop", 0, MAX_CROP, f"1 to {MAX_CROP} photosites"),
        ):
            if not least < getattr(self, name) <= most:
                raise UsageError(f"--{name} {getattr(self, name):g}: give {words}")
        if self.m:
            find_m(GainRule.REDI_TRAIN, self.m)
        if not 0 <= self.mix < 1:
            raise UsageError(f"--mix {self.mix:g}: give a number from 0 to below 1, as 0.5")
        if not 0 <= self.ema < 1:
            raise UsageError(f"--ema {self.ema:g}: give a number from 0 to below 1, as 0.999")
        if not 0 <= self.rate_after <= 1:
            raise UsageError(f"--rate-after {self.rate_after:g}: give a number from 0 to 1")
        if self.epochs < 1 and self.steps < 1:
            raise UsageError("give --epochs or --steps, 1 or more")

    def count_steps(self, scenes: int) -> int:
        """Return the steps of a run over so many scenes; an epoch ends with its last whole batch.

        Scenes fewer than a batch are seen more than once in a step.
        """
        return self.steps or self.epochs * max(1, scenes // self.batch)

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0, in a run of `steps`."""
        dropped = self.drop_at < 1 and step >= self.drop_at * steps
        return self.rate_after if dropped else self.rate
