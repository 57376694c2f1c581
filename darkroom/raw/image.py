"""What a RAW photo is: plain frozen values, shared by every layer above."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SRGB_TO_XYZ: NDArray[np.float64] = np.array(
    [
        [0.4123908, 0.3575843, 0.1804808],
        [0.2126390, 0.7151687, 0.0721923],
        [0.0193308, 0.1191948, 0.9505322],
    ]
)
"""(3, 3) linear sRGB to CIE XYZ, both with D65 white.

Source: IEC 61966-2-1:1999, the primaries (0.64, 0.33), (0.30, 0.60), (0.15, 0.06) and the white
(0.3127, 0.3290), solved for XYZ; its luminance row is ITU-R BT.709's to four digits.
"""


class Sensor(Enum):
    """The kinds of colour filter array that darkroom handles."""

    BAYER = "bayer"
    XTRANS = "xtrans"


@dataclass(frozen=True)
class CFA:
    """A colour filter array: the letters R, G, B of one period in reading order.

    Four letters are a 2x2 Bayer array, 36 a 6x6 X-Trans array, phase as at the mosaic's first row
    and column.
    """

    pattern: str

    @property
    def sensor(self) -> Sensor:
        """The kind of sensor."""
        return Sensor.BAYER if len(self.pattern) == 4 else Sensor.XTRANS

    @property
    def period(self) -> int:
        """Rows (and columns) after which the array repeats: 2 or 6."""
        return 2 if len(self.pattern) == 4 else 6

    @cached_property
    def channels(self) -> NDArray[np.intp]:
        """(period, period) colour indices: 0 red, 1 green, 2 blue."""
        indices = ["RGB".index(letter) for letter in self.pattern]
        return np.array(indices, dtype=np.intp).reshape(self.period, self.period)

    @property
    def kinds(self) -> NDArray[np.intp]:
        """(period, period) numbers of kinds of sites: channels, and Bayer's two greens apart."""
        return np.arange(4).reshape(2, 2) if self.sensor is Sensor.BAYER else self.channels

    def shifted(self, down: int, right: int) -> "CFA":
        """See the array from `down` rows, `right` columns further: RGGB by (1, 1) is BGGR."""
        rolled = np.roll(self.channels, (-down, -right), axis=(0, 1))
        return CFA("".join("RGB"[i] for i in rolled.flat))


class WhiteBalance(Enum):
    """Where a photo's white balance comes from."""

    AS_SHOT = "as shot"
    DAYLIGHT = "daylight"
    GRAY_WORLD = "gray world"


@dataclass(frozen=True, slots=True)
class Color:
    """How to make colours of the sensor's numbers.

    `white_balance`: (3,) float64 multipliers for R, G, B with green = 1; None where neither the
    camera nor LibRaw knows them, then the gray-world rule measures them on the brightened picture.
    `xyz_to_camera`: (3, 3) float64, CIE XYZ (D65) to camera RGB, rows R, G, B; only its
    row-normalised product with sRGB's primaries matters, so rows may have any common scale.
    `daylight`: (3,) the camera's multipliers under D65, green 1; None where LibRaw has none.
    `warning`: that one of RawImage.warnings which is about the white balance.
    """

    white_balance: NDArray[np.float64] | None
    xyz_to_camera: NDArray[np.float64]
    source: WhiteBalance = WhiteBalance.AS_SHOT
    daylight: NDArray[np.float64] | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Exposure:
    """How the photo was taken; None where the file does not say."""

    seconds: float | None = None
    iso: float | None = None
    aperture: float | None = None


class BlackSource(Enum):
    """Which black level is taken off a photo."""

    STATED = "stated"
    """The one that the file states."""
    MEASURED = "measured"
    """The photo's own, as far as it can be measured; else what the file states."""
    PROFILE = "profile"
    """As a camera's profile has it; for photos that are given one, not a choice of `with_black`."""
    DARK = "dark frames"
    """As dark frames have it, likewise."""


Black = BlackSource | float
"""A black level by its source, or a number in sensor units for all sites."""


