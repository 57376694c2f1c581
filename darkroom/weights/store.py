"""Where weights lie on this machine, and the proof that they are what they claim to be.

Each entry has a folder of its own under `root()`, with the authors' bytes under the authors' file
names and `installed.json` beside them: the hashes, where the files came from, and whether a hash
was known beforehand or is trust on first use. Bundled weights lie in the package itself.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import platformdirs

from darkroom.errors import WeightsError
from darkroom.gain import GainRule
from darkroom.raw.image import Sensor
from darkroom.weights import registry
from darkroom.weights.registry import FileEntry, Licence, Output, WeightsEntry

RECORD = "installed.json"
SCHEMA = 1
REMOVE_SECONDS = 10.0
OWN_LICENCE = Licence("own", open=True, url="", notice="imported by you")


class State(Enum):
    """What this machine has of an entry."""

    BUNDLED = "bundled"
    INSTALLED = "installed"
    DAMAGED = "damaged"
    ABSENT = "not installed"


class Trust(Enum):
    """How we know a file's hash."""

    REGISTRY = "known beforehand"
    FIRST_USE = "trusted on first use"


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """One line of the record: what was installed, from where, and how its hash is known."""

    name: str
    size: int
    sha256: str
    origin: str
    trust: Trust


def root() -> Path:
    """Return the folder of installed weights: $DARKROOM_WEIGHTS, or the user's data folder."""
    chosen = os.environ.get("DARKROOM_WEIGHTS")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("darkroom", appauthor=False) / "weights"


def bundled_folder() -> Path:
    """Return the folder of bundled weights: in the wheel, or the checkout's top-level weights/."""
    in_wheel = Path(__file__).parent / "bundled"
    return in_wheel if in_wheel.is_dir() else Path(__file__).parents[2] / "weights"


def folder(entry: WeightsEntry) -> Path:
    """Return the folder that holds, or would hold, an entry's files."""
    return bundled_folder() if entry.bundled else root() / registry.check_name(entry.name)


def find(name: str) -> WeightsEntry:
    """Return the entry of that name, from the registry or among the user's imported ones.

    Raises WeightsError naming the known ones and the closest match.
    """
    if name in registry.ENTRIES:
        return registry.ENTRIES[name]
    own = imported()
    if name not in own:
        raise registry.unknown(name, [*registry.ENTRIES, *own])
    return own[name]


def refuse_links(path: Path) -> None:
    """Raise WeightsError where `path`, or a folder between it and the root, is a symbolic link."""
    top = root()
    for place in (path, *path.parents):
        if place == top or not place.is_relative_to(top):
            return
        if place.is_symlink():
            raise WeightsError(
                f"{place} is a symbolic link: refused; delete it, then fetch the weights again"
            )


def state(entry: WeightsEntry) -> State:
    """Return what this machine has of an entry, by presence and size only (no hashing)."""
    place = folder(entry)
    sizes = {file.name: file.stat().st_size for file in place.glob("*") if file.is_file()}
    if entry.bundled:
        whole = all(file.name in sizes for file in entry.files)
        return State.BUNDLED if whole else State.ABSENT
    if not place.is_dir():
        return State.ABSENT
    recorded = {name: file.size for name, file in record(entry).items()}
    whole = all(sizes.get(file.name, -1) == recorded.get(file.name) for file in entry.files)
    return State.INSTALLED if whole else State.DAMAGED


def locate(entry: WeightsEntry) -> Path:
    """Return the installed path of an entry's first file; its contents are not checked yet.

    Raises WeightsError with the command that installs it.
    """
    place = folder(entry)
    for file in entry.files:
        path = place / file.name
        if not entry.bundled:
            refuse_links(path)
        if not path.is_file():
            raise WeightsError(f"{entry.name} is not installed: {_fetch_command(entry)}")
    return place / entry.files[0].name


def verify(entry: WeightsEntry) -> Path:
    """Check the SHA-256 of all of an entry's files and return the path of the first.

    A file without a hash in the registry is held to the one recorded when it was first fetched.
    Raises WeightsError where a file is missing, differs, or has no hash on record.
    """
    first = locate(entry)
    expected = expected_hashes(entry)
    for file in entry.files:
        wanted = expected.get(file.name)
        if wanted is None and not entry.bundled:
            raise WeightsError(
                f"{entry.name}: {first.parent / RECORD} has no hash of {file.name}: "
                f"darkroom fetch-weights {entry.name} --remove, then fetch it again"
            )
        found = sha256(first.parent / file.name)
        if wanted is not None and found != wanted:
            raise WeightsError(
                f"{entry.name}: {first.parent / file.name} has SHA-256 {found[:12]}…, "
                f"expected {wanted[:12]}…: {_fetch_command(entry)}"
            )
    return first


