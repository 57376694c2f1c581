"""Networks with random weights, for tests that need no picture."""

import numpy as np
import torch

from darkroom.models.architectures.base import Architecture


def random_network(architecture: Architecture) -> torch.nn.Module:
    """The network with seeded random weights that keep signals near 1."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in architecture.dialects[0].items():
        draw = torch.randn(*shape, generator=generator) if shape else torch.ones(())
        spread = max(float(np.prod(shape[1:])), 1.0) ** 0.5
        positive = name.endswith(("weight_g", "running_var"))
        state[name] = draw.abs() / 2 + 0.3 if positive else draw / spread
    return architecture.load(state)
