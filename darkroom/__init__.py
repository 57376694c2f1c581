"""Brighten extremely dark RAW photos with neural networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.batch.record import Outcome
    from darkroom.batch.run import BatchOptions, enhance_all
    from darkroom.errors import DarkroomError
    from darkroom.models.loading import load_model
    from darkroom.models.model import Model
    from darkroom.pipeline import Options, Picture, enhance
    from darkroom.raw.image import RawImage
    from darkroom.raw.reader import read_raw

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
    "BatchOptions": "darkroom.batch.run",
    "DarkroomError": "darkroom.errors",
    "Model": "darkroom.models.model",
    "Options": "darkroom.pipeline",
    "Outcome": "darkroom.batch.record",
    "Picture": "darkroom.pipeline",
    "RawImage": "darkroom.raw.image",
    "enhance": "darkroom.pipeline",
    "enhance_all": "darkroom.batch.run",
    "load_model": "darkroom.models.loading",
    "read_raw": "darkroom.raw.reader",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import darkroom` needs no torch (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
