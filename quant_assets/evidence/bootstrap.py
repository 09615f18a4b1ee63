"""How far a figure of a backtest could have been from what it is, had history dealt its days in another order.

The stationary bootstrap draws blocks of consecutive periods, with replacement and of random length, until a history of
the same length is made, and does so thousands of times. Blocks keep what days have to do with the days before: trends,
reversals, spells of high volatility.

The interval of a mean, a Sharpe ratio or a volatility is studentised: each sample says by how many of its own standard
errors it is off, and the history's standard error sets the width. That of any other figure leaves out the same share
of the samples at either end.

Sources: Politis and Romano (1994), "The Stationary Bootstrap", Journal of the American Statistical Association 89(428);
Politis and White (2004), "Automatic Block-Length Selection for the Dependent Bootstrap", Econometric Reviews 23(1),
with the correction of Patton, Politis and White (2009), the same 28(4); Ledoit and Wolf (2008), "Robust Performance
Hypothesis Testing with the Sharpe Ratio", Journal of Empirical Finance 15(5), on studentising with the blocks of each
sample (they test a difference of two ratios by blocks of one length; here are one ratio and the stationary bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from quant_assets.evidence.inputs import EvidenceError, Floats, Values, known, moving, series, share, whole

LEAST = 10
"""Periods, below which there is nothing to say of how they depend on each other."""

AT_ONCE = 1 << 20
"""Numbers in memory at a time, in each of a handful of arrays: 8 MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the bounds that hold its true value with the asked probability."""

    low: float
    high: float
    estimate: float
    """Of the history as it was."""

    block: float
    """Mean length of the blocks, in periods."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What the figures are made of, an entry a sample. Log wealth begins at 0."""

    periods: int
    years: float
    centre: float
    """Mean return of the history, from which deviations are taken."""

    total: Floats
    squares: Floats
    shortfall: Floats
    growth: Floats
    deepest: Floats
    spread: Floats
    """Variance of the sum of the deviations; `joint` its covariance with the sum of their squares."""

    joint: Floats
    spread_of_squares: Floats

    @property
    def per_year(self) -> float:
        return self.periods / self.years

    @property
    def deviation(self) -> Floats:
        return np.sqrt(self.squares / (self.periods - 1))

    def error(self, slope: Floats | float, slope_of_squares: Floats | float) -> Floats:
        """Standard error of what has these slopes in the sums of the deviations and of their squares."""
        variance = slope**2 * self.spread + 2.0 * slope * slope_of_squares * self.joint
        return np.sqrt(np.maximum(variance + slope_of_squares**2 * self.spread_of_squares, 0.0))


def _over(above: Floats, below: Floats) -> Floats:
    """0 where there is nothing below: a history without variation or without a loss says nothing of the ratio."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _mean(sums: Sums) -> Floats:
    return sums.total / sums.periods


def _sharpe(sums: Sums) -> Floats:
    return _over(_mean(sums), sums.deviation)


def _sharpe_ratio(sums: Sums) -> Floats:
    return _sharpe(sums) * np.sqrt(sums.per_year)


def _sortino_ratio(sums: Sums) -> Floats:
    return _over(_mean(sums), np.sqrt(sums.shortfall / sums.periods)) * np.sqrt(sums.per_year)


def _volatility(sums: Sums) -> Floats:
    return sums.deviation * np.sqrt(sums.per_year)


def _total_return(sums: Sums) -> Floats:
    return np.expm1(sums.growth)


def _cagr(sums: Sums) -> Floats:
    return np.expm1(sums.growth / sums.years)


def _max_drawdown(sums: Sums) -> Floats:
    return np.expm1(sums.deepest)


def _calmar_ratio(sums: Sums) -> Floats:
    return _over(_cagr(sums), -_max_drawdown(sums))


STATISTICS: dict[str, Callable[[Sums], Floats]] = {
    "mean": _mean,
    "sharpe": _sharpe,
    "sharpe_ratio": _sharpe_ratio,
    "sortino_ratio": _sortino_ratio,
    "volatility": _volatility,
    "total_return": _total_return,
    "cagr": _cagr,
    "max_drawdown": _max_drawdown,
    "calmar_ratio": _calmar_ratio,
}
"""As quant_assets.backtests.metrics defines them; `mean` and `sharpe` are those of one period, not annualised."""


def _mean_error(sums: Sums) -> Floats:
    return sums.error(1.0 / sums.periods, 0.0)


def _sharpe_error(sums: Sums) -> Floats:
    deviation, freedom = sums.deviation, sums.periods - 1
    drift = _over(_mean(sums), deviation**3 * freedom)
    moved = sums.total / sums.periods - sums.centre
    return sums.error(_over(np.full_like(drift, 1.0 / sums.periods), deviation) + drift * moved, -drift / 2.0)


def _sharpe_ratio_error(sums: Sums) -> Floats:
    return _sharpe_error(sums) * np.sqrt(sums.per_year)


def _log_volatility_error(sums: Sums) -> Floats:
    slope = _over(np.ones_like(sums.squares), sums.squares)
    return sums.error(-slope * (sums.total / sums.periods - sums.centre), slope / 2.0)


ERRORS: dict[str, Callable[[Sums], Floats]] = {
    "mean": _mean_error,
    "sharpe": _sharpe_error,
    "sharpe_ratio": _sharpe_ratio_error,
    "volatility": _log_volatility_error,
}
"""Standard errors of the figures that are studentised, by their slopes; of `volatility` that of its logarithm."""


def intervals(
    returns: Values,
    statistics: Sequence[str] = ("sharpe", "sharpe_ratio", "cagr", "volatility", "max_drawdown"),
    samples: int = 10_000,
    block: float | None = None,
    seed: int = 0,
    level: float = 0.95,
    periods_per_year: float = 252,
) -> dict[str, Interval]:
    """Intervals of figures of a series of returns, by the stationary bootstrap: studentised for those in ERRORS.

    `statistics` are names in STATISTICS; to compare with a benchmark, pass the returns in excess of it. `block` is the
    mean length of a block in periods, by default the longer of the automatic ones of the returns and of their squared
    deviations, which follow each other longer. The same `seed` gives the same intervals. A return of -1 or less is
    ruin: wealth is 0 from there on.

    The interval of a drawdown is the spread of the drawdowns that such days could have had; it need not be centred on
    the one that happened. Intervals of short or strongly dependent histories are a little too narrow.

    Raises EvidenceError for an unknown statistic, missing returns, fewer than 10 periods, returns that are all alike,
    and settings out of bounds.

    Example: `intervals(returns)["sharpe_ratio"].low`
    """
    known(statistics, STATISTICS, "statistics")
    whole(samples, "samples", 1)
    whole(seed, "seed", 0)
    share(level, "level")
    values = series(returns, least=LEAST)
    if not 0 < periods_per_year < math.inf:
        raise EvidenceError(f"periods_per_year is {periods_per_year}; it must be positive")
    if not moving(values):
        raise EvidenceError(f"returns are all {values[0]}: every sample of them would be the same")
    if block is None:
        block = max(block_length(values), block_length((values - values.mean()) ** 2))
    if not 1 <= block <= values.size:
        raise EvidenceError(f"block is {block}; it must lie between 1 and the {values.size} periods")
    with np.errstate(divide="ignore"):
        growth = np.log1p(np.maximum(values, -1.0))
    rows = (_drawn(values, growth, block, seed, samples), _actual(values, growth, float(block)))
    years, centre = values.size / periods_per_year, float(values.mean())
    drawn, actual = (Sums(values.size, years, centre, *sums.T) for sums in rows)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    found = {}
    for name in statistics:
        low, high = (_studentised if name in ERRORS else _percentiles)(name, drawn, actual, tails)
        found[name] = Interval(float(low), float(high), float(STATISTICS[name](actual)[0]), float(block))
    return found


def _percentiles(name: str, drawn: Sums, actual: Sums, tails: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(STATISTICS[name](drawn), tails)
    return low, high


def _studentised(name: str, drawn: Sums, actual: Sums, tails: Sequence[float]) -> tuple[float, float]:
    """Bounds from the samples' distances to the figure in standard errors; a sample without an error counts as none."""
    samples, figure = STATISTICS[name](drawn), STATISTICS[name](actual)[0]
    errors, error = ERRORS[name](drawn), ERRORS[name](actual)[0]
    if name == "volatility":
        ratio = np.log(samples / figure, out=np.zeros_like(samples), where=samples > 0)
        high, low = figure * np.exp(-error * np.quantile(_over(ratio, errors), tails))
    else:
        high, low = figure - error * np.quantile(_over(samples - figure, errors), tails)
    return low, high


