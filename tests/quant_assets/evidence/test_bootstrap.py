"""Intervals by the stationary bootstrap: its samples, its blocks, and how often it holds the truth."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from arch.bootstrap import optimal_block_length

from quant_assets.backtests import metrics
from quant_assets.evidence import EvidenceError, block_length, intervals
from quant_assets.evidence.bootstrap import STATISTICS, long_run_variance
from quant_assets.evidence.resampling import (
    COLUMNS,
    DRAWDOWN,
    GOLDEN,
    GROWTH,
    JOINT,
    SHORTFALL,
    SPREAD,
    SPREAD_OF_SQUARES,
    SQUARES,
    SUM,
    _mixed,
    resampled,
)


def daily(seed: int, periods: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0005, 0.01, periods)


def trending(random: np.random.Generator, periods: int, coefficient: float) -> np.ndarray:
    """AR(1) with shocks of variance 1 around a mean of 0, warmed up."""
    shocks = random.standard_normal(periods + 50)
    series = np.empty_like(shocks)
    series[0] = shocks[0]
    for at in range(1, shocks.size):
        series[at] = coefficient * series[at - 1] + shocks[at]
    return series[50:]


def sampled(returns: np.ndarray, block: float, samples: int, seed: int = 0) -> np.ndarray:
    out = np.empty((samples, COLUMNS))
    resampled(returns, np.log1p(returns), block, seed, out)
    return out


def test_estimates_are_the_measures_of_a_backtest():
    returns = daily(1)
    found, summary = intervals(returns, tuple(STATISTICS), samples=20), metrics.summary(returns)
    summary |= {"mean": summary["mean_return"], "sharpe": summary["sharpe_ratio"] / np.sqrt(252)}
    assert {name: found[name].estimate for name in STATISTICS} == pytest.approx(
        {name: summary[name] for name in STATISTICS}
    )


def test_a_year_has_the_periods_it_is_said_to_have():
    found = intervals(daily(1), ("sharpe_ratio", "cagr"), samples=20, periods_per_year=365)
    summary = metrics.summary(daily(1), periods_per_year=365)
    assert found["cagr"].estimate == pytest.approx(summary["cagr"])
    assert found["sharpe_ratio"].estimate == pytest.approx(summary["sharpe_ratio"])


def test_one_endless_block_is_the_history_from_another_day_on():
    returns = daily(2, 40)
    rows = sampled(returns, 1e15, 300)
    turned = [np.roll(returns, -start) for start in range(40)]
    depths = np.array([metrics.max_drawdown(days) for days in turned])
    assert np.abs(np.expm1(rows[:, DRAWDOWN])[:, None] - depths).min(axis=1).max() < 1e-12
    assert len(set(np.round(rows[:, DRAWDOWN], 9))) == len(set(np.round(depths, 9)))
    assert rows[:, SUM] == pytest.approx(returns.sum())
    assert rows[:, SQUARES] == pytest.approx(returns.var() * 40)
    assert rows[:, SHORTFALL] == pytest.approx((np.minimum(returns, 0) ** 2).sum())
    assert rows[:, GROWTH] == pytest.approx(np.log1p(returns).sum())
    # One block says nothing of how blocks differ.
    assert (rows[:, [SPREAD, JOINT, SPREAD_OF_SQUARES]] == 0.0).all()


@pytest.mark.parametrize("block", [1.0, 1.7, 8.0, 40.0])
def test_means_vary_as_the_theory_of_the_stationary_bootstrap_says(block: float) -> None:
    """Politis and Romano (1994): the variance of the samples' means in closed form, given the series."""
    returns = trending(np.random.default_rng(3), 200, 0.4) * 0.01
    means = sampled(returns, block, 20_000)[:, SUM] / 200
    expected = long_run_variance((returns - returns.mean())[:, None], block)[0] / 200
    assert means.var() == pytest.approx(expected, rel=0.05)
    assert means.mean() == pytest.approx(returns.mean(), abs=4 * np.sqrt(expected / 20_000))


