"""PyTorch's own cases: operator samples and module inputs from ``torch.testing._internal``."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's test collection warns about its own parts
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

from bnlib import layers
from bnlib.functional import batch_norm


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-9},
    torch.float32: {"rtol": 5e-5, "atol": 5e-5},
    torch.bfloat16: {"rtol": 2e-2, "atol": 5e-2},
    torch.float16: {"rtol": 5e-3, "atol": 1e-2},
}
OPERATOR = next(op for op in op_db if op.name == "nn.functional.batch_norm")
MODULES = [
    info
    for info in module_db
    if info.module_cls in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
]


def detached(value: object) -> object:
    """Copy of a sample's argument; a tensor keeps its strides and whether it requires grad."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def run(function, sample) -> dict[str, Tensor]:
    """Output, gradients of all that requires one, and buffers after the call."""
    x, args = detached(sample.input), [detached(a) for a in sample.args]
    kwargs = {k: detached(v) for k, v in sample.kwargs.items()}
    y = function(x, *args, **kwargs)
    tensors = {"input": x, **{f"args[{i}]": a for i, a in enumerate(args)}, **kwargs}
    found = {"output": y}
    wanted = {k: v for k, v in tensors.items() if isinstance(v, Tensor) and v.requires_grad}
    if wanted:
        g = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
        grads = torch.autograd.grad(y, list(wanted.values()), g, allow_unused=True)
        found |= {f"grad of {k}": v for k, v in zip(wanted, grads, strict=True)}
    found |= {k: v for k, v in tensors.items() if isinstance(v, Tensor) and not v.requires_grad}
    return found


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], dtype: torch.dtype) -> None:
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        if expected is None:
            assert ours[name] is None, name
            continue
        torch.testing.assert_close(
            ours[name], expected, **TOLERANCE[dtype], msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_operator_samples(dtype, requires_grad):
    samples = list(OPERATOR.sample_inputs("cpu", dtype, requires_grad=requires_grad))
    assert len(samples) >= 10
    for sample in samples:
        assert_same(run(batch_norm, sample), run(F.batch_norm, sample), dtype)


def test_operator_samples_to_second_order():
    for sample in OPERATOR.sample_inputs("cpu", torch.float64, requires_grad=True):
        results = []
        for function in (batch_norm, F.batch_norm):
            x = detached(sample.input)
            args = [a.detach().clone() if isinstance(a, Tensor) else a for a in sample.args]
            kwargs = {
                k: v.detach().clone() if isinstance(v, Tensor) else v
                for k, v in sample.kwargs.items()
            }
            loss = function(x, *args, **kwargs).pow(3).sum()
            (g,) = torch.autograd.grad(loss, x, create_graph=True)
            (second,) = torch.autograd.grad(g.square().sum(), x)
            results.append({"first": g, "second": second})
        assert_same(*results, torch.float64)


def module_cases() -> list:
    cases = []
    for info in MODULES:
        for training in (True, False):
            for dtype in (torch.float64, torch.float32):
                inputs = info.module_inputs_func(
                    info, device="cpu", dtype=dtype, requires_grad=True, training=training
                )
                cases += [(info.module_cls, training, dtype, case) for case in inputs]
    return cases


CASES = module_cases()


def run_module(module: nn.Module, case) -> dict[str, Tensor]:
    args = [detached(a) for a in case.forward_input.args]
    y = module(*args, **case.forward_input.kwargs)
    g = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    wanted = {f"args[{i}]": a for i, a in enumerate(args) if a.requires_grad}
    wanted |= dict(module.named_parameters())
    grads = torch.autograd.grad(y, list(wanted.values()), g)
    buffers = {k: v.clone() for k, v in module.named_buffers()}
    return {
        "output": y,
        **buffers,
        **{f"grad of {k}": v for k, v in zip(wanted, grads, strict=True)},
    }


def test_there_are_module_cases_for_every_class():
    assert {case[0] for case in CASES} == {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    ("cls", "training", "dtype", "case"),
    [
        pytest.param(*case, id=f"{case[0].__name__}-{case[1]}-{str(case[2])[6:]}-{i}")
        for i, case in enumerate(CASES)
    ],
)
def test_module_inputs(cls, training, dtype, case):
    arguments = case.constructor_input
    theirs = cls(*arguments.args, **arguments.kwargs, dtype=dtype).train(training)
    with torch.no_grad():
        for tensor in (*theirs.parameters(), *theirs.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    ours = getattr(layers, cls.__name__)(*arguments.args, **arguments.kwargs, dtype=dtype)
    ours.train(training).load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert_same(run_module(ours, case), run_module(theirs, case), dtype)


def error_cases() -> list:
    return [
        (info.module_cls, case)
        for info in MODULES
        for training in (True, False)
        for case in info.module_error_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=False, training=training
        )
    ]


@pytest.mark.parametrize(("cls", "case"), error_cases())
def test_module_errors(cls, case):
    arguments, given = (
        case.module_error_input.constructor_input,
        case.module_error_input.forward_input,
    )
    for family in (nn, layers):
        module = getattr(family, cls.__name__)(*arguments.args, **arguments.kwargs)
        if family is layers and module.eps == 0:
            assert module(*given.args, **given.kwargs).isfinite().all()  # the one difference
            continue
        with pytest.raises(case.error_type, match=case.error_regex):
            module(*given.args, **given.kwargs)
