"""The equations of ``bnlib.formulas`` again, fast: in blocks that stay in the cache.

Normalising is limited by memory, not by arithmetic. Each of the formulas' operations
reads and writes a whole tensor; here each block of about a megabyte goes through all of
them before the next is fetched, in one scratch buffer.

One view serves every layout. A tensor is seen as rows: (N, C, H W) when it is contiguous,
(N H W, C) when it is channels-last. In both, a range of rows is one
contiguous piece of memory that holds all channels, so a block is a range of rows, and the
moments of the blocks merge into those of the whole (``merge_moments``).

Nothing here is differentiable: these are the insides of an ``autograd.Function``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bnlib.formulas import Moments, merge_moments, widen

# Elements in a block: 2 MB of float32, which two cores' second-level caches hold.
BLOCK = 2**19
# The same for three operations in one place, which one core's cache is to hold.
SMALL = 2**17
# Largest row over which per-channel values are written out; see `spread`.
SPREAD = 2**16
# Means nearer to zero than so many standard deviations need not be subtracted first: see
# `normalize`.
NEAR = 64


def as_rows(x: Tensor) -> Tensor:
    """View a dense (N, C, ...) tensor as rows, (R, C, L) or (R, C), without copying."""
    if not x.is_contiguous():  # channels-last: the channels of one place are neighbours
        return x.movedim(1, -1).view(-1, x.shape[1])
    return x if x.dim() == 2 else x.view(x.shape[0], x.shape[1], -1)


def split_rows(x: Tensor, block: int | None = None) -> Sequence[Tensor]:
    """Cut the rows of `x` into blocks of so many elements, ``BLOCK`` unless said otherwise."""
    rows, block = as_rows(x), block or BLOCK
    if x.numel() <= block:
        return (rows,)
    return torch.split(rows, max(1, block * len(rows) // x.numel()))


def with_scratch(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the tensors' corresponding blocks, and scratch memory of the same shape."""
    blocks = [split_rows(x) for x in tensors]
    first = blocks[0][0]
    scratch = torch.empty_like(first, dtype=wide_type(first))
    for group in zip(*blocks, strict=True):
        rows = len(group[0])
        yield *group, scratch if rows == len(scratch) else scratch[:rows]


def wide_type(x: Tensor) -> torch.dtype:
    """Type that sums over `x` are taken in."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def spread(v: Tensor, rows: Tensor) -> Tensor:
    """Shape per-channel values (C,) so that they broadcast over rows.

    Written out to (C, L) while that is small: vector instructions then run along whole
    rows, where a value that changes every L elements would stop them.
    """
    if rows.dim() == 2:
        return v
    column = v.unsqueeze(1).expand(-1, rows.shape[2])
    return column.contiguous() if column.numel() <= SPREAD else column


def row_mean(rows: Tensor) -> Tensor:
    """Average rows to (C,), in the wide type."""
    columns = rows.mean(0, dtype=wide_type(rows))
    return columns if rows.dim() == 2 else columns.mean(1)


def row_sum(rows: Tensor) -> Tensor:
    """Sum rows to (C,), in the wide type."""
    columns = rows.sum(0, dtype=wide_type(rows))
    return columns if rows.dim() == 2 else columns.sum(1)


def moments(x: Tensor) -> Moments:
    """Compute ``formulas.moments`` of a dense tensor (N, C, ...)."""
    return merge_moments([_shifted_moments(*pair) for pair in with_scratch(x)])


def _shifted_moments(rows: Tensor, scratch: Tensor) -> Moments:
    """Take the moments of one block about a pilot, the mean of a sixteenth of its rows.

    v = E[(x - k)^2] - E[x - k]^2 holds for every k. Rounding is harmless when k is near
    the mean, and the mean of a sixteenth is within sqrt(15) standard deviations of it,
    whatever the data. So one pass gives what else takes two, and the mean is a sum of
    small numbers, free of the rounding that grows with its distance from zero.
    """
    pilot = row_mean(rows[: 1 + len(rows) // 16])
    pilot = pilot.nan_to_num_(0.0, 0.0, 0.0)  # about 0, an infinite mean comes out infinite
    shifted = torch.sub(rows, spread(pilot, rows), out=scratch)
    offset = row_mean(shifted)
    var = row_mean(shifted.square_()).sub_(offset.square()).clamp_(min=0)
    return Moments(pilot.add_(offset), var, rows.numel() // len(pilot))


def normalize(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Compute ``formulas.normalize`` of a dense tensor (N, C, ...).

    Centring first costs an operation and is what keeps digits when the mean is large. Of a
    large tensor whose means are near zero, scale x + (shift - scale mean) is as good.
    """
    y = torch.empty_like(x)
    mean, inverse = widen(mean), torch.rsqrt(widen(var) + eps)
    scale = inverse if weight is None else inverse * weight.reshape(-1)
    shift = torch.zeros_like(mean) if bias is None else widen(bias).reshape(-1)
    if len(split_rows(x)) > 1 and (mean * inverse).abs().max() < NEAR:
        _scale_and_shift(x, scale, shift - mean * scale, out=y)
    else:
        _centre_scale_and_shift(x, mean, scale, shift, out=y)
    return y


