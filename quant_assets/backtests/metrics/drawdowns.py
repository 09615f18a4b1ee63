"""How deep, how long, how often below the peak. Depths are negative fractions; the start counts as a peak."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from quant_assets.backtests.metrics.returns import annual_return, cum_returns_final
from quant_assets.backtests.metrics.sample import Floats, Returns, Sample, average, floats, metric, over, tail_of


def drawdown_series(returns: Returns) -> Floats:
    """How far below the peak so far, at the end of each period; missing returns count as 0.

    Example: `drawdown_series([0.1, -0.5, 0.2])` is `[0, -0.5, -0.4]`
    """
    values = floats(returns)
    with np.errstate(all="ignore"):
        return Sample(np.where(np.isfinite(values), values, 0.0), values.size).drawdown


@metric
def max_drawdown(returns: Sample) -> float:
    """Deepest fall below the peak so far.

    Example: `max_drawdown([0.1, -0.5, 0.2])` is -0.5
    """
    return float(returns.drawdown.min()) if returns.size else math.nan


@metric
def average_drawdown(returns: Sample) -> float:
    """Mean depth below the peak over all periods."""
    return average(returns.drawdown)


@metric
def average_drawdown_depth(returns: Sample) -> float:
    """Mean of the lowest points of the drawdowns, one each."""
    return average(returns.depths)


@metric
def current_drawdown(returns: Sample) -> float:
    """How far below the peak the last period ended."""
    return float(returns.drawdown[-1]) if returns.size else math.nan


@metric
def conditional_drawdown_at_risk(returns: Sample, cutoff: float = 0.05) -> float:
    """Mean of the deepest share (`cutoff`) of all periods' depths below the peak.

    Source: Chekhlov, Uryasev and Zabarankin (2005), "Drawdown Measure in Portfolio Optimization".
    """
    if not returns.size:
        return math.nan
    last = int((returns.size - 1) * tail_of(cutoff))
    return float(np.partition(returns.drawdown, last)[: last + 1].mean())


@metric
def drawdown_count(returns: Sample) -> float:
    """How many drawdowns there were, the one that has not recovered included."""
    return len(returns.episodes) if returns.size else math.nan


@metric
def max_drawdown_periods(returns: Sample) -> float:
    """Longest run of periods that ended below the peak."""
    return _lengths(returns).max(initial=0) if returns.size else math.nan


@metric
def average_drawdown_periods(returns: Sample) -> float:
    """Mean length of the drawdowns, in periods below the peak."""
    return average(_lengths(returns).astype(float))


def _lengths(returns: Sample) -> Floats:
    return np.diff(returns.episodes, axis=1).ravel().astype(float)


@metric
def time_under_water(returns: Sample) -> float:
    """Share of periods that ended below the peak."""
    return average((returns.drawdown < 0).astype(float))


@metric
def ulcer_index(returns: Sample) -> float:
    """Root mean square drawdown, as a fraction.

    Source: Martin and McCann (1989), "The Investor's Guide to Fidelity Funds".
    """
    return math.sqrt(average(returns.drawdown**2))


@metric
def martin_ratio(returns: Sample, periods_per_year: float = 252) -> float:
    """Annual return over the ulcer index (ulcer performance index). Source: Martin and McCann (1989)."""
    return over(annual_return(returns, periods_per_year), ulcer_index(returns))


@metric
def pain_ratio(returns: Sample, periods_per_year: float = 252) -> float:
    """Annual return over the mean depth below the peak (the pain index). Source: Becker and Moore (2006), Zephyr."""
    return over(annual_return(returns, periods_per_year), -average_drawdown(returns))


@metric
def calmar_ratio(returns: Sample, periods_per_year: float = 252) -> float:
    """Annual return over the depth of the worst drawdown; none without one.

    Source: Young (1991), "Calmar Ratio: A Smoother Tool".
    """
    depth = max_drawdown(returns)
    return annual_return(returns, periods_per_year) / -depth if depth < 0 else math.nan


@metric
def sterling_ratio(returns: Sample, periods_per_year: float = 252) -> float:
    """Annual return over the mean depth of the drawdowns, one each, without the 10% once added to it.

    Source: Bacon (2008), "Practical Portfolio Performance Measurement and Attribution", Sterling-Calmar variants.
    """
    return over(annual_return(returns, periods_per_year), -average_drawdown_depth(returns))


@metric
def burke_ratio(returns: Sample, periods_per_year: float = 252) -> float:
    """Annual return over the root of the sum of squared drawdown depths. Source: Burke (1994), "A Sharper Sharpe"."""
    return over(annual_return(returns, periods_per_year), math.sqrt(float((returns.depths**2).sum())))


@metric
def recovery_factor(returns: Sample) -> float:
    """Compound return over all periods over the depth of the worst drawdown."""
    return over(cum_returns_final(returns), -max_drawdown(returns))


def drawdown_table(returns: Returns, sessions: pl.Series | None = None, top: int | None = None) -> pl.DataFrame:
    """The drawdowns, deepest first (all, or `top` of them).

    A row each: depth (negative fraction); peak (the period that ended highest before), valley (the lowest) and
    recovery (the first one back at the peak, null if there is none yet), as sessions where `returns` is a frame with
    session and return or `sessions` are given, else as numbers of periods from 0; to_valley, to_recovery (null until
    then) and periods (below the peak), all in periods. A peak at the very start is null: it came before the first
    period. Missing returns count as 0.

    Example: `drawdown_table([0.1, -0.2, 0.3])["depth"][0]` is -0.2
    """
    values = floats(returns)
    sample = Sample(np.where(np.isfinite(values), values, 0.0), values.size)
    stamps = returns["session"] if isinstance(returns, pl.DataFrame) and "session" in returns.columns else sessions
    if stamps is None:
        stamps = pl.Series(np.arange(values.size))
    first, end = sample.episodes[:, 0], sample.episodes[:, 1]
    valley = np.array([start + np.argmin(sample.drawdown[start:stop]) for start, stop in sample.episodes], np.int64)
    numbers = pl.DataFrame(
        {"depth": sample.depths, "peak": first - 1, "valley": valley, "recovery": end, "to_valley": valley - first + 1}
    ).with_columns(
        to_recovery=pl.when(pl.col("recovery") < values.size).then(pl.col("recovery") - pl.col("peak")),
        periods=pl.Series(end - first),
        peak=pl.when(pl.col("peak") >= 0).then(pl.col("peak")),
        recovery=pl.when(pl.col("recovery") < values.size).then(pl.col("recovery")),
    )
    dated = numbers.with_columns(
        stamps.gather(numbers[name].cast(pl.UInt32)).alias(name) for name in ("peak", "valley", "recovery")
    )
    deepest = dated.sort("depth", maintain_order=True)
    return deepest if top is None else deepest.head(top)
