"""On least squares, BN converges as fast as the derivation says, from any length of the weights."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.landscape.decoupling import value


def gain(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the slopes, direction alone over plain descent."""
    rows = table[table["metric"] == "plain ratio"]
    return rows[["seed"]].assign(value=np.log(rows["value"]))


CLAIMS = (
    Claim(
        id="landscape-least-squares",
        chapter="landscape", kind="theory", sources=("kohler2019",), expected=1.0, tolerance=0.01,
        statement="With the length set apart, least squares converges linearly, at a known rate.",
        prediction="The slope of the log gap is the derived one within 1%.",
        statistic=value,
    ),
    Claim(
        id="landscape-least-squares-gain",
        chapter="landscape", kind="empirical", sources=("kohler2019",), scale="log ratio",
        unit="times", support=math.log(1.25), refute=math.log(1.1),
        statement="On least squares, setting the length apart makes gradient descent faster.",
        prediction="The log gap falls more than 1.25 times as fast as with plain descent.",
        statistic=gain,
    ),
)  # fmt: skip
