"""The variants of BN: each against PyTorch's own layer, applied the long way round."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnlib.experiments.noise.layers import GhostNoise, GhostNorm
from bnlib.experiments.noise.networks import Company, add_dropout
from bnlib.lab.models import mlp
from bnlib.layers import GhostBatchNorm

SHAPES = [(12, 3), (12, 3, 5), (12, 3, 4, 2)]


def randomised(layer: nn.Module) -> nn.Module:
    """Give a layer random scale and shift, in float64."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


@pytest.mark.parametrize("shape", SHAPES)
def test_ghost_norm_is_bn_on_each_part(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = randomised(GhostNorm(3, size=4))
    oracle = GhostBatchNorm(3, 4).double()
    oracle.load_state_dict(layer.state_dict())
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(layer(x), oracle(x))
    for ours, theirs in zip(
        torch.autograd.grad(layer(x), [x, *layer.parameters()], grad),
        torch.autograd.grad(oracle(x), [x, *oracle.parameters()], grad),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_ghost_norm_running_statistics_are_the_mean_over_parts() -> None:
    torch.manual_seed(0)
    layer, x = GhostNorm(3, size=4).double(), torch.randn(12, 3, dtype=torch.float64)
    layer(x)
    parts = x.split(4)
    mean = sum(part.mean(0) for part in parts) / 3
    var = sum(part.var(0) for part in parts) / 3
    torch.testing.assert_close(layer.running_mean, 0.1 * mean)
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * var)


@pytest.mark.parametrize("kind", [GhostNorm, GhostNoise])
@pytest.mark.parametrize("shape", SHAPES)
def test_evaluation_is_that_of_bn(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = randomised(kind(3, size=4))
    layer(torch.randn(shape, dtype=torch.float64))
    oracle = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](3).double()
    oracle.load_state_dict(layer.state_dict())
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(layer.eval()(x), oracle.eval()(x))


@pytest.mark.parametrize("shape", SHAPES)
def test_ghost_noise_normalises_by_moments_of_other_rows(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = GhostNoise(3, size=4).double(), torch.randn(shape, dtype=torch.float64)
    torch.manual_seed(1)
    found = layer(x)
    torch.manual_seed(1)
    order = torch.randperm(12)
    axes = (0, *range(2, len(shape)))
    view = (1, 3, *[1] * (len(shape) - 2))
    xhat = nn.functional.batch_norm(x, None, None, training=True)
    for rows, drawn in zip(torch.arange(12).split(4), order.split(4), strict=True):
        var, mean = torch.var_mean(xhat[drawn], axes, correction=0)
        expected = (xhat[rows] - mean.view(view)) / (var.view(view) + 1e-5).sqrt()
        torch.testing.assert_close(found[rows], expected)


def test_ghost_noise_has_the_law_of_ghost_batches() -> None:
    torch.manual_seed(0)
    x = torch.randn(128, 20_000)
    xhat = (x - x.mean(0)) / x.std(0, correction=0)
    ghost, noise = GhostNorm(20_000, size=16), GhostNoise(20_000, size=16)
    # What a row's normalisation subtracts and divides by, recovered from two rows of a ghost.
    laws = []
    for layer in (ghost, noise):
        y = layer(x).detach()
        slope = (y[0] - y[1]) / (xhat[0] - xhat[1])
        shift = xhat[0] - y[0] / slope
        laws.append((shift.var().item(), slope.reciprocal().square().var().item()))
    for first, second in zip(*laws, strict=True):
        assert first == pytest.approx(second, rel=0.05)


def test_ghost_noise_sends_no_gradient_through_its_moments() -> None:
    torch.manual_seed(0)
    layer = GhostNoise(3, size=4).double()
    x = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(12, 3, dtype=torch.float64)
    torch.manual_seed(1)
    y = layer(x)
    xhat = nn.functional.batch_norm(x, None, None, training=True)
    slope = torch.stack(
        [(p[0] - p[1]) / (q[0] - q[1]) for p, q in zip(y.split(4), xhat.split(4), strict=True)]
    )
    slope = slope.detach().repeat_interleave(4, 0)
    torch.testing.assert_close(
        torch.autograd.grad(y, x, grad)[0], torch.autograd.grad(xhat, x, grad * slope)[0]
    )


def test_company_takes_part_in_the_statistics_and_leaves() -> None:
    torch.manual_seed(0)
    net = mlp([4, 5, 2], "bn")
    pool, x = torch.randn(20, 4), torch.randn(6, 4)
    torch.manual_seed(1)
    found = Company(net, pool, 8)(x)
    torch.manual_seed(1)
    rows = torch.randperm(20)[:8]
    torch.testing.assert_close(found, net(torch.cat([x, pool[rows]]))[:6])
    torch.testing.assert_close(Company(net, pool, 8).eval()(x), net.eval()(x))


def test_dropout_stands_behind_each_relu() -> None:
    net = add_dropout(nn.Sequential(mlp([4, 5, 5, 2]), nn.ReLU()), 0.25)
    drops = [m for m in net.modules() if isinstance(m, nn.Dropout)]
    assert [d.p for d in drops] == [0.25] * 3
    assert add_dropout(mlp([4, 5, 2], activation="tanh"), 0.5)(torch.ones(1, 4)).shape == (1, 2)
