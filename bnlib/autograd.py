"""The training-mode forward and backward pass as one differentiable operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnlib import blocked, eager, formulas


class BatchNormFunction(torch.autograd.Function):
    """Normalise a dense input by its own moments; returns (y, mean, var).

    Keeps the input and vectors of length C for the backward pass. Autograd on the formulas
    would keep three tensors of the input's size.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output and the batch's mean and biased variance."""
        fast = x.device.type == "cpu"
        mean, var, _ = blocked.moments(x) if fast else formulas.moments(x)
        ctx.eps = eps
        ctx.save_for_backward(x, weight, mean, var)
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        normalize = blocked.normalize if fast else formulas.normalize
        return normalize(x, mean, var, weight, bias, eps), mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Carry a gradient back from the output to input, weight and bias."""
        g = grads[0]
        x, weight, mean, var = ctx.saved_tensors
        if g is None:
            return None, None, None, None
        fast = x.device.type == "cpu" and eager.plain(g, x, weight)
        if torch.is_grad_enabled():
            # A second derivative is wanted: the statistics have to depend on x again.
            mean, var, _ = formulas.moments(x)
            fast = False
        backward = blocked.batch_norm_backward if fast else formulas.batch_norm_backward
        found = backward(g, x, mean, var, weight, ctx.eps)
        needed = zip(found, ctx.needs_input_grad, strict=False)
        return *(value if need else None for value, need in needed), None
