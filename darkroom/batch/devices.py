"""Where networks run in a batch: how many at a time, and what happens when one fails."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch

from darkroom.errors import UsageError
from darkroom.models.device import count_devices, is_known
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.pipeline import Options, Picture, enhance
from darkroom.raw.image import RawImage
from darkroom.weights.registry import ENTRIES

MAX_AT_ONCE = 4
"""Photos that are in networks on the processor at the same time, at most, each with its share of
the threads: more would wait for each other at Python's interpreter. Source: not measured."""
DEVICE_TRIES = 3
"""After so many errors in a row an accelerator is taken for broken and left alone."""


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """A finished picture, the model as it ran (maybe elsewhere than meant), and its seconds."""

    picture: Picture
    model: Model
    seconds: float


def count_at_once(model: Model) -> int:
    """Return how many photos may be in a network at the same time: as torch's threads allow.

    On a processor each photo has threads of its own, and none waits for another's: threads that
    share a layer wait for the slowest of them, which others' rendering and encoding holds up. 12
    megapixels took 1.10 s each on two cores, 0.75 so, and 0.86 GB, not 1.19. But only where a
    network runs by bands of rows, and needs little memory. One elsewhere.
    """
    if model.device.type != "cpu" or model.architecture.halo is None:
        return 1
    # What takes the photo's noise runs so once it is tuned to it.
    by_rows = any(getattr(part, "by_rows", False) for part in model.network.modules())
    return min(torch.get_num_threads(), MAX_AT_ONCE) if by_rows else 1


class DeviceLock:
    """One thread at a time runs the network; the others prepare and render their photos.

    On an accelerator it is held while work is queued, not until that is done: the device always has
    some, and photos cross the bus meanwhile on streams of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits = threading.local()

    def __enter__(self) -> None:
        started = perf_counter()
        self._lock.acquire()
        self._waits.seconds = self.waited() + perf_counter() - started

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def waited(self) -> float:
        """Return the seconds that this thread has waited for the lock, ever."""
        return getattr(self._waits, "seconds", 0.0)


class Device:
    """A model on its device, shared by threads; the processor stands by for accelerators."""

    def __init__(self, model: Model, at_once: int = 1) -> None:
        """`at_once`: photos that may be in the network at the same time."""
        self._lock = DeviceLock()
        self.model = replace(model, lock=self._lock) if at_once == 1 else model
        # Now, because after an error nothing may be read from the device any more.
        self._standby = None if model.device.type == "cpu" else model.on_cpu()
        self._errors = 0

    def run(self, raw: RawImage, options: Options, watch: Callable[[float], None]) -> DeviceRun:
        """Enhance one photo; an accelerator's error makes it the processor's."""
        started = perf_counter() - self._lock.waited()
        picture, model = self._enhance(raw, options, watch)
        seconds = perf_counter() - self._lock.waited() - started
        return DeviceRun(picture, model.for_sensor(raw.cfa.sensor), seconds)

    def _enhance(
        self, raw: RawImage, options: Options, watch: Callable[[float], None]
    ) -> tuple[Picture, Model]:
        """Enhance on the device itself, or where that fails on the processor."""
        if self._standby is None:
            return enhance(raw, self.model, options, watch), self.model
        note = f"{self.model.device} failed before; done on the CPU"
        if self._errors < DEVICE_TRIES:
            try:
                picture = enhance(raw, self.model, options, watch)
            except RuntimeError as error:  # what torch raises for all that devices report
                self._errors += 1
                reason = str(error).partition("\n")[0]
                note = f"{self.model.device}: {reason}; done on the CPU"
            else:
                self._errors = 0
                return picture, self.model
        picture = enhance(raw, self._standby, options, watch)
        return replace(picture, warnings=(*picture.warnings, note)), self._standby


def load_models(
    name_or_path: str | Path,
    device: str = "auto",
    precision: str = "auto",
    norm_statistics: str = "stored",
    bits: int = 8,
) -> tuple[Model, ...]:
    """Load a model once per device: `device` as for `load_model`, or cuda:all for all there are.

    So with other accelerators: xpu:all.
    """
    kind, colon, which = device.partition(":")
    if not colon or which != "all":
        return (load_model(name_or_path, device, precision, norm_statistics, bits),)
    count = count_devices(kind) if is_known(kind) else 0
    if count == 0:
        raise UsageError(f"--device {device}: there is no {kind.upper()} device; use --device cpu")
    places = [f"{kind}:{n}" for n in range(count)]
    return tuple(load_model(name_or_path, one, precision, norm_statistics, bits) for one in places)


def weights_sha256(model: Model) -> str:
    """Return the SHA-256 of a model's tensors as they run: names, shapes, formats, values."""
    digest = hashlib.sha256(f"{model.output.value} {model.dtype}".encode())
    if model.counterpart is not None:
        files = ENTRIES[model.counterpart.name].files
        digest.update("".join(str(file.sha256) for file in files).encode())
    tensors = model.network.state_dict()
    if model.amplifier is not None:
        found = model.amplifier.state_dict().items()
        tensors = {**tensors, **{f"amplifier.{name}": tensor for name, tensor in found}}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
