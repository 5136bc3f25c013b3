"""Side effects and errors of bnlib.functional.batch_norm."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from parity import TOLERANCE, assert_same

from bnlib.functional import batch_norm


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_buffers_change_in_place_and_keep_no_graph():
    x = torch.randn(6, 3, requires_grad=True)
    mean, var = torch.zeros(3), torch.ones(3)
    addresses = mean.data_ptr(), var.data_ptr()
    batch_norm(x, mean, var, training=True, momentum=0.25)
    assert (mean.data_ptr(), var.data_ptr()) == addresses
    assert mean.grad_fn is None
    assert var.grad_fn is None
    torch.testing.assert_close(mean, 0.25 * x.mean(0))
    torch.testing.assert_close(var, 0.75 + 0.25 * x.var(0, correction=1))


def test_evaluation_changes_nothing():
    x, mean, var = torch.randn(6, 3), torch.randn(3), torch.rand(3)
    copies = x.clone(), mean.clone(), var.clone()
    batch_norm(x, mean, var)
    assert all(torch.equal(a, b) for a, b in zip((x, mean, var), copies, strict=True))


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0), (1, 3, 0)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_empty_batches(shape, training, dtype):
    arguments = {
        "input": torch.randn(shape, dtype=dtype),
        "running_mean": torch.randn(3),
        "running_var": torch.rand(3),
        "weight": torch.randn(3),
        "bias": torch.randn(3),
        "training": training,
    }
    assert_same(arguments, torch.randn(shape, dtype=dtype), rtol=0, atol=0)
    assert_same(arguments | {"weight": None, "bias": None}, None, rtol=0, atol=0)


def outcome(function, *args, **kwargs) -> tuple[type, str]:
    try:
        return torch.Tensor, str(function(*args, **kwargs).dtype)
    except Exception as error:
        return type(error), str(error)


ZERO, ONE, X = torch.zeros(3), torch.ones(3), torch.randn(4, 3, 2, 2)
WRONG_CALLS = {
    "one value per channel": ((X[:1, :, :1, :1], ZERO, ONE), {"training": True}),
    "one value per channel, flat": ((X[:1, :, 0, 0], ZERO, ONE), {"training": True}),
    "negative eps": ((X, ZERO, ONE), {"eps": -1.0}),
    "long mean": ((X, torch.zeros(4), ONE), {"training": True}),
    "long var": ((X, ZERO, torch.ones(4)), {}),
    "short weight": ((X, ZERO, ONE, torch.ones(2)), {"training": True}),
    "short bias": ((X, ZERO, ONE, None, torch.ones(2)), {}),
    "no statistics": ((X, None, None), {}),
    "no mean": ((X, None, ONE), {}),
    "no var": ((X, ZERO, None), {}),
    "only a mean": ((X, ZERO, None), {"training": True}),
    "only a var": ((X, None, ONE), {"training": True}),
    "one axis": ((X[:, 0, 0, 0], ZERO, ONE), {"training": True}),
    "one axis, evaluation": ((X[:, 0, 0, 0], ZERO, ONE), {}),
    "a number": ((X[0, 0, 0, 0], ZERO, ONE), {"training": True}),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_errors_are_torchs(name):
    args, kwargs = WRONG_CALLS[name]
    ours, theirs = (outcome(f, *args, **kwargs) for f in (batch_norm, F.batch_norm))
    assert ours == theirs
    assert issubclass(ours[0], Exception)


@pytest.mark.parametrize("training", [True, False])
def test_types_mix_as_in_torch(training):
    types = list(TOLERANCE)
    for x, w, stat in itertools.product(types, repeat=3):
        args = (X.to(x), ZERO.to(stat), ONE.to(stat), ONE.to(w), ZERO.to(w), training)
        ours, theirs = (outcome(f, *args) for f in (batch_norm, F.batch_norm))
        assert ours[0] == theirs[0], (x, w, stat)
        if theirs[0] is torch.Tensor:
            assert ours == theirs
    for other in (torch.int64, torch.bool, torch.complex64):
        ours, theirs = (outcome(f, X.to(other), ZERO, ONE) for f in (batch_norm, F.batch_norm))
        assert ours[0] is theirs[0] is NotImplementedError
