"""Networks with less noise in their statistics, and with dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
