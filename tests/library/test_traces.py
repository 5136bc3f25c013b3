"""What watches, repeats or interrupts a layer: paths, statistics, and counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from parity import LAYOUTS, TOLERANCE
from torch import Tensor, nn
from torch.autograd import forward_ad, gradcheck
from torch.autograd.functional import hessian, jacobian
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import bnlib
from bnlib import blocked, eager, functional

# PyTorch builds its own forward derivatives with a function that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated")
SHAPES = [(6, 3), (6, 3, 4), (6, 3, 4, 2), (6, 3, 2, 2, 2)]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def layer_for(shape, family=bnlib, **options) -> nn.Module:
    rank = {2: 1, 3: 1, 4: 2, 5: 3}[len(shape)]
    return getattr(family, f"BatchNorm{rank}d")(shape[1], **options)


class Watch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Sub(torch.Tensor):
    pass


def test_only_plain_eager_tensors_are_plain():
    x = torch.randn(4, 3)
    assert eager.plain(x, nn.Parameter(x), None)
    assert not eager.plain(x, x.as_subclass(Sub))
    assert not eager.plain(x.to("meta"))
    with Watch():
        assert not eager.plain(x)
    with forward_ad.dual_level():
        assert not eager.plain(x)
    seen = []
    torch.func.vmap(lambda v: (seen.append(eager.plain(v)), v)[1])(x)
    torch.func.grad(lambda v: (seen.append(eager.plain(v)), v.sum())[1])(x)
    torch.jit.trace(lambda v: (seen.append(eager.plain(v)), v * 2)[1], x, check_trace=False)
    assert seen
    assert not any(seen)
    assert eager.plain(x)


@pytest.mark.parametrize("training", [True, False])
def test_blocks_are_left_where_something_watches(training, monkeypatch):
    for name in ("moments", "normalize", "evaluate", "batch_norm_backward"):
        monkeypatch.setattr(blocked, name, lambda *_: pytest.fail("a block has leaked"))
    layer, reference = (family.BatchNorm2d(3).train(training) for family in (bnlib, nn))
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    with Watch():
        assert_close(layer(x), reference(x))
    y = layer(x.as_subclass(Sub))
    assert type(y) is Sub
    assert_close(y.as_subclass(Tensor), reference(x))
    assert_close(layer.state_dict(), reference.state_dict())
    assert bnlib.BatchNorm2d(3, device="meta").train(training)(x.to("meta")).shape == x.shape


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(64, 5), (64, 5, 7), (64, 5, 7, 9), (64, 3, 2, 5, 3)])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_evaluation_gives_the_same_bits_in_any_batch(dtype, shape, layout, monkeypatch):
    monkeypatch.setattr(blocked, "SMALL", 300)  # several blocks
    x = LAYOUTS[layout]((torch.randn(shape) + 1).to(dtype))
    c = shape[1]
    for affine in (True, False):
        layer = layer_for(shape, dtype=dtype, affine=affine).eval()
        layer.running_mean.copy_(torch.randn(c))
        layer.running_var.copy_(torch.rand(c) + 0.5)
        whole = layer(x)
        assert whole.requires_grad == affine
        assert torch.equal(layer(x.clone().requires_grad_()), whole)
        with torch.no_grad():
            assert torch.equal(layer(x), whole)
            for size in (1, 3, 33):
                assert torch.equal(layer(x[:size]), whole[:size])


@pytest.mark.parametrize("shape", [(6, 3), (70, 16, 32, 32)])
def test_training_gives_the_same_bits_without_gradients(shape):
    x, outputs = torch.randn(shape), []
    for guard in (torch.no_grad, torch.enable_grad):
        layer = layer_for(shape)
        with guard():
            outputs.append((layer(x), layer.running_mean, layer.running_var))
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


# ---- derivatives of other kinds --------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_batched_gradients(shape, training):
    shape = (2, 2, *shape[2:]) if len(shape) > 2 else (4, 2)
    x = torch.randn(shape).double()
    layers = [layer_for(shape, lib).double().train(training) for lib in (bnlib, nn)]
    assert_close(*(jacobian(m, x, vectorize=True) for m in layers))
    for m in layers:
        m.requires_grad_(False)
    assert_close(*(hessian(lambda z, m=m: m(z).pow(3).sum(), x, vectorize=True) for m in layers))
    inner = x.clone().requires_grad_()
    g = torch.randn(5, *shape).double()
    assert_close(*(torch.autograd.grad(m(inner), inner, g, is_grads_batched=True) for m in layers))
    assert gradcheck(layers[0], inner, check_batched_grad=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_over_reverse(shape, training):
    x, v = torch.randn(shape).double(), torch.randn(shape).double()
    found = []
    for lib in (bnlib, nn):
        layer = layer_for(shape, lib).double().train(training)
        inner = x.clone().requires_grad_()
        with forward_ad.dual_level():
            z = forward_ad.make_dual(inner, v)
            (g,) = torch.autograd.grad(layer(z).pow(3).sum(), z)
            tangent = forward_ad.unpack_dual(g).tangent
        y = layer(inner)  # outside, and a tangent of the gradient alone
        with forward_ad.dual_level():
            (g,) = torch.autograd.grad(y, inner, forward_ad.make_dual(x, v))
            found.append((tangent, forward_ad.unpack_dual(g).tangent))
    assert_close(*found)


def test_vmap_names_the_statistics_that_it_cannot_move():
    x = torch.randn(5, 4, 3)
    for layer in (bnlib.BatchNorm1d(3), bnlib.GhostBatchNorm(3, 2)):
        with pytest.raises(RuntimeError, match=r"running_mean.*track_running_stats=False"):
            torch.func.vmap(layer)(x)
        assert layer.num_batches_tracked == 0
        assert torch.equal(layer.running_mean, torch.zeros(3))
        assert torch.equal(torch.func.vmap(layer.eval())(x), layer(x.flatten(0, 1)).view_as(x))
    no_statistics = bnlib.BatchNorm1d(3, track_running_stats=False)
    assert_close(torch.func.vmap(no_statistics)(x), torch.stack([no_statistics(v) for v in x]))

    def both(function):
        mean, var = torch.zeros(5, 3), torch.ones(5, 3)
        y = torch.func.vmap(lambda x, m, v: function(x, m, v, training=True))(x, mean, var)
        return y, mean, var

    assert_close(both(functional.batch_norm), both(F.batch_norm))


# ---- count and statistics ---------------------------------------------------------------------


def assert_together(layer: nn.Module, momentum: float | None) -> None:
    """Statistics have moved as often as batches were counted, all of them alike."""
    n = int(layer.num_batches_tracked)
    kept = 0.0**n if momentum is None else (1 - momentum) ** n
    target = layer.expected
    assert_close(layer.running_mean, (1 - kept) * target, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("ghost", [False, True])
@pytest.mark.parametrize("after", [nn.Identity, nn.Tanh])
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_repeated_forward_moves_both_or_none(momentum, ghost, after, reentrant):
    x = torch.randn(2, 3).repeat(4, 1).requires_grad_()  # all virtual batches are alike
    layer = bnlib.GhostBatchNorm(3, 2, momentum=momentum) if ghost else None
    layer = layer or bnlib.BatchNorm1d(3, momentum=momentum)
    layer.expected = x.detach().mean(0)
    block = nn.Sequential(nn.Identity(), layer, after())
    for _ in range(3):
        checkpoint(block, x, use_reentrant=reentrant).pow(2).sum().backward()
        assert_together(layer, momentum)
    assert layer.num_batches_tracked >= 3


@pytest.mark.parametrize("momentum", [0.1, None])
def test_an_error_moves_neither(momentum):
    good, nothing = torch.randn(6, 3), torch.randn(1, 3)
    for layer, bad in (
        (bnlib.BatchNorm1d(3, momentum=momentum), nothing),
        (bnlib.BatchNorm1d(3, momentum=momentum), good.double()),
        (bnlib.GhostBatchNorm(3, 2, momentum=momentum), good[:5]),  # only the last part is short
        (bnlib.GhostBatchNorm(3, 2, momentum=momentum), good[:, :2]),
    ):
        layer(good)
        before = {k: v.clone() for k, v in layer.state_dict().items()}
        with pytest.raises((ValueError, RuntimeError)):
            layer(bad)
        assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())

    def stop(t: Tensor) -> Tensor:
        raise InterruptedError

    for layer in (bnlib.BatchNorm1d(3), bnlib.GhostBatchNorm(3, 2)):
        keep = torch.autograd.graph.saved_tensors_hooks(stop, lambda t: t)
        with keep, pytest.raises(InterruptedError):
            layer(good.clone().requires_grad_())
        assert layer.num_batches_tracked == 0
        assert torch.equal(layer.running_var, torch.ones(3))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("which", [0, 1])
def test_statistics_that_require_a_gradient_are_refused(training, which):
    x = torch.randn(4, 3)
    for function in (functional.batch_norm, F.batch_norm):
        statistics = [torch.zeros(3), torch.ones(3)]
        statistics[which].requires_grad_()
        with pytest.raises(RuntimeError, match="not differentiable with respect to argument"):
            function(x, *statistics, training=training)
        with torch.no_grad():
            function(x, *statistics, training=training)
