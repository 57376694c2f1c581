"""Decoded pairs in a folder of files that are mapped into memory: decoded once, read at once.

A 12-MP photo takes a second to decode and develop; a crop of the decoded one a millisecond. Values
are kept as the sensor gave them, 16 bits, with black, white and all else beside them: black comes
off when a crop is read, so that what noise left below it survives.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import platformdirs
from numpy.typing import NDArray
from PIL import Image

from darkroom.errors import DarkroomError, OutputError, RawError, UsageError
from darkroom.output.atomic import atomic_write, make_folder, remove_strays
from darkroom.pairs.entries import (
    DamagedEntryError,
    Facts,
    StoreEntry,
    describe_raw,
    map_entry,
    read_facts,
    rebuild_raw,
    write_entry,
)
from darkroom.pairs.exposures import ExposurePair
from darkroom.pairs.references import NO_PICTURE, UNREADABLE, is_raw, read_reference, turn_back
from darkroom.raw.header import read_frame
from darkroom.raw.image import RawImage
from darkroom.raw.reader import read_raw

FORMAT = 1
"""Of entries; raised where what they hold changes, or what `read_raw` and `read_reference` make of
a file: older ones are made again."""
ENTRY_NAME = re.compile(r"[0-9a-f]{32}\.(raw|reference)\.safetensors")
HEADER_BYTES = 1 << 13
"""What an entry takes besides its picture, about."""
SPARE_BYTES = 1 << 28
"""What is left free on the disk."""
MAX_WORKERS = 8
"""Each takes 19 bytes of memory per photosite as it develops: 0.23 GB for 12 MP, as measured."""
PICTURE = "picture"

Content = TypeVar("Content")


class Kind(StrEnum):
    """What an entry holds: a dark photo's sensor values, or a reference's picture."""

    RAW = "raw"
    REFERENCE = "reference"


class PairFile(NamedTuple):
    """A file, and what is kept of it."""

    path: Path
    kind: Kind


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What there is to do before all pairs are kept: how many files, and how much they take.

    `total`: files of the pairs. `missing`: those that are not kept yet. `needed`: bytes that these
    take at most. `free`: bytes free on the store's disk.
    """

    folder: Path
    total: int
    missing: tuple[PairFile, ...]
    needed: int
    free: int

    def check(self) -> None:
        """Raise OutputError where the disk has not enough room."""
        if self.needed + SPARE_BYTES > self.free and self.missing:
            raise OutputError(
                f"{self.folder}: the decoded pairs need {_size(self.needed)}, and "
                f"{_size(self.free)} are free there; choose another disk with --cache FOLDER"
            )

    def __str__(self) -> str:
        """Say in one line what is done, and what it takes."""
        return (
            f"decoding {len(self.missing)} of {self.total} files: {_size(self.needed)} in "
            f"{self.folder}, {_size(self.free)} free"
        )


