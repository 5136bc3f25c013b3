"""The band of initial scales in which a network trains, with and without BN and skips.

One number, the scale, multiplies all hidden weights of a He-initialised network. A run of part
``band`` bisects for one edge of the band in log10 of it; one of part ``tune`` trains at He's scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from torch import nn

from bnlib.claims import Claim
from bnlib.data import prepared
from bnlib.experiments import Experiment, Tuned
from bnlib.models import mlp
from bnlib.residual import Branch, residual_mlp
from bnlib.stats import fastest_rates
from bnlib.train import reproducible, schedule, train

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
PLAIN, SKIP = ("none", "bn"), ("skip-none", "skip-bn", "skipinit", "fixup")
SQUARED, LARGE_EPS = "bn, rate x scale²", "bn, eps 0.001"  # two variants of BN at depth 8
BANDS = {2: PLAIN, 4: ("none",), 8: PLAIN + SKIP, 16: PLAIN}  # depth: arms
EQUAL_RATE, RATES = 0.1, (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STEPS, BATCH, WIDTH, ROWS, TARGET = 400, 128, 64, 2500, 0.75
DOWN, UP = 4.0, 2.5  # decades searched below and above He's scale
EPS_EDGE = math.log10(math.sqrt(1e-5 / (1 - 1 / math.pi)))  # where BN with eps starts to shrink


@dataclass(frozen=True)
class Run:
    """A search for the lower (side -1) or upper (1) edge, or one training at He's scale (0)."""

    part: str
    arm: str
    depth: int
    lr: float
    side: int
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return the searches at the equal rate and at the best rates."""
    best = {(arm, d, tuned[f"{arm}/{d}"]) for d, arms in BANDS.items() for arm in arms}
    pairs = best | {(arm, 8, EQUAL_RATE) for arm in PLAIN}
    cells = [(arm, d, lr, side) for arm, d, lr in sorted(pairs) for side in (-1, 1)]
    cells += [(SQUARED, 8, tuned["bn/8"], 1), (LARGE_EPS, 8, EQUAL_RATE, -1)]
    return [Run("band", *cell, s) for s in seeds for cell in cells]


def tuning() -> list[Run]:
    """Return the runs, on other seeds and held-out images, that rates are chosen from."""
    cells = [(arm, d, lr) for d, arms in BANDS.items() for arm in arms for lr in RATES]
    return [Run("tune", *cell, 0, s) for s in TUNING_SEEDS for cell in cells]


def choose(table: pd.DataFrame) -> Tuned:
    """Return the rate with the fewest steps to the target; far ones rank by accuracy."""
    return fastest_rates(table, ["arm", "depth"], TARGET)


def measure(run: Run) -> pd.DataFrame:
    """Train once, or bisect for an edge; ``at`` is log10 of the scale of each training tried."""
    if run.side == 0:
        return trained(run, 0.0)
    tried = list(bisection(run))
    inside = [at for at, _, good in tried if good]
    outside = [at for at, _, good in tried if not good]
    far = max(inside, key=abs, default=0.0)
    found = (far + min(outside, key=abs)) / 2 if outside and inside else far
    metric = "edge" if outside else "beyond"
    row = pd.DataFrame({"step": [0], "metric": [metric], "value": [found], "at": [found]})
    return pd.concat([*(table for _, table, _ in tried), row], ignore_index=True)


def bisection(run: Run) -> Iterator[tuple[float, pd.DataFrame, bool]]:
    """Yield what is tried: He's scale, the end of the range searched, then half-way points."""
    plain = run.arm == "none"
    end = run.side * min(16 / run.depth if plain else DOWN, DOWN if run.side < 0 else UP)
    halvings = 7 if run.side > 0 and "bn" not in run.arm else 4  # divergence costs little
    inner, outer, at = 0.0, end, 0.0
    for step in range(halvings + 2):
        table = trained(run, at)
        good = bool((table.loc[table["metric"] == "accuracy", "value"] >= TARGET).any())
        yield at, table, good
        if step < 2 and good == (step == 1):  # He's scale fails, or the end of the range trains
            return
        inner, outer = (at, outer) if good else (inner, at)
        at = end if step == 0 else (inner + outer) / 2


