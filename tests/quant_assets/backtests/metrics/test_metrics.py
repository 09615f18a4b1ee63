"""Measures against hand-computed values, other formulas and other libraries; and input that has no answer.

What empyrical defines too is held against it in test_metrics_empyrical.py.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from quant_assets.backtests import metrics, summary
from quant_assets.backtests.metrics import METRICS, RELATIVE, SHORT

DRAWN = np.random.default_rng(5).standard_t(4, 600) * 0.01 + 0.0006
MARKET = 0.6 * DRAWN + np.random.default_rng(6).normal(0.0002, 0.006, 600)

HAND = [0.10, -0.05, 0.02, -0.10, 0.20]  # wealth 1.1, 1.045, 1.0659, 0.95931, 1.151172
BY_HAND = {
    "observations": 5,
    "missing": 0,
    "total_return": 0.151172,
    "cagr": 1.151172 ** (252 / 5) - 1,
    "volatility": statistics.stdev(HAND) * math.sqrt(252),
    "sharpe": 0.034 / statistics.stdev(HAND) * math.sqrt(252),
    "downside_deviation": math.sqrt((0.0025 + 0.01) / 5) * math.sqrt(252),
    "sortino": 0.034 * 252 / (math.sqrt((0.0025 + 0.01) / 5) * math.sqrt(252)),
    "max_drawdown": 0.95931 / 1.1 - 1,
    "average_drawdown": (-0.05 + (1.0659 / 1.1 - 1) + (0.95931 / 1.1 - 1)) / 5,
    "max_drawdown_periods": 3,
    "time_under_water": 0.6,
    "ulcer_index": math.sqrt((0.05**2 + (1 - 1.0659 / 1.1) ** 2 + (1 - 0.95931 / 1.1) ** 2) / 5),
    "omega": 0.32 / 0.15,
    "hit_rate": 0.6,
    "average_gain": 0.32 / 3,
    "average_loss": -0.075,
    "payoff": 0.32 / 3 / 0.075,
    "best": 0.2,
    "worst": -0.1,
    "var_95": -0.10 + 0.2 * 0.05,
    "cvar_95": -0.10,
    "tail_ratio": (0.10 + 0.8 * 0.10) / 0.09,
    "mean_return": 0.034,
    "geometric_mean_return": 1.151172**0.2 - 1,
    "expected_annual_return": 0.034 * 252,
    "gain_loss_ratio": 0.32 / 0.15,
    "gain_to_pain_ratio": 0.17 / 0.15,
    "longest_winning_streak": 1,
    "longest_losing_streak": 1,
    "upside_risk": math.sqrt((0.01 + 0.0004 + 0.04) / 5 * 252),
    "upside_potential_ratio": 0.32 / 5 / math.sqrt((0.0025 + 0.01) / 5),
    "mean_absolute_deviation": (0.066 + 0.084 + 0.014 + 0.134 + 0.166) / 5,
    "kappa_three_ratio": 0.034 / ((0.05**3 + 0.1**3) / 5) ** (1 / 3),
    "rachev_ratio": 0.20 / 0.10,
    "common_sense_ratio": 0.32 / 0.15 * 2.0,
    "kelly_leverage": 0.034 / statistics.variance(HAND),
    "average_drawdown_depth": 0.95931 / 1.1 - 1,
    "conditional_drawdown_at_risk": 0.95931 / 1.1 - 1,
    "current_drawdown": 0,
    "drawdown_count": 1,
    "average_drawdown_periods": 3,
    "recovery_factor": 0.151172 / (1 - 0.95931 / 1.1),
    "sterling_ratio": (1.151172 ** (252 / 5) - 1) / (1 - 0.95931 / 1.1),
    "burke_ratio": (1.151172 ** (252 / 5) - 1) / (1 - 0.95931 / 1.1),
    "pain_ratio": (1.151172 ** (252 / 5) - 1) / ((0.05 + (1 - 1.0659 / 1.1) + (1 - 0.95931 / 1.1)) / 5),
    "value_at_risk_gaussian": 0.034 + statistics.stdev(HAND) * statistics.NormalDist().inv_cdf(0.05),
}
"""The 95th percentile is 0.10 + 0.8 x 0.10, the 5th -0.09."""


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    assert summary(HAND)[name] == pytest.approx(BY_HAND[name], rel=1e-12)


def test_ratios_are_made_of_their_parts():
    figures = summary(DRAWN)
    assert figures["calmar"] == pytest.approx(figures["cagr"] / -figures["max_drawdown"])
    assert figures["ulcer_performance"] == pytest.approx(figures["cagr"] / figures["ulcer_index"])


def test_moments_and_tails_against_scipy_and_numpy():
    figures = summary(DRAWN)
    assert figures["skew"] == pytest.approx(stats.skew(DRAWN))
    assert figures["kurtosis"] == pytest.approx(stats.kurtosis(DRAWN))
    assert figures["var_95"] == pytest.approx(np.percentile(DRAWN, 5))
    assert figures["cvar_95"] == pytest.approx(np.mean([each for each in DRAWN if each <= np.percentile(DRAWN, 5)]))
    assert figures["autocorrelation"] == pytest.approx(stats.pearsonr(DRAWN[1:], DRAWN[:-1]).statistic)


def test_tails_of_a_normal_and_of_a_cornish_fisher_distribution_by_integration():
    """The mean of the quantile function below the cutoff."""
    mean, deviation = DRAWN.mean(), DRAWN.std(ddof=1)
    skew, excess = stats.skew(DRAWN), stats.kurtosis(DRAWN)

    def quantile(share, corrected):
        z = stats.norm.ppf(share)
        more = (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * excess / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
        return mean + deviation * (z + corrected * more)

    for name, corrected in (("gaussian", 0), ("cornish_fisher", 1)):
        for cutoff in (0.05, 0.01):
            at_risk = getattr(metrics, f"value_at_risk_{name}")(DRAWN, cutoff)
            assert at_risk == pytest.approx(quantile(cutoff, corrected))
            below = integrate.quad(quantile, 0, cutoff, args=(corrected,), limit=200)[0] / cutoff
            assert getattr(metrics, f"conditional_value_at_risk_{name}")(DRAWN, cutoff) == pytest.approx(
                below, rel=1e-6
            )


def test_adjusted_sharpe_against_the_published_formula():
    ratio = DRAWN.mean() / DRAWN.std(ddof=1)
    penalty = 1 + stats.skew(DRAWN) / 6 * ratio - stats.kurtosis(DRAWN) / 24 * ratio**2
    assert metrics.adjusted_sharpe_ratio(DRAWN) == pytest.approx(ratio * penalty * math.sqrt(252))


def test_stability_is_the_fit_of_a_line_to_the_log_of_wealth():
    fit = stats.linregress(np.arange(600), np.log(np.cumprod(1 + DRAWN)))
    assert metrics.stability_of_timeseries(DRAWN) == pytest.approx(fit.rvalue**2)


def test_drawdown_against_a_plain_loop():
    wealth = peak = 1.0
    deepest, under, longest = 0.0, 0, 0
    for each in DRAWN:
        wealth *= 1 + each
        peak = max(peak, wealth)
        deepest = min(deepest, wealth / peak - 1)
        under = under + 1 if wealth < peak else 0
        longest = max(longest, under)
    figures = summary(DRAWN)
    assert figures["max_drawdown"] == pytest.approx(deepest)
    assert figures["max_drawdown_periods"] == longest


def test_the_start_counts_as_a_peak():
    assert summary([-0.1, 0.05])["max_drawdown"] == pytest.approx(-0.1)


def test_probabilistic_sharpe_against_the_published_formula():
    ratio = DRAWN.mean() / DRAWN.std(ddof=1)
    skew, kurtosis = stats.skew(DRAWN), stats.kurtosis(DRAWN, fisher=False)
    spread = math.sqrt(1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2)
    figures = summary(DRAWN)
    assert figures["probabilistic_sharpe"] == pytest.approx(stats.norm.cdf(ratio * math.sqrt(599) / spread))
    assert figures["min_track_record_length"] == pytest.approx(1 + (spread * stats.norm.ppf(0.95) / ratio) ** 2)
    half = stats.norm.ppf(0.975) * spread / math.sqrt(599) * math.sqrt(252)
    assert figures["sharpe_low"] == pytest.approx(figures["sharpe"] - half)
    assert figures["sharpe_high"] == pytest.approx(figures["sharpe"] + half)


def test_a_track_record_of_the_minimum_length_is_just_significant():
    """Equations 9 and 11 of Bailey and Lopez de Prado (2012) are each other's inverse."""
    figures = summary(DRAWN)
    ratio = figures["sharpe"] / math.sqrt(252)
    spread = ratio * math.sqrt(599) / stats.norm.ppf(figures["probabilistic_sharpe"])
    just = ratio * math.sqrt(figures["min_track_record_length"] - 1) / spread
    assert stats.norm.cdf(just) == pytest.approx(0.95)


