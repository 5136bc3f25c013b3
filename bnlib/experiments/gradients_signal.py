"""What happens to a batch on its way up a deep random network, with and without BN.

The cosines between the samples of a batch, and the variance over the batch, at each layer of
networks at initialisation, against the values at infinite width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from bnlib.claims import Claim
from bnlib.data import prepared
from bnlib.experiments import Experiment, Tuned
from bnlib.meanfield import RELU_SHARE, kernel1, plain_cosine, residual_spread
from bnlib.randomnet import ACTS, Net, cosines, normalise, propagate
from bnlib.train import reproducible

SEEDS, DEPTH, WIDTH = range(10), 50, 800
BATCHES, SETTLED, BLOCKS = (4, 16, 64), 10, 12
NETS = {
    "none": Net("none", batch=16),
    **{f"bn {b}": Net("bn", batch=b) for b in BATCHES},
    "residual none": Net("none", batch=64, residual=True),
    "residual bn": Net("bn", batch=64, residual=True),
    "images none": Net("none", batch=64),
    "images bn": Net("bn", batch=64),
}


@dataclass(frozen=True)
class Run:
    """One random network: which of `NETS`, and its seed."""

    arm: str
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:  # noqa: ARG001
    """Return all networks on all seeds."""
    return [Run(arm, seed) for seed in seeds for arm in NETS]


def measure(run: Run) -> pd.DataFrame:
    """Measure a batch at each layer, Gaussian noise or images behind a random linear map."""
    net, record = NETS[run.arm], []
    width = 2 * WIDTH if run.arm == "none" else WIDTH  # its limit is approached more slowly
    dtype = torch.float64 if run.arm.startswith("bn") else torch.float32  # for the exact claim
    with reproducible(run.seed), torch.no_grad():
        z = torch.randn(net.batch, width, dtype=dtype)
        if run.arm.startswith("images"):
            x = prepared().x_train
            x = x[torch.randperm(len(x))[: net.batch]]
            z = x @ torch.randn(x.shape[1], width) / math.sqrt(x.shape[1])
        inputs = propagate(net, z, DEPTH)
    for layer, x in enumerate(inputs):
        v = normalise(x.detach(), net.norm)
        cosine, spread = cosines(v)
        found = {
            "cosine": cosine, "spread": spread, "after": cosines(ACTS[net.act](v))[0],
            "second": x.square().mean().item(), "variance": x.var(0, correction=0).mean().item(),
        }  # fmt: skip
        record += [(layer, metric, value) for metric, value in found.items()]
    return pd.DataFrame(record, columns=["step", "metric", "value"])


def wide(table: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    """Return a metric of one network, one row per seed, one column per layer."""
    rows = table[(table["arm"] == arm) & (table["metric"] == metric)]
    return rows.pivot_table(index="seed", columns="step", values="value")


def mean_cosine(table: pd.DataFrame) -> pd.DataFrame:
    """Return the largest distance of the cosine before ReLU from -1/(B - 1), any layer or B."""
    gaps = [(wide(table, f"bn {b}", "cosine") + 1 / (b - 1)).abs().max(axis=1) for b in BATCHES]
    return _rows(pd.concat(gaps, axis=1).max(axis=1))


def relu_cosine(table: pd.DataFrame, batch: int) -> pd.DataFrame:
    """Return the cosine after ReLU, averaged over the layers from `SETTLED` on."""
    return _rows(wide(table, f"bn {batch}", "after").loc[:, SETTLED:].mean(axis=1))


def last_cosine(table: pd.DataFrame) -> pd.DataFrame:
    """Return the cosine at the last layer without BN."""
    return _rows(wide(table, "none", "cosine")[DEPTH])


def variance_step(table: pd.DataFrame) -> pd.DataFrame:
    """Return the variance over the batch that a residual block with BN adds."""
    found = wide(table, "residual bn", "variance")
    return _rows((found[DEPTH] - found[0]) / DEPTH)


def block_growth(table: pd.DataFrame, metric: str, blocks: int) -> pd.DataFrame:
    """Return the growth per block of a metric over the first residual blocks without BN."""
    found = wide(table, "residual none", metric)
    return _rows((found[blocks] / found[0]) ** (1 / blocks))


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the cosines' spread over images, first layer over last, with BN."""
    found = np.log(wide(table, "images bn", "spread"))
    return _rows(found[0] - found[DEPTH])


def _rows(values: pd.Series[float]) -> pd.DataFrame:
    return values.rename("value").reset_index()


_theory = partial(Claim, chapter="gradients", kind="theory", tolerance=0.01)
CLAIMS = (
    Claim(
        id="gradients-mean-cosine", chapter="gradients", kind="exact", sources=("yang2019",),
        statement="With BN the mean cosine of a batch's pre-activations is -1/(B - 1) everywhere.",
        prediction="At every layer, for B of 4, 16 and 64, it is off by rounding only.",
        statistic=mean_cosine, expected=0.0, tolerance=1e-12,
    ),
    *(
        _theory(
            id=f"gradients-relu-cosine-{b}", sources=("yang2019", "daneshmand2021"),
            statement=f"With BN, at batch {b}, two samples have cosine {cosine:.3f} after ReLU.",
            prediction=f"From layer 10 on the mean is {cosine:.4f}, within 0.01.",
            statistic=partial(relu_cosine, batch=b), expected=cosine,
        )
        for b, cosine in ((b, kernel1(-1 / (b - 1))) for b in BATCHES)
    ),
    _theory(
        id="gradients-plain-cosine", sources=("daneshmand2020",),
        statement="Without BN unrelated inputs are all but parallel after 50 ReLU layers.",
        prediction=f"Their cosine is {plain_cosine(DEPTH):.3f}, within 0.01.",
        statistic=last_cosine, expected=plain_cosine(DEPTH),
    ),
    _theory(
        id="gradients-residual-variance", sources=("desmith2020",),
        statement="With BN each residual block adds 1 - 1/pi to the variance.",
        prediction=f"The mean over 50 blocks is {RELU_SHARE:.4f}, within 0.01.",
        statistic=variance_step, expected=RELU_SHARE,
    ),
    _theory(
        id="gradients-residual-second", sources=("desmith2020", "zhang2019fixup"),
        statement="Without BN each residual block doubles the second moment.",
        prediction="Over 50 blocks the growth per block is 2, within 0.03.", unit="times",
        statistic=partial(block_growth, metric="second", blocks=DEPTH),
        expected=2.0, tolerance=0.03,
    ),
    _theory(
        id="gradients-residual-centred", sources=("desmith2020",),
        statement="Without BN the first 12 blocks multiply the variance over inputs by 1.78 each.",
        prediction="The growth per block is 1.780, within 0.03.", unit="times", tolerance=0.03,
        statistic=partial(block_growth, metric="variance", blocks=BLOCKS),
        expected=residual_spread(BLOCKS) ** (1 / BLOCKS),
    ),
    Claim(
        id="gradients-orthogonal", chapter="gradients", kind="empirical", scale="log ratio",
        sources=("daneshmand2021",), unit="times", support=math.log(2), refute=math.log(1.25),
        statement="With BN the cosines between images spread less after 50 layers than before.",
        prediction="Their standard deviation falls to less than half.",
        statistic=spread,
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="gradients_signal",
    title="Cosines and variances of a batch in deep random networks, with and without BN",
    chapter="gradients",
    seeds=SEEDS, runs=runs, measure=measure, claims=CLAIMS, core_minutes=0.75,
)  # fmt: skip
