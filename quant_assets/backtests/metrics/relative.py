"""A strategy against a benchmark, over the periods that both have. `risk_free` is a period's."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.backtests.metrics.drawdowns import max_drawdown
from quant_assets.backtests.metrics.ratios import sharpe_ratio
from quant_assets.backtests.metrics.returns import annual_return, correlation_of, cum_returns_final
from quant_assets.backtests.metrics.sample import Pair, Returns, average, over, relative
from quant_assets.backtests.metrics.tails import annual_volatility


@relative
def beta(pair: Pair) -> float:
    """Covariance with the benchmark over the benchmark's variance. Source: Sharpe (1964), "Capital Asset Prices".

    Example: `beta([0.02, -0.02, 0.04], [0.01, -0.01, 0.02])` is 2
    """
    return pair.beta


@relative
def alpha(pair: Pair, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Mean return a period beyond what beta explains, compounded over a year.

    Source: Jensen (1968), "The Performance of Mutual Funds in the Period 1945-1964".
    """
    return float(np.power(1.0 + _alpha(pair, risk_free), periods_per_year)) - 1.0


def _alpha(pair: Pair, risk_free: float) -> float:
    return pair.own.mean - risk_free - pair.beta * (pair.other.mean - risk_free)


@relative
def jensen_alpha(pair: Pair, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Mean return a period beyond what beta explains, times the periods of a year (not compounded)."""
    return _alpha(pair, risk_free) * periods_per_year


def alpha_beta(
    returns: Returns, benchmark: Returns, risk_free: float = 0.0, periods_per_year: float = 252
) -> tuple[float, float]:
    """Alpha and beta together."""
    return alpha(returns, benchmark, risk_free, periods_per_year), beta(returns, benchmark)


@relative
def up_beta(pair: Pair) -> float:
    """Beta over the periods in which the benchmark rose."""
    return pair.rising.beta


@relative
def down_beta(pair: Pair) -> float:
    """Beta over the periods in which the benchmark fell."""
    return pair.falling.beta


@relative
def correlation(pair: Pair) -> float:
    """Pearson's correlation with the benchmark."""
    return correlation_of(pair.own.values, pair.other.values)


@relative
def r_squared(pair: Pair) -> float:
    """Share of the variance that the benchmark explains."""
    return correlation_of(pair.own.values, pair.other.values) ** 2


@relative
def tracking_error(pair: Pair, periods_per_year: float = 252) -> float:
    """Annual volatility of the difference to the benchmark."""
    return annual_volatility(pair.active, periods_per_year)


@relative
def excess_sharpe(pair: Pair) -> float:
    """Mean difference to the benchmark over its standard deviation (ddof 1), a period."""
    return over(pair.active.mean, pair.active.deviation)


@relative
def information_ratio(pair: Pair, periods_per_year: float = 252) -> float:
    """The same, annualised by the square root of time. Source: Goodwin (1998), "The Information Ratio"."""
    return over(pair.active.mean, pair.active.deviation) * math.sqrt(periods_per_year)


@relative
def active_return(pair: Pair, periods_per_year: float = 252) -> float:
    """Annual return less the benchmark's."""
    return annual_return(pair.own, periods_per_year) - annual_return(pair.other, periods_per_year)


@relative
def residual_volatility(pair: Pair, periods_per_year: float = 252) -> float:
    """Annual volatility (ddof 1) of what beta times the benchmark leaves."""
    return annual_volatility(pair.residual, periods_per_year)


@relative
def appraisal_ratio(pair: Pair, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Jensen's alpha over the residual volatility, annual. Source: Treynor and Black (1973)."""
    return over(_alpha(pair, risk_free) * periods_per_year, annual_volatility(pair.residual, periods_per_year))


@relative
def treynor_ratio(pair: Pair, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Annual mean excess return over beta. Source: Treynor (1965), "How to Rate Management of Investment Funds"."""
    return over((pair.own.mean - risk_free) * periods_per_year, pair.beta)


@relative
def modigliani_ratio(pair: Pair, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """Annual mean return that the strategy would have had at the benchmark's volatility (M2).

    Source: Modigliani and Modigliani (1997), "Risk-Adjusted Performance".
    """
    scaled = sharpe_ratio(pair.own, risk_free, periods_per_year) * annual_volatility(pair.other, periods_per_year)
    return scaled + risk_free * periods_per_year


@relative
def capture(pair: Pair, periods_per_year: float = 252) -> float:
    """Annual return over the benchmark's."""
    return _capture(pair, periods_per_year)


def _capture(pair: Pair, periods_per_year: float) -> float:
    return over(annual_return(pair.own, periods_per_year), annual_return(pair.other, periods_per_year))


@relative
def up_capture(pair: Pair, periods_per_year: float = 252) -> float:
    """Annual return over the benchmark's, both over the periods in which the benchmark rose."""
    return _capture(pair.rising, periods_per_year)


@relative
def down_capture(pair: Pair, periods_per_year: float = 252) -> float:
    """Annual return over the benchmark's, both over the periods in which the benchmark fell."""
    return _capture(pair.falling, periods_per_year)


@relative
def up_down_capture(pair: Pair, periods_per_year: float = 252) -> float:
    """Up capture over down capture."""
    return over(_capture(pair.rising, periods_per_year), _capture(pair.falling, periods_per_year))


@relative
def batting_average(pair: Pair) -> float:
    """Share of the periods in which the strategy did better than the benchmark."""
    return average((pair.active.values > 0).astype(float))


@relative
def beta_fragility_heuristic(pair: Pair) -> float:
    """How the return at the benchmark's median compares with a line between its extremes; negative is fragile.

    Source: Taleb and others (2012), "A New Heuristic Measure of Fragility and Tail Risks", IMF WP/12/216.
    """
    if pair.own.size < 3:
        return math.nan
    order = np.argsort(pair.other.values, kind="stable")
    chosen = order[[0, order.size // 2, -1]]
    (low, middle, high), own = pair.other.values[chosen], pair.own.values[chosen]
    share = (middle - low) / (high - low) if high > low else 0.5
    return float((1.0 - share) * own[0] + share * own[2] - own[1])


@relative
def benchmark_total_return(pair: Pair) -> float:
    """The benchmark's compound return over all periods."""
    return cum_returns_final(pair.other)


@relative
def benchmark_cagr(pair: Pair, periods_per_year: float = 252) -> float:
    """The benchmark's annual return."""
    return annual_return(pair.other, periods_per_year)


@relative
def benchmark_volatility(pair: Pair, periods_per_year: float = 252) -> float:
    """The benchmark's annual volatility."""
    return annual_volatility(pair.other, periods_per_year)


@relative
def benchmark_sharpe(pair: Pair, risk_free: float = 0.0, periods_per_year: float = 252) -> float:
    """The benchmark's Sharpe ratio."""
    return sharpe_ratio(pair.other, risk_free, periods_per_year)


@relative
def benchmark_max_drawdown(pair: Pair) -> float:
    """The benchmark's deepest fall below its peak."""
    return max_drawdown(pair.other)
