"""Whether batch normalization reaches a given accuracy in fewer steps, and what that depends on.

Part ``figure1`` follows Figure 1 of Ioffe & Szegedy (2015) at full length, on Fashion-MNIST. Part
``grid`` crosses initial weights with learning rates; part ``best`` gives each arm its own best
rate, chosen in part ``tune`` on other seeds and on images held out of the training set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from bnlib.claims import Claim
from bnlib.data import prepared
from bnlib.experiments import Experiment, Tuned
from bnlib.models import Init, mlp
from bnlib.probes import sigmoid_inputs
from bnlib.stats import arrivals, fastest_rates, log_ratio
from bnlib.train import reproducible, schedule, train

SEEDS, FIGURE1_SEEDS, TUNING_SEEDS = range(10), 5, (9101, 9102)
INITS = ("0.01", "0.1", "1", "xavier")  # standard deviation of Gaussian weights, or Glorot's
RATES, TUNING_RATES = (0.1, 0.5, 2.5), (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
TARGET = 0.80  # test accuracy that counts as arrived
STEPS, FIGURE1_STEPS, BATCH = 4_500, 50_000, 60
FIGURE1_INIT, FIGURE1_RATE = "0.1", 0.5
SETTLED = 1_000  # from this step on the drift of figure 1's distributions is averaged


@dataclass(frozen=True)
class Run:
    """One training: which part it belongs to, its factors and its seed."""

    part: str
    norm: str
    init: str
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return figure 1 on the first five seeds, the grid and the best rates on all of them."""
    norms = ("none", "bn")
    figure1 = [
        Run("figure1", n, FIGURE1_INIT, FIGURE1_RATE, s)
        for s in seeds[:FIGURE1_SEEDS]
        for n in norms
    ]
    grid = [Run("grid", n, i, lr, s) for s in seeds for i in INITS for lr in RATES for n in norms]
    best = [Run("best", n, i, tuned[f"{n}/{i}"], s) for s in seeds for i in INITS for n in norms]
    return figure1 + grid + best


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from."""
    return [
        Run("tune", n, i, lr, s)
        for s in TUNING_SEEDS for i in INITS for lr in TUNING_RATES for n in ("none", "bn")
    ]  # fmt: skip


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm the rate with the fewest steps to the target; far ones rank by accuracy."""
    return fastest_rates(table, ["norm", "init"], TARGET)


def measure(run: Run) -> pd.DataFrame:
    """Train a 784-100-100-100-10 sigmoid network by SGD and record its test accuracy."""
    data = prepared(validation=run.part == "tune")
    figure1 = run.part == "figure1"
    every_thousand = [*schedule(1000, 20, 1.25), *range(2000, FIGURE1_STEPS + 1, 1000)]
    with reproducible(run.seed):
        init: Init = "xavier" if run.init == "xavier" else float(run.init)
        model = mlp([784, 100, 100, 100, 10], run.norm, "sigmoid", init)
        return train(
            model,
            data,
            steps=FIGURE1_STEPS if figure1 else STEPS,
            batch_size=BATCH,
            lr=run.lr,
            seed=run.seed,
            evaluate_at=every_thousand if figure1 else schedule(STEPS, 20, 1.25),
            losses_at=(1, 10, 20, 50),
            probe=sigmoid_inputs(data.x_test[:2000]) if figure1 else None,
            stop_at=TARGET if run.part in ("tune", "best") else None,
        )


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

EXPERIMENT = Experiment(
    name="convergence",
    title="Steps to 80% test accuracy with and without BN, over initial weights and rates",
    chapter="convergence",
    seeds=SEEDS,
    runs=runs,
    measure=measure,
    claims=CLAIMS,
    core_minutes=38,
    tuning=tuning,
    choose=choose,
)
