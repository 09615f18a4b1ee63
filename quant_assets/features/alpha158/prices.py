"""Windows of prices: regression on time, place among the last closes, extremes, and rises against falls."""

from __future__ import annotations

import numpy as np

from quant_assets.features.alpha158.windows import BEFORE, WINDOWS, block_of, nested, padded
from quant_assets.features.kernels import inner
from quant_assets.features.precision import NOTHING


@nested(inputs=["adj_close"], names=["roc", "ma", "std", "beta", "rsqr", "resi"])
def regression(x, p, out):  # type: ignore[no-untyped-def]
    """Close `window` bars ago, mean, standard deviation, slope and residual of the least-squares line, each over the
    close; and the line's R squared, NaN where the closes are all alike.

    With d = close of a lag - close now, S the sums over the window of n: slope = ((n-1)/2 S(d) - S(lag d)) / (n (n^2-1)
    / 12), residual = -S(d)/n - slope (n-1)/2.
    """
    close = padded(x[0])
    block, bars = block_of(x, p), x.shape[1]
    total, square, tilted = np.empty(block), np.empty(block), np.empty(block)
    for start in range(BEFORE + int(p[0]), close.size, block):
        now = close[start : start + block]
        total[:], square[:], tilted[:] = 0.0, 0.0, 0.0
        done = 1
        for w in range(len(WINDOWS)):
            n = WINDOWS[w]
            if n > bars:
                break
            for lag in range(done, n):
                _tilt(close[start - lag : start - lag + now.size], now, lag, total, square, tilted)
            done = n
            slope_scale, half = n * (n * n - 1.0) / 12.0, (n - 1) / 2.0
            for i in range(max(0, BEFORE + n - 1 - start), now.size):
                at, c = start + i - BEFORE, now[i]
                spread = max(0.0, square[i] - total[i] * total[i] / n)
                slope = (half * total[i] - tilted[i]) / slope_scale
                out[w, at] = close[start + i - n] / c
                out[5 + w, at] = 1.0 + total[i] / n / c
                out[10 + w, at] = np.sqrt(spread / (n - 1)) / c
                out[15 + w, at] = slope / c
                alike = spread <= n * (NOTHING * c) ** 2
                out[20 + w, at] = np.nan if alike else min(1.0, slope * slope * slope_scale / spread)
                out[25 + w, at] = (-total[i] / n - slope * half) / c


@inner
def _tilt(past, now, lag, total, square, tilted):  # type: ignore[no-untyped-def]
    for i in range(past.size):
        difference = past[i] - now[i]
        total[i] += difference
        square[i] += difference * difference
        tilted[i] += lag * difference


@nested(inputs=["adj_high", "adj_low", "adj_close"], names=["max", "min", "rsv", "imax", "imin", "imxd"])
def extremes(x, p, out):  # type: ignore[no-untyped-def]
    """Highest high and lowest low over the close; where the close lies from that low (0) to that high (1), 0 where they
    are one price; how far into the window the two stood, the first of equal ones, from 1/window to 1; and the
    difference of these.
    """
    high, low, close = padded(x[0]), padded(x[1]), padded(x[2])
    block, bars = block_of(x, p), x.shape[1]
    most, least = np.empty(block), np.empty(block)
    age_most, age_least = np.empty(block), np.empty(block)
    for start in range(BEFORE + int(p[0]), close.size, block):
        size = min(block, close.size - start)
        most[:size], least[:size] = high[start : start + size], low[start : start + size]
        age_most[:], age_least[:] = 0.0, 0.0
        done = 1
        for w in range(len(WINDOWS)):
            n = WINDOWS[w]
            if n > bars:
                break
            for lag in range(done, n):
                first, end = start - lag, start - lag + size
                _further(high[first:end], low[first:end], lag, most, least, age_most, age_least)
            done = n
            for i in range(max(0, BEFORE + n - 1 - start), size):
                at = start + i - BEFORE
                c, span = close[start + i], most[i] - least[i]
                out[w, at] = most[i] / c
                out[5 + w, at] = least[i] / c
                out[10 + w, at] = (c - least[i]) / span if span > NOTHING * c else 0.0
                out[15 + w, at] = (n - age_most[i]) / n
                out[20 + w, at] = (n - age_least[i]) / n
                out[25 + w, at] = (age_least[i] - age_most[i]) / n


@inner
def _further(high, low, lag, most, least, age_most, age_least):  # type: ignore[no-untyped-def]
    # The oldest of equal extremes counts, and what differs by rounding is equal.
    for i in range(high.size):
        age_most[i] = lag if high[i] >= most[i] * (1.0 - NOTHING) else age_most[i]
        most[i] = max(most[i], high[i])
        age_least[i] = lag if low[i] <= least[i] * (1.0 + NOTHING) else age_least[i]
        least[i] = min(least[i], low[i])


