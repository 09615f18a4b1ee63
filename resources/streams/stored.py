"""What a recorder has stored, read from outside of it: rows of partitions and of open segments, each once.

A recorder may move rows to their partitions meanwhile, as often as it likes. What is read is put together when it is
collected; where files were replaced or removed while that went on, it is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import fsspec
import polars as pl
from polars.io.plugins import register_io_source

from resources.errors import LakeError
from resources.lake import Lake
from resources.streams.repair import instant
from resources.streams.rows import FINDINGS, TABLES, gaps, settled

OPEN_SEGMENTS = ("streams", "open")

T = TypeVar("T")

TRIES = 5
"""Whoever reads has met a rotation so often in a row, and gives up."""

Partition = Mapping[str, str]


def recorded(
    lake: Lake,
    table: str,
    symbols: Collection[str] | None = None,
    dates: Collection[str] | None = None,
    *,
    only: pl.Expr | None = None,
) -> pl.LazyFrame:
    """The rows of a table (trades, quotes, bars, findings) that are stored, of its partitions and open segments.

    symbols, dates (days in UTC, 2024-03-08): only these; None: all. only: of these, what holds for, looked at first.
    Without any row it is an empty frame. It can be kept and collected at any time, and holds what is stored by then.
    Raises LakeError, when it is collected, where a file is damaged.

    Example: `recorded(Lake("lake"), "trades", ["BTCUSDT"], ["2024-03-08"])`
    """
    kept = [] if only is None else [only]
    if dates is not None:
        kept.append(pl.col("ts").dt.strftime("%Y-%m-%d").is_in(list(dates)))
    return _lazily(table, lambda: find_all(lake, table, symbols, lambda date: dates is None or date in dates, kept))


def recorded_since(lake: Lake, table: str, symbols: Collection[str] | None, since: int) -> pl.LazyFrame:
    """The rows of a table from an instant on (UTC microseconds), whatever future they may be stamped with."""
    return _lazily(table, lambda: find_since(lake, table, symbols, since))


def open_gaps(lake: Lake, dates: Collection[str] | None = None) -> pl.DataFrame:
    """What became of each gap of these days (None: of all that are held), in GAPS."""
    return gaps(recorded(lake, "findings", None, dates).select(FINDINGS.names()).collect())


class Found(NamedTuple):
    """Rows that are stored, in no order, some maybe twice; and whether files that they are in were moved since."""

    rows: pl.LazyFrame
    moved: Callable[[], bool]


def find(lake: Lake, table: str, parts: Sequence[Partition], only: Sequence[pl.Expr], fresh: Sequence[int]) -> Found:
    """The rows of these partitions and segments, by the files that are there now."""
    schema, asset = TABLES[table].schema, ("streams", table)
    files, _ = fsspec.core.url_to_fs(lake.url)
    paths = [lake.path(asset, part) for part in parts]
    before = [files.info(path) for path in paths]
    old = lake.scan(asset, parts) if parts else pl.LazyFrame(schema=schema)
    new = scan(lake, fresh).filter(pl.col("table") == table) if fresh else pl.LazyFrame(schema=schema)
    rows = pl.concat([old.select(schema.names()), new.select(schema.names())]).filter(*only)

    def moved() -> bool:
        return not set(fresh) <= set(segments(lake)) or [files.info(path) for path in paths] != before

    return Found(rows, moved)


def find_all(
    lake: Lake, table: str, symbols: Collection[str] | None, dated: Callable[[str], bool], only: Sequence[pl.Expr]
) -> Found:
    """The rows of these symbols (None: all) and days."""
    fresh = segments(lake)  # first: what is rotated meanwhile is then read twice, and counts once
    parts = [
        part
        for part in lake.partitions(("streams", table))
        if (symbols is None or table == "findings" or part["symbol"] in symbols) and dated(part["date"])
    ]
    mine = [] if symbols is None else [pl.col("symbol").is_in(list(symbols))]
    return find(lake, table, parts, [*only, *mine], fresh)


def find_since(lake: Lake, table: str, symbols: Collection[str] | None, since: int) -> Found:
    """The rows of these symbols (None: all) from an instant on."""
    first, at = f"{instant(since).date()}", pl.col("ts").to_physical()
    return find_all(lake, table, symbols, lambda date: date >= first, [at >= since])


def segments(lake: Lake) -> list[int]:
    """The numbers of the segments that are open, in order."""
    return sorted(int(part["segment"]) for part in lake.partitions(OPEN_SEGMENTS))


def scan(lake: Lake, numbers: Sequence[int]) -> pl.LazyFrame:
    return lake.scan(OPEN_SEGMENTS, [{"segment": f"{number:020d}"} for number in numbers])


def _lazily(table: str, find: Callable[[], Found]) -> pl.LazyFrame:
    """What is found when it is collected, in its order and each row once."""
    schema = TABLES[table].schema

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        def asked(rows: pl.LazyFrame) -> pl.DataFrame:
            whole = settled(table, rows)
            some = whole if n_rows is None else whole.head(n_rows)
            mine = some if predicate is None else some.filter(predicate)
            return mine.select(schema.names() if with_columns is None else with_columns).collect()

        yield collected(find, asked)

    return register_io_source(source, schema=schema)


def collected(find: Callable[[], Found], take: Callable[[pl.LazyFrame], T]) -> T:
    """What is taken of the rows that are found; found again where they were moved while they were read."""
    for left in reversed(range(TRIES)):
        found = None
        try:
            found = find()
            taken = take(found.rows)
            if not found.moved():
                return taken
        except (LakeError, OSError, pl.exceptions.PolarsError):
            if not left if found is None else not found.moved():
                raise
    raise LakeError(f"streams: rows were moved to their partitions {TRIES} times while they were read; ask again")
