"""How noisy the batch means of convolutional channels are, before and after some training.

Neighbouring pixels say nearly the same, so that the m = N H W values of a channel are worth fewer
independent ones. Means of random batches are held against the correlation within an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.noise.probes import channel_noise
from bnlib.lab.data import prepared
from bnlib.lab.models import convnet
from bnlib.lab.train import reproducible, train

SEEDS, STEPS, POPULATION = range(10), 150, 2_000
CHANNELS = (16, 32, 64)  # at 14x14, 7x7 and 4x4 positions


@dataclass(frozen=True)
class Run:
    """One network."""

    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
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


PROTOCOL = Experiment(
    name="noise_conv",
    title="The effective number of values behind the batch mean of a convolutional channel",
    chapter="noise",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=0.6,
)  # fmt: skip
