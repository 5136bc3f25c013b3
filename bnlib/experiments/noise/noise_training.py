"""How much of what BN does to test accuracy is its noise, and how much the learning rate.

Networks learn 1,024 images in batches of 128. BN's statistics come from those, from ghost batches
of 16 (more noise), from 512 images (less noise), or from all 128 with the noise of ghost batches
on top. Each arm has its own best rate, chosen on other seeds and on images held out of the full
set; part ``low`` holds BN at the best rate of the network without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.noise.layers import GhostNoise, GhostNorm
from bnlib.experiments.noise.networks import Company, add_dropout
from bnlib.experiments.noise.probes import recalibrated
from bnlib.lab.data import prepared
from bnlib.lab.models import Norm, mlp
from bnlib.lab.residual import residual_mlp
from bnlib.lab.train import reproducible, train

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
IMAGES, BATCH, EXTRA, GHOST, DROPS = 1_024, 128, 384, 16, (0.2, 0.5)
NETS, SIZES, BLOCKS = ("plain", "residual"), (784, 100, 100, 100, 10), 4
STEPS, LAST, RECORDED = 640, 512, (80, 160, 320, 512, 576, 640)
PLAIN_RATES, BN_RATES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32), (0.03, 0.1, 0.3, 1.0, 3.0)
TUNED = [(arm, p) for arm in ("none", "bn") for p in (0.0, *DROPS)]
TUNED += [("ghost", 0.0), ("noise", 0.0)]
NORMS: dict[str, Norm] = {
    "none": "none", "bn": "bn", "quiet": "bn",
    "ghost": partial(GhostNorm, size=GHOST), "noise": partial(GhostNoise, size=GHOST),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training: which part it belongs to, its factors and its seed."""

    part: str
    net: str
    arm: str
    drop: float
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return all arms at their best rates, and BN at that of the network without it."""
    found = []
    for s, net in ((s, net) for s in seeds for net in NETS):
        best = [(arm, 0.0, tuned[f"{net}/{arm}/0.0"]) for arm in ("none", "bn", "ghost", "noise")]
        drops = [(arm, tuned[f"{net}/{arm}/drop"]) for arm in ("none", "bn")]
        best += [(arm, p, tuned[f"{net}/{arm}/{p}"]) for arm, p in drops]
        best.append(("quiet", 0.0, tuned[f"{net}/bn/0.0"]))
        low = [(arm, 0.0, tuned[f"{net}/none/0.0"]) for arm in ("bn", "quiet")]
        found += [Run("best", net, *factors, s) for factors in best]
        found += [Run("low", net, *factors, s) for factors in low]
    return found


def tuning() -> list[Run]:
    """Return the runs that each arm's rate, and its dropout, are chosen from."""
    return [
        Run("tune", net, arm, p, lr, s)
        for s in TUNING_SEEDS for net in NETS for arm, p in TUNED
        for lr in (PLAIN_RATES if arm == "none" else BN_RATES)
    ]  # fmt: skip


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm the rate with the highest final accuracy, and the better dropout."""
    found = final(table)
    arm = found["net"] + "/" + found["arm"]
    exact = found.groupby([arm + "/" + found["drop"].astype(str), "lr"])["accuracy"].mean()
    drops = found[found["drop"] > 0].groupby([arm, "lr", "drop"])["accuracy"].mean()
    rates = {name: float(lr) for name, lr in exact.groupby(level=0).idxmax()}
    return rates | {f"{name}/drop": float(p) for name, _, p in drops.groupby(level=0).idxmax()}


def measure(run: Run) -> pd.DataFrame:
    """Train on a random subset and record accuracy, also with recalibrated statistics."""
    tunes, norm = run.part == "tune", NORMS[run.arm]
    data = prepared(validation=tunes).subset(IMAGES, run.seed)
    with reproducible(run.seed):
        plain = run.net == "plain"
        net = mlp(SIZES, norm, init="he") if plain else residual_mlp(BLOCKS, norm=norm)
        model = add_dropout(net, run.drop) if run.drop else net
        return train(
            Company(model, data.x_train, EXTRA) if run.arm == "quiet" else model, data,
            steps=STEPS, batch_size=BATCH, lr=run.lr, seed=run.seed,
            evaluate_at=[s for s in RECORDED if not tunes or s >= LAST],
            probe=None if tunes else recalibrated(data, since=LAST),
        )  # fmt: skip


def final(table: pd.DataFrame) -> pd.DataFrame:
    """Return each run's metrics, averaged over the last evaluations; a lost run has chance."""
    late = table[(table["step"] >= LAST) | (table["metric"] == "diverged")]
    keys = ["part", "net", "arm", "drop", "lr", "seed"]
    found = late.pivot_table(index=keys, columns="metric", values="value").reset_index()
    return found.fillna({"accuracy": 0.1, "recalibrated": 0.1})


PROTOCOL = Experiment(
    name="noise_training",
    title="Test accuracy on 1,024 images with more, less and only the noise of BN, and dropout",
    chapter="noise",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=14,
    tuning=tuning, choose=choose,
)  # fmt: skip