def test_against_a_benchmark():
    figures = summary(DRAWN, MARKET)
    line = stats.linregress(MARKET, DRAWN)
    assert figures["beta"] == pytest.approx(line.slope)
    assert figures["alpha"] == pytest.approx((1 + line.intercept) ** 252 - 1)
    assert figures["jensen_alpha"] == pytest.approx(line.intercept * 252)
    assert figures["r_squared"] == pytest.approx(line.rvalue**2)
    residual = DRAWN - line.slope * MARKET
    assert figures["residual_volatility"] == pytest.approx(statistics.stdev(residual) * math.sqrt(252))
    assert figures["appraisal_ratio"] == pytest.approx(line.intercept * 252 / figures["residual_volatility"])
    assert figures["modigliani_ratio"] == pytest.approx(figures["sharpe"] * figures["benchmark_volatility"])
    assert figures["active_return"] == pytest.approx(figures["cagr"] - figures["benchmark_cagr"])
    assert figures["correlation"] == pytest.approx(line.rvalue)
    assert figures["treynor"] == pytest.approx(DRAWN.mean() * 252 / line.slope)
    assert figures["tracking_error"] == pytest.approx(statistics.stdev(DRAWN - MARKET) * math.sqrt(252))
    assert figures["information_ratio"] == pytest.approx((DRAWN - MARKET).mean() * 252 / figures["tracking_error"])
    for name, chosen in (("up", MARKET > 0), ("down", MARKET < 0)):
        own, other = (np.prod(1 + each[chosen]) ** (252 / chosen.sum()) - 1 for each in (DRAWN, MARKET))
        assert figures[f"{name}_capture"] == pytest.approx(own / other)
        assert figures[f"{name}_beta"] == pytest.approx(stats.linregress(MARKET[chosen], DRAWN[chosen]).slope)
    alone = summary(MARKET)
    for name in ("total_return", "cagr", "volatility", "sharpe", "max_drawdown"):
        assert figures[f"benchmark_{name}"] == alone[name]


