"""A network as an ONNX file, for programs that run it without darkroom."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from darkroom import __version__
from darkroom.errors import UsageError, printable
from darkroom.models.architectures.base import MIN_READ, MIN_SHOT, Conditions
from darkroom.models.model import Model
from darkroom.mosaic.noise import Noise
from darkroom.mosaic.packing import BAYER, BAYER_SITES, XTRANS, XTRANS_SITES
from darkroom.raw.image import Color, Sensor
from darkroom.weights.registry import Output, WeightsEntry

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""The oldest set of operators that torch's exporter writes without converting."""

SCHEMA = 1
NEEDED = "export needs ONNX: pip install 'darkroom[onnx]'"

NOISE_INPUTS = ("shot", "read", "clipped", "white_balance", "black_known")
"""What networks that are told of a photo's noise take beside the mosaic."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A module as it is exported: names of its inputs, and one example of each.

    Of the first input, whose sides are on a network's grid, height and width stay free where
    `multiple` is not None. The module's one output is called picture.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    multiple: int | None


@dataclass(frozen=True, slots=True)
class NoiseSource:
    """The photo whose noise is part of a graph.

    `name`: the file's, without its folder. `camera`, `iso`: as the file says. `gain`: what it needs
    to be as bright as wanted. `noise`: before amplification. `color`: with a white balance.
    """

    name: str
    camera: str
    iso: float | None
    gain: float
    noise: Noise
    color: Color

    def describe(self, gain: float) -> dict[str, Any]:
        """Return the facts for a contract, the noise after so much amplification."""
        balance = self.color.white_balance
        assert balance is not None, "it is measured where the file has none"
        noise = self.noise.amplified(gain)
        return {
            "name": self.name,
            "camera": self.camera,
            "iso": self.iso,
            "gain": gain,
            "shot": noise.shot,
            "read": noise.read,
            "clipped": noise.clipped,
            "black_known": noise.black_known,
            "white_balance": (balance / balance.min()).tolist(),
        }


class TellingNoise(nn.Module):
    """A network that is told of a photo's noise, its conditions as plain inputs of the graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        packed: Tensor,
        shot: Tensor,
        read: Tensor,
        clipped: Tensor,
        white_balance: Tensor,
        black_known: Tensor,
    ) -> Tensor:
        """(1, C, h, w), (1,), (1,), (1,) 0 or 1, (1, 3), (1,) 0 or 1 -> (1, 3, s*h, s*w)."""
        conditions = Conditions(
            shot=shot.clamp(min=MIN_SHOT),
            read=read.clamp(min=MIN_READ),
            clipped=clipped,
            white_balance=white_balance / white_balance.amin(dim=1, keepdim=True),
            black_known=black_known,
        )
        picture: Tensor = self.network(packed, conditions)
        return picture


def export_model(
    model: Model, entry: WeightsEntry | None, source: NoiseSource | None = None
) -> tuple[bytes, dict[str, Any]]:
    """Return an ONNX file of a model on the processor, in float32, and its contract, for JSON.

    The contract says what a caller has to know; the file holds it too. `source`: a photo whose
    noise is folded in, else the noise of each photo is an input, if the network takes any. Raises
    UsageError for the noise of a photo where the network takes none, and where the extra `onnx` is
    missing.
    """
    if source is not None:
        model = model.conditioned(source.noise.amplified(source.gain), source.color)
    contract = describe_contract(model, entry)
    if source is not None:
        contract["photo"] = source.describe(source.gain)
    known = model.architecture
    side = 2 * known.multiple  # 1 would be taken for a constant
    inputs = {"packed": torch.rand(1, known.channels, side, side + known.multiple)}
    module = model.network
    if model.takes_noise:
        module = TellingNoise(module)
        shot, read, no = torch.tensor([1e-3]), torch.tensor([1e-2]), torch.zeros(1)
        examples = (shot, read, no, torch.ones(1, 3), no.clone())
        inputs |= dict(zip(NOISE_INPUTS, examples, strict=True))
    proto = build_graph(Graph(module, inputs, known.multiple))
    _name_sides(proto, known.scale)
    add_card(proto, model.name, entry, contract)
    return proto.SerializeToString(), contract


