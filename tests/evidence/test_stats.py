"""Statistics against other libraries and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from bnlib.evidence.claims import Claim, judge
from bnlib.evidence.stats import bootstrap, holm, mean_band, paired_t, steps_to
from bnlib.evidence.tables import (
    arrivals,
    best_rates,
    fastest_rates,
    final_accuracy,
    log_ratio,
    paired,
    worst,
)

NULLS = 2000


def test_paired_t_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=10), rng.normal(0.5, size=10)
    found, oracle = paired_t(b - a), scipy_stats.ttest_rel(b, a)
    assert found.p == pytest.approx(oracle.pvalue)
    interval = oracle.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("n", [5, 10, 14])
def test_interval_covers_the_truth_in_95_of_100_cases(n: int) -> None:
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(NULLS):
        found = paired_t(rng.normal(0.3, 1.0, n))
        covered += found.low <= 0.3 <= found.high
    assert 0.93 <= covered / NULLS <= 0.97


def test_equal_differences_have_an_interval_without_width() -> None:
    found = paired_t([0.2] * 5)
    assert (found.low, found.high, found.p) == (found.mean, found.mean, 0.0)
    assert paired_t([0.0] * 5).p == 1.0


@pytest.mark.parametrize("bad", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_too_few_or_infinite_differences_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two finite"):
        paired_t(bad)


def test_bootstrap_covers_less_than_student_at_five_seeds() -> None:
    """Why it is shown as a check and never decides."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(150):
        found = bootstrap(rng.normal(size=5))
        covered += found.low <= 0 <= found.high
    assert 0.70 <= covered / 150 <= 0.91


def test_holm_by_hand() -> None:
    """The smallest of four counts four times, the next three times, and none less than before."""
    assert holm([0.04, 0.005, 0.03, 0.02]) == pytest.approx([0.06, 0.02, 0.06, 0.06])
    assert holm([0.5, 0.4]) == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_mean_band_is_student_per_group() -> None:
    table = pd.DataFrame({"step": [1, 1, 1, 2, 2, 2], "value": [1.0, 2, 3, 4, 4, 7]})
    band = mean_band(table, "step")
    low, high = scipy_stats.t.interval(0.95, 2, loc=5, scale=math.sqrt(3) / math.sqrt(3))
    assert band.loc[1, ["mean", "low", "high", "n"]].tolist() == pytest.approx([5, low, high, 3])


def test_steps_to_interpolates_on_the_log_axis() -> None:
    assert steps_to([10, 1000], [0.0, 1.0], 0.5) == (pytest.approx(100), False)
    assert steps_to([10, 1000], [0.6, 1.0], 0.5) == (10, False)
    assert steps_to([10, 1000], [0.0, 0.4], 0.5) == (1000, True)
    for steps in ([], [0, 1], [2, 1]):
        with pytest.raises(ValueError, match="positive and increasing"):
            steps_to(steps, [0.0] * len(steps), 0.5)


def curves() -> pd.DataFrame:
    rows = [("none", 0, 100, 0.3), ("bn", 0, 10, 0.9), ("bn", 0, 100, 0.9), ("none", 1, 100, 0.3),
            ("bn", 1, 100, 0.2)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["norm", "seed", "step", "value"])
    return table.assign(metric="accuracy")


def test_censored_pairs_are_kept_and_marked() -> None:
    found = arrivals(curves(), ["norm", "seed"], 0.8)
    ratio = log_ratio(found[found["norm"] == "none"], found[found["norm"] == "bn"], ["seed"])
    assert ratio["censored"].tolist() == ["low", "both"]
    assert ratio["value"].tolist() == pytest.approx([math.log(10), 0.0])


def test_a_run_that_diverges_before_its_first_evaluation_is_late_not_left_out() -> None:
    table = curves()
    lost = {"norm": "none", "seed": 9, "step": 3, "metric": "diverged", "value": 1.0}
    seen = table[(table["norm"] == "none") & (table["seed"] == table["seed"].min())]
    also = {**lost, "seed": int(table["seed"].min())}  # lost after an evaluation: its curve counts
    found = arrivals(pd.concat([table, pd.DataFrame([lost, also])]), ["norm", "seed"], 0.8)
    assert len(found) == len(arrivals(table, ["norm", "seed"], 0.8)) + 1
    late = found[found["seed"] == 9].iloc[0]
    assert (late["steps"], bool(late["censored"]), late["best"]) == (table["step"].max(), True, 0.1)
    assert found[(found["norm"] == "none") & (found["seed"] == also["seed"])]["best"].item() == (
        seen[seen["metric"] == "accuracy"]["value"].max()
    )


