"""What each term of the backward pass is worth: batch statistics detached in it, one or both.

Parts ``grid`` and ``best`` train networks whose BN treats mean, variance or both as constants in
the backward pass: at equal rates, and at each arm's own best rate, chosen in part ``tune`` on
other seeds and on held-out images.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import best_rates
from bnlib.lab.data import prepared
from bnlib.lab.models import Init, mlp
from bnlib.lab.train import Probe, accuracy, reproducible, train

SEEDS, TUNING_SEEDS = range(10), (9201, 9202)
NETS: dict[str, Init] = {"sigmoid": "xavier", "relu": "he"}  # activation and initial weights
ARMS = ("none", "mean", "variance", "both")  # what is detached
RATES, TUNING_RATES = (0.3, 3.0), (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STEPS, BATCH = 1_000, 60
RECORDED, LAST = (0, 125, 250, 500, 900, 950, 1_000), 900  # final accuracy: mean from LAST on


@dataclass(frozen=True)
class Run:
    """One training: which part it belongs to, its factors and its seed."""

    part: str
    net: str
    detach: str
    lr: float
    seed: int


class DetachedNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` that takes some batch statistics for constants in the backward pass."""

    def __init__(self, width: int, detach: str, affine: bool = True) -> None:
        super().__init__(width, affine=affine)
        self.detached = ARMS[1:3] if detach == "both" else (detach,)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x of shape (N, C)."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        mean = x.mean(0)
        mean = mean.detach() if "mean" in self.detached else mean
        var = (x - mean).square().mean(0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(var * (len(x) / (len(x) - 1)), self.momentum or 0.0)
        var = var.detach() if "variance" in self.detached else var
        xhat = (x - mean) * torch.rsqrt(var + self.eps)
        return xhat if self.weight is None else torch.addcmul(self.bias, xhat, self.weight)


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return the grid and the best rates, on all seeds."""
    arms = [(s, net, arm) for s in seeds for net in NETS for arm in ARMS]
    grid = [Run("grid", net, arm, lr, s) for s, net, arm in arms for lr in RATES]
    best = [Run("best", net, arm, tuned[f"{net}/{arm}"], s) for s, net, arm in arms]
    return grid + best


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from."""
    return [
        Run("tune", net, arm, lr, s)
        for s in TUNING_SEEDS for net in NETS for arm in ARMS for lr in TUNING_RATES
    ]  # fmt: skip


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm the rate with the highest final accuracy."""
    return best_rates(final(table), ["net", "detach"], "accuracy")


def measure(run: Run) -> pd.DataFrame:
    """Train a 784-100-100-100-10 network with some statistics detached in the backward pass."""
    tunes = run.part == "tune"
    data = prepared(validation=tunes)
    with reproducible(run.seed):
        norm = partial(DetachedNorm, detach=run.detach)
        model = mlp([784, 100, 100, 100, 10], norm, run.net, NETS[run.net])
        return train(
            model, data, steps=STEPS, batch_size=BATCH, lr=run.lr, seed=run.seed,
            evaluate_at=[s for s in RECORDED if not tunes or s >= LAST],
            probe=None if tunes else parameters(data.x_test[:2000], data.y_test[:2000]),
        )  # fmt: skip


def parameters(x: Tensor, y: Tensor) -> Probe:
    """Return a probe of the weights and biases before BN, and of accuracy by batch statistics."""

    def probe(model: nn.Module, step: int) -> dict[str, float]:  # noqa: ARG001
        hidden = [m for m in model.children() if isinstance(m, nn.Linear)][:-1]
        right = copy.deepcopy(model).train()(x).argmax(1) == y
        return {
            "weights": math.hypot(*(m.weight.norm().item() for m in hidden)),
            "biases": torch.cat([m.bias for m in hidden]).square().mean().sqrt().item(),
            "by batch": right.double().mean().item(),
            "by running": accuracy(model, x, y),
        }

    return probe


def final(table: pd.DataFrame) -> pd.DataFrame:
    """Return each run's metrics, averaged over the last evaluations; a lost run has chance."""
    late = table[(table["step"] >= LAST) | (table["metric"] == "diverged")]
    keys = ["part", "net", "lr", "detach", "seed"]
    found = late.pivot_table(index=keys, columns="metric", values="value").reset_index()
    return found.fillna({"accuracy": 0.1})


PROTOCOL = Experiment(
    name="detach",
    title="Networks trained with batch mean or variance detached in the backward pass",
    chapter="backward",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=11,
    tuning=tuning, choose=choose,
)  # fmt: skip
