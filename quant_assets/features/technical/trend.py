"""Returns, and where the price stands against its own past."""

from __future__ import annotations

import math

import polars as pl

from quant_assets.features.definition import Feature
from quant_assets.features.expressions import CLOSE, HIGH, LOW, NOTHING, OPEN, moved, ratio, settle, talib, wilder


def simple_return(window: int) -> pl.Expr:
    """Return of the adjusted close over `window` sessions."""
    return CLOSE / CLOSE.shift(window) - 1


def skipped_return(window: int, skip: int) -> pl.Expr:
    """Return from `window` sessions ago to `skip` sessions ago."""
    return CLOSE.shift(skip) / CLOSE.shift(window) - 1


def gap() -> pl.Expr:
    """Return from the close before to this open."""
    return OPEN / CLOSE.shift() - 1


def intraday_return() -> pl.Expr:
    """Return from this open to this close."""
    return CLOSE / OPEN - 1


def sma_ratio(window: int) -> pl.Expr:
    """How far the close lies above the mean of the last `window` closes."""
    return CLOSE / CLOSE.rolling_mean(window) - 1


def sma_cross(fast: int, slow: int) -> pl.Expr:
    """How far the mean of the last `fast` closes lies above that of the last `slow`."""
    return CLOSE.rolling_mean(fast) / CLOSE.rolling_mean(slow) - 1


def high_distance(window: int) -> pl.Expr:
    """How far the close lies below the highest high of the last `window` bars."""
    return CLOSE / HIGH.rolling_max(window) - 1


def low_distance(window: int) -> pl.Expr:
    """How far the close lies above the lowest low of the last `window` bars."""
    return CLOSE / LOW.rolling_min(window) - 1


def drawdown(window: int) -> pl.Expr:
    """How far the close lies below the highest close of the last `window` bars."""
    return CLOSE / CLOSE.rolling_max(window) - 1


def breakout(window: int) -> pl.Expr:
    """Place of the close in the channel of the `window` bars BEFORE this one: above 1 or below 0 is a breakout."""
    top, bottom = HIGH.shift().rolling_max(window), LOW.shift().rolling_min(window)
    return ratio(CLOSE - bottom, top - bottom, CLOSE)


def trend_slope(window: int) -> pl.Expr:
    """Slope of the least-squares line through the last `window` log closes, per session."""
    return talib("LINEARREG_SLOPE", [CLOSE.log()], timeperiod=window)


def macd_histogram(fast: int, slow: int, signal: int) -> pl.Expr:
    """MACD less its signal line, as a fraction of the close."""
    line = talib("MACD", [CLOSE], output=2, fastperiod=fast, slowperiod=slow, signalperiod=signal)
    return line / CLOSE


def adx(window: int) -> pl.Expr:
    """Average directional index: the strength of a trend, whatever its direction.

    TA-Lib's ADX, but for bars that reach as far up as down, which count as neither: TA-Lib compares the two
    differences exactly, and for prices in cents lets the last bit of rounding decide.
    """
    up, down = HIGH - HIGH.shift(), LOW.shift() - LOW
    nothing = NOTHING * CLOSE
    rise = wilder(pl.when((up > nothing) & (up - down > nothing)).then(up).otherwise(0.0), window)
    fall = wilder(pl.when((down > nothing) & (down - up > nothing)).then(down).otherwise(0.0), window)
    # Both fade alike in a halt, and their ratio would keep a direction for ever: there is none when nothing moves.
    direction = pl.when(moved(window)).then(ratio((rise - fall).abs(), rise + fall, nothing)).fill_null(0.0)
    return 100 * wilder(direction, window)


def aroon_oscillator(window: int) -> pl.Expr:
    """How much more recent the highest high of `window` bars is than the lowest low; of equals, the latest counts."""
    # Equal prices can differ in their last bit after a dividend; nine digits make them equal again.
    return talib("AROONOSC", [HIGH.round_sig_figs(9), LOW.round_sig_figs(9)], timeperiod=window)


