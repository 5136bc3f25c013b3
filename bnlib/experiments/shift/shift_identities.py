"""What can be derived about internal covariate shift, checked in float64.

Part ``noise``: the law of the noise of the experiment `shift`, and how far it jumps in a step.
Part ``bn``: what BN's own output does while a network trains, and a network whose distributions
jump in front of BN. Part ``gradient``: the second definition in rescaled networks, and what it is
for a small step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.shift.layers import DistributionNoise, Jumps
from bnlib.experiments.shift.probes import distribution_shift, gradient_shift, sgd_step
from bnlib.lab.curvature import mixed_product
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible

SEEDS = range(10)
CHANNELS, DOSE, TAUS = 200_000, 4.0, (0, 3, 30)
STEPS, RATE, SCALE, SMALL = 100, 0.1, 10.0, 1e-5
Record = list[tuple[int, str, float]]
# PyTorch refuses an eps of 0; this one is far below rounding.
Norm = partial(nn.BatchNorm1d, eps=1e-30, track_running_stats=False)


@dataclass(frozen=True)
class Run:
    """One check: which part, and its seed."""

    part: str
    seed: int


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "plain": lambda width: nn.Sequential(nn.Identity(), Norm(width, affine=False)),
    "jumps": lambda width: nn.Sequential(Jumps(), Norm(width, affine=False)),
}
IN_FRONT = ("0.weight", "3.weight")  # of a network's parameters, the weights in front of BN


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all parts on all seeds."""
    return [Run(part, seed) for seed in seeds for part in PARTS]


def measure(run: Run) -> pd.DataFrame:
    """Measure one part."""
    with reproducible(run.seed):
        return pd.DataFrame(PARTS[run.part](), columns=["step", "metric", "value"])


def noise() -> Record:
    """Return, at step tau, the variances of the noise and its jump over what is derived."""
    record: Record = []
    for tau in TAUS:
        layer, x = DistributionNoise(CHANNELS, DOSE, tau), torch.empty(1, CHANNELS)
        for _ in range(5):
            layer.advance()
        mu, sigma = layer.moments(x)
        layer.advance()
        jump = (layer.moments(x)[0] - mu).square().mean().item()
        derived = DOSE**2 / 6 * (1 - 6 / math.pi * math.asin(layer.rho / 2))
        record.append((tau, "mean", mu.var().item() / (DOSE**2 / 12)))
        record.append((tau, "scale", sigma.var().item() / (DOSE**2 / 192)))
        record.append((tau, "jump", jump / derived))
    return record


def bn() -> Record:
    """Train with and without `Jumps` in front of BN, on the same batches, and compare."""
    found = {}
    x, y = torch.randn(600, 20, dtype=torch.float64), torch.randint(0, 5, (600,))
    for name in ("plain", "jumps"):
        torch.manual_seed(0)
        found[name] = _train(mlp([20, 30, 30, 5], NORMS[name]).double(), x, y)
    record: Record = []
    for step in range(STEPS):
        (loss, inner, out), (other, jumped, _) = (found[name][step] for name in found)
        moment = max(out.mean(0).abs().max().item(), (out.square().mean(0) - 1).abs().max().item())
        record += [(step, "loss", abs(loss - other)), (step, "moment", moment)]
        if step:
            past = [found[name][step - 1][1] for name in found]
            pairs = zip(("plain", "jumps"), past, (inner, jumped), strict=True)
            record += [(step, name, distribution_shift(p, q)[0]) for name, p, q in pairs]
    return record


def _train(model: nn.Sequential, x: Tensor, y: Tensor) -> list[tuple[float, Tensor, Tensor]]:
    """Return per step the loss, and what enters and leaves the second BN for the first 60 rows."""
    seen: list[Tensor] = []
    norm = model.get_submodule("4.1")
    norm.register_forward_hook(lambda _, i, o: seen.extend((i[0].detach(), o.detach())))
    record = []
    for step in range(STEPS):
        rows = slice(60 * step % 600, 60 * step % 600 + 60)
        loss = sgd_step(model, x[rows], y[rows], RATE)
        with torch.no_grad():
            seen.clear()
            model(x[:60])
        record.append((loss, seen[0], seen[1]))
    return record


def gradient() -> Record:
    """Return the second definition at SCALE times the weights, and its value for a small step."""
    x, y = torch.randn(60, 20, dtype=torch.float64), torch.randint(0, 5, (60,))
    model = mlp([20, 30, 30, 5], Norm).double()
    large = copy.deepcopy(model)
    with torch.no_grad():
        for name in IN_FRONT:
            large.get_parameter(name).mul_(SCALE)
    relative, _, raw = _shift(model, x, y, RATE, 1.0)
    scaled_relative, _, scaled_raw = _shift(large, x, y, RATE, SCALE)
    change = _shift(model, x, y, SMALL, 1.0)[2]
    below = [p for name, p in model.named_parameters() if name.split(".")[0] in ("0", "1")]
    loss = nn.functional.cross_entropy(model(x), y)
    derived = mixed_product(loss, model.get_parameter("3.weight"), below).norm().item()
    return [
        (0, "raw", scaled_raw / raw), (0, "relative", scaled_relative / relative),
        (0, "linear", change / (SMALL * derived)),
    ]  # fmt: skip


def _shift(model: nn.Sequential, x: Tensor, y: Tensor, lr: float, a: float) -> tuple[float, ...]:
    """Return `gradient_shift` of an SGD step with a^2 times the rate for weights in front of BN."""
    moved = copy.deepcopy(model)
    sgd_step(moved, x, y, lr, dict.fromkeys(IN_FRONT, a**2))
    return gradient_shift(model, moved, x, y)[0]


PARTS: dict[str, Callable[[], Record]] = {"noise": noise, "bn": bn, "gradient": gradient}

PROTOCOL = Experiment(
    name="shift_identities",
    title="Identities of internal covariate shift: the noise, BN's output, rescaled weights",
    chapter="shift",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=0.2,
    drifts_from=math.inf, rounding=dict.fromkeys(("moment", "loss"), 1e-9),
)  # fmt: skip