def test_the_benchmark_itself():
    figures = summary(MARKET, MARKET)
    for name in ("beta", "capture", "up_capture", "down_capture", "up_down_capture", "correlation", "r_squared"):
        assert figures[name] == pytest.approx(1)
    assert figures["alpha"] == pytest.approx(0, abs=1e-12)
    assert (figures["tracking_error"], figures["information_ratio"]) == (0, None)


def test_frames_are_joined_on_their_sessions():
    days = [date(2024, 1, 1) + timedelta(days=number) for number in range(600)]
    own = pl.DataFrame({"session": days, "return": DRAWN})
    other = pl.DataFrame({"session": days[100:], "return": MARKET[100:]}).reverse()
    joined = summary(own, other)
    assert joined["beta"] == summary(DRAWN[100:], MARKET[100:])["beta"]
    assert joined["sharpe"] == summary(DRAWN)["sharpe"]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="3 returns and 2 of the benchmark"):
        summary([0.1, 0.2, 0.3], [0.1, 0.2])


def test_periods_per_year():
    assert summary(DRAWN, periods_per_year=52)["volatility"] == pytest.approx(DRAWN.std(ddof=1) * math.sqrt(52))


def test_missing_values_are_left_out_and_counted():
    holes = [None, 0.10, float("nan"), -0.05, 0.02, -0.10, float("inf"), 0.20]
    figures = summary(pl.Series(holes, strict=False))
    assert (figures["observations"], figures["missing"]) == (5, 3)
    assert figures["sharpe"] == summary(HAND)["sharpe"]
    assert figures["cagr"] == pytest.approx(1.151172 ** (252 / 8) - 1), "but the time that they stand for has passed"


def test_a_risk_free_rate_is_a_periods():
    assert metrics.sharpe_ratio(DRAWN, risk_free=0.0002) == pytest.approx(metrics.sharpe_ratio(DRAWN - 0.0002))
    assert metrics.treynor_ratio(DRAWN, MARKET, risk_free=0.0002) == pytest.approx(
        (DRAWN.mean() - 0.0002) * 252 / metrics.beta(DRAWN, MARKET)
    )
    figures = summary(DRAWN, MARKET, risk_free=0.0002)
    for name in ("sharpe_ratio", "probabilistic_sharpe_ratio", "kelly_leverage", "omega_ratio"):
        assert figures[name] == pytest.approx(getattr(metrics, name)(DRAWN - 0.0002))
    assert figures["sortino_ratio"] == pytest.approx(metrics.sortino_ratio(DRAWN, required_return=0.0002))
    assert figures["modigliani_ratio"] == pytest.approx(
        metrics.sharpe_ratio(DRAWN - 0.0002) * figures["benchmark_volatility"] + 0.0002 * 252
    )
    assert figures["cagr"] == summary(DRAWN)["cagr"]


