"""Events of a gateway kept in the lake, so that a job that is killed goes on where it was.

    recorder = Recorder(lake, "binance")
    since = recorder.resume(lines, begins)      # what of the lines is to be asked for again, and from when on
    recorder.store(recorder.new(events))        # on the disk when it returns
    recorder.rotate()                           # now and then: what was stored goes to its partitions

What `store` is given is one file, written whole or not at all:

    <lake>/streams/open/segment=N/part.parquet             trades, quotes, bars and findings, as they came
    <lake>/streams/trades/symbol=S/date=D/part.parquet     the same, sorted, each row once; D is the day in UTC
    <lake>/streams/findings/date=D/part.parquet            what was lost, repaired, given up; how connections were

`rotate` merges segments into partitions and only then removes them: one that is killed in between is merged again, and
a row that is there already is not doubled. `recorded` reads both. One writer at a time; any number of readers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import fsspec
import polars as pl

from resources.errors import LakeError
from resources.lake import Lake
from resources.streams.base import KIND_OF, Bar, Event, Kind, Line, Lost, Repaired, Status, Trade
from resources.streams.clock import SECOND, SystemClock
from resources.streams.repair import instant
from resources.streams.rows import (
    ENDED,
    FINDINGS,
    GIVEN_UP,
    OPEN,
    TABLES,
    frames,
    gaps,
    identities,
    settled,
    trades_told,
)
from resources.streams.track import identity

OPEN_SEGMENTS = ("streams", "open")
TABLE_OF: Mapping[Kind, str] = {"trade": "trades", "quote": "quotes", "bar": "bars"}
SEGMENT = pl.Schema(
    {"table": pl.String(), **{name: kind for table in TABLES.values() for name, kind in table.schema.items()}}
)

MARGIN, SLACK = 60 * SECOND, 5 * SECOND
"""A line that had been quiet is asked from so long before the newest row of all; and each from so much earlier, since
rows may have come in disorder when it ended."""

BACK = 900 * SECOND
"""Bars of so long before may have been told and not stored."""

SYMBOLS_AT_ONCE = 50
_TRIES = 5


class Rotated(NamedTuple):
    """A partition that has got rows: its table, the day in UTC, symbols, and the rows it holds now."""

    table: str
    date: str
    symbols: int
    rows: int


class Recorder:
    """Stores the events of one gateway. provider: named in each row. now: UTC microseconds, for what has no stamp."""

    def __init__(self, lake: Lake, provider: str, now: Callable[[], int] | None = None) -> None:
        _sweep(lake)
        self._lake, self._provider = lake, provider
        self.now = now or SystemClock().now
        self._number = max(_segments(lake), default=0)
        self._known: dict[Line, set[int]] = {}
        self._since: dict[Line, int] = {}
        self.stored = 0
        self.newest: int | None = None  # the time of the newest row that `resume` found

    def store(self, events: Iterable[Event]) -> int:
        """Keep these; they are in the lake when it returns how many rows they are. Raises LakeError."""
        found = frames(events, self._provider, self.now())
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
        with self._lake.writing(OPEN_SEGMENTS) as staging:
            staging.write([({"segment": f"{self._number:020d}"}, rows)])
        self.stored += rows.height
        return rows.height

    def rotate(self) -> list[Rotated]:
        """Move what is stored into its partitions; those that have got rows, by table and day. Raises LakeError."""
        numbers = _segments(self._lake)
        if not numbers:
            return []
        rows = _scan(self._lake, numbers)
        held = rows.select("table", "symbol").unique().sort("table", "symbol").collect()
        told: list[Rotated] = []
        for (name,), part in held.group_by("table", maintain_order=True):
            symbols = part["symbol"].to_list()
            groups = [symbols[at : at + SYMBOLS_AT_ONCE] for at in range(0, len(symbols), SYMBOLS_AT_ONCE)]
            told += self._merge(str(name), rows, [symbols] if name == "findings" else groups)
        _remove(self._lake, numbers)
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
            with self._lake.writing(asset) as staging:
                for values, new in apart.items():
                    partition = dict(zip(keys, map(str, values), strict=True))
                    old = [self._lake.read(asset, partition)] if self._lake.exists(asset, partition) else []
                    whole = settled(name, pl.concat([*old, new]).lazy()).collect()
                    staging.write([(partition, whole)])
                    merged.setdefault(partition["date"], []).append(whole.height)
        return [Rotated(name, date, len(counts), sum(counts)) for date, counts in sorted(merged.items())]

    def resume(self, lines: Collection[Line], begins: int, asked: Mapping[Line, int] | None = None) -> dict[Line, int]:
        """From when on (UTC microseconds) each line is to be asked for, so that nothing since `begins` is missing.

        That is its last row that is stored, a minute before the newest row of all where it had been quiet for longer,
        or the beginning of a gap that nobody closed. {} where no row is stored since `begins`: this is a first start.
        What is stored since then is known again by `new`. asked: instants from which lines are asked for in any case;
        the earlier counts.
        """
        asked = asked or {}
        dates, first = _days(begins, self.now()), begins - SLACK
        last: dict[Line, int] = {}
        for kind, rows in self._by_kind(lines, dates):
            newest = rows.filter(_since(first)).group_by("symbol").agg(pl.col("ts").max().to_physical())
            last |= {Line(symbol, kind): ts for symbol, ts in newest.collect().iter_rows()}
        if not last:
            self._since = {line: max(begins, asked[line]) for line in lines if line in asked}
            return dict(self._since)
        self.newest = max(last.values())
        quiet, owed = self.newest - MARGIN, self._owed(dates)
        for line in lines:
            at = min(max(last.get(line, begins), quiet) - SLACK, asked.get(line, self.newest))
            self._since[line] = max(begins, min([at, *(ts for ts in owed.get(line, ()) if ts >= first)]))
        for kind, rows in self._by_kind([line for line in lines if line.kind != "bar"], dates):
            since = {line.symbol: at - SLACK for line, at in self._since.items() if line.kind == kind}
            for symbol, seen in identities(TABLE_OF[kind], self._from(rows, since)):
                self._known.setdefault(Line(symbol, kind), set()).add(seen)
        return dict(self._since)

    def told_before(self) -> list[Trade]:
        """After `resume`: the stored trades of bars that may not be stored yet, in order."""
        hour = 3600 * SECOND
        begins = {line.symbol: (at - BACK) // hour * hour for line, at in self._since.items() if line.kind == "trade"}
        if not begins:
            return []
        dates = _days(min(begins.values()), self.now())
        rows = recorded(self._lake, "trades", list(begins), dates)
        return sorted(trades_told(self._from(rows, begins)), key=lambda trade: (trade.ts, trade.sequence))

    def _by_kind(self, lines: Collection[Line], dates: Sequence[str]) -> list[tuple[Kind, pl.LazyFrame]]:
        """The stored rows of the lines' symbols, kind by kind."""
        apart: dict[Kind, list[str]] = {}
        for line in lines:
            apart.setdefault(line.kind, []).append(line.symbol)
        return [(kind, recorded(self._lake, TABLE_OF[kind], names, dates)) for kind, names in apart.items()]

    @staticmethod
    def _from(rows: pl.LazyFrame, begins: Mapping[str, int]) -> pl.LazyFrame:
        """The rows of each symbol from its own instant on."""
        at = pl.LazyFrame({"symbol": list(begins), "begins": list(begins.values())})
        return rows.join(at, on="symbol", maintain_order="left").filter(pl.col("ts").to_physical() >= pl.col("begins"))

    def new(self, events: Sequence[Event]) -> list[Event]:
        """The events without those that were stored before `resume`."""
        if not self._known:
            return list(events)
        return [event for event in events if not self._is_known(event)]

    def _is_known(self, event: Event) -> bool:
        if isinstance(event, Lost | Status | Bar):
            return False
        if isinstance(event, Repaired):
            line = Line(event.symbol, event.kind)
            if event.ts <= self._since.get(line, -1):  # what was asked for again has come
                self._known.pop(line, None)
            return False
        known = self._known.get(Line(event.symbol, KIND_OF[type(event)]))
        return known is not None and identity(event) in known

    def _owed(self, dates: Sequence[str]) -> dict[Line, list[int]]:
        """Beginnings of the gaps that nobody closed."""
        found = gaps(recorded(self._lake, "findings", None, dates).collect())
        ended = (pl.col("state") == GIVEN_UP) & (pl.col("detail") == ENDED)
        left = found.filter((pl.col("state") == OPEN) | ended)
        owed: dict[Line, list[int]] = {}
        for symbol, kind, ts in left.select("symbol", "kind", pl.col("ts").to_physical()).iter_rows():
            owed.setdefault(Line(symbol, kind), []).append(ts)
        return owed


