"""The band of initial scales in which a network trains, with and without BN and skips.

One number, the scale, multiplies all hidden weights of a He-initialised network. A run of part
``band`` bisects for one edge of the band in log10 of it; one of part ``tune`` trains at He's scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import fastest_rates
from bnlib.lab.data import prepared
from bnlib.lab.models import mlp
from bnlib.lab.residual import Branch, residual_mlp
from bnlib.lab.train import reproducible, schedule, train

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
PLAIN, SKIP = ("none", "bn"), ("skip-none", "skip-bn", "skipinit", "fixup")
SQUARED, LARGE_EPS = "bn, rate x scale²", "bn, eps 0.001"  # two variants of BN at depth 8
BANDS = {2: PLAIN, 4: ("none",), 8: PLAIN + SKIP, 16: PLAIN}  # depth: arms
EQUAL_RATE, RATES = 0.1, (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STEPS, BATCH, WIDTH, ROWS, TARGET = 400, 128, 64, 2500, 0.75
DOWN, UP = 4.0, 2.5  # decades searched below and above He's scale


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


PROTOCOL = Experiment(
    name="initialization",
    title="The band of initial scales in which a network trains, with and without BN and skips",
    chapter="initialization",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=15,
    tuning=tuning, choose=choose,
    drifts_from=0,  # an edge is found by training
)  # fmt: skip
