"""bnlib.functional against torch.nn.functional, the definition, and finite differences."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from bnlib import blocked, functional
from bnlib.functional import batch_norm, batch_norm_backward, merge_moments, moments, normalize

SHAPES = [(6, 5), (4, 3, 7), (2, 3, 4, 5), (3, 2, 2, 3, 4), (1, 4, 6), (2, 1, 3, 3), (7, 3, 1, 1)]
TOLERANCE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
    torch.bfloat16: {"rtol": 2e-2, "atol": 5e-2},
    torch.float16: {"rtol": 3e-3, "atol": 8e-3},
}


def channels_last(x: Tensor) -> Tensor:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats.get(x.dim(), torch.contiguous_format))


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": channels_last,
    "sliced": lambda x: torch.stack([x, x], -1)[..., 0],
    "sliced_channels_last": lambda x: channels_last(torch.cat([x, x]))[::2],
    "expanded": lambda x: x[:1].expand_as(x),
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
}


def call(function, arguments: dict, grad_output: Tensor | None = None) -> dict[str, Tensor]:
    """Everything a call does: output, buffers, and gradients if anything requires one."""
    named = {
        k: v.detach().clone() if isinstance(v, Tensor) else v
        for k, v in arguments.items()
        if k != "input"
    }
    x = arguments["input"].detach()  # no clone: it would change the strides
    leaves = {"input": x, **{k: named[k] for k in ("weight", "bias") if named.get(k) is not None}}
    leaves = {k: v.requires_grad_(grad_output is not None) for k, v in leaves.items()}
    y = function(x, **named)
    found = {
        "output": y,
        **{k: v for k, v in named.items() if k.startswith("running") and v is not None},
    }
    if grad_output is not None:
        grads = torch.autograd.grad(y, list(leaves.values()), grad_output.expand_as(y))
        found |= {f"grad_{k}": g for k, g in zip(leaves, grads, strict=True)}
    return found


def strides(x: Tensor) -> list[int]:
    """Strides that matter: along an axis of one element any number will do."""
    return [stride for size, stride in zip(x.shape, x.stride(), strict=True) if size > 1]


def assert_same(arguments: dict, grad_output: Tensor | None, **tolerance: float) -> None:
    ours = call(batch_norm, arguments, grad_output)
    theirs = call(F.batch_norm, arguments, grad_output)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        # Sums over a channel collect the rounding of all its values.
        scale = 1.0 if name in ("output", "grad_input") else expected.numel() and 4.0
        bounds = {k: v * scale for k, v in tolerance.items()}
        torch.testing.assert_close(
            ours[name],
            expected,
            **bounds,
            equal_nan=True,
            msg=lambda m, name=name: f"{name}: {m}",
        )
    assert strides(ours["output"]) == strides(theirs["output"])


def random_configuration(seed: int) -> tuple[dict, Tensor, torch.dtype]:
    """One of the contract's many corners, drawn by `seed`."""
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    dtype = draw.choice(
        [torch.float64, torch.float32, torch.float32, torch.bfloat16, torch.float16]
    )

    def randn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    variance = torch.zeros(1)
    while variance.min() < 0.05:  # a nearly constant channel's output is amplified rounding
        spatial = [draw.randint(1, 6) for _ in range(draw.randint(0, 3))]
        shape = [draw.randint(2, 9), draw.randint(1, 8), *spatial]
        layout = LAYOUTS[draw.choice(list(LAYOUTS))]
        x = layout((randn(*shape) * 2 + draw.choice([0, 3])).to(dtype))
        variance = moments(x.double()).var
    channels = shape[1]
    vector_type = torch.float32 if dtype.itemsize == 2 and draw.random() < 0.5 else dtype
    training = draw.random() < 0.7
    track = not training or draw.random() < 0.7
    arguments = {
        "input": x,
        "running_mean": randn(channels).to(vector_type) if track else None,
        "running_var": (randn(channels).square() + 0.5).to(vector_type) if track else None,
        "weight": randn(channels).to(vector_type) if draw.random() < 0.7 else None,
        "bias": randn(channels).to(vector_type) if draw.random() < 0.7 else None,
        "training": training,
        "momentum": draw.choice([0.0, 0.1, 0.5, 1.0, -0.2, 1.3]),
        "eps": draw.choice([1e-5, 1e-3, 1e-1]),
    }
    grad = randn(*shape).to(dtype)
    return arguments, draw.choice([grad, channels_last(grad), grad[:1]]), dtype


