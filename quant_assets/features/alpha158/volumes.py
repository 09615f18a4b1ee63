"""Windows of volume: its correlation with prices, its mean and deviation, and rises against falls."""

from __future__ import annotations

import numpy as np

from quant_assets.features.alpha158.prices import changes
from quant_assets.features.alpha158.windows import BEFORE, WINDOWS, block_of, nested, padded
from quant_assets.features.kernels import inner
from quant_assets.features.precision import NOTHING


@nested(inputs=["adj_close", "adj_volume", "volume"], names=["corr"])
def price_volume(x, p, out):  # type: ignore[no-untyped-def]
    """Correlation of the close with log(volume + 1 share); NaN where either is all alike.

    One share is one as it was traded at the time: in adjusted volume it is adj_volume / volume, and on a bar without
    volume what it was on the last one of the window with any. So later splits change nothing.
    """
    close, volume = padded(x[0]), padded(x[1])
    traded, logs = np.ones(close.size), np.zeros(close.size)
    share, base = np.zeros(close.size), np.zeros(close.size)
    last = np.zeros(close.size)
    _shares(volume, padded(x[2]), traded, logs, share, base, last)
    block, bars = block_of(x, p), x.shape[1]
    sums = np.empty((7, block))
    for start in range(BEFORE + int(p[0]), close.size, block):
        size = min(block, close.size - start)
        now, usual = close[start : start + size], base[start : start + size]
        sums[:] = 0.0
        done = 0
        for w in range(len(WINDOWS)):
            n = WINDOWS[w]
            if n > bars:
                break
            for lag in range(done, n):
                first, end = start - lag, start - lag + size
                _pair(close[first:end], now, logs[first:end], usual, traded[first:end], sums)
            done = n
            for i in range(max(0, BEFORE + n - 1 - start), size):
                at = start + i
                one = share[at] - base[at]
                y, yy = sums[2, i] + sums[5, i] * one, sums[3, i] + sums[5, i] * one * one
                xy = sums[4, i] + sums[6, i] * one
                known = last[at] > at - n
                least = NOTHING * close[at]
                value = _correlation(n, sums[0, i], sums[1, i], y, yy, xy, least)
                out[w, at - BEFORE] = value if known else np.nan


@inner
def _shares(volume, plain, traded, logs, share, base, last):  # type: ignore[no-untyped-def]
    """log(volume + one share), and of the last traded bar: its place, its log, and the log of one share."""
    place, own, one = -np.inf, 0.0, 0.0
    for i in range(volume.size):
        if volume[i] == 0.0:
            traded[i] = 0.0
        else:
            unit = volume[i] / plain[i] if plain[i] > 0.0 else np.nan
            place, one, own = i, np.log(unit), np.log(volume[i] + unit)
            logs[i] = own
        last[i], share[i], base[i] = place, one, own


@inner
def _pair(past, now, logs, base, traded, sums):  # type: ignore[no-untyped-def]
    x, xx, y, yy, xy, idle, idle_x = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6]
    for i in range(past.size):
        a = past[i] - now[i]
        b = (logs[i] - base[i]) * traded[i]
        x[i] += a
        xx[i] += a * a
        y[i] += b
        yy[i] += b * b
        xy[i] += a * b
        idle[i] += 1.0 - traded[i]
        idle_x[i] += a * (1.0 - traded[i])


@inner
def _correlation(n, x, xx, y, yy, xy, least):  # type: ignore[no-untyped-def]
    """From the sums of n pairs; NaN where the first's deviation is not above `least`, or the second's nothing."""
    across, along = xx - x * x / n, yy - y * y / n
    if across <= max(n * least * least, 1e-12 * xx) or along <= max(n * NOTHING * NOTHING, 1e-12 * yy):
        return np.nan
    return min(1.0, max(-1.0, (xy - x * y / n) / np.sqrt(across * along)))


