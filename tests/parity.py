"""How two implementations of batch normalization are compared."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bnlib.functional import batch_norm

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
