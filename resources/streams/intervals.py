"""Intervals of time, both ends included: what of them bars see in part, and what is left without others. Pure."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[int, int]
"""Two instants in UTC microseconds, both included."""

LATE = 43_200_000_000
"""A trade is not told more than so long after it happened, in microseconds: what is older needs no mark."""


def edges(since: int, until: int, step: int) -> list[Interval]:
    """Of an interval that nobody followed, both ends included: the rest of the bar of `step` in which it begins, and
    LATE up to its end with all of the bars in it.

    >>> edges(5, 34, 10)
    [(5, 34)]
    >>> edges(5, 2 * LATE + 4, 10) == [(5, 9), (LATE, 2 * LATE + 4)]
    True
    """
    if since > until:
        return []
    last = max(since, until + 1 - (until + 1) % step - LATE), until
    begun = (since, since - since % step + step - 1)
    return [begun, last] if since % step and begun[1] < last[0] else [last]


def without(intervals: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """What is left of these without the others, in order.

    >>> without([(0, 9)], [(3, 4), (8, 12)])
    [(0, 2), (5, 7)]
    """
    left = sorted(intervals)
    for first, last in others:
        cut = [
            part
            for ts, until in left
            for part in ((ts, min(until, first - 1)), (max(ts, last + 1), until))
            if part[0] <= part[1]
        ]
        left = sorted(set(cut))
    return left
