"""Events of a gateway kept in the lake, so that a job that is killed goes on where it was.

    recorder = Recorder(lake, "binance")
    recorder.rotate()                           # what another left; not needed, but then the next is quick
    since = recorder.resume(lines, begins)      # what of the lines is to be asked for again, and from when on
    recorder.begin()                            # with `sessions`: that they are followed, and what was missed before
    recorder.store(recorder.new(events))        # on the disk when it returns
    recorder.rotate()                           # now and then: what was stored goes to its partitions
    recorder.end()                              # with `sessions`: that all ended in good order

What `store` is given is one file, written whole or not at all:

    <lake>/streams/open/segment=N/part.parquet             trades, quotes, bars and findings, as they came
    <lake>/streams/trades/symbol=S/date=D/part.parquet     the same, sorted, each row once; D is the day in UTC
    <lake>/streams/findings/date=D/part.parquet            what was lost, repaired, given up; how connections were

`rotate` merges segments into partitions and only then removes them: one that is killed in between is merged again, and
a row that is there already is not doubled. `recorded` reads both. One writer at a time; any number of readers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from threading import Lock
from typing import NamedTuple

import fsspec
import polars as pl

from resources.lake import Lake
from resources.streams.base import Event, Kind, Line, Lost
from resources.streams.clock import SECOND, SystemClock
from resources.streams.known import Known
from resources.streams.owed import (
    ASKED_BACK,
    Interval,
    Sessions,
    dropped,
    ended_at,
    followed_last,
    following,
    marks,
    owed,
    told_of,
    unclosed,
    unrecorded,
)
from resources.streams.repair import instant
from resources.streams.rows import (
    FOLLOWED,
    FOLLOWING,
    GIVEN_UP,
    LOST,
    REPAIRED,
    TABLES,
    Mark,
    frames,
    gaps,
    identities,
    settled,
)
from resources.streams.stored import (
    OPEN_SEGMENTS,
    Found,
    collected,
    find,
    find_all,
    find_since,
    open_gaps,
    recorded,
    recorded_since,
    scan,
    segments,
)
from resources.streams.watch import BAR_LAG

__all__ = ["OPEN_SEGMENTS", "Recorder", "Rotated", "Stand", "open_gaps", "recorded", "recorded_since"]

TABLE_OF: Mapping[Kind, str] = {"trade": "trades", "quote": "quotes", "bar": "bars"}
SEGMENT = pl.Schema(
    {"table": pl.String(), **{name: kind for table in TABLES.values() for name, kind in table.schema.items()}}
)

MARGIN, SLACK = 60 * SECOND, 5 * SECOND
"""A line that had been quiet is asked from so long before the newest row of all; and each from so much earlier, since
rows may have come in disorder when it ended; bars by BAR_LAG more."""

AGAIN = 120 * SECOND
"""Rows of so long before the newest of a line are likely to come again: they are kept in memory."""

MARKED_DAYS = 31
"""Of so many days that findings are held of the last marks are looked for."""

SYMBOLS_AT_ONCE = 50


class Rotated(NamedTuple):
    """A partition that has got rows: its table, the day in UTC, symbols, and the rows it holds now."""

    table: str
    date: str
    symbols: int
    rows: int


class Stand(NamedTuple):
    """How far a line is stored. since: from when on nothing of it may be missing, and whether it is to be `asked` for.
    newest: the time of its newest row, not later than that came; -1 without any. ended: until when it was followed
    before; -1 where nobody says."""

    since: int
    asked: bool
    newest: int
    ended: int = -1


class Recorder:
    """Stores the events of one gateway. provider: named in each row. now: UTC microseconds, for what has no stamp.

    stands: of each line, as `resume` found it. newest: the time of the newest row of all that it found. missed: what
    of sessions that are over is to be told as lost and repaired, beside what `resume` gives.
    """

    def __init__(self, lake: Lake, provider: str, now: Callable[[], int] | None = None) -> None:
        _sweep(lake)
        self.lake, self.provider = lake, provider
        self.now = now or SystemClock().now
        self._number = self._before = max(segments(lake), default=0)
        self._told_at = 0
        self._known = Known(self._stored)
        self._moving = Lock()  # held while partitions are replaced
        self.stands: dict[Line, Stand] = {}
        self.missed: list[Lost] = []
        self._given_up: list[Event] = []
        self._following: dict[Line, Interval] = {}  # as the marks say that stand in the lake
        self._sessions: Sessions | None = None
        self.stored = 0
        self.newest: int | None = None

    def store(self, events: Iterable[Event | Mark]) -> int:
        """Keep these; they are in the lake when it returns how many rows they are. Raises LakeError."""
        now = self.now()
        found = frames(events, self.provider, now, max(self._told_at, now))
        if "findings" in found:  # each has its own instant, in their order
            self._told_at = max(self._told_at, now) + found["findings"].height
        rows = pl.concat(
            [
                pl.DataFrame(schema=SEGMENT),
                *(frame.with_columns(table=pl.lit(name)) for name, frame in found.items()),
            ],
            how="diagonal",
        )
        if rows.is_empty():
            return 0
        # By the machine's time, so that a number is never given twice, not even when all segments are gone.
        self._number = max(self._number + 1, SystemClock().now())
        with self.lake.writing(OPEN_SEGMENTS) as staging:
            staging.write([({"segment": f"{self._number:020d}"}, rows)])
        self.stored += rows.height
        return rows.height

    def rotate(self) -> list[Rotated]:
        """Move what is stored into its partitions; those that have got rows, by table and day. Raises LakeError."""
        numbers = segments(self.lake)
        if not numbers:
            return []
        rows = scan(self.lake, numbers)
        held = rows.select("table", "symbol").unique().sort("table", "symbol").collect()
        told: list[Rotated] = []
        for (name,), part in held.group_by("table", maintain_order=True):
            symbols = part["symbol"].to_list()
            groups = [symbols[at : at + SYMBOLS_AT_ONCE] for at in range(0, len(symbols), SYMBOLS_AT_ONCE)]
            told += self._merge(str(name), rows, [symbols] if name == "findings" else groups)
        _remove(self.lake, numbers)
        return told

    def _merge(self, name: str, rows: pl.LazyFrame, groups: Sequence[Sequence[str]]) -> list[Rotated]:
        asset, schema = ("streams", name), TABLES[name].schema
        merged: dict[str, list[int]] = {}
        keys = ["date"] if name == "findings" else ["symbol", "date"]
        for symbols in groups:
            mine = rows.filter(pl.col("table") == name, pl.col("symbol").is_in(list(symbols))).select(schema.names())
            dated = mine.collect().with_columns(date=pl.col("ts").dt.strftime("%Y-%m-%d"))
            symbol = [pl.col("symbol").alias("__symbol")] if len(keys) > 1 else []
            apart = dated.with_columns(*symbol).partition_by(
                ["__symbol", "date"] if symbol else ["date"], include_key=False, as_dict=True, maintain_order=True
            )
            with ExitStack() as moved, self.lake.writing(asset) as staging:
                for values, new in apart.items():
                    partition = dict(zip(keys, map(str, values), strict=True))
                    old = [self.lake.read(asset, partition)] if self.lake.exists(asset, partition) else []
                    whole = settled(name, pl.concat([*old, new]).lazy()).collect()
                    staging.write([(partition, whole)])
                    merged.setdefault(partition["date"], []).append(whole.height)
                moved.enter_context(self._moving)  # until the files have their names
        return [Rotated(name, date, len(counts), sum(counts)) for date, counts in sorted(merged.items())]

    def resume(self, lines: Collection[Line], begins: int, sessions: Sessions | None = None) -> dict[Line, int]:
        """From when on (UTC microseconds) each line is to be asked for, so that nothing since `begins` is missing.

        That is its last row that is stored, a minute before the newest row of all where it had been quiet for longer,
        or the beginning of a gap that nobody closed. Without any row it is the first connection since `begins`, or when
        it was first marked: what came on it was not stored. {} where there was none either: this is a first start.
        What is stored since then is known again by `new`.

        sessions: what those owe that ended before `begins` is looked for as well (`missed`); and where one was not
        recorded to its end, all since `begins` is asked for.
        """
        now = self.now()
        begins = min(begins, now)  # who comes early misses nothing, and goes on from then
        findings = self._findings(begins, now)
        self._sessions = sessions
        self._following = following(findings) if sessions else {}
        # Nor does who comes again to a session that was followed before its time.
        begins = min([begins, *(ts for ts, ends in self._following.values() if sessions and ends == sessions.ends)])
        first = begins - SLACK
        newest = self._newest(lines, first)
        last = {line: at for line, (at, _) in newest.items() if at >= first}
        self.newest = max(last.values(), default=None)
        told = gaps(findings)
        open_, again = unclosed(told), dropped(told)
        over = {line: mark for line, mark in self._following.items() if mark[1] <= begins}
        # What is not followed any more in this session is over for it now.
        gone = {
            line: (ts, now + 1) for line, (ts, ends) in self._following.items() if line not in lines and ends > begins
        }
        connected = _connected(findings, begins)
        last_marked = followed_last(findings if sessions else findings.clear())
        for line in lines:
            since = [ts for ts, until in (*open_.get(line, ()), *again.get(line, ())) if until >= first]
            if self.newest is not None:
                since.append(max(begins, _doubtful(line, last.get(line, begins), self.newest)))
            else:
                marked = [self._following[line][0]] if line in self._following.keys() - over.keys() else []
                begun = min([*marked, *([connected] if connected is not None else [])], default=None)
                since += [max(begins, begun - SLACK)] if begun is not None else []
            if line in over:
                since.append(begins)
            ended = over[line][1] if line in over else ended_at(line, last_marked, min(since, default=-1))
            self.stands[line] = Stand(min(since, default=begins), bool(since), last.get(line, -1), ended)
        if sessions:
            past = {line: [one for one in open_[line] if one[1] < first or line not in lines] for line in open_}
            self.missed, self._given_up = owed(lines, self._unrecorded({**over, **gone}, sessions), past, begins)
        self._remember([line for line in lines if line.kind != "bar"], first, newest)
        return self._asked()

    def begin(self) -> None:
        """What is missed is told, and that the lines are followed until their session ends: all at once, so that
        whoever comes next finds the one or the other. Nothing without sessions, and where that is told already."""
        if self._sessions is None:
            return
        now, ends, before = self.now(), self._sessions.ends, self._following
        marked = {line: before[line] if before.get(line, (0, 0))[1] == ends else (now, ends) for line in self.stands}
        told = [*self.missed, *self._given_up, *told_of(self._asked(), now)]
        if told or marked != before:
            self.store([*told, *marks(marked, now)])
            self._following = marked

    def end(self, at: int | None = None) -> None:
        """All that was followed has ended in good order, `at` that time (None: now), and what came is stored. Nothing
        without sessions."""
        if self._sessions is not None:
            self.store(marks({}, self.now() if at is None else at))
            self._following = {}

    def _asked(self) -> dict[Line, int]:
        return {line: stand.since for line, stand in self.stands.items() if stand.asked}

    def _findings(self, begins: int, now: int) -> pl.DataFrame:
        """What was told since gaps are asked for, and the gaps and marks of the last days that findings are held of."""
        today, since = f"{instant(now).date()}", begins - ASKED_BACK
        held = sorted(date for part in self.lake.partitions(("streams", "findings")) if (date := part["date"]) <= today)
        first = min([f"{instant(since).date()}", *held[-MARKED_DAYS:][:1]])
        kept = [FOLLOWING, FOLLOWED, LOST, REPAIRED, GIVEN_UP]
        wanted = pl.col("what").is_in(kept) | (pl.col("ts").to_physical() >= since)
        rows = find_all(self.lake, "findings", None, lambda date: first <= date <= today, [wanted]).rows
        return settled("findings", rows).collect()

    def _unrecorded(self, over: Mapping[Line, Interval], sessions: Sessions) -> dict[Line, list[Interval]]:
        """What is missing of these lines, whose sessions did not end in good order."""
        if not over:
            return {}
        first = min(ts for ts, _ in over.values()) - SLACK
        last = {line: at for line, (at, _) in self._newest(list(over), first).items() if at >= first}
        newest = max(last.values(), default=None)
        found = {}
        for line, (ts, ends) in over.items():
            since = ts if newest is None else max(ts, min(ends, _doubtful(line, last.get(line, ts), newest)))
            found[line] = unrecorded(since, ends, sessions)
        return found

    def _newest(self, lines: Collection[Line], first: int) -> dict[Line, tuple[int, int]]:
        """Of lines with rows since `first`: the time of the newest, not later than it came, and as it is stamped."""
        found: dict[Line, tuple[int, int]] = {}
        ts, came = pl.col("ts").to_physical(), pl.col("fetched_at").to_physical()
        for kind, names in _by_kind(lines).items():
            rows = find_since(self.lake, TABLE_OF[kind], names, first).rows
            newest = rows.group_by("symbol").agg(pl.min_horizontal(ts, came).max(), stamp=ts.max())
            found |= {Line(symbol, kind): (at, stamp) for symbol, at, stamp in newest.collect().iter_rows()}
        return found

    def _remember(self, lines: Collection[Line], first: int, newest: Mapping[Line, tuple[int, int]]) -> None:
        """Know the newest rows of these again; those before are read when one comes."""
        for kind, names in _by_kind(lines).items():
            begins = {name: max(first, newest.get(Line(name, kind), (0, 0))[0] - AGAIN) for name in names}
            rows = find_since(self.lake, TABLE_OF[kind], names, min(begins.values())).rows
            since = pl.LazyFrame({"symbol": names, "since": [begins[name] for name in names]})
            mine = rows.join(since, on="symbol", maintain_order="left").filter(
                pl.col("ts").to_physical() >= pl.col("since")
            )
            seen: dict[str, set[int]] = {name: set() for name in names}
            for symbol, one in identities(TABLE_OF[kind], mine):
                seen[symbol].add(one)
            for name in names:
                line = Line(name, kind)
                self._known.add(line, begins[name], newest.get(line, (0, begins[name] - 1))[1], seen[name])

    def new(self, events: Sequence[Event]) -> list[Event]:
        """After `resume`: the events without those that were stored before."""
        return self._known.new(events)

    def _stored(self, line: Line, since: int, until: int) -> set[int]:
        """The identities of the line's rows that were stored before `resume`, of one day."""
        table, at = TABLE_OF[line.kind], pl.col("ts").to_physical()
        within = [pl.col("symbol") == line.symbol, at.is_between(since, until, closed="left")]
        day = {"symbol": line.symbol, "date": f"{instant(since).date()}"}

        def rows() -> Found:
            before = [number for number in segments(self.lake) if number <= self._before]
            held = [day] if self.lake.exists(("streams", table), day) else []
            return find(self.lake, table, held, within, before)

        with self._moving:
            return {seen for _, seen in collected(rows, lambda found: identities(table, found))}


