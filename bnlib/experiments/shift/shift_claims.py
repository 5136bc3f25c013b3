"""Whether BN reduces internal covariate shift, and whether less of it trains faster."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import arrivals, log_ratio
from bnlib.experiments.shift.shift import DOSES, KEYS, OFF, OFF_BATCH, ON, ON_BATCH, TARGET


def steps(table: pd.DataFrame, arm: str, evaluated: str) -> pd.DataFrame:
    """Return when the runs of an arm reached the target, evaluated with noise off or on."""
    rows = table[(table["arm"] == arm) & (table["metric"] == evaluated)]
    return arrivals(rows.assign(metric="accuracy"), KEYS, TARGET)


def ratio(table: pd.DataFrame, over: str, under: str, how: dict[str, str]) -> pd.DataFrame:
    """Return the log ratio of two arms' steps, per network and evaluation (name: metric)."""
    parts = []
    for name, evaluated in how.items():
        base, treated = (steps(table, arm, evaluated) for arm in (over, under))
        rows = log_ratio(base, treated, ["net", "seed"])
        parts.append(rows.assign(stratum=rows["net"] + (f", {name}" if name else "")))
    return pd.concat(parts)


def shifts(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the mean logarithm of a measure of shift, one row per run, one column per arm."""
    rows = table[table["metric"] == metric].assign(log=lambda t: np.log(t["value"]))
    found: pd.DataFrame = rows.pivot_table(index=["net", "seed"], columns="arm", values="log")
    return found


def shift_ratio(table: pd.DataFrame, over: str, under: str, how: dict[str, str]) -> pd.DataFrame:
    """Return the log ratio of two arms' shift, per network and measure (name: metric)."""
    parts = []
    for name, metric in how.items():
        found = shifts(table, metric)
        rows = (found[over] - found[under]).rename("value").reset_index()
        parts.append(rows.assign(stratum=rows["net"] + f", {name}"))
    return pd.concat(parts)


def elasticity(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return over the doses the slope of log steps on log shift, per network and evaluation."""
    x = shifts(table, metric)[DOSES]
    parts: list[pd.DataFrame] = []
    centred = x.sub(x.mean(axis=1), axis=0)
    weight = centred.div(centred.pow(2).sum(axis=1), axis=0)
    for name, evaluated in {"noise off": OFF, "noise on": ON}.items():
        found = pd.concat([steps(table, arm, evaluated) for arm in DOSES])
        wide = found.pivot_table(index=["net", "seed"], columns="arm", values=["steps", "censored"])
        slope = (weight * np.log(wide["steps"][DOSES])).sum(axis=1)
        late = wide["censored"][DOSES] > 0  # more steps there would make the slope larger (or less)
        low, high = (late & (weight > 0)).any(axis=1), (late & (weight < 0)).any(axis=1)
        kind = np.select([low & high, low, high], ["both", "low", "high"], "")
        rows = slope.rename("value").reset_index().assign(censored=kind)
        parts.append(rows.assign(stratum=rows["net"] + f", {name}"))
    return pd.concat(parts)


LARGER, NOT_LARGER = math.log(1.25), math.log(1.10)
_claim = partial(
    Claim, chapter="shift", kind="empirical", sources=("santurkar2018",), scale="log ratio",
    support=LARGER, refute=NOT_LARGER, unit="times",
)  # fmt: skip
_slope = partial(_claim, sources=("ioffe2015", "santurkar2018"), scale="difference", unit="")
CLAIMS = (
    _claim(
        id="shift-bn-distribution",
        statement="BN reduces the shift of the distribution of the layers' inputs.",
        prediction="Without BN the Wasserstein distance, over the spread, is 1.25 times larger.",
        sources=("ioffe2015",),
        statistic=partial(
            shift_ratio, over="none", under="bn", how={"per step": "w1", "per window": "window"}
        ),
    ),
    _claim(
        id="shift-bn-gradient",
        statement="BN reduces the change of a layer's gradient as the layers below are updated.",
        prediction="Without BN the relative change is 1.25 times larger.",
        sources=("ioffe2015", "santurkar2018"),
        statistic=partial(shift_ratio, over="none", under="bn", how={"per step": "gradient"}),
    ),
    _claim(
        id="shift-noise-raises",
        statement="BN followed by noise of dose 1 has more shift than the network without BN.",
        prediction="By both definitions it is 1.25 times larger.",
        statistic=partial(
            shift_ratio, over="bn+1", under="none",
            how={"distribution": "w1", "gradient": "gradient"},
        ),
    ),
    _claim(
        id="shift-noisy-bn-faster",
        statement="BN followed by noise of dose 1 still trains faster than the network without BN.",
        prediction="At the same rate it needs 1.25 times fewer steps.",
        statistic=partial(
            ratio, over="none", under="bn+1", how={"noise off": OFF, "noise on": ON}
        ),
    ),
    _slope(
        id="shift-dose-distribution",
        statement="With BN, the more noise moves the distributions, the slower the training.",
        prediction="Ten times the Wasserstein distance costs more than 25% more steps.",
        statistic=partial(elasticity, metric="w1"),
        support=LARGER / math.log(10), refute=NOT_LARGER / math.log(10),
    ),
    _slope(
        id="shift-dose-gradient",
        statement="With BN, the more noise changes the gradient, the slower the training.",
        prediction="Twice the relative change of the gradient costs more than 25% more steps.",
        statistic=partial(elasticity, metric="gradient"),
        support=LARGER / math.log(2), refute=NOT_LARGER / math.log(2),
    ),
    _claim(
        id="shift-same-noise",
        statement="Noise that shifts distributions costs more steps than the same noise without.",
        prediction="Drawn once per batch it costs 1.25 times the steps of a draw for each sample.",
        sources=("ioffe2015",),
        statistic=partial(
            ratio, over="bn+4", under="bn+4 own", how={"noise off": OFF, "noise on": ON}
        ),
    ),
    _claim(
        id="shift-slow-noise",
        statement="Noise that jumps costs more steps than the same noise that changes slowly.",
        prediction="Drawn anew at each step it costs 1.25 times the steps of slow noise.",
        sources=("ioffe2015",),
        statistic=partial(ratio, over="bn+4", under="bn+4 slow", how={"noise on": ON}),
    ),
    _claim(
        id="shift-same-noise-batch",
        statement="With batch statistics in the test too, noise with shift costs more steps.",
        prediction="Drawn once per batch it costs 1.25 times the steps of a draw for each sample.",
        sources=("ioffe2015",),
        statistic=partial(
            ratio, over="bn+4", under="bn+4 own",
            how={"noise off": OFF_BATCH, "noise on": ON_BATCH},
        ),
    ),
    _claim(
        id="shift-slow-noise-batch",
        statement="With batch statistics in the test too, noise that jumps costs more steps.",
        prediction="Drawn anew at each step it costs 1.25 times the steps of slow noise.",
        sources=("ioffe2015",),
        statistic=partial(ratio, over="bn+4", under="bn+4 slow", how={"noise on": ON_BATCH}),
    ),
    _claim(
        id="shift-frozen-noise",
        statement="Noise whose common part never changes, so nothing jumps, still costs steps.",
        prediction="Frozen at dose 4 it costs 1.25 times the steps of BN alone.",
        statistic=partial(ratio, over="bn+4 frozen", under="bn", how={"noise on": ON}),
    ),
    _claim(
        id="shift-noise-without-bn",
        statement="Without BN, noise of dose 1 costs steps.",
        prediction="It costs 1.25 times the steps of the same network without noise.",
        statistic=partial(ratio, over="none+1", under="none", how={"noise off": OFF}),
    ),
)  # fmt: skip
