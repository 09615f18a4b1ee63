"""How fast the price moves, and whether it has moved too far: indicators that swing within a band, and rates of change.

Most are TA-Lib's. Kernels stand for STOCH (whose means keep running sums of quotients), BBANDS (sums of squares), MFI
(which returns 0 where the window's flow is below 1.0, whatever the unit of volume) and, with MFI, for CCI: for the mean
of high, low and close the last bit decides whether it moved where it did not. TA-Lib's CMO is twice its RSI less 100,
so Chande's own, of plain sums (CMOU), is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import Kernel, kernel
from quant_assets.features.precision import NOTHING, settle
from quant_assets.features.technical.library import (
    CLOSE,
    HIGH_LOW,
    HIGH_LOW_CLOSE,
    OPEN_CLOSE,
    OPEN_HIGH_LOW_CLOSE,
    indicator,
)
from quant_assets.features.technical.windows import highest, lowest, memory, quotient, squares, sums


@kernel(
    inputs=["adj_high", "adj_low", "adj_close"], parameters=["window", "slowing", "signal"], outputs=["fast", "k", "d"]
)
def stochastic(x, p, out):  # type: ignore[no-untyped-def]
    """fast: place of the close between the lowest low (0) and the highest high (100) of the last `window` bars, null
    where they are the same; k: mean of the last `slowing` of these; d: mean of the last `signal` of those."""
    close = x[2]
    top, bottom = highest(x[0], int(p[0])), lowest(x[1], int(p[0]))
    for i in range(close.size):
        out[0, i] = 100.0 * quotient(close[i] - bottom[i], top[i] - bottom[i], close[i])
    sums(out[0], int(p[1]), out[1])
    out[1] /= p[1]
    sums(out[1], int(p[2]), out[2])
    out[2] /= p[2]


@kernel(inputs=["adj_high", "adj_low", "adj_close", "adj_volume"], parameters=["window"])
def money_flow_index(x, p, out):  # type: ignore[no-untyped-def]
    """Share of dollar volume (typical price times volume) on bars whose typical price rose, in percent, of that on
    bars whose typical price moved, over the last `window` bars; null without any."""
    window = int(p[0])
    typical = (x[0] + x[1] + x[2]) / 3.0
    flow = typical * x[3]
    for i in range(window, typical.size):
        up, both, most = 0.0, 0.0, 0.0
        for j in range(i - window + 1, i + 1):
            change = typical[j] / typical[j - 1] - 1.0
            most = max(most, flow[j])
            if change > NOTHING:
                up += flow[j]
            if abs(change) > NOTHING:
                both += flow[j]
        out[0, i] = 100.0 * quotient(up, both, most)


@kernel(inputs=["adj_high", "adj_low", "adj_close"], parameters=["window"])
def commodity_channel(x, p, out):  # type: ignore[no-untyped-def]
    """Typical price (mean of high, low and close) less its mean of the last `window` bars, in units of 0.015 mean
    distances from that mean; null where it did not move within the window."""
    window = int(p[0])
    typical = (x[0] + x[1] + x[2]) / 3.0
    for i in range(window - 1, typical.size):
        mean, apart = 0.0, 0.0
        for j in range(window):
            mean += typical[i - j]
        mean /= window
        for j in range(window):
            apart += abs(typical[i - j] - mean)
        if apart > NOTHING * mean:
            out[0, i] = (typical[i] - mean) / (0.015 * apart / window)


@kernel(inputs=["adj_close"], parameters=["window", "width"], outputs=["place", "span"])
def bollinger(x, p, out):  # type: ignore[no-untyped-def]
    """The bands lie `width` standard deviations beside the mean of the last `window` closes. place: %b, where the close
    lies between the lower (0) and the upper band (1), null where it did not move within the window; span: the
    distance between the bands over the mean."""
    close, window, width = x[0], int(p[0]), p[1]
    means, spread = np.full(close.size, np.nan), np.full(close.size, np.nan)
    sums(close, window, means)
    means /= window
    squares(close, means, window, spread)
    top, bottom = highest(close, window), lowest(close, window)
    for i in range(window - 1, close.size):
        deviation = math.sqrt(spread[i] / window)
        out[1, i] = 2.0 * width * deviation / means[i]
        if top[i] - bottom[i] > NOTHING * close[i]:
            out[0, i] = (close[i] - means[i]) / (2.0 * width * deviation) + 0.5


@kernel(inputs=["adj_open", "adj_high", "adj_low", "adj_close"], parameters=["window"], outputs=["vigor", "signal"])
def relative_vigor(x, p, out):  # type: ignore[no-untyped-def]
    """vigor: close less open over high less low, each weighted 1, 2, 2, 1 over four bars and summed over the last
    `window`, null where there is no span; signal: the same weights over the last four of these."""
    opened, high, low, close, window = x[0], x[1], x[2], x[3], int(p[0])
    body, span = close - opened, high - low
    for i in range(window + 2, close.size):
        up, whole = 0.0, 0.0
        for j in range(i - window + 1, i + 1):
            up += body[j] + 2.0 * body[j - 1] + 2.0 * body[j - 2] + body[j - 3]
            whole += span[j] + 2.0 * span[j - 1] + 2.0 * span[j - 2] + span[j - 3]
        out[0, i] = quotient(up, whole, close[i])
        if i >= window + 5:
            out[1, i] = (out[0, i] + 2.0 * out[0, i - 1] + 2.0 * out[0, i - 2] + out[0, i - 3]) / 6.0


@kernel(inputs=["adj_close"], outputs=["line", "signal"])
def know_sure_thing(x, p, out):  # type: ignore[no-untyped-def]
    """line: mean change in percent over 10, 15, 20 and 30 bars, the first three averaged over 10 bars and the last over
    15, weighted 1 to 4; signal: its mean of 9 bars."""
    close = x[0]
    for i in range(44, close.size):
        total = 0.0
        for k in range(4):
            window, length = (10, 15, 20, 30)[k], (10, 10, 10, 15)[k]
            change = 0.0
            for j in range(length):
                change += close[i - j] / close[i - j - window] - 1.0
            total += (k + 1) * 100.0 * change / length
        out[0, i] = total
    sums(out[0], 9, out[1])
    out[1] /= 9.0


@kernel(inputs=["adj_close"], parameters=["window"])
def psychological(x, p, out):  # type: ignore[no-untyped-def]
    """Share of the last `window` bars whose close rose."""
    close, window = x[0], int(p[0])
    for i in range(window, close.size):
        rises = 0.0
        for j in range(i - window + 1, i + 1):
            rises += close[j] / close[j - 1] - 1.0 > NOTHING
        out[0, i] = rises / window


_library = partial(indicator, "momentum")


def _kernel(
    name: str,
    what: str,
    build: Kernel,
    parameters: Mapping[str, int | float],
    lookback: int,
    bounds: tuple[float, float],
    output: str = "value",
    source: str = "",
) -> Feature:
    return Feature(
        name, "momentum", what, build, parameters, lookback=lookback, bounds=bounds, output=output, source=source
    )


_WILDER = "Wilder (1978), New Concepts in Technical Trading Systems"
_PERCENT = (0.0, 100.0)
_SWING = (-100.0, 100.0)
_STOCHASTIC = {"window": 14, "slowing": 3, "signal": 3}
_BANDS = {"window": 20, "width": 2.0}
_SMI = {"fastperiod": 2, "slowperiod": 25, "timeperiod": 13, "signalperiod": 9}

MOMENTUM = (
    *(
        _library(
            f"rsi_{window}", f"Relative strength index of {window} sessions", "RSI", CLOSE, {"timeperiod": window},
            window + settle(1 / window), _PERCENT, still=2 * window, source=_WILDER,
        )
        for window in (2, 7, 14)
    ),
    _library(
        "stoch_rsi_14", "Place of the relative strength index of 14 sessions in its span of 14", "STOCHRSI", CLOSE,
        {"timeperiod": 14, "fastk_period": 14, "fastd_period": 1}, 27 + settle(1 / 14), _PERCENT, still=28,
        source="Chande and Kroll (1994), The New Technical Trader",
    ),
    _kernel(
        "cci_20", "Commodity channel index of 20 sessions", commodity_channel, {"window": 20}, 19,
        bounds=(-20 / 0.03, 20 / 0.03), source="Lambert (1980); TA-Lib CCI",
    ),
    *(
        _library(
            f"roc_{window}", f"Change over {window} sessions in percent", "ROC", CLOSE, {"timeperiod": window}, window,
            (-100.0, math.inf),
        )
        for window in (10, 21, 42)
    ),
    _kernel(
        "stochastic_fast_14", "Fast stochastic of 14 sessions", stochastic, _STOCHASTIC, 13, bounds=_PERCENT,
        output="fast", source="Lane (1984), Lane's Stochastics",
    ),
    _kernel(
        "stochastic_k_14_3", "Slow stochastic %K of 14 sessions", stochastic, _STOCHASTIC, 15, bounds=_PERCENT,
        output="k", source="Lane (1984), Lane's Stochastics",
    ),
    _kernel(
        "stochastic_d_14_3_3", "Slow stochastic %D of 14 sessions", stochastic, _STOCHASTIC, 17, bounds=_PERCENT,
        output="d", source="Lane (1984), Lane's Stochastics",
    ),
    _library(
        "williams_r_14", "Williams %R of 14 sessions", "WILLR", HIGH_LOW_CLOSE, {"timeperiod": 14}, 13, (-100.0, 0.0),
        still=14, source="Williams (1973)",
    ),
    _kernel(
        "mfi_14", "Money flow index of 14 sessions", money_flow_index, {"window": 14}, 14, bounds=_PERCENT,
        source="Quong and Soudack (1989)",
    ),
    _kernel(
        "bollinger_b_20", "Place of the close between Bollinger bands of 2 deviations", bollinger, _BANDS, 19,
        bounds=(0.5 - 19**0.5 / 4, 0.5 + 19**0.5 / 4), output="place",
        source="Bollinger (2001), Bollinger on Bollinger Bands; the bound by Samuelson (1968)",
    ),
    _kernel(
        "bollinger_width_20", "Distance between Bollinger bands over their middle", bollinger, _BANDS, 19,
        bounds=(0.0, 4 * 19**0.5), output="span", source="Bollinger (2001), Bollinger on Bollinger Bands",
    ),
    _library(
        "cmo_14", "Chande momentum oscillator of 14 sessions: rises less falls over both, in percent", "CMOU", CLOSE,
        {"timeperiod": 14}, 14, _SWING, still=15, source="Chande and Kroll (1994), The New Technical Trader",
    ),
    _library(
        "ultimate_oscillator_7_14_28", "Buying pressure over the true range, of 7, 14 and 28 sessions", "ULTOSC",
        HIGH_LOW_CLOSE, {"timeperiod1": 7, "timeperiod2": 14, "timeperiod3": 28}, 28, _PERCENT, still=29,
        source="Williams (1985), The Ultimate Oscillator",
    ),
    _library(
        "balance_of_power", "Close less open over high less low; 0 where they are the same", "BOP",
        OPEN_HIGH_LOW_CLOSE, {}, 0, (-1.0, 1.0), source="Livshin (2001), Balance of Market Power",
    ),
    _library(
        "awesome_5_34", "Mean middle of the bar of 5 sessions less that of 34, over the close", "AO", HIGH_LOW,
        {"fastperiod": 5, "slowperiod": 34}, 33, over="close", source="Williams (1998), New Trading Dimensions",
    ),
    _library(
        "accelerator_5_34_5", "Awesome oscillator less its mean of 5 sessions, over the close", "AC", HIGH_LOW,
        {"fastperiod": 5, "slowperiod": 34, "signalperiod": 5}, 37, over="close",
        source="Williams (1998), New Trading Dimensions",
    ),
    _library(
        "coppock_11_14_10", "Weighted average of 10 sessions of the changes over 11 and 14, in percent", "COPPOCK",
        CLOSE, {"wmaperiod": 10, "roc1period": 11, "roc2period": 14}, 23, (-200.0, math.inf), source="Coppock (1962)",
    ),
    _library(
        "intraday_momentum_14", "Rises from open to close over all moves, 14 sessions, in percent", "IMI",
        OPEN_CLOSE, {"timeperiod": 14}, 13, _PERCENT, still=14,
        source="Chande and Kroll (1994), The New Technical Trader",
    ),
    _library(
        "true_strength_25_13", "Twofold average, of 25 and 13 sessions, of the steps over that of their sizes, in %",
        "TSI", CLOSE, {"firstperiod": 25, "secondperiod": 13}, 1 + memory(25, 2), _SWING, still=25,
        source="Blau (1991), True Strength Index",
    ),
    *(
        _library(
            f"stochastic_momentum_{name}", f"{what} of 13 sessions, smoothed over 25 and 2, in percent", "SMI",
            HIGH_LOW_CLOSE, _SMI, lookback, _SWING, output=output, still=13, source="Blau (1993)",
        )
        for output, name, what, lookback in (
            (0, "13_25_2", "Stochastic momentum index", 13 + memory(25, 2)),
            (1, "13_25_2_signal", "Signal line, of 9 sessions, of the stochastic momentum index", 22 + memory(25, 3)),
        )
    ),
    _library(
        "forecast_oscillator_14", "Close less the value that the line through 14 sessions foretold, in percent",
        "FOSC", CLOSE, {"timeperiod": 14}, 14, source="Chande and Kroll (1994), The New Technical Trader",
    ),
    *(
        _kernel(
            f"relative_vigor_10{name}", f"Relative vigor index of 10 sessions{what}", relative_vigor, {"window": 10},
            lookback, bounds=(-1.0, 1.0), output=output, source="Ehlers (2002), Relative Vigor Index",
        )
        for output, name, what, lookback in (("vigor", "", "", 12), ("signal", "_signal", ", its signal line", 15))
    ),
    *(
        _kernel(
            f"know_sure_thing{name}", f"Know sure thing of 10, 15, 20 and 30 sessions{what}", know_sure_thing, {},
            lookback, bounds=(-1000.0, math.inf), output=output, source="Pring (1992)",
        )
        for output, name, what, lookback in (("line", "", "", 44), ("signal", "_signal", ", its signal line", 52))
    ),
    _kernel(
        "psychological_12", "Share of 12 sessions whose close rose", psychological, {"window": 12}, 12,
        bounds=(0.0, 1.0), source="the psychological line",
    ),
)  # fmt: skip