def recorded(
    lake: Lake, table: str, symbols: Collection[str] | None = None, dates: Collection[str] | None = None
) -> pl.LazyFrame:
    """The rows of a table (trades, quotes, bars, findings) that are stored, of its partitions and open segments.

    symbols, dates (days in UTC, 2024-03-08): only these; None: all. Without any row it is an empty frame.

    Example: `recorded(Lake("lake"), "trades", ["BTCUSDT"], ["2024-03-08"])`
    """
    schema = TABLES[table].schema
    # Segments first: what is rotated meanwhile is then read twice, and counts once.
    fresh = _fresh(lake, table)
    held = [
        part
        for part in lake.partitions(("streams", table))
        if (symbols is None or table == "findings" or part["symbol"] in symbols)
        and (dates is None or part["date"] in dates)
    ]
    old = lake.scan(("streams", table), held) if held else pl.LazyFrame(schema=schema)
    rows = pl.concat([old.select(schema.names()), fresh.lazy()])
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    if dates is not None:
        rows = rows.filter(pl.col("ts").dt.strftime("%Y-%m-%d").is_in(list(dates)))
    return settled(table, rows)


def _fresh(lake: Lake, table: str) -> pl.DataFrame:
    """The table's rows in open segments; read again where a segment was rotated away meanwhile."""
    schema = TABLES[table].schema
    for attempt in range(_TRIES):
        numbers = _segments(lake)
        if not numbers:
            break
        try:
            return _scan(lake, numbers).filter(pl.col("table") == table).select(schema.names()).collect()
        except (LakeError, OSError, pl.exceptions.PolarsError):
            if numbers == _segments(lake) or attempt == _TRIES - 1:
                raise
    return pl.DataFrame(schema=schema)


def _since(ts: int) -> pl.Expr:
    return pl.col("ts").to_physical() >= ts


def _segments(lake: Lake) -> list[int]:
    return sorted(int(part["segment"]) for part in lake.partitions(OPEN_SEGMENTS))


def _scan(lake: Lake, numbers: Sequence[int]) -> pl.LazyFrame:
    return lake.scan(OPEN_SEGMENTS, [{"segment": f"{number:020d}"} for number in numbers])


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


def open_gaps(lake: Lake, dates: Collection[str] | None = None) -> pl.DataFrame:
    """What became of each gap of these days (None: of all that are held), in GAPS."""
    return gaps(recorded(lake, "findings", None, dates).select(FINDINGS.names()).collect())
