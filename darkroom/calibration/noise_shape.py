"""The shape of read noise: from its excess kurtosis to Tukey's lambda, which training draws by.

Source: Joiner & Rosenblatt, "Some properties of the range in samples from Tukey's symmetric lambda
distributions", JASA 66 (1971), for the moments; Wei et al., "A Physics-based Noise Formation
Model", CVPR 2020, section 4, for read noise being of this shape.
"""

from functools import cache
from math import lgamma

import numpy as np
from numpy.typing import NDArray

MIN_LAMBDA, MAX_LAMBDA = -0.2, 0.5
"""Below -1/4 there is no kurtosis; 0.5 is far flatter than any noise."""
STEPS = 141
SINGULAR = 0.004
"""About 0, where the formula cancels, its neighbours are interpolated."""
ROUNDING_CUMULANT = -1 / 120
"""Fourth cumulant that rounding to whole numbers adds: that of a uniform width of 1."""


def find_lambda(excess_kurtosis: float) -> float:
    """Return Tukey's lambda of noise with so much excess kurtosis, within the limits above."""
    shapes, kurtosis = _table()
    return float(np.interp(-excess_kurtosis, -kurtosis, shapes))


def without_rounding(excess_kurtosis: float, variance: float) -> float:
    """Return the excess kurtosis of noise before it was rounded to whole numbers.

    `variance`: rounding included.
    """
    before = max(variance - 1 / 12, 0.5 * variance)
    return (excess_kurtosis * variance**2 - ROUNDING_CUMULANT) / before**2


def tukey_kurtosis(shape: float) -> float:
    """Return the excess kurtosis of Tukey's distribution of a lambda above -1/4, not 0."""
    first, second, third, fourth = (np.exp(lgamma(k * shape + 1)) for k in range(1, 5))
    scale = (2 * shape + 1) ** 2 / (2 * (4 * shape + 1))
    inner = second**2 * (3 * second**2 - 4 * first * third + fourth)
    return float(scale * inner / (fourth * (first**2 - second) ** 2) - 3)


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lambdas, rising, and their excess kurtosis, falling."""
    shapes = np.linspace(MIN_LAMBDA, MAX_LAMBDA, STEPS)
    shapes = shapes[np.abs(shapes) > SINGULAR]
    return shapes, np.array([tukey_kurtosis(shape) for shape in shapes])
