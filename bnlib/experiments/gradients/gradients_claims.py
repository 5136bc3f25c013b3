"""How fast the gradient grows with depth, and which part of BN makes it grow."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.gradients import meanfield
from bnlib.experiments.gradients.gradients import BATCHES, LINEAR_BATCHES

LOW, HIGH = 10, 40  # growth per layer is taken between these two layers


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the growth per layer on the way down, one row per seed, one column per network."""
    size = table.pivot_table(index=["step", "seed"], columns="arm", values="value")
    low, high = (pd.DataFrame(size.xs(layer, level="step")) for layer in (LOW, HIGH))
    return (low / high) ** (1 / (HIGH - LOW))


def of(table: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return the growth per layer of one network."""
    found = growth(table)[arm]
    return pd.DataFrame({"seed": found.index, "value": found.to_numpy()})


def ratio(table: pd.DataFrame, expected: dict[str, float]) -> pd.DataFrame:
    """Return measured over expected growth, of the network where it is furthest from 1."""
    found = growth(table)[list(expected)] / pd.Series(expected)
    worst = str((found.mean() - 1).abs().idxmax())
    return pd.DataFrame({"seed": found.index, "value": found[worst].to_numpy()})


def contrast(table: pd.DataFrame, pairs: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """Return per stratum the log ratio of growth per layer, first network over second."""
    log = np.log(growth(table))
    wide = pd.DataFrame({name: log[a] - log[b] for name, (a, b) in pairs.items()})
    return wide.reset_index().melt("seed", var_name="stratum")


_theory = partial(Claim, chapter="gradients", kind="theory", tolerance=0.01, unit="times")
_claim = partial(
    Claim, chapter="gradients", kind="empirical", scale="log ratio", unit="times",
    support=math.log(1.10), refute=math.log(1.05),
)  # fmt: skip
CENTRED = meanfield.RELU_SHARE**-0.5
PARTS = {
    "none": ("Without normalisation, He's weights keep the gradient's norm", 1.0),
    "mean": ("Subtracting the batch mean alone, gain matched, makes it grow", CENTRED),
    "rms": ("Dividing by the batch's RMS alone makes it grow", meanfield.rms_growth()[1]),
    "bn": ("With BN before each ReLU the gradient's norm grows", CENTRED),
}
SETS = {
    "batch": ("growth with BN and ReLU", {f"bn {b}": meanfield.relu_growth(b) for b in BATCHES}),
    "linear": ("growth with BN and no activation",
               {f"linear {b}": meanfield.linear_growth(b) for b in LINEAR_BATCHES}),
    "activation": ("growth with BN and tanh or sigmoid",
                   {"tanh bn": meanfield.tanh_growth(), "sigmoid bn": meanfield.sigmoid_growth()}),
    "residual": ("growth in a residual network with BN",
                 {"residual bn": meanfield.residual_growth(LOW, HIGH) ** (1 / (HIGH - LOW))}),
}  # fmt: skip
CLAIMS = (
    *(
        _theory(
            id=f"gradients-growth-{arm}", expected=value, statistic=partial(of, arm=arm),
            sources=("he2015",) if arm == "none" else ("yang2019",),
            statement=f"{words}: {value:.3f} times per layer.",
            prediction=f"The growth per layer is {value:.3f}, within 0.01.",
        )
        for arm, (words, value) in PARTS.items()
    ),
    *(
        _theory(
            id=f"gradients-formula-{name}", expected=1.0, sources=("yang2019",),
            statement=f"The formula for the {words} holds.",
            prediction="Measured over predicted growth per layer is 1, within 0.02.",
            statistic=partial(ratio, expected=expected), tolerance=0.02,
        )
        for name, (words, expected) in SETS.items()
    ),
    _claim(
        id="gradients-exploding", sources=("ioffe2015", "yang2019"),
        statement="At initialisation BN makes gradients of a ReLU network grow less with depth.",
        prediction="Growth per layer is more than 1.1 times as large without BN as with it.",
        statistic=partial(contrast, pairs={"plain": ("none", "bn"),
                                           "residual": ("residual none", "residual bn")}),
    ),
    _claim(
        id="gradients-vanishing", sources=("ioffe2015", "glorot2010"),
        statement="At initialisation BN makes gradients of a sigmoid network shrink less.",
        prediction="Growth per layer is more than 1.1 times as large with BN as without it.",
        statistic=partial(contrast, pairs={"Xavier": ("sigmoid bn", "sigmoid Xavier"),
                                           "std 10/sqrt(n)": ("sigmoid bn", "sigmoid wide")}),
    ),
)  # fmt: skip