@nested(inputs=["adj_close"], names=["qtlu", "qtld", "rank"])
def order(x, p, out):  # type: ignore[no-untyped-def]
    """The 80% and 20% quantiles of the closes (between two, in proportion) over the close; and the share of closes
    at or below the current one, equal ones counting half and itself half.

    Quantiles come from the window kept in order from bar to bar: that compares and never adds, so it keeps no rounding.
    """
    close = x[0]
    kept = np.empty(WINDOWS[-1])
    for w in range(len(WINDOWS)):
        n = WINDOWS[w]
        if close.size < n:
            break
        begin = max(n - 1, int(p[0]))
        kept[:n] = np.sort(close[begin + 1 - n : begin + 1])
        upper, lower = 0.8 * (n - 1), 0.2 * (n - 1)
        up, down = int(upper), int(lower)
        for i in range(begin, close.size):
            if i > begin:
                _replace(kept, n, close[i - n], close[i])
            top, bottom = kept[up], kept[down]
            out[w, i] = (top + (upper - up) * (kept[up + 1] - top)) / close[i]
            out[5 + w, i] = (bottom + (lower - down) * (kept[down + 1] - bottom)) / close[i]
    _ranks(padded(close), int(p[0]), block_of(x, p), out[10:])


@inner
def _replace(kept, n, old, new):  # type: ignore[no-untyped-def]
    """Take the old value out of the n ordered ones and put the new one where it belongs."""
    at, end = 0, n
    while at < end:
        middle = (at + end) // 2
        if kept[middle] < old:
            at = middle + 1
        else:
            end = middle
    while at + 1 < n and kept[at + 1] < new:
        kept[at] = kept[at + 1]
        at += 1
    while at > 0 and kept[at - 1] > new:
        kept[at] = kept[at - 1]
        at -= 1
    kept[at] = new


@inner
def _ranks(close, first, block, out):  # type: ignore[no-untyped-def]
    below, bars = np.empty(block), close.size - BEFORE
    for start in range(BEFORE + first, close.size, block):
        now = close[start : start + block]
        below[:] = 0.5
        done = 1
        for w in range(len(WINDOWS)):
            n = WINDOWS[w]
            if n > bars:
                break
            for lag in range(done, n):
                _below(close[start - lag : start - lag + now.size], now, below)
            done = n
            for i in range(max(0, BEFORE + n - 1 - start), now.size):
                out[w, start + i - BEFORE] = (below[i] + 0.5) / n


@inner
def _below(past, now, below):  # type: ignore[no-untyped-def]
    for i in range(past.size):
        less = 0.5 if past[i] <= now[i] * (1.0 + NOTHING) else 0.0
        below[i] += less + (0.5 if past[i] < now[i] * (1.0 - NOTHING) else 0.0)


@nested(inputs=["adj_close"], names=["cntp", "cntn", "cntd", "sump", "sumn", "sumd"])
def moves(x, p, out):  # type: ignore[no-untyped-def]
    """Shares of closes that rose, that fell, and their difference; sums of rises, of falls, and their difference over
    the sum of both, 0 where nothing moved.
    """
    close = padded(x[0])
    rise, fall = np.empty(close.size), np.empty(close.size)
    changes(close, rise, fall)
    block, bars = block_of(x, p), x.shape[1]
    up, down, gained, lost = np.empty(block), np.empty(block), np.empty(block), np.empty(block)
    for start in range(BEFORE + int(p[0]), close.size, block):
        size = min(block, close.size - start)
        up[:], down[:], gained[:], lost[:] = 0.0, 0.0, 0.0, 0.0
        done = 0
        for w in range(len(WINDOWS)):
            n = WINDOWS[w]
            if n > bars:
                break
            for lag in range(done, n):
                first, end = start - lag, start - lag + size
                _count(rise[first:end], fall[first:end], up, down, gained, lost)
            done = n
            for i in range(max(0, BEFORE + n - start), size):
                at = start + i - BEFORE
                both = gained[i] + lost[i]
                scale = 1.0 / both if both > 0.0 else 0.0
                out[w, at] = up[i] / n
                out[5 + w, at] = down[i] / n
                out[10 + w, at] = (up[i] - down[i]) / n
                out[15 + w, at] = gained[i] * scale
                out[20 + w, at] = lost[i] * scale
                out[25 + w, at] = (gained[i] - lost[i]) * scale


@inner
def _count(rise, fall, up, down, gained, lost):  # type: ignore[no-untyped-def]
    for i in range(rise.size):
        up[i] += 1.0 if rise[i] > 0.0 else 0.0
        down[i] += 1.0 if fall[i] > 0.0 else 0.0
        gained[i] += rise[i]
        lost[i] += fall[i]


@inner
def changes(values, rise, fall):  # type: ignore[no-untyped-def]
    """Rise and fall since the bar before, 0 within rounding; NaN for the first bar."""
    rise[:1], fall[:1] = np.nan, np.nan
    for i in range(1, values.size):
        change = values[i] - values[i - 1]
        change = change if abs(change) > NOTHING * abs(values[i]) else 0.0 * change
        rise[i], fall[i] = max(change, 0.0), max(-change, 0.0)
