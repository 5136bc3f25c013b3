"""Internal covariate shift: the noise, the probes against hand-written oracles, the claims."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from protocols import images
from scipy.stats import wasserstein_distance
from torch import nn

from bnlib.evidence.claims import judge
from bnlib.experiments.shift import (
    shift,
    shift_claims,
    shift_identities,
    shift_identities_claims,
    shift_rates,
    shift_rates_claims,
)
from bnlib.experiments.shift.layers import DistributionNoise, noisy_mlp
from bnlib.experiments.shift.probes import (
    covariate_shift,
    distribution_shift,
    gradient_shift,
    noisy_accuracy,
)
from bnlib.lab.data import ImageData
from bnlib.lab.models import mlp
from bnlib.lab.train import train


def test_noise_is_what_its_docstring_says() -> None:
    torch.manual_seed(0)
    layer, x = DistributionNoise(3, dose=2.0), torch.randn(50_000, 3)
    y = layer(x)
    mu, sigma = layer.moments(x)
    assert bool((mu.abs() <= 1.0).all())
    assert bool(((sigma >= 1) & (sigma <= 1.5)).all())
    slope = ((x - x.mean(0)) * (y - y.mean(0))).mean(0) / x.var(0)
    torch.testing.assert_close(slope, sigma, atol=0.01, rtol=0)
    rest = y - sigma * x - mu  # (m_i - mu) + (s_i - sigma) x_i
    torch.testing.assert_close(rest.mean(0), torch.zeros(3), atol=0.01, rtol=0)
    expected = torch.full((3,), 0.2**2 / 3 + 0.2**2)
    torch.testing.assert_close(rest.var(0), expected, atol=0.002, rtol=0)


def test_own_noise_has_the_same_law_for_one_value_and_no_common_part() -> None:
    torch.manual_seed(0)
    x = torch.zeros(1, 400_000)
    common, own = (DistributionNoise(400_000, 4.0, 0.0, c)(x)[0] for c in (True, False))
    q = torch.linspace(0.02, 0.98, 25)
    ranks = [torch.tensor(np.quantile(v.numpy(), q.numpy())) for v in (common, own)]
    torch.testing.assert_close(*ranks, atol=0.02, rtol=0)
    rows = torch.zeros(5000, 200)
    by_channel = [DistributionNoise(200, 4.0, 0.0, c)(rows).mean(0).var() for c in (True, False)]
    assert by_channel[0] > 1.0
    assert by_channel[1] < 0.001


def test_noise_stands_still_moves_and_is_off_when_it_should() -> None:
    x = torch.randn(4, 5)
    assert torch.equal(DistributionNoise(5, 0.0)(x), x)
    frozen, slow = DistributionNoise(5, 1.0, math.inf), DistributionNoise(5, 1.0, 100.0)
    states = frozen.state.clone(), slow.state.clone()
    frozen(x), slow(x)
    assert torch.equal(frozen.state, states[0])
    assert not torch.equal(slow.state, states[1])
    slow.moving, now = False, slow.state.clone()
    slow(x)
    assert torch.equal(slow.state, now)
    torch.testing.assert_close(slow.eval()(x), 1.125 * x)


@pytest.mark.parametrize("arm", shift.ARMS)
def test_one_seed_one_set_of_weights(arm: str) -> None:
    torch.manual_seed(3)
    net = noisy_mlp("relu", "he", *shift.ARMS[arm])
    torch.manual_seed(3)
    other = noisy_mlp("relu", "he", "none", 0.0)
    for k in (0, 3, 6, 9):
        assert torch.equal(net[k].weight, other[k].weight)


def test_distribution_shift_by_hand() -> None:
    before = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    after = torch.tensor([[5.0, 1.0], [1.0, 5.0]])  # unit 0: mean +2, spread doubled; unit 1: same
    spread = (math.sqrt(2) + math.sqrt(8)) / 2 + math.sqrt(8)
    mean, w1 = distribution_shift(before, after)
    assert mean == pytest.approx(2 / spread)
    assert w1 == pytest.approx((1 + 3) / 2 / spread)  # 0 -> 1 and 2 -> 5


def test_wasserstein_is_scipys_and_no_less_than_the_means_move() -> None:
    torch.manual_seed(0)
    before, after = torch.randn(200, 1), 0.3 + 2 * torch.randn(200, 1).exp()
    mean, w1 = distribution_shift(before, after)
    spread = (before.std() + after.std()).item() / 2
    distance = wasserstein_distance(before[:, 0].numpy(), after[:, 0].numpy())
    assert w1 == pytest.approx(distance / spread, rel=1e-5)
    assert w1 >= mean


def _by_hand(first: np.ndarray, second: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient of the mean cross-entropy of second @ first @ x in the second matrix."""
    h = x @ first.T
    z = h @ second.T
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return (p - np.eye(z.shape[1])[y]).T @ h / len(x)


