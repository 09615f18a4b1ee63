"""Performance of a series of periodic returns, each measure with its source.

Returns are simple, one a period, and taken as excess over a risk-free rate of zero. Losses and drawdowns are negative.
A measure that is not defined for its input (no losses, no spread, too short) is None, never NaN or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Returns = pl.DataFrame | pl.Series | Floats | Sequence[float | None]

CONFIDENCE = 0.95
TAIL = 0.05
_NORMAL = NormalDist()
_T = TypeVar("_T")


def summary(
    returns: Returns, benchmark: Returns | None = None, periods_per_year: float = 252
) -> dict[str, float | None]:
    """Every measure of MEASURES by name and, with a benchmark, every one of RELATIVE.

    `returns` and `benchmark` are fractions, one a period: arrays or Series of the same length, or frames with columns
    session and return, which are joined on the session. Missing and infinite values are left out (`missing` counts
    them); with a benchmark, the relative measures use the periods that both have.

    Raises ValueError if the two have different lengths and no sessions to join on.

    Example: `summary([0.01, -0.005, 0.002])["max_drawdown"]` is -0.005
    """
    own, other = _aligned(returns, benchmark)
    usable = own[np.isfinite(own)]
    figures: dict[str, float | None] = {"observations": float(usable.size), "missing": float(own.size - usable.size)}
    figures |= _evaluated(MEASURES, Sample(usable, periods_per_year))
    if other is not None:
        both = np.isfinite(own) & np.isfinite(other)
        pair = Pair(Sample(own[both], periods_per_year), Sample(other[both], periods_per_year))
        figures |= _evaluated(RELATIVE, pair)
    return figures


def _aligned(returns: Returns, benchmark: Returns | None) -> tuple[Floats, Floats | None]:
    if isinstance(returns, pl.DataFrame) and isinstance(benchmark, pl.DataFrame):
        other = benchmark.select("session", pl.col("return").alias("other"))
        joined = returns.select("session", "return").join(other, on="session", how="left", maintain_order="left")
        return _floats(joined["return"]), _floats(joined["other"])
    own, theirs = _floats(returns), None if benchmark is None else _floats(benchmark)
    if theirs is not None and own.size != theirs.size:
        raise ValueError(f"{own.size} returns and {theirs.size} of the benchmark; give the same periods, or sessions")
    return own, theirs


def _floats(values: Returns) -> Floats:
    series = values["return"] if isinstance(values, pl.DataFrame) else pl.Series(values, dtype=pl.Float64, strict=False)
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(float)


def _evaluated(table: dict[str, Callable[[_T], float]], sample: _T) -> dict[str, float | None]:
    with np.errstate(all="ignore"):
        values = {name: float(measure(sample)) for name, measure in table.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True)
class Sample:
    """Finite returns of consecutive periods, and what several measures need of them. NaN stands for undefined."""

    returns: Floats
    year: float
    """Periods a year."""

    @cached_property
    def mean(self) -> float:
        return float(self.returns.mean()) if self.returns.size >= 2 else math.nan

    @cached_property
    def spread(self) -> float:
        """Sample standard deviation a period; NaN where the returns are all alike, but for rounding."""
        if self.returns.size < 2:
            return math.nan
        deviation = float(self.returns.std(ddof=1))
        return deviation if deviation > 1e-12 * abs(self.mean) else math.nan

    @cached_property
    def ratio(self) -> float:
        """Sharpe ratio a period."""
        return self.mean / self.spread

    @cached_property
    def wealth(self) -> Floats:
        """Growth of one unit, beginning with that unit."""
        return np.concatenate([[1.0], np.cumprod(1.0 + self.returns)])

    @cached_property
    def drawdown(self) -> Floats:
        """How far below the peak so far, at the end of each period, as a fraction (zero or negative)."""
        if self.returns.size < 2:
            return np.array([math.nan])
        return (self.wealth / np.maximum.accumulate(self.wealth) - 1.0)[1:]

    def moment(self, order: int) -> float:
        """Standardised central moment of the population; NaN for fewer observations than its order."""
        if self.returns.size < order or math.isnan(self.spread):
            return math.nan
        centred = self.returns - self.returns.mean()
        return float((centred**order).mean() / (centred**2).mean() ** (order / 2))


@dataclass(frozen=True)
class Pair:
    """A strategy and its benchmark over the same periods."""

    own: Sample
    other: Sample

    @cached_property
    def excess(self) -> Sample:
        return Sample(self.own.returns - self.other.returns, self.own.year)


def total_return(sample: Sample) -> float:
    """Compound return over all periods."""
    return float(sample.wealth[-1]) - 1.0 if sample.returns.size else math.nan


def cagr(sample: Sample) -> float:
    """Compound annual growth rate: final wealth to the power of one over the years, less one."""
    if sample.returns.size < 2 or sample.wealth[-1] <= 0:
        return math.nan
    return float(sample.wealth[-1] ** (sample.year / sample.returns.size)) - 1.0


def volatility(sample: Sample) -> float:
    """Sample standard deviation of returns, annualised by the square root of time."""
    return float(sample.returns.std(ddof=1)) * math.sqrt(sample.year) if sample.returns.size >= 2 else math.nan


def downside_deviation(sample: Sample) -> float:
    """Root mean square of the losses over all periods, annualised.

    Source: Sortino and Price (1994), "Performance Measurement in a Downside Risk Framework", target zero.
    """
    if sample.returns.size < 2:
        return math.nan
    return float(np.sqrt((np.minimum(sample.returns, 0.0) ** 2).mean())) * math.sqrt(sample.year)


def sharpe(sample: Sample) -> float:
    """Mean over standard deviation, annualised. Source: Sharpe (1994), "The Sharpe Ratio"."""
    return sample.ratio * math.sqrt(sample.year)


def _sharpe_variance(sample: Sample) -> float:
    """(n - 1) x variance of the estimated Sharpe ratio a period, for returns that are not normal.

    Source: Mertens (2002), "Comments on variance of the IID estimator in Lo (2002)"; Bailey and Lopez de Prado (2012).
    """
    return 1.0 - sample.moment(3) * sample.ratio + (sample.moment(4) - 1.0) / 4.0 * sample.ratio**2


def _sharpe_bound(sample: Sample, side: int) -> float:
    error = np.sqrt(_sharpe_variance(sample) / (sample.returns.size - 1)) if sample.returns.size > 1 else math.nan
    return float(sample.ratio + side * _NORMAL.inv_cdf((1 + CONFIDENCE) / 2) * error) * math.sqrt(sample.year)


def sharpe_low(sample: Sample) -> float:
    """Lower end of the 95% interval of the annual Sharpe ratio, allowing for skew and fat tails (Mertens 2002)."""
    return _sharpe_bound(sample, -1)


def sharpe_high(sample: Sample) -> float:
    """Upper end of that interval."""
    return _sharpe_bound(sample, 1)


def probabilistic_sharpe(sample: Sample) -> float:
    """Probability that the true Sharpe ratio is above zero, given length, skew and kurtosis of the sample.

    Source: Bailey and Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", equation 9.
    """
    variance = _sharpe_variance(sample)
    if not variance > 0:
        return math.nan
    return _NORMAL.cdf(sample.ratio * math.sqrt(sample.returns.size - 1) / math.sqrt(variance))


def min_track_record_length(sample: Sample) -> float:
    """Periods needed to hold, with 95% confidence, that the true Sharpe ratio is above zero; none if it is not.

    Source: Bailey and Lopez de Prado (2012), equation 11.
    """
    if not sample.ratio > 0:
        return math.nan
    return 1.0 + _sharpe_variance(sample) * (_NORMAL.inv_cdf(CONFIDENCE) / sample.ratio) ** 2


def sortino(sample: Sample) -> float:
    """Annual mean over downside deviation. Source: Sortino and Price (1994)."""
    return float(np.divide(sample.mean * sample.year, downside_deviation(sample)))


def calmar(sample: Sample) -> float:
    """CAGR over the depth of the worst drawdown. Source: Young (1991), "Calmar Ratio: A Smoother Tool"."""
    return float(np.divide(cagr(sample), -max_drawdown(sample)))


def omega(sample: Sample) -> float:
    """Sum of gains over sum of losses. Source: Keating and Shadwick (2002), threshold zero."""
    gains, losses = np.maximum(sample.returns, 0.0).sum(), -np.minimum(sample.returns, 0.0).sum()
    return float(np.divide(gains, losses)) if sample.returns.size >= 2 else math.nan


def tail_ratio(sample: Sample) -> float:
    """Size of the 95th percentile over that of the 5th."""
    if sample.returns.size < 2:
        return math.nan
    low, high = np.quantile(sample.returns, [TAIL, 1 - TAIL])
    return float(np.divide(abs(high), abs(low)))


def ulcer_index(sample: Sample) -> float:
    """Root mean square drawdown, as a fraction.

    Source: Martin and McCann (1989), "The Investor's Guide to Fidelity Funds".
    """
    return float(np.sqrt((sample.drawdown**2).mean()))


def ulcer_performance(sample: Sample) -> float:
    """CAGR over the ulcer index (Martin ratio). Source: Martin and McCann (1989)."""
    return float(np.divide(cagr(sample), ulcer_index(sample)))


def max_drawdown(sample: Sample) -> float:
    """Deepest fall below the peak so far; the start counts as a peak."""
    return float(sample.drawdown.min())


def average_drawdown(sample: Sample) -> float:
    """Mean depth below the peak over all periods."""
    return float(sample.drawdown.mean())


def max_drawdown_periods(sample: Sample) -> float:
    """Longest run of periods that ended below the peak."""
    if sample.returns.size < 2:
        return math.nan
    under = np.concatenate([[False], sample.drawdown < 0, [False]])
    edges = np.flatnonzero(np.diff(under.astype(np.int8)))
    return float((edges[1::2] - edges[::2]).max(initial=0))


def time_under_water(sample: Sample) -> float:
    """Share of periods that ended below the peak."""
    return float((sample.drawdown < 0).mean()) if sample.returns.size >= 2 else math.nan


def var_95(sample: Sample) -> float:
    """Historical value at risk: the return that 5% of the periods fall below."""
    return float(np.quantile(sample.returns, TAIL)) if sample.returns.size >= 2 else math.nan


def cvar_95(sample: Sample) -> float:
    """Mean of the returns at or below var_95. Source: Rockafellar and Uryasev (2000), "Optimization of CVaR"."""
    if sample.returns.size < 2:
        return math.nan
    return float(sample.returns[sample.returns <= var_95(sample)].mean())


def skew(sample: Sample) -> float:
    """Third standardised moment of the population."""
    return sample.moment(3)


def kurtosis(sample: Sample) -> float:
    """Fourth standardised moment of the population, less the normal distribution's 3."""
    return sample.moment(4) - 3.0