def test_samples_are_the_same_however_many_there_are():
    returns = daily(4, 100)
    assert (sampled(returns, 5.0, 300)[:100] == sampled(returns, 5.0, 100)).all()
    assert (sampled(returns, 5.0, 100) != sampled(returns, 5.0, 100, seed=1)).any()
    assert intervals(returns, samples=50) == intervals(pl.Series(returns), samples=50)


def blocks_of(periods: int, block: float, sample: int, seed: int) -> list[np.ndarray]:
    """Periods of each block of a sample, drawn with SplitMix64 as Steele, Lea and Flood (2014) print it."""
    most = 2**64

    def mixed(state: int) -> int:
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % most
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % most
        return state ^ (state >> 31)

    state = mixed(mixed(seed) ^ sample * 0x9E3779B97F4A7C15 % most)
    drawn: list[np.ndarray] = []
    while (left := periods - sum(map(len, drawn))) > 0:
        uniforms = []
        for _ in range(2):
            state = (state + 0x9E3779B97F4A7C15) % most
            uniforms.append((mixed(state) >> 11) / 2**53)
        length = 1 + int(np.log(1 - uniforms[1]) / np.log(1 - 1 / block))
        drawn.append((int(uniforms[0] * periods) + np.arange(min(left, length))) % periods)
    return drawn


def test_the_generator_is_the_published_one():
    """SplitMix64 from the state 0 gives 0xE220A8397B1DCDAF first, as countless printed examples have it."""
    state = np.uint64(0) + GOLDEN
    assert int(_mixed(state)) == 0xE220A8397B1DCDAF


def studentised(returns: np.ndarray, block: float, samples: int, seed: int, level: float) -> dict[str, tuple]:
    """Bounds of Sharpe ratio, mean and logarithm of the volatility, one sample and one block at a time."""

    def figures(mean: float, deviation: float) -> np.ndarray:
        return np.array([mean / deviation, mean, np.log(deviation)])

    def slopes(mean: float, deviation: float) -> np.ndarray:
        """Of the figures in the mean and in the mean of the squares, by differences."""
        step = 1e-6 * deviation
        square = deviation**2 + mean**2
        ahead, behind = (figures(mean + move, np.sqrt(square - (mean + move) ** 2)) for move in (step, -step))
        more, less = (figures(mean, np.sqrt(deviation**2 + move)) for move in (step * deviation, -step * deviation))
        return np.column_stack([(ahead - behind) / (2 * step), (more - less) / (2 * step * deviation)])

    periods = returns.size
    bessel = np.sqrt(periods / (periods - 1))
    estimate = figures(returns.mean(), returns.std() * bessel)
    slope = slopes(returns.mean(), returns.std())
    influence = slope @ np.array([returns - returns.mean(), returns**2 - (returns**2).mean()])
    error = np.sqrt(long_run_variance(influence.T - influence.mean(axis=1), block) / periods) * [bessel**-1, 1, 1]
    distances = []
    for sample in range(samples):
        pieces = [returns[places] for places in blocks_of(periods, block, sample, seed)]
        drawn = np.concatenate(pieces)
        slope = slopes(drawn.mean(), drawn.std())
        moments = np.array([drawn.mean(), (drawn**2).mean()])
        sums = np.array([slope @ ([piece.sum(), (piece**2).sum()] - piece.size * moments) for piece in pieces])
        spread = np.sqrt((sums**2).sum(axis=0)) / periods * [bessel**-1, 1, 1]
        moved = figures(drawn.mean(), drawn.std() * bessel) - estimate
        distances.append(moved / spread if len(pieces) > 1 else np.zeros(3))
    high, low = (estimate - error * np.quantile(distances, tail, axis=0) for tail in ((1 - level) / 2, (1 + level) / 2))
    return {name: (low[at], high[at]) for at, name in enumerate(("sharpe", "mean", "volatility"))}


