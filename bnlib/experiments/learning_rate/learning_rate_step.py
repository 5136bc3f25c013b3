"""One step at a large learning rate: what it does to activations, and two theorems about steps.

Part ``step`` looks at networks before and after one step. Part ``bound`` checks the bound on the
effective rate after one step, part ``quadratic`` the largest stable rate of a quadratic loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.learning_rate.learning_rate import ARMS, DEPTHS, WIDTH, network
from bnlib.lab.data import prepared
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible
from bnlib.layers import BatchNorm1d

SEEDS = range(14)
RATE, ROWS, DRAWS = 1.0, 1_000, 10  # DRAWS: networks per seed, whose mean is taken
FACTORS = (1e-3, 0.1, 1.0, 10.0, 1e3)  # lengths of a step, relative to the weights


@dataclass(frozen=True)
class Run:
    """A few networks of one kind, or one theorem."""

    part: str
    arm: str
    depth: int
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all parts on all seeds."""
    theorems = [Run(part, "bn", 4, s) for s in seeds for part in ("bound", "quadratic")]
    return theorems + [Run("step", a, d, s) for s in seeds for a in ARMS for d in DEPTHS]


def measure(run: Run) -> pd.DataFrame:
    """Return one part's measurements on a random batch of training images."""
    data = prepared(factor=2)
    with reproducible(run.seed):
        rows = torch.randperm(len(data.x_train))[:ROWS]
        x, y = data.x_train[rows], data.y_train[rows]
        if run.part == "bound":
            found = [(0, "excess", excess(x.double(), y))]
        elif run.part == "quadratic":
            found = [(0, "threshold", threshold(x.double(), y))]
        else:
            draws = [one_step(network(run.arm, run.depth), x, y) for _ in range(DRAWS)]
            means = torch.stack(draws).mean(0)  # (2, depth)
            metrics = zip(("kurtosis", "growth"), means.tolist(), strict=True)
            found = [(layer, m, v) for m, row in metrics for layer, v in enumerate(row, 1)]
    return pd.DataFrame(found, columns=["layer", "metric", "value"])


def one_step(net: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """Return, as logs and per hidden layer, the gradient's kurtosis and the growth in one step.

    Growth is the standard deviation of what the layer's linear map computes, over images and
    units, after a step of SGD at RATE to before it.
    """
    layers = [m for m in net if isinstance(m, nn.Linear)][:-1]
    sizes: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda *seen: sizes.append(seen[2].detach().std().log()))
    nn.functional.cross_entropy(net(x), y).backward()
    kurtosis = [_kurtosis(m.weight.grad) for m in layers if m.weight.grad is not None]
    torch.optim.SGD(net.parameters(), RATE).step()
    net(x)
    before, after = torch.stack(sizes).view(2, -1)
    return torch.stack([torch.stack(kurtosis), after - before])


def _kurtosis(g: Tensor) -> Tensor:
    g = g / g.abs().max().clamp(min=1e-30)  # fourth powers of tiny numbers would be zero
    return (g.pow(4).mean() / g.square().mean().square()).log()


def excess(x: Tensor, y: Tensor) -> float:
    """Return how far effective rates after a step are from 2f / (1 + f^2) of the bound."""
    net = mlp([x.shape[1], *[WIDTH] * 4, 10], lambda c: BatchNorm1d(c, eps=0.0), init="he").double()
    weights = [net.get_parameter(f"{3 * i}.weight") for i in range(4)]
    loss = nn.functional.cross_entropy(net(x), y)
    worst = 0.0
    for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        bound = 1 / (2 * w.norm() * g.norm())
        for f in FACTORS:
            lr = f * w.norm() / g.norm()
            effective = lr / (w - lr * g).square().sum()
            worst = max(worst, abs((effective / bound).item() - 2 * f / (1 + f * f)))
    return worst


def threshold(x: Tensor, y: Tensor, steps: int = 1_000) -> float:
    """Return the largest rate at which least squares does not blow up, times its curvature."""
    target = nn.functional.one_hot(y, 10).double()
    h, c = x.T @ x / len(x), x.T @ target / len(x)
    top = torch.linalg.eigvalsh(h)[-1].item()
    low, high = 1 / top, 4 / top
    for _ in range(12):
        lr, w = (low + high) / 2, torch.zeros_like(c)
        for _ in range(steps):
            w -= lr * (h @ w - c)
        low, high = (lr, high) if (x @ w - target).norm() < target.norm() else (low, lr)
    return float(low * top)


PROTOCOL = Experiment(
    name="learning_rate_step",
    title="One large step with and without BN, and two theorems about steps",
    chapter="learning-rate",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=1,
    drifts_from=0,  # measured after a step at a large rate
    rounding={"excess": 1e-9},
)  # fmt: skip