def autocorrelation(sample: Sample) -> float:
    """Correlation of returns with those of the period before; stale prices and smoothing show here."""
    return _correlation(sample.returns[1:], sample.returns[:-1])


def _correlation(first: Floats, second: Floats) -> float:
    if first.size < 3 or first.std() == 0 or second.std() == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _mean_of(values: Floats) -> float:
    return float(values.mean()) if values.size else math.nan


def hit_rate(sample: Sample) -> float:
    """Share of gains among the periods that were not flat."""
    return _mean_of((sample.returns[sample.returns != 0] > 0).astype(float)) if sample.returns.size >= 2 else math.nan


def average_gain(sample: Sample) -> float:
    """Mean return of the periods that gained."""
    return _mean_of(sample.returns[sample.returns > 0]) if sample.returns.size >= 2 else math.nan


def average_loss(sample: Sample) -> float:
    """Mean return of the periods that lost."""
    return _mean_of(sample.returns[sample.returns < 0]) if sample.returns.size >= 2 else math.nan


def payoff(sample: Sample) -> float:
    """Size of the average gain over that of the average loss."""
    return average_gain(sample) / -average_loss(sample)


def best(sample: Sample) -> float:
    """Highest return of a period."""
    return float(sample.returns.max()) if sample.returns.size else math.nan


