"""Brighten extremely dark RAW photos with neural networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.batch import BatchOptions, enhance_all
    from darkroom.journal import Outcome

__version__ = "0.1.0"

__all__ = ["BatchOptions", "Outcome", "__version__", "enhance_all"]

_HOMES = {
    "BatchOptions": "darkroom.batch",
    "Outcome": "darkroom.journal",
    "enhance_all": "darkroom.batch",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import darkroom` needs no torch (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
