"""What batch normalization must satisfy whatever the numbers: found by Hypothesis or not at all.

In float64, where an identity that holds is off by rounding and one that does not is off by
much more.
"""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bnlib import blocked
from bnlib.functional import (
    batch_norm,
    batch_norm_backward,
    merge_moments,
    moments,
)

seeds = st.integers(0, 2**31 - 1)
samples = st.integers(3, 12)
channels = st.integers(1, 5)
places = st.integers(1, 6)
epsilons = st.sampled_from([0.0, 1e-5, 1e-2, 1.0])


def randn(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def train(x: Tensor, weight: Tensor | None = None, eps: float = 0.0) -> Tensor:
    return batch_norm(x, None, None, weight, None, training=True, eps=eps)


def assert_equal(ours: Tensor, theirs: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@given(seeds, samples, channels, places, st.floats(0.01, 100), st.floats(-100, 100))
def test_affine_invariance(seed, n, c, length, a, b):
    x = randn(seed, n, c, length)
    assert_equal(train(a * x + b), train(x), 1e-6)
    assert_equal(train(-a * x + b), -train(x), 1e-6)


@given(seeds, samples, channels, st.floats(0.1, 10))
def test_eps_breaks_scale_invariance_by_a_known_amount(seed, n, c, a):
    x, eps = randn(seed, n, c), 0.1
    assert_equal(train(a * x, eps=eps * a * a), train(x, eps=eps))
    var = moments(x).var
    assert_equal(train(x, eps=eps).var(0, correction=0), var / (var + eps))


@given(seeds, samples, channels, places, epsilons, st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_the_output(seed, n, c, length, eps, random):
    x, order = randn(seed, n, c, length), list(range(n))
    random.shuffle(order)
    assert_equal(train(x[order], eps=eps), train(x, eps=eps)[order])


@given(seeds, samples, channels, places, epsilons)
def test_places_are_samples(seed, n, c, length, eps):
    """(N, C, L) is normalised as (N L, C)."""
    x = randn(seed, n, c, length)
    flat = x.transpose(1, 2).reshape(n * length, c)
    assert_equal(train(x, eps=eps).transpose(1, 2).reshape(n * length, c), train(flat, eps=eps))


@given(seeds, samples, channels, places, epsilons)
def test_channels_do_not_mix(seed, n, c, length, eps):
    x = randn(seed, n, c, length)
    y = train(x, eps=eps)
    for channel in range(c):
        alone = slice(channel, channel + 1)
        assert_equal(train(x[:, alone], eps=eps), y[:, alone])


@given(seeds, samples, channels, places, epsilons)
def test_output_has_mean_zero_and_variance_just_below_one(seed, n, c, length, eps):
    x = randn(seed, n, c, length)
    mean, var, _ = moments(train(x, eps=eps))
    before = moments(x).var
    assert_equal(mean, torch.zeros_like(mean))
    assert_equal(var, before / (before + eps))


def gradient(x: Tensor, g: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(train(x, weight, eps), x, g)[0]


@given(seeds, samples, channels, places, epsilons)
def test_gradient_sums_to_zero(seed, n, c, length, eps):
    x, g = randn(seed, n, c, length), randn(seed + 1, n, c, length)
    dx = gradient(x, g, randn(seed + 2, c), eps)
    assert dx.abs().max() > 1e-6
    assert_equal(dx.sum((0, 2)) / dx.abs().amax((0, 2)), torch.zeros(c, dtype=torch.float64))


@given(seeds, samples, channels, places, epsilons)
def test_gradient_along_the_output_is_what_eps_leaves(seed, n, c, length, eps):
    """<dx, xhat> = (gamma/s) (eps/(v + eps)) <dy, xhat>: orthogonal exactly when eps = 0."""
    x, g, weight = randn(seed, n, c, length), randn(seed + 1, n, c, length), randn(seed + 2, c)
    xhat, var = train(x, eps=eps), moments(x).var
    left = (gradient(x, g, weight, eps) * xhat).sum((0, 2))
    right = weight / (var + eps).sqrt() * eps / (var + eps) * (g * xhat).sum((0, 2))
    scale = (g.norm() * weight.norm() / var.min().sqrt()).item()
    torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-12 * n * length * scale)


@given(seeds, samples, channels, places)
def test_gradient_loses_two_directions(seed, n, c, length):
    """Its squared norm is that of dy, less the parts along 1 and along xhat (eps = 0)."""
    x, g = randn(seed, n, c, length), randn(seed + 1, n, c, length)
    xhat, (_, var, m) = train(x), moments(x)
    dx = gradient(x, g, torch.ones(c, dtype=torch.float64), 0.0)

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((0, 2))

    kept = inner(g, g) - inner(g, torch.ones_like(g)) ** 2 / m - inner(g, xhat) ** 2 / m
    assert_equal(inner(dx, dx) * var, kept, 1e-7)


@given(seeds, samples, channels, places, epsilons)
def test_gradient_depends_on_dy_symmetrically(seed, n, c, length, eps):
    """The Jacobian of each channel is symmetric: <a, J b> = <b, J a>."""
    x, a, b = (randn(seed + i, n, c, length) for i in range(3))
    mean, var, _ = moments(x)
    one_way, other = (batch_norm_backward(g, x, mean, var, None, eps)[0] for g in (a, b))
    assert_equal((one_way * b).sum(), (other * a).sum(), 1e-7)


@given(seeds, st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(any), channels, places)
def test_shards_merge_into_the_whole(seed, sizes, c, length):
    x = randn(seed, sum(sizes), c, length) * 3 + 10
    merged, whole = merge_moments([moments(part) for part in x.split(sizes)]), moments(x)
    assert merged.count == whole.count
    assert_equal(merged.mean, whole.mean)
    assert_equal(merged.var, whole.var)


@given(seeds, st.integers(1, 60), channels, places, st.floats(-1e3, 1e3), st.booleans())
def test_blocked_moments_are_the_moments(seed, n, c, length, offset, flat):
    x = randn(seed, n, c, length) + offset
    x = x.transpose(1, 2).reshape(-1, c) if flat else x
    size = blocked.BLOCK
    try:
        blocked.BLOCK = 40
        found = blocked.moments(x)
    finally:
        blocked.BLOCK = size
    expected = moments(x)
    assert found.count == expected.count
    assert_equal(found.mean, expected.mean)
    assert_equal(found.var, expected.var)


@given(seeds, samples, channels, st.floats(0, 1), st.floats(0, 1))
def test_running_statistics_are_an_exponential_filter(seed, n, c, first, second):
    batches = [randn(seed + i, n, c) for i in range(2)]
    mean, var = torch.zeros(c).double(), torch.ones(c).double()
    for x, momentum in zip(batches, (first, second), strict=True):
        batch_norm(x, mean, var, training=True, momentum=momentum)
    for found, start, of in (
        (mean, 0.0, lambda x: x.mean(0)),
        (var, 1.0, lambda x: x.var(0, correction=1)),
    ):
        once = (1 - first) * start + first * of(batches[0])
        assert_equal(found, (1 - second) * once + second * of(batches[1]))
