"""How far the price ranges. (Estimators of volatility are the statistical group's.)

TA-Lib's ATR and NATR are recursive and sound. Kernels stand for its Keltner channels (KC), for a place between bands
needs both at once, and for its Chaikin volatility (CVI), which divides by an average that fades in a halt.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from quant_assets.features.definition import UNBOUNDED, Feature
from quant_assets.features.kernels import kernel
from quant_assets.features.precision import settle
from quant_assets.features.technical.library import (
    CLOSE,
    HIGH_LOW,
    HIGH_LOW_CLOSE,
    indicator,
)
from quant_assets.features.technical.trend import channel
from quant_assets.features.technical.windows import exponential, squares, sums, true_ranges


@kernel(
    inputs=["adj_high", "adj_low", "adj_close"],
    parameters=["window", "ranges", "width"],
    outputs=["place", "span", "squeeze"],
)
def keltner(x, p, out):  # type: ignore[no-untyped-def]
    """The channel lies `width` average true ranges (Wilder's, of `ranges` bars) beside the exponential average of
    `window` closes. place: where the close lies between its lower (0) and upper (1) edge; span: the distance between
    them over the average; squeeze: two standard deviations of the last `window` closes over `width` ranges, below 1
    where Bollinger's bands lie within the channel. Null where the average range is nothing."""
    close, window, width = x[2], int(p[0]), p[2]
    middle, reach = np.empty(close.size), np.empty(close.size)
    exponential(close, 2.0 / (window + 1.0), middle)
    exponential(true_ranges(x[0], x[1], close), 1.0 / p[1], reach)
    means, spread = np.full(close.size, np.nan), np.full(close.size, np.nan)
    sums(close, window, means)
    means /= window
    squares(close, means, window, spread)
    for i in range(close.size):
        if reach[i] > 1e-6 * close[i]:
            out[0, i] = (close[i] - middle[i]) / (2.0 * width * reach[i]) + 0.5
            out[2, i] = 2.0 * math.sqrt(spread[i] / window) / (width * reach[i])
        out[1, i] = 2.0 * width * reach[i] / middle[i]


@kernel(inputs=["adj_high", "adj_low", "adj_close"], parameters=["window", "ago"])
def range_growth(x, p, out):  # type: ignore[no-untyped-def]
    """Chaikin's volatility: log of the exponential average of `window` bars of high less low over what it was `ago`
    bars before; null where either is nothing."""
    close, ago = x[2], int(p[1])
    average = np.empty(close.size)
    exponential(x[0] - x[1], 2.0 / (p[0] + 1.0), average)
    for i in range(ago, close.size):
        now, then = average[i] / close[i], average[i - ago] / close[i - ago]
        if now > 1e-6 and then > 1e-6:
            out[0, i] = math.log(average[i] / average[i - ago])


@kernel(inputs=["adj_close"], parameters=["window"])
def ulcer(x, p, out):  # type: ignore[no-untyped-def]
    """Root of the mean square, over the last `window` bars, of how far each close lies below the highest close of the
    `window` bars up to it, in percent."""
    close, window = x[0], int(p[0])
    peak = np.full(close.size, np.nan)
    for i in range(window - 1, close.size):
        most = close[i]
        for j in range(i - window + 1, i):
            most = max(most, close[j])
        peak[i] = 100.0 * (close[i] / most - 1.0)
    sums(peak * peak, window, out[0])
    out[0] = np.sqrt(out[0] / window)


_POSITIVE = (0.0, math.inf)
_WILDER = "Wilder (1978), New Concepts in Technical Trading Systems"
_KELTNER = {"window": 20, "ranges": 10, "width": 2.0}


_library = partial(indicator, "volatility")

VOLATILITY = (
    _library(
        "atr_14_pct", "Average true range of 14 sessions as a fraction of the close", "ATR", HIGH_LOW_CLOSE,
        {"timeperiod": 14}, 14 + settle(1 / 14), over="close", bounds=_POSITIVE, source=_WILDER,
    ),
    *(
        _library(
            f"natr_{window}", f"Average true range of {window} sessions in percent of the close", "NATR",
            HIGH_LOW_CLOSE, {"timeperiod": window}, window + settle(1 / window), bounds=_POSITIVE,
            source="Forman (2006)",
        )
        for window in (5, 21)
    ),
    _library(
        "true_range", "True range over the close", "TRANGE", HIGH_LOW_CLOSE, {}, 1, over="close", bounds=_POSITIVE,
        source=_WILDER,
    ),
    _library(
        "bar_range_14", "Mean of high less low of 14 sessions, over the close", "ADR", HIGH_LOW, {"timeperiod": 14}, 13,
        over="close", bounds=_POSITIVE,
    ),
    _library(
        "mean_deviation_20", "Mean distance of 20 closes from their mean, over the close", "AVGDEV", CLOSE,
        {"timeperiod": 20}, 19, over="close", bounds=_POSITIVE,
    ),
    *(
        _library(
            f"acceleration_{name}_20", f"Close over the {name} acceleration band of 20 sessions, less 1", "ACCBANDS",
            HIGH_LOW_CLOSE, {"timeperiod": 20}, 19, output=output, over="distance", source="Headley (2002)",
        )
        for output, name in ((0, "upper"), (2, "lower"))
    ),
    _library(
        "relative_volatility_14", "Share of rising closes in the deviation of 10 sessions, averaged over 14, in %",
        "RVI", CLOSE, {"timeperiod": 14, "stddevperiod": 10}, 9 + 14 + settle(1 / 14), bounds=(0.0, 100.0), still=20,
        source="Dorsey (1993), The Relative Volatility Index",
    ),
    *(
        Feature(
            name, "volatility", what, keltner, _KELTNER, lookback=10 + 5 * settle(1 / 10) // 4, bounds=bounds,
            output=output, source="Keltner (1960), with Raschke's close and average true ranges",
        )
        for name, output, what, bounds in (
            ("keltner_b_20_10", "place", "Place of the close in Keltner's channel of 2 true ranges", UNBOUNDED),
            ("keltner_width_20_10", "span", "Width of Keltner's channel over its middle", _POSITIVE),
            ("squeeze_20_10", "squeeze", "Bollinger's bands over Keltner's channel, each of 2 units", _POSITIVE),
        )
    ),
    Feature(
        "channel_width_20", "volatility", "Highest high less lowest low of 20 sessions, over the close", channel,
        {"window": 20}, lookback=19, bounds=_POSITIVE, output="width", source="Donchian's channel",
    ),
    Feature(
        "range_growth_10_10", "volatility", "Log growth over 10 sessions of the average range of 10", range_growth,
        {"window": 10, "ago": 10}, lookback=10 + 5 * settle(2 / 11) // 4, source="Chaikin's volatility; TA-Lib CVI",
    ),
    Feature(
        "ulcer_14", "volatility", "Ulcer index of 14 sessions, in percent", ulcer, {"window": 14}, lookback=26,
        bounds=(0.0, 100.0), source="Martin and McCann (1989), The Investor's Guide to Fidelity Funds",
    ),
)  # fmt: skip
