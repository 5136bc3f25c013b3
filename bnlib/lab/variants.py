"""Relatives of batch normalisation for experiments, in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlib.lab.models import Init, mlp, normalizer


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


class Jumps(nn.Module):
    """A scale and a shift per channel, common to the batch and drawn anew in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the moved x, shape (N, C)."""
        return (0.1 + 3 * torch.rand(x.shape[1]).to(x)) * x + 10 * torch.randn(x.shape[1]).to(x)


class Company(nn.Module):
    """A network that sees each training batch among ``extra`` further rows of ``pool``.

    The rows, drawn anew each time without replacement, may repeat rows of the batch where the
    pool holds them. They take part in all batch statistics and in their gradient; their outputs
    are dropped. So statistics come from N + extra rows while the loss has N. Evaluation is the
    network's own.
    """

    def __init__(self, net: nn.Module, pool: Tensor, extra: int) -> None:
        super().__init__()
        self.net, self.pool, self.extra = net, pool, extra

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of x, shape (N, ...)."""
        if not self.training:
            out: Tensor = self.net(x)
            return out
        rows = torch.randperm(len(self.pool))[: self.extra]
        together: Tensor = self.net(torch.cat([x, self.pool[rows]]))
        return together[: len(x)]


def add_dropout(net: nn.Module, p: float) -> nn.Module:
    """Put dropout behind each ReLU of a network, in place, and return it."""
    for name, layer in list(net.named_children()):
        if isinstance(layer, nn.ReLU):
            setattr(net, name, nn.Sequential(layer, nn.Dropout(p)))
        else:
            add_dropout(layer, p)
    return net


def _affine(layer: _BatchNorm, xhat: Tensor) -> Tensor:
    shape = (-1, *(1,) * (xhat.dim() - 2))
    return torch.addcmul(layer.bias.view(shape), xhat, layer.weight.view(shape))
