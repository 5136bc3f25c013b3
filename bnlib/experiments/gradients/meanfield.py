"""Random deep networks at infinite width: cosines, variances and the growth of gradients.

Width goes to infinity at a fixed batch; weights are independent and Gaussian. The formulas are
derived in the chapter on gradients and set beside networks of finite width there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]

RELU_SHARE = 1 - 1 / math.pi
"""Share of a ReLU's second moment that is variance, for a standard normal argument."""


def kernel0(c: float) -> float:
    """Return twice the probability that two Gaussians of correlation c are both positive.

    Notes
    -----
    J0(c) = (pi - arccos c) / pi; source: Cho & Saul (2009).
    """
    return 1 - math.acos(c) / math.pi


def kernel1(c: float) -> float:
    """Return 2 E relu(z) relu(z') of two standard normals of correlation c.

    Notes
    -----
    J1(c) = (sqrt(1 - c^2) + (pi - arccos c) c) / pi; source: Cho & Saul (2009).
    """
    return math.sqrt(1 - c * c) / math.pi + c * kernel0(c)


def expectation(f: Function) -> float:
    """Return E f(z) of a standard normal z, for smooth f, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    return float(weights @ f(nodes)) / math.sqrt(2 * math.pi)


def relu_growth(batch: int) -> float:
    """Return the growth per layer of the gradient's norm: linear, BN, ReLU, at a batch size.

    Notes
    -----
    Squared: (B - 2 + J0 + J1) / ((B - 3)(1 - J1)), the kernels at -1/(B - 1). For large batches
    the square is pi / (pi - 1).

    Raises
    ------
    ValueError
        If the batch has three samples or fewer: the expectation is infinite.
    """
    _check(batch)
    j0, j1 = kernel0(-1 / (batch - 1)), kernel1(-1 / (batch - 1))
    return math.sqrt((batch - 2 + j0 + j1) / ((batch - 3) * (1 - j1)))


def linear_growth(batch: int) -> float:
    """Return the growth per layer of the gradient's norm: linear and BN only, at a batch size.

    Raises
    ------
    ValueError
        If the batch has three samples or fewer.
    """
    _check(batch)
    return math.sqrt((batch - 2) / (batch - 3))


def smooth_growth(f: Function, slope: Function) -> float:
    """Return the growth per layer of the gradient's norm: linear, BN, f, at large batches.

    Notes
    -----
    Squared: E f'(z)^2 / Var f(z), which is at least 1 for every f (Poincare's inequality).
    """
    mean = expectation(f)
    variance = expectation(lambda z: (f(z) - mean) ** 2)
    return math.sqrt(expectation(lambda z: slope(z) ** 2) / variance)


def plain_cosine(depth: int, c: float = 0.0) -> float:
    """Return the cosine of two inputs after ``depth`` ReLU layers without BN: J1 iterated."""
    for _ in range(depth):
        c = kernel1(c)
    return c


def residual_spread(blocks: int, c: float = 0.0) -> float:
    """Return the growth of the variance over inputs after residual ReLU blocks without BN.

    Notes
    -----
    x + W relu(x), He's weights. The second moment doubles; the variance grows per block by
    1 + (1 - J1(c)) / (1 - c), c the cosine of two inputs, which becomes (c + J1(c)) / 2.
    """
    growth = 1.0
    for _ in range(blocks):
        growth *= 1 + (1 - kernel1(c)) / (1 - c)
        c = (c + kernel1(c)) / 2
    return growth


def tanh_growth() -> float:
    """Return `smooth_growth` of tanh."""
    return smooth_growth(np.tanh, lambda z: 1 - np.tanh(z) ** 2)


def sigmoid_growth() -> float:
    """Return `smooth_growth` of the sigmoid, tanh(z / 2) / 2 + 1/2."""
    return smooth_growth(lambda z: np.tanh(z / 2) / 2, lambda z: (1 - np.tanh(z / 2) ** 2) / 4)


def residual_growth(low: int, high: int) -> float:
    """Return the growth of the gradient's norm from block ``high`` down to block ``low``.

    Notes
    -----
    x + W relu(BN(x)), He's weights, inputs of variance 1, large batches: the variance is
    1 + l (1 - 1/pi) in front of block l, and that block multiplies the squared norm by one plus
    its inverse.
    """
    return math.sqrt(math.prod(1 + 1 / (1 + k * RELU_SHARE) for k in range(low, high)))


def rms_growth() -> tuple[float, float]:
    """Return the fixed cosine, and the growth there, of ReLU behind division by the batch's RMS.

    Notes
    -----
    A unit's inputs are m + sqrt(1 - c) e, m of variance c shared by the batch. Large batches.
    """

    def after(c: float) -> float:
        v = 1 - c

        def ratio(t: NDArray[np.float64]) -> NDArray[np.float64]:
            m = math.sqrt(c) * t
            density = np.exp(-m * m / (2 * v)) / math.sqrt(2 * math.pi)
            mean = m * ndtr(m / math.sqrt(v)) + math.sqrt(v) * density  # E relu(m + sqrt(v) e)
            return np.asarray(mean**2 / (m * m + v))

        return 2 * expectation(ratio)

    c = float(brentq(lambda c: after(c) - c, 0.05, 0.95))
    return c, math.sqrt(expectation(lambda t: 1 / (c * t * t + 1 - c)))


def _check(batch: int) -> None:
    if batch <= 3:
        raise ValueError(f"growth is finite for batches of four and more, got {batch}")
