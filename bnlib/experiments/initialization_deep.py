"""Depth 64 with and without BN, skips, SkipInit and Fixup: how many steps until it has learned.

Networks, data and target are those of experiment ``initialization``; each network has its own
best rate, chosen in part ``tune`` on other seeds and on held-out images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from bnlib.claims import Claim
from bnlib.experiments import Experiment, Tuned
from bnlib.experiments.initialization import TARGET, trained
from bnlib.experiments.initialization import Run as Training
from bnlib.stats import arrivals, fastest_rates, log_ratio

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
DEPTH = 64
RATES, LOW_RATES = (0.03, 0.1, 0.3, 1.0), (0.003, 0.01, 0.03)  # with skips, without
RIVALS = {"skipinit, 1": "SkipInit", "fixup, 1": "Fixup", "skip-none, 0.3": "skips, weights x 0.3"}
ARMS = ("none, 1", "bn, 1", "skip-bn, 1", "skip-none, 1", *RIVALS)  # network and scale of weights


@dataclass(frozen=True)
class Run:
    """One training."""

    part: str
    arm: str
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return all networks at their best rates."""
    return [Run("deep", arm, tuned[arm], s) for s in seeds for arm in ARMS]


def tuning() -> list[Run]:
    """Return the runs that rates are chosen from."""
    cells = [(arm, lr) for arm in ARMS for lr in (LOW_RATES if arm in ARMS[:2] else RATES)]
    return [Run("tune", *cell, s) for s in TUNING_SEEDS for cell in cells]


def choose(table: pd.DataFrame) -> Tuned:
    """Return the rate with the fewest steps to the target; far ones rank by accuracy."""
    return fastest_rates(table, ["arm"], TARGET)


def measure(run: Run) -> pd.DataFrame:
    """Train until the target is reached or the steps are spent."""
    arm, scale = run.arm.split(", ")
    found = trained(Training(run.part, arm, DEPTH, run.lr, 0, run.seed), math.log10(float(scale)))
    lost = found[found["metric"] == "diverged"].assign(metric="accuracy", value=0.1)
    return pd.concat([found, lost], ignore_index=True).drop(columns="at")  # lost: chance


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

EXPERIMENT = Experiment(
    name="initialization_deep",
    title="Steps to 75% at depth 64 with and without BN, skips, SkipInit and Fixup",
    chapter="initialization",
    seeds=SEEDS, runs=runs, measure=measure, claims=CLAIMS, core_minutes=6,
    tuning=tuning, choose=choose,
)  # fmt: skip