def expected_hashes(entry: WeightsEntry) -> Mapping[str, str]:
    """Return the SHA-256 that each file must have: the registry's, else the recorded one."""
    known = {file.name: file.sha256 for file in entry.files if file.sha256 is not None}
    return {name: file.sha256 for name, file in record(entry).items()} | known


def sha256(path: Path) -> str:
    """Return a file's SHA-256 as 64 hex digits; WeightsError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error


def record(entry: WeightsEntry) -> Mapping[str, InstalledFile]:
    """Return what is recorded about an entry's installed files, by name; empty where nothing is."""
    return _files(_read(folder(entry) / RECORD))


def write_record(
    place: Path, files: tuple[InstalledFile, ...], own: WeightsEntry | None = None
) -> None:
    """Write `installed.json` into a folder; `own` describes imported weights."""
    plain = [asdict(file) | {"trust": file.trust.value} for file in files]
    content: dict[str, Any] = {"schema": SCHEMA, "files": plain}
    if own is not None:
        content["imported"] = {
            "architecture": own.architecture,
            "sensor": own.sensor.value,
            "output": own.output.value,
            "gain_rule": own.gain_rule.value,
            "source": own.source,
            "description": own.description,
        }
    (place / RECORD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def imported() -> Mapping[str, WeightsEntry]:
    """Return the entries of the user's own imported weights, by name."""
    entries = {}
    for path in sorted(root().glob(f"[!.]*/{RECORD}")):
        place = path.parent
        if place.name not in registry.ENTRIES and not place.is_symlink():
            content = _read(path)
            if "imported" in content:
                entries[place.name] = _own(place, content)
    return entries


def remove(entry: WeightsEntry) -> bool:
    """Delete an entry's files, record and partial download; False where there were none."""
    if entry.bundled:
        raise WeightsError(f"{entry.name} is part of darkroom and cannot be removed")
    places = [place for place in (folder(entry), partial_folder(entry)) if place.exists()]
    for place in places:
        refuse_links(place)
    if places:
        with lock_entry(entry, REMOVE_SECONDS, waiting=lambda: None):
            try:
                for place in places:
                    shutil.rmtree(place)
            except OSError as error:
                raise WeightsError(f"cannot remove {error.filename}: {error.strerror}") from error
    return bool(places)


@contextmanager
def lock_entry(entry: WeightsEntry, timeout: float, waiting: Callable[[], None]) -> Iterator[None]:
    """Keep other processes and threads from changing an entry; `waiting` is called if one is at it.

    `timeout` in seconds. Raises WeightsError when it passes, or where the lock cannot be made. The
    system frees the lock of a process that dies.
    """
    from filelock import FileLock, Timeout  # 36 ms that listing models need not take

    path = root() / f".{registry.check_name(entry.name)}.lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            waiting()
            held = lock.acquire(timeout)
    except Timeout as error:
        raise WeightsError(
            f"another darkroom holds {path} for {timeout:g} s: try again later"
        ) from error
    except OSError as error:
        raise WeightsError(
            f"cannot write {path.parent}: {error.strerror}; set DARKROOM_WEIGHTS to another folder"
        ) from error
    with held:
        yield


def partial_folder(entry: WeightsEntry) -> Path:
    """Return the hidden folder in which an entry's files are gathered before they are installed."""
    return root() / f".{registry.check_name(entry.name)}.partial"


def _fetch_command(entry: WeightsEntry) -> str:
    return "reinstall darkroom" if entry.bundled else f"darkroom fetch-weights {entry.name}"


def _read(path: Path) -> Mapping[str, Any]:
    refuse_links(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: delete its folder, then fetch again") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise WeightsError(f"{path} is not of schema {SCHEMA}: delete its folder, then fetch again")
    return content


def _files(content: Mapping[str, Any]) -> Mapping[str, InstalledFile]:
    try:
        files = [
            InstalledFile(
                name=FileEntry(item["name"], (), sha256=item["sha256"]).name,
                size=int(item["size"]),
                sha256=item["sha256"],
                origin=str(item["origin"]),
                trust=Trust(item["trust"]),
            )
            for item in content.get("files", [])
        ]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"damaged {RECORD} ({error}): delete its folder, fetch again") from error
    return {file.name: file for file in files}


def _own(place: Path, content: Mapping[str, Any]) -> WeightsEntry:
    facts = content["imported"]
    try:
        return WeightsEntry(
            name=place.name,
            architecture=str(facts["architecture"]),
            sensor=Sensor(facts["sensor"]),
            output=Output(facts["output"]),
            gain_rule=GainRule(facts["gain_rule"]),
            trained_on=(),
            files=tuple(
                FileEntry(file.name, (), file.size, file.sha256)
                for file in _files(content).values()
            ),
            licence=OWN_LICENCE,
            source=str(facts["source"]),
            description=str(facts["description"]),
        )
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"{place / RECORD} is damaged: delete {place}, import again") from error