def test_rates_are_chosen_by_the_mean_over_seeds_and_late_runs_rank_last() -> None:
    rows = [("bn", 0.1, 0, 20, 0.9), ("bn", 1.0, 0, 10, 0.9), ("bn", 0.1, 1, 20, 0.9),
            ("bn", 1.0, 1, 100, 0.9), ("none", 0.1, 0, 10, 0.3),
            ("none", 1.0, 0, 10, 0.5)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["norm", "lr", "seed", "step", "value"])
    assert best_rates(table, ["norm"], "value")["none"] == 1.0
    fastest = fastest_rates(table.assign(metric="accuracy"), ["norm"], 0.8)
    assert fastest == {"bn": 0.1, "none": 1.0}  # 20 against sqrt(10 * 100); the nearer to 0.8


def test_paired_compares_arms_of_one_seed_and_stratum() -> None:
    rows = [("none", 8, 0, 0.3), ("bn", 8, 0, 0.9), ("none", 2, 0, 0.1), ("bn", 2, 0, 0.4),
            ("bn", 8, 1, 0.5)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["norm", "depth", "seed", "score"])
    found = paired(table, "norm", "none", "bn", ["depth"], value="score")
    assert found["stratum"].tolist() == ["depth 2", "depth 8"]  # seed 1 has no partner
    assert found["value"].tolist() == pytest.approx([0.3, 0.6])
    with pytest.raises(ValueError, match="one row per norm, seed"):
        paired(table, "norm", "none", "bn", value="score")


def claim(statistic: object, **options: object) -> Claim:
    defaults: dict[str, object] = {"support": 0.5, "refute": 0.2}
    return Claim("x", "c", "empirical", "s", "p", (), statistic, **{**defaults, **options})


def values(value: list[float], **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"seed": range(len(value)), "value": value, **columns})


def verdict_of(table: pd.DataFrame, **options: object) -> str:
    return judge(claim(lambda t: t, **options), table).verdict


def test_verdicts() -> None:
    noise = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    assert verdict_of(values(list(0.9 + noise))) == "supported"
    assert verdict_of(values(list(0.0 + noise))) == "refuted"
    assert verdict_of(values(list(0.35 + noise))) == "inconclusive"
    assert verdict_of(values(list(0.5 + noise))) == "inconclusive"
    assert verdict_of(values(list(0.9 + noise)[:4])) == "not run"
    assert verdict_of(values(list(-0.9 + noise)), support=-0.5, refute=-0.2) == "supported"
    assert verdict_of(values(list(0.1 + noise)), support=-0.5, refute=-0.2) == "refuted"
    assert judge(claim(lambda t: t), None).verdict == "not run"


def test_strata_that_differ_make_it_depend() -> None:
    noise = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    table = pd.concat(
        [values(list(0.9 + noise), stratum="a"), values(list(0.0 + noise), stratum="b")]
    )
    found = judge(claim(lambda t: t), table)
    assert found.verdict == "depends"
    assert found.strata["verdict"].tolist() == ["supported", "refuted"]
    assert found.estimate is not None
    assert found.estimate.mean == pytest.approx(0.45)
    assert verdict_of(table[table["stratum"] == "a"]) == "supported"


def test_strata_have_simultaneous_intervals() -> None:
    noise = [-0.2, -0.1, 0.0, 0.1, 0.2]
    table = pd.concat([values(noise, stratum=s) for s in "abcd"])
    strata = judge(claim(lambda t: t), table).strata
    half = scipy_stats.t.ppf(1 - 0.05 / 8, 4) * np.std(noise, ddof=1) / math.sqrt(5)
    assert strata["high"].tolist() == pytest.approx([half] * 4)


