"""Performance of a series of periodic returns: every measure a function of its own, and `summary` of them all.

    from quant_assets.backtests import metrics
    metrics.sharpe_ratio([0.01, -0.005, 0.002])
    metrics.summary(returns, benchmark)

Returns are simple returns, one a period: an array, a list, a polars Series or a frame with a column return. Null, NaN
and infinite ones are missing: left out of every measure, but the time that they stand for counts where a measure is a
year's. A function is NaN or infinite where it is not defined; `summary` has None there. Conventions: docs/metrics.md.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache

import numpy as np

from quant_assets.backtests.metrics.drawdowns import (
    average_drawdown,
    average_drawdown_depth,
    average_drawdown_periods,
    burke_ratio,
    calmar_ratio,
    conditional_drawdown_at_risk,
    current_drawdown,
    drawdown_count,
    drawdown_series,
    drawdown_table,
    martin_ratio,
    max_drawdown,
    max_drawdown_periods,
    pain_ratio,
    recovery_factor,
    sterling_ratio,
    time_under_water,
    ulcer_index,
)
from quant_assets.backtests.metrics.ratios import (
    adjusted_sharpe_ratio,
    common_sense_ratio,
    gain_to_pain_ratio,
    kappa_three_ratio,
    kelly_leverage,
    min_track_record_length,
    omega_ratio,
    probabilistic_sharpe_ratio,
    sharpe_high,
    sharpe_low,
    sharpe_ratio,
    sortino_ratio,
    upside_potential_ratio,
)
from quant_assets.backtests.metrics.relative import (
    active_return,
    alpha,
    alpha_beta,
    appraisal_ratio,
    batting_average,
    benchmark_cagr,
    benchmark_max_drawdown,
    benchmark_sharpe,
    benchmark_total_return,
    benchmark_volatility,
    beta,
    beta_fragility_heuristic,
    capture,
    correlation,
    down_beta,
    down_capture,
    excess_sharpe,
    information_ratio,
    jensen_alpha,
    modigliani_ratio,
    r_squared,
    residual_volatility,
    tracking_error,
    treynor_ratio,
    up_beta,
    up_capture,
    up_down_capture,
)
from quant_assets.backtests.metrics.returns import (
    annual_return,
    autocorrelation,
    average_gain,
    average_loss,
    best,
    cagr,
    cum_returns,
    cum_returns_final,
    expected_annual_return,
    gain_loss_ratio,
    geometric_mean_return,
    hit_rate,
    longest_losing_streak,
    longest_winning_streak,
    mean_return,
    payoff_ratio,
    stability_of_timeseries,
    worst,
)
from quant_assets.backtests.metrics.rolling import (
    rolling_beta,
    rolling_sharpe,
    rolling_volatility,
)
from quant_assets.backtests.metrics.sample import (
    METRICS,
    RELATIVE,
    Pair,
    Returns,
    Sample,
)
from quant_assets.backtests.metrics.tables import (
    aggregate_returns,
    monthly_table,
    yearly_table,
)
from quant_assets.backtests.metrics.tails import (
    annual_volatility,
    conditional_value_at_risk,
    conditional_value_at_risk_cornish_fisher,
    conditional_value_at_risk_gaussian,
    downside_risk,
    kurtosis,
    mean_absolute_deviation,
    rachev_ratio,
    skewness,
    tail_ratio,
    upside_risk,
    value_at_risk,
    value_at_risk_cornish_fisher,
    value_at_risk_gaussian,
)

SHORT = {
    "total_return": "cum_returns_final",
    "volatility": "annual_volatility",
    "downside_deviation": "downside_risk",
    "sharpe": "sharpe_ratio",
    "probabilistic_sharpe": "probabilistic_sharpe_ratio",
    "sortino": "sortino_ratio",
    "calmar": "calmar_ratio",
    "omega": "omega_ratio",
    "ulcer_performance": "martin_ratio",
    "var_95": "value_at_risk",
    "cvar_95": "conditional_value_at_risk",
    "skew": "skewness",
    "payoff": "payoff_ratio",
    "treynor": "treynor_ratio",
}
"""Short names under which `summary` has a measure too: those of reports and of earlier results."""


def summary(
    returns: Returns, benchmark: Returns | None = None, periods_per_year: float = 252, risk_free: float = 0.0
) -> dict[str, float | None]:
    """Every measure of METRICS by name and, with a benchmark, every one of RELATIVE; also under the names in SHORT.

    `returns` and `benchmark` are fractions, one a period: arrays or Series of the same length, or frames with columns
    session and return, which are joined on the session. `risk_free` is a rate a period, and the required return of the
    measures of downside. `observations` counts the returns, `missing` what was missing. The relative measures use the
    periods that both have. A measure that is not defined is None, never NaN or infinite.

    Raises ValueError if the two have different lengths and no sessions to join on.

    Example: `summary([0.01, -0.005, 0.002])["max_drawdown"]` is -0.005
    """
    options = {"periods_per_year": periods_per_year, "risk_free": risk_free}
    sample = Sample.of(returns)
    figures: dict[str, float | None] = {
        "observations": float(sample.size),
        "missing": float(sample.periods - sample.size),
    }
    figures |= _evaluated(METRICS, sample, options)
    if benchmark is not None:
        figures |= _evaluated(RELATIVE, Pair.of(returns, benchmark), options)
    return figures | {short: figures[name] for short, name in SHORT.items() if name in figures}


def _evaluated(
    measures: dict[str, Callable[..., float]], sample: Sample | Pair, options: dict[str, float]
) -> dict[str, float | None]:
    with np.errstate(all="ignore"):
        values = {
            name: float(measure(sample, **{parameter: options[of] for parameter, of in _options(measure).items()}))
            for name, measure in measures.items()
        }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


@cache
def _options(measure: Callable[..., float]) -> dict[str, str]:
    """Which of summary's options a measure takes, by the name of its own parameter."""
    taken = {name: name for name in inspect.signature(measure).parameters if name in ("periods_per_year", "risk_free")}
    if "required_return" in inspect.signature(measure).parameters and "risk_free" not in taken:
        taken["required_return"] = "risk_free"
    return taken


