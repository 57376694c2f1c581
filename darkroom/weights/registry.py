"""The weights that darkroom knows: one frozen, typed value for each, with where it comes from.

What a checkpoint's keys and shapes cannot say (output kind, gain rule, licence, cameras) stands
here and is never guessed. A hash that nobody has confirmed to us is None: such a file is trusted on
first use, its hash recorded at that moment (`store`), and every command shows it as such.
"""

import difflib
import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from darkroom.errors import WeightsError
from darkroom.gain import GainRule
from darkroom.raw.image import Sensor

_ENTRY_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_FILE_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_name(name: str) -> str:
    """Return a name that is safe as a folder: lower-case letters, digits, inner `.`, `_`, `-`.

    Raises WeightsError for anything else, so `../` never reaches the disk.
    """
    if len(name) > 64 or not _ENTRY_NAME.fullmatch(name):
        raise WeightsError(
            f"{name!r} cannot name weights: use lower-case letters, digits and single . _ - inside"
        )
    return name


class Output(Enum):
    """What the three channels of a network's picture are.

    `SRGB`: finished sRGB in [0, 1], in the colours of the camera that it was trained on; its input
    is the amplified mosaic as it is. `CAMERA`: linear camera RGB; its input is white-balanced.
    """

    SRGB = "srgb"
    CAMERA = "camera"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One published file. `size` in bytes and `sha256` are None where we do not know them."""

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if len(self.name) > 128 or not _FILE_NAME.fullmatch(self.name):
            raise WeightsError(f"{self.name!r} is not a plain file name: refused")
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise WeightsError(f"{self.name}: {self.sha256!r} is not a SHA-256 of 64 hex digits")


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of some weights.

    `name`: SPDX identifier, or words where SPDX has none. `open`: whether anyone may use them for
    anything; if not, fetching asks first. `url`: the text. `notice`: one line shown before a yes.
    """

    name: str
    open: bool
    url: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """One measurement of our own: PSNR in dB and SSIM on `data`, with the date it was made."""

    data: str
    psnr: float
    ssim: float
    date: str