class PairStore:
    """A folder of decoded photos and references; safe from many threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made when the first file is kept."""
        self.folder = folder

    def plan(self, pairs: Iterable[ExposurePair]) -> StorePlan:
        """Find what is not kept yet, and what it takes. Raises RawError and UsageError."""
        sources = _list_sources(pairs)
        missing = tuple(source for source in sources if not self._is_kept(source))
        with ThreadPoolExecutor(thread_name_prefix="plan") as pool:
            needed = sum(pool.map(_measure, missing))
        free = shutil.disk_usage(_existing(self.folder)).free
        return StorePlan(self.folder, len(sources), missing, needed, free)

    def build(
        self,
        pairs: Iterable[ExposurePair],
        workers: int = 0,
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Keep all files of the pairs, those that are kept already as they are.

        `workers`: threads, 0 for one per processor, 8 at most; LibRaw decodes in all at once.
        `tell` gets how many files are done and how many there are. Removes entries of files that
        changed or vanished. A file that cannot be decoded is told at the end, when all others are
        kept. Raises OutputError, at once where the disk has not enough room; RawError; UsageError.
        """
        pairs = list(pairs)
        plan = self.plan(pairs)
        self.remove_stale()
        plan.check()
        failures: list[DarkroomError] = []
        done = plan.total - len(plan.missing)
        tell(done, plan.total)
        order = list(plan.missing)
        secrets.SystemRandom().shuffle(order)  # processes at the same work meet little
        threads = workers or min(os.cpu_count() or 1, MAX_WORKERS)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        try:
            for future in as_completed([pool.submit(self._keep, source) for source in order]):
                error = future.exception()
                if isinstance(error, RawError | UsageError):
                    failures.append(error)
                elif error is not None:
                    raise error
                done += 1
                tell(done, plan.total)
        finally:
            pool.shutdown(cancel_futures=True)
        if failures:
            first = min(failures, key=str)
            count = len({str(one) for one in failures})  # a file may be wanted in both its kinds
            more = f"; {count} files in all cannot be used" if count > 1 else ""
            raise type(first)(f"{first}{more}")

    def raw(self, path: Path) -> RawImage:
        """Return a dark photo as `read_raw` gives it; its values are a map of the kept file.

        A file that is not kept yet is decoded and kept. Raises RawError and OutputError.
        """
        return self._load(PairFile(path, Kind.RAW), rebuild_raw)

    def reference(self, path: Path) -> NDArray[np.uint16]:
        """Return a reference as `read_reference` gives it: (H, W, 3), a map of the kept file.

        A PNG or TIFF is as it is to be seen; `open_pair` turns it as its dark photo is. A file that
        is not kept yet is decoded and kept. Raises RawError, UsageError and OutputError.
        """
        return self._load(PairFile(path, Kind.REFERENCE), _find_picture)[0]

    def open_pair(self, pair: ExposurePair) -> tuple[RawImage, NDArray[np.uint16]]:
        """Return a pair's dark photo and its reference, (H, W, 3), site upon pixel; both are maps.

        A picture is turned back to the sensor's orientation, and cropped as the dark photo is where
        lines without a picture were cut off. Raises UsageError where sizes differ.
        """
        raw = self.raw(pair.short)
        stored, margins = self._load(PairFile(pair.long, Kind.REFERENCE), _find_picture)
        picture, (height, width) = stored, raw.mosaic.shape
        if margins is None:
            whole, margins = (height, width), raw.margins
            if picture.shape[:2] not in (whole, whole[::-1]):
                frame = read_frame(pair.short)
                whole, margins = (frame.height, frame.width), frame.margins
            if raw.orientation <= 4 or picture.shape[:2] == whole[::-1]:
                picture = turn_back(picture, raw.orientation)
        top, left = (mine - its for mine, its in zip(raw.margins, margins, strict=True))
        if top >= 0 and left >= 0:
            picture = picture[top : top + height, left : left + width]
        if picture.shape[:2] != (height, width):
            raise UsageError(
                f"{pair.long}: {stored.shape[1]}x{stored.shape[0]} pixels, but "
                f"{pair.short.name} has {width}x{height}; give its own reference, in full size"
            )
        return raw, picture

    def remove_stale(self) -> int:
        """Remove entries of files that changed or vanished, damaged ones and unfinished ones.

        Only files of our own names are touched. Returns how many were removed.
        """
        try:
            found = list(self.folder.iterdir())
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise OutputError(
                f"{self.folder}: cannot be used ({error.strerror}); choose another --cache FOLDER"
            ) from error
        count = remove_strays(self.folder)
        for path in found:
            if ENTRY_NAME.fullmatch(path.name) and not self._is_current(path):
                with suppress(OSError):  # another process was quicker, or has it open on Windows
                    path.unlink()
                    count += 1
        return count

    def _is_current(self, path: Path) -> bool:
        """Whether an entry's file is as it was; also where its disk is not there to be asked."""
        try:
            source = Path(read_facts(path)["source"]["path"])
            kind = Kind(path.suffixes[-2].removeprefix("."))
            if not source.parent.is_dir():
                return True
            return self._entry_path(PairFile(source, kind)).name == path.name
        except (DamagedEntryError, KeyError, TypeError, ValueError, OSError, UsageError):
            return False

    def _entry_path(self, source: PairFile) -> Path:
        """Name the entry of a file as it is now."""
        identity = _identify(source.path)
        digest = hashlib.sha256(os.fsencode("\0".join(map(str, identity.values())))).hexdigest()
        return self.folder / f"{digest[:32]}.{source.kind}.safetensors"

    def _is_kept(self, source: PairFile) -> bool:
        try:
            read_facts(self._entry_path(source))
        except (DamagedEntryError, OSError):
            return False
        return True

    def _load(self, source: PairFile, read: Callable[[StoreEntry], Content]) -> Content:
        """Read a file's entry, made first where it is not there or damaged."""
        try:
            return read(map_entry(self._entry_path(source)))
        except (DamagedEntryError, OSError):
            return read(map_entry(self._decode(source)))

    def _keep(self, source: PairFile) -> None:
        """Decode a file, unless somebody else did meanwhile."""
        if not self._is_kept(source):
            self._decode(source)

    def _decode(self, source: PairFile) -> Path:
        """Decode a file, whether it is kept or not, and return its entry."""
        make_folder(self.folder)
        path = self._entry_path(source)
        facts: Facts = {"source": _identify(source.path)}
        arrays: dict[str, NDArray[Any]]
        if source.kind is Kind.RAW:
            described, arrays = describe_raw(read_raw(source.path))
            facts |= described
        else:
            arrays = {PICTURE: read_reference(source.path)}
            margins = read_frame(source.path).margins if is_raw(source.path) else None
            facts["margins"] = margins
        size = HEADER_BYTES + sum(array.nbytes for array in arrays.values())
        with atomic_write(path, overwrite=True, size=size) as stream:
            write_entry(stream, facts, arrays)
        return path


def _find_picture(entry: StoreEntry) -> tuple[NDArray[np.uint16], tuple[int, int] | None]:
    """Give a reference's picture, and its margins if it is a RAW's. Raises DamagedEntryError."""
    try:
        return entry.arrays[PICTURE], entry.facts["margins"]
    except KeyError as error:
        raise DamagedEntryError(entry) from error


def default_store() -> PairStore:
    """Return the store in $DARKROOM_CACHE, else in the user's cache folder."""
    chosen = os.environ.get("DARKROOM_CACHE")
    if chosen:
        return PairStore(Path(chosen).expanduser())
    return PairStore(platformdirs.user_cache_path("darkroom", appauthor=False) / "pairs")


def _list_sources(pairs: Iterable[ExposurePair]) -> tuple[PairFile, ...]:
    """List each file once, in the order of the pairs."""
    sources: dict[PairFile, None] = {}
    for pair in pairs:
        sources[PairFile(pair.short, Kind.RAW)] = None
        sources[PairFile(pair.long, Kind.REFERENCE)] = None
    return tuple(sources)


def _identify(path: Path) -> dict[str, Any]:
    """Tell a file from what it was before: where it is, its size and when it was written."""
    try:
        real = path.resolve()
        state = real.stat()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; check the list of pairs") from error
    size, time = state.st_size, state.st_mtime_ns
    return {"format": FORMAT, "path": str(real), "size": size, "time": time}


def _measure(source: PairFile) -> int:
    """Tell how many bytes an entry will take at most, without decoding its file."""
    if is_raw(source.path):
        height, width = read_frame(source.path)[:2]
    else:
        try:
            with Image.open(source.path) as picture:
                width, height = picture.size
        except UNREADABLE as error:
            raise UsageError(f"{source.path}: {NO_PICTURE}") from error
    samples = 1 if source.kind is Kind.RAW else 3
    return HEADER_BYTES + 2 * samples * height * width


def _existing(folder: Path) -> Path:
    """Return the folder, or the one above it that is there."""
    return next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
