"""From a name or a checkpoint file to a model that is ready to run."""

import glob
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from darkroom.errors import CheckpointError, UsageError, printable
from darkroom.gain import GainRule
from darkroom.models.accelerator import caught_out_of_memory, require_float32
from darkroom.models.architectures import (
    ARCHITECTURES,
    find_architectures,
    find_other_readings,
    identify,
)
from darkroom.models.architectures.base import Architecture, Shapes, State, shapes_of
from darkroom.models.device import describe_doubt, find_device, find_dtype
from darkroom.models.model import Model, place_network
from darkroom.weights import checkpoint, registry, store, tensorflow
from darkroom.weights.gain_network import load_gain_network

STATISTICS = ("stored", "photo")
"""What a batch norm may go by: what the checkpoint stores of its training, or the photo itself."""


def load_model(
    name_or_path: str | Path,
    device: str = "auto",
    precision: str = "auto",
    norm_statistics: str = "stored",
    bits: int = 8,
) -> Model:
    """Return the network of a registered name or a checkpoint file, ready to run.

    A file whose tensors fit two networks goes to the first, and the model's notes say so;
    NETWORK=FILE says which it is, as in sid-norm-last=weights.pth. An amplifier in the file finds
    the gain unless another rule is asked for. `device`: as for `find_device`. `precision`:
    auto, fp32, bf16 or fp16; auto is bfloat16 on processors that have it, float16 on GPUs that are
    fast at it, else float32, and float32 everywhere where pictures of more than 8 `bits` per sample
    are to be made. `norm_statistics`: stored, or photo for batch norms as in training,
    which is how a published network was run whose authors never told it to evaluate. Raises
    WeightsError where weights are unknown, missing or changed, CheckpointError where no network
    recognises them, UsageError for a device or precision that is not there, and for the photo's
    statistics where the network has no batch norm. Where a device has no room for the weights the
    network is on the processor, and its notes say so.
    """
    if norm_statistics not in STATISTICS:
        raise UsageError(f"--norm-statistics {norm_statistics}: give {' or '.join(STATISTICS)}")
    place = find_device(device)
    dtype = find_dtype(precision, place, bits)
    require_float32(place)
    with caught_out_of_memory() as caught:
        model = _load_both(name_or_path, place, dtype, norm_statistics)
    doubt = describe_doubt(place)
    if caught:
        doubt = f"{place}: out of memory for the network's weights; it runs on the processor"
        cpu = torch.device("cpu")
        model = _load_both(name_or_path, cpu, torch.float32, norm_statistics)
    return model if doubt is None else model.with_note(doubt)


def _load_both(
    name_or_path: str | Path, place: torch.device, dtype: torch.dtype, norm_statistics: str
) -> Model:
    """Load weights with those for the other kind of sensor, where there are any."""
    model, entry = _load(name_or_path, place, dtype, norm_statistics)
    if entry is None or not entry.counterpart:
        return model
    return replace(model, counterpart=_load(entry.counterpart, place, dtype, norm_statistics)[0])


def _load(
    name_or_path: str | Path, place: torch.device, dtype: torch.dtype, norm_statistics: str
) -> tuple[Model, registry.WeightsEntry | None]:
    """Load weights alone, without those for the other sensor; and their entry, if they have one."""
    source = find_source(name_or_path)
    state = checkpoint.read_checkpoint(source.path)
    architecture = source.identify(shapes_of(state))
    network = architecture.load(state)
    notes = source.list_notes(state, architecture)
    if norm_statistics == "photo":
        architecture = _with_photo_statistics(architecture, source.path, shapes_of(state))
        network = architecture.load(state)
    if architecture.condition is None:
        network = place_network(network, place, dtype)
    amplifier = architecture.amplifier(state)
    facts = source.entry or _published(source.path)
    if facts is not None:
        _check_tensors(source.path, facts, architecture)
    known = facts or architecture
    model = Model(
        name=source.path.stem if facts is None else facts.name,
        network=network,
        architecture=architecture,
        output=known.output,
        gain_rule=known.gain_rule if amplifier is None else GainRule.LLPACKNET,
        device=place,
        dtype=dtype,
        trained_on=() if facts is None else facts.trained_on,
        gain_network=load_gain_network(),
        amplifier=amplifier,
        notes=notes,
        norm_statistics=norm_statistics,
    )
    return model, facts


def _with_photo_statistics(found: Architecture, path: Path, shapes: Shapes) -> Architecture:
    """Return the network whose batch norms take each photo's statistics. Raises UsageError."""
    photo = found.photo_statistics
    if photo is None or not photo.recognise(shapes):
        raise UsageError(
            f"--norm-statistics photo: {path} is {found.name} and has no batch norm; leave it out"
        )
    return photo


