"""Overbought or oversold: indicators that swing within a band."""

from __future__ import annotations

import math

import polars as pl

from quant_assets.features.definition import Feature
from quant_assets.features.expressions import CLOSE, HIGH, LOW, NOTHING, VOLUME, moved, ratio, settle, talib, varies


def rsi(window: int) -> pl.Expr:
    """Relative strength index: the share of gains in the movement, by Wilder's averages, in percent.

    Null where the close has not moved for twice the window: gains and losses fade alike, and their ratio would
    remember moves from before any look-back.
    """
    # Ten digits, so that the last bit of a price that rests is no movement.
    return pl.when(varies(CLOSE, 2 * window, CLOSE)).then(talib("RSI", [CLOSE.round_sig_figs(10)], timeperiod=window))


def cci(window: int) -> pl.Expr:
    """Commodity channel index: the typical price against its mean, in units of 0.015 mean deviations.

    Null where no price moved within the window.
    """
    return pl.when(moved(window)).then(talib("CCI", [HIGH, LOW, CLOSE], timeperiod=window))


def rate_of_change(window: int) -> pl.Expr:
    """Change of the close over `window` sessions, in percent."""
    return talib("ROC", [CLOSE], timeperiod=window)


def fast_stochastic(window: int) -> pl.Expr:
    """Place of the close between the lowest low (0) and the highest high (100); null where they are the same."""
    top, bottom = HIGH.rolling_max(window), LOW.rolling_min(window)
    return ratio(100 * (CLOSE - bottom), top - bottom, CLOSE)


def stochastic_k(window: int, slowing: int) -> pl.Expr:
    """Slow %K: the mean of the last `slowing` fast stochastics."""
    return fast_stochastic(window).rolling_mean(slowing)


def stochastic_d(window: int, slowing: int, signal: int) -> pl.Expr:
    """Slow %D: the mean of the last `signal` slow %K."""
    return stochastic_k(window, slowing).rolling_mean(signal)


def williams_r(window: int) -> pl.Expr:
    """Williams %R: the fast stochastic, counted down from 0; null where no price moved within the window."""
    return pl.when(moved(window)).then(talib("WILLR", [HIGH, LOW, CLOSE], timeperiod=window))


def money_flow_index(window: int) -> pl.Expr:
    """Share of dollar volume on sessions whose typical price rose, in percent; null without any.

    TA-Lib's MFI, but that returns 0 where the window's flow is below 1.0, whatever the unit of volume, and lets the
    last bit of rounding decide whether a typical price rose when it did not move.
    """
    typical = (HIGH + LOW + CLOSE) / 3
    flow, change = typical * VOLUME, typical / typical.shift() - 1
    up = pl.when(change > NOTHING).then(flow).otherwise(0.0).rolling_sum(window)
    both = pl.when(change.abs() > NOTHING).then(flow).otherwise(0.0).rolling_sum(window)
    return 100 * ratio(up, both, flow.rolling_max(window))


def bollinger_b(window: int, width: float) -> pl.Expr:
    """%b: place of the close between the lower (0) and the upper band (1) of `width` standard deviations.

    Null where the close did not move within the window.
    """
    place = (CLOSE - CLOSE.rolling_mean(window)) / (2 * width * CLOSE.rolling_std(window, ddof=0)) + 0.5
    return pl.when(varies(CLOSE, window, CLOSE)).then(place)


def bollinger_width(window: int, width: float) -> pl.Expr:
    """Distance between the bands, as a fraction of the mean close."""
    return 2 * width * CLOSE.rolling_std(window, ddof=0) / CLOSE.rolling_mean(window)


OSCILLATORS = (
    *(
        Feature(
            f"rsi_{window}",
            "oscillators",
            f"Relative strength index of {window} sessions",
            rsi,
            {"window": window},
            lookback=window + settle(1 / window),
            bounds=(0.0, 100.0),
            source="Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib RSI",
        )
        for window in (2, 14)
    ),
    Feature(
        "cci_20",
        "oscillators",
        "Commodity channel index of 20 sessions",
        cci,
        {"window": 20},
        lookback=19,
        bounds=(-20 / 0.03, 20 / 0.03),
        source="Lambert (1980); TA-Lib CCI",
    ),
    Feature(
        "roc_42",
        "oscillators",
        "Change over 42 sessions in percent",
        rate_of_change,
        {"window": 42},
        lookback=42,
        bounds=(-100.0, math.inf),
        source="TA-Lib ROC",
    ),
    Feature(
        "stochastic_k_14_3",
        "oscillators",
        "Slow stochastic %K of 14 sessions",
        stochastic_k,
        {"window": 14, "slowing": 3},
        lookback=15,
        bounds=(0.0, 100.0),
        source="Lane (1984), Lane's Stochastics",
    ),
    Feature(
        "stochastic_d_14_3_3",
        "oscillators",
        "Slow stochastic %D of 14 sessions",
        stochastic_d,
        {"window": 14, "slowing": 3, "signal": 3},
        lookback=17,
        bounds=(0.0, 100.0),
        source="Lane (1984), Lane's Stochastics",
    ),
    Feature(
        "williams_r_14",
        "oscillators",
        "Williams %R of 14 sessions",
        williams_r,
        {"window": 14},
        lookback=13,
        bounds=(-100.0, 0.0),
        source="Williams (1973); TA-Lib WILLR",
    ),
    Feature(
        "mfi_14",
        "oscillators",
        "Money flow index of 14 sessions",
        money_flow_index,
        {"window": 14},
        lookback=14,
        bounds=(0.0, 100.0),
        source="Quong and Soudack (1989)",
    ),
    Feature(
        "bollinger_b_20",
        "oscillators",
        "Place of the close between Bollinger bands of 2 deviations",
        bollinger_b,
        {"window": 20, "width": 2.0},
        lookback=19,
        bounds=(0.5 - 19**0.5 / 4, 0.5 + 19**0.5 / 4),
        source="Bollinger (2001), Bollinger on Bollinger Bands; the bound by Samuelson (1968)",
    ),
    Feature(
        "bollinger_width_20",
        "oscillators",
        "Distance between Bollinger bands over their middle",
        bollinger_width,
        {"window": 20, "width": 2.0},
        lookback=19,
        bounds=(0.0, 4 * 19**0.5),
        source="Bollinger (2001), Bollinger on Bollinger Bands",
    ),
)
