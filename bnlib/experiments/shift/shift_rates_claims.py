"""Whether noisy BN still trains faster when each arm has its best rate."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import arrivals, log_ratio
from bnlib.experiments.shift.shift_rates import TARGET

KEYS = ["net", "arm", "seed"]


def ratio(table: pd.DataFrame, over: str, under: str) -> pd.DataFrame:
    """Return the log ratio of two arms' steps to the target, per network."""
    found = arrivals(table, KEYS, TARGET)
    base, treated = (found[found["arm"] == arm] for arm in (over, under))
    rows = log_ratio(base, treated, ["net", "seed"])
    return rows.assign(stratum=rows["net"])


_claim = partial(
    Claim, chapter="shift", kind="empirical", sources=("santurkar2018",), scale="log ratio",
    support=math.log(1.25), refute=math.log(1.10), unit="times",
)  # fmt: skip
CLAIMS = (
    _claim(
        id="shift-best-noisy-bn",
        statement="At best rates, BN with noise of dose 1 trains faster than no BN.",
        prediction="It needs 1.25 times fewer steps.",
        statistic=partial(ratio, over="none", under="bn+1"),
    ),
    _claim(
        id="shift-best-dose",
        statement="At best rates, noise of dose 4 after BN costs steps.",
        prediction="It costs 1.25 times the steps of BN alone.",
        sources=("ioffe2015",),
        statistic=partial(ratio, over="bn+4", under="bn"),
    ),
    _claim(
        id="shift-best-same-noise",
        statement="At best rates, noise with shift costs more steps than the same noise without.",
        prediction="Drawn once per batch it costs 1.25 times the steps of a draw for each sample.",
        sources=("ioffe2015",),
        statistic=partial(ratio, over="bn+4", under="bn+4 own"),
    ),
)
