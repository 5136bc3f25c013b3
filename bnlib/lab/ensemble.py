"""One network at many rates and scales at once: its copies side by side, one tensor per layer.

Copies never mix. Each has its own parameters, running statistics and rate, all see the same
batches, and a copy that diverges takes no other with it. A small network spends its time on
calling layers and hardly any on arithmetic, so that a dozen copies cost little more than one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.lab.data import ImageData
from bnlib.lab.train import _batches


class StackedLinear(nn.Module):
    """Copies of a linear layer: (K, N, in) to (K, N, out), each with its own weights."""

    def __init__(self, layer: nn.Linear, copies: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().t().repeat(copies, 1, 1))  # (K, in, out)
        bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
        self.bias = nn.Parameter(bias.repeat(copies, 1, 1), layer.bias is not None)  # (K, 1, out)

    def forward(self, x: Tensor) -> Tensor:
        """Return x W + b, copy by copy."""
        return torch.baddbmm(self.bias, x, self.weight)


class StackedNorm(nn.BatchNorm1d):
    """Copies of a `nn.BatchNorm1d`: (K, N, C) to (K, N, C), as one layer of K C channels."""

    def __init__(self, layer: nn.BatchNorm1d, copies: int) -> None:
        channels = copies * layer.num_features
        super().__init__(channels, layer.eps, layer.momentum, layer.affine)
        repeated = {k: v.repeat(copies) if v.dim() else v for k, v in layer.state_dict().items()}
        self.to(layer.running_mean).load_state_dict(repeated)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each copy's channels over its batch."""
        copies, rows, channels = x.shape
        y = super().forward(x.transpose(0, 1).reshape(rows, copies * channels))
        return y.view(rows, copies, channels).transpose(0, 1)


def stack(net: nn.Module, copies: int) -> nn.Module:
    """Return a network that holds copies of ``net``: inputs (K, N, in), outputs (K, N, out).

    Parameters
    ----------
    net : nn.Module
        Made of linear layers, `nn.BatchNorm1d`, modules with single numbers as parameters, and
        modules without any that act on each value. It is left as it is.
    copies : int
        How many, K.

    Raises
    ------
    TypeError
        If a module has parameters of another kind.
    """
    return _stacked(copy.deepcopy(net), copies)


def _stacked(module: nn.Module, copies: int) -> nn.Module:
    if isinstance(module, nn.Linear):
        return StackedLinear(module, copies)
    if isinstance(module, nn.BatchNorm1d):
        return StackedNorm(module, copies)
    for name, p in list(module.named_parameters(recurse=False)):
        if p.numel() != 1:
            raise TypeError(f"{type(module).__name__} has a parameter that cannot be stacked")
        setattr(module, name, nn.Parameter(p.detach().repeat(copies).view(copies, 1, 1)))
    for name, child in module.named_children():
        setattr(module, name, _stacked(child, copies))
    return module


def train_rates(
    net: nn.Module,
    data: ImageData,
    *,
    rates: Sequence[float],
    steps: int,
    batch_size: int,
    seed: int,
    evaluate_at: Sequence[int] = (),
    held: Mapping[str, float] | None = None,
    scales: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Train copies of a network by plain SGD, one per rate, as `bnlib.lab.train.train` trains one.

    Parameters
    ----------
    net : nn.Module
        What all copies start from; see `stack`. It is left as it is.
    data : ImageData
        Flat images, shape (N, features).
    rates : sequence of float
        Learning rates, one per copy.
    steps, batch_size, seed, evaluate_at
        As in `bnlib.lab.train.train`; the order of batches is the same.
    held : mapping, optional
        Rates of parameters, by name, that shall have the same one in all copies.
    scales : sequence of float, optional
        Per copy the factor of the initial weights of all linear layers but the last.

    Returns
    -------
    DataFrame
        Columns lr, scale (where given), step, metric, value. ``accuracy`` on the test images and
        ``loss`` on the batch, before its update; ``diverged`` is 1 at the step at which a copy's
        loss ceased to be finite, and from then on nothing more is recorded of it.
    """
    record: list[tuple[int, int, str, float]] = []
    copies, lost = stack(net, len(rates)).train(), torch.zeros(len(rates), dtype=torch.bool)
    if scales is not None:
        _scale(copies, scales)
    own = -torch.tensor(rates, dtype=torch.float64).unsqueeze(1)  # (K, 1)
    factors = {
        p: (own.new_full(own.shape, -held[name]) if held and name in held else own).to(p)
        for name, p in copies.named_parameters()
        if p.requires_grad
    }
    batches = _batches(len(data.x_train), batch_size, seed)
    for step in range(1, steps + 1):
        index = next(batches)
        losses = _losses(copies, data.x_train[index], data.y_train[index], len(rates))
        gradients = torch.autograd.grad(losses.sum(), list(factors))
        with torch.no_grad():
            for (p, factor), g in zip(factors.items(), gradients, strict=True):
                rows = (len(rates), -1)  # the first axis of every parameter runs over the copies
                p.view(rows).addcmul_(g.reshape(rows), factor)
        now = ~losses.isfinite()
        record += [(k, step, "diverged", 1.0) for k in (now & ~lost).nonzero()[:, 0].tolist()]
        lost |= now
        if step in evaluate_at:
            scores = accuracies(copies, data.x_test, data.y_test, len(rates))
            kept = (~lost).nonzero()[:, 0].tolist()
            record += [(k, step, "loss", losses[k].item()) for k in kept]
            record += [(k, step, "accuracy", scores[k]) for k in kept]
        if lost.all():
            break
    table = pd.DataFrame(record, columns=["lr", "step", "metric", "value"])
    if scales is not None:
        table.insert(1, "scale", table["lr"].map(dict(enumerate(scales))))
    return table.assign(lr=table["lr"].map(dict(enumerate(rates))))


def _scale(copies: nn.Module, factors: Sequence[float]) -> None:
    """Multiply the weights of all linear layers but the last, copy by copy."""
    layers = [m for m in copies.modules() if isinstance(m, StackedLinear)]
    column = torch.tensor(factors, dtype=torch.float64).view(-1, 1, 1)
    with torch.no_grad():
        for layer in layers[:-1]:
            layer.weight.mul_(column.to(layer.weight))


def accuracies(copies: nn.Module, x: Tensor, y: Tensor, count: int) -> list[float]:
    """Return each copy's share of right rows, as `bnlib.lab.train.accuracy` does for one."""
    copies.eval()
    right = torch.zeros(count, dtype=torch.long)
    with torch.no_grad():
        for inputs, target in zip(x.split(2500), y.split(2500), strict=True):
            logits = copies(inputs.expand(count, -1, -1))  # (K, N, classes)
            right += ((logits.argmax(2) == target) & logits.isfinite().all(2)).sum(1)
    copies.train()
    return (right.double() / len(x)).tolist()


def _losses(copies: nn.Module, x: Tensor, y: Tensor, count: int) -> Tensor:
    """Return the mean cross-entropy of each copy, shape (K,)."""
    logits = copies(x.expand(count, -1, -1))  # (K, N, classes)
    target = y.repeat(count)
    losses = nn.functional.cross_entropy(logits.flatten(0, 1), target, reduction="none")
    return losses.view(count, -1).mean(1)
