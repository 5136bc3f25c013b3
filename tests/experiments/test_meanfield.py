"""The formulas for wide random networks, against samples and against integrals."""

import math

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from bnlib.experiments.gradients import meanfield


def density(x: float, y: float, c: float) -> float:
    q = (x * x - 2 * c * x * y + y * y) / (1 - c * c)
    return math.exp(-q / 2) / (2 * math.pi * math.sqrt(1 - c * c))


@pytest.mark.parametrize("c", [-0.5, -1 / 63, 0.0, 0.8])
def test_kernels_are_the_integrals_that_define_them(c: float) -> None:
    both, _ = dblquad(lambda y, x: density(x, y, c), 0, 10, 0, 10)
    product, _ = dblquad(lambda y, x: x * y * density(x, y, c), 0, 10, 0, 10)
    assert meanfield.kernel0(c) == pytest.approx(2 * both, abs=1e-6)
    assert meanfield.kernel1(c) == pytest.approx(2 * product, abs=1e-6)


def test_large_batches_have_the_limits() -> None:
    assert meanfield.relu_growth(10**7) ** 2 == pytest.approx(math.pi / (math.pi - 1), abs=1e-6)
    assert meanfield.relu_growth(10**7) ** -2 == pytest.approx(meanfield.RELU_SHARE, abs=1e-6)
    assert meanfield.linear_growth(10**7) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("batch", "squared"), [(6, 4 / 3), (12, 10 / 9)])
def test_linear_growth(batch: int, squared: float) -> None:
    assert meanfield.linear_growth(batch) ** 2 == pytest.approx(squared)


@pytest.mark.parametrize("growth", [meanfield.relu_growth, meanfield.linear_growth])
def test_three_samples_have_no_growth(growth) -> None:
    with pytest.raises(ValueError, match="four and more, got 3"):
        growth(3)


def test_relu_growth_is_what_one_wide_layer_does() -> None:
    """One layer of BN and ReLU, backwards, on a batch of eight, by samples and plain formulas."""
    rng, b, units = np.random.default_rng(0), 8, 1_000_000
    j1 = meanfield.kernel1(-1 / (b - 1))
    # What arrives: mean zero over the batch. What BN sees: isotropic apart from the mean.
    g = rng.standard_normal((units, b))
    g -= g.mean(1, keepdims=True)
    z = rng.standard_normal((units, b)) * math.sqrt((1 - j1) / 2)
    z -= z.mean(1, keepdims=True)
    s = z.std(1, keepdims=True)
    xhat = z / s
    masked = g * (xhat > 0)
    dx = masked - masked.mean(1, keepdims=True) - xhat * (masked * xhat).mean(1, keepdims=True)
    found = ((dx / s) ** 2).mean() / (g**2).mean()
    assert found == pytest.approx(meanfield.relu_growth(b) ** 2, rel=0.01)


def test_smooth_growth_of_known_functions() -> None:
    identity = meanfield.smooth_growth(lambda z: z, np.ones_like)
    assert identity == pytest.approx(1.0)
    cubic = meanfield.smooth_growth(lambda z: z**3 - 3 * z + 5, lambda z: 3 * z**2 - 3)
    assert cubic**2 == pytest.approx(3.0)  # Hermite's polynomial of degree three


def test_division_by_the_rms_has_a_fixed_point() -> None:
    c, growth = meanfield.rms_growth()
    integral, _ = quad(lambda t: math.exp(-t * t / 2) / (c * t * t + 1 - c), -12, 12)
    assert growth**2 == pytest.approx(integral / math.sqrt(2 * math.pi), rel=1e-6)
    # One layer of samples at that cosine keeps it.
    rng = np.random.default_rng(0)
    m, e1, e2 = rng.standard_normal((3, 2_000_000))
    rms = np.sqrt(c * m**2 + 1 - c)
    u1, u2 = ((math.sqrt(c) * m + math.sqrt(1 - c) * e) / rms for e in (e1, e2))
    assert 2 * np.mean(np.maximum(u1, 0) * np.maximum(u2, 0)) == pytest.approx(c, abs=0.005)


def test_unrelated_inputs_in_a_wide_network_without_bn() -> None:
    rng, width, samples = np.random.default_rng(0), 1500, 30
    plain = stream = rng.standard_normal((samples, width))
    for _ in range(3):
        weight = rng.standard_normal((width, width)) * math.sqrt(2 / width)
        plain = np.maximum(plain, 0) @ weight
        stream = stream + np.maximum(stream, 0) @ weight
    gram = plain @ plain.T
    cosine = gram[~np.eye(samples, dtype=bool)].mean() / gram.diagonal().mean()
    assert cosine == pytest.approx(meanfield.plain_cosine(3), abs=0.03)
    spread = stream.var(0, ddof=1).mean()
    assert spread == pytest.approx(meanfield.residual_spread(3), rel=0.05)


def test_residual_growth_is_a_product_over_blocks() -> None:
    one = meanfield.residual_growth(3, 4)
    assert one**2 == pytest.approx(1 + 1 / (1 + 3 * meanfield.RELU_SHARE))
    parts = meanfield.residual_growth(0, 3) * one
    assert meanfield.residual_growth(0, 4) == pytest.approx(parts)
    # A power of the depth: its exponent is pi / (2 (pi - 1)).
    ratio = meanfield.residual_growth(0, 20_000) / meanfield.residual_growth(0, 10_000)
    assert math.log2(ratio) == pytest.approx(1 / (2 * meanfield.RELU_SHARE), abs=0.001)