def describe_contract(model: Model, entry: WeightsEntry | None) -> dict[str, Any]:
    """Say what a caller of the exported network has to know, for JSON."""
    known = model.architecture
    bayer = known.sensor is Sensor.BAYER
    camera = model.output is Output.CAMERA
    scale = known.scale
    sites = (BAYER_SITES if bayer else XTRANS_SITES).tolist()
    inputs: dict[str, Any] = {
        "packed": {
            "shape": [1, known.channels, "height", "width"],
            "pattern": (BAYER if bayer else XTRANS).pattern,
            "sites": sites,
            "meaning": "the mosaic, (value - black) / (white - black) of each site, negative "
            "values kept, times the gain"
            + (", times the white balance of its colour" if camera else "")
            + "; first rows and columns are cut off until it begins with the pattern; sites: row "
            "and column in a block of the pattern of each channel"
            + ("" if bayer else ", for the 2x2 packed pixels of a block in reading order"),
        }
    }
    if model.takes_noise:
        inputs |= {
            "shot": {
                "shape": [1],
                "meaning": "of the noise after the gain, before white balance, "
                "variance(x) = shot * x + read**2; by a DNG's NoiseProfile, its first number "
                "times the gain",
            },
            "read": {
                "shape": [1],
                "meaning": "read noise, as with shot; by a DNG's NoiseProfile, the root of its "
                "second number times the gain",
            },
            "clipped": {"shape": [1], "meaning": "1 where the file holds no values below black"},
            "white_balance": {
                "shape": [1, 3],
                "meaning": "multipliers of R, G, B, in any scale; on packed, the least is 1",
            },
            "black_known": {
                "shape": [1],
                "meaning": "1 where black was measured, on masked pixels or dark frames; 0 where "
                "it is what the file states",
            },
        }
    return {
        "schema": SCHEMA,
        "producer": f"darkroom {__version__}",
        "model": printable(model.name),
        "network": known.name,
        "licence": describe_licence(entry),
        "trained_on": list(model.trained_on),
        "opset": OPSET,
        "dtype": "float32",
        "sensor": "bayer" if bayer else "xtrans",
        "inputs": inputs,
        "black": 0.0,
        "white": 1.0,
        "white_balance": "as shot, the least multiplier 1" if camera else "none",
        "gain": "one number for the photo, at which it is as bright as wanted",
        "multiple": known.multiple,
        "halo": known.halo,
        "padding": "the caller's: reflect the photo at the bottom and right up to multiples of "
        "`multiple`, the last packed pixel not repeated; cut tiles on that grid, with `halo` "
        "packed pixels more on each side (null: run the photo whole)",
        "output": {
            "picture": {
                "shape": [1, 3, f"{scale}*height", f"{scale}*width"],
                "values": model.output.value,
                "meaning": "linear, denoised camera RGB, amplified and white-balanced as the "
                "input, white 1; not clipped"
                if camera
                else "finished sRGB, 0 to 1, in the colours of the camera it was trained on; "
                "clip it",
            }
        },
    }


def describe_licence(entry: WeightsEntry | None) -> dict[str, str]:
    """State the terms of weights; of a file that nobody knows, that they are its own."""
    if entry is None:
        return {"name": "that of the checkpoint", "source": ""}
    terms = entry.licence
    return {"name": terms.name, "url": terms.url, "notice": terms.notice, "source": entry.source}


def check_installed() -> None:
    """Raise UsageError where a library is missing that torch's exporter needs."""
    with _quiet():
        try:
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise UsageError(NEEDED) from error


def build_graph(graph: Graph) -> "ModelProto":
    """Export a module as plain ONNX operators. Raises UsageError where the extra is missing."""
    check_installed()
    with _quiet():
        first, *others = graph.inputs
        sides = None
        if graph.multiple is not None:
            free = {axis: graph.multiple * torch.export.Dim(f"side{axis}") for axis in (2, 3)}
            sides = {first: free} | dict.fromkeys(others)
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamo=True,
            dynamic_shapes=sides and tuple(sides.values()),
            input_names=list(graph.inputs),
            output_names=["picture"],
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None, "the exporter returns a program where no file is named"
        proto: ModelProto = program.model_proto
    _strip(proto)
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter tells its authors, as of operators of other libraries, from users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip(proto: "ModelProto") -> None:
    """Remove the exporter's notes, which hold the paths of this machine's source files."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    del graph.value_info[:]


def _name_sides(proto: "ModelProto", scale: int) -> None:
    """Call the free sides height and width."""
    for value, factor in ((proto.graph.input[0], 1), (proto.graph.output[0], scale)):
        for axis, name in ((2, "height"), (3, "width")):
            dim = value.type.tensor_type.shape.dim[axis]
            dim.dim_param = name if factor == 1 else f"{factor}*{name}"


def add_card(
    proto: "ModelProto", name: str, entry: WeightsEntry | None, contract: dict[str, Any]
) -> None:
    """Write into an ONNX model what it is, on which terms, and how it is called."""
    proto.producer_name, proto.producer_version = "darkroom", __version__
    proto.graph.name = printable(name)
    proto.doc_string = entry.description if entry else printable(name)
    card = {
        "name": printable(name),
        "author": "The darkroom developers" if entry and entry.bundled else "",
        "license": describe_licence(entry)["name"],
        "source": describe_licence(entry)["source"],
        "contract": json.dumps(contract),
    }
    for key, value in card.items():
        proto.metadata_props.add(key=key, value=value)
