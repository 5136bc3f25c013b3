"""Which networks of depth 64 train, and how soon."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import arrivals, log_ratio
from bnlib.experiments.initialization.initialization import TARGET
from bnlib.experiments.initialization.initialization_deep import RIVALS


def faster(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of steps to the target, each rival to skips with BN."""
    found = arrivals(table, ["arm", "seed"], TARGET)
    arms = {arm: rows.drop(columns="arm") for arm, rows in found.groupby("arm")}
    rows = [log_ratio(arms[arm], arms["skip-bn, 1"], ["seed"]) for arm in RIVALS]
    return pd.concat([r.assign(stratum=n) for r, n in zip(rows, RIVALS.values(), strict=True)])


def highest(table: pd.DataFrame, arms: dict[str, str]) -> pd.DataFrame:
    """Return the best test accuracy of some arms, in per cent."""
    found = arrivals(table[table["arm"].isin(arms)], ["arm", "seed"], TARGET)
    return found[["seed"]].assign(value=100 * found["best"], stratum=found["arm"].map(arms))


_claim = partial(
    Claim, chapter="initialization", kind="empirical", support=75.0, refute=70.0, unit="%"
)
CLAIMS = (
    _claim(
        id="initialization-rivals", sources=("zhang2019fixup", "desmith2020"),
        statement="At depth 64 SkipInit, Fixup or small weights with skips reach 75% without BN.",
        prediction="All three get there within 400 steps.",
        statistic=partial(highest, arms=RIVALS),
    ),
    _claim(
        id="initialization-rivals-speed", sources=("zhang2019fixup", "desmith2020"),
        statement="At depth 64 SkipInit, Fixup or small weights reach 75% about as soon as BN.",
        prediction="They need less than 1.5 times the steps.",
        statistic=faster, scale="log ratio", support=math.log(1.5), refute=math.log(2),
        unit="times",
    ),
    _claim(
        id="initialization-plain-64", sources=("ioffe2015", "yang2019"),
        statement="With BN a plain network of depth 64 reaches 75% within 400 steps.",
        prediction="If BN makes depth trainable it does; mean-field theory says that it does not.",
        statistic=partial(highest, arms={"bn, 1": "BN"}),
    ),
    _claim(
        id="initialization-skips-64", sources=("desmith2020",),
        statement="At depth 64 skips alone, with He's weights, reach 75% within 400 steps.",
        prediction="They do not: the stream's mean square grows by a factor of 2 to the 32.",
        statistic=partial(highest, arms={"skip-none, 1": "skips"}),
    ),
)  # fmt: skip
