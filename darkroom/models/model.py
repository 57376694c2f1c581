"""A network ready to run: weights by name or file, on a device, in a precision."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from darkroom.errors import SensorError, UsageError
from darkroom.gain import GainNetwork, GainRule
from darkroom.models.architectures.base import Architecture, Conditions
from darkroom.models.row_bands import Recording
from darkroom.models.tiling import Grid
from darkroom.mosaic.noise import Noise
from darkroom.raw.image import Color, RawImage, Sensor
from darkroom.weights import registry
from darkroom.weights.registry import Output

NO_LOCK = nullcontext()


@dataclass(frozen=True, slots=True)
class Model:
    """A network, where and how it runs, and what shapes cannot say about it.

    `network`: where it takes the photo's noise it waits on the processor, in float32, for
    `conditioned`. `trained_on`: patterns (fnmatch) of the cameras that it was trained on; empty
    means any. `gain_network`: for the learned rule of the gain. `amplifier`: what came with the
    weights to find the gain, on the processor: (N, C, h, w), not amplified, to (N,) gains. `lock`:
    held while the network runs, where threads share a device. `counterpart`: the same for the other
    kind of sensor, where there is one. `notes`: a line for what is in doubt about the weights, as
    which of two networks they are of. `norm_statistics`: what batch norms go by, stored or photo.
    """

    name: str
    network: nn.Module
    architecture: Architecture
    output: Output
    gain_rule: GainRule
    device: torch.device
    dtype: torch.dtype
    trained_on: tuple[str, ...] = ()
    gain_network: GainNetwork | None = None
    amplifier: nn.Module | None = None
    lock: AbstractContextManager[None] = NO_LOCK
    counterpart: "Model | None" = None
    notes: tuple[str, ...] = ()
    norm_statistics: str = "stored"

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
        if self.by_rows:
            height = packed.shape[2]
            bands = self._run_rows(lambda first, stop: packed[:, :, first:stop], packed.shape)
            count, scale = len(packed), self.architecture.scale
            picture = torch.empty(count, 3, height * scale, packed.shape[3] * scale)
            first = 0
            for rows in bands:
                picture[:, :, first : first + rows.shape[2]] = rows
                first += rows.shape[2]
            return picture
        with self.lock:
            whole: Tensor = self.network(packed.to(self.device, _input_dtype(self)))
        return whole.float()

    @property
    def by_rows(self) -> bool:
        """Whether it runs by bands of rows: what processors do best, and need little memory for."""
        able = getattr(self.network, "by_rows", False) and self.architecture.halo is not None
        return able and self.device.type == "cpu"

    def run_bands(
        self, photo: Callable[[int, int], Tensor], shape: tuple[int, int, int]
    ) -> Iterator[Tensor]:
        """Yield the picture that the model makes of a photo, rows after rows: (3, rows, s*w).

        `photo`: gives rows of the packed photo from the first to before the second, (C, rows, w).
        `shape`: of the whole, (C, h, w), as of `__call__`. Only where it is `by_rows`.
        """
        for rows in self._run_rows(lambda first, stop: photo(first, stop)[None], (1, *shape)):
            yield rows[0]

    def _run_rows(
        self, photo: Callable[[int, int], Tensor], shape: Sequence[int]
    ) -> Iterator[Tensor]:
        """Yield the rows of N pictures, (N, 3, rows, s*w), float32."""
        dtype = _input_dtype(self)
        recording = Recording.of(self.network, tuple(shape))
        bands = recording.run(
            lambda first, stop: photo(first, stop).to(dtype),
            recording.band(self.architecture.multiple, dtype.itemsize),
        )
        while True:
            with self.lock, torch.inference_mode():
                rows = next(bands, None)
                if rows is None:
                    return
                rows = rows.float()
            yield rows

    @property
    def takes_noise(self) -> bool:
        """Whether the network runs only once it is `conditioned` to a photo."""
        return self.architecture.condition is not None

    def conditioned(self, noise: Noise, color: Color) -> "Model":
        """Return the model for one photo, told of its noise after amplification and its colours.

        Raises UsageError where the network takes none, or where the white balance is unknown.
        """
        condition = self.architecture.condition
        if condition is None or color.white_balance is None:
            raise UsageError(f"{self.name}: only a network that takes noise can be conditioned")
        network = condition(self.network, Conditions.of(noise, color.white_balance))
        return replace(
            self,
            network=place_network(network, self.device, self.dtype),
            architecture=replace(self.architecture, condition=None),
            counterpart=None,  # it is for this photo now, and a fallback to the processor copies it
        )

    def for_sensor(self, sensor: Sensor) -> "Model":
        """Return the model for a kind of sensor: itself, or its counterpart where that fits."""
        if self.counterpart is None or self.architecture.sensor is sensor:
            return self
        return replace(self.counterpart, lock=self.lock, counterpart=self)

    def with_note(self, line: str) -> "Model":
        """Return the model with one note more, its counterpart too."""
        other = self.counterpart and self.counterpart.with_note(line)
        return replace(self, notes=(*self.notes, line), counterpart=other)

    def on_cpu(self) -> "Model":
        """Return the same network on the processor, in float32; this one stays as it is."""
        state = {name: t.to("cpu", torch.float32) for name, t in self.network.state_dict().items()}
        cpu = torch.device("cpu")
        network = place_network(self.architecture.build(state).eval(), cpu, torch.float32)
        counterpart = self.counterpart and self.counterpart.on_cpu()
        return replace(
            self, network=network, device=cpu, dtype=torch.float32, counterpart=counterpart
        )

    def check(self, raw: RawImage) -> tuple[str, ...]:
        """Return warnings about using this model on a photo, its notes first; empty if all is well.

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
            return self.notes
        cameras = ", ".join(self.trained_on)
        warning = f"{self.name} was trained on {cameras} only; colours of {camera} will be off"
        return (*self.notes, f"{warning}: {_advice(found)}")


def place_network(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a network; with channels last its convolutions run near the machine's rate.

    Parts that the network calls `exact` stay in float32, and so does what is not in a part.
    """
    exact = getattr(network, "exact", ())
    if exact:
        for name, part in network.named_children():
            part.to(device, torch.float32 if name in exact else dtype)
        network.to(device)
    else:
        network.to(device, dtype)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _input_dtype(model: Model) -> torch.dtype:
    """Return what a network's input is given as: float32 where parts of it are exact."""
    return torch.float32 if getattr(model.network, "exact", ()) else model.dtype


def _advice(sensor: Sensor) -> str:
    """Name the bundled model for any camera with this kind of sensor."""
    fits = [e.name for e in registry.ENTRIES.values() if e.sensor is sensor and not e.trained_on]
    return f"try --model {fits[0]}" if fits else "no bundled model fits it"
