"""What theory says of the scale of the initial weights."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.initialization.initialization_signal import LAYERS, moved


def growth(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return per scale and seed the mean factor per layer, over the first twelve steps."""
    rows = table[(table["part"] == part) & (table["layer"] <= LAYERS)].sort_values("layer")
    log = rows.assign(log=np.log(rows["value"])).groupby(["scale", "seed"])["log"]
    factor: pd.Series[float] = np.exp((log.last() - log.first()) / rows["layer"].max())
    return factor.rename("value").reset_index()


def plain_gain(table: pd.DataFrame) -> pd.DataFrame:
    """Return the growth per layer over the predicted scale squared, mean over the scales."""
    found = growth(table, "plain")
    return _mean(found.assign(value=found["value"] / found["scale"] ** 2))


def skip_gain(table: pd.DataFrame) -> pd.DataFrame:
    """Return the growth per block less one over the predicted scale to the fourth."""
    found = growth(table, "skip")
    return _mean(found.assign(value=(found["value"] - 1) / found["scale"] ** 4))


def settled(table: pd.DataFrame) -> pd.DataFrame:
    """Return the variance behind the last BN at twice the edge."""
    rows = table[(table["part"] == "eps") & (table["scale"] == 2.0)]
    return _mean(rows[rows["layer"] == rows["layer"].max()])


def fading(table: pd.DataFrame) -> pd.DataFrame:
    """Return the factor per layer by which the variance fades at half the edge."""
    found = growth(table, "eps")
    return _mean(found[found["scale"] == 0.5])


def leapt(table: pd.DataFrame) -> pd.DataFrame:
    """Return the largest relative error of the predicted scale after one step from scale 0.01."""
    rows = table[table["part"] == "leap"]
    wide = rows.pivot_table(index=["seed", "layer"], columns="scale", values="value")
    step = np.sqrt(wide[1.0] ** 2 - 1)  # rate times gradient over weights, at He's scale
    error = (np.hypot(0.01, step / 0.01) / wide[0.01] - 1).abs()
    worst: pd.Series[float] = error.groupby("seed").max()
    return worst.rename("value").reset_index()


def _mean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby("seed")["value"].mean().reset_index()


_claim = partial(Claim, chapter="initialization", kind="theory", sources=("he2015",))
CLAIMS = (
    _claim(
        id="initialization-scale-free", kind="exact", sources=("ioffe2015",),
        statement="With BN, eps = 0, the scale of the hidden weights leaves the output as it is.",
        prediction="At scales from 10^-2.5 to 10^2.5 outputs agree to 1e-9 of the largest.",
        statistic=moved, expected=0.0, tolerance=1e-9,
    ),
    _claim(
        id="initialization-leap", kind="exact", sources=("ioffe2015", "arora2019"),
        statement="With BN, eps = 0, one SGD step takes scale a to the square root of a² + (s/a)².",
        prediction="s is the relative step at He's scale; each of 16 layers starts from a = 0.01.",
        statistic=leapt, expected=0.0, tolerance=1e-6,
    ),
    _claim(
        id="initialization-plain-gain",
        statement="Without BN each ReLU layer multiplies the mean square by the scale squared.",
        prediction="Growth per layer over scale squared is 1 at scales 0.5, 1 and 1.5.",
        statistic=plain_gain, expected=1.0, tolerance=0.04,
    ),
    _claim(
        id="initialization-skip-gain", sources=("zhang2019fixup", "desmith2020"),
        statement="With skips, no BN, each block multiplies the mean square by 1 + scale⁴.",
        prediction="Growth per block less one, over scale⁴, is 1 at scales 0.5, 1 and 1.5.",
        statistic=skip_gain, expected=1.0, tolerance=0.05,
    ),
    _claim(
        id="initialization-eps-level", sources=("ioffe2015",),
        statement="At scale 2 √(eps / (1 - 1/π)) the variance behind BN settles at 3/4.",
        prediction="Behind the 36th layer of BN it is 1 - 1/4.",
        statistic=settled, expected=0.75, tolerance=0.03,
    ),
    _claim(
        id="initialization-eps-fading", sources=("ioffe2015",),
        statement="At scale √(eps / (1 - 1/π)) / 2 a BN layer leaves 1/4 of the variance.",
        prediction="Variance falls by a factor of 1/4 per layer, as in a plain network.",
        statistic=fading, expected=0.25, tolerance=0.01,
    ),
)  # fmt: skip
