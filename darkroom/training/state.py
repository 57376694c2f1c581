"""What a training run needs to go on exactly where it stood, as one safetensors file.

Tensors are its tensors; all else is JSON in its metadata: numbers come back to the last bit, and
nothing in the file could run code. Files appear whole or not at all.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from darkroom.errors import UsageError
from darkroom.output.atomic import atomic_write

STATE = "state.safetensors"
"""Name of the file in a run's folder."""

SAVE_SECONDS = 60.0
"""From one saving to the next; what came after the last is done again, to the same bits."""

FORMAT = "darkroom-training-1"

DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
    SafetensorError,
)
"""What is raised where a file is no whole state, or one of another network."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested dictionaries and lists of tensors, numbers and texts."""
    tensors: dict[str, Tensor] = {}
    facts = {"format": FORMAT, "state": json.dumps(_describe(state, "", tensors))}
    with atomic_write(path, overwrite=True) as stream:
        stream.write(pack_tensors(tensors, facts))


def read_state(path: Path) -> dict[str, Any]:
    """Read what `write_state` wrote, tensors on the processor; lists for tuples.

    Raises UsageError where the file is damaged, or none of ours.
    """
    try:
        with safe_open(path, "pt", device="cpu") as file:
            facts = file.metadata() or {}
            if facts.get("format") != FORMAT:
                raise ValueError(facts)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state = _rebuild(json.loads(facts["state"]), tensors)
        if not isinstance(state, dict):
            raise TypeError(state)
    except DAMAGED as error:
        raise damaged(path) from error
    return state


def pack_tensors(tensors: dict[str, Tensor], facts: dict[str, str]) -> bytes:
    """Return a safetensors file whose bytes follow from what is in it alone.

    The library writes the facts in another order each time.
    """
    content = save(tensors, facts)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = facts
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as the format asks
    return len(text).to_bytes(8, "little") + text + content[end:]


def read_step(state: Mapping[str, Any], steps: int) -> int:
    """Return the step that a state stands at. Raises what is in DAMAGED where none of a run's."""
    step = state["step"]
    if type(step) is not int or not 0 <= step <= steps:
        raise ValueError(step)
    return step


def damaged(path: Path) -> UsageError:
    """Return the error for a file that cannot be gone on from."""
    return UsageError(
        f"{path} is damaged, or of another kind of training; give a new folder, or delete it to "
        "begin anew"
    )


def _describe(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Turn a value into JSON, its tensors into their names; keys of dictionaries keep their type.

    JSON knows no other keys than texts, and optimisers number their parameters.
    """
    if isinstance(value, Tensor):
        # A copy in plain order: safetensors keeps neither strides nor shared memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        inner = [(key, _describe(one, f"{name}/{key}", tensors)) for key, one in value.items()]
        return {"items": inner}
    if isinstance(value, list | tuple):
        return [_describe(one, f"{name}/{i}", tensors) for i, one in enumerate(value)]
    return value


def _rebuild(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put a value together again."""
    if isinstance(value, list):
        return [_rebuild(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    return {key: _rebuild(one, tensors) for key, one in value["items"]}


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimiser its state back, each tensor laid out in memory as its parameter is.

    Fused steps walk over both side by side. Raises what is in DAMAGED where it does not fit.
    """
    optimiser.load_state_dict(state)
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)
