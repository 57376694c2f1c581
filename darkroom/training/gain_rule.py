"""Train the learned gain rule: photographs as their photographers exposed them, darkened.

    python -m darkroom.training.gain_rule PHOTOS OUTPUT.safetensors

Each photograph is cropped, seen by a random camera through a random white balance, darkened 1 to
300 times, given a sensor's noise, and measured as `darkroom.gain` measures photos. The wanted gain
is the darkening. Bayer or X-Trans makes no difference to block means, so one amplifier serves both.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Generator, Tensor, nn

from darkroom.gain.learned import NAMES, features
from darkroom.gain.metering import read_light
from darkroom.gain.percentile import key_of
from darkroom.gain.types import MAX_GAIN, MIN_GAIN
from darkroom.mosaic.demosaic import sample_mosaic
from darkroom.mosaic.packing import BAYER
from darkroom.output.atomic import atomic_write, spare_inputs
from darkroom.raw.image import Color, RawImage
from darkroom.training.noise_model import draw_sensors, expose, log_uniform, uniform
from darkroom.training.scenes import BLUE_GAIN, LINEAR, RED_GAIN, draw_cameras, load_photos, relight

SIDE = 8
BLOCKS = 48
MIN_CROP = 0.5  # share of the frame's area
RELIT = 6  # one scene in so many gets its lamps back
BOOST = 8.0
HIDDEN = 16
STEPS = 400
RATE = 1e-2
DECAY = 0.1
HUBER = 0.3  # stops


@dataclass(frozen=True, slots=True)
class Samples:
    """Darkened photographs: (n, F) features, (n,) log2 of the key that each should have."""

    features: NDArray[np.float64]
    keys: NDArray[np.float64]


def darken_photo(photo: NDArray[np.uint8], generator: Generator) -> tuple[RawImage, float]:
    """Photograph a photo in too little light: the RAW, and the gain that it needs.

    The RAW holds only the blocks that would be measured on a large photo, side by side.
    """
    linear = crop_frame(torch.from_numpy(np.take(LINEAR, photo)).permute(2, 0, 1), generator)
    if int(torch.randint(RELIT, (), generator=generator)) == 0:
        linear = relight(linear, BOOST * float(torch.rand((), generator=generator)))
    balance = torch.ones(3)
    balance[0] = uniform(*RED_GAIN, 1, generator).item()
    balance[2] = uniform(*BLUE_GAIN, 1, generator).item()
    camera = draw_cameras(1, generator)[0] / balance[:, None]
    rgb = torch.einsum("ij,jhw->ihw", camera, sample_patches(linear, generator)).clamp(min=0)
    gain = log_uniform(MIN_GAIN, MAX_GAIN, 1, generator)
    sensors = replace(draw_sensors(1, generator), white=gain)
    noisy = (expose(sample_mosaic(rgb[None], BAYER), sensors, generator) / gain)[0].numpy()
    black, white = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    color = Color(balance.double().numpy(), np.eye(3))
    return RawImage(noisy, BAYER, black, white, color), gain.item()


def crop_frame(linear: Tensor, generator: Generator) -> Tensor:
    """Cut (3, H, W) to between MIN_CROP and all of its area, in its own proportions."""
    share = (MIN_CROP + (1 - MIN_CROP) * float(torch.rand((), generator=generator))) ** 0.5
    for axis in (1, 2):
        size = int(linear.shape[axis] * share)
        start = int(torch.randint(linear.shape[axis] - size + 1, (), generator=generator))
        linear = linear.narrow(axis, start, size)
    return linear


def sample_patches(linear: Tensor, generator: Generator) -> Tensor:
    """Take BLOCKS x BLOCKS patches of 2, 4 or 8 pixels from (3, h, w), each SIDE wide then.

    Blocks of a large photo are smaller parts of it than those of a small one.
    """
    pixels = (2, 4, 8)[int(torch.randint(3, (), generator=generator))]
    inside = torch.arange(pixels).repeat_interleave(SIDE // pixels)
    down, right = (
        (torch.linspace(0, size - pixels, BLOCKS).long()[:, None] + inside).flatten()
        for size in linear.shape[1:]
    )
    return linear[:, down][:, :, right]


def draw_samples(photos: list[NDArray[np.uint8]], rounds: int, generator: Generator) -> Samples:
    """Darken every photo `rounds` times; those with no light left are left out."""
    rows, keys = [], []
    for photo in photos * rounds:
        raw, gain = darken_photo(photo, generator)
        reading = read_light(raw)
        key = key_of(reading)
        if key.value > 0:
            rows.append(features(reading, key))
            keys.append(np.log2(key.value * gain))
    return Samples(np.array(rows), np.array(keys))


def fit_gain_network(samples: Samples, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Fit the amplifier's tensors: a Huber loss in stops, full batches, AdamW."""
    torch.manual_seed(seed)
    mean, scale = samples.features.mean(axis=0), samples.features.std(axis=0) + 1e-3
    seen = torch.from_numpy(((samples.features - mean) / scale).clip(-4, 4)).float()
    wanted = torch.from_numpy(samples.keys).float()
    network = nn.Sequential(nn.Linear(seen.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = nn.functional.smooth_l1_loss(network(seen)[:, 0], wanted, beta=HUBER)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    first, last = (layer.state_dict() for layer in (network[0], network[2]))
    learned = (first["weight"], first["bias"], last["weight"][0], last["bias"][0])
    values = (mean, scale, *(tensor.numpy() for tensor in learned))
    return {name: value.astype(np.float32) for name, value in zip(NAMES, values, strict=True)}


def train_gain_rule() -> None:
    """Train on a folder of photographs and write the amplifier."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.training.gain_rule")
    parser.add_argument("photos", type=Path, help="a folder of well exposed JPEG or PNG photos")
    parser.add_argument("output", type=Path, help="the amplifier, a safetensors file")
    parser.add_argument("--rounds", type=int, default=11, help="how often each photo is darkened")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another amplifier")
    arguments = parser.parse_args()
    read = list(arguments.photos.glob("**/*"))
    spare_inputs(arguments.output, read)
    torch.set_num_threads(1)  # the arrays are small
    generator = Generator().manual_seed(arguments.seed)
    samples = draw_samples(load_photos(arguments.photos), arguments.rounds, generator)
    # Not by save_file: what it writes nobody but its owner may read, whatever the umask says.
    with atomic_write(arguments.output, overwrite=True, inputs=read) as stream:
        stream.write(save(fit_gain_network(samples, arguments.seed)))


if __name__ == "__main__":
    train_gain_rule()