@dataclass(frozen=True, slots=True)
class Source:
    """Where weights are: a file, its entry where it has a name, the networks that it may be of."""

    path: Path
    entry: registry.WeightsEntry | None = None
    networks: tuple[Architecture, ...] = ARCHITECTURES

    def identify(self, shapes: Shapes) -> Architecture:
        """Return the network that tensors of these names and shapes belong to.

        Raises CheckpointError, which names the file, where none of them does.
        """
        try:
            return identify(shapes, self.networks)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: {error}") from error

    def list_notes(
        self, state: State, found: Architecture, option: str = "--model"
    ) -> tuple[str, ...]:
        """Say in one line where tensors fit other networks too, which make other pictures of them.

        Nothing is said where an entry or the user names the network, by NETWORK=FILE of `option`.
        """
        others = () if self.entry else find_other_readings(state, found, self.networks)
        if not others:
            return ()
        name, those = (others[0].name, "that") if len(others) == 1 else ("NETWORK", "one of these")
        return (
            f"{self.path}: taken for {_describe(found)}, but its tensors fit "
            f"{' or '.join(map(_describe, others))} as well: {option} {name}={self.path} if it is "
            f"{those}, {option} {found.name}={self.path} if it is not",
        )


def _said_networks(path: Path) -> tuple[Architecture, ...]:
    """Return the networks that a file may be of: those that it names, else all.

    Raises CheckpointError where it names one that is not known.
    """
    name = checkpoint.read_architecture(path)
    found = ARCHITECTURES if name is None else find_architectures(name)
    if not found:
        raise CheckpointError(
            f"{path} says that it is of {printable(str(name))[:40]}, which this darkroom does not "
            "know: update darkroom, or give NETWORK=FILE"
        )
    return found


def _describe(network: Architecture) -> str:
    """Name a network, with what it takes ambiguous tensors to mean."""
    return f"{network.name} ({network.reading})" if network.reading else network.name


def find_source(name_or_path: str | Path) -> Source:
    """Find the weights of a registered name, a checkpoint file or NETWORK=FILE.

    Raises WeightsError where weights are unknown, missing or changed, CheckpointError where a file
    is not there.
    """
    network, equals, file = str(name_or_path).partition("=")
    if equals and find_architectures(network):
        path = Path(file).expanduser()
        if not _is_there(path):
            raise CheckpointError(f"{path} is not there; give NETWORK=FILE, as in {network}=FILE")
        return Source(path, networks=find_architectures(network))
    if equals and not Path(name_or_path).exists() and _is_there(Path(file).expanduser()):
        known = ", ".join(dict.fromkeys(one.name for one in ARCHITECTURES))
        raise CheckpointError(f"{network}={file}: no network is called {network}; known: {known}")
    entry = _entry(name_or_path)
    path = Path(name_or_path) if entry is None else store.verify(entry)
    entry = entry or _published(path)
    if entry is None:
        return Source(path, networks=_said_networks(path))
    # Where tensors fit two networks, the entry says which one it is.
    return Source(path, entry, (*find_architectures(entry.architecture), *ARCHITECTURES))


def list_files(name_or_path: str | Path) -> list[Path]:
    """Return the files that `load_model` reads for a name, a file or NETWORK=FILE, if there.

    For what must not write over them.
    """
    name = str(name_or_path)
    entry = {**registry.ENTRIES, **store.imported()}.get(name)
    if entry is not None:
        found = [store.folder(entry) / file.name for file in entry.files]
    else:
        found = [Path(text).expanduser() for text in (name, name.partition("=")[2]) if text]
        for path in [path for path in found if tensorflow.is_bundle(path)]:
            prefix = tensorflow.index_path(path).stem
            found += path.parent.glob(f"{glob.escape(prefix)}.*")
    return [path for path in found if path.is_file()]


def _is_there(path: Path) -> bool:
    return path.exists() or tensorflow.is_bundle(path)


def _entry(name_or_path: str | Path) -> registry.WeightsEntry | None:
    """Return the entry of a name, or None for the path of a file."""
    if isinstance(name_or_path, str) and name_or_path in registry.ENTRIES:
        return registry.ENTRIES[name_or_path]
    path = Path(name_or_path)
    if _is_there(path):
        return None
    if isinstance(name_or_path, Path) or path.suffix or len(path.parts) > 1:
        raise CheckpointError(f"{path} is not there; darkroom models lists the known names")
    return store.find(name_or_path)


def _published(path: Path) -> registry.WeightsEntry | None:
    """Return the entry whose first file is this one, byte for byte; None where none is known."""
    if not path.is_file():
        return None
    digest = store.sha256(path)
    known = (entry for entry in registry.ENTRIES.values() if entry.files[0].sha256 == digest)
    return next(known, None)


def _check_tensors(path: Path, entry: registry.WeightsEntry, found: Architecture) -> None:
    """Raise CheckpointError where a file's tensors are of another network than its entry says.

    Variants of one network, as llpacknet and llpacknet-2020 are, go by the same names.
    """
    if entry.sensor is not found.sensor:
        raise CheckpointError(f"{path}: {entry.name} is for another sensor than its tensors are")
    if entry.architecture.partition("-")[0] != found.name.partition("-")[0]:
        raise CheckpointError(
            f"{path}: its tensors are those of {found.name}, not of {entry.name}: "
            f"darkroom fetch-weights {entry.name} --remove, then fetch it again"
        )