@pytest.mark.parametrize(("periods", "block", "level"), [(60, 4.0, 0.9), (25, 12.0, 0.6), (25, 25.0, 0.6)])
def test_bounds_are_those_of_the_definition(periods: int, block: float, level: float) -> None:
    """As Ledoit and Wolf (2008) studentise: each sample's distance in standard errors of its own, from its blocks."""
    returns = daily(8, periods) + 0.004
    returns[::7] *= 3
    found = intervals(returns, ("sharpe", "sharpe_ratio", "mean", "volatility"), 200, block, 5, level)
    expected = {name: np.array(bounds) for name, bounds in studentised(returns, block, 200, 5, level).items()}
    expected["sharpe_ratio"] = expected["sharpe"] * 252**0.5
    expected["volatility"] = np.exp(expected["volatility"]) * 252**0.5
    for name, bounds in expected.items():
        assert (found[name].low, found[name].high) == pytest.approx(bounds, rel=1e-4)


def test_other_bounds_leave_out_the_same_share_of_the_samples_at_either_end():
    returns = daily(1, 300)
    found = intervals(returns, ("max_drawdown", "cagr"), samples=1_000, block=5, level=0.8)
    rows = sampled(returns, 5.0, 1_000)
    depths = np.sort(np.expm1(rows[:, DRAWDOWN]))
    assert depths[99] < found["max_drawdown"].low < depths[101]
    assert depths[898] < found["max_drawdown"].high < depths[900]
    yearly = np.sort(np.expm1(rows[:, GROWTH] * 252 / 300))
    assert yearly[99] < found["cagr"].low < yearly[101]
    assert yearly[898] < found["cagr"].high < yearly[900]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("held", [1, 3])
def test_a_history_of_few_trades_has_finite_bounds(held: int) -> None:
    """Many of its samples never trade at all: they have neither figures nor errors."""
    returns = np.zeros(120)
    returns[10 : 10 + held] = 0.02
    for interval in intervals(returns, tuple(STATISTICS), samples=500).values():
        assert np.isfinite([interval.low, interval.high]).all()
        assert interval.low <= interval.high


def test_block_length_is_that_of_arch():
    series = trending(np.random.default_rng(5), 600, 0.5)
    assert block_length(series) == optimal_block_length(series)["stationary"].iloc[0]
    assert block_length(series) == pytest.approx(block_length(series * 1e-6))


def test_no_block_is_shorter_than_a_period():
    """Of returns without any dependence the formula can ask for less."""
    asked = {seed: optimal_block_length(daily(seed, 500))["stationary"].iloc[0] for seed in range(20)}
    short = min(asked, key=lambda seed: asked[seed])
    assert asked[short] < 1
    assert block_length(daily(short, 500)) == 1.0


@pytest.mark.parametrize("coefficient", [0.3, 0.7])
def test_block_length_is_near_the_optimal_one(coefficient: float) -> None:
    """For an AR(1) the optimum of Politis and White (2004, corrected 2009) is n^(1/3) (2 phi / (1 - phi^2))^(2/3)."""
    random = np.random.default_rng(6)
    lengths = [block_length(trending(random, 2000, coefficient)) for _ in range(60)]
    optimum = 2000 ** (1 / 3) * (2 * coefficient / (1 - coefficient**2)) ** (2 / 3)
    assert np.median(lengths) == pytest.approx(optimum, rel=0.15)


def test_spells_of_high_volatility_make_longer_blocks():
    random = np.random.default_rng(7)
    calm = random.normal(0, 0.01, 1500)
    spells = calm * np.exp(0.25 * trending(random, 1500, 0.95))
    assert block_length(spells) < 10
    assert intervals(spells, samples=10)["sharpe"].block > 20
    assert intervals(calm, samples=10)["sharpe"].block < 10


def test_intervals_hold_the_truth_as_often_as_they_say_and_independent_draws_do_not():
    """90% intervals of the Sharpe ratio of trending returns: the truth is 0.1 of the deviation, 1 / sqrt(1 - 0.5^2)."""
    random, held = np.random.default_rng(9), np.zeros(2)
    truth = 0.1 * np.sqrt(1 - 0.5**2)
    for seed in range(200):
        returns = (trending(random, 400, 0.5) + 0.1) * 0.01
        for which, block in enumerate((None, 1.0)):
            found = intervals(returns, ("sharpe",), samples=300, block=block, seed=seed, level=0.9)["sharpe"]
            held[which] += found.low <= truth <= found.high
    blocks, independent = held / 200
    assert 0.83 <= blocks <= 0.95
    assert independent < 0.75


