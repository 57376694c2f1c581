"""Muon: a step for convolutions whose size is the same in all directions of their matrix."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

# Coefficients and number of the Newton-Schulz iterations, momentum.
# Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95
# Root mean square of a step's elements at rate 1, about AdamW's.
# Source: Liu et al., "Muon is Scalable for LLM Training", 2025, section 2.2.
STEP_SIZE = 0.2
TINY = 1e-7
NOTHING = 1e-15


class Muon(Optimizer):
    """Muon with decoupled weight decay, for the weights of convolutions: (N, ...) as (N, rest).

    PyTorch has one for matrices, which iterates in bfloat16: on processors without it a step of
    safelight's takes three times as long.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step along the gradients that are there."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
                ahead = weight.grad.lerp(momentum, MOMENTUM)  # Nesterov's
                matrix = orthogonalise(ahead.flatten(1))
                size = STEP_SIZE * max(matrix.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(matrix.view(ahead.shape), alpha=-group["lr"] * size)
        return loss


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return (n, m) with its singular values moved near 1, 0.7 to 1.2, and its vectors kept."""
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    # Features that died leave numbers so small that processors multiply them three times as slowly.
    wide = functional.hardshrink(wide / (wide.norm() + TINY), NOTHING)
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(square, square, square, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
