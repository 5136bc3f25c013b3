"""The Fisher matrix's top eigenvalue grows with width, and where BN stops it."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.landscape.fisher import PLACES, SAMPLES, WIDTHS


def logs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the logarithm of the eigenvalue by seed, inputs and width: a column per place."""
    rows = table[table["place"].isin(PLACES)].assign(log=lambda t: np.log(t["value"]))
    return rows.pivot_table(index=["seed", "inputs", "width"], columns="place", values="log")


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the slope of log eigenvalue against log width: a column per place of BN."""
    by = logs(table).groupby(level=["seed", "inputs"])
    fits = by.apply(lambda t: pd.Series(np.polyfit(np.log(WIDTHS), t, 1)[0], index=t.columns))
    return fits.reset_index().rename(columns={"inputs": "stratum"})


def slope(table: pd.DataFrame, place: str) -> pd.DataFrame:
    """Return the slope with BN in a place."""
    return slopes(table).rename(columns={place: "value"})[["seed", "stratum", "value"]]


def kernel() -> float:
    """Return the eigenvalue over the width that infinitely wide networks have on noise.

    With c the cosine of pre-activations, J1(c) is that of ReLU's outputs and J0(c) that of its
    slopes (Cho & Saul, 2009). A weight layer adds the product of what enters it and comes back.
    """
    cosine = [0.0]  # of different inputs, then of what enters the second, third, last layer
    for _ in range(3):
        c = cosine[-1]
        cosine.append((math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi)
    j0 = [1 - math.acos(c) / math.pi for c in cosine]
    off = cosine[3] + j0[2] * (cosine[2] + j0[1] * cosine[1])
    return off * (1 - 1 / SAMPLES) + 3 / SAMPLES


def over_kernel(table: pd.DataFrame) -> pd.DataFrame:
    """Return the eigenvalue of one output over the predicted one."""
    one = table[table["place"] == "one"]
    return one[["seed"]].assign(value=one["value"] / (WIDTHS[-1] * kernel()))


def level(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the eigenvalue at the largest width, none / BN in hidden layers."""
    widest = logs(table).xs(WIDTHS[-1], level="width").reset_index()
    widest = widest.rename(columns={"inputs": "stratum"})
    return widest[["seed", "stratum"]].assign(value=widest["none"] - widest["hidden"])


_claim = partial(
    Claim, chapter="landscape", kind="empirical", sources=("karakida2019",)
)  # fmt: skip
CLAIMS = (
    _claim(
        id="landscape-fisher-width",
        kind="theory", expected=1.0, tolerance=0.1,
        statement="Without BN one output's Fisher sharpness on noise is 1.06 times the width.",
        prediction="At width 1,024 measured over derived is 1 within 0.1.",
        statistic=over_kernel,
    ),
    _claim(
        id="landscape-fisher-last",
        statement="With BN in the last layer Fisher sharpness grows less than the width's root.",
        prediction="The slope lies below 0.5, on noise and on images.",
        statistic=partial(slope, place="last"), support=0.5, refute=0.75,
    ),
    _claim(
        id="landscape-fisher-hidden",
        statement="With BN in hidden layers Fisher sharpness grows nearly as fast as the width.",
        prediction="The slope lies above 0.75, on noise and on images.",
        statistic=partial(slope, place="hidden"), support=0.75, refute=0.5,
    ),
    _claim(
        id="landscape-fisher-level",
        statement="BN in the hidden layers lowers Fisher sharpness, the matrix's top eigenvalue.",
        prediction="At width 1,024 it is more than 1.25 times as large without BN.",
        statistic=level,
        scale="log ratio", unit="times", support=math.log(1.25), refute=math.log(1.1),
    ),
)  # fmt: skip
