"""What sessions that are over owe: which were not recorded to their end in good order, what of them is missing. Pure.

A run marks the lines that it follows among the findings before it follows them, with the end of its session; and that
all has ended in good order, when it has (rows.Mark). Lines whose marks stand were left by a run that was killed or
failed: what happened from their last rows on is told as lost by the next run, whenever that comes, up to the end of
that session, and of each other that was over before it came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from resources.streams.base import ENDED, Event, Line, Lost, Repaired
from resources.streams.clock import SECOND
from resources.streams.intervals import Interval
from resources.streams.rows import FOLLOWED, FOLLOWING, GIVEN_UP, OPEN, Mark
from resources.streams.track import DISCONNECTED

ASKED_BACK = 7 * 86_400 * SECOND
"""What is missing of sessions is asked for where it ended no longer ago than this before the one that is followed."""

TOO_LONG_AGO = "missed more than 7 days ago; materialize market_data/trades and quotes of those days"
NOT_FOLLOWED = "it is not followed any more"


class Sessions(NamedTuple):
    """ends: when the one ends that is followed. before: those since an instant that were over before it began, each
    with its begin and end, in order."""

    ends: int
    before: Callable[[int], Sequence[Interval]]


class Owed(NamedTuple):
    """missed: to be told as lost and repaired, of lines that are followed. given_up: Lost and Repaired of the rest."""

    missed: list[Lost]
    given_up: list[Event]


def following(findings: pl.DataFrame) -> dict[Line, Interval]:
    """The lines whose marks stand: since when they are followed, and the end of that session."""
    found: dict[Line, Interval] = {}
    told = findings.filter(pl.col("what").is_in([FOLLOWING, FOLLOWED])).sort("told_at")
    times = pl.col("ts", "until").to_physical()
    for symbol, kind, what, ts, until in told.select("symbol", "kind", "what", times).iter_rows():
        if what == FOLLOWED:
            found = {}
        else:
            found[Line(symbol, kind)] = (ts, until)
    return found


def followed_last(findings: pl.DataFrame) -> tuple[set[Line], int | None]:
    """The lines that were marked last, and when they ended in good order, None where they did not."""
    lines, ended = set[Line](), None
    told = findings.filter(pl.col("what").is_in([FOLLOWING, FOLLOWED])).sort("told_at")
    for symbol, kind, what, ts in told.select("symbol", "kind", "what", pl.col("ts").to_physical()).iter_rows():
        if what == FOLLOWED:
            ended = ts
            continue
        if ended is not None:
            lines, ended = set(), None
        lines.add(Line(symbol, kind))
    return lines, ended


def ended_at(line: Line, last: tuple[Collection[Line], int | None], since: int) -> int:
    """Until when a line was followed, by the marks of the `last` ones; -1 where nobody says. since: from when on it is
    asked for, -1 where it is not."""
    lines, ended = last
    if line in lines and ended is not None:
        return ended
    return since if line in lines or not lines else -1  # what of it is not told as lost was followed


def marks(lines: Mapping[Line, Interval], now: int) -> list[Mark]:
    """That these are followed, and nothing else."""
    told = [Mark(line.symbol, ts, line.kind, ends, FOLLOWING) for line, (ts, ends) in lines.items()]
    return [Mark("", now, None, now, FOLLOWED), *told]


def unclosed(gaps: pl.DataFrame) -> dict[Line, list[Interval]]:
    """The gaps (rows.GAPS) that nobody closed."""
    ended = (pl.col("state") == GIVEN_UP) & (pl.col("detail") == ENDED)
    found: dict[Line, list[Interval]] = {}
    # One of an instant is asked for from before it, so that what is said of that is told from its own.
    begins = pl.col("ts").to_physical() - (pl.col("ts") == pl.col("until")).cast(pl.Int64)
    left = gaps.filter((pl.col("state") == OPEN) | ended)
    for symbol, kind, ts, until in left.select("symbol", "kind", begins, pl.col("until").to_physical()).iter_rows():
        found.setdefault(Line(symbol, kind), []).append((ts, until))
    return found


def dropped(gaps: pl.DataFrame) -> dict[Line, list[Interval]]:
    """The gaps (rows.GAPS) that were given up since their lines were not followed any more."""
    found: dict[Line, list[Interval]] = {}
    left = gaps.filter(pl.col("state") == GIVEN_UP, pl.col("detail") == NOT_FOLLOWED)
    for symbol, kind, ts, until in left.select("symbol", "kind", pl.col("ts", "until").to_physical()).iter_rows():
        found.setdefault(Line(symbol, kind), []).append((ts, until))
    return found


def unrecorded(since: int, ends: int, sessions: Sessions) -> list[Interval]:
    """What is missing of a line whose last session was recorded up to `since`: the rest of it, and what followed."""
    later = [(max(begin, ends), end) for begin, end in sessions.before(ends) if end > ends]
    return [(since, max(since, ends - 1)), *((begin, end - 1) for begin, end in later)]


def owed(
    lines: Collection[Line],
    left: Mapping[Line, Sequence[Interval]],
    open_: Mapping[Line, Sequence[Interval]],
    begins: int,
) -> Owed:
    """What is told of sessions that were over when the one that is followed began.

    left: what was not recorded; open_: gaps that are told as lost already, and were not closed.
    """
    limit = begins - ASKED_BACK
    found = Owed([], [])
    for line in sorted({*left, *open_}):
        mine = list(left.get(line, ()))
        asked = [(ts, until) for ts, until in mine if until >= limit] if line in lines else []
        gone = [one for one in mine if one not in asked]
        if gone:  # one interval, however many sessions it holds
            ts, until, why = gone[0][0], gone[-1][1], TOO_LONG_AGO if line in lines else NOT_FOLLOWED
            found.given_up.append(_lost(line, ts, until))
            found.given_up.append(Repaired(line.symbol, ts, line.kind, until, 0, None, why))
        for ts, until in open_.get(line, ()):
            if line in lines and until >= limit:
                asked.append((ts, until))
            else:
                why = TOO_LONG_AGO if line in lines else NOT_FOLLOWED
                found.given_up.append(Repaired(line.symbol, ts, line.kind, until, 0, None, why))
        if line in lines:
            found.missed.extend(_lost(line, ts, until) for ts, until in _apart(asked))
    return found


def told_of(since: Mapping[Line, int], now: int) -> list[Lost]:
    """What is missed of the session that is followed, by lines that are asked for from these instants on."""
    return [_lost(line, ts, now) for line, ts in since.items() if ts <= now]


def _apart(intervals: Iterable[Interval]) -> list[Interval]:
    """In order, those that meet as one.

    >>> _apart([(5, 9), (1, 3), (8, 12)])
    [(1, 3), (5, 12)]
    """
    found: list[Interval] = []
    for ts, until in sorted(intervals):
        if found and ts <= found[-1][1]:
            found[-1] = found[-1][0], max(until, found[-1][1])
        else:
            found.append((ts, until))
    return found


def _lost(line: Line, ts: int, until: int) -> Lost:
    return Lost(line.symbol, ts, line.kind, until, None, DISCONNECTED)