@dataclass(frozen=True, slots=True)
class BlackOrigin:
    """Where a photo's black level comes from.

    `stated`: (h, w) float32 pattern that the file states, as RawImage.black. `reason`: what was
    used and why, one sentence. `error`: (period, period) float32 standard errors of what masked
    borders say, None where they say nothing. `row_noise`, `row_noise_left`: standard deviation of
    the rows' offsets, as found there and as expected after RawImage.row_black; 0 if none was found.
    `source`: which was to be used. `known`: whether the level used was measured where no light
    falls, and is not merely stated. `warning`: that one of RawImage.warnings which is about the
    level used.
    """

    stated: NDArray[np.float32]
    reason: str
    error: NDArray[np.float32] | None = None
    row_noise: float = 0.0
    row_noise_left: float = 0.0
    source: Black = BlackSource.MEASURED
    known: bool = False
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class TagValue:
    """The values of one tag, as a little-endian TIFF stores them.

    `kind`: TIFF's type, 1 to 12 (2 text, 3 and 4 whole numbers, 5 and 10 rationals, ...). `count`:
    how many values `data` holds.
    """

    kind: int
    count: int
    data: bytes


Tags = Mapping[int, TagValue]


@dataclass(frozen=True, slots=True)
class PhotoMetadata:
    """What a photo's file and its sidecars say of the photo, fit to be written into a picture.

    `main`, `exif`, `gps`: EXIF's directories, standard tags only, of the standard's types.
    `xmp`: each property's XML, which declares its own prefixes, by its name as "{namespace}name".
    `iptc`: IIM datasets as they stand, empty for none. Nothing in it depends on the picture's
    pixels: no sizes, orientation, thumbnails, maker's notes, nor other programs' settings.
    """

    main: Tags = field(default_factory=dict)
    exif: Tags = field(default_factory=dict)
    gps: Tags = field(default_factory=dict)
    xmp: Mapping[str, str] = field(default_factory=dict)
    iptc: bytes = b""


@dataclass(frozen=True, slots=True)
class RawImage:
    """One RAW photo as the sensor saw it: the visible area, in the sensor's own orientation.

    `mosaic`: (H, W) uint16 or float32 sensor values. `cfa`: phase at `mosaic[0, 0]`.
    `black`, `white`: (h, w) float32 patterns that repeat over the mosaic from its first site,
    both of the same shape, a multiple of the CFA's period. `orientation`: EXIF 1-8.
    `pixel_aspect`: width / height of a photosite, 1 for square ones; in the sensor's own
    orientation, that is before turning upright, a picture is shown right after its width is
    stretched by it where it is above 1, or its height by 1 / it where it is below 1, so that
    nothing shrinks (as LibRaw does). `row_black`: (H,) float32, what black of each row is off
    `black`, in sensor units; None where rows have no offsets that are known. `masked_black`:
    (period, period) means measured on masked borders, where the file has them, phase as at
    `mosaic[0, 0]`. `masked_noise`: standard deviation there, in sensor units. `black_origin`: where
    `black` comes from. `noise_profile`: shot and s, what the file states of noise: variance
    shot * x + s at x between black 0 and white 1. `missing`: (H, W), the sites that hold no picture
    where part of the file is lost; None for whole photos. `margins`: rows above and columns left of
    `mosaic` in the file's full frame. `default_crop`: top, left, height and width of the camera's
    own picture within `mosaic`; None for all of it. `metadata`: all that is said of the photo in
    words. `warnings`: one line for each thing that was missing or odd.
    """

    mosaic: NDArray[np.uint16] | NDArray[np.float32]
    cfa: CFA
    black: NDArray[np.float32]
    white: NDArray[np.float32]
    color: Color
    exposure: Exposure = Exposure()
    orientation: int = 1
    pixel_aspect: float = 1.0
    camera: str = ""
    lens: str | None = None
    time: datetime | None = None
    margins: tuple[int, int] = (0, 0)
    default_crop: tuple[int, int, int, int] | None = None
    row_black: NDArray[np.float32] | None = None
    masked_black: NDArray[np.float32] | None = None
    masked_noise: float | None = None
    black_origin: BlackOrigin | None = None
    noise_profile: tuple[float, float] | None = None
    missing: NDArray[np.bool_] | None = None
    metadata: PhotoMetadata = PhotoMetadata()
    warnings: tuple[str, ...] = field(default=())

    @property
    def black_known(self) -> bool:
        """Whether its black was measured where no light falls, and is not merely stated."""
        return self.black_origin is not None and self.black_origin.known
