"""The law of the batch noise, and of dropout's, held against what is derived in the chapter.

Part ``law``: moments of random batches and what they do to a normalised value. Part ``dropout``:
the variance in front of a BN layer with dropout before it, off and on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.lab.data import prepared
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible

SEEDS = range(10)
SIZES, BATCHES, PROBED = (4, 16, 64), 50_000, 128  # batch sizes, batches of each, B of the probe
DROP = 0.5
# Of max(g, 0), g standard normal: squared mean, variance, fourth central moment.
MEAN2, VAR = 1 / (2 * math.pi), 1 / 2 - 1 / (2 * math.pi)
FOURTH = 3 / 2 - 4 / math.pi + 3 * MEAN2 - 3 * MEAN2**2


@dataclass(frozen=True)
class Run:
    """One check: which part, and its seed."""

    part: str
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all parts on all seeds."""
    return [Run(part, seed) for seed in seeds for part in ("law", "dropout")]


def measure(run: Run) -> pd.DataFrame:
    """Measure one part; ``step`` holds the batch size or the point."""
    with reproducible(run.seed):
        return law() if run.part == "law" else dropout(run.seed)


def law() -> pd.DataFrame:
    """Return the variances of batch moments, and of a normalised value, over those derived."""
    found = []
    for size in SIZES:
        g = torch.randn(size, BATCHES, dtype=torch.float64)
        var, relu = (x.var(0, correction=0).var().item() for x in (g, g.relu()))
        found.append((size, "mean", size * g.mean(0).var().item()))
        found.append((size, "var", var / derived(size, 3.0, 1.0)))
        found.append((size, "var relu", relu / derived(size, FOURTH, VAR)))
    v, mu = torch.var_mean(torch.randn(PROBED, BATCHES, dtype=torch.float64), 0, correction=0)
    for z in (0, 1, 2):
        noise = ((z - mu) / v.sqrt()).var().item()
        found.append((z, "output", PROBED * noise / (1 + z**2 / 2)))
    return pd.DataFrame(found, columns=["step", "metric", "value"])


def derived(size: int, fourth: float, var: float) -> float:
    """Return the variance of the biased variance of ``size`` values with these moments."""
    return ((size - 1) / size) ** 2 * (fourth - (size - 3) / (size - 1) * var**2) / size


def dropout(seed: int) -> pd.DataFrame:
    """Return variances without dropout over those with it, of one unit and behind a layer."""
    unit = torch.randn(1_000_000, dtype=torch.float64).relu()
    dropped = nn.functional.dropout(unit, DROP)
    x = prepared().subset(4_000, seed).x_train
    net = mlp([784, 100, 100, 10], "bn", init="he")
    with torch.no_grad():
        hidden = net[:3](x).repeat(8, 1)  # linear, BN, ReLU; each image under eight masks
        second = next(net[3].parameters())  # its weights, no bias
        off = (hidden @ second.T).var(0)
        on = (nn.functional.dropout(hidden, DROP) @ second.T).var(0)
        added = DROP / (1 - DROP) * second.square() @ hidden.square().mean(0)
    found = {
        "unit": unit.var() / dropped.var(), "pooled": off.sum() / on.sum(),
        "each": (off / on).mean(), "formula": ((off + added) / on).mean(),
    }  # fmt: skip
    rows = [(0, metric, value.item()) for metric, value in found.items()]
    return pd.DataFrame(rows, columns=["step", "metric", "value"])


PROTOCOL = Experiment(
    name="noise",
    title="The law of the noise in batch statistics, and dropout's shift of the variance",
    chapter="noise",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=0.3,
    drifts_from=math.inf,
)  # fmt: skip
