"""Groups of options that commands share: one parameter of a command stands for all of a group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from darkroom.cli import inputs, options

if TYPE_CHECKING:
    from darkroom.output.picture import PictureFormat, SaveOptions
    from darkroom.pipeline import Options


@dataclass(frozen=True, slots=True)
class PictureChoices:
    """What is typed about the picture, but for `--ratio`, which not every command calls -r too."""

    ev: options.Ev = 0.0
    gain: options.GainRule = None
    hot_pixels: options.HotPixels = None
    denoise: options.Denoise = 1.0
    highlights: options.Highlights = None
    edges: options.Edges = "reflect"
    black: options.Black = None
    cfa: options.Cfa = None
    profile: options.Profile = None
    color_space: options.ColorSpace = "srgb"
    tone: options.Tone = "neutral"
    saturation: options.Saturation = 1.0
    resize: options.Resize = None
    full: options.Full = False
    wb: options.WhiteBalance = "as-shot"
    lens_correct: options.LensCorrect = False
    dng: options.Dng = None
    tile: options.Tile = "auto"

    def read(
        self,
        bits: int,
        kind: "PictureFormat | None" = None,
        ratio: float | None = None,
        dark: Sequence[Path] = (),
    ) -> "Options":
        """Gather what the user decided; `kind`: the format of a file that the picture goes to.

        Raises UsageError for what there is not, and what does not go together.
        """
        from darkroom.calibration.dark_reference import read_dark_frames
        from darkroom.calibration.profile_file import read_profile
        from darkroom.color.color_space import ColorSpace
        from darkroom.color.finish import Tone
        from darkroom.color.highlights import Highlights
        from darkroom.models.tiling import Edges
        from darkroom.mosaic.hot_pixels import HotPixels
        from darkroom.pipeline import Options

        rule, brightness = inputs.gain_rule(self.gain)
        return Options(
            gain=inputs.given_gain(ratio, self.gain),
            rule=rule,
            brightness=brightness,
            ev=self.ev,
            tile=inputs.tile_size(self.tile),
            bits=bits,
            hot_pixels=inputs.choice("--hot-pixels", HotPixels, self.hot_pixels),
            denoise=self.denoise,
            highlights=inputs.choice("--highlights", Highlights, self.highlights),
            edges=inputs.choice("--edges", Edges, self.edges) or Edges.REFLECT,
            black=inputs.black_level(self.black),
            cfa=inputs.bayer_pattern(self.cfa),
            profile=None if self.profile is None else read_profile(self.profile),
            dark=read_dark_frames(dark) if dark else None,
            dng=inputs.dng_kind(self.dng, kind),
            color_space=inputs.choice("--color-space", ColorSpace, self.color_space)
            or ColorSpace.SRGB,
            tone=inputs.choice("--tone", Tone, self.tone) or Tone.NEUTRAL,
            saturation=self.saturation,
            resize=self.resize,
            full=self.full or None,
            white_balance=inputs.white_balance(self.wb),
            lens_correct=self.lens_correct,
        )


@dataclass(frozen=True, slots=True)
class FileChoices:
    """What is typed about the picture's file, but for its format."""

    bits: options.Bits = None
    quality: options.Quality = 92
    strip: options.Strip = False
    no_gps: options.NoGps = False
    keep_time: options.KeepTime = False
    overwrite: options.Overwrite = False

    def read(self, kind: "PictureFormat", read: Sequence[Path | int] = ()) -> "SaveOptions":
        """Gather what the user decided; `read`: files that are read, never to be replaced."""
        from darkroom.output.picture import PictureFormat, SaveOptions

        usual = 16 if kind in (PictureFormat.DNG, PictureFormat.EXR) else 8
        return SaveOptions(
            kind,
            usual if self.bits is None else self.bits,
            self.quality,
            self.overwrite,
            tuple(read),
            strip=self.strip,
            gps=not self.no_gps,
            keep_time=self.keep_time,
        )


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its groups, which are its parameters of a dataclass's type."""
    parameters: list[Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in signature(command).parameters.values():
        kind = parameter.annotation
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(parameter)
            continue
        groups[parameter.name] = kind
        hints = get_type_hints(kind, include_extras=True)
        parameters += [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in fields(kind)
        ]

    @wraps(command)
    def run(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    run.__dict__["__signature__"] = Signature(
        [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]
    )
    return run
