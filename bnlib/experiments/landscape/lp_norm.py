"""BN with another measure of spread than the standard deviation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LpNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` with another measure of spread than the standard deviation.

    For (N, C) inputs, per channel: y = gamma (x - mean) / (s + eps) + beta, with

    - p = 1: ``s = sqrt(pi/2) mean |x - mean|``;
    - p = inf: ``s = max |x - mean| / sqrt(2 log N)``.

    The factors make s the standard deviation of Gaussian inputs, for p = 1 exactly in
    the population, for p = inf in the leading order of large N. The buffer ``running_var`` keeps
    the average of s squared.

    Sources: Hoffer et al. (2018), section 4; Santurkar et al. (2018), section 3.3.
    """

    def __init__(self, num_features: int, p: float) -> None:
        super().__init__(num_features)
        if p not in (1, math.inf):
            raise ValueError(f"p must be 1 or infinity, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x of shape (N, C)."""
        if not self.training and self.running_mean is not None and self.running_var is not None:
            mean, s = self.running_mean, self.running_var.sqrt()
            centred = x - mean
        else:
            mean = x.mean(0)
            centred = x - mean
            s = self.spread(centred)
            self._track(mean, s)
        return torch.addcmul(self.bias, centred / (s + self.eps), self.weight)

    def spread(self, centred: Tensor) -> Tensor:
        """Return s, shape (C,), of values with mean zero, shape (N, C)."""
        if self.p == 1:
            return math.sqrt(math.pi / 2) * centred.abs().mean(0)
        return centred.abs().amax(0) / math.sqrt(2 * math.log(len(centred)))

    @torch.no_grad()
    def _track(self, mean: Tensor, s: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(s.square(), self.momentum or 0.0)
