"""Layers that move the distribution of their inputs from step to step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bnlib.lab.models import Init, mlp, normalizer


class DistributionNoise(nn.Module):
    """A random scale and shift per channel, common to the batch, that changes from step to step.

    In training a value ``x`` of sample i becomes ``s_i * x + m_i``, for every channel with

        m_i ~ U(mu - 0.1 d, mu + 0.1 d),   s_i ~ N(sigma, 0.1 d),

    where the channel's own ``mu ~ U(-0.5 d, 0.5 d)`` and ``sigma ~ U(1, 1 + 0.25 d)`` change over
    the steps. They are uniform at every step and for every ``tau``: mu and sigma are made from
    two standard normal AR(1) processes z by their distribution function, and the correlation of z
    at a distance of k steps is exp(-k / tau). In evaluation ``x`` is multiplied by the mean scale,
    1 + 0.125 d.

    Parameters
    ----------
    width : int
        Number of channels C; inputs have shape (N, C).
    dose : float
        The amplitude d. At 0 the layer is the identity.
    tau : float
        Correlation time in steps: 0 draws anew at each step, infinity never.
    common : bool
        Whether the batch shares mu and sigma. If not, every sample draws its own at each step:
        one value is then perturbed as before, and the distribution over samples stays as it is.

    Notes
    -----
    After the "noisy" batch normalization of Santurkar et al. (2018), which draws anew at each
    step. ``moving`` is True; while it is False a forward pass leaves mu and sigma as they are.
    """

    state: Tensor

    def __init__(self, width: int, dose: float, tau: float = 0.0, common: bool = True) -> None:
        super().__init__()
        self.dose, self.tau, self.common, self.moving = dose, tau, common, True
        self.rho = math.exp(-1 / tau) if tau > 0 else 0.0
        self.register_buffer("state", torch.randn(2, width))  # z of mu, z of sigma

    def advance(self) -> None:
        """Move the state by one step."""
        if self.rho < 1:
            fresh = torch.randn_like(self.state)
            self.state = self.rho * self.state + math.sqrt(1 - self.rho**2) * fresh

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and sigma for the input x: of shape (C,) if they are common, else (N, C)."""
        u = torch.special.ndtr(self.state) if self.common else torch.rand(2, *x.shape).to(x)
        return self.dose * (u[0] - 0.5), 1 + 0.25 * self.dose * u[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the perturbed x, shape (N, C)."""
        if self.dose == 0:
            return x
        if not self.training:
            return x * (1 + 0.125 * self.dose)
        if self.moving:
            self.advance()
        mu, sigma = self.moments(x)
        shift = mu + 0.1 * self.dose * (2 * torch.rand_like(x) - 1)
        return (sigma + 0.1 * self.dose * torch.randn_like(x)) * x + shift


def noisy_mlp(
    activation: str, init: Init, norm: str, dose: float, tau: float = 0.0, common: bool = True
) -> nn.Sequential:
    """Return a 784-100-100-100-10 network with `DistributionNoise` after each normaliser.

    With every setting of the noise, a dose of 0 included, one seed gives one set of weights.
    """

    def follow(width: int) -> nn.Module:
        noise = DistributionNoise(width, dose, tau, common)
        return nn.Sequential(normalizer(norm, width, 1), noise)

    return mlp([784, 100, 100, 100, 10], follow, activation, init)


class Jumps(nn.Module):
    """A scale and a shift per channel, common to the batch and drawn anew in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the moved x, shape (N, C)."""
        return (0.1 + 3 * torch.rand(x.shape[1]).to(x)) * x + 10 * torch.randn(x.shape[1]).to(x)