def trained(run: Run, at: float) -> pd.DataFrame:
    """Train with hidden weights 10**at times He's until the target is reached."""
    data = prepared(validation=run.part == "tune", factor=2)
    data = replace(data, x_test=data.x_test[:ROWS], y_test=data.y_test[:ROWS])
    with reproducible(run.seed):
        return train(
            network(run.arm, run.depth, 10.0**at), data, steps=STEPS, batch_size=BATCH, lr=run.lr,
            seed=run.seed, evaluate_at=schedule(STEPS, 8, 1.4), stop_at=TARGET,
        ).assign(at=at)  # fmt: skip


def network(arm: str, depth: int, scale: float, width: int = WIDTH) -> nn.Sequential:
    """Return a network with ``depth`` hidden layers (with skips: after a stem) and a head."""
    norm = (
        partial(nn.BatchNorm1d, eps=1e-3) if arm == LARGE_EPS else "bn" if "bn" in arm else "none"
    )
    if arm in SKIP:
        branches: dict[str, Branch] = {"skipinit": "skipinit", "fixup": "fixup"}
        branch = branches.get(arm, "plain")
        net = residual_mlp(depth // 2, width, 196, norm=norm, branch=branch)
    else:
        net = mlp([196, *[width] * depth, 10], norm, "relu", "he")
    for layer in [m for m in net.modules() if isinstance(m, nn.Linear)][:-1]:
        if arm == SQUARED:  # a factor behind the weights moves function and rate at once
            layer.register_forward_hook(lambda _layer, _x, y: scale * y)
        else:
            layer.weight.data.mul_(scale)
    return net


def bands(table: pd.DataFrame, equal: bool = False) -> pd.DataFrame:
    """Return per arm, depth and seed the edges and the width of the band, and what is open."""
    keys = ["arm", "depth", "lr", "seed"]
    rows = table[table["metric"].isin(["edge", "beyond"])]
    rates = rows.groupby(["arm", "depth"])["lr"].transform("nunique")
    rows = rows[rows["lr"] == EQUAL_RATE if equal else (rates == 1) | (rows["lr"] != EQUAL_RATE)]
    found = rows.pivot_table(index=keys, columns="side", values="value")
    open_ = rows.assign(o=rows["metric"] == "beyond").pivot_table(
        index=keys, columns="side", values="o", aggfunc="any", fill_value=False
    )
    found = found.assign(width=found[1] - found[-1]).rename(columns={-1: "low", 1: "high"})
    open_ = open_.assign(width=open_[1] | open_[-1]).rename(columns={-1: "low", 1: "high"})
    return found.join(open_.add_prefix("open_")).reset_index()


def contrast(
    table: pd.DataFrame,
    base: str,
    treated: str,
    what: str,
    depths: Sequence[int],
    equal: bool = False,
) -> pd.DataFrame:
    """Return by how many decades an edge or width of one arm exceeds another's."""
    found = bands(table, equal)
    arms = [found[(found["arm"] == arm) & found["depth"].isin(depths)] for arm in (base, treated)]
    both = arms[0].merge(arms[1], on=["depth", "seed"], suffixes=("_b", "_t"))
    kinds = {(0, 0): "", (0, 1): "low", (1, 0): "high", (1, 1): "both"}
    opened = zip(both[f"open_{what}_b"], both[f"open_{what}_t"], strict=True)
    return both[["seed"]].assign(
        value=both[f"{what}_t"] - both[f"{what}_b"],
        stratum="depth " + both["depth"].astype(str),
        censored=[kinds[int(b), int(t)] for b, t in opened],
    )


def narrowing(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the plain network's widths, depth 4 to depth 16."""
    found = bands(table).query("arm == 'none'")
    width = np.log(
        found.pivot_table(index="seed", columns="depth", values="width").clip(lower=0.01)
    )
    ratio: pd.Series[float] = width[4] - width[16]
    return ratio.rename("value").reset_index()


def coverage(table: pd.DataFrame) -> pd.DataFrame:
    """Return which share, in per cent, of the five decades around He's scale BN's band covers."""
    found = bands(table).query("arm == 'bn'")
    inside = found["high"].clip(-2.5, 2.5) - found["low"].clip(-2.5, 2.5)
    return found[["seed"]].assign(value=20 * inside, stratum="depth " + found["depth"].astype(str))


_equal = partial(contrast, depths=[8], equal=True)
_claim = partial(
    Claim, chapter="initialization", kind="empirical", sources=("ioffe2015",),
    support=1.0, refute=0.5, unit="decades",
)  # fmt: skip
CLAIMS = (
    _claim(
        id="initialization-equal-rate",
        statement="At learning rate 0.1 a plain network of depth 8 trains in a wider band with BN.",
        prediction="The band is wider by at least one decade.",
        statistic=partial(_equal, base="none", treated="bn", what="width"),
    ),
    _claim(
        id="initialization-best-rate",
        statement="At each network's best rate a plain network trains in a wider band with BN.",
        prediction="The band is wider by at least one decade at depths 2, 8 and 16.",
        statistic=partial(contrast, base="none", treated="bn", what="width", depths=[2, 8, 16]),
    ),
    _claim(
        id="initialization-narrows",
        statement="Without BN the band of a plain network narrows with depth.",
        prediction="In decades it is at least twice as wide at depth 4 as at depth 16.",
        statistic=narrowing, sources=("he2015", "glorot2010"),
        scale="log ratio", support=math.log(2), refute=math.log(1.25), unit="times",
    ),
    _claim(
        id="initialization-five-decades",
        statement="With BN a plain network trains at every scale in five decades around He's.",
        prediction="The band covers more than 95% of them at depths 2, 8 and 16.",
        statistic=coverage, support=95.0, refute=90.0, unit="%",
    ),
    _claim(
        id="initialization-rate-squared",
        statement="With the hidden weights' rate times scale squared BN's upper edge moves out.",
        prediction="It lies at least one decade higher: large weights only mean a small rate.",
        statistic=partial(contrast, base="bn", treated=SQUARED, what="high", depths=[8]),
        sources=("arora2019", "hoffer2018"),
    ),
    _claim(
        id="initialization-skip-width",
        statement="In a network with skips, too, the band is wider with BN than without.",
        prediction="It is wider by at least one decade.",
        statistic=partial(contrast, base="skip-none", treated="skip-bn", what="width", depths=[8]),
        sources=("desmith2020", "zhang2019fixup"),
    ),
    _claim(
        id="initialization-skip-ceiling",
        statement="In a network with skips BN's band reaches to larger weights.",
        prediction="The upper edge lies at least half a decade higher.",
        statistic=partial(contrast, base="skip-none", treated="skip-bn", what="high", depths=[8]),
        sources=("desmith2020",), support=0.5, refute=0.25,
    ),
    _claim(
        id="initialization-eps-edge", kind="theory", sources=("ioffe2015",),
        statement="At depth 8 BN's lower edge lies 3.22 decades below the plain network's.",
        prediction="By depth / (depth - 2) times log10 of sqrt(eps / (1 - 1/pi)).",
        statistic=partial(_equal, base="none", treated="bn", what="low"),
        support=math.nan, refute=math.nan, expected=EPS_EDGE * 8 / 6, tolerance=0.3,
    ),
    _claim(
        id="initialization-eps-shift", kind="theory", sources=("ioffe2015",),
        statement="With eps 0.001 in place of 0.00001 BN's lower edge moves up by 4/3 decades.",
        prediction="By depth / (depth - 2) times log10 of sqrt(100): the edge goes with eps.",
        statistic=partial(_equal, base="bn", treated=LARGE_EPS, what="low"),
        support=math.nan, refute=math.nan, expected=4 / 3, tolerance=0.3,
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="initialization",
    title="The band of initial scales in which a network trains, with and without BN and skips",
    chapter="initialization",
    seeds=SEEDS, runs=runs, measure=measure, claims=CLAIMS, core_minutes=15,
    tuning=tuning, choose=choose,
)  # fmt: skip
