"""Scale-invariant weights: identities of the function, its gradient and the weights' lengths.

Part ``identity`` looks at a network before training, parts ``growth`` and ``balance`` follow it
through training without decay, and with decay and momentum. All in float64, on digits, with an
epsilon far below rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.invariance.weights import parameter_groups, scale_invariant, updates
from bnlib.lab.data import ImageData, digits
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible

SEEDS = range(10)
WIDTH, BATCH, STEPS = 64, 60, 300
PARTS = {"identity": (0.0, 0.0, 0.0), "growth": (1.0, 0.0, 0.0), "balance": (0.1, 0.01, 0.9)}
EPS, SHRINK = 1e-3, 0.01  # of the identity that is about epsilon
Record = list[tuple[int, str, float]]


@dataclass(frozen=True)
class Run:
    """One check: its part, rate, decay, momentum and seed."""

    part: str
    lr: float
    decay: float
    momentum: float
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all parts on all seeds."""
    return [Run(part, *factors, seed) for seed in seeds for part, factors in PARTS.items()]


def measure(run: Run) -> pd.DataFrame:
    """Measure one part in float64."""
    with reproducible(run.seed):
        found = identities(run.seed) if run.part == "identity" else lengths(run)
    return pd.DataFrame(found, columns=["step", "metric", "value"])


@cache
def images() -> ImageData:
    """Return the digits as rows of 64 standardised float64 numbers."""
    data = digits().standardize().flat()
    return replace(data, x_train=data.x_train.double())


def network(seed: int, eps: float = 1e-30) -> nn.Sequential:
    """Return a 64-64-64-10 ReLU network with BN; PyTorch refuses an eps of 0."""
    with reproducible(seed):
        norm = partial(nn.BatchNorm1d, eps=eps)
        return mlp([WIDTH, WIDTH, WIDTH, 10], norm, "relu", "he").double()


def scale(net: nn.Sequential, factors: Sequence[Tensor | float]) -> nn.Sequential:
    """Multiply the weights in front of each BN layer by a factor; return the network."""
    with torch.no_grad():
        for w, factor in zip(scale_invariant(net), factors, strict=True):
            w.mul_(factor)
    return net


def identities(seed: int) -> Record:
    """Scale each unit's weights by a factor of its own, then all weights against epsilon."""
    x, y = images().x_train[:BATCH], images().y_train[:BATCH]
    a = 10.0 ** torch.empty(2, WIDTH, 1, dtype=torch.float64).uniform_(-3, 3)
    out, gradients = [], []
    plain, scaled = network(seed), scale(network(seed), list(a))
    for net in (plain, scaled):
        out.append(net(x))
        loss = nn.functional.cross_entropy(out[-1], y)
        gradients.append(torch.cat(torch.autograd.grad(loss, scale_invariant(net))))
    (g, g_scaled), w = gradients, torch.cat(scale_invariant(plain))
    small = scale(network(seed, EPS), [SHRINK, SHRINK])(x)
    found = {
        "function": (out[1] - out[0]).abs().max() / out[0].abs().max(),
        "orthogonal": ((g * w).sum(1).abs() / (g.norm(dim=1) * w.norm(dim=1))).max(),
        "gradient": (a.view(-1) * g_scaled.norm(dim=1) / g.norm(dim=1) - 1).abs().max(),
        "epsilon": (small - network(seed, EPS / SHRINK**2)(x)).abs().max() / small.abs().max(),
        "same epsilon": (small - network(seed, EPS)(x)).abs().max() / small.abs().max(),
    }
    return [(0, name, value.item()) for name, value in found.items()]


def lengths(run: Run) -> Record:
    """Check how each unit's squared length N changes, given the squared step D.

    D + rho D' = 2 lr decay N + (N_next - N) - rho (N - N'), a prime for the step before.
    """
    net, rho = network(run.seed), run.momentum
    groups = parameter_groups(net, run.decay)
    sgd = torch.optim.SGD(groups, run.lr, momentum=rho)
    start = total = old_square = old_change = torch.zeros(2 * WIDTH, dtype=torch.float64)
    worst, record = 0.0, list[tuple[int, str, float]]()
    for u in updates(net, images(), sgd, steps=STEPS, batch_size=BATCH, seed=run.seed):
        n, square = u.before.square().sum(1), (u.after - u.before).square().sum(1)
        change = u.after.square().sum(1) - n
        right = 2 * run.lr * run.decay * n + change - rho * old_change
        worst = max(worst, ((square + rho * old_square - right).abs() / n).max().item())
        start = n if u.step == 0 else start
        total = total + run.lr**2 * u.gradient.square().sum(1)
        old_square, old_change = square, change
        length, predicted = n + change, start + total
        record += [
            (u.step + 1, "length", length.mean().item()),
            (u.step + 1, "predicted length", predicted.mean().item()),
            (u.step + 1, "growth", (length / predicted - 1).abs().max().item()),
        ]
    return [*record, (STEPS, "balance", worst)]


IDENTITIES = ("function", "orthogonal", "gradient", "epsilon", "growth", "balance")
PROTOCOL = Experiment(
    name="invariance",
    title="Identities of scale-invariant weights, before and during training",
    chapter="invariance",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=0.2,
    drifts_from=51, rounding=dict.fromkeys(IDENTITIES, 1e-9),
)  # fmt: skip