def test_summary_gathers_every_function_under_its_name():
    figures = summary(DRAWN, MARKET)
    assert figures.keys() == {"observations", "missing", *METRICS, *RELATIVE, *SHORT}
    for name in METRICS:
        assert figures[name] == getattr(metrics, name)(DRAWN), name
    for name in RELATIVE:
        assert figures[name] == getattr(metrics, name)(DRAWN, MARKET), name
    assert {short: figures[short] for short in SHORT} == {short: figures[name] for short, name in SHORT.items()}


RETURNS_AS = [HAND, tuple(HAND), np.array(HAND), pl.Series(HAND), pl.DataFrame({"return": HAND})]


@pytest.mark.parametrize("returns", RETURNS_AS, ids=lambda each: type(each).__name__)
def test_returns_in_any_form(returns):
    assert metrics.max_drawdown(returns) == pytest.approx(0.95931 / 1.1 - 1)


def test_a_table_of_returns_is_refused():
    with pytest.raises(ValueError, match="2 dimensions; give one series"):
        metrics.sharpe_ratio(np.zeros((3, 2)))


def test_summary_takes_milliseconds():
    returns, benchmark = np.tile(DRAWN, 9)[:5000], np.tile(MARKET, 9)[:5000]

    def seconds() -> float:
        began = time.perf_counter()
        summary(returns, benchmark)
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.02


DEGENERATE = {
    "nothing": [],
    "one": [0.01],
    "all zero": [0.0] * 50,
    "all alike": [0.001] * 50,
    "all missing": [float("nan")] * 5,
    "lost": [0.1, -1.0, 0.1],
    "worse than lost": [0.1, -1.5, 0.1],
    "only gains": [0.01, 0.02, 0.03],
    "only losses": [-0.01, -0.02, -0.03],
    "huge": [1e200, 1e200, -0.5],
    "tiny": [1e-300, -1e-300, 1e-300],
}


@pytest.mark.parametrize("returns", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_input_gives_none(returns):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in METRICS:
            assert isinstance(getattr(metrics, name)(returns), float)
    for figures in (summary(returns), summary(returns, returns), summary(returns, np.zeros(len(returns)))):
        assert all(value is None or math.isfinite(value) for value in figures.values())
    assert summary(returns).keys() == summary(HAND).keys()


UNDEFINED = [
    ("one", ["sharpe", "volatility", "sortino", "omega", "calmar", "probabilistic_sharpe", "skew"]),
    ("all zero", ["sharpe", "sortino", "calmar", "omega", "tail_ratio", "skew", "hit_rate", "min_track_record_length"]),
    ("all alike", ["sharpe", "skew", "kurtosis", "probabilistic_sharpe"]),
    ("only gains", ["calmar", "omega", "sortino", "average_loss", "payoff", "average_drawdown_depth", "burke_ratio"]),
    ("nothing", ["cagr", "max_drawdown", "drawdown_count", "var_95", "value_at_risk_cornish_fisher", "hit_rate"]),
    ("only losses", ["min_track_record_length", "average_gain"]),
    ("worse than lost", ["cagr", "calmar"]),
]


@pytest.mark.parametrize(("case", "names"), UNDEFINED, ids=[case for case, _ in UNDEFINED])
def test_what_has_no_answer_is_none(case, names):
    figures = summary(DEGENERATE[case])
    assert {name: figures[name] for name in names} == dict.fromkeys(names)


def test_one_period_still_has_a_return():
    assert summary([0.01])["total_return"] == pytest.approx(0.01)
    assert summary([0.01])["cagr"] == pytest.approx(1.01**252 - 1)


def test_one_who_lost_everything_has_lost_it_every_year():
    assert summary(DEGENERATE["lost"])["cagr"] == -1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
def test_no_series_gives_nan_or_crashes(returns):
    assert all(value is None or math.isfinite(value) for value in summary(returns, returns).values())


def test_there_are_enough_measures_and_each_says_what_it_is():
    assert len(METRICS) + len(RELATIVE) >= 60
    assert all(measure.__doc__ for measure in (METRICS | RELATIVE).values())
    assert not METRICS.keys() & RELATIVE.keys()
    assert set(metrics.__all__) >= {*METRICS, *RELATIVE}
