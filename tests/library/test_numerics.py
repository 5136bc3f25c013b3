"""Numbers: accuracy in float32 and below, NaN and inf, eps = 0, autocast."""

from __future__ import annotations

import pytest
import torch
from parity import LAYOUTS, TOLERANCE, assert_same

from bnlib import blocked
from bnlib.functional import batch_norm, moments, normalize


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(64, 16, 32, 32), (4096, 8), (2, 3, 300, 300)])
def test_float32_is_accurate_far_from_zero(shape, layout):
    """Standard deviation 1 at a mean of 10,000: E[x^2] - E[x]^2 has no digit left."""
    x = LAYOUTS[layout](torch.randn(shape) + 1e4)
    exact = moments(x.double())
    unit = 2.0**-10  # in the last place of 10,000 in float32
    for (mean, var, _), units in ((moments(x), 8), (blocked.moments(x), 1)):
        assert (mean - exact.mean).abs().max() <= units * unit
        torch.testing.assert_close(var.double(), exact.var, rtol=1e-5, atol=0)
    y = batch_norm(x, None, None, training=True)
    expected = normalize(x.double(), exact.mean, exact.var)
    assert (y - expected).abs().max() < 1e-3


@pytest.mark.parametrize("shape", [(4096, 3), (512, 3, 4, 4)])
def test_float32_is_accurate_whatever_comes_first(shape):
    """The pilot that a block is shifted by must not be one outlier."""
    x = torch.randn(shape)
    x[0] += 1e4
    torch.testing.assert_close(
        blocked.moments(x).var.double(), moments(x.double()).var, rtol=1e-5, atol=0
    )


def test_one_pass_variance_would_fail_that_accuracy():
    x = torch.randn(4096, 8) + 1e4
    one_pass = x.square().mean(0) - x.mean(0).square()
    assert (one_pass - moments(x.double()).var).abs().max() > 0.5


NAN, INF = float("nan"), float("inf")


# Not an infinite weight: PyTorch's own CPU and GPU kernels differ there, since one of them
# computes (gamma/s) x + (beta - gamma mu/s), the difference of two infinities.
@pytest.mark.parametrize(
    ("where", "value"),
    [(w, v) for w in ("input", "running_mean", "running_var", "bias") for v in (NAN, INF, -INF)]
    + [("weight", NAN)],
)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("block", [blocked.BLOCK, 16])
def test_nan_and_inf_go_where_torchs_go(monkeypatch, value, where, training, layout, block):
    monkeypatch.setattr(blocked, "BLOCK", block)
    arguments = {
        "input": torch.randn(3, 4, 2, 2),
        "running_mean": torch.randn(4),
        "running_var": torch.rand(4) + 0.5,
        "weight": torch.tensor([1.0, 0.0, -2.0, 0.5]),
        "bias": torch.randn(4),
    }
    arguments[where][1, ...] = value  # with a weight of zero, or a whole sample
    arguments[where].view(-1)[2] = value
    arguments["input"] = LAYOUTS[layout](arguments["input"])
    for momentum in (0.0, 0.1, 1.0):
        arguments |= {"training": training, "momentum": momentum}
        assert_same(arguments, torch.randn(3, 4, 2, 2), **TOLERANCE[torch.float32])


def test_eps_zero_is_allowed_and_exact():
    x = torch.randn(50, 4).double()
    y = batch_norm(x, None, None, training=True, eps=0.0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(4).double(), rtol=1e-14, atol=0)
    constant = torch.ones(5, 2)
    assert batch_norm(constant, None, None, training=True, eps=0.0).isnan().all()


def test_half_precision_statistics_are_summed_in_float32():
    x = (torch.randn(60000, 2) + 4).half()  # a sum in float16 would overflow
    mean, var = torch.zeros(2), torch.zeros(2)
    batch_norm(x, mean, var, training=True, momentum=1.0)
    torch.testing.assert_close(mean, x.double().mean(0).float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(var, x.double().var(0).float(), rtol=1e-5, atol=0)


def test_autocast_changes_nothing():
    x, w, b = torch.randn(8, 4, 3, 3), torch.randn(4), torch.randn(4)
    for values in (x, x.bfloat16()):
        plain = batch_norm(values, None, None, w, b, True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = batch_norm(values, None, None, w, b, True)
        assert found.dtype == values.dtype
        assert torch.equal(found, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gradients_are_rounded_once(monkeypatch, dtype):
    monkeypatch.setattr(blocked, "BLOCK", 200)
    x, g = (torch.randn(64, 4, 5).to(dtype) for _ in range(2))
    gradients = []
    for wide in (False, True):
        leaf = (x.float() if wide else x).requires_grad_()
        y = batch_norm(leaf, None, None, training=True)
        gradients.append(torch.autograd.grad(y, leaf, g.to(y.dtype))[0].to(dtype))
    assert (gradients[0] == gradients[1]).float().mean() > 0.99


def test_constant_channels_have_no_negative_variance():
    for value in torch.linspace(1, 2e4, 200):
        assert blocked.moments(value.expand(999, 3).contiguous()).var.min() >= 0
