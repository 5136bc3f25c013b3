"""Batch normalization as a function, with the contract of ``torch.nn.functional.batch_norm``.

The equations are those of ``bnlib.formulas``, repeated here by name. This module adds what
a library needs around them: the choice between training and evaluation, the running
statistics, and PyTorch's checks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from bnlib import blocked, eager
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
    tensors = (input, running_mean, running_var, weight, bias)
    if has_torch_function(tensors):
        return handle_torch_function(
            batch_norm, tensors, *tensors, training=training, momentum=momentum, eps=eps
        )
    if _is_operator(training, eps, *tensors):
        return F.batch_norm(*tensors, training, momentum, eps)
    _check_size(input, training, eps)
    _check_statistics(input, training, running_mean, running_var)
    if input.numel() == 0:
        return _empty(input, weight, bias)
    _check_vectors(input, training, running_mean, running_var, weight, bias)
    _check_types(input, weight, bias, running_mean, running_var)
    if not training:
        assert running_mean is not None
        assert running_var is not None
        return _evaluate(_dense(input), running_mean, running_var, weight, bias, eps)
    y, batch = normalize_batch(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        update(running_mean, running_var, batch, momentum)
    return y


def _is_operator(training: bool, eps: float, *tensors: Tensor | None) -> bool:
    """Whether whoever watches is to see PyTorch's operator, by which tools know the layer.

    In evaluation that is everyone who records; in training only TorchScript, whose exporters
    know no other way. PyTorch's operator refuses eps = 0 in training.
    """
    if torch.compiler.is_compiling():
        return not training
    if training:
        return eps > 0 and torch._C._is_tracing()
    return not (eager.plain(*tensors) or eager.transformed())


def normalize_batch(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Moments]:
    """Normalise by the batch's own moments; return them too. Checks nothing."""
    x = _dense(input)
    if eager.plain(x, weight, bias):
        y, mean, var = BatchNormFunction.apply(x, weight, bias, eps)
        return y, Moments(mean, var, x.numel() // x.shape[1])
    batch = moments(x)
    return normalize(x, batch.mean, batch.var, weight, bias, eps), batch


def _evaluate(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalise by the running statistics: the same bits in blocks and by the formulas."""
    recording = torch.is_grad_enabled() and any(
        t.requires_grad for t in (x, weight, bias) if t is not None
    )
    if recording or x.device.type != "cpu" or not eager.plain(x, mean, var, weight, bias):
        return normalize(x, mean, var, weight, bias, eps)
    return blocked.evaluate(x, mean, var, weight, bias, eps)


def _empty(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """No values: nothing to normalise or record, yet parameters get a gradient of zero."""
    y = input.clone()
    y = y if weight is None else y * weight[:1].sum()
    return y if bias is None else (y + bias[:1].sum()).to(y.dtype)


def _dense(input: Tensor) -> Tensor:
    return input if input.is_contiguous() else input.contiguous(memory_format=_format(input))


def update(mean: Tensor, var: Tensor, batch: Moments, momentum: float) -> None:
    """Move the running statistics in place, the variance by its unbiased estimate."""
    bessel = batch.count / (batch.count - 1)
    with torch.no_grad():  # and detached: a recorded graph forgets under what it was recorded
        for running, new, weight in ((mean, batch.mean, 1.0), (var, batch.var, bessel)):
            kept = widen(running) * (1 - momentum)
            running.copy_(kept.add_(new.detach(), alpha=momentum * weight))


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


def _check_statistics(
    input: Tensor, training: bool, running_mean: Tensor | None, running_var: Tensor | None
) -> None:
    """Refuse running statistics that cannot be moved, before anything has been."""
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        if running is None:
            continue
        if running.requires_grad and torch.is_grad_enabled():
            raise RuntimeError(
                f"batch_norm is not differentiable with respect to argument '{name}'. "
                "This input cannot have requires_grad True."
            )
        if training and not eager.batched(input) <= eager.batched(running):
            raise RuntimeError(
                f"vmap: the input has a batch for every {name}, which training updates in "
                "place and which has none: use track_running_stats=False, or stack the "
                "running statistics and pass them through vmap as well"
            )


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