def block_length(values: Values) -> float:
    """Mean length of a block with which the stationary bootstrap estimates the variance of the mean best, 1 or more.

    Source: Politis and White (2004) with the correction of 2009, as arch has it: at most three roots of the periods
    and a third of them. Raises EvidenceError for missing values, fewer than 10, and values that are all alike.
    """
    from arch.bootstrap import optimal_block_length

    found = series(values, "values", LEAST)
    if not moving(found):
        raise EvidenceError(f"values are all {found[0]}: their dependence on each other is not defined")
    return max(1.0, float(optimal_block_length(found)["stationary"].iloc[0]))


def long_run_variance(centred: Floats, block: float) -> Floats:
    """Variance of the root of the periods times the mean, of each column of (periods, trials), whose means are 0.

    It is what the stationary bootstrap with blocks of that mean length converges to: autocovariances, weighted by how
    often a block covers their lag. Sources: Politis and Romano (1994); Hansen (2005), on the
    estimation of the variances.
    """
    periods, trials = centred.shape
    lags, stay = np.arange(1, periods), 1.0 - 1.0 / block
    weights = (1.0 - lags / periods) * stay**lags + lags / periods * stay ** (periods - lags)
    size = 1 << (2 * periods - 1).bit_length()
    step = max(1, AT_ONCE // size)
    variance = np.empty(trials)
    for first in range(0, trials, step):
        here = slice(first, first + step)
        power = np.abs(np.fft.rfft(centred[:, here], size, axis=0)) ** 2
        covariances = np.fft.irfft(power, size, axis=0)[:periods] / periods
        variance[here] = covariances[0] + 2.0 * weights @ covariances[1:]
    return variance


def _drawn(values: Floats, growth: Floats, block: float, seed: int, samples: int) -> Floats:
    from quant_assets.evidence.resampling import COLUMNS, resampled

    out = np.empty((samples, COLUMNS))
    resampled(values, growth, float(block), seed, out)
    return out


def _actual(values: Floats, growth: Floats, block: float) -> Floats:
    """The history as it was, in the form of one sample; how its sums vary is what the bootstrap converges to."""
    periods = values.size
    wealth = np.concatenate([[0.0], np.cumsum(growth)])
    deepest = (wealth - np.maximum.accumulate(wealth)).min()
    lost = np.minimum(values, 0.0)
    moved = values - values.mean()
    squares = moved**2 - (moved**2).mean()
    spread, spread_of_squares, of_both = periods * long_run_variance(
        np.column_stack([moved, squares, moved + squares]), block
    )
    joint = (of_both - spread - spread_of_squares) / 2.0
    sums = [values.sum(), moved @ moved, lost @ lost, wealth[-1], deepest, spread, joint, spread_of_squares]
    return np.array([sums])
