"""What happens to gradient, Hessian and smoothness when weights before BN are multiplied by a.

Part ``exact``: the identities, in float64. Part ``l1``: the constant of L1 normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.lab import curvature
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible

SEEDS = range(10)
SCALES = (0.1, 10.0)
Record = list[tuple[int, str, float]]


@dataclass(frozen=True)
class Run:
    """One check: which part, and its seed."""

    part: str
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all parts on all seeds."""
    return [Run(part, seed) for seed in seeds for part in ("exact", "l1")]


def measure(run: Run) -> pd.DataFrame:
    """Measure one part in float64."""
    with reproducible(run.seed):
        found = {"exact": exact, "l1": l1_constant}[run.part]()
    return pd.DataFrame(found, columns=["step", "metric", "value"])


def exact() -> Record:
    """Return how far a BN network in float64 is from the identities of scale invariance."""
    model = mlp([20, 16, 16, 5], partial(nn.BatchNorm1d, eps=1e-30)).double()
    x, y = torch.randn(64, 20).double(), torch.randint(5, (64,))
    names = curvature.hidden_weights(model)
    loss, w = curvature.loss_surface(model, x, y, names)
    _, g = curvature.value_and_gradient(loss, w)
    hw = curvature.hessian_product(loss, w)(w)
    before = curvature.survey(model, x, y, lr=0.1, iterations=200)
    record: Record = [
        (0, "ray", (w @ hw / (w.norm() * hw.norm())).abs().item()),
        (0, "degree", ((hw + g).norm() / g.norm()).item()),
    ]
    for a in SCALES:
        nn.utils.vector_to_parameters(a * w, [model.get_parameter(name) for name in names])
        after = curvature.survey(model, x, y, lr=0.1, iterations=200)
        _, scaled = curvature.value_and_gradient(loss, a * w)
        moved = [abs(after[k] / before[k] - 1) for k in before if k.startswith("relative")]
        record += [
            (0, "gradient scale", ((a * scaled - g).norm() / g.norm()).item()),
            (0, "eigenvalue scale", abs(a**2 * after["eigenvalue"] / before["eigenvalue"] - 1)),
            (0, "relative", max(moved)),
        ]
    return record


def l1_constant() -> Record:
    """Return standard deviation over mean absolute deviation of Gaussian values."""
    x = torch.randn(1_000_000, dtype=torch.float64)
    x = x - x.mean()
    return [(0, "ratio", (x.square().mean().sqrt() / x.abs().mean()).item())]


IDENTITIES = ("gradient scale", "eigenvalue scale", "relative", "ray", "degree")
PROTOCOL = Experiment(
    name="sharpness",
    title="Gradient, Hessian and smoothness of a BN network whose weights change scale",
    chapter="landscape",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=0.3,
    rounding=dict.fromkeys(IDENTITIES, 1e-9),
)  # fmt: skip
