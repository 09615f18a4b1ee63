"""Reward for risk, and how sure it is. `risk_free` and `required_return` are a period's, not a year's."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.backtests.metrics.returns import gain_loss_ratio
from quant_assets.backtests.metrics.sample import Sample, metric, over
from quant_assets.backtests.metrics.tails import NORMAL, downside_risk, tail_ratio

CONFIDENCE = 0.95


@metric
def sharpe_ratio(returns: Sample, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Mean excess return over its standard deviation (ddof 1), annualised by the square root of time.

    Source: Sharpe (1994), "The Sharpe Ratio".

    Example: `sharpe_ratio([0.01, -0.005, 0.002], periods_per_year=12)` is about 1.08
    """
    return _ratio(returns.over(risk_free)) * math.sqrt(periods_per_year)


def _ratio(excess: Sample) -> float:
    """Sharpe ratio a period."""
    return over(excess.mean, excess.deviation)


def _sharpe_variance(excess: Sample) -> float:
    """(n - 1) x variance of the estimated Sharpe ratio a period, for returns that are not normal.

    Source: Mertens (2002), "Comments on variance of the IID estimator in Lo (2002)"; Bailey and Lopez de Prado (2012).
    """
    ratio = _ratio(excess)
    return 1.0 - excess.skewness * ratio + (excess.kurtosis - 1.0) / 4.0 * ratio**2


def _sharpe_bound(excess: Sample, side: int, periods_per_year: float) -> float:
    variance = _sharpe_variance(excess)
    if not variance >= 0:
        return math.nan
    reach = NORMAL.inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(variance / (excess.size - 1))
    return (_ratio(excess) + side * reach) * math.sqrt(periods_per_year)


@metric
def sharpe_low(returns: Sample, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Lower end of the 95% interval of the annual Sharpe ratio, allowing for skew and fat tails (Mertens 2002)."""
    return _sharpe_bound(returns.over(risk_free), -1, periods_per_year)


@metric
def sharpe_high(returns: Sample, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Upper end of that interval."""
    return _sharpe_bound(returns.over(risk_free), 1, periods_per_year)


@metric
def probabilistic_sharpe_ratio(returns: Sample, risk_free: float = 0.0) -> float:
    """Probability that the true Sharpe ratio is above zero, given length, skew and kurtosis of the sample.

    Source: Bailey and Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", equation 9.
    """
    excess = returns.over(risk_free)
    variance = _sharpe_variance(excess)
    if not variance > 0:
        return math.nan
    return NORMAL.cdf(_ratio(excess) * math.sqrt(excess.size - 1) / math.sqrt(variance))


@metric
def min_track_record_length(returns: Sample, risk_free: float = 0.0) -> float:
    """Periods needed to hold, with 95% confidence, that the true Sharpe ratio is above zero; none if it is not.

    Source: Bailey and Lopez de Prado (2012), equation 11.
    """
    excess = returns.over(risk_free)
    ratio = _ratio(excess)
    return 1.0 + _sharpe_variance(excess) * (NORMAL.inv_cdf(CONFIDENCE) / ratio) ** 2 if ratio > 0 else math.nan


@metric
def adjusted_sharpe_ratio(returns: Sample, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Sharpe ratio with a penalty for negative skew and fat tails, taken a period and then annualised.

    Source: Pezier and White (2006), "The Relative Merits of Investable Hedge Fund Indices".
    """
    excess = returns.over(risk_free)
    ratio = _ratio(excess)
    shape = 1.0 + excess.skewness / 6.0 * ratio - (excess.kurtosis - 3.0) / 24.0 * ratio**2
    return ratio * shape * math.sqrt(periods_per_year)


@metric
def sortino_ratio(returns: Sample, required_return: float = 0.0, periods_per_year: float = 252) -> float:
    """Annual mean beyond the required return (a period) over the downside risk. Source: Sortino and Price (1994)."""
    if returns.periods < 2:
        return math.nan
    risk = downside_risk(returns, required_return, periods_per_year)
    return over(returns.over(required_return).mean * periods_per_year, risk)


@metric
def omega_ratio(
    returns: Sample, risk_free: float = 0.0, required_return: float = 0.0, periods_per_year: float = 252
) -> float:
    """Sum of gains over sum of losses, both measured from a threshold; none without losses.

    The threshold is the risk-free rate a period plus a required return, which alone is a year's (compounded).

    Source: Keating and Shadwick (2002), "A Universal Performance Measure".
    """
    if returns.periods < 2 or required_return <= -1:
        return math.nan
    threshold = float(np.power(1.0 + required_return, 1.0 / periods_per_year)) - 1.0
    ratio = gain_loss_ratio(returns.over(risk_free).over(threshold))
    return ratio if math.isfinite(ratio) else math.nan


@metric
def kappa_three_ratio(returns: Sample, required_return: float = 0.0) -> float:
    """Mean beyond the required return over the cube root of the third lower partial moment, a period.

    Source: Kaplan and Knowles (2004), "Kappa: A Generalized Downside Risk-Adjusted Performance Measure".
    """
    excess = returns.over(required_return)
    short = np.maximum(-excess.values, 0.0)
    return over(excess.mean, float((short**3).mean()) ** (1 / 3)) if returns.size >= 2 else math.nan


@metric
def upside_potential_ratio(returns: Sample, required_return: float = 0.0) -> float:
    """Mean gain beyond the required return over all periods, over the downside risk, a period.

    Source: Sortino, van der Meer and Plantinga (1999), "The Dutch Triangle".
    """
    beyond = np.maximum(returns.values - required_return, 0.0)
    return over(float(beyond.mean()), downside_risk(returns, required_return, 1.0)) if returns.size >= 2 else math.nan


@metric
def gain_to_pain_ratio(returns: Sample) -> float:
    """Sum of all returns over the size of the sum of losses. Source: Schwager (2012), "Hedge Fund Market Wizards"."""
    losses = -float(np.minimum(returns.values, 0.0).sum())
    return over(float(returns.values.sum()), losses) if returns.size >= 2 else math.nan


@metric
def common_sense_ratio(returns: Sample) -> float:
    """Gain-loss ratio times tail ratio: above 1, both the whole and its tails pay."""
    return gain_loss_ratio(returns) * tail_ratio(returns)


@metric
def kelly_leverage(returns: Sample, risk_free: float = 0.0) -> float:
    """Mean excess return over its variance: the leverage that would have grown fastest, for normal returns.

    Source: Thorp (2006), "The Kelly Criterion in Blackjack, Sports Betting and the Stock Market", section 7.
    """
    excess = returns.over(risk_free)
    return over(excess.mean, excess.deviation**2)
