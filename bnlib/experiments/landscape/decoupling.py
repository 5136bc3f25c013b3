"""Gradient descent on least squares when the length of the weights is set apart, as BN does.

The loss is minimised over the length of w, and gradient descent moves w by the rest. The slope
of the logarithmic gap is compared with the derived one and with that of plain descent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.lab.train import reproducible

SEEDS = range(10)
DIMENSION, STEPS, LATE = 10, 2_000, 1_000  # variables, steps, slopes are fitted from LATE on


@dataclass(frozen=True)
class Run:
    """One least-squares problem."""

    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return a problem per seed."""
    return [Run(seed) for seed in seeds]


def measure(run: Run) -> pd.DataFrame:
    """Descend on one problem in float64."""
    with reproducible(run.seed):
        s, target, w = problem()
        late, t = np.log(descend(s, target, w))[LATE:], np.arange(LATE, STEPS)
    slope, at_zero = np.polyfit(t, late, 1)
    predicted, plain = predicted_slopes(s, target)
    found = {
        "slope ratio": slope / predicted,
        "plain ratio": slope / plain,
        "straight": 1 - np.var(late - slope * t - at_zero) / np.var(late),
    }
    rows = [(0, metric, float(value)) for metric, value in found.items()]
    return pd.DataFrame(rows, columns=["step", "metric", "value"])


def problem() -> tuple[Tensor, Tensor, Tensor]:
    """Return a covariance of condition number 100, the solution w* and a start."""
    q = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, dtype=torch.float64))[0]
    s = q @ torch.diag(torch.logspace(-2, 0, DIMENSION, dtype=torch.float64)) @ q.T
    target, w = torch.randn(2, DIMENSION, dtype=torch.float64)
    return s, target, w


def descend(s: Tensor, target: Tensor, w: Tensor) -> list[float]:
    """Return the gaps rho(w) - rho(w*), rho(w) = -(u'w)^2 / w'Sw with u = S w*.

    The step is w'Sw / (2 L |rho|) with L, the largest eigenvalue of S, equal to 1 here.
    """
    u, gaps = s @ target, []
    for _ in range(STEPS):
        w = w / w.norm()
        off = w - target * (w @ u) / (target @ u)  # the part of w that is not along w*
        gaps.append(((target @ u) * (off @ s @ off) / (w @ s @ w)).item())
        w = w - (s @ w - (w @ s @ w) / (u @ w) * u)
    return gaps


def predicted_slopes(s: Tensor, target: Tensor) -> tuple[float, float]:
    """Return the slopes of the log gap: direction alone, and gradient descent on w itself."""
    values, q = torch.linalg.eigh(s)
    z = q @ torch.diag(values.sqrt()) @ q.T @ target
    p = torch.eye(len(z), dtype=torch.float64) - torch.outer(z, z) / (z @ z)
    smallest = torch.linalg.eigvalsh(p @ s @ p)[1].item()  # its first is 0, along z
    return 2 * math.log1p(-smallest), 2 * math.log1p(-values[0].item())


def value(table: pd.DataFrame) -> pd.DataFrame:
    """Return the measured slope over the predicted one."""
    return table[table["metric"] == "slope ratio"][["seed", "value"]]


PROTOCOL = Experiment(
    name="decoupling",
    title="Least squares by gradient descent on the direction of the weights alone",
    chapter="landscape",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=0.1,
)  # fmt: skip
