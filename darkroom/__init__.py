"""Brighten extremely dark RAW photos with neural networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.batch import BatchOptions, enhance_all
    from darkroom.errors import DarkroomError
    from darkroom.files.raw import read_raw
    from darkroom.files.sensor import RawImage
    from darkroom.journal import Outcome
    from darkroom.model import Model, load_model
    from darkroom.pipeline import Options, Picture, enhance

__version__ = "0.1.0"

__all__ = [
    "BatchOptions",
    "DarkroomError",
    "Model",
    "Options",
    "Outcome",
    "Picture",
    "RawImage",
    "__version__",
    "enhance",
    "enhance_all",
    "load_model",
    "read_raw",
]

_HOMES = {
    "BatchOptions": "darkroom.batch",
    "DarkroomError": "darkroom.errors",
    "Model": "darkroom.model",
    "Options": "darkroom.pipeline",
    "Outcome": "darkroom.journal",
    "Picture": "darkroom.pipeline",
    "RawImage": "darkroom.files.sensor",
    "enhance": "darkroom.pipeline",
    "enhance_all": "darkroom.batch",
    "load_model": "darkroom.model",
    "read_raw": "darkroom.files.raw",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import darkroom` needs no torch (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