def test_gradient_shift_by_hand() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(8, 4, dtype=torch.float64), torch.randint(0, 3, (8,))
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)).double()
    moved = copy.deepcopy(net)
    with torch.no_grad():
        moved[0].weight += 0.3 * torch.randn(5, 4)
        moved[1].weight += 7.0  # the layer's own update must not count
    old, new, top = (w.detach().numpy() for w in (net[0].weight, moved[0].weight, net[1].weight))
    g = _by_hand(old, top, x.numpy(), y.numpy())
    h = _by_hand(new, top, x.numpy(), y.numpy())
    length = np.linalg.norm
    expected = length(h - g) / length(g), (g * h).sum() / length(g) / length(h), length(h - g)
    assert gradient_shift(net, moved, x, y) == [pytest.approx(expected)]


def test_one_layer_has_no_shift_and_a_rate_of_zero_makes_none() -> None:
    x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
    assert gradient_shift(mlp([4, 3]), mlp([4, 3]), x, y) == []
    net = mlp([6, 8, 8, 2], "bn")
    probe = covariate_shift(images(), 0.0, [0, 1], batch_size=20)
    assert probe(net, 5) == {}
    first, second = probe(net, 0), probe(net, 1)
    zero = {k: second[k] for k in ("mean", "w1", "gradient", "raw", "window")}
    assert zero == pytest.approx(dict.fromkeys(zero, 0.0), abs=1e-6)
    assert second["cosine"] == pytest.approx(1.0)
    assert "window" not in first


def test_probes_leave_the_training_alone() -> None:
    def losses(probes: bool) -> list[float]:
        torch.manual_seed(1)
        noise = lambda w: nn.Sequential(nn.BatchNorm1d(w), DistributionNoise(w, 1.0))  # noqa: E731
        net = mlp([6, 16, 16, 2], noise)
        shift_probe = covariate_shift(images(), 0.1, range(0, 30, 5), 20)
        noisy = noisy_accuracy(images().x_test, images().y_test)
        probe = (lambda m, s: shift_probe(m, s) | noisy(m, s)) if probes else None
        found = train(
            net, images(), steps=30, batch_size=10, lr=0.1, seed=1, losses_at=range(1, 31),
            evaluate_at=range(0, 31, 5), probe=probe,
        )  # fmt: skip
        return found[found["metric"] == "loss"]["value"].tolist()

    assert losses(True) == losses(False)


def test_noisy_accuracy_is_lower_with_much_noise_and_plain_without() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Identity(), DistributionNoise(6, 0.0), nn.Linear(6, 2))
    with torch.no_grad():
        net[2].weight.copy_(torch.stack([-torch.ones(6), torch.ones(6)]))
        net[2].bias.copy_(torch.tensor([6.0, -6.0]))
    data = images()
    plain = noisy_accuracy(data.x_test, data.y_test)(net.eval(), 0)["noisy"]
    assert plain == pytest.approx((net(data.x_test).argmax(1) == data.y_test).double().mean())
    net[1].dose = 40.0
    assert noisy_accuracy(data.x_test, data.y_test)(net, 0)["noisy"] < plain - 0.05


