"""The equations of batch normalization, one small differentiable function each.

Written to be read next to the book's derivations. Every function is pure and made of
ordinary tensor operations, so autograd differentiates it to any order and a compiler can
fuse it. ``bnlib.blocked`` computes the same in cache-sized blocks.

Notation: an input has shape (N, C) or (N, C, d1, d2, ...); statistics have shape (C,) and
run over the n = N d1 d2 ... values of a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Moments", "batch_norm_backward", "merge_moments", "moments", "normalize", "widen"]


class Moments(NamedTuple):
    """First two moments of each channel.

    Attributes
    ----------
    mean : Tensor
        Shape (C,).
    var : Tensor
        Biased variance (divided by n, not n - 1), shape (C,).
    count : int
        Number n of values behind each of them.
    """

    mean: Tensor
    var: Tensor
    count: int  # type: ignore[assignment]  # in place of tuple.count, which nobody needs here


def widen(x: Tensor) -> Tensor:
    """Return `x` in the type that sums are taken in: half precision becomes float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def per_channel(v: Tensor, like: Tensor) -> Tensor:
    """View `v` of shape (C,) so that it broadcasts over `like` of shape (N, C, ...)."""
    return v.reshape(-1, *[1] * (like.dim() - 2))


def channel_sum(x: Tensor) -> Tensor:
    """Sum over every axis but the channels': (N, C, ...) to (C,)."""
    return x.sum([axis for axis in range(x.dim()) if axis != 1])


def moments(input: Tensor) -> Moments:
    r"""Mean and biased variance of each channel, in two passes.

    .. math:: \mu = \frac1n \sum_i x_i, \qquad v = \frac1n \sum_i (x_i - \mu)^2

    The one-pass form :math:`E[x^2] - E[x]^2` subtracts two nearly equal numbers when
    :math:`\mu^2 \gg v`; in float32 it has lost every digit at :math:`\mu/\sqrt v = 3000`.

    Parameters
    ----------
    input : Tensor
        Shape (N, C, ...). Half precision is summed in float32.

    Returns
    -------
    Moments
        Mean and variance of shape (C,), and n.

    References
    ----------
    Ioffe & Szegedy (2015), algorithm 1.
    """
    x = widen(input)
    count = x.numel() // max(x.shape[1], 1)
    mean = channel_sum(x) / count
    var = channel_sum((x - per_channel(mean, x)).square()) / count
    return Moments(mean, var, count)


def merge_moments(parts: Sequence[Moments]) -> Moments:
    r"""Moments of a whole from the moments of its disjoint parts.

    .. math::

        \mu = \sum_j \frac{n_j}{n} \mu_j, \qquad
        v = \sum_j \frac{n_j}{n} \left(v_j + (\mu_j - \mu)^2\right)

    The second term is what averaging the parts' variances forgets.

    Parameters
    ----------
    parts : sequence of Moments
        One per part, at least one of them with values; empty parts count for nothing.

    Returns
    -------
    Moments
        Mean, biased variance and number of values of all parts together.

    Raises
    ------
    ValueError
        If no part has any values.

    References
    ----------
    Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance".
    """
    parts = [part for part in parts if part.count > 0]
    if not parts:
        raise ValueError("merge_moments needs at least one part with values")
    if len(parts) == 1:
        return parts[0]
    total = sum(part.count for part in parts)
    means, variances = (torch.stack(column) for column in list(zip(*parts, strict=True))[:2])
    weights = means.new_tensor([[part.count / total] for part in parts])  # (parts, 1)
    # Counted from the first mean, rounding is relative to the spread of the means.
    origin = means[0].nan_to_num(0.0, 0.0, 0.0)
    mean = origin + (weights * (means - origin)).sum(0)
    var = (weights * (variances + (means - mean).square())).sum(0)
    return Moments(mean, var, total)


def normalize(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Normalise by given statistics, then scale and shift.

    .. math:: y = \gamma \, \frac{x - \mu}{\sqrt{v + \epsilon}} + \beta

    Centring comes first: :math:`(\gamma/s) x + (\beta - \gamma\mu/s)` is one operation
    less and loses the digits that x and :math:`\mu` share.

    Parameters
    ----------
    input : Tensor
        Shape (N, C, ...).
    mean, var : Tensor
        Shape (C,).
    weight, bias : Tensor, optional
        :math:`\gamma` and :math:`\beta`, shape (C,); absent means 1 and 0.
    eps : float
        Added to the variance, inside the root.

    Returns
    -------
    Tensor
        Shape and type of `input`.

    References
    ----------
    Ioffe & Szegedy (2015), algorithm 1.
    """
    x = widen(input)
    scale = torch.rsqrt(widen(var) + eps)
    if weight is not None:
        scale = widen(weight).reshape(-1) * scale
    y = (x - per_channel(widen(mean), x)) * per_channel(scale, x)
    if bias is not None:
        y = y + per_channel(widen(bias), x)
    return y.to(input.dtype)


def batch_norm_backward(
    grad_output: Tensor,
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Gradient of training-mode batch normalization, in closed form.

    With :math:`s = \sqrt{v + \epsilon}`, :math:`\hat x = (x - \mu)/s` and g the gradient
    with respect to the output,

    .. math::

        \frac{\partial L}{\partial x} = \frac{\gamma}{s}
            \Big(g - \overline{g} - \hat x \, \overline{g \hat x}\Big), \qquad
        \frac{\partial L}{\partial \gamma} = \sum_i g_i \hat x_i, \qquad
        \frac{\partial L}{\partial \beta} = \sum_i g_i

    where a bar is the mean over a channel's n values: g loses its component along 1 (the
    mean was subtracted) and along :math:`\hat x` (the scale was divided out).

    Parameters
    ----------
    grad_output : Tensor
        g, shape (N, C, ...).
    input : Tensor
        x, same shape.
    mean, var : Tensor
        The batch's own moments, shape (C,). Pass ``moments(input)`` computed from an
        `input` that requires grad, and the result can be differentiated again.
    weight : Tensor, optional
        :math:`\gamma`, shape (C,).
    eps : float
        As in the forward pass.

    Returns
    -------
    tuple of Tensor
        Gradients with respect to input (N, C, ...), weight (C,) and bias (C,).

    References
    ----------
    Ioffe & Szegedy (2015), section 3, collected into one expression.
    """
    x, g = widen(input), widen(grad_output)
    count = x.numel() // x.shape[1]
    scale = torch.rsqrt(var + eps)
    xhat = (x - per_channel(mean, x)) * per_channel(scale, x)
    grad_bias, grad_weight = channel_sum(g), channel_sum(g * xhat)
    if weight is not None:
        scale = widen(weight).reshape(-1) * scale
    projected = g - per_channel(grad_bias / count, x) - xhat * per_channel(grad_weight / count, x)
    return (projected * per_channel(scale, x)).to(input.dtype), grad_weight, grad_bias
