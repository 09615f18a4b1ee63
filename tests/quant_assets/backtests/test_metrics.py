"""Measures against hand-computed values, other formulas and other libraries; and input that has no answer."""

from __future__ import annotations

import math
import statistics
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quant_assets.backtests import summary
from quant_assets.backtests.metrics import MEASURES, RELATIVE

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
}


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
    assert figures["alpha"] == pytest.approx(line.intercept * 252)
    assert figures["correlation"] == pytest.approx(line.rvalue)
    assert figures["treynor"] == pytest.approx(DRAWN.mean() * 252 / line.slope)
    assert figures["tracking_error"] == pytest.approx(statistics.stdev(DRAWN - MARKET) * math.sqrt(252))
    assert figures["information_ratio"] == pytest.approx((DRAWN - MARKET).mean() * 252 / figures["tracking_error"])
    up = MARKET > 0
    assert figures["up_capture"] == pytest.approx(DRAWN[up].mean() / MARKET[up].mean())
    assert figures["down_capture"] == pytest.approx(DRAWN[MARKET < 0].mean() / MARKET[MARKET < 0].mean())
    alone = summary(MARKET)
    for name in ("total_return", "cagr", "volatility", "sharpe", "max_drawdown"):
        assert figures[f"benchmark_{name}"] == alone[name]


def test_the_benchmark_itself():
    figures = summary(MARKET, MARKET)
    for name in ("beta", "up_capture", "down_capture", "correlation"):
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
    for figures in (summary(returns), summary(returns, returns), summary(returns, np.zeros(len(returns)))):
        assert all(value is None or math.isfinite(value) for value in figures.values())
    assert summary(returns).keys() == summary(HAND).keys()


UNDEFINED = [
    ("one", ["sharpe", "volatility", "cagr", "max_drawdown", "sortino", "probabilistic_sharpe"]),
    ("all zero", ["sharpe", "sortino", "calmar", "omega", "tail_ratio", "skew", "hit_rate", "min_track_record_length"]),
    ("all alike", ["sharpe", "skew", "kurtosis", "probabilistic_sharpe"]),
    ("only gains", ["calmar", "omega", "sortino", "average_loss", "payoff"]),
    ("only losses", ["min_track_record_length", "average_gain"]),
    ("worse than lost", ["cagr", "calmar"]),
]


@pytest.mark.parametrize(("case", "names"), UNDEFINED, ids=[case for case, _ in UNDEFINED])
def test_what_has_no_answer_is_none(case, names):
    figures = summary(DEGENERATE[case])
    assert {name: figures[name] for name in names} == dict.fromkeys(names)


def test_one_period_still_has_a_return():
    assert summary([0.01])["total_return"] == pytest.approx(0.01)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
def test_no_series_gives_nan_or_crashes(returns):
    assert all(value is None or math.isfinite(value) for value in summary(returns, returns).values())


def test_there_are_enough_measures_and_each_says_what_it_is():
    assert len(MEASURES) >= 25
    assert all(measure.__doc__ for measure in MEASURES.values())
    assert not MEASURES.keys() & RELATIVE.keys()