def _scale_and_shift(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    scale, shift = (spread(v, as_rows(x)) for v in (scale, shift))
    for rows, out_rows in zip(split_rows(x), split_rows(out), strict=True):
        torch.addcmul(shift, rows, scale, out=out_rows)


def _centre_scale_and_shift(
    x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, out: Tensor
) -> None:
    mean, scale, shift = (spread(v, as_rows(x)) for v in (mean, scale, shift))
    for rows, out_rows, scratch in with_scratch(x, out):
        torch.addcmul(shift, torch.sub(rows, mean, out=scratch), scale, out=out_rows)


def evaluate(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Compute ``formulas.normalize`` of a dense tensor (N, C, ...), to the same bits.

    Its three operations, each rounded by itself, so that an output depends neither on the
    size of the batch nor on whether a gradient is wanted, for which the formulas are used.
    """
    y = torch.empty_like(x)
    inverse = torch.rsqrt(widen(var) + eps)
    scale = inverse if weight is None else widen(weight).reshape(-1) * inverse
    mean, scale = (spread(v, as_rows(x)) for v in (widen(mean), scale))
    shift = None if bias is None else spread(widen(bias).reshape(-1), as_rows(x))
    for rows, out_rows in zip(split_rows(x, SMALL), split_rows(y, SMALL), strict=True):
        # Half precision has no room for what is in between; a wide output is its own scratch.
        half = y.dtype != wide_type(y)
        found = rows - mean if half else torch.sub(rows, mean, out=out_rows)
        found.mul_(scale)
        if shift is not None:
            found.add_(shift)
        if half:
            out_rows.copy_(found)
    return y


def batch_norm_backward(
    g: Tensor, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``formulas.batch_norm_backward`` for a dense input (N, C, ...)."""
    if g.stride() != x.stride():
        g = torch.empty_like(x).copy_(g)
    inverse = torch.rsqrt(var + eps)
    scale = inverse if weight is None else inverse * weight.reshape(-1)
    grad_bias, product = _gradient_sums(g, x, mean)
    grad_weight = product * inverse
    share = scale * (-x.shape[1] / x.numel())
    along_x = grad_weight * inverse * share
    grad_input = _combine(g, scale, x, along_x, grad_bias * share - along_x * mean)
    return grad_input, grad_weight, grad_bias


def _gradient_sums(g: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum(g) and sum(g (x - mean)) of each channel."""
    mean = spread(mean, as_rows(x))
    sums = []
    for rows, g_rows, scratch in with_scratch(x, g):
        product = torch.sub(rows, mean, out=scratch).mul_(g_rows)
        sums.append((row_sum(g_rows), row_sum(product)))
    if len(sums) == 1:
        return sums[0]
    total, product = (torch.stack(column).sum(0) for column in zip(*sums, strict=True))
    return total, product


def _combine(g: Tensor, a: Tensor, x: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return a g + b x + c, with a, b and c of shape (C,).

    b x + c stands for b (x - mean). It is a small part of the sum, and off by no more than
    if x were off by a unit in its last place.
    """
    result = torch.empty_like(x)
    a, b, c = (spread(v, as_rows(x)) for v in (a, b, c))
    for rows, g_rows, out, scratch in with_scratch(x, g, result):
        partial = out if out.dtype == scratch.dtype else scratch
        torch.addcmul(c, rows, b, out=partial)
        torch.addcmul(partial, g_rows, a, out=out)
    return result
