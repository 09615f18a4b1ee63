"""What was gained: totals, growth rates, and single periods."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.backtests.metrics.sample import (
    ROUNDING,
    Floats,
    Returns,
    Sample,
    average,
    floats,
    longest,
    metric,
    over,
)


def cum_returns(returns: Returns) -> Floats:
    """Compound return since the start, at the end of each period; missing returns count as 0.

    Example: `cum_returns([0.5, -0.5])` is `[0.5, -0.25]`
    """
    values = floats(returns)
    return np.asarray(np.cumprod(1.0 + np.where(np.isfinite(values), values, 0.0)) - 1.0, np.float64)


@metric
def cum_returns_final(returns: Sample) -> float:
    """Compound return over all periods.

    Example: `cum_returns_final([0.5, -0.5])` is -0.25
    """
    return float(returns.wealth[-1]) - 1.0 if returns.size else math.nan


@metric
def annual_return(returns: Sample, periods_per_year: float = 252) -> float:
    """Compound annual growth rate: final wealth to the power of one over the years, less one."""
    wealth = returns.wealth[-1]
    if not returns.size or wealth < 0:
        return math.nan
    return float(np.power(wealth, periods_per_year / returns.periods)) - 1.0


@metric
def cagr(returns: Sample, periods_per_year: float = 252) -> float:
    """The same as annual_return, by its other name."""
    return annual_return(returns, periods_per_year)


@metric
def mean_return(returns: Sample) -> float:
    """Arithmetic mean return of a period."""
    return returns.mean


@metric
def geometric_mean_return(returns: Sample) -> float:
    """The steady return of a period that comes to the same end."""
    return annual_return(returns, 1.0)


@metric
def expected_annual_return(returns: Sample, periods_per_year: float = 252) -> float:
    """Arithmetic mean return of a period times the periods of a year."""
    return returns.mean * periods_per_year


@metric
def hit_rate(returns: Sample) -> float:
    """Share of gains among the periods that were not flat."""
    return average((returns.values[returns.values != 0] > 0).astype(float))


@metric
def average_gain(returns: Sample) -> float:
    """Mean return of the periods that gained."""
    return average(returns.values[returns.values > 0])


@metric
def average_loss(returns: Sample) -> float:
    """Mean return of the periods that lost."""
    return average(returns.values[returns.values < 0])


@metric
def payoff_ratio(returns: Sample) -> float:
    """Size of the average gain over that of the average loss."""
    return over(average_gain(returns), -average_loss(returns))


@metric
def gain_loss_ratio(returns: Sample) -> float:
    """Sum of gains over sum of losses; of returns what the profit factor is of trades."""
    gains, losses = np.maximum(returns.values, 0.0).sum(), -np.minimum(returns.values, 0.0).sum()
    return over(float(gains), float(losses))


@metric
def best(returns: Sample) -> float:
    """Highest return of a period."""
    return float(returns.values.max()) if returns.size else math.nan


@metric
def worst(returns: Sample) -> float:
    """Lowest return of a period."""
    return float(returns.values.min()) if returns.size else math.nan


@metric
def longest_winning_streak(returns: Sample) -> float:
    """Most gains in a row, in periods."""
    return longest(returns.values > 0) if returns.size else math.nan


@metric
def longest_losing_streak(returns: Sample) -> float:
    """Most losses in a row, in periods."""
    return longest(returns.values < 0) if returns.size else math.nan


@metric
def autocorrelation(returns: Sample) -> float:
    """Correlation of returns with those of the period before; stale prices and smoothing show here."""
    return correlation_of(returns.values[1:], returns.values[:-1])


@metric
def stability_of_timeseries(returns: Sample) -> float:
    """R squared of a straight line through the cumulative log returns."""
    if returns.size < 2 or (returns.values <= -1).any():
        return math.nan
    growth = np.log1p(returns.values).cumsum()
    return correlation_of(np.arange(growth.size, dtype=float), growth, fewest=2) ** 2


def correlation_of(first: Floats, second: Floats, fewest: int = 3) -> float:
    """Pearson's correlation; NaN where one of the two does not move."""
    if first.size < fewest or np.ptp(first) <= ROUNDING or np.ptp(second) <= ROUNDING:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