RETURNS = (
    *(
        Feature(
            f"return_{window}",
            "returns",
            f"Return over {window} session{'s' * (window > 1)}",
            simple_return,
            {"window": window},
            lookback=window,
            bounds=(-1.0, math.inf),
        )
        for window in (1, 5, 10, 21, 63, 126, 252)
    ),
    Feature(
        "return_252_21",
        "returns",
        "Return over 252 sessions without the last 21",
        skipped_return,
        {"window": 252, "skip": 21},
        lookback=252,
        bounds=(-1.0, math.inf),
        source="Jegadeesh and Titman (1993), Returns to Buying Winners and Selling Losers",
    ),
    Feature("gap", "returns", "Return overnight", gap, lookback=1, bounds=(-1.0, math.inf)),
    Feature(
        "intraday_return", "returns", "Return from open to close", intraday_return, lookback=0, bounds=(-1.0, math.inf)
    ),
)

TREND = (
    *(
        Feature(
            f"sma_ratio_{window}",
            "trend",
            f"Close over its mean of {window} sessions, less 1",
            sma_ratio,
            {"window": window},
            lookback=window - 1,
            bounds=(-1.0, window - 1.0),
        )
        for window in (10, 20, 50, 100, 200)
    ),
    Feature(
        "sma_cross_50_200",
        "trend",
        "Mean close of 50 sessions over that of 200, less 1",
        sma_cross,
        {"fast": 50, "slow": 200},
        lookback=199,
        bounds=(-1.0, 3.0),
        source="Brock, Lakonishok and LeBaron (1992), Simple Technical Trading Rules",
    ),
    Feature(
        "high_252_distance",
        "trend",
        "Close over the highest high of 252 sessions, less 1",
        high_distance,
        {"window": 252},
        lookback=251,
        bounds=(-1.0, 0.0),
        source="George and Hwang (2004), The 52-Week High and Momentum Investing",
    ),
    Feature(
        "low_252_distance",
        "trend",
        "Close over the lowest low of 252 sessions, less 1",
        low_distance,
        {"window": 252},
        lookback=251,
        bounds=(0.0, math.inf),
    ),
    Feature(
        "drawdown_63",
        "trend",
        "Close over the highest close of 63 sessions, less 1",
        drawdown,
        {"window": 63},
        lookback=62,
        bounds=(-1.0, 0.0),
    ),
    *(
        Feature(
            f"breakout_{window}",
            "trend",
            f"Place of the close in the high-low channel of the {window} sessions before",
            breakout,
            {"window": window},
            lookback=window,
            source="Donchian's channel, as in the published Turtle rules",
        )
        for window in (20, 55)
    ),
    Feature(
        "trend_slope_63",
        "trend",
        "Slope of the regression line through 63 log closes",
        trend_slope,
        {"window": 63},
        lookback=62,
        source="TA-Lib LINEARREG_SLOPE",
    ),
    Feature(
        "macd_12_26_9_hist",
        "trend",
        "MACD histogram over the close",
        macd_histogram,
        {"fast": 12, "slow": 26, "signal": 9},
        lookback=26 + 9 + settle(2 / 27),
        source="Appel (1979); TA-Lib MACD",
    ),
    Feature(
        "adx_14",
        "trend",
        "Average directional index of 14 sessions",
        adx,
        {"window": 14},
        lookback=2 * 14 + settle(1 / 14),
        bounds=(0.0, 100.0),
        source="Wilder (1978), New Concepts in Technical Trading Systems",
    ),
    Feature(
        "aroon_osc_25",
        "trend",
        "Aroon oscillator of 25 sessions",
        aroon_oscillator,
        {"window": 25},
        lookback=25,
        bounds=(-100.0, 100.0),
        source="Chande (1995); TA-Lib AROONOSC",
    ),
)
