"""What theory says of the signal in deep random networks."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.gradients.gradients_signal import BATCHES, BLOCKS, DEPTH, SETTLED
from bnlib.experiments.gradients.meanfield import RELU_SHARE, kernel1, plain_cosine, residual_spread


def wide(table: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    """Return a metric of one network, one row per seed, one column per layer."""
    rows = table[(table["arm"] == arm) & (table["metric"] == metric)]
    return rows.pivot_table(index="seed", columns="step", values="value")


def mean_cosine(table: pd.DataFrame) -> pd.DataFrame:
    """Return the largest distance of similarity before ReLU from -1/(B - 1), any layer or B."""
    gaps = [(wide(table, f"bn {b}", "cosine") + 1 / (b - 1)).abs().max(axis=1) for b in BATCHES]
    return _rows(pd.concat(gaps, axis=1).max(axis=1))


def relu_cosine(table: pd.DataFrame, batch: int) -> pd.DataFrame:
    """Return the similarity after ReLU, averaged over the layers from `SETTLED` on."""
    return _rows(wide(table, f"bn {batch}", "after").loc[:, SETTLED:].mean(axis=1))


def last_cosine(table: pd.DataFrame) -> pd.DataFrame:
    """Return the similarity at the last layer without BN."""
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
        statement="With BN a batch's mean inner product is -1/(B - 1) times the mean square.",
        prediction="At every layer, for B of 4, 16 and 64, the ratio is off by rounding only.",
        statistic=mean_cosine, expected=0.0, tolerance=1e-12,
    ),
    *(
        _theory(
            id=f"gradients-relu-cosine-{b}", sources=("yang2019", "daneshmand2021"),
            statement=f"With BN, at batch {b}, the mean inner product after ReLU is "
            f"{cosine:.3f} times the mean square.",
            prediction=f"From layer 10 on the ratio is {cosine:.4f}, within 0.01.",
            statistic=partial(relu_cosine, batch=b), expected=cosine,
        )
        for b, cosine in ((b, kernel1(-1 / (b - 1))) for b in BATCHES)
    ),
    _theory(
        id="gradients-plain-cosine", sources=("daneshmand2020",),
        statement="Without BN unrelated inputs are all but parallel after 50 ReLU layers.",
        prediction=f"Their similarity is {plain_cosine(DEPTH):.3f}, within 0.01.",
        statistic=last_cosine, expected=plain_cosine(DEPTH),
    ),
    _theory(
        id="gradients-residual-variance", sources=("desmith2020",),
        statement="With BN each residual block adds 1 - 1/π to the variance.",
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