def fits_camera(trained_on: Iterable[str], camera: str) -> bool:
    """Say whether a camera is one of these patterns (fnmatch, any case); none fit every camera."""
    patterns = [pattern.lower() for pattern in trained_on]
    return not patterns or any(fnmatch.fnmatch(camera.lower(), pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """Weights by name, and everything about them that their bytes do not say.

    `architecture`: name of the network in `darkroom.models.architectures`. `trained_on`: patterns
    (fnmatch) of camera names as in RawImage.camera; empty means any camera. `files`: the first one
    is what the checkpoint reader opens. `scores`: ours, never a paper's. `gmacs`: billions of
    multiply-accumulates for a photo of 4000x3000, None where nobody counted. `counterpart`: the
    entry to take for photos of the other kind of sensor, empty where there is none.
    """

    name: str
    architecture: str
    sensor: Sensor
    output: Output
    gain_rule: GainRule
    trained_on: tuple[str, ...]
    files: tuple[FileEntry, ...]
    licence: Licence
    source: str
    description: str
    scores: tuple[Score, ...] = ()
    bundled: bool = False
    gmacs: float | None = None
    counterpart: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.files:
            raise WeightsError(f"{self.name}: an entry needs at least one file")

    @property
    def size(self) -> int | None:
        """Bytes of all files together, or None where one is not known."""
        sizes = [file.size for file in self.files]
        return sum(size for size in sizes if size is not None) if None not in sizes else None


_GITHUB = "https://raw.githubusercontent.com"
_SID_REPOSITORY = "cchen156/Learning-to-See-in-the-Dark"
_REDI_REPOSITORY = "MohitLamba94/Restoring-Extremely-Dark-Images-In-Real-Time"
_SID_LICENCE = Licence(
    "MIT", open=True, url=f"https://github.com/{_SID_REPOSITORY}/blob/master/LICENSE.md"
)


def _sid_files(camera: str, drive_id: str) -> tuple[FileEntry, ...]:
    """List a TensorFlow bundle: its index from the authors' repository, its data from Drive.

    Source: checkpoint/ and download_models.py of the SID repository.
    """
    index = f"{_GITHUB}/{_SID_REPOSITORY}/HEAD/checkpoint/{camera}/model.ckpt.index"
    data = f"https://drive.google.com/uc?export=download&id={drive_id}"
    return (
        FileEntry("model.ckpt.index", (index,)),
        FileEntry("model.ckpt.data-00000-of-00001", (data,)),
    )


def _safelight(
    name: str,
    size: int,
    sha256: str,
    *,
    gmacs: float,
    description: str,
    scores: tuple[Score, ...] = (),
) -> WeightsEntry:
    """Build the entry of weights of our own, whose name says what they are.

    Photos of the other kind of sensor go to their counterpart.
    """
    bayer_name = name.removesuffix("-xtrans")
    bayer = name == bayer_name
    recipe = "darkroom train" + " --large" * ("-large" in name) + " --xtrans" * (not bayer)
    return WeightsEntry(
        name=name,
        architecture="safelight" if bayer else "safelight-xtrans",
        sensor=Sensor.BAYER if bayer else Sensor.XTRANS,
        output=Output.CAMERA,
        gain_rule=GainRule.LEARNED,
        trained_on=(),
        files=(FileEntry(f"{name}.safetensors", (), size, sha256),),
        licence=Licence("MIT", open=True, url="https://spdx.org/licenses/MIT.html"),
        source=f"trained by the darkroom project with `{recipe}`",
        scores=scores,
        gmacs=gmacs,
        description=description,
        bundled=True,
        counterpart=f"{name}-xtrans" if bayer else bayer_name,
    )


_SID_CROPS = "SID, 11 crops of the Sony A7S II, x100, brightness aligned"

_ALL = (
    _safelight(
        "safelight",
        2_261_474,
        "e5524e15b81f1c8fdaaec3fc6b2b7db9165860bd7d68d0b00f5b015e782c8581",
        scores=(Score(_SID_CROPS, 34.00, 0.888, "2026-11-22"),),
        gmacs=129.9,
        description="the default: any Bayer camera, small and fast",
    ),
    _safelight(
        "safelight-large",
        10_214_506,
        "a80ccd0625f4c9b3594717bc1ddf7a8a9b1cd6f884353c379f37e5591ef48c27",
        scores=(Score(_SID_CROPS, 34.09, 0.890, "2026-11-22"),),
        gmacs=493.1,
        description="four times the work of safelight, for finer detail",
    ),
    _safelight(
        "safelight-xtrans",
        2_530_154,
        "83d208e8ca82f5eb08a430c365ab0ab857ab93b5d1322ced16c91918af3efe5f",
        gmacs=103.7,
        description="the default's twin for X-Trans sensors, taken by itself",
    ),
    _safelight(
        "safelight-large-xtrans",
        10_590_722,
        "7e523840ed654fd8ce12201794cf0091860985418429b8d59f7b58f6bc8469b2",
        gmacs=285.5,
        description="safelight-large's twin for X-Trans sensors, taken by itself",
    ),
    WeightsEntry(
        name="sid-sony",
        architecture="sid",
        sensor=Sensor.BAYER,
        output=Output.SRGB,
        gain_rule=GainRule.REDI,
        trained_on=("SONY ILCE-7SM2",),
        files=_sid_files("Sony", "1wmx7AM6XWHjHIvpErmIouQgbQoMxAymG"),
        licence=_SID_LICENCE,
        source=f"https://github.com/{_SID_REPOSITORY}",
        gmacs=555.0,
        description="Learning to See in the Dark (CVPR 2018), Sony A7S II",
    ),
    WeightsEntry(
        name="sid-fuji",
        architecture="sid",
        sensor=Sensor.XTRANS,
        output=Output.SRGB,
        gain_rule=GainRule.REDI,
        trained_on=("FUJIFILM X-T2",),
        files=_sid_files("Fuji", "1PX5wA89d-JLmwQHqpBnyTYJxDVzC1gpt"),
        licence=_SID_LICENCE,
        source=f"https://github.com/{_SID_REPOSITORY}",
        gmacs=249.6,
        description="Learning to See in the Dark (CVPR 2018), Fujifilm X-T2",
    ),
    WeightsEntry(
        name="llpacknet",
        architecture="llpacknet",
        sensor=Sensor.BAYER,
        output=Output.SRGB,
        gain_rule=GainRule.REDI,
        trained_on=("SONY ILCE-7SM2",),
        files=(FileEntry("weights", (f"{_GITHUB}/MohitLamba94/LLPackNet/HEAD/weights",)),),
        licence=Licence(
            "none stated",
            open=False,
            url="https://github.com/MohitLamba94/LLPackNet",
            notice="no licence found with these weights: all rights may be reserved",
        ),
        source="https://github.com/MohitLamba94/LLPackNet",
        gmacs=82.7,
        description="Towards Fast and Light-Weight Restoration of Dark Images (BMVC 2020)",
    ),
    WeightsEntry(
        name="redi",
        architecture="redi",
        sensor=Sensor.BAYER,
        output=Output.SRGB,
        gain_rule=GainRule.REDI,
        trained_on=("SONY ILCE-7SM2",),
        files=(
            FileEntry(
                "weights",
                (f"{_GITHUB}/{_REDI_REPOSITORY}/HEAD/demo_imgs/weights",),
                size=3_153_787,
                sha256="e7a4f76cf12b9f69ae35b2c2bab3356a36669660ab3128a0e65d6f4c82517163",
            ),
        ),
        licence=Licence(
            "non-commercial, patent pending",
            open=False,
            url=f"https://github.com/{_REDI_REPOSITORY}/blob/HEAD/LICENSE",
            notice="academic research, teaching, publications and personal experiments only; "
            "patent application 202141026548",
        ),
        source=f"https://github.com/{_REDI_REPOSITORY}",
        scores=(Score(_SID_CROPS, 33.35, 0.868, "2026-11-21"),),
        gmacs=70.3,
        description="Restoring Extremely Dark Images in Real Time (CVPR 2021)",
    ),
)

ENTRIES = MappingProxyType({entry.name: entry for entry in _ALL})


def unknown(name: str, known: Iterable[str]) -> WeightsError:
    """Build the error for a name that is none of `known`, with the closest of them."""
    names = sorted(known)
    closest = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"did you mean {closest[0]}? " if closest else ""
    return WeightsError(f"unknown weights {name!r}: {hint}known are {', '.join(names)}")
