"""What the kernels of this group share: means, deviations and extremes of windows, and averages with memory.

Window by window, and never a running sum: what is added up here depends on the window's bars alone, bit for bit. The
loops run over the window outside and over the bars inside, so that the machine does several bars at a time while every
bar's terms are added in the same order.
"""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.kernels import inner
from quant_assets.features.precision import NOTHING, PRECISION


def memory(window: int, times: int = 1) -> int:
    """Bars before the current one that `times` exponential averages of weight 2 / (window + 1), one of the other, need.

    Each needs its window to begin with (TA-Lib begins with a plain mean). After n more, what is left of the start of
    all together is the chance of fewer than `times` successes in n draws; below PRECISION it is forgotten.
    """
    alpha = 2 / (window + 1)
    bars = 0
    while sum(math.comb(bars, k) * alpha**k * (1 - alpha) ** (bars - k) for k in range(times)) > PRECISION:
        bars += 1
    return times * window + bars


@inner
def sums(values, window, out):  # type: ignore[no-untyped-def]
    """Sums of the last `window` values; NaN before there are as many."""
    count = values.size - window + 1
    if count <= 0:
        return
    last = out[window - 1 :]
    last[:] = 0.0
    for j in range(window):
        each = values[j : j + count]
        for i in range(count):
            last[i] += each[i]


@inner
def squares(values, centres, window, out):  # type: ignore[no-untyped-def]
    """Sums of the squared distances of the last `window` values from their centre."""
    count = values.size - window + 1
    if count <= 0:
        return
    last, centre = out[window - 1 :], centres[window - 1 :]
    last[:] = 0.0
    for j in range(window):
        each = values[j : j + count]
        for i in range(count):
            last[i] += (each[i] - centre[i]) * (each[i] - centre[i])


@inner
def products(values, centres, others, other_centres, window, out):  # type: ignore[no-untyped-def]
    """Sums of the products of the last `window` pairs' distances from their centres."""
    count = values.size - window + 1
    if count <= 0:
        return
    last, centre, other_centre = out[window - 1 :], centres[window - 1 :], other_centres[window - 1 :]
    last[:] = 0.0
    for j in range(window):
        each, other = values[j : j + count], others[j : j + count]
        for i in range(count):
            last[i] += (each[i] - centre[i]) * (other[i] - other_centre[i])


@inner
def weighted(values, weights, out):  # type: ignore[no-untyped-def]
    """Sums of the last values, each by its weight; the last weight is the current bar's."""
    window = weights.size
    count = values.size - window + 1
    if count <= 0:
        return
    last = out[window - 1 :]
    last[:] = 0.0
    for j in range(window):
        each, weight = values[j : j + count], weights[j]
        for i in range(count):
            last[i] += weight * each[i]


@inner
def highest(values, window):  # type: ignore[no-untyped-def]
    """The largest of the last `window` values; NaN before there are as many.

    Source: van Herk (1992), A Fast Algorithm for Local Minimum and Maximum Filters: of blocks of `window` values the
    maxima from their start and to their end; a window is the end of one block and the start of the next.
    """
    count = values.size
    out = np.full(count, np.nan)
    ends, start = np.empty(count), -math.inf
    for i in range(count - 1, -1, -1):
        ends[i] = values[i] if (i + 1) % window == 0 or i == count - 1 else max(ends[i + 1], values[i])
    for i in range(count):
        start = values[i] if i % window == 0 else max(start, values[i])
        if i >= window - 1:
            out[i] = max(start, ends[i - window + 1])
    return out


@inner
def lowest(values, window):  # type: ignore[no-untyped-def]
    """The smallest of the last `window` values; NaN before there are as many."""
    return -highest(-values, window)


@inner
def exponential(values, alpha, out):  # type: ignore[no-untyped-def]
    """The average that gives the current value the weight `alpha`; begins with the first value."""
    out[0] = values[0]
    for i in range(1, values.size):
        out[i] = out[i - 1] + alpha * (values[i] - out[i - 1])


@inner
def true_ranges(high, low, close):  # type: ignore[no-untyped-def]
    """The span from each bar's low to its high, the close before included. Source: Wilder (1978)."""
    out = high - low
    for i in range(1, close.size):
        out[i] = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
    return out


@inner
def quotient(numerator, denominator, size):  # type: ignore[no-untyped-def]
    """The quotient, NaN where the denominator is nothing beside its natural size, or that is zero itself."""
    return numerator / denominator if size > 0.0 and denominator > NOTHING * size else np.nan
