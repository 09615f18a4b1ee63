"""How much is traded, and how the price answers. A session without trading has a volume of zero.

Kernels all: the cumulative lines (OBV, AD, PVT, NVI) are taken as what they gained within a window, over its volume,
for a sum since the first bar is no feature; and TA-Lib's sums of products (VWMA, ADOSC, MFI) keep their rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from quant_assets.features.definition import UNBOUNDED, Feature
from quant_assets.features.kernels import Kernel, inner, kernel
from quant_assets.features.precision import NOTHING, settle
from quant_assets.features.technical.windows import exponential, highest, lowest, products, quotient, squares, sums

BARS = ["adj_high", "adj_low", "adj_close", "adj_volume"]


@inner
def close_places(high, low, close):  # type: ignore[no-untyped-def]
    """Place of each close in its bar, from -1 (the low) to 1 (the high); 0 where these are the same."""
    out = np.zeros(close.size)
    for i in range(close.size):
        if high[i] - low[i] > NOTHING * close[i]:
            out[i] = (2.0 * close[i] - high[i] - low[i]) / (high[i] - low[i])
    return out


@kernel(inputs=["adj_volume"], parameters=["window"])
def volume_zscore(x, p, out):  # type: ignore[no-untyped-def]
    """Volume against its mean, in standard deviations of the last `window` bars; null where all are alike."""
    volume, window = x[0], int(p[0])
    means, spread = np.full(volume.size, np.nan), np.full(volume.size, np.nan)
    sums(volume, window, means)
    means /= window
    squares(volume, means, window, spread)
    top, bottom = highest(volume, window), lowest(volume, window)
    for i in range(window - 1, volume.size):
        if top[i] - bottom[i] > NOTHING * top[i]:
            out[0, i] = (volume[i] - means[i]) / math.sqrt(spread[i] / window)


@kernel(inputs=["adj_volume"], parameters=["fast", "slow"], outputs=["ratio", "untraded"])
def volume_ratio(x, p, out):  # type: ignore[no-untyped-def]
    """ratio: mean volume of the last `fast` bars over that of the last `slow`, null without any; untraded: share of the
    last `slow` bars without volume."""
    volume, fast, slow = x[0], int(p[0]), int(p[1])
    few, many = np.full(volume.size, np.nan), np.full(volume.size, np.nan)
    sums(volume, fast, few)
    sums(volume, slow, many)
    top = highest(volume, slow)
    sums(1.0 * (volume == 0.0), slow, out[1])
    for i in range(slow - 1, volume.size):
        out[0, i] = quotient(few[i] / fast, many[i] / slow, top[i])
        out[1, i] /= slow


@kernel(inputs=["adj_volume"], parameters=["fast", "slow"])
def volume_oscillator(x, p, out):  # type: ignore[no-untyped-def]
    """Exponential average of `fast` volumes over that of `slow`, less 1, in percent; null where the last `slow` bars
    had no volume, for then both fade."""
    volume = x[0]
    few, many, top = np.empty(volume.size), np.empty(volume.size), highest(volume, int(p[1]))
    exponential(volume, 2.0 / (p[0] + 1.0), few)
    exponential(volume, 2.0 / (p[1] + 1.0), many)
    for i in range(volume.size):
        if top[i] > 0.0:
            out[0, i] = 100.0 * (few[i] / many[i] - 1.0)


@kernel(inputs=BARS, parameters=["window"], outputs=["balance", "accumulation", "trend", "vwap"])
def flows(x, p, out):  # type: ignore[no-untyped-def]
    """Over the volume of the last `window` bars, null without any. balance: on-balance volume's gain, the volume of
    bars whose close rose less that of those whose close fell; accumulation: the volume weighted by where each close
    lies in its bar, from -1 (the low) to 1 (the high); trend: the volume weighted by the return; vwap: the close over
    the typical price weighted by volume, less 1."""
    close, volume, window = x[2], x[3], int(p[0])
    signed, moved = np.zeros(close.size), np.zeros(close.size)
    for i in range(1, close.size):
        change = close[i] / close[i - 1] - 1.0
        moved[i] = change * volume[i]
        signed[i] = volume[i] * ((change > NOTHING) - 1.0 * (change < -NOTHING))
    placed = close_places(x[0], x[1], close) * volume
    dollars = (x[0] + x[1] + close) / 3.0 * volume
    whole, top = np.full(close.size, np.nan), highest(volume, window)
    sums(volume, window, whole)
    sums(signed, window, out[0])
    sums(placed, window, out[1])
    sums(moved, window, out[2])
    sums(dollars, window, out[3])
    for i in range(close.size):
        out[0, i] = quotient(out[0, i], whole[i], top[i])
        out[1, i] = quotient(out[1, i], whole[i], top[i])
        out[2, i] = quotient(out[2, i], whole[i], top[i])
        out[3, i] = close[i] / quotient(out[3, i], whole[i], top[i]) - 1.0


@kernel(inputs=["adj_close", "adj_volume"], parameters=["window"], outputs=["quiet", "busy"])
def volume_indices(x, p, out):  # type: ignore[no-untyped-def]
    """Return over the last `window` bars of holding only on those with less volume than the bar before (quiet: the
    negative volume index's), or only on those with more (busy: the positive one's)."""
    close, volume, window = x[0], x[1], int(p[0])
    for i in range(window, close.size):
        quiet, busy = 1.0, 1.0
        for j in range(i - window + 1, i + 1):
            growth = close[j] / close[j - 1]
            quiet *= growth if volume[j] < volume[j - 1] else 1.0
            busy *= growth if volume[j] > volume[j - 1] else 1.0
        out[0, i], out[1, i] = quiet - 1.0, busy - 1.0


@kernel(inputs=["adj_close", "adj_volume"], parameters=["window"])
def price_volume_correlation(x, p, out):  # type: ignore[no-untyped-def]
    """Correlation of the last `window` returns with the volumes of their bars; null where either does not vary."""
    close, volume, window = x[0], x[1], int(p[0])
    count = close.size
    if count <= window:
        return
    returns, traded = close[1:] / close[:-1] - 1.0, volume[1:]
    mean, usual, both = np.full(count - 1, np.nan), np.full(count - 1, np.nan), np.full(count - 1, np.nan)
    one, other = np.full(count - 1, np.nan), np.full(count - 1, np.nan)
    sums(returns, window, mean)
    sums(traded, window, usual)
    mean /= window
    usual /= window
    products(returns, mean, traded, usual, window, both)
    squares(returns, mean, window, one)
    squares(traded, usual, window, other)
    # The range tells whether a value varies; its sum of squares is never quite zero.
    spread = highest(returns, window) - lowest(returns, window)
    top = highest(traded, window)
    span = top - lowest(traded, window)
    for i in range(window - 1, count - 1):
        if spread[i] > NOTHING and span[i] > NOTHING * top[i]:
            out[0, i + 1] = both[i] / math.sqrt(one[i] * other[i])


@kernel(inputs=BARS, parameters=["fast", "slow", "length", "window"], outputs=["accumulation", "force", "ease"])
def pressure(x, p, out):  # type: ignore[no-untyped-def]
    """Over the mean volume of the last `window` bars, null without any. accumulation: Chaikin's oscillator, exponential
    average of `fast` bars of the accumulation line less that of `slow`; force: Elder's, exponential average of `length`
    bars of the return times the volume; ease: mean of the last `length` bars of the change of the bar's middle times
    its span, both over the price, over the volume's ratio to its mean, 0 on bars without volume."""
    high, low, close, volume, length, window = x[0], x[1], x[2], x[3], int(p[2]), int(p[3])
    placed = close_places(high, low, close) * volume
    means, top = np.full(close.size, np.nan), highest(volume, window)
    sums(volume, window, means)
    means /= window
    eased = np.zeros(close.size)
    # How far the line lies above its averages: what one bar adds to it, and what of that they have not caught up with.
    fast, slow, force = 1.0 - 2.0 / (p[0] + 1.0), 1.0 - 2.0 / (p[1] + 1.0), 2.0 / (length + 1.0)
    above_fast, above_slow, pushed = 0.0, 0.0, 0.0
    for i in range(close.size):
        above_fast = fast * (above_fast + placed[i])
        above_slow = slow * (above_slow + placed[i])
        if i:
            pushed += force * ((close[i] / close[i - 1] - 1.0) * volume[i] - pushed)
            if volume[i] > 0.0:
                middle, before = high[i] + low[i], high[i - 1] + low[i - 1]
                eased[i] = (middle / before - 1.0) * (high[i] - low[i]) / close[i] / volume[i]
        usual = means[i] if means[i] > NOTHING * top[i] else np.nan
        out[0, i] = (above_slow - above_fast) / usual
        out[1, i] = pushed / usual
        if i >= length:
            total = 0.0
            for j in range(length):
                total += eased[i - j]
            out[2, i] = total / length * usual