def test_batch_statistics_in_the_test_subtract_a_jump_and_running_ones_do_not() -> None:
    torch.manual_seed(0)
    data = images()
    noise, norm = DistributionNoise(6, 0.0), nn.BatchNorm1d(6)
    net = nn.Sequential(nn.Identity(), noise, norm, nn.Linear(6, 2))
    with torch.no_grad():
        for _ in range(200):
            net(data.x_test)  # running statistics of the images without noise
        net[3].weight.copy_(torch.stack([-torch.ones(6), torch.ones(6)]))
        net[3].bias.zero_()
    probe = noisy_accuracy(data.x_test, data.y_test, parts=1)
    calm = probe(net.eval(), 0)
    assert len(set(calm.values())) == 1
    noise.dose, moments, rows = 10.0, norm.running_mean.clone(), []
    for seed in range(20):
        torch.manual_seed(seed)
        rows.append(probe(net, 0))
    found = pd.DataFrame(rows).mean()
    assert found["clean batch"] == pytest.approx(calm["clean batch"])
    assert found["noisy"] < found["noisy batch"] - 0.04
    assert torch.equal(norm.running_mean, moments), "the probe changes nothing"


def test_identities_meet_the_derived_numbers() -> None:
    runs = shift_identities.runs(range(9000, 9005), {})
    table = pd.concat(shift_identities.measure(r).assign(**dataclasses.asdict(r)) for r in runs)
    found = {claim.id: judge(claim, table).verdict for claim in shift_identities_claims.CLAIMS}
    assert set(found.values()) == {"supported"}, found


def test_every_claim_can_be_judged_from_a_small_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(120, 784), torch.randint(0, 10, (120,))
    tiny = ImageData("noise", x, y, x, y)
    for module in (shift, shift_rates):
        monkeypatch.setattr(module, "prepared", lambda validation=False: tiny)  # noqa: ARG005
        monkeypatch.setattr(module, "STEPS", 24)
    for module in (shift, shift_rates, shift_claims, shift_rates_claims):
        monkeypatch.setattr(module, "TARGET", 0.2)
    monkeypatch.setattr(shift, "RECORDED", [8, 16, 24])
    monkeypatch.setattr(shift, "PROBED", [8, 16])

    def sweep(module: object, runs: list[object]) -> pd.DataFrame:
        return pd.concat([module.measure(r).assign(**dataclasses.asdict(r)) for r in runs])

    table = sweep(shift, list(shift.runs(range(5), {})))
    found = {claim.id: judge(claim, table) for claim in shift_claims.CLAIMS}
    tuned = shift_rates.choose(sweep(shift_rates, list(shift_rates.tuning()[::3])))
    assert set(tuned) == {f"{net}/{arm}" for net in shift_rates.NETS for arm in shift_rates.ARMS}
    best = sweep(shift_rates, list(shift_rates.runs(range(5), tuned)))
    found |= {claim.id: judge(claim, best) for claim in shift_rates_claims.CLAIMS}
    assert "not run" not in {j.verdict for j in found.values()}
    assert len(found["shift-bn-distribution"].strata) == 4
    assert len(found["shift-dose-gradient"].strata) == 4


def test_slope_is_the_least_squares_line_and_open_where_a_run_is_late() -> None:
    rows = []
    for arm, size, step in zip(
        shift.DOSES, (0.01, 0.1, 0.5, 0.9), (100, 200, 400, 1000), strict=True
    ):
        rows += [(arm, 50, "w1", size)]
        for metric in (shift.OFF, shift.ON):
            rows += [(arm, 50, metric, 0.1), (arm, step, metric, 0.9 if step < 1000 else 0.5)]
    table = pd.DataFrame(rows, columns=["arm", "step", "metric", "value"]).assign(
        net="relu", seed=0
    )
    found = shift_claims.elasticity(table, "w1").iloc[0]
    arrived = [shift_claims.steps(table, arm, shift.OFF)["steps"].item() for arm in shift.DOSES]
    expected = np.polyfit(np.log([0.01, 0.1, 0.5, 0.9]), np.log(arrived), 1)[0]
    assert found["value"] == pytest.approx(expected)
    assert found["censored"] == "low"