def test_studentised_bounds_hold_the_truth_more_often_than_percentiles_where_volatility_comes_in_spells():
    """90% intervals of the Sharpe ratio of five years of GARCH(1, 1) with a persistence of 0.97: the truth is 0.06."""
    periods, histories = 1_260, 400
    shocks = np.random.default_rng(12).standard_normal((histories, periods + 200))
    variance = np.ones(histories)
    for at in range(periods + 200):
        shocks[:, at] *= np.sqrt(variance)
        variance = 0.03 + 0.10 * shocks[:, at] ** 2 + 0.87 * variance
    held = np.zeros(2)
    for seed, returns in enumerate(0.01 * (shocks[:, 200:] + 0.06)):
        found = intervals(returns, ("sharpe",), samples=300, seed=seed, level=0.9)["sharpe"]
        rows = sampled(returns, found.block, 300, seed)
        low, high = np.quantile(rows[:, SUM] / periods / np.sqrt(rows[:, SQUARES] / (periods - 1)), [0.05, 0.95])
        held += [found.low <= 0.06 <= found.high, low <= 0.06 <= high]
    studentised, percentiles = held / histories
    assert studentised > percentiles
    assert 0.84 <= studentised <= 0.95  # three standard errors are 0.045


def test_a_higher_level_is_a_wider_interval():
    narrow, wide = (intervals(daily(1), samples=500, level=level) for level in (0.5, 0.99))
    for name, interval in narrow.items():
        assert wide[name].low < interval.low < interval.high < wide[name].high
    assert narrow["sharpe"].low < narrow["sharpe"].estimate < narrow["sharpe"].high


def test_ruin_is_the_end():
    returns = daily(1, 50)
    returns[20] = -1.2
    found = intervals(returns, ("cagr", "max_drawdown", "total_return"), samples=200)
    assert [found[name].estimate for name in ("cagr", "max_drawdown", "total_return")] == [-1.0, -1.0, -1.0]
    assert (found["cagr"].low, found["max_drawdown"].low) == (-1.0, -1.0)
    assert found["total_return"].high > -1.0


def test_a_history_without_a_loss_has_no_ratio_to_losses():
    found = intervals(np.abs(daily(1, 60)), ("calmar_ratio", "sortino_ratio", "max_drawdown"), samples=20)
    assert {interval.estimate for interval in found.values()} == {0.0}


def test_importing_evidence_loads_no_heavy_library():
    heavy = ("arch", "matplotlib", "mlflow", "numba", "pandas", "ray", "scipy", "skfolio", "torch")
    code = f"import sys, quant_assets.evidence; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


REFUSED = [
    (lambda: intervals([0.0] * 30), "returns are all 0.0: every sample of them would be the same"),
    (lambda: intervals(daily(1, 9)), "returns have 9 periods; at least 10"),
    (lambda: intervals([0.01, float("nan")] * 10), r"returns\[1\] is not a finite number"),
    (lambda: intervals(daily(1), ("sharp",)), "statistics: sharp is not known; there are mean, sharpe, sharpe_ratio"),
    (lambda: intervals(daily(1), samples=0), "samples is 0; it must be at least 1"),
    (lambda: intervals(daily(1), seed=-3), "seed is -3; it must be at least 0"),
    (lambda: intervals(daily(1), level=95), "level is 95; it must lie between 0 and 1"),
    (lambda: intervals(daily(1), block=0.2), "block is 0.2; it must lie between 1 and the 1000 periods"),
    (lambda: intervals(daily(1), block=1001), "block is 1001"),
    (lambda: intervals(daily(1), periods_per_year=0), "periods_per_year is 0; it must be positive"),
    (lambda: intervals(daily(1), periods_per_year=math.nan), "periods_per_year is nan; it must be positive"),
    (lambda: block_length([1.0] * 20), "values are all 1.0"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_judged_is_refused(call, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        call()
