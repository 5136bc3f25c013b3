"""How many independent values a convolutional channel holds."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.noise.noise_conv import STEPS


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
