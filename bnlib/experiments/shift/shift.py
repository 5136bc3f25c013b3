"""Whether internal covariate shift, by either definition, is what slows training and what BN cures.

All arms train at one rate per network, and both shifts are measured on the way. In ``bn+4`` noise
of dose 4 follows BN, drawn anew at each step and common to the batch. Then the shift is taken out
and the noise left in: in ``own`` every sample draws its own, in ``frozen`` the noise stays as
first drawn, in ``slow`` it changes over about 100 steps. Running statistics, which jumps move
away from and noise widens, would decide some of these comparisons by the test; so accuracy is
taken with them and with the statistics of the tested batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.shift.layers import noisy_mlp
from bnlib.experiments.shift.probes import covariate_shift, noisy_accuracy
from bnlib.lab.data import prepared
from bnlib.lab.models import Init
from bnlib.lab.train import reproducible, schedule, train

SEEDS = range(10)
NETS: dict[str, tuple[Init, float]] = {"sigmoid": ("xavier", 0.5), "relu": ("he", 0.1)}
ARMS: dict[str, tuple[str, float, float, bool]] = {  # normaliser; noise: dose, tau, common
    "default": ("none", 0, 0, True), "none": ("none", 0, 0, True), "none+1": ("none", 1, 0, True),
    "bn": ("bn", 0, 0, True), "bn+1": ("bn", 1, 0, True), "bn+2": ("bn", 2, 0, True),
    "bn+4": ("bn", 4, 0, True), "bn+4 own": ("bn", 4, 0, False),
    "bn+4 slow": ("bn", 4, 100, True), "bn+4 frozen": ("bn", 4, math.inf, True),
}  # fmt: skip
DOSES = ["bn", "bn+1", "bn+2", "bn+4"]
STEPS, BATCH, TARGET = 800, 60, 0.76
RECORDED = schedule(STEPS, 20, 1.3)
PROBED = RECORDED[::4]  # steps at which the shift is measured
KEYS = ["net", "arm", "seed"]
OFF, ON = "accuracy", "noisy"  # test accuracy with the noise off, and on
OFF_BATCH, ON_BATCH = "clean batch", "noisy batch"  # the same with BN's batch statistics
EVALUATED = [OFF, ON, OFF_BATCH, ON_BATCH]


@dataclass(frozen=True)
class Run:
    """One training: network, arm and seed."""

    net: str
    arm: str
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return both networks with all arms."""
    return [Run(net, arm, seed) for seed in seeds for net in NETS for arm in ARMS]


def measure(run: Run) -> pd.DataFrame:
    """Train a 784-100-100-100-10 network; one that diverges has chance accuracy to the end."""
    data, (init, lr) = prepared(), NETS[run.net]
    shift = covariate_shift(data, lr, PROBED, BATCH)
    noisy = noisy_accuracy(data.x_test[::4], data.y_test[::4])

    def probe(model: nn.Module, step: int) -> dict[str, float]:
        return noisy(model, step) | shift(model, step)

    with reproducible(run.seed):
        model = noisy_mlp(run.net, "default" if run.arm == "default" else init, *ARMS[run.arm])
        found = train(
            model, data, steps=STEPS, batch_size=BATCH, lr=lr, seed=run.seed,
            evaluate_at=RECORDED, probe=probe,
        )  # fmt: skip
    lost = pd.DataFrame({"step": STEPS, "metric": EVALUATED, "value": 0.1})
    return pd.concat([found, lost]) if "diverged" in set(found["metric"]) else found


PROTOCOL = Experiment(
    name="shift",
    title="Both internal covariate shifts, and the steps to 76%, with noise after BN and without",
    chapter="shift",
    seeds=SEEDS,
    runs=runs,
    measure=measure,
    core_minutes=8,
)
