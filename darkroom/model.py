"""A network ready to run: weights by name or file, on a device, in a precision."""

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from darkroom.errors import CheckpointError, SensorError, UsageError
from darkroom.files.sensor import Color, RawImage, Sensor
from darkroom.gain import GainRule
from darkroom.nets import ARCHITECTURES, identify, named
from darkroom.nets.base import Architecture, Conditions, Shapes, shapes_of
from darkroom.noise import Noise
from darkroom.tiling import Grid
from darkroom.weights import checkpoint, registry, store, tensorflow
from darkroom.weights.kinds import Output

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

NO_TURNS = nullcontext()

NATIVE_BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
"""Processor flags, as Linux names them (x86, x86, ARM), with which bfloat16 beats float32."""

HALF_CAPABILITY = (7, 0)
"""CUDA compute capability from which float16 runs on tensor cores. Source: CUDA C guide."""


@dataclass(frozen=True, slots=True)
class Model:
    """A network, where and how it runs, and what shapes cannot say about it.

    `network`: where it takes the photo's noise it waits on the processor, in float32, for `tuned`.

    `trained_on`: patterns (fnmatch) of the cameras that it was trained on; empty means any.
    `amplifier`: what came with the weights to find the gain, on the processor: (N, C, h, w), not
    amplified, to (N,) gains. `turns`: held while the network runs, where threads share a device.
    `twin`: name of the weights to take for the other kind of sensor, empty where there are none.
    """

    name: str
    network: nn.Module
    architecture: Architecture
    output: Output
    gain_rule: GainRule
    device: torch.device
    dtype: torch.dtype
    trained_on: tuple[str, ...] = ()
    amplifier: nn.Module | None = None
    turns: AbstractContextManager[None] = NO_TURNS
    twin: str = ""

    @property
    def grid(self) -> Grid:
        """What the network asks of tiles."""
        known = self.architecture
        return Grid(known.multiple, known.halo, known.scale, known.any_size)

    @torch.inference_mode()
    def __call__(self, packed: Tensor) -> Tensor:
        """Run the network: (N, C, h, w) amplified packed mosaics to (N, 3, s*h, s*w) pictures.

        h and w are multiples of the architecture's, unless it takes any. The result is float32, on
        the model's device.
        """
        with self.turns:
            picture: Tensor = self.network(packed.to(self.device, self.dtype))
        return picture.float()

    @property
    def takes_noise(self) -> bool:
        """Whether the network runs only once it is `tuned` to a photo."""
        return self.architecture.tune is not None

    def tuned(self, noise: Noise, color: Color) -> "Model":
        """Return the model for one photo, told of its noise after amplification and its colours.

        Raises UsageError where the network takes none, or where the white balance is unknown.
        """
        tune = self.architecture.tune
        if tune is None or color.white_balance is None:
            raise UsageError(f"{self.name}: only a network that takes noise can be tuned")
        network = tune(self.network, Conditions.of(noise, color.white_balance))
        return replace(
            self,
            network=_placed(network, self.device, self.dtype),
            architecture=replace(self.architecture, tune=None),
        )

    def suited(self, raw: RawImage) -> "Model":
        """Return the model for a photo's kind of sensor: itself, or its twin, loaded once."""
        if not self.twin or self.architecture.sensor is raw.cfa.sensor:
            return self
        return replace(_load_once(self.twin, self.device, self.dtype), turns=self.turns)

    def on_cpu(self) -> "Model":
        """Return the same network on the processor, in float32; this one stays as it is."""
        state = {name: t.to("cpu", torch.float32) for name, t in self.network.state_dict().items()}
        cpu = torch.device("cpu")
        network = _placed(self.architecture.build(state).eval(), cpu, torch.float32)
        return replace(self, network=network, device=cpu, dtype=torch.float32)

    def check(self, raw: RawImage) -> tuple[str, ...]:
        """Return warnings about using this model on a photo; empty where it was made for it.

        Raises SensorError where the photo's colour filter array is of another kind.
        """
        camera = raw.camera or "this photo"
        wanted, found = self.architecture.sensor, raw.cfa.sensor
        if wanted is not found:
            kinds = {Sensor.BAYER: "Bayer", Sensor.XTRANS: "X-Trans"}
            raise SensorError(
                f"{self.name} is made for {kinds[wanted]} sensors, {camera} has {kinds[found]}: "
                f"{_advice(found)}"
            )
        if registry.fits_camera(self.trained_on, raw.camera):
            return ()
        cameras = ", ".join(self.trained_on)
        warning = f"{self.name} was trained on {cameras} only; colours of {camera} will be off"
        return (f"{warning}: {_advice(found)}",)


