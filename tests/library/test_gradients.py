"""Derivatives: first and second order, forward mode, transforms, and what is kept for them."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from parity import LAYOUTS
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from bnlib import blocked
from bnlib.functional import batch_norm, batch_norm_backward, moments, normalize


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


# PyTorch builds its own forward derivatives with a function that it deprecates.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script. is (deprecated|not supported)")


@forward_mode
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
@pytest.mark.parametrize("shape", [(5, 2), (3, 2, 4), (2, 2, 3, 2), (2, 2, 2, 1, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_first_and_second_order(shape, layout, training):
    c = shape[1]
    x = LAYOUTS[layout](torch.randn(shape, dtype=torch.float64)).requires_grad_()
    w, b = (torch.randn(c, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mean, var = torch.randn(c, dtype=torch.float64), torch.rand(c, dtype=torch.float64) + 0.5

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return batch_norm(x, mean.clone(), var.clone(), w, b, training)

    assert gradcheck(function, (x, w, b), check_forward_ad=True)
    assert gradgradcheck(function, (x, w, b))


@pytest.mark.parametrize("given", list(itertools.product([True, False], repeat=3)))
def test_gradients_of_any_subset(given):
    """Whatever is absent or frozen, the rest gets its gradient, to second order."""
    x, w, b = torch.randn(4, 3, 2), torch.randn(3), torch.randn(3)
    x, w, b = (t.double().requires_grad_(g) for t, g in zip((x, w, b), given, strict=True))
    tensors = [t for t in (x, w, b) if t.requires_grad]
    if not tensors:
        assert not batch_norm(x, None, None, w, b, True).requires_grad
        return
    assert gradcheck(lambda *_: batch_norm(x, None, None, w, b, True), tensors)
    assert gradgradcheck(lambda *_: batch_norm(x, None, None, w, b, True), tensors)
    if given[0]:
        assert gradgradcheck(lambda x: batch_norm(x, None, None, training=True), (x,))


def test_penalty_on_the_gradient_agrees_with_torch():
    results = []
    for function in (batch_norm, F.batch_norm):
        torch.manual_seed(1)
        x = torch.randn(6, 3, 2, 2, dtype=torch.float64, requires_grad=True)
        w = torch.randn(3, dtype=torch.float64, requires_grad=True)
        loss = function(x, None, None, w, None, True).pow(3).sum()
        (grad,) = torch.autograd.grad(loss, x, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), (x, w)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@forward_mode
def test_forward_mode_agrees_with_torch():
    x, w, b, dx, dw, db = (torch.randn(s).double() for s in [(5, 3, 2), 3, 3] * 2)
    tangents = []
    for function in (batch_norm, F.batch_norm):
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(*pair) for pair in ((x, dx), (w, dw), (b, db))]
            y = function(duals[0], None, None, duals[1], duals[2], True)
            tangents.append(forward_ad.unpack_dual(y).tangent)
    torch.testing.assert_close(*tangents)


def test_function_transforms():
    x, w = torch.randn(4, 6, 3).double(), torch.randn(4, 3).double()

    def loss(function, x: Tensor, w: Tensor) -> Tensor:
        return function(x, None, None, w, None, True).pow(3).sum()

    both = [
        torch.func.vmap(torch.func.grad(lambda x, w, f=f: loss(f, x, w), (0, 1)))(x, w)
        for f in (batch_norm, F.batch_norm)
    ]
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_closed_form_backward_is_the_derivative_of_the_forward(layout):
    x = LAYOUTS[layout](torch.randn(4, 3, 2, 5).double()).requires_grad_()
    w, b = (torch.randn(3).double().requires_grad_() for _ in range(2))
    g = torch.randn(4, 3, 2, 5).double()
    mean, var, _ = moments(x)
    expected = torch.autograd.grad(normalize(x, mean, var, w, b, 1e-2), (x, w, b), g)
    detached = [t.detach() for t in (x, mean, var, w)]
    for found in (
        batch_norm_backward(g, x, mean, var, w, 1e-2),
        blocked.batch_norm_backward(g, *detached, 1e-2),
    ):
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_gradient_checks_notice_a_wrong_formula():
    """Bessel's correction in the forward pass alone: the closed form is then wrong."""
    x = torch.randn(4, 3).double().requires_grad_()
    g = torch.randn(4, 3).double()
    mean, var, n = moments(x)
    (bessel,) = torch.autograd.grad(normalize(x, mean, var * n / (n - 1)), x, g)
    mixed = batch_norm_backward(g, x, mean, var * n / (n - 1))[0]
    assert (bessel - mixed).abs().max() > 1e-2


def test_saves_one_tensor_of_the_input_size():
    for layout in ("contiguous", "channels_last", "sliced"):
        for training in (True, False):
            x = LAYOUTS[layout](torch.randn(16, 8, 10, 10)).requires_grad_()
            w, b = (torch.randn(8, requires_grad=True) for _ in range(2))
            sizes = []

            def pack(t: Tensor, sizes: list[int] = sizes) -> Tensor:
                sizes.append(t.numel())
                return t

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                batch_norm(x, torch.zeros(8), torch.ones(8), w, b, training)
            assert x.numel() <= sum(sizes) <= 1.05 * x.numel(), (layout, training)


def test_input_changed_in_place_is_an_error_and_not_a_wrong_gradient():
    x = torch.randn(4, 3, requires_grad=True)
    inner = x * 1
    y = batch_norm(inner, None, None, training=True)
    inner.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
