"""What a user may decide about a photo, and how it is decided where nobody did."""

from dataclasses import dataclass

from darkroom.calibration.correction import Correction
from darkroom.calibration.dark_reference import DarkReference
from darkroom.calibration.profile import CameraProfile
from darkroom.color.color_space import ColorSpace
from darkroom.color.finish import Finish, Tone
from darkroom.color.highlights import Highlights
from darkroom.color.lens_correction import check_lensfun
from darkroom.color.white_balance import find_illuminant
from darkroom.errors import UsageError
from darkroom.gain import Gain, GainRule, find_m
from darkroom.models.denoise import check_range
from darkroom.models.model import Model
from darkroom.models.tiling import Edges, TileOption
from darkroom.mosaic.hot_pixels import HotPixels
from darkroom.output.linear_dng import DngKind
from darkroom.raw.black_choice import default_black
from darkroom.raw.image import Black, WhiteBalance
from darkroom.weights.registry import Output


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may decide about one photo; the defaults decide by themselves.

    `gain`: the user's own, or None to measure it by `rule` (None: the model's) and, for REDI's
    rules, `brightness` 1 to 9 (None: the rule's own). `ev`: stops on top. `tile`: as in
    `darkroom.models.tiling`. `bits`: 8 or 16 per sample of the picture, or 32 for floats: linear
    light, white 1, in which nothing is bent or clipped but what the sensor clipped. `hot_pixels`:
    None repairs them for networks of camera RGB, and keeps them for those that are run as
    published. `denoise`: 0 demosaicing alone, 1 the network's result, between them a blend, up to 2
    stronger (`darkroom.models.denoise`). `highlights`: None rolls them off for networks of camera
    RGB, and clips them for others. `edges`: whether a photo that ends off the network's grid is
    continued or cropped. `black`: None is what the file states for networks that are run as
    published, and measured for those of camera RGB (`darkroom.raw.black_choice`). `cfa`: a Bayer
    pattern such as RGGB in place of the file's; None keeps that. `profile`: the camera's, for its
    black, noise and hot pixels; `dark`: frames to take off. A `black` of one's own goes before
    theirs. `color_space`, `tone` and `saturation`: as in `darkroom.color.finish`. `resize`: pixels
    that the picture's longer side has at most; None keeps its size. `white_balance`: the photo's
    own, another, or kelvin. `lens_correct`: take back what the lens did, where lensfun knows it.
    `dng`: the picture in the camera's own colours too, for a DNG of that kind. `full`: all that the
    sensor saw, not the camera's own crop; None: only for networks that are run as published. Raises
    UsageError for a `denoise`, `saturation`, `resize` or temperature out of range.
    """

    gain: Gain | None = None
    rule: GainRule | None = None
    brightness: float | None = None
    ev: float = 0.0
    tile: TileOption = "auto"
    bits: int = 8
    hot_pixels: HotPixels | None = None
    denoise: float = 1.0
    highlights: Highlights | None = None
    edges: Edges = Edges.REFLECT
    black: Black | None = None
    cfa: str | None = None
    profile: CameraProfile | None = None
    dark: DarkReference | None = None
    dng: DngKind | None = None
    color_space: ColorSpace = ColorSpace.SRGB
    tone: Tone = Tone.NEUTRAL
    saturation: float = 1.0
    resize: int | None = None
    white_balance: WhiteBalance | float = WhiteBalance.AS_SHOT
    full: bool | None = None
    lens_correct: bool = False

    def __post_init__(self) -> None:
        check_range(self.denoise)
        Finish(saturation=self.saturation)
        if not isinstance(self.white_balance, WhiteBalance):
            find_illuminant(self.white_balance)
        if self.resize is not None and self.resize < 1:
            raise UsageError(
                f"--resize {self.resize}: give pixels of the longer side, such as 2048"
            )

    def resolve(self, model: Model) -> "ResolvedOptions":
        """Decide every default, for photos that this model enhances; the one place that does.

        Raises UsageError where the model cannot do what was asked for.
        """
        paints = model.output is Output.SRGB
        if paints and self.denoise != 1:
            raise UsageError(
                f"--denoise {self.denoise:g}: {model.name} denoises, demosaics and colours in one; "
                "leave --denoise out, or take --model safelight"
            )
        if paints and self.highlights is Highlights.ROLL:
            raise UsageError(
                f"--highlights roll: {model.name} paints finished pictures, which end at white; "
                "take --highlights clip, or --model safelight"
            )
        if paints and self.dng is not None:
            raise UsageError(
                f"{model.name} paints finished pictures, and a DNG holds the camera's colours; "
                "choose PNG, TIFF or JPEG, or --model safelight"
            )
        finished = (self.color_space, self.tone, self.saturation, self.resize)
        if self.dng is not None and finished != (ColorSpace.SRGB, Tone.NEUTRAL, 1.0, None):
            raise UsageError(
                "a DNG holds the camera's own colours in full size; leave --color-space, --tone, "
                "--saturation and --resize to the editor"
            )
        if paints and self.white_balance is not WhiteBalance.AS_SHOT:
            raise UsageError(
                f"--wb: {model.name} paints the colours it learned; leave --wb out, or take "
                "--model safelight"
            )
        if self.lens_correct:
            self._check_lens_correction(model)
        if self.color_space is ColorSpace.LINEAR and self.bits == 8:
            raise UsageError("--color-space linear: 8 bits are too few for it; add --bits 16")
        if self.bits == 32 and self.tone is not Tone.NEUTRAL:
            raise UsageError(f"--tone {self.tone.value}: floats hold light as it is; leave it out")
        if self.dark is not None and self.black is not None:
            raise UsageError("--dark and --black both decide the black level; give one of them")
        rule = self.rule or model.gain_rule
        linear = self.bits == 32 and self.color_space is ColorSpace.SRGB
        space = ColorSpace.LINEAR if linear else self.color_space
        return ResolvedOptions(
            gain=self.gain,
            rule=rule,
            brightness=find_m(rule, self.brightness),
            ev=self.ev,
            tile=self.tile,
            bits=self.bits,
            hot_pixels=self.hot_pixels or (HotPixels.KEEP if paints else HotPixels.REPAIR),
            denoise=self.denoise,
            highlights=self.highlights or (Highlights.CLIP if paints else Highlights.ROLL),
            edges=self.edges,
            black=default_black(paints) if self.black is None else self.black,
            cfa=self.cfa,
            dng=self.dng,
            correction=Correction(
                self.profile,
                self.dark,
                black=self.black is None,
                hot_pixels=self.hot_pixels is not HotPixels.KEEP,
            ),
            finish=Finish(space, self.tone, self.saturation),
            resize=self.resize,
            white_balance=self.white_balance,
            full=paints if self.full is None else self.full,
            lens_correct=self.lens_correct,
        )

    def _check_lens_correction(self, model: Model) -> None:
        """Raise UsageError where a lens cannot be corrected."""
        if model.output is Output.SRGB:
            raise UsageError(
                f"--lens-correct: {model.name} paints finished pictures; leave it out, or take "
                "--model safelight"
            )
        if self.dng is not None:
            raise UsageError(
                "--lens-correct: editors correct a DNG's lens themselves, and would do it twice; "
                "leave it out"
            )
        check_lensfun()


@dataclass(frozen=True, slots=True)
class ResolvedOptions:
    """What is done to a photo: `Options` with nothing left open but the gain that it needs."""

    gain: Gain | None
    rule: GainRule
    brightness: float | None
    ev: float
    tile: TileOption
    bits: int
    hot_pixels: HotPixels
    denoise: float
    highlights: Highlights
    edges: Edges
    black: Black
    cfa: str | None
    dng: DngKind | None
    correction: Correction
    finish: Finish
    resize: int | None
    white_balance: WhiteBalance | float
    full: bool
    lens_correct: bool

    @property
    def rendered_bits(self) -> int:
        """Bits at which the picture is rendered: 16 at least where it is made smaller yet."""
        return self.bits if self.resize is None else max(self.bits, 16)
