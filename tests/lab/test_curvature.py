"""Measurements on the loss surface against dense Hessians and eigenvalues."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from bnlib.experiments.landscape.lp_norm import LpNorm1d
from bnlib.lab.curvature import (
    along,
    fisher_product,
    hessian_product,
    hidden_weights,
    loss_surface,
    mixed_product,
    surface,
    survey,
    top_eigenvalue,
    value_and_gradient,
)
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible

NORMS = {"none": "none", "bn": "bn", "l1": partial(LpNorm1d, p=1)}


def small(norm: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    with reproducible(1):
        model = mlp([4, 6, 5, 3], NORMS[norm], "tanh").double()
        return model, torch.randn(12, 4).double(), torch.randint(3, (12,))


def dense_hessian(norm: str) -> tuple[Tensor, object, Tensor]:
    model, x, y = small(norm)
    loss, w = loss_surface(model, x, y, hidden_weights(model))
    return torch.autograd.functional.hessian(loss, w), loss, w


def test_hidden_weights_are_all_matrices_but_the_heads() -> None:
    model, _, _ = small("bn")
    assert hidden_weights(model) == ["0.weight", "3.weight"]


@pytest.mark.parametrize("norm", NORMS)
def test_surface_is_the_model_in_training_mode_and_leaves_it_alone(norm: str) -> None:
    model, x, y = small(norm)
    model.eval()
    before = copy.deepcopy(model.state_dict())
    loss, w = loss_surface(model, x, y, hidden_weights(model))
    value, g = value_and_gradient(loss, w)
    for key, kept in model.state_dict().items():
        assert torch.equal(kept, before[key])
    assert not model.training
    wanted = nn.functional.cross_entropy(model.train()(x), y)
    wanted.backward()
    grads = [model[i].weight.grad.flatten() for i in (0, 3)]
    assert value == pytest.approx(wanted.item(), rel=1e-12)
    torch.testing.assert_close(g, torch.cat(grads))


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_hessian_product_and_eigenvalue_are_the_dense_ones(norm: str) -> None:
    hessian, loss, w = dense_hessian(norm)
    product = hessian_product(loss, w)
    v = torch.randn(len(w), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(product(v), hessian @ v)
    wanted = torch.linalg.eigvalsh(hessian)[-1].item()
    assert top_eigenvalue(product, v, len(w)) == pytest.approx(wanted, rel=1e-9)
    assert top_eigenvalue(product, v, 15) == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_fisher_is_the_jacobians_square(norm: str) -> None:
    model, x, _ = small(norm)
    outputs, w = surface(model, x, hidden_weights(model))
    jacobian = torch.func.jacrev(outputs)(w).flatten(0, 1)
    fisher = jacobian.T @ jacobian / len(x)
    v = torch.randn(len(w), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fisher_product(outputs, w)(v), fisher @ v)


def test_eigenvalue_of_a_known_matrix() -> None:
    values = torch.tensor([-9.0, 0.5, 1.0, 4.0], dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double())[0]
    matrix = q @ torch.diag(values) @ q.T
    assert top_eigenvalue(lambda v: matrix @ v, torch.ones(4).double()) == pytest.approx(4.0)
    assert top_eigenvalue(lambda v: 3 * v, torch.ones(5).double()) == pytest.approx(3.0)


def test_along_a_parabola() -> None:
    curvature = torch.tensor([2.0, 8.0], dtype=torch.float64)
    loss = lambda w: (curvature * w.square()).sum() / 2  # noqa: E731
    w = torch.tensor([1.0, 0.0], dtype=torch.float64)  # the gradient is (2, 0)
    found = along(loss, w, torch.tensor([-2.0, 0.0]).double(), [0.25, 0.5, 1.0])
    # Points 0.5, 0 and -1: losses 0.25, 0, 1 after 1; gradients 1, 0, -2 after 2.
    assert found["range"] == pytest.approx(1.0)
    assert found["change"] == pytest.approx((1 + 2 + 4) / 3)
    assert found["smoothness"] == pytest.approx(2.0)
    assert found["turn"] == pytest.approx((0 + 1 + 2) / 3)


@pytest.mark.parametrize("p", [1, math.inf])
def test_lp_norm_standardises_a_gaussian_and_follows_its_scale(p: float) -> None:
    x = 3 + 2 * torch.randn(4000, 5, generator=torch.Generator().manual_seed(0)).double()
    layer = LpNorm1d(5, p).double()
    y = layer(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(5).double())
    within = 0.03 if p == 1 else 0.25
    assert (y.std(0) - 1).abs().max() < within
    torch.testing.assert_close(layer(7 * x - 1), y, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("p", [1, math.inf])
def test_lp_norm_evaluates_by_its_running_statistics(p: float) -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)).double()
    layer = LpNorm1d(3, p).double()
    for _ in range(300):
        y = layer(x)
    torch.testing.assert_close(layer.eval()(x), y)
    torch.testing.assert_close(layer(x[:1]), y[:1])


def test_lp_norm_knows_two_norms() -> None:
    with pytest.raises(ValueError, match="1 or infinity"):
        LpNorm1d(3, 2)


def test_survey_relative_measures_ignore_the_scale_of_invariant_weights() -> None:
    model, x, y = small("bn")
    for layer in model:
        if isinstance(layer, nn.BatchNorm1d):
            layer.eps = 1e-30
    found = survey(model, x, y, lr=0.1, iterations=30)
    with torch.no_grad():
        for i in (0, 3):
            model[i].weight.mul_(10)
    scaled = survey(model, x, y, lr=0.1, iterations=30)
    for name, value in found.items():
        if name.startswith("relative") or name == "batch loss":
            assert scaled[name] == pytest.approx(value, rel=1e-6), name
    assert scaled["length"] == pytest.approx(10 * found["length"])
    assert scaled["eigenvalue"] == pytest.approx(found["eigenvalue"] / 100, rel=1e-6)
    assert scaled["gradient"] == pytest.approx(found["gradient"] / 10)


@pytest.mark.parametrize("norm", NORMS)
def test_mixed_product_is_that_of_the_dense_hessian(norm: str) -> None:
    model, x, y = small(norm)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    upper, below = layers[1].weight, list(layers[0].parameters())
    found = mixed_product(nn.functional.cross_entropy(model(x), y), upper, below)
    loss = nn.functional.cross_entropy(model(x), y)
    first, *g = torch.autograd.grad(loss, [upper, *below], create_graph=True)
    rows = [  # one row of the dense block per number in the upper weight
        sum(
            (h * v.detach()).sum()
            for h, v in zip(torch.autograd.grad(a, below, retain_graph=True), g, strict=True)
        )
        for a in first.flatten()
    ]
    torch.testing.assert_close(found, torch.tensor(rows).view_as(upper).to(found))
    assert found.abs().max() > 1e-3
