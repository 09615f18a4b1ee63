"""Probabilistic and deflated Sharpe ratios, and track records: published figures first."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.backtests import metrics
from quant_assets.evidence import (
    EvidenceError,
    Moments,
    deflated_sharpe,
    expected_maximum,
    minimum_track_record,
    moments,
    probabilistic_sharpe,
    standard_error,
)
from quant_assets.evidence.sharpe import dependence
from quant_assets.evidence.trials import Counted

# Bailey and Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", the numerical example of the section on the
# probabilistic Sharpe ratio: monthly returns of a fund with an annual ratio of 1.585, as if normal, as they are, and
# with a third year of them.
HEDGE_FUND = [
    ("two years, taken as normal", Moments(24, 0.458, 0.0, 3.0), 0.982),
    ("two years, skewed and fat-tailed", Moments(24, 0.458, -2.448, 10.164), 0.913),
    ("three years of the same", Moments(36, 0.458, -2.448, 10.164), 0.953),
]


@pytest.mark.parametrize(("_", "fund", "published"), HEDGE_FUND)
def test_probabilistic_sharpe_ratio_of_the_published_fund(_: str, fund: Moments, published: float) -> None:
    assert probabilistic_sharpe(fund) == pytest.approx(published, abs=6e-4)


# The same paper, section on the minimum track record length: years until an annual ratio of 2 is above 1 with 95%.
TRACK_RECORDS = [
    ("daily, normal", 252, 0.0, 3.0, 2.73),
    ("weekly, normal", 52, 0.0, 3.0, 2.83),
    ("monthly, normal", 12, 0.0, 3.0, 3.24),
    ("monthly, as hedge funds are", 12, -0.72, 5.78, 4.99),
]


@pytest.mark.parametrize(("_", "a_year", "skew", "kurtosis", "published"), TRACK_RECORDS)
def test_minimum_track_record_of_the_published_funds(
    _: str, a_year: int, skew: float, kurtosis: float, published: float
) -> None:
    root = math.sqrt(a_year)
    periods = minimum_track_record(Moments(100, 2 / root, skew, kurtosis), benchmark=1 / root, confidence=0.95)
    assert periods / a_year == pytest.approx(published, abs=5e-3)


# Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", "A numerical example": an annual ratio of 2.5 over five
# years of 250 days, skew -3, kurtosis 10, the best of N trials whose annual ratios have a variance of 1/2.
BEST = Moments(1250, 2.5 / math.sqrt(250), -3.0, 10.0)
VARIANCE = 0.5 / 250
DEFLATED = [
    ("the analyst's 100 trials", BEST, 100, 0.9004),
    ("had he stopped at 46", BEST, 46, 0.9505),
    ("88 trials, were returns normal", Moments(1250, BEST.sharpe, 0.0, 3.0), 88, 0.9505),
]


@pytest.mark.parametrize(("_", "best", "trials", "published"), DEFLATED)
def test_deflated_sharpe_ratio_of_the_published_example(_: str, best: Moments, trials: int, published: float) -> None:
    assert deflated_sharpe(best, trials, VARIANCE) == pytest.approx(published, abs=5e-5)


# What the best of N worthless trials shows. 100: the example above, "0.1132". 10: Bailey, Borwein, Lopez de Prado and
# Zhu (2014), "Pseudo-Mathematics and Financial Charlatanism", Notices of the AMS 61(5): "1.57" a year after ten trials.
# 10 with variance 0.1: Lopez de Prado, Lipton and Zoonekynd (2025), "How to Use the Sharpe Ratio", page 13.
MAXIMA = [(100, VARIANCE, 0.1132, 5e-5), (10, 1.0, 1.57, 5e-3), (10, 0.1, 0.498, 5e-4)]


@pytest.mark.parametrize(("trials", "variance", "published", "within"), MAXIMA)
def test_expected_maximum_of_the_published_examples(
    trials: int, variance: float, published: float, within: float
) -> None:
    assert expected_maximum(trials, variance) == pytest.approx(published, abs=within)


def test_five_years_allow_45_trials():
    """Pseudo-Mathematics, same page: with 5 years of data, 45 trials almost surely show a ratio of 1 from nothing."""
    years_until_one = [expected_maximum(trials, 1.0) ** 2 for trials in (45, 46)]
    assert years_until_one[0] < 5 < years_until_one[1]


@pytest.mark.parametrize("trials", [5, 100, 1000])
def test_expected_maximum_is_what_simulated_luck_shows(trials: int) -> None:
    best = np.random.default_rng(3).standard_normal((4000, trials)).max(axis=1).mean()
    assert expected_maximum(trials, 1.0) == pytest.approx(best, rel=0.03)


def test_one_trial_is_no_choice():
    assert expected_maximum(1, 0.5) == 0.0
    assert deflated_sharpe(BEST, 1, VARIANCE) == probabilistic_sharpe(BEST)


def test_moments_agree_with_the_measures_of_a_backtest():
    returns = np.random.default_rng(1).standard_t(5, 700) * 0.01 + 0.0005
    found, summary = moments(returns), metrics.summary(returns)
    assert found.periods == 700
    assert found.sharpe * math.sqrt(252) == pytest.approx(summary["sharpe_ratio"])
    assert (found.skew, found.kurtosis - 3) == pytest.approx((summary["skewness"], summary["kurtosis"]))
    assert probabilistic_sharpe(found) == pytest.approx(summary["probabilistic_sharpe_ratio"])
    assert minimum_track_record(found) == pytest.approx(summary["min_track_record_length"])
    assert moments(pl.Series(returns)) == found


@pytest.mark.parametrize("skewed", [False, True])
def test_standard_error_is_the_spread_of_simulated_ratios(skewed: bool) -> None:
    """Of normal returns and of lognormal ones, whose negative has a skew below -1 and fat tails."""
    random = np.random.default_rng(8)
    normal = random.standard_normal((6000, 500))
    returns = (-np.exp(0.4 * normal) + 1.2 if skewed else normal + 0.3) * 0.01
    ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    # The moments of all returns together, as if a series of 500 had them.
    whole = moments(returns.ravel())
    one = Moments(500, whole.sharpe, whole.skew, whole.kurtosis)
    assert (one.skew < -1) == skewed
    assert standard_error(one) == pytest.approx(ratios.std(), rel=0.04)


@given(
    sharpe=st.floats(-0.3, 0.3), skew=st.floats(-3, 3), extra=st.floats(1.1, 20), periods=st.integers(2, 5000),
    benchmark=st.floats(-0.2, 0.2),
)  # fmt: skip
def test_a_track_record_of_the_minimum_length_is_exactly_as_confident(
    sharpe: float, skew: float, extra: float, periods: int, benchmark: float
) -> None:
    fund = Moments(periods, sharpe, skew, skew**2 + extra)
    length = minimum_track_record(fund, benchmark, confidence=0.9)
    if sharpe <= benchmark:
        assert length == math.inf
        assert probabilistic_sharpe(fund, benchmark) <= 0.5
        return
    enough = probabilistic_sharpe(fund, benchmark) >= 0.9
    assert math.isclose(length, periods, rel_tol=1e-6) or enough == (periods >= length)


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_more_trials_never_make_a_result_more_likely(some: int, more: int) -> None:
    few, many = sorted((some, more))
    assert deflated_sharpe(BEST, many, VARIANCE) <= deflated_sharpe(BEST, few, VARIANCE)


def test_standard_error_at_another_ratio():
    normal = Moments(101, 0.5, 0.0, 3.0)
    assert standard_error(normal) == pytest.approx(math.sqrt(1.125) / 10)
    assert standard_error(normal, at=0.0) == pytest.approx(0.1)


REFUSED = [
    (lambda: moments([0.0] * 50), "returns are all 0.0: without variation there is no Sharpe ratio"),
    (
        lambda: moments(np.diff(1e6 * 1.0001 ** np.arange(50)) / (1e6 * 1.0001 ** np.arange(49))),
        "returns are all 0.000",
    ),
    (lambda: moments([0.01, None, 0.02, 0.0]), r"returns\[1\] is not a finite number; leave out the periods"),
    (lambda: moments([0.01, 0.02, 0.0]), "returns have 3 periods; at least 4"),
    (lambda: moments([[0.01, 0.02], [0.0, 0.03]]), r"returns have the shape \(2, 2\)"),
    (lambda: expected_maximum(0, 1.0), "trials is 0; it must be at least 1"),
    (lambda: expected_maximum(5, -1.0), "variance of the trials' Sharpe ratios is -1.0"),
    (lambda: expected_maximum(5, math.nan), "variance of the trials' Sharpe ratios is nan"),
    (lambda: minimum_track_record(BEST, confidence=95), "confidence is 95; it must lie between 0 and 1"),
    (lambda: standard_error(Moments(100, 2.0, 3.0, 5.0)), "belong to no distribution"),
    (lambda: probabilistic_sharpe(Moments(1, 0.1, 0.0, 3.0)), "periods is 1; it must be at least 2"),
    (lambda: probabilistic_sharpe(BEST, math.nan), "benchmark is nan; it must be a finite number"),
    (lambda: minimum_track_record(BEST, math.inf), "benchmark is inf; it must be a finite number"),
    (lambda: deflated_sharpe(BEST, 2.5, VARIANCE), "trials is 2.5; it must be a whole number"),  # type: ignore[arg-type]
    (lambda: Counted(-5), "trials is -5; it must be at least 0"),
    (lambda: Counted(5, families=0), "families is 0; it must be at least 1"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_judged_is_refused(call, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        call()


# ---- returns that depend on each other


def _wandering(random: np.random.Generator, periods: int) -> np.ndarray:
    """A drift with a half-life of 69 periods under noise: the lag-1 autocorrelation is 0.04."""
    drift = np.zeros(periods)
    for period in range(1, periods):
        drift[period] = 0.99 * drift[period - 1] + random.normal(0, 0.0003)
    return drift + random.normal(0, 0.01, periods)


def test_slow_swings_widen_the_error_and_independent_returns_do_not() -> None:
    random = np.random.default_rng(12)
    independent = [dependence(random.normal(0, 0.01, 1_500)) for _ in range(200)]
    wandering = [dependence(_wandering(random, 1_500)) for _ in range(50)]
    assert min(independent) == 1.0
    assert 1.0 <= np.median(independent) < 1.1
    assert np.median(wandering) > 3


def test_of_returns_whose_drift_wanders_fewer_are_called_skill() -> None:
    """Nominal 5%: 24% where they are taken for independent, about 12% so."""
    random = np.random.default_rng(13)
    drawn = [_wandering(random, 1_000) for _ in range(300)]
    shares = [
        np.mean([probabilistic_sharpe(moments(one, dependent)) >= 0.95 for one in drawn]) for dependent in (False, True)
    ]
    assert shares[0] > 0.2
    assert shares[1] < 0.65 * shares[0]


def test_of_independent_returns_hardly_an_edge_is_lost() -> None:
    random = np.random.default_rng(14)
    drawn = random.normal(1.5 / 252**0.5, 1.0, (400, 1_500))
    powers = [
        np.mean([probabilistic_sharpe(moments(one, dependent)) >= 0.975 for one in drawn])
        for dependent in (False, True)
    ]
    assert powers[0] > 0.93
    assert powers[1] > powers[0] - 0.05


def test_dependence_widens_every_error_alike() -> None:
    once, fourfold = Moments(500, 0.1, -0.5, 5.0), Moments(500, 0.1, -0.5, 5.0, dependence=4.0)
    assert standard_error(fourfold) == pytest.approx(2 * standard_error(once))
    assert minimum_track_record(fourfold) - 1 == pytest.approx(4 * (minimum_track_record(once) - 1))