def test_lower_bound_may_support_but_never_refute() -> None:
    noise = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    low = ["", "low", "low", "", ""]
    assert verdict_of(values(list(0.9 + noise), censored=low)) == "supported"
    assert verdict_of(values(list(0.0 + noise), censored=low)) == "inconclusive"
    high = ["high"] * 5
    assert verdict_of(values(list(0.9 + noise), censored=high)) == "inconclusive"
    assert verdict_of(values(list(0.0 + noise), censored=high)) == "refuted"
    assert verdict_of(values(list(0.9 + noise), censored=["low", "high", "", "", ""])) == (
        "inconclusive"
    )


def test_exact_claims_go_by_the_worst_seed_and_theory_by_the_mean() -> None:
    table = values([1.0, 1.0, 1.0, 1.0, 1.1])
    options = {"expected": 1.0, "tolerance": 0.05}
    exact = Claim("x", "c", "exact", "s", "p", (), lambda t: t, **options)
    theory = Claim("x", "c", "theory", "s", "p", (), lambda t: t, **options)
    assert judge(exact, table).verdict == "refuted"
    assert judge(theory, table).verdict == "supported"


@pytest.mark.parametrize("options", [{"support": math.nan}, {"support": 0.2}, {"refute": math.nan}])
def test_claims_that_nothing_could_settle_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs a support"):
        claim(lambda t: t, **options)


@pytest.mark.parametrize("n", [5, 10])
def test_no_effect_is_hardly_ever_called_supported(n: int) -> None:
    """An effect that sits on the threshold is called supported in at most 2.5% of cases."""
    rng = np.random.default_rng(n)
    false = sum(
        verdict_of(values(list(rng.normal(0.5, 1.0, n)))) == "supported" for _ in range(NULLS)
    )
    # three standard errors of a share of .025 among 2,000
    assert false / NULLS <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / NULLS)


def test_no_effect_in_any_of_twelve_strata() -> None:
    """With simultaneous intervals even one false stratum among twelve stays rare."""
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(300):
        table = pd.concat([values(list(rng.normal(0.5, 1.0, 10)), stratum=i) for i in range(12)])
        strata = judge(claim(lambda t: t), table).strata
        false += (strata["verdict"] == "supported").any()
    assert false / 300 <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 300)


def test_a_known_effect_is_found() -> None:
    rng = np.random.default_rng(3)
    found = sum(
        verdict_of(values(list(rng.normal(1.5, 0.5, 10)))) == "supported" for _ in range(200)
    )
    # noncentral t: an effect of two standard deviations beyond the threshold, n = 10
    power = scipy_stats.nct.sf(scipy_stats.t.ppf(0.975, 9), 9, 2 * math.sqrt(10))
    assert found / 200 >= power - 3 * math.sqrt(power * (1 - power) / 200) - 0.005


def test_final_accuracy_averages_the_last_fifth_and_counts_a_lost_run_as_chance() -> None:
    rows = [("a", 1, step, "accuracy", value) for step, value in ((50, 0.5), (80, 0.6), (100, 0.8))]
    rows += [("a", 1, 100, "loss", 3.0), ("a", 2, 10, "diverged", 1.0)]
    rows += [("a", 3, 80, "accuracy", 0.9), ("a", 3, 90, "diverged", 1.0)]
    table = pd.DataFrame(rows, columns=["part", "seed", "step", "metric", "value"])
    found = final_accuracy(table, ["part", "seed"])
    assert found["accuracy"].tolist() == pytest.approx([0.7, 0.1, 0.1])
    assert found["diverged"].tolist() == [False, True, True]


def test_worst_is_the_largest_value_of_a_seed() -> None:
    rows = [("a", "error", 0, 1.0), ("a", "error", 0, 3.0), ("b", "error", 0, 9.0)]
    rows += [("a", "error", 1, 2.0), ("a", "other", 1, 7.0)]
    table = pd.DataFrame(rows, columns=["part", "metric", "seed", "value"])
    assert worst(table, "error").to_dict("list") == {"seed": [0, 1], "value": [9.0, 2.0]}
    assert worst(table, "error", "a")["value"].tolist() == [3.0, 2.0]