@kernel(inputs=["adj_close", "adj_volume"], parameters=["fast", "slow"])
def amihud(x, p, out):  # type: ignore[no-untyped-def]
    """Log of the mean price impact of `fast` bars over that of `slow`: above 0 is less liquid than usual.

    Impact is the size of the log return per dollar traded; taken against the symbol's own past, because dollars per
    return are no common scale. Bars without trading have no impact, and half of each window must have traded."""
    close, volume, fast, slow = x[0], x[1], int(p[0]), int(p[1])
    count = close.size
    impact, traded = np.zeros(count), np.zeros(count)
    for i in range(1, count):
        if volume[i] > 0.0:
            impact[i], traded[i] = abs(math.log(close[i] / close[i - 1])) / (volume[i] * close[i]), 1.0
    few, many = np.full(count, np.nan), np.full(count, np.nan)
    days, more = np.full(count, np.nan), np.full(count, np.nan)
    sums(impact, fast, few)
    sums(impact, slow, many)
    sums(traded, fast, days)
    sums(traded, slow, more)
    top = highest(impact, slow)
    for i in range(slow, count):
        if days[i] >= fast // 2 and more[i] >= slow // 2:
            out[0, i] = math.log(quotient(few[i] / days[i], many[i] / more[i], top[i]))


