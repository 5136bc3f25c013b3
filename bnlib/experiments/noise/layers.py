"""BN with the statistics, or only the noise, of ghost batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class GhostNorm(_BatchNorm):
    r"""BN that normalises each ghost batch of ``size`` rows by its own statistics.

    .. math:: y_i = \gamma \, \frac{x_i - \mu_g}{\sqrt{v_g + \epsilon}} + \beta,
              \quad i \text{ in ghost batch } g

    Takes and returns (N, C, ...), N a multiple of ``size`` in training. Running statistics
    move once per batch, by the mean over its ghost batches; evaluation is BN's.

    Source: Hoffer, Hubara & Soudry (2017), arXiv 1705.08741.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, size: int) -> None:
        super().__init__(width)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x of shape (N, C, ...)."""
        if not self.training:
            return super().forward(x)
        count = len(x) // self.size
        # (N, C, ...) -> (size, count * C, ...): each ghost batch gets channels of its own
        apart = x.unflatten(0, (count, self.size)).transpose(0, 1).flatten(1, 2)
        mean, var = self.running_mean.repeat(count), self.running_var.repeat(count)
        xhat = nn.functional.batch_norm(
            apart, mean, var, None, None, True, self.momentum or 0.0, self.eps
        )
        self.running_mean.copy_(mean.view(count, -1).mean(0))
        self.running_var.copy_(var.view(count, -1).mean(0))
        return _affine(self, xhat.unflatten(1, (count, -1)).transpose(0, 1).flatten(0, 1))

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any rank from 2 on; unflattening complains about the rest."""


class GhostNoise(_BatchNorm):
    r"""BN over the whole batch, and on top of it the noise of ghost batches of ``size`` rows.

    .. math:: y_i = \gamma \, \frac{\hat x_i - \mu_g}{\sqrt{v_g + \epsilon}} + \beta,

    where :math:`\mu_g, v_g` are the moments, taken as constants, of ghost batch g of a
    *shuffled* copy of :math:`\hat x`. In law they are those of `GhostNorm`, but row i is no
    more likely than any other to be among the rows that they come from, and no gradient flows
    through them. Takes and returns (N, C, ...), N a multiple of ``size`` in training.
    Evaluation is BN's.

    Source: after Kosson, Fan & Jaggi (2024), arXiv 2305.17205, who draw anew for each row.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__(width)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x of shape (N, C, ...)."""
        if not self.training:
            return super().forward(x)
        xhat = nn.functional.batch_norm(
            x, self.running_mean, self.running_var, None, None, True, self.momentum or 0.0, self.eps
        )
        groups = (len(x) // self.size, self.size)
        axes = (1, *range(3, x.dim() + 1))  # of (count, size, C, ...) all but count and C
        with torch.no_grad():
            ghosts = xhat[torch.randperm(len(x))].unflatten(0, groups)
            mean = ghosts.mean(axes, keepdim=True)
            std = ((ghosts - mean).square().mean(axes, keepdim=True) + self.eps).sqrt()
        return _affine(self, ((xhat.unflatten(0, groups) - mean) / std).flatten(0, 1))

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any rank from 2 on; unflattening complains about the rest."""


def _affine(layer: _BatchNorm, xhat: Tensor) -> Tensor:
    shape = (-1, *(1,) * (xhat.dim() - 2))
    return torch.addcmul(layer.bias.view(shape), xhat, layer.weight.view(shape))