def worst(sample: Sample) -> float:
    """Lowest return of a period."""
    return float(sample.returns.min()) if sample.returns.size else math.nan


def beta(pair: Pair) -> float:
    """Covariance with the benchmark over the benchmark's variance. Source: Sharpe (1964), "Capital Asset Prices"."""
    if math.isnan(pair.other.spread):
        return math.nan
    return float(np.cov(pair.own.returns, pair.other.returns, ddof=1)[0, 1] / pair.other.spread**2)


def alpha(pair: Pair) -> float:
    """Annual mean return beyond beta times the benchmark's.

    Source: Jensen (1968), "The Performance of Mutual Funds in the Period 1945-1964".
    """
    return (pair.own.mean - beta(pair) * pair.other.mean) * pair.own.year


def treynor(pair: Pair) -> float:
    """Annual mean return over beta. Source: Treynor (1965), "How to Rate Management of Investment Funds"."""
    return float(np.divide(pair.own.mean * pair.own.year, beta(pair)))


def up_capture(pair: Pair) -> float:
    """Mean return in the benchmark's rising periods over the benchmark's own."""
    rising = pair.other.returns > 0
    return _mean_of(pair.own.returns[rising]) / _mean_of(pair.other.returns[rising])


def down_capture(pair: Pair) -> float:
    """Mean return in the benchmark's falling periods over the benchmark's own."""
    falling = pair.other.returns < 0
    return _mean_of(pair.own.returns[falling]) / _mean_of(pair.other.returns[falling])


MEASURES: dict[str, Callable[[Sample], float]] = {
    measure.__name__: measure
    for measure in (
        total_return, cagr, volatility, downside_deviation, sharpe, sharpe_low, sharpe_high, probabilistic_sharpe,
        min_track_record_length, sortino, calmar, omega, tail_ratio, ulcer_index, ulcer_performance, max_drawdown,
        average_drawdown, max_drawdown_periods, time_under_water, var_95, cvar_95, skew, kurtosis, autocorrelation,
        hit_rate, average_gain, average_loss, payoff, best, worst,
    )
}  # fmt: skip
"""Measures of a strategy alone."""

RELATIVE: dict[str, Callable[[Pair], float]] = {
    "beta": beta,
    "alpha": alpha,
    "treynor": treynor,
    "up_capture": up_capture,
    "down_capture": down_capture,
    "correlation": lambda pair: _correlation(pair.own.returns, pair.other.returns),
    "tracking_error": lambda pair: volatility(pair.excess),
    # Source: Goodwin (1998), "The Information Ratio".
    "information_ratio": lambda pair: sharpe(pair.excess),
    "benchmark_total_return": lambda pair: total_return(pair.other),
    "benchmark_cagr": lambda pair: cagr(pair.other),
    "benchmark_volatility": lambda pair: volatility(pair.other),
    "benchmark_sharpe": lambda pair: sharpe(pair.other),
    "benchmark_max_drawdown": lambda pair: max_drawdown(pair.other),
}
"""Measures against a benchmark."""
