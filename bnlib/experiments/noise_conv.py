"""How noisy the batch means of convolutional channels are, before and after some training.

Neighbouring pixels say nearly the same, so that the m = N H W values of a channel are worth fewer
independent ones. Means of random batches are held against the correlation within an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from bnlib.claims import Claim
from bnlib.data import prepared
from bnlib.experiments import Experiment, Tuned
from bnlib.models import convnet
from bnlib.probes import channel_noise
from bnlib.train import reproducible, train

SEEDS, STEPS, POPULATION = range(10), 150, 2_000
CHANNELS = (16, 32, 64)  # at 14x14, 7x7 and 4x4 positions


@dataclass(frozen=True)
class Run:
    """One network."""

    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:  # noqa: ARG001
    """Return one run per seed."""
    return [Run(seed) for seed in seeds]


def measure(run: Run) -> pd.DataFrame:
    """Train a three-layer network on 14x14 images; look at its channels before and after."""
    data = prepared(flat=False, factor=2)
    with reproducible(run.seed):
        return train(
            convnet(CHANNELS, norm="bn", init="he"), data, steps=STEPS, batch_size=128, lr=0.1,
            seed=run.seed, evaluate_at=(0, STEPS), probe=channel_noise(data.x_test[:POPULATION]),
        )  # fmt: skip


def share(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log of the effective share of values, per layer, at the start and trained."""
    rows = table[table["metric"].str.startswith("share")]
    stage = rows["step"].map({0: "at the start", STEPS: "trained"})
    rows = rows.assign(stratum="layer " + rows["metric"].str[-1] + ", " + stage)
    return rows[["seed", "value", "stratum"]]


def kish(table: pd.DataFrame) -> pd.DataFrame:
    """Return measured over derived effective size, averaged over layers and both times."""
    rows = table[table["metric"].str.startswith("kish")]
    return rows.groupby("seed")["value"].mean().reset_index()


_claim = partial(Claim, chapter="noise", sources=("ioffe2015",))
CLAIMS = (
    _claim(
        id="noise-design-effect", kind="theory", statistic=kish, expected=1.0, tolerance=0.03,
        statement="The mean of m convolutional values is as noisy as that of m / (1 + (HW-1) rho).",
        prediction="Measured over derived is 1 within 3%.",
    ),
    _claim(
        id="noise-effective-size", kind="empirical", statistic=share,
        support=math.log(0.5), refute=math.log(0.8), scale="log ratio", unit="of m",
        statement="A convolutional mean is as noisy as that of less than half of its m values.",
        prediction="The effective number of values is below m/2 in every layer.",
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="noise_conv",
    title="The effective number of values behind the batch mean of a convolutional channel",
    chapter="noise",
    seeds=SEEDS, runs=runs, measure=measure, claims=CLAIMS, core_minutes=0.6,
)  # fmt: skip
