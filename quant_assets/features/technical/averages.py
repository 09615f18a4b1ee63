"""Where the close stands against its averages, and the averages against each other.

TA-Lib's averages, over prices of 36 bits: its simple, weighted and triangular averages keep running sums, which are
exact so. (Hull's sums averages, and keeps their last bits: 1e-13 of the price.) Kaufman's adaptive average (KAMA)
is left out: its memory has no end that could be stated, for it gives a bar as little as 1/240 where the price goes
nowhere; the efficiency ratio that it adapts to is a feature of its own.
"""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import UNBOUNDED, Feature
from quant_assets.features.kernels import kernel
from quant_assets.features.technical.library import CLOSE, HIGH_LOW, indicator
from quant_assets.features.technical.windows import memory, sums


@kernel(inputs=["adj_close"], parameters=["fast", "slow"])
def average_cross(x, p, out):  # type: ignore[no-untyped-def]
    """Mean of the last `fast` closes over that of the last `slow`, less 1."""
    close, fast, slow = x[0], int(p[0]), int(p[1])
    few, many = np.full(close.size, np.nan), np.full(close.size, np.nan)
    sums(close, fast, few)
    sums(close, slow, many)
    out[0] = (few / fast) / (many / slow) - 1.0


@kernel(inputs=["adj_close"], parameters=["window"], outputs=["slope", "fit"])
def log_line(x, p, out):  # type: ignore[no-untyped-def]
    """The least-squares line through the last `window` log closes: its slope a bar, and the share of the variance that
    it explains (null where the close did not move)."""
    window = int(p[0])
    values = np.log(x[0])
    centre = 0.5 * (window - 1)
    across = window * (window * window - 1.0) / 12.0
    for i in range(window - 1, values.size):
        # From the current value, so that nothing is lost in squares of a large logarithm.
        mean = 0.0
        for j in range(window):
            mean += values[i - j] - values[i]
        mean /= window
        both, along, most = 0.0, 0.0, 0.0
        for j in range(window):
            apart = values[i - j] - values[i] - mean
            both += (centre - j) * apart
            along += apart * apart
            most = max(most, abs(apart))
        out[0, i] = both / across
        if most > 1e-9:
            out[1, i] = both * both / (across * along)


def _distance(
    name: str,
    what: str,
    function: str,
    window: int,
    lookback: int,
    *,
    most: float,
    inputs: tuple[str, ...] = CLOSE,
    source: str = "",
) -> Feature:
    return indicator(
        "trend", name, f"Close over {what} of {window} sessions, less 1", function, inputs, {"timeperiod": window},
        lookback, (-1.0, most), over="distance", source=source,
    )  # fmt: skip


def _below(name: str, what: str, function: str, window: int, lookback: int, source: str = "") -> Feature:
    """The same of an average that can come near zero, because it runs ahead of the price."""
    return indicator(
        "trend", name, f"Close less {what} of {window} sessions, over the close", function, CLOSE,
        {"timeperiod": window}, lookback, over="below", source=source,
    )  # fmt: skip


_MACD = {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9}

AVERAGES = (
    *(
        _distance(f"sma_ratio_{window}", "its mean", "SMA", window, window - 1, most=window - 1.0)
        for window in (10, 20, 50, 100, 200)
    ),
    *(
        _distance(
            f"ema_ratio_{window}", "its exponential average", "EMA", window, memory(window), most=(window - 1) / 2
        )
        for window in (10, 20)
    ),
    _distance("wma_ratio_20", "its linearly weighted average", "WMA", 20, 19, most=9.5),
    _distance("trima_ratio_20", "its triangular average", "TRIMA", 20, 19, most=109.0),
    _below("dema_distance_20", "its double exponential average", "DEMA", 20, memory(20, 2), source="Mulloy (1994)"),
    _below("tema_distance_20", "its triple exponential average", "TEMA", 20, memory(20, 3), source="Mulloy (1994)"),
    _below("t3_distance_5", "Tillson's T3 average", "T3", 5, memory(5, 6), source="Tillson (1998)"),
    _below("zlema_distance_20", "its exponential average without lag", "ZLEMA", 20, 9 + memory(20), source="Ehlers"),
    _below("hull_distance_20", "Hull's average", "HMA", 20, 22, source="Hull (2005)"),
    _below("line_distance_20", "the end of its regression line", "LINEARREG", 20, 19),
    _below("forecast_distance_20", "its regression line's next value", "TSF", 20, 19),
    _distance("midprice_ratio_20", "the middle of the channel", "MIDPRICE", 20, 19, inputs=HIGH_LOW, most=1.0),
    Feature(
        "sma_cross_50_200",
        "trend",
        "Mean close of 50 sessions over that of 200, less 1",
        average_cross,
        {"fast": 50, "slow": 200},
        lookback=199,
        bounds=(-1.0, 3.0),
        source="Brock, Lakonishok and LeBaron (1992), Simple Technical Trading Rules",
    ),
    *(
        indicator(
            "trend", name, f"{what} over the close", "MACD", CLOSE, _MACD, 9 + memory(26), output=output, over="close",
            source="Appel (1979)",
        )
        for output, name, what in (
            (0, "macd_12_26_9", "MACD: average of 12 sessions less that of 26,"),
            (1, "macd_12_26_9_signal", "MACD's signal line"),
            (2, "macd_12_26_9_hist", "MACD histogram"),
        )
    ),
    indicator(
        "trend", "ppo_12_26", "Exponential average of 12 sessions over that of 26, less 1, in percent", "PPO", CLOSE,
        {"fastperiod": 12, "slowperiod": 26, "matype": 1}, memory(26), (-100.0, math.inf),
    ),
    indicator(
        "trend", "trix_15", "Change of the threefold exponential average of 15 sessions in percent", "TRIX", CLOSE,
        {"timeperiod": 15}, 1 + memory(15, 3), (-100.0, math.inf), source="Hutson (1983)",
    ),
    indicator(
        "trend", "detrended_price_20", "Close of 11 sessions ago less the mean of 20, over the close", "DPO", CLOSE,
        {"timeperiod": 20}, 19, over="close",
    ),
    *(
        Feature(
            f"trend_{output}_{window}",
            "trend",
            f"{what} {window} log closes",
            log_line,
            {"window": window},
            lookback=window - 1,
            bounds=bounds,
            output=output,
            source="TA-Lib LINEARREG_SLOPE" if output == "slope" else "the line's coefficient of determination",
        )
        for output, what, bounds in (
            ("slope", "Slope of the regression line through", UNBOUNDED),
            ("fit", "Share of the variance that the line explains of", (0.0, 1.0)),
        )
        for window in (21, 63)
    ),
)  # fmt: skip