@nested(inputs=["adj_close", "adj_volume"], names=["cord"])
def change_change(x, p, out):  # type: ignore[no-untyped-def]
    """Correlation of close / last close with log(volume / last volume + 1); NaN where either is all alike.

    A bar whose last volume is zero or unknown has no such change and is left out.
    """
    close, volume = padded(x[0]), padded(x[1])
    there, first, second = np.zeros(close.size), np.zeros(close.size), np.zeros(close.size)
    for i in range(1, close.size):
        if volume[i - 1] > 0.0 and volume[i] >= 0.0:
            there[i] = 1.0
            first[i] = close[i] / close[i - 1] - 1.0
            second[i] = np.log((volume[i] / volume[i - 1] + 1.0) / 2.0)
    block, bars = block_of(x, p), x.shape[1]
    sums = np.empty((6, block))
    for start in range(BEFORE + int(p[0]), close.size, block):
        size = min(block, close.size - start)
        sums[:] = 0.0
        done = 0
        for w in range(len(WINDOWS)):
            n = WINDOWS[w]
            if n > bars:
                break
            for lag in range(done, n):
                begin, end = start - lag, start - lag + size
                _changes_pair(there[begin:end], first[begin:end], second[begin:end], sums)
            done = n
            for i in range(max(0, BEFORE + n - start), size):
                count, a, aa, b, bb, ab = sums[0, i], sums[1, i], sums[2, i], sums[3, i], sums[4, i], sums[5, i]
                out[w, start + i - BEFORE] = _correlation(count, a, aa, b, bb, ab, NOTHING) if count > 1.5 else np.nan


@inner
def _changes_pair(there, first, second, sums):  # type: ignore[no-untyped-def]
    count, x, xx, y, yy, xy = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    for i in range(there.size):
        count[i] += there[i]
        x[i] += first[i]
        xx[i] += first[i] * first[i]
        y[i] += second[i]
        yy[i] += second[i] * second[i]
        xy[i] += first[i] * second[i]


@nested(inputs=["adj_close", "adj_volume"], names=["vma", "vstd", "wvma", "vsump", "vsumn", "vsumd"])
def volumes(x, p, out):  # type: ignore[no-untyped-def]
    """Mean and deviation of volume over the current one, NaN where that is zero; deviation over mean of |return| times
    volume; rises, falls and their difference over both sums. 0 where both sums, or the mean, are zero.
    """
    close, volume = padded(x[0]), padded(x[1])
    rise, fall, weighted = np.empty(close.size), np.empty(close.size), np.empty(close.size)
    changes(volume, rise, fall)
    weighted[:1] = np.nan
    for i in range(1, close.size):
        change = abs(close[i] / close[i - 1] - 1.0)
        weighted[i] = change * volume[i] if change > NOTHING else 0.0 * volume[i]
    block, bars = block_of(x, p), x.shape[1]
    sums = np.empty((6, block))
    for start in range(BEFORE + int(p[0]), close.size, block):
        size = min(block, close.size - start)
        now, moved = volume[start : start + size], weighted[start : start + size]
        sums[:] = 0.0
        done = 0
        for w in range(len(WINDOWS)):
            n = WINDOWS[w]
            if n > bars:
                break
            for lag in range(done, n):
                first, end = start - lag, start - lag + size
                _deviate(volume[first:end], now, sums[0], sums[1])
                _deviate(weighted[first:end], moved, sums[2], sums[3])
                _add(rise[first:end], fall[first:end], sums[4], sums[5])
            done = n
            _write_volumes(volume, weighted, start, size, w, n, sums, out)


@inner
def _write_volumes(volume, weighted, start, size, w, n, sums, out):  # type: ignore[no-untyped-def]
    for i in range(max(0, BEFORE + n - 1 - start), size):
        at, here = start + i - BEFORE, start + i
        scale = 1.0 / volume[here] if volume[here] > 0.0 else np.nan
        out[w, at] = 1.0 + sums[0, i] / n * scale
        out[5 + w, at] = np.sqrt(max(0.0, sums[1, i] - sums[0, i] * sums[0, i] / n) / (n - 1)) * scale
        mean = weighted[here] + sums[2, i] / n
        deviation = np.sqrt(max(0.0, sums[3, i] - sums[2, i] * sums[2, i] / n) / (n - 1))
        out[10 + w, at] = deviation / mean if mean > NOTHING * deviation else 0.0 * mean
        both = sums[4, i] + sums[5, i]
        share = 1.0 / both if both > 0.0 else 0.0 * both
        out[15 + w, at] = sums[4, i] * share
        out[20 + w, at] = sums[5, i] * share
        out[25 + w, at] = (sums[4, i] - sums[5, i]) * share


@inner
def _deviate(past, now, total, square):  # type: ignore[no-untyped-def]
    for i in range(past.size):
        difference = past[i] - now[i]
        total[i] += difference
        square[i] += difference * difference


@inner
def _add(rise, fall, up, down):  # type: ignore[no-untyped-def]
    for i in range(rise.size):
        up[i] += rise[i]
        down[i] += fall[i]
