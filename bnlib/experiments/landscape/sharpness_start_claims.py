"""Whether BN is sharper or flatter before training, by depth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim


def smoother(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the eigenvalue, without BN to with it, by weights and depth."""
    rows = table[table["metric"] == "eigenvalue"]
    wide = rows.assign(log=np.log(rows["value"])).pivot_table(
        index=["init", "depth", "seed"], columns="norm", values="log"
    )
    found = (wide["none"] - wide["bn"]).rename("value").reset_index()
    names = found["init"].map({"default": "default", "he": "He"})
    found["stratum"] = names + " weights, " + found["depth"].astype(str) + " layers"
    return found[["seed", "stratum", "value"]]


CLAIMS = (
    Claim(
        id="landscape-at-start",
        chapter="landscape", kind="empirical", sources=("santurkar2018", "yang2019"),
        statement="Before training the top eigenvalue of the Hessian is smaller with BN.",
        prediction="Without BN it is more than 1.25 times as large, for all weights and depths.",
        statistic=smoother,
        scale="log ratio", unit="times", support=math.log(1.25), refute=math.log(1.1),
    ),
)  # fmt: skip