__all__ = [
    "METRICS",
    "RELATIVE",
    "SHORT",
    "Returns",
    "active_return",
    "adjusted_sharpe_ratio",
    "aggregate_returns",
    "alpha",
    "alpha_beta",
    "annual_return",
    "annual_volatility",
    "appraisal_ratio",
    "autocorrelation",
    "average_drawdown",
    "average_drawdown_depth",
    "average_drawdown_periods",
    "average_gain",
    "average_loss",
    "batting_average",
    "benchmark_cagr",
    "benchmark_max_drawdown",
    "benchmark_sharpe",
    "benchmark_total_return",
    "benchmark_volatility",
    "best",
    "beta",
    "beta_fragility_heuristic",
    "burke_ratio",
    "cagr",
    "calmar_ratio",
    "capture",
    "common_sense_ratio",
    "conditional_drawdown_at_risk",
    "conditional_value_at_risk",
    "conditional_value_at_risk_cornish_fisher",
    "conditional_value_at_risk_gaussian",
    "correlation",
    "cum_returns",
    "cum_returns_final",
    "current_drawdown",
    "down_beta",
    "down_capture",
    "downside_risk",
    "drawdown_count",
    "drawdown_series",
    "drawdown_table",
    "excess_sharpe",
    "expected_annual_return",
    "gain_loss_ratio",
    "gain_to_pain_ratio",
    "geometric_mean_return",
    "hit_rate",
    "information_ratio",
    "jensen_alpha",
    "kappa_three_ratio",
    "kelly_leverage",
    "kurtosis",
    "longest_losing_streak",
    "longest_winning_streak",
    "martin_ratio",
    "max_drawdown",
    "max_drawdown_periods",
    "mean_absolute_deviation",
    "mean_return",
    "min_track_record_length",
    "modigliani_ratio",
    "monthly_table",
    "omega_ratio",
    "pain_ratio",
    "payoff_ratio",
    "probabilistic_sharpe_ratio",
    "r_squared",
    "rachev_ratio",
    "recovery_factor",
    "residual_volatility",
    "rolling_beta",
    "rolling_sharpe",
    "rolling_volatility",
    "sharpe_high",
    "sharpe_low",
    "sharpe_ratio",
    "skewness",
    "sortino_ratio",
    "stability_of_timeseries",
    "sterling_ratio",
    "summary",
    "tail_ratio",
    "time_under_water",
    "tracking_error",
    "treynor_ratio",
    "ulcer_index",
    "up_beta",
    "up_capture",
    "up_down_capture",
    "upside_potential_ratio",
    "upside_risk",
    "value_at_risk",
    "value_at_risk_cornish_fisher",
    "value_at_risk_gaussian",
    "worst",
    "yearly_table",
]
