"""What happens to gradient, Hessian and smoothness when weights before BN are multiplied by a.

Part ``exact``: the identities, in float64. Part ``l1``: the constant of L1 normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import nn

from bnlib import curvature
from bnlib.claims import Claim
from bnlib.experiments import Experiment, Tuned
from bnlib.models import mlp
from bnlib.train import reproducible

SEEDS = range(10)
SCALES = (0.1, 10.0)
Record = list[tuple[int, str, float]]


@dataclass(frozen=True)
class Run:
    """One check: which part, and its seed."""

    part: str
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:  # noqa: ARG001
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


def worst(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the largest value of a metric per seed."""
    rows = table[table["metric"] == metric]
    return rows.groupby("seed")["value"].max().reset_index()


_exact = partial(
    Claim, chapter="landscape", kind="exact", sources=("vanlaarhoven2017", "lyu2022"),
    expected=0.0, tolerance=1e-9,
)  # fmt: skip
CLAIMS = (
    _exact(
        id="landscape-gradient-scale",
        statement="Multiplying the weights before BN by a divides their gradient by a.",
        prediction="For a of 0.1 and 10 the difference is zero to rounding.",
        statistic=partial(worst, metric="gradient scale"),
    ),
    _exact(
        id="landscape-eigenvalue-scale",
        statement="Multiplying the weights before BN by a divides the top eigenvalue by a squared.",
        prediction="For a of 0.1 and 10 the difference is zero to rounding.",
        statistic=partial(worst, metric="eigenvalue scale"),
    ),
    _exact(
        id="landscape-relative-scale",
        statement="Multiplying the weights before BN by a leaves relative smoothness as it is.",
        prediction="For a of 0.1 and 10 the four relative measures do not move.",
        statistic=partial(worst, metric="relative"),
    ),
    _exact(
        id="landscape-ray",
        statement="Along weights before BN the loss has no curvature: <w, Hw> is zero.",
        prediction="The cosine of w and Hw is zero to rounding.",
        statistic=partial(worst, metric="ray"),
    ),
    _exact(
        id="landscape-degree",
        statement="The Hessian maps the weights before BN to minus their gradient.",
        prediction="Hw + g is zero to rounding, relative to g.",
        statistic=partial(worst, metric="degree"),
    ),
    _exact(
        id="landscape-l1-constant",
        kind="theory", sources=("hoffer2018",), expected=math.sqrt(math.pi / 2), tolerance=0.001,
        statement="For Gaussian values standard deviation over mean absolute deviation is 1.2533.",
        prediction="Over a million values it is the root of pi/2 within 0.001.",
        statistic=partial(worst, metric="ratio"),
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="sharpness",
    title="Gradient, Hessian and smoothness of a BN network whose weights change scale",
    chapter="landscape",
    seeds=SEEDS, runs=runs, measure=measure, claims=CLAIMS, core_minutes=0.3,
)  # fmt: skip