def _connected(findings: pl.DataFrame, begins: int) -> int | None:
    """When a gateway was connected for the first time since then."""
    ts = pl.col("ts").to_physical()
    when = findings.filter(pl.col("symbol") == "", pl.col("what") == "connected", ts >= begins).select(ts.min())
    return when.item()


def _doubtful(line: Line, last: int, newest: int) -> int:
    """From when on a line may lack something whose newest row is of `last`, and the newest row of all of `newest`."""
    return max(last, newest - MARGIN) - SLACK - (BAR_LAG if line.kind == "bar" else 0)


def _by_kind(lines: Collection[Line]) -> dict[Kind, list[str]]:
    """The symbols of the lines, kind by kind."""
    apart: dict[Kind, list[str]] = {}
    for line in lines:
        apart.setdefault(line.kind, []).append(line.symbol)
    return apart


def _remove(lake: Lake, numbers: Sequence[int]) -> None:
    files, _ = fsspec.core.url_to_fs(lake.url)
    for number in numbers:
        files.rm(lake.folder(OPEN_SEGMENTS, {"segment": f"{number:020d}"}), recursive=True)


def _sweep(lake: Lake) -> None:
    """Remove what a writer that was killed has left of a segment that it had not finished."""
    files, _ = fsspec.core.url_to_fs(lake.url)
    base = lake.folder(OPEN_SEGMENTS)
    whole = {lake.folder(OPEN_SEGMENTS, part).rpartition("/")[2] for part in lake.partitions(OPEN_SEGMENTS)}
    for folder in files.ls(base, detail=False) if files.exists(base) else ():
        if str(folder).rpartition("/")[2] not in whole:
            files.rm(folder, recursive=True)


def _days(since: int, until: int) -> list[str]:
    """The days in UTC from one instant to another."""
    first, last = instant(since).date(), instant(until).date()
    return [f"{first + timedelta(days=at)}" for at in range(max(0, (last - first).days) + 1)]
