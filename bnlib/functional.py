"""Batch normalization as a function, with the contract of ``torch.nn.functional.batch_norm``.

The equations are those of ``bnlib.formulas``, repeated here by name. This module adds what
a library needs around them: the choice between training and evaluation, the running
statistics, and PyTorch's checks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from bnlib import blocked
from bnlib.autograd import BatchNormFunction
from bnlib.formulas import (
    Moments,
    batch_norm_backward,
    merge_moments,
    moments,
    normalize,
    widen,
)

__all__ = [
    "Moments",
    "batch_norm",
    "batch_norm_backward",
    "merge_moments",
    "moments",
    "normalize",
]


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    r"""Apply batch normalization to each channel.

    .. math:: y = \gamma \, \frac{x - \mu}{\sqrt{v + \epsilon}} + \beta

    with the batch's own mean and biased variance in training, the running ones in
    evaluation. Training also moves the running statistics, in place:

    .. math::

        \mu_\text{run} \leftarrow (1 - m)\,\mu_\text{run} + m\,\mu, \qquad
        v_\text{run} \leftarrow (1 - m)\,v_\text{run} + m\,\frac{n}{n - 1} v

    A drop-in for ``torch.nn.functional.batch_norm``, with one deliberate difference:
    ``eps=0`` is allowed in training, because the exact identities need it (a constant
    channel then gives NaN).

    Parameters
    ----------
    input : Tensor
        Shape (N, C) or (N, C, d1, ...), of float64, float32, bfloat16 or float16, in any
        memory layout; the result has the layout that PyTorch gives it. Half precision is
        summed in float32.
    running_mean, running_var : Tensor or None
        Shape (C,). Required in evaluation; in training both or neither, and updated in place.
    weight, bias : Tensor, optional
        :math:`\gamma` and :math:`\beta`, shape (C,); absent means 1 and 0. These and the
        running statistics have the type of `input`, or float32 beside half precision.
    training : bool
        Use, and record, the statistics of the batch.
    momentum : float
        Weight m of the *new* value (Keras and Flax give that of the old one). Not restricted
        to [0, 1].
    eps : float
        Added to the variance, inside the root.

    Returns
    -------
    Tensor
        Shape and type of `input`.

    Raises
    ------
    ValueError
        If training with one value per channel, if `eps` is negative, or if only one of the
        running statistics is given.
    RuntimeError
        If a vector's length is not C, if evaluation lacks statistics, or if types mix.
    NotImplementedError
        If `input` is not of a supported floating-point type.

    References
    ----------
    Ioffe & Szegedy (2015), algorithms 1 and 2.
    """
    _check_size(input, training, eps)
    if input.numel() == 0:
        return _empty(input, weight, bias)
    _check_vectors(input, training, running_mean, running_var, weight, bias)
    _check_types(input, weight, bias, running_mean, running_var)
    x = input if input.is_contiguous() else input.contiguous(memory_format=_format(input))
    if not training:
        assert running_mean is not None
        assert running_var is not None
        return _evaluate(x, running_mean.detach(), running_var.detach(), weight, bias, eps)
    y, batch = _train(x, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        _update(running_mean, running_var, batch, momentum)
    return y


def _transformed() -> bool:
    """Whether a compiler, or ``torch.func``, is to see formulas and not blocks in place.

    Compilers fuse the formulas by themselves; both derive the gradient from them.
    """
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def _train(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Moments]:
    if _transformed():
        batch = moments(x)
        return normalize(x, batch.mean, batch.var, weight, bias, eps), batch
    y, mean, var = BatchNormFunction.apply(x, weight, bias, eps)
    return y, Moments(mean, var, x.numel() // x.shape[1])


def _evaluate(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    if _transformed() or any(_tracked(t) for t in (x, weight, bias) if t is not None):
        return normalize(x, mean, var, weight, bias, eps)
    return blocked.normalize(x, mean, var, weight, bias, eps)


def _tracked(t: Tensor) -> bool:
    """Whether a gradient or a tangent will be asked of what is computed from `t`."""
    wanted = t.requires_grad and torch.is_grad_enabled()
    return wanted or forward_ad.unpack_dual(t).tangent is not None


def _empty(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """No values: nothing to normalise or record, yet parameters get a gradient of zero."""
    y = input.clone()
    y = y if weight is None else y * weight[:1].sum()
    return y if bias is None else (y + bias[:1].sum()).to(y.dtype)


def _update(mean: Tensor, var: Tensor, batch: Moments, momentum: float) -> None:
    """Move the running statistics in place, the variance by its unbiased estimate."""
    bessel = batch.count / (batch.count - 1)
    with torch.no_grad():
        for running, new, weight in ((mean, batch.mean, 1.0), (var, batch.var, bessel)):
            kept = widen(running) * (1 - momentum)
            running.copy_(kept.add_(new, alpha=momentum * weight))


def _format(x: Tensor) -> torch.memory_format:
    """Layout that PyTorch gives the result: channels-last where the strides have that order."""
    strides = [x.stride(axis) for axis in (0, *range(2, x.dim()), 1)]
    if x.dim() not in (4, 5) or strides != sorted(strides, reverse=True):
        return torch.contiguous_format
    return torch.channels_last if x.dim() == 4 else torch.channels_last_3d


def _check_size(input: Tensor, training: bool, eps: float) -> None:
    if training and input.shape[0] * input.shape[2:].numel() == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.size()}"
        )
    if eps < 0:
        needed = "positive or zero during training" if training else "non-negative"
        raise ValueError(f"batch_norm eps must be {needed}, but got {eps}")


def _check_vectors(
    input: Tensor,
    training: bool,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> None:
    vectors = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    # A single axis leaves no room for channels: PyTorch counts none there.
    channels = input.shape[1] if input.dim() > 1 else 0
    for name, vector in vectors.items():
        if vector is not None and vector.numel() != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {vector.numel()}")
        if vector is None and not training and name.startswith("running"):
            raise RuntimeError(f"{name} must be defined in evaluation mode")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")


def _check_types(input: Tensor, *vectors: Tensor | None) -> None:
    half = input.dtype in (torch.float16, torch.bfloat16)
    if not half and input.dtype not in (torch.float32, torch.float64):
        name = str(input.dtype).removeprefix("torch.")
        raise NotImplementedError(f"\"batch_norm\" not implemented for '{name}'")
    types = {vector.dtype for vector in vectors if vector is not None}
    if not (types <= {input.dtype} or (half and types == {torch.float32})):
        allowed = f"{input.dtype} or torch.float32" if half else f"{input.dtype}"
        found = ", ".join(sorted(map(str, types)))
        raise RuntimeError(
            f"mixed dtype: with an input of {input.dtype}, weight, bias and running statistics "
            f"must all be {allowed}, but are {found}"
        )
