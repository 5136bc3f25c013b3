"""The backward chapter's experiments: the ablated layer's gradient, the checks, the claims."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch
from torch import nn

from bnlib.evidence.claims import judge
from bnlib.experiments.backward import backward, backward_claims, detach, detach_claims
from bnlib.lab.data import ImageData

EPS = 0.1  # large, so that its place in the formulas matters


def _gradients(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = (3 + 2 * torch.randn(7, 5, dtype=torch.float64)).requires_grad_()
    dy = torch.randn(7, 5, dtype=torch.float64)
    (dx,) = torch.autograd.grad(layer.double()(x), x, dy)
    return x.detach(), dy, dx


def test_nothing_detached_is_torch_batch_norm() -> None:
    ours, theirs = detach.DetachedNorm(5, "none"), nn.BatchNorm1d(5)
    for one, other in zip(_gradients(ours), _gradients(theirs), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    x = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("arm", detach.ARMS)
def test_a_detached_statistic_drops_its_term_and_nothing_else(arm: str) -> None:
    layer = detach.DetachedNorm(5, arm)
    layer.eps = EPS
    x, dy, dx = _gradients(layer)
    s = (x.var(0, correction=0) + EPS).sqrt()
    xhat = (x - x.mean(0)) / s
    expected = dy.clone()
    if arm not in ("mean", "both"):
        expected -= dy.mean(0)
    if arm not in ("variance", "both"):
        expected -= xhat * (dy * xhat).mean(0)
    torch.testing.assert_close(dx, expected / s)


def test_identities_and_one_layer_meet_the_derived_numbers() -> None:
    parts = [
        backward.measure(run).assign(**dataclasses.asdict(run))
        for run in backward.runs(range(9000, 9005), {})
    ]
    table = pd.concat(parts)
    assert {judge(claim, table).verdict for claim in backward_claims.CLAIMS} == {"supported"}


def test_every_claim_can_be_judged_from_a_small_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(120, 784), torch.randint(0, 10, (120,))
    tiny = ImageData("noise", x, y, x, y)
    monkeypatch.setattr(detach, "prepared", lambda validation: tiny)  # noqa: ARG005
    for module in (detach, detach_claims):
        monkeypatch.setattr(module, "STEPS", 4)
    monkeypatch.setattr(detach, "RECORDED", (0, 2, 4))
    monkeypatch.setattr(detach, "LAST", 3)

    def sweep(runs: list[detach.Run]) -> pd.DataFrame:
        return pd.concat([detach.measure(r).assign(**dataclasses.asdict(r)) for r in runs])

    tuned = detach.choose(sweep(detach.tuning()[::8] + detach.tuning()[3::8]))
    assert set(tuned) == {f"{net}/{arm}" for net in detach.NETS for arm in detach.ARMS}
    table = sweep(detach.runs(range(5), tuned))
    found = {claim.id: judge(claim, table) for claim in detach_claims.CLAIMS}
    assert "not run" not in {j.verdict for j in found.values()}
    assert len(found["backward-detach-equal-rate"].strata) == 4
    assert len(found["backward-detach-mean"].strata) == 2
    assert found["backward-bias-frozen"].verdict == "supported"


def test_a_lost_run_counts_with_chance() -> None:
    rows = [
        ("best", "relu", "none", 1.0, 0, 1000, "accuracy", 0.8),
        ("best", "relu", "mean", 1.0, 0, 30, "diverged", 1.0),
    ]
    columns = ["part", "net", "detach", "lr", "seed", "step", "metric", "value"]
    found = detach_claims.contrast(pd.DataFrame(rows, columns=columns), "best", "mean", "accuracy")
    assert found["value"].tolist() == pytest.approx([70.0])
