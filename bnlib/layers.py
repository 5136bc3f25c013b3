"""Batch normalization as modules: state, and one call into ``bnlib.functional``.

``BatchNorm1d``, ``BatchNorm2d`` and ``BatchNorm3d`` stand in for the classes of the same
names in ``torch.nn``. They inherit from them, so constructor, attributes, ``state_dict``,
``repr``, checks and every utility that looks for a batch normalization layer (precise
statistics, synchronisation, data-parallel buffers) are PyTorch's own; what they replace is
the computation. They are for reading and for experiments: PyTorch's are faster.

Whoever traces, compiles, exports or transforms a model with these layers sees what PyTorch's
would show. Tools that compare *exact types* do not know them, though: quantization (eager
and FX), fusion of modules (``torch.ao.quantization.fuse_modules``,
``torch.fx.experimental.optimization.fuse``) and ``torch.jit.script``. Exchange the layers
for PyTorch's first: ``bnlib.to_torch(model)``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm as _TorchBatchNorm

from bnlib import functional

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GhostBatchNorm",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
]


class _BatchNorm(_TorchBatchNorm):
    """State and its bookkeeping, common to all layers here."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input` of shape (N, C, ...), C = ``num_features``; same shape out."""
        if isinstance(input, fx.Proxy):
            return self._leaf(input)
        self._check_input_dim(input)
        return self._normalize(input)

    def _normalize(self, input: Tensor) -> Tensor:
        # Running statistics serve evaluation, and training that tracks them. Without any,
        # evaluation too normalises by the batch.
        use_running = self.track_running_stats or not self.training
        y = functional.batch_norm(
            input,
            self.running_mean if use_running else None,
            self.running_var if use_running else None,
            self.weight,
            self.bias,
            training=self.training or (self.running_mean is None and self.running_var is None),
            momentum=self._new_weight(1),
            eps=self.eps,
        )
        self._count(1)
        return y

    def _counts(self) -> bool:
        tracks = self.training and self.track_running_stats
        return tracks and self.num_batches_tracked is not None

    def _new_weight(self, ahead: int) -> float:
        """Weight in the running statistics of the batch that is `ahead` of those counted."""
        if self.momentum is not None:
            return self.momentum
        if not self._counts():
            return 0.0
        assert self.num_batches_tracked is not None
        return 1.0 / float(self.num_batches_tracked + ahead)  # every batch weighs the same

    def _count(self, batches: int) -> None:
        """Count batches whose statistics have been taken, never before: see there.

        A forward pass may end early, by an error or because gradient checkpointing has
        recomputed what it needs. Count and statistics then have both not moved.
        """
        if self._counts():
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(batches)

    def _leaf(self, input: fx.Proxy) -> Any:
        """Stay one node of a symbolically traced graph, as PyTorch's own layers do."""
        tracer: Any = input.tracer
        return tracer.create_proxy("call_module", tracer.path_of_module(self), (input,), {})


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


class LazyBatchNorm1d(_BatchNorm, nn.LazyBatchNorm1d):
    """``BatchNorm1d`` that takes C from its first input; replaces ``torch.nn.LazyBatchNorm1d``.

    Parameters are those of ``BatchNorm1d`` without ``num_features``.
    """

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_BatchNorm, nn.LazyBatchNorm2d):
    """``BatchNorm2d`` that takes C from its first input; see ``LazyBatchNorm1d``."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_BatchNorm, nn.LazyBatchNorm3d):
    """``BatchNorm3d`` that takes C from its first input; see ``LazyBatchNorm1d``."""

    cls_to_become = BatchNorm3d


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

    def _normalize(self, input: Tensor) -> Tensor:
        if not self.training or len(input) <= self.virtual_batch_size:
            return super()._normalize(input)
        parts = torch.split(input, self.virtual_batch_size)
        # Copies of the statistics move from part to part, so that all parts count or none.
        mean, var = self.running_mean, self.running_var
        if not self.track_running_stats:
            mean = var = None
        new_mean, new_var = (None if v is None else v.clone() for v in (mean, var))
        outputs = [
            functional.batch_norm(
                part,
                new_mean,
                new_var,
                self.weight,
                self.bias,
                training=True,
                momentum=self._new_weight(ahead),
                eps=self.eps,
            )
            for ahead, part in enumerate(parts, 1)
        ]
        for running, new in ((mean, new_mean), (var, new_var)):
            if running is not None and new is not None:
                running.copy_(new)
        self._count(len(parts))
        return torch.cat(outputs)

    def named_children(self) -> Iterator[tuple[str, nn.Module]]:
        """Warn PyTorch's synchronisation, which asks the layers that it replaces for these.

        ``convert_sync_batchnorm`` replaces every heir of its own layers, and knows nothing
        of virtual batches.
        """
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
        if sys._getframe(1).f_code is convert.__func__.__code__:
            warnings.warn(
                "convert_sync_batchnorm has replaced a GhostBatchNorm by a layer without its "
                f"virtual batches of {self.virtual_batch_size}: keep it out of the conversion "
                "if they are wanted",
                stacklevel=3,
            )
        return super().named_children()

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    def extra_repr(self) -> str:
        """Describe the layer as PyTorch's do, B last."""
        return f"{super().extra_repr()}, virtual_batch_size={self.virtual_batch_size}"