def _feature(
    name: str,
    what: str,
    build: Kernel,
    parameters: Mapping[str, int | float],
    lookback: int,
    bounds: tuple[float, float] = UNBOUNDED,
    output: str = "value",
    source: str = "",
) -> Feature:
    return Feature(
        name, "volume", what, build, parameters, lookback=lookback, bounds=bounds, output=output, source=source
    )


_ONE = (-1.0, 1.0)
_PRESSURE = {"fast": 3, "slow": 10, "length": 14, "window": 63}

VOLUMES = (
    _feature(
        "volume_zscore_63", "Volume in standard deviations from its mean of 63 sessions", volume_zscore, {"window": 63},
        62, (-math.sqrt(62), math.sqrt(62)),
    ),
    *(
        _feature(
            f"volume_ratio_{fast}_{slow}", f"Mean volume of {fast} session{'s' * (fast > 1)} over that of {slow}",
            volume_ratio, {"fast": fast, "slow": slow}, slow - 1, (0.0, slow / fast), output="ratio",
        )
        for fast, slow in ((1, 20), (5, 63), (21, 252))
    ),
    _feature(
        "untraded_63", "Share of 63 sessions without trading", volume_ratio, {"fast": 5, "slow": 63}, 62, (0.0, 1.0),
        output="untraded", source="Lesmond, Ogden and Trzcinka (1999), on zero-trading days",
    ),
    _feature(
        "pvo_12_26", "Exponential average of 12 volumes over that of 26, less 1, in percent", volume_oscillator,
        {"fast": 12, "slow": 26}, 5 * settle(2 / 27) // 4, (-100.0, math.inf), source="TA-Lib PVO",
    ),
    _feature(
        "obv_slope_21", "Mean step of on-balance volume over mean volume, 21 sessions", flows, {"window": 21}, 21, _ONE,
        output="balance", source="Granville (1963), New Key to Stock Market Profits",
    ),
    _feature(
        "chaikin_money_flow_21", "Volume weighted by the place of the close, 21 sessions", flows, {"window": 21}, 20,
        _ONE, output="accumulation", source="Chaikin's money flow",
    ),
    _feature(
        "price_volume_trend_21", "Return weighted by volume, 21 sessions", flows, {"window": 21}, 21, (-1.0, math.inf),
        output="trend", source="the slope of TA-Lib PVT",
    ),
    _feature(
        "vwap_ratio_21", "Close over the price of 21 sessions weighted by volume, less 1", flows, {"window": 21}, 20,
        (-1.0, math.inf), output="vwap", source="Berkowitz, Logue and Noser (1988), The Total Cost of Transactions",
    ),
    *(
        _feature(
            f"{name}_volume_index_63", f"Return of the sessions with {what} volume than the one before, of 63",
            volume_indices, {"window": 63}, 63, (-1.0, math.inf), output=output,
            source="Dysart (1936); Fosback (1976), Stock Market Logic",
        )
        for output, name, what in (("quiet", "negative", "less"), ("busy", "positive", "more"))
    ),
    _feature(
        "price_volume_correlation_21", "Correlation of returns with volumes, 21 sessions", price_volume_correlation,
        {"window": 21}, 21, _ONE, source="Karpoff (1987), The Relation Between Price Changes and Trading Volume",
    ),
    _feature(
        "chaikin_oscillator_3_10", "Accumulation line's average of 3 sessions less that of 10, over the mean volume",
        pressure, _PRESSURE, 63 + settle(2 / 11), output="accumulation", source="Chaikin's oscillator; TA-Lib ADOSC",
    ),
    _feature(
        "force_index_14", "Average of 14 sessions of return times volume, over the mean volume", pressure, _PRESSURE,
        63 + settle(2 / 15), output="force", source="Elder (1993), Trading for a Living; TA-Lib EFI",
    ),
    _feature(
        "ease_of_movement_14", "Move of the bar's middle times its span per volume, 14 sessions", pressure, _PRESSURE,
        62, output="ease", source="Arms (1996), Trading Without Fear",
    ),
    _feature(
        "amihud_21", "Price impact of 21 sessions against that of 252, in logs", amihud, {"fast": 21, "slow": 252}, 252,
        source="Amihud (2002), Illiquidity and Stock Returns",
    ),
)  # fmt: skip
