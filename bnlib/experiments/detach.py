"""What each term of the backward pass is worth: batch statistics detached in it, one or both.

Parts ``grid`` and ``best`` train networks whose BN treats mean, variance or both as constants in
the backward pass: at equal rates, and at each arm's own best rate, chosen in part ``tune`` on
other seeds and on held-out images.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.claims import Claim
from bnlib.data import prepared
from bnlib.experiments import Experiment, Tuned
from bnlib.models import Init, mlp
from bnlib.stats import best_rates
from bnlib.train import Probe, accuracy, reproducible, train

SEEDS, TUNING_SEEDS = range(10), (9201, 9202)
NETS: dict[str, Init] = {"sigmoid": "xavier", "relu": "he"}  # activation and initial weights
ARMS = ("none", "mean", "variance", "both")  # what is detached
RATES, TUNING_RATES = (0.3, 3.0), (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STEPS, BATCH = 1_000, 60
RECORDED, LAST = (0, 125, 250, 500, 900, 950, 1_000), 900  # final accuracy: mean from LAST on


@dataclass(frozen=True)
class Run:
    """One training: which part it belongs to, its factors and its seed."""

    part: str
    net: str
    detach: str
    lr: float
    seed: int


class DetachedNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` that takes some batch statistics for constants in the backward pass."""

    def __init__(self, width: int, detach: str, affine: bool = True) -> None:
        super().__init__(width, affine=affine)
        self.detached = ARMS[1:3] if detach == "both" else (detach,)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x of shape (N, C)."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        mean = x.mean(0)
        mean = mean.detach() if "mean" in self.detached else mean
        var = (x - mean).square().mean(0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(var * (len(x) / (len(x) - 1)), self.momentum or 0.0)
        var = var.detach() if "variance" in self.detached else var
        xhat = (x - mean) * torch.rsqrt(var + self.eps)
        return xhat if self.weight is None else torch.addcmul(self.bias, xhat, self.weight)


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return the grid and the best rates, on all seeds."""
    arms = [(s, net, arm) for s in seeds for net in NETS for arm in ARMS]
    grid = [Run("grid", net, arm, lr, s) for s, net, arm in arms for lr in RATES]
    best = [Run("best", net, arm, tuned[f"{net}/{arm}"], s) for s, net, arm in arms]
    return grid + best


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from."""
    return [
        Run("tune", net, arm, lr, s)
        for s in TUNING_SEEDS for net in NETS for arm in ARMS for lr in TUNING_RATES
    ]  # fmt: skip


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm the rate with the highest final accuracy."""
    return best_rates(final(table), ["net", "detach"], "accuracy")


def measure(run: Run) -> pd.DataFrame:
    """Train a 784-100-100-100-10 network with some statistics detached in the backward pass."""
    tunes = run.part == "tune"
    data = prepared(validation=tunes)
    with reproducible(run.seed):
        norm = partial(DetachedNorm, detach=run.detach)
        model = mlp([784, 100, 100, 100, 10], norm, run.net, NETS[run.net])
        return train(
            model, data, steps=STEPS, batch_size=BATCH, lr=run.lr, seed=run.seed,
            evaluate_at=[s for s in RECORDED if not tunes or s >= LAST],
            probe=None if tunes else parameters(data.x_test[:2000], data.y_test[:2000]),
        )  # fmt: skip


def parameters(x: Tensor, y: Tensor) -> Probe:
    """Return a probe of the weights and biases before BN, and of accuracy by batch statistics."""

    def probe(model: nn.Module, step: int) -> dict[str, float]:  # noqa: ARG001
        hidden = [m for m in model.children() if isinstance(m, nn.Linear)][:-1]
        right = copy.deepcopy(model).train()(x).argmax(1) == y
        return {
            "weights": math.hypot(*(m.weight.norm().item() for m in hidden)),
            "biases": torch.cat([m.bias for m in hidden]).square().mean().sqrt().item(),
            "by batch": right.double().mean().item(),
            "by running": accuracy(model, x, y),
        }

    return probe


def final(table: pd.DataFrame) -> pd.DataFrame:
    """Return each run's metrics, averaged over the last evaluations; a lost run has chance."""
    late = table[(table["step"] >= LAST) | (table["metric"] == "diverged")]
    keys = ["part", "net", "lr", "detach", "seed"]
    found = late.pivot_table(index=keys, columns="metric", values="value").reset_index()
    return found.fillna({"accuracy": 0.1})


def contrast(table: pd.DataFrame, part: str, detach: str, metric: str) -> pd.DataFrame:
    """Return by how much a metric is lower, in hundredths, than with the full gradient."""
    found = final(table)
    found["served"] = found.get("by running", math.nan) - found.get("by batch", math.nan)
    factors = ["net", "lr"] if part == "grid" else ["net"]
    arms = found[found["part"] == part].pivot_table(
        index=[*factors, "seed"], columns="detach", values=metric
    )
    return _strata(100 * (arms["none"] - arms[detach]), factors)


def blow_up(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the final weight norms, both detached to none."""
    found = final(table).query("part == 'grid'").assign(log=lambda t: np.log(t["weights"]))
    arms = found.pivot_table(index=["net", "lr", "seed"], columns="detach", values="log")
    return _strata(arms["both"] - arms["none"], ["net", "lr"])


def bias_growth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the biases at the end to those half-way, mean detached."""
    rows = table.query("part == 'grid' and detach == 'mean' and metric == 'biases' and step > 0")
    at = rows.assign(log=lambda t: np.log(t["value"])).pivot_table(
        index=["net", "lr", "seed"], columns="step", values="log"
    )
    return _strata(at[STEPS] - at[STEPS // 2], ["net", "lr"])


def frozen_bias(table: pd.DataFrame) -> pd.DataFrame:
    """Return the largest bias before BN at the end of any run with the full gradient."""
    rows = final(table).query("detach == 'none'")
    return rows.groupby("seed")["biases"].max().rename("value").reset_index()


def _strata(values: pd.Series[float], factors: list[str]) -> pd.DataFrame:
    rows = values.rename("value").reset_index()
    names = rows["net"] + (", rate " + rows["lr"].astype(str) if "lr" in factors else "")
    return rows.assign(stratum=names)[["seed", "value", "stratum"]]


_claim = partial(
    Claim, chapter="backward", kind="empirical", sources=("ioffe2015",),
    support=1.0, refute=0.5, unit="points",
)  # fmt: skip
_times = partial(_claim, scale="log ratio", unit="times")
CLAIMS = (
    *(
        _claim(
            id=f"backward-detach-{arm}",
            statement=f"With {names} detached, at its own best rate, test accuracy is lower.",
            prediction="It is lower by at least one percentage point in both networks.",
            statistic=partial(contrast, part="best", detach=arm, metric="accuracy"),
        )
        for arm, names in zip(ARMS[1:], ("the mean", "the variance", "both"), strict=True)
    ),
    _claim(
        id="backward-detach-equal-rate",
        statement="With both statistics detached, at the same rate, test accuracy is lower.",
        prediction="It is lower by at least one percentage point in every cell of the grid.",
        statistic=partial(contrast, part="grid", detach="both", metric="accuracy"),
    ),
    _claim(
        id="backward-detach-evaluation",
        statement="With the mean detached, running statistics serve evaluation worse.",
        prediction="Accuracy by running against batch statistics falls by a point or more.",
        statistic=partial(contrast, part="best", detach="mean", metric="served"),
    ),
    _times(
        id="backward-detach-blow-up",
        statement="With both statistics detached the weights of a network blow up.",
        prediction="After 1,000 steps they are more than twice as long as with the full gradient.",
        statistic=blow_up, support=math.log(2), refute=math.log(1.25),
    ),
    _times(
        id="backward-detach-bias",
        statement="With the mean detached the biases of a network keep growing.",
        prediction="From step 500 to step 1,000 they grow by a factor of more than 1.25.",
        statistic=bias_growth, support=math.log(1.25), refute=math.log(1.1),
    ),
    Claim(
        id="backward-bias-frozen",
        chapter="backward", kind="exact", sources=("ioffe2015",), expected=0.0, tolerance=1e-5,
        statement="A bias in front of BN is not trained: it stays zero, to rounding.",
        prediction="After 1,000 steps in float32 the root mean square of biases is below 0.00001.",
        statistic=frozen_bias,
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="detach",
    title="Networks trained with batch mean or variance detached in the backward pass",
    chapter="backward",
    seeds=SEEDS, runs=runs, measure=measure, claims=CLAIMS, core_minutes=11,
    tuning=tuning, choose=choose,
)  # fmt: skip
