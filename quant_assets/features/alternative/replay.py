"""The records of one symbol and field as they were known at each bar's end, as compiled loops over arrays.

Versions are in order of their known_at; `record` numbers the record that each is a version of. Instants are int64
microseconds. A version counts for a bar from known_at <= the bar's end on, its event time for nothing but the order of
periods.
"""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.kernels import loop

_loop = loop()


@_loop
def _latest(live: np.ndarray, event: np.ndarray, turn: np.ndarray, but: int) -> int:
    """The living record of the latest event, of equal ones the one said last; not `but`. -1 where there is none."""
    best = -1
    for each in range(live.size):
        if each == but or math.isnan(live[each]):
            continue
        if best < 0 or event[each] > event[best] or (event[each] == event[best] and turn[each] > turn[best]):
            best = each
    return best


@_loop
def levels(
    end: np.ndarray, known: np.ndarray, event: np.ndarray, value: np.ndarray, record: np.ndarray, out: np.ndarray
) -> np.ndarray:
    """For each bar (ends in order): rows of `out` are the value of the latest event known, and of the one before it.

    Returns the places among the versions of the value in force and of the one before, -1 where there is none.
    """
    count = record.max() + 1
    live, when, turn = np.full(count, np.nan), np.zeros(count, np.int64), np.full(count, -1, np.int64)
    places = np.full((2, end.size), -1, np.int64)
    at, best, second = 0, -1, -1
    for i in range(end.size):
        while at < known.size and known[at] <= end[i]:
            each = record[at]
            # What was first or second may fall back; anything else can only come forward.
            back = each in (best, second)
            live[each], when[each], turn[each] = value[at], event[at], at
            if back:
                best = _latest(live, when, turn, -1)
                second = _latest(live, when, turn, best) if best >= 0 else -1
            elif not math.isnan(value[at]):
                if best < 0 or event[at] >= when[best]:
                    best, second = each, best
                elif second < 0 or event[at] >= when[second]:
                    second = each
            at += 1
        for row, each in enumerate((best, second)):
            if each >= 0:
                out[row, i] = live[each]
                places[row, i] = turn[each]
    return places


@_loop
def flows(
    end: np.ndarray,
    first: np.ndarray,
    known: np.ndarray,
    value: np.ndarray,
    record: np.ndarray,
    window: int,
    out: np.ndarray,
) -> None:
    """For each bar (ends in order): rows of `out` are count, sum and number above zero of the living records that first
    became known within `window` before its end.

    `first` is when each record became known, in order. A sum is made anew when something has come, gone or changed, so
    that it is a function of the window alone.
    """
    live = np.full(first.size, np.nan)
    at = low = high = 0
    count = total = above = 0.0
    for i in range(end.size):
        changed = False
        while at < known.size and known[at] <= end[i]:
            live[record[at]] = value[at]
            changed = changed or first[record[at]] > end[i] - window
            at += 1
        while high < first.size and first[high] <= end[i]:
            high += 1
            changed = True
        while low < high and first[low] <= end[i] - window:
            low += 1
            changed = True
        if changed:
            count = total = above = 0.0
            for each in range(low, high):
                if not math.isnan(live[each]):
                    count += 1.0
                    total += live[each]
                    above += live[each] > 0.0
        out[0, i], out[1, i], out[2, i] = count, total, above
