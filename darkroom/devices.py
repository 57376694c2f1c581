"""Where networks run in a batch: one thread per device, and what happens when a device fails."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch

from darkroom.errors import UsageError
from darkroom.files.sensor import RawImage
from darkroom.model import Model, load_model
from darkroom.pipeline import Options, Picture, enhance

CUDA_TRIES = 3
"""After so many CUDA errors in a row a device is taken for broken and left alone."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished picture, the model as it ran (maybe elsewhere than meant), and its seconds."""

    picture: Picture
    model: Model
    seconds: float


class Device:
    """A model on its device, with a thread of its own; the processor stands by for CUDA."""

    def __init__(self, model: Model) -> None:
        self.model = model
        # Now, because after an error nothing may be read from the device any more.
        self._standby = model.on_cpu() if model.device.type == "cuda" else None
        self._errors = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"network {model.device}")

    def run(self, raw: RawImage, options: Options, watch: Callable[[float], None]) -> Run:
        """Enhance one photo in the device's thread; a CUDA error makes it the processor's."""
        return self._thread.submit(self._run, raw, options, watch).result()

    def close(self) -> None:
        """Wait for the photo at hand and end the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _run(self, raw: RawImage, options: Options, watch: Callable[[float], None]) -> Run:
        started = perf_counter()
        model, notes = self.model, list[str]()
        if self._standby is not None and self._errors >= CUDA_TRIES:
            model, notes = self._standby, [f"{self.model.device} failed before; done on the CPU"]
        try:
            picture = enhance(raw, model, options, watch)
            self._errors = 0 if model is self.model else self._errors
        except RuntimeError as error:  # what torch raises for all that CUDA reports
            if self._standby is None or model is self._standby:
                raise
            self._errors += 1
            reason = str(error).partition("\n")[0]
            notes = [f"{self.model.device}: {reason}; done on the CPU instead"]
            model = self._standby
            picture = enhance(raw, model, options, watch)
        picture = replace(picture, warnings=(*picture.warnings, *notes))
        return Run(picture, model, perf_counter() - started)


def load_models(
    name_or_path: str | Path, device: str = "auto", precision: str = "auto"
) -> tuple[Model, ...]:
    """Load a model once per device: `device` as for `load_model`, or cuda:all for all there are."""
    if device != "cuda:all":
        return (load_model(name_or_path, device, precision),)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise UsageError("--device cuda:all: there is no CUDA device; use --device cpu")
    return tuple(load_model(name_or_path, f"cuda:{n}", precision) for n in range(count))


def weights_sha256(model: Model) -> str:
    """Return the SHA-256 of a model's tensors as they run: names, shapes, formats, values."""
    digest = hashlib.sha256(model.output.value.encode())
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