@pytest.mark.parametrize("part", range(8))
def test_400_random_configurations_agree_with_torch(part):
    for seed in range(50 * part, 50 * part + 50):
        arguments, grad, dtype = random_configuration(seed)
        try:
            assert_same(arguments, grad, **TOLERANCE[dtype])
        except AssertionError as error:
            described = {k: v for k, v in arguments.items() if not isinstance(v, Tensor)}
            raise AssertionError(f"seed {seed}: {described}, {dtype}: {error}") from error


def test_the_random_configurations_reach_every_corner():
    drawn = [random_configuration(seed) for seed in range(400)]
    assert {dtype for *_, dtype in drawn} == set(TOLERANCE)
    assert {arguments["input"].dim() for arguments, *_ in drawn} == {2, 3, 4, 5}
    for name in ("running_mean", "weight", "bias"):
        absent = sum(arguments[name] is None for arguments, *_ in drawn)
        assert 40 < absent < 360
    mixed = [a for a, _, t in drawn if a["weight"] is not None and a["weight"].dtype != t]
    assert len(mixed) > 20


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, as large tensors have them, and the last one shorter."""
    monkeypatch.setattr(blocked, "BLOCK", 64)
    monkeypatch.setattr(blocked, "SPREAD", 20)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "expanded"])
@pytest.mark.parametrize("shape", [(33, 5), (7, 3, 11), (7, 5, 4, 3), (5, 4, 2, 3, 2)])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_many_blocks_agree_with_torch(small_blocks, shape, layout, dtype):
    c = shape[1]
    x = LAYOUTS[layout](torch.randn(shape) + 1).to(dtype)
    vectors = {"weight": torch.randn(c), "bias": torch.randn(c)}
    buffers = {"running_mean": torch.zeros(c), "running_var": torch.ones(c)}
    vectors, buffers = ({k: v.to(dtype) for k, v in d.items()} for d in (vectors, buffers))
    for training in (True, False):
        arguments = {"input": x, **buffers, **vectors, "training": training}
        assert_same(arguments, torch.randn(shape).to(dtype), **TOLERANCE[dtype])


def test_blocks_cover_rows_once_and_stay_within_size(monkeypatch):
    monkeypatch.setattr(blocked, "BLOCK", 1000)
    for x in (
        torch.randn(50, 4, 3, 3),
        channels_last(torch.randn(50, 4, 3, 3)),
        torch.randn(900, 7),
    ):
        blocks = blocked.split_rows(x)
        assert len(blocks) > 1
        assert max(block.numel() for block in blocks) <= 1000
        assert torch.equal(torch.cat(list(blocks)), blocked.as_rows(x))
        assert blocks[0].data_ptr() == x.data_ptr()


# ---- gradients -----------------------------------------------------------------------------


# PyTorch builds its own forward derivatives with a function that it deprecates.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


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


# ---- numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(64, 16, 32, 32), (4096, 8), (2, 3, 300, 300)])
def test_float32_is_accurate_far_from_zero(shape, layout):
    """Standard deviation 1 at a mean of 10,000: E[x^2] - E[x]^2 has no digit left."""
    x = LAYOUTS[layout](torch.randn(shape) + 1e4)
    exact = moments(x.double())
    unit = 2.0**-10  # in the last place of 10,000 in float32
    for (mean, var, _), units in ((moments(x), 4), (blocked.moments(x), 1)):
        assert (mean - exact.mean).abs().max() <= units * unit
        torch.testing.assert_close(var.double(), exact.var, rtol=1e-5, atol=0)
    y = batch_norm(x, None, None, training=True)
    expected = normalize(x.double(), exact.mean, exact.var)
    assert (y - expected).abs().max() < 1e-3


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


# ---- side effects and errors ---------------------------------------------------------------


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


# ---- the building blocks -------------------------------------------------------------------


def test_moments_are_the_definition():
    x = torch.randn(4, 3, 2, 5).double()
    mean, var, count = moments(x)
    flat = x.movedim(1, 0).reshape(3, -1)
    torch.testing.assert_close(mean, flat.mean(1))
    torch.testing.assert_close(var, flat.var(1, correction=0))
    assert count == 40


def test_merged_moments_are_those_of_the_whole():
    parts = [torch.randn(n, 3, 2).double() * n + n for n in (1, 4, 0, 7)]
    merged, whole = merge_moments([moments(p) for p in parts]), moments(torch.cat(parts))
    assert merged.count == whole.count
    torch.testing.assert_close(merged, whole)
    # The common mistake: variances averaged without the spread of the means.
    shards = [moments(p) for p in parts if len(p)]
    averaged = sum(s.var * s.count for s in shards) / whole.count
    assert (averaged < whole.var).all()


def test_merging_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one part with values"):
        merge_moments([moments(torch.randn(0, 3))])


def test_functional_offers_what_it_lists():
    assert all(callable(getattr(functional, name)) for name in functional.__all__)
