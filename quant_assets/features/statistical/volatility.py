"""How much the price moves, per session and not annualised."""

from __future__ import annotations

import math

import polars as pl

from quant_assets.features.definition import Feature
from quant_assets.features.expressions import CLOSE, HIGH, LOW, OPEN, log_return, varies


def close_to_close(window: int) -> pl.Expr:
    """Standard deviation of the last `window` log returns."""
    return log_return().rolling_std(window)


def volatility_ratio(fast: int, slow: int) -> pl.Expr:
    """Volatility of `fast` sessions over that of `slow`; null where the slow one is nothing."""
    return pl.when(varies(log_return(), slow)).then(close_to_close(fast) / close_to_close(slow))


def parkinson(window: int) -> pl.Expr:
    """Volatility from high and low."""
    return ((HIGH / LOW).log().pow(2).rolling_mean(window) / (4 * math.log(2))).clip(lower_bound=0.0).sqrt()


def garman_klass(window: int) -> pl.Expr:
    """Volatility from open, high, low and close of each bar, without the nights."""
    one = 0.5 * (HIGH / LOW).log().pow(2) - (2 * math.log(2) - 1) * (CLOSE / OPEN).log().pow(2)
    return one.rolling_mean(window).clip(lower_bound=0.0).sqrt()


def yang_zhang(window: int) -> pl.Expr:
    """Volatility from nights, opens and ranges: independent of drift, and of opening jumps."""
    night, day = (OPEN / CLOSE.shift()).log(), (CLOSE / OPEN).log()
    up, down = (HIGH / OPEN).log(), (LOW / OPEN).log()
    rogers_satchell = (up * (up - day) + down * (down - day)).rolling_mean(window).clip(lower_bound=0.0)
    weight = 0.34 / (1.34 + (window + 1) / (window - 1))
    variance = night.rolling_var(window) + weight * day.rolling_var(window) + (1 - weight) * rogers_satchell
    return variance.sqrt()


def skewness(window: int) -> pl.Expr:
    """Skewness of the last `window` log returns; null where they are all alike."""
    returns = log_return()
    return pl.when(varies(returns, window)).then(returns.rolling_skew(window))


def kurtosis(window: int) -> pl.Expr:
    """Excess kurtosis of the last `window` log returns; null where they are all alike."""
    returns = log_return()
    return pl.when(varies(returns, window)).then(returns.rolling_kurtosis(window))


def autocorrelation(window: int) -> pl.Expr:
    """Correlation of `window` log returns with those of the sessions before."""
    returns = log_return()
    both = varies(returns, window) & varies(returns.shift(), window)
    return pl.when(both).then(pl.rolling_corr(returns, returns.shift(), window_size=window))


_POSITIVE = (0.0, math.inf)

VOLATILITY = (
    *(
        Feature(
            f"volatility_{window}",
            "volatility",
            f"Standard deviation of {window} log returns",
            close_to_close,
            {"window": window},
            lookback=window,
            bounds=_POSITIVE,
        )
        for window in (21, 63)
    ),
    Feature(
        "volatility_ratio_21_63",
        "volatility",
        "Volatility of 21 sessions over that of 63",
        volatility_ratio,
        {"fast": 21, "slow": 63},
        lookback=63,
        bounds=(0.0, math.sqrt(62 / 20)),
    ),
    Feature(
        "parkinson_21",
        "volatility",
        "Range volatility of 21 sessions",
        parkinson,
        {"window": 21},
        lookback=20,
        bounds=_POSITIVE,
        source="Parkinson (1980), The Extreme Value Method for Estimating the Variance of the Rate of Return",
    ),
    Feature(
        "garman_klass_21",
        "volatility",
        "Bar volatility of 21 sessions",
        garman_klass,
        {"window": 21},
        lookback=20,
        bounds=_POSITIVE,
        source="Garman and Klass (1980), On the Estimation of Security Price Volatilities from Historical Data",
    ),
    Feature(
        "yang_zhang_21",
        "volatility",
        "Night and bar volatility of 21 sessions",
        yang_zhang,
        {"window": 21},
        lookback=21,
        bounds=_POSITIVE,
        source="Yang and Zhang (2000), Drift-Independent Volatility Estimation; Rogers and Satchell (1991)",
    ),
    Feature(
        "skewness_63",
        "volatility",
        "Skewness of 63 log returns",
        skewness,
        {"window": 63},
        lookback=63,
        bounds=(-math.sqrt(63), math.sqrt(63)),
    ),
    Feature(
        "kurtosis_63",
        "volatility",
        "Excess kurtosis of 63 log returns",
        kurtosis,
        {"window": 63},
        lookback=63,
        bounds=(-2.0, 63.0),
    ),
    Feature(
        "autocorrelation_63",
        "volatility",
        "Correlation of 63 log returns with the ones before",
        autocorrelation,
        {"window": 63},
        lookback=64,
        bounds=(-1.0, 1.0),
    ),
)
