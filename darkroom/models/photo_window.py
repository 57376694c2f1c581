"""A window of a packed photo, which goes on by reflection past its bottom and right."""

import torch
from torch import Tensor

from darkroom.mosaic.packed_photo import PackedPhoto

Packed = Tensor | PackedPhoto
"""A packed photo (C, h, w), whole, or made window by window."""


def take_window(packed: Packed, rows: range, cols: range) -> Tensor:
    """Take rows and columns of packed pixels, all channels: (C, rows, columns).

    They may reach past the bottom and right, where the photo is reflected.
    """
    sides = [
        _reflected(one, size) for one, size in zip((rows, cols), packed.shape[1:], strict=True)
    ]
    down, right = (slice(int(side.min()), int(side.max()) + 1) for side in sides)
    window = torch.as_tensor(packed[:, down, right])
    # One axis after the other: whole rows are copied ten times as fast as single sites.
    if rows.stop > packed.shape[1]:
        window = window.index_select(1, (sides[0] - down.start).to(window.device))
    if cols.stop > packed.shape[2]:
        window = window.index_select(2, (sides[1] - right.start).to(window.device))
    return window


def _reflected(indices: range, size: int) -> Tensor:
    """Return indices with those past the last site mirrored about it, as often as needed.

    Sites at an even distance keep their parity, so X-Trans keeps its phase.
    """
    period = max(2 * (size - 1), 1)
    folded = torch.arange(indices.start, indices.stop) % period
    return torch.minimum(folded, period - folded).clamp(0, size - 1)
