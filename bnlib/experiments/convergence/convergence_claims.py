"""BN reaches a given accuracy in fewer steps: at one rate, at best rates, from other weights."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import arrivals, log_ratio
from bnlib.experiments.convergence.convergence import FIGURE1_STEPS, TARGET

SETTLED = 1_000  # from this step on the drift of figure 1's distributions is averaged


def speedup(table: pd.DataFrame, part: str, strata: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return the log ratio of steps to the target, without BN to with it, per seed and stratum."""
    found = arrivals(table[table["part"] == part], ["norm", "init", "lr", "seed"], TARGET)
    on = ["init", "lr", "seed"] if part == "grid" else ["init", "seed"]
    rows = log_ratio(found[found["norm"] == "none"], found[found["norm"] == "bn"], on)
    if strata:
        labels = [f"{name} " + rows[name].astype(str) for name in strata]
        rows["stratum"] = labels[0] if len(labels) == 1 else labels[0] + ", " + labels[1]
    return rows


def fair_speedup(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio with each arm at the init and rate that serve it best."""
    found = arrivals(table[table["part"] == "best"], ["norm", "init", "seed"], TARGET)
    cost = found.assign(log=found["steps"].map(math.log)).groupby(["norm", "init"])["log"].mean()
    none, bn = (
        found[(found["norm"] == norm) & (found["init"] == cost[norm].idxmin())]
        for norm in ("none", "bn")
    )
    return log_ratio(none, bn, ["seed"])


def final_gain(table: pd.DataFrame) -> pd.DataFrame:
    """Return by how many percentage points BN ends higher after figure 1's last step."""
    last = table[(table["step"] == FIGURE1_STEPS) & (table["metric"] == "accuracy")]
    wide = last.pivot_table(index="seed", columns="norm", values="value")
    return (100 * (wide["bn"] - wide["none"])).rename("value").reset_index().dropna()


def drift_ratio(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio, none / BN, of the relative drift of the last sigmoid's inputs."""
    late = table[(table["part"] == "figure1") & (table["step"] > SETTLED)]
    mean = late.pivot_table(index=["norm", "seed"], columns="metric", values="value")
    relative = (mean["drift"] / mean["width"]).map(math.log)
    found: pd.DataFrame = (relative["none"] - relative["bn"]).rename("value").reset_index()
    return found


FASTER, NOT_FASTER = math.log(1.25), math.log(1.10)
_claim = partial(
    Claim, chapter="convergence", kind="empirical", sources=("ioffe2015",), scale="log ratio",
    support=FASTER, refute=NOT_FASTER, unit="times",
)  # fmt: skip
CLAIMS = (
    _claim(
        id="convergence-figure1",
        statement="In Figure 1's protocol BN reaches 80% test accuracy in fewer steps.",
        prediction="The ratio of steps, without BN to with it, lies above 1.25.",
        statistic=partial(speedup, part="figure1"),
    ),
    _claim(
        id="convergence-equal-rate",
        statement="At the same initial weights and learning rate BN reaches 80% in fewer steps.",
        prediction="The ratio lies above 1.25 in every cell of the grid.",
        statistic=partial(speedup, part="grid", strata=("init", "lr")),
    ),
    _claim(
        id="convergence-best-rate",
        statement="With each arm at its own best learning rate BN reaches 80% in fewer steps.",
        prediction="The ratio lies above 1.25 for every scale of the initial weights.",
        statistic=partial(speedup, part="best", strata=("init",)),
    ),
    _claim(
        id="convergence-fair",
        statement="With each arm at its own best init and rate BN reaches 80% in fewer steps.",
        prediction="The ratio still lies above 1.25.",
        statistic=fair_speedup,
    ),
    _claim(
        id="convergence-final",
        statement="After Figure 1's 50,000 steps the network with BN has the higher test accuracy.",
        prediction="It ends at least one percentage point higher.",
        statistic=final_gain,
        scale="difference", support=1.0, refute=0.5, unit="points",
    ),
    _claim(
        id="convergence-stable-inputs",
        statement="With BN the inputs of the last sigmoid layer drift less during training.",
        prediction="Relative to their spread, medians move at least 1.25 times less.",
        statistic=drift_ratio,
    ),
)  # fmt: skip