def load_model(name_or_path: str | Path, device: str = "auto", precision: str = "auto") -> Model:
    """Return the network of a registered name or a checkpoint file, ready to run.

    A file whose tensors fit two networks goes to the first; NETWORK=FILE says which it is, as in
    sid-norm-last=weights.pth. An amplifier in the file finds the gain unless another rule is asked
    for. `device`: auto, cpu, cuda or cuda:N. `precision`: auto, fp32, bf16 or fp16; auto is
    bfloat16 on processors that have it, float16 on GPUs that are fast at it, else float32. Raises
    WeightsError where weights are unknown, missing or changed, CheckpointError where no network
    recognises them, UsageError for a device or precision that is not there.
    """
    place = find_device(device)
    dtype = find_dtype(precision, place)
    return _load(name_or_path, place, dtype)


@cache
def _load_once(name: str, place: torch.device, dtype: torch.dtype) -> Model:
    """Load weights by name and keep them: twins are asked for again with every photo."""
    return _load(name, place, dtype)


def _load(name_or_path: str | Path, place: torch.device, dtype: torch.dtype) -> Model:
    source = find_source(name_or_path)
    state = checkpoint.read_checkpoint(source.path)
    architecture = source.identify(shapes_of(state))
    network = architecture.load(state)
    if architecture.tune is None:
        network = _placed(network, place, dtype)
    amplifier = architecture.amplifier(state)
    facts = source.entry or _published(source.path)
    if facts is not None:
        _check_tensors(source.path, facts, architecture)
    known = facts or architecture
    return Model(
        name=source.path.stem if facts is None else facts.name,
        network=network,
        architecture=architecture,
        output=known.output,
        gain_rule=known.gain_rule if amplifier is None else GainRule.LLPACKNET,
        device=place,
        dtype=dtype,
        trained_on=() if facts is None else facts.trained_on,
        amplifier=amplifier,
        twin="" if facts is None else facts.twin,
    )


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


def find_source(name_or_path: str | Path) -> Source:
    """Find the weights of a registered name, a checkpoint file or NETWORK=FILE.

    Raises WeightsError where weights are unknown, missing or changed, CheckpointError where a file
    is not there.
    """
    network, equals, file = str(name_or_path).partition("=")
    if equals and named(network):
        path = Path(file).expanduser()
        if not _is_there(path):
            raise CheckpointError(f"{path} is not there; give NETWORK=FILE, as in {network}=FILE")
        return Source(path, networks=named(network))
    entry = _entry(name_or_path)
    if entry is None:
        return Source(Path(name_or_path))
    # Where tensors fit two networks, the entry says which one it is.
    first = named(entry.architecture)
    return Source(store.verify(entry), entry, (*first, *ARCHITECTURES))


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


def _placed(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a network; with channels last its convolutions run near the machine's rate."""
    network.to(device, dtype)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _advice(sensor: Sensor) -> str:
    """Name the bundled model for any camera with this kind of sensor."""
    fits = [e.name for e in registry.ENTRIES.values() if e.sensor is sensor and not e.trained_on]
    return f"try --model {fits[0]}" if fits else "no bundled model fits it"


def find_device(name: str) -> torch.device:
    """Return the device of a name: auto, cpu, cuda or cuda:N; UsageError where it is not there."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise UsageError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    index = int(match[1] or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise UsageError(f"--device {name} is not there ({count} CUDA devices); use --device cpu")
    return torch.device("cuda", index)


def find_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format of a name on a device; UsageError where it cannot be used there."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.get_device_capability(device) >= HALF_CAPABILITY
            return torch.float16 if fast else torch.float32
        return torch.bfloat16 if native_bfloat16() else torch.float32
    if precision not in DTYPES:
        raise UsageError(f"--precision {precision}: use auto, fp32, bf16 or fp16")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs CUDA; use bf16 or fp32 on the processor")
    return DTYPES[precision]


def native_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Say whether the processor multiplies bfloat16 itself; False where Linux does not tell."""
    if not cpuinfo.is_file():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = {
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()
    }
    return not flags.isdisjoint(NATIVE_BFLOAT16)
