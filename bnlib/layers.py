"""Batch normalization as modules: state, and one call into ``bnlib.functional``.

``BatchNorm1d``, ``BatchNorm2d`` and ``BatchNorm3d`` stand in for the classes of the same
names in ``torch.nn``. They inherit from them, so constructor, attributes, ``state_dict``,
``repr``, checks and every utility that looks for a batch normalization layer (precise
statistics, synchronisation, data-parallel buffers) are PyTorch's own; what they replace is
the computation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as _TorchBatchNorm

from bnlib import functional

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GhostBatchNorm"]


class _BatchNorm(_TorchBatchNorm):
    """State and its bookkeeping, common to all layers here."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input` of shape (N, C, ...), C = ``num_features``; same shape out."""
        self._check_input_dim(input)
        momentum = self._count_batch()
        # Running statistics serve evaluation, and training that tracks them. Without any,
        # evaluation too normalises by the batch.
        use_running = self.track_running_stats or not self.training
        return functional.batch_norm(
            input,
            self.running_mean if use_running else None,
            self.running_var if use_running else None,
            self.weight,
            self.bias,
            training=self.training or (self.running_mean is None and self.running_var is None),
            momentum=momentum,
            eps=self.eps,
        )

    def _count_batch(self) -> float:
        """Count a training batch, and return the weight that its statistics get."""
        count = self.num_batches_tracked
        if self.training and self.track_running_stats and count is not None:
            count.add_(1)
            if self.momentum is None:  # cumulative average: every batch weighs the same
                return 1.0 / float(count)
        return 0.0 if self.momentum is None else self.momentum


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    r"""Batch normalization of (N, C) or (N, C, L); replaces ``torch.nn.BatchNorm1d``.

    .. math:: y = \gamma \, \frac{x - \mu}{\sqrt{v + \epsilon}} + \beta

    with :math:`\mu` and v over all axes but C: of the batch in training, running averages
    in evaluation (see ``bnlib.functional.batch_norm``).

    Parameters
    ----------
    num_features : int
        Number of channels C.
    eps : float
        Added to the variance; 0 is allowed.
    momentum : float or None
        Weight of the new value in the running averages; None averages all batches alike.
    affine, bias : bool
        Whether there are :math:`\gamma` and :math:`\beta`, and whether there is :math:`\beta`.
    track_running_stats : bool
        Without it, evaluation normalises by the batch too.
    device, dtype : optional
        Of parameters and buffers.

    Raises
    ------
    ValueError
        On input of another rank, or in training on one value per channel.

    References
    ----------
    Ioffe & Szegedy (2015).
    """


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """Batch normalization of (N, C, H, W); replaces ``torch.nn.BatchNorm2d``.

    Statistics run over N, H and W. For parameters and errors see ``BatchNorm1d``.
    """


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """Batch normalization of (N, C, D, H, W); replaces ``torch.nn.BatchNorm3d``.

    Statistics run over N, D, H and W. For parameters and errors see ``BatchNorm1d``.
    """


class GhostBatchNorm(_BatchNorm):
    r"""Batch normalization over virtual batches, for input of shape (N, C, ...).

    In training the batch is cut along N into virtual batches of B, the last of them shorter
    if B does not divide N, and each is normalised by its own statistics. Running averages
    take the virtual batches one after the other, so that a batch of k of them leaves
    :math:`(1 - m)^k` of the old value. Evaluation does not depend on B.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    virtual_batch_size : int
        B, at least 1.
    eps, momentum, affine, track_running_stats, device, dtype
        As for ``BatchNorm1d``. ``num_batches_tracked`` counts virtual batches.

    Raises
    ------
    ValueError
        If B is less than 1, or in training if a virtual batch, such as a short last one,
        has one value per channel.

    References
    ----------
    Hoffer, Hubara & Soudry (2017), "Train longer, generalize better", algorithm 1.
    """

    def __init__(
        self,
        num_features: int,
        virtual_batch_size: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if virtual_batch_size < 1:
            raise ValueError(f"virtual_batch_size must be at least 1, but got {virtual_batch_size}")
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.virtual_batch_size = virtual_batch_size

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input` of shape (N, C, ...), C = ``num_features``; same shape out."""
        self._check_input_dim(input)
        if not self.training or len(input) <= self.virtual_batch_size:
            return super().forward(input)
        virtual = torch.split(input, self.virtual_batch_size)
        return torch.cat([super(GhostBatchNorm, self).forward(part) for part in virtual])

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    def extra_repr(self) -> str:
        """Describe the layer as PyTorch's do, B last."""
        return f"{super().extra_repr()}, virtual_batch_size={self.virtual_batch_size}"
