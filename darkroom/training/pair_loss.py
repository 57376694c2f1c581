"""How far pictures are from their references, as the papers' training measures it."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from darkroom.errors import UsageError

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
}
"""By name: (N, 3, H, W) pictures and targets to a mean, a scalar."""


def find_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a name. Raises UsageError, which lists the names, where there is none."""
    if name not in LOSSES:
        raise UsageError(f"--loss {name}: unknown; give one of {', '.join(LOSSES)}")
    return LOSSES[name]
