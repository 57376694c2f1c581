"""A network as darktable 5.6 installs it: a zip with an ONNX graph and what to feed it.

darktable passes tiles of the mosaic as they are, black 0 and white 1, in the photo's white balance
with green 1, and takes camera RGB of the same brightness back, of which it keeps each photosite's
own colour. It tells neither noise nor gain. So the noise of one photo is part of the graph, which
fits its camera at its ISO, and the gain is each tile's own, which brings its brightest spot to
white.

Source: darktable-ai-sdk, docs/dtmodel-format.md; darktable 5.6, src/common/ai/restore.h,
`bayer_v1`; darktable-ai, the config.json of rawdenoise-nind in release-5.6.0.
"""

import io
import json
import re
import zipfile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom import __version__
from darkroom.errors import UsageError
from darkroom.models.model import Model
from darkroom.models.onnx_export import (
    SCHEMA,
    Graph,
    NoiseSource,
    TellingNoise,
    add_card,
    build_graph,
    describe_licence,
)
from darkroom.raw.image import Sensor
from darkroom.weights.registry import WeightsEntry

TILE = 512
"""Packed pixels along each side of a tile, of which darktable overlaps 32 with each neighbour.

Source: what darktable's own model takes, rawdenoise-nind.
"""
MAX_GAIN = 300.0
"""Source: the largest ratio that safelight was trained with, SID's."""
SPOT = 2
"""Packed pixels along a spot, so that a single hot photosite does not decide the gain."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of the zip's members: the same model makes the same file."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class DarktableDenoiser(nn.Module):
    """A network for camera RGB, told of one photo's noise, as a graph that darktable can call."""

    balance: Tensor

    def __init__(self, network: nn.Module, source: NoiseSource) -> None:
        super().__init__()
        facts = source.describe(gain=1.0)
        self.network = TellingNoise(network)
        self.shot, self.read = facts["shot"], facts["read"]
        self.clipped, self.black_known = float(facts["clipped"]), float(facts["black_known"])
        self.register_buffer("balance", torch.tensor([facts["white_balance"]]))

    def forward(self, packed: Tensor) -> Tensor:
        """(1, 4, h, w), white balance with green 1 -> (1, 3, 2h, 2w), neither amplified."""
        green = self.balance[:, 1, None, None, None]  # where the least multiplier is 1
        light = packed * green
        brightest = functional.avg_pool2d(light, SPOT).amax(dim=(1, 2, 3))
        gain = 1 / brightest.clamp(min=1 / MAX_GAIN)  # (1,)
        picture: Tensor = self.network(
            light * gain[:, None, None, None],
            gain * self.shot,
            gain * self.read,
            torch.full_like(gain, self.clipped),
            self.balance,
            torch.full_like(gain, self.black_known),
        )
        return picture / (gain[:, None, None, None] * green)


def check_model(model: Model) -> None:
    """Raise UsageError for a network that is of no use to darktable."""
    if not model.takes_noise:
        raise UsageError(
            f"--dtmodel: {model.name} paints finished pictures, and darktable wants camera RGB; "
            "take safelight or safelight-large"
        )
    if model.architecture.sensor is not Sensor.BAYER:
        raise UsageError(
            f"--dtmodel: {model.name} is for X-Trans sensors, which darktable runs no such models "
            "for; take safelight or safelight-large"
        )


def check_id(name: str) -> str:
    """Return a model's id, which is the file's name without .dtmodel. Raises UsageError."""
    if not _ID.fullmatch(name):
        raise UsageError(
            f"{name}.dtmodel: darktable takes the file's name for the model's id; "
            "use letters, digits and . _ - alone"
        )
    return name


def export_dtmodel(
    model: Model, entry: WeightsEntry | None, source: NoiseSource, model_id: str
) -> bytes:
    """Return a .dtmodel: a network on the processor, in float32, for photos as noisy as `source`.

    Raises UsageError for a network that darktable cannot use, for an id that it would refuse, and
    where the extra `onnx` is missing.
    """
    check_model(model)
    check_id(model_id)
    contract = {
        "schema": SCHEMA,
        "producer": f"darkroom {__version__}",
        "model": model.name,
        "format": "darktable bayer_v1",
        "licence": describe_licence(entry),
        "photo": source.describe(gain=1.0),
    }
    graph = Graph(
        DarktableDenoiser(model.network, source),
        {"packed": torch.rand(1, model.architecture.channels, TILE, TILE)},
        None,
    )
    proto = build_graph(graph)
    add_card(proto, model.name, entry, contract)
    text = json.dumps(_describe(model, entry, source, model_id), indent=4, ensure_ascii=False)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (
            ("config.json", f"{text}\n".encode()),
            ("model_bayer.onnx", proto.SerializeToString()),
        ):
            member = zipfile.ZipInfo(f"{model_id}/{name}", EPOCH)
            member.external_attr = 0o644 << 16
            archive.writestr(member, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _describe(
    model: Model, entry: WeightsEntry | None, source: NoiseSource, model_id: str
) -> dict[str, Any]:
    """Return the config.json."""
    iso = f"ISO {source.iso:g}" if source.iso else ""
    fits = ", ".join(part for part in (source.camera, iso) if part)
    licence = describe_licence(entry)
    card = {
        "long_description": "Made for the darkest photos. Fits photos of the same camera at the "
        "same ISO as the one whose noise it was told: at other ISOs it smooths too much, or "
        "leaves noise.",
        "scope": "raw image denoising",
        "source": licence["source"],
        "license": licence["name"],
        "notes": f"not amplified, shot noise is {source.noise.shot:.3g} and read noise "
        f"{source.noise.read:.3g} of white",
    }
    if entry is not None and entry.bundled:
        card |= {
            "author": "The darkroom developers",
            "training_data": "clean photographs behind simulated sensors",
            "training_data_license": "CC0, CC-BY, CC-BY-SA, Unsplash, Pexels, Pixabay, MIT",
        }
    return {
        "id": model_id,
        "name": f"raw denoise {model.name}" + (f" ({fits})" if fits else ""),
        "description": "darkroom's denoiser and demosaicer for Bayer sensors, for the noise of "
        f"{source.name}",
        "task": "rawdenoise",
        "arch": model.architecture.name,
        "backend": "onnx",
        "version": "1.0",
        "tiling": True,
        "model_card": {key: text for key, text in card.items() if text},
        "attributes": {
            "input_sizes": [TILE],
            "model_bayer": {
                "input_kind": "bayer_v1",
                "bayer_orientation": "force_rggb",
                "edge_pad": "mirror_cropped",
                "wb_norm": "as_shot",
                "output_scale": "absolute",
            },
        },
    }
