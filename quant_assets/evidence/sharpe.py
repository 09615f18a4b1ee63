"""How likely it is that a Sharpe ratio is luck: of one strategy, and of the best of many that were tried.

A Sharpe ratio here is that of one period, not annualised: mean over standard deviation (ddof 1) of the periods'
returns. A ratio of a year is divided by the root of the periods in a year to get there, a variance of such ratios by
their number. Skewness and kurtosis are those of the population, and a normal distribution has a kurtosis of 3.

Sources: Bailey and Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2); the same
(2014), "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5). The standard error is Mertens' (2002); of
returns that depend on each other, by the series of cosines of Lazarus, Lewis, Stock and Watson (2018), "HAR Inference:
Recommendations for Practice", Journal of Business & Economic Statistics 36(4), applied to the ratio as Lo (2002), "The
Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from quant_assets.evidence.inputs import EvidenceError, Values, moving, number, series, share, whole

NORMAL = NormalDist()
EULER_MASCHERONI = 0.5772156649015329

SWINGS = 8
"""Cosines that show slow swings: the longest lasts twice the history, the shortest a quarter of it."""


@dataclass(frozen=True, slots=True)
class Moments:
    """What the tests of a Sharpe ratio need to know of the returns."""

    periods: int
    sharpe: float
    """Of one period, not annualised."""

    skew: float
    kurtosis: float
    """Fourth standardised moment: 3 for a normal distribution."""

    dependence: float = 1.0
    """How many times the variance of the estimated ratio is that of returns which are independent of each other."""


def moments(returns: Values, dependent: bool = False) -> Moments:
    """Length, Sharpe ratio, skewness and kurtosis of the returns of consecutive periods.

    With `dependent` also the `dependence` of the returns on each other, which widens every standard error made of these
    moments; else they are taken to be independent.

    Raises EvidenceError for fewer than 4 returns, for one that is missing, and where all are alike: a strategy that
    never traded has no Sharpe ratio.
    """
    values = series(returns, least=4)
    if not moving(values):
        raise EvidenceError(f"returns are all {values[0]}: without variation there is no Sharpe ratio")
    centred = values - values.mean()
    square = centred * centred
    variance = float(square.mean())
    return Moments(
        periods=values.size,
        sharpe=float(values.mean() / values.std(ddof=1)),
        skew=float((square * centred).mean()) / variance**1.5,
        kurtosis=float((square * square).mean()) / variance**2,
        dependence=dependence(values) if dependent else 1.0,
    )


def dependence(returns: Values) -> float:
    """How many times the variance of the Sharpe ratio is that of independent returns, 1 or more.

    A drift that comes and goes over months, or a trend, leaves fewer independent periods than there are days. It shows
    in slow swings of what each return adds to the ratio: the variance along the longest cosines that fit the history,
    against that of the days. Swings that are weaker than independent returns have by chance do not narrow the error.

    Raises EvidenceError for fewer than 4 returns, for one that is missing, and where all are alike.
    """
    values = series(returns, least=4)
    if not moving(values):
        raise EvidenceError(f"returns are all {values[0]}: without variation there is no Sharpe ratio")
    scaled = (values - values.mean()) / values.std()
    adds = scaled - values.mean() / values.std() / 2.0 * (scaled**2 - 1.0)
    swings = np.arange(1, min(SWINGS, values.size - 1) + 1)
    waves = np.cos(np.pi * np.outer(np.arange(values.size) + 0.5, swings) / values.size) * math.sqrt(2.0 / values.size)
    return max(1.0, float(((adds @ waves) ** 2).mean() / (adds**2).mean())) if adds.any() else 1.0


def standard_error(moments: Moments, at: float | None = None) -> float:
    """Standard error of the estimated Sharpe ratio, of one period.

    It is the one of the ratio as estimated or, with `at`, the one that it would have if `at` were the true ratio.
    Negative skew and fat tails make it larger, and so does `dependence`; by itself that is 1, of independent returns.

    Raises EvidenceError for fewer than 2 periods, and for a skew and kurtosis that no distribution has.
    """
    whole(moments.periods, "periods", 2)
    ratio = moments.sharpe if at is None else at
    spread = 1.0 - moments.skew * ratio + (moments.kurtosis - 1.0) / 4.0 * ratio**2
    if not spread > 0:
        raise EvidenceError(
            f"no standard error at a Sharpe ratio of {ratio}: skew {moments.skew} and kurtosis {moments.kurtosis} "
            "belong to no distribution, whose kurtosis exceeds the square of the skew by 1 or more"
        )
    return math.sqrt(spread * moments.dependence / (moments.periods - 1))


def probabilistic_sharpe(moments: Moments, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio is above `benchmark` (of one period), between 0 and 1.

    Raises EvidenceError for a benchmark that is no finite number. Source: Bailey and Lopez de Prado (2012).

    Example: `probabilistic_sharpe(Moments(24, 0.458, -2.448, 10.164))` is 0.913.
    """
    return NORMAL.cdf((moments.sharpe - number(benchmark, "benchmark")) / standard_error(moments))


def expected_maximum(trials: int, variance: float) -> float:
    """The Sharpe ratio to expect of the best of `trials` independent strategies that are all worth nothing.

    `variance` is that of the trials' Sharpe ratios, of one period. One trial alone is no choice: 0. Source: the False
    Strategy theorem, Bailey and Lopez de Prado (2014).

    Raises EvidenceError for fewer than one trial and for a negative variance.
    """
    whole(trials, "trials", 1)
    if not (variance >= 0 and math.isfinite(variance)):
        raise EvidenceError(f"variance of the trials' Sharpe ratios is {variance}; it must be 0 or more")
    if trials == 1:
        return 0.0
    one, other = (NORMAL.inv_cdf(1.0 - 1.0 / many) for many in (trials, trials * math.e))
    return math.sqrt(variance) * ((1.0 - EULER_MASCHERONI) * one + EULER_MASCHERONI * other)


def deflated_sharpe(moments: Moments, trials: int, variance: float) -> float:
    """Probability that the true Sharpe ratio is above what the best of `trials` worthless strategies would show.

    Trials that resemble each other count as fewer than they are; with all of them counted the figure errs on the safe
    side. Source: Bailey and Lopez de Prado (2014).

    Example: `deflated_sharpe(Moments(1250, 2.5 / 250**0.5, -3.0, 10.0), trials=100, variance=0.5 / 250)` is 0.900.
    """
    return probabilistic_sharpe(moments, expected_maximum(trials, variance))


def minimum_track_record(moments: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Periods that it takes to say with `confidence` that the true Sharpe ratio is above `benchmark`.

    Infinite where the estimate itself is not above it. Source: Bailey and Lopez de Prado (2012).

    Raises EvidenceError unless `confidence` lies between 0 and 1 and `benchmark` is a finite number.
    """
    quantile = NORMAL.inv_cdf(share(confidence, "confidence"))
    above = moments.sharpe - number(benchmark, "benchmark")
    if above <= 0:
        return math.inf
    return 1.0 + (moments.periods - 1) * (standard_error(moments) * quantile / above) ** 2
