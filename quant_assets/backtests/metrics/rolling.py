"""Measures over a moving window: one value a period, null until the window is whole or where a return is missing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from quant_assets.backtests.metrics.sample import NO_VARIANCE, ROUNDING, Floats, Returns, aligned, floats

ROWS = 4096
"""Windows worked on at a time, so that memory does not grow with the history."""


def rolling_volatility(returns: Returns, window: int = 252, periods_per_year: float = 252) -> pl.Series:
    """annual_volatility of the `window` periods up to and including each.

    Raises ValueError for a window under 2, as do all here.

    Example: `rolling_volatility([0.01, -0.01, 0.02], window=2)` is null, 0.224, 0.337
    """

    def volatility(values: Floats) -> Floats:
        return _deviation(values) * math.sqrt(periods_per_year)

    return _rolled("rolling_volatility", volatility, window, floats(returns))


def rolling_sharpe(
    returns: Returns, window: int = 252, risk_free: float = 0.0, periods_per_year: float = 252
) -> pl.Series:
    """sharpe_ratio of the `window` periods up to and including each; null where they are all alike."""

    def sharpe(values: Floats) -> Floats:
        return values.mean(axis=1) / _deviation(values) * math.sqrt(periods_per_year)

    return _rolled("rolling_sharpe", sharpe, window, floats(returns) - risk_free)


def rolling_beta(returns: Returns, benchmark: Returns, window: int = 252) -> pl.Series:
    """beta of the `window` periods up to and including each. Raises ValueError if the lengths differ."""

    def beta(own: Floats, other: Floats) -> Floats:
        centred = other - other.mean(axis=1, keepdims=True)
        variance = (centred * centred).mean(axis=1)
        return (centred * own).mean(axis=1) / np.where(variance >= NO_VARIANCE, variance, np.nan)

    return _rolled("rolling_beta", beta, window, *aligned(returns, benchmark))


def _deviation(values: Floats) -> Floats:
    return np.where(np.ptp(values, axis=1) > ROUNDING, values.std(axis=1, ddof=1), 0.0)


def _rolled(name: str, measure: Callable[..., Floats], window: int, *series: Floats) -> pl.Series:
    if window < 2:
        raise ValueError(f"window is {window}; a measure of scatter needs at least 2 periods")
    result = np.full(series[0].size, np.nan)
    windows = [sliding_window_view(each, window) for each in series] if result.size >= window else []
    with np.errstate(all="ignore"):
        for first in range(0, len(windows[0]) if windows else 0, ROWS):
            part = measure(*(each[first : first + ROWS] for each in windows))
            result[first + window - 1 :][: part.size] = part
    return pl.Series(name, np.where(np.isfinite(result), result, np.nan), nan_to_null=True)
