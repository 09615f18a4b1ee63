"""Scatter and tails of returns: deviations, value at risk, skew. Losses are negative returns.

`cutoff` is the share of periods in the tail: 0.05 for what is called 95% value at risk.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from quant_assets.backtests.metrics.sample import Sample, metric, over, tail_of

TAIL = 0.05
NORMAL = NormalDist()


@metric
def annual_volatility(returns: Sample, periods_per_year: float = 252) -> float:
    """Sample standard deviation of returns (ddof 1), annualised by the square root of time."""
    return returns.deviation * math.sqrt(periods_per_year)


@metric
def downside_risk(returns: Sample, required_return: float = 0.0, periods_per_year: float = 252) -> float:
    """Root mean square of what falls short of the required return (a period), over all periods, annualised.

    Source: Sortino and Price (1994), "Performance Measurement in a Downside Risk Framework".
    """
    short = np.minimum(returns.values - required_return, 0.0)
    return math.sqrt(float((short * short).mean()) * periods_per_year) if returns.size else math.nan


@metric
def upside_risk(returns: Sample, required_return: float = 0.0, periods_per_year: float = 252) -> float:
    """Root mean square of what exceeds the required return (a period), over all periods, annualised."""
    beyond = np.maximum(returns.values - required_return, 0.0)
    return math.sqrt(float((beyond * beyond).mean()) * periods_per_year) if returns.size else math.nan


@metric
def mean_absolute_deviation(returns: Sample) -> float:
    """Mean distance of a period's return from the mean return."""
    return float(np.abs(returns.values - returns.mean).mean()) if returns.size else math.nan


@metric
def skewness(returns: Sample) -> float:
    """Third standardised moment of the population (biased); none of fewer than 3 returns."""
    return returns.skewness


@metric
def kurtosis(returns: Sample) -> float:
    """Fourth standardised moment of the population (biased), less the normal 3; none of fewer than 4 returns."""
    return returns.kurtosis - 3.0


@metric
def tail_ratio(returns: Sample) -> float:
    """Size of the 95th percentile over that of the 5th."""
    if not returns.size:
        return math.nan
    low, high = np.percentile(returns.values, [100 * TAIL, 100 * (1 - TAIL)])
    return over(abs(float(high)), abs(float(low)))


@metric
def rachev_ratio(returns: Sample, cutoff: float = TAIL) -> float:
    """Mean of the best share of periods over the size of the mean of the worst.

    Source: Biglova, Ortobelli, Rachev and Stoyanov (2004), "Different Approaches to Risk Estimation".
    """
    best = -conditional_value_at_risk(Sample(-returns.values, returns.periods), cutoff)
    return over(best, -conditional_value_at_risk(returns, cutoff))


@metric
def value_at_risk(returns: Sample, cutoff: float = TAIL) -> float:
    """Historical value at risk: the return that a share `cutoff` of the periods fall below (linear interpolation)."""
    return float(np.percentile(returns.values, 100 * tail_of(cutoff))) if returns.size else math.nan


@metric
def value_at_risk_gaussian(returns: Sample, cutoff: float = TAIL) -> float:
    """Value at risk of a normal distribution with the mean and standard deviation (ddof 1) of the returns."""
    return returns.mean + returns.deviation * NORMAL.inv_cdf(tail_of(cutoff))


@metric
def value_at_risk_cornish_fisher(returns: Sample, cutoff: float = TAIL) -> float:
    """Value at risk from the normal quantile corrected for skew and kurtosis of the returns ("modified").

    Source: Zangari (1996), "A VaR Methodology for Portfolios that Include Options"; Favre and Galeano (2002).
    """
    z, skew, excess = NORMAL.inv_cdf(tail_of(cutoff)), returns.skewness, returns.kurtosis - 3.0
    quantile = z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * excess / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
    return returns.mean + returns.deviation * quantile


@metric
def conditional_value_at_risk(returns: Sample, cutoff: float = TAIL) -> float:
    """Historical expected shortfall: mean of the worst share `cutoff` of the periods, at least one of them.

    Source: Rockafellar and Uryasev (2000), "Optimization of Conditional Value-at-Risk".
    """
    if not returns.size:
        return math.nan
    last = int((returns.size - 1) * tail_of(cutoff))
    return float(np.partition(returns.values, last)[: last + 1].mean())


@metric
def conditional_value_at_risk_gaussian(returns: Sample, cutoff: float = TAIL) -> float:
    """Mean of a normal distribution below its value at risk."""
    return returns.mean - returns.deviation * NORMAL.pdf(NORMAL.inv_cdf(tail_of(cutoff))) / cutoff


@metric
def conditional_value_at_risk_cornish_fisher(returns: Sample, cutoff: float = TAIL) -> float:
    """Mean of the Cornish-Fisher quantile below the cutoff.

    Source: Maillard (2012), "A User's Guide to the Cornish Fisher Expansion", section on the expected shortfall.
    """
    z, skew, excess = NORMAL.inv_cdf(tail_of(cutoff)), returns.skewness, returns.kurtosis - 3.0
    shape = 1 + z * skew / 6 + (z**2 - 1) * excess / 24 + (1 - 2 * z**2) * skew**2 / 36
    return returns.mean - returns.deviation * NORMAL.pdf(z) / cutoff * shape
