"""The lake's partitions copied into ClickHouse: each date whole or not at all, as often as one likes.

A date of the lake (2024-03-01, of all symbols) is one partition in ClickHouse. What changed in it since the last load,
by the lake's data versions, is written to a table beside it together with what did not, looked over, and put in its
place by one REPLACE PARTITION: a reader sees the date as it was or as it is. A load that was killed leaves every date
in one of these states; the next one goes on with those that differ from the lake. Late rows give a partition of the
lake a new version, and so are loaded like any other; what the lake no longer has is taken away.

A load looks again at the dates that it replaced, until they are as the lake is: of two loads at once, the one that
replaced a date last has seen it right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any
from uuid import uuid4

import polars as pl

from resources.calendars import UTC_MICROS
from resources.catalog import CatalogError
from resources.lake import Lake
from resources.market_data.base import BAR_SCHEMA
from resources.warehouse.clickhouse import LOADED, OWN_COLUMNS, ClickHouse
from resources.warehouse.files import File, LakeFiles
from resources.warehouse.questions import sql_name

BATCH_ROWS = 1_000_000
"""Rows sent at once, about; a partition of the lake is not cut."""

NEVER_NULL = {
    "market_data/trades": ("price", "size", "provider", "fetched_at", "known_at"),
    "market_data/quotes": ("provider", "fetched_at", "known_at"),
    "market_data/bars": tuple(name for name in BAR_SCHEMA if name not in ("symbol", "ts")),
}
"""Columns that market data always has: quicker to read than those that may be null."""

_FEW = ("provider", "source", "side", "timeframe")
"""Columns of text with few different values."""

_STAGING = "__load_"
_ABANDONED_HOURS = 24
_MOST_ROUNDS = 10

_NUMBERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32, pl.Float64)
_TYPES: dict[Any, str] = {
    **{kind: kind.__name__ for kind in _NUMBERS},
    pl.Boolean: "Bool",
    pl.Date: "Date32",
    UTC_MICROS: "DateTime64(6, 'UTC')",
}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did: dates replaced, partitions of the lake and rows sent; and partitions that ClickHouse held and
    the lake does not, which were taken away."""

    dates: int = 0
    partitions: int = 0
    rows: int = 0
    removed: int = 0

    def __add__(self, other: Loaded) -> Loaded:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Loaded(*(one + another for one, another in pairs))


def load(
    lake: Lake,
    warehouse: ClickHouse,
    table: str,
    *,
    dates: Collection[str] | None = None,
    say: Say = lambda line: None,
) -> Loaded:
    """Bring a table of date x symbol, or those of its dates, to the state of the lake. One load of a table at a time.

    Raises CatalogError, with nothing of that date replaced, on a file without data version or not readable, a column
    that cannot be held or has changed its type, a null where there must be none, another load at work, or dates that
    neither has; UnknownTableError where the lake has no such table, whatever ClickHouse has of it.

    Example: `load(Lake(SETTINGS.lake_url), warehouse, "market_data/trades", say=print)`
    """
    files = LakeFiles(lake)
    if files.dimensions(table) != ["symbol", "date"]:
        raise CatalogError(f"{table}: only tables of date x symbol are loaded, such as market_data/trades")
    _prepare(warehouse, table, files.schema(table))
    if dates is not None:
        known = {file.partition["date"] for file in files.of(table)} | _held(warehouse, warehouse.name(table)).keys()
        if unknown := sorted(set(dates) - known):
            told = ", ".join(sorted(known)[-9:])
            raise CatalogError(f"{table}: the lake has no date {', '.join(unknown)}; the last that it has are {told}")
    done, left = Loaded(), set(dates) if dates is not None else None
    for _ in range(_MOST_ROUNDS):
        part, replaced = _round(files, warehouse, table, left, say)
        done += part
        if not replaced:
            return done
        left = replaced
    raise CatalogError(
        f"{warehouse.where}: {table} {', '.join(sorted(replaced)[:9])} changed whenever it was loaded: another load of "
        "this table is at work, or the lake is being written. Load again when it is over."
    )


def _round(
    files: LakeFiles, warehouse: ClickHouse, table: str, dates: Collection[str] | None, say: Say
) -> tuple[Loaded, set[str]]:
    """Load what differs, and tell which dates that was."""
    wanted: dict[str, dict[str, File]] = {}
    for file in files.of(table):
        wanted.setdefault(file.partition["date"], {})[file.partition["symbol"]] = file
    held, types = _held(warehouse, warehouse.name(table)), warehouse.types(table)
    every = sorted(wanted.keys() | held.keys())
    done, replaced = Loaded(), set[str]()
    asked = [date for date in every if dates is None or date in dates]
    for at, date in enumerate(asked, 1):
        part = _Date(files, warehouse, table, types, date, wanted.get(date, {}), held.get(date, {})).load()
        done += part
        if part.dates:
            replaced.add(date)
            gone = f", {part.removed} removed" if part.removed else ""
            say(f"{table} {date} ({at} of {len(asked)}): {part.partitions} partitions, {part.rows:,} rows{gone}")
    return done, replaced


Held = dict[str, tuple[str, int]]
"""By symbol: data version and rows."""


class _Date:
    """One date of a table: what the lake has of it, and what ClickHouse does."""

    def __init__(
        self,
        files: LakeFiles,
        warehouse: ClickHouse,
        table: str,
        types: Mapping[str, str],
        date: str,
        by_symbol: Mapping[str, File],
        held: Held,
    ) -> None:
        self._files, self._warehouse, self._table, self._types = files, warehouse, table, types
        self._date, self._by_symbol, self._held = date, by_symbol, held

    def load(self) -> Loaded:
        gone = sorted(self._held.keys() - self._by_symbol.keys())
        changed = [symbol for symbol, file in sorted(self._by_symbol.items()) if self._differs(symbol, file)]
        if not changed and not gone:
            return Loaded()
        name = f"{_STAGING}{sql_name(self._table)}_{uuid4().hex[:12]}"
        staging, target = f"`{self._warehouse.database}`.`{name}`", self._warehouse.name(self._table)
        self._warehouse.command(f"CREATE TABLE {staging} AS {target} COMMENT ''")
        try:
            others = {*changed, *gone}
            expected = {symbol: part for symbol, part in self._held.items() if symbol not in others}
            if expected:
                self._warehouse.command(
                    f"INSERT INTO {staging} SELECT * FROM {target} "
                    "WHERE date = {date:String} AND symbol NOT IN {changed:Array(String)}",
                    {"date": self._date, "changed": sorted(others)},
                )
            sent = self._send(staging, changed)
            expected |= {symbol: part for symbol, part in sent.items() if part[1]}
            self._look_over(staging, expected)
            if expected:
                self._warehouse.command(
                    f"ALTER TABLE {target} REPLACE PARTITION {{date:String}} FROM {staging}", {"date": self._date}
                )
            else:
                self._warehouse.command(f"ALTER TABLE {target} DROP PARTITION {{date:String}}", {"date": self._date})
            self._look_over(target, expected)
        finally:
            self._warehouse.command(f"DROP TABLE IF EXISTS {staging} SYNC")
        return Loaded(1, len(changed), sum(rows for _, rows in sent.values()), len(gone))

    def _differs(self, symbol: str, file: File) -> bool:
        footer = self._files.footer(file.path)
        version = _known(file.path, footer.version)
        return self._held.get(symbol) != ((version, footer.rows) if footer.rows else None)

    def _send(self, staging: str, symbols: Sequence[str]) -> Held:
        """Version and rows of each partition, all of them in the staging table."""
        sent: Held = {}
        waiting: list[pl.DataFrame] = []
        for symbol in symbols:
            version, frame = self._read(symbol)
            sent[symbol] = version, frame.height
            waiting.append(frame)
            if sum(part.height for part in waiting) >= BATCH_ROWS or symbol == symbols[-1]:
                batch = pl.concat(waiting, how="diagonal")
                if batch.height:
                    self._warehouse.insert(staging, batch)
                waiting = []
        return sent

    def _read(self, symbol: str) -> tuple[str, pl.DataFrame]:
        """Version and rows of one partition as ClickHouse holds them; both from one reading of the file."""
        path = self._by_symbol[symbol].path
        version, frame = self._files.read(path)
        version = _known(path, version)
        self._check(path, symbol, frame)
        order = ["ts", pl.col("sequence").fill_null(0)] if "sequence" in frame.columns else ["ts"]
        placed = frame.sort(order, maintain_order=True).with_columns(
            pl.selectors.by_dtype(pl.Enum, pl.Categorical).cast(pl.String),
            place=pl.int_range(pl.len(), dtype=pl.UInt32),
            date=pl.lit(self._date),
            version=pl.lit(version),
        )
        return version, placed

    def _check(self, path: str, symbol: str, frame: pl.DataFrame) -> None:
        for name in ("symbol", "ts", *NEVER_NULL.get(self._table, ())):
            lacking = frame[name].null_count() if name in frame.columns else frame.height
            if lacking:
                raise CatalogError(f"{path}: {lacking} rows have no {name}, which they need")
        if (frame["symbol"] != symbol).any():
            raise CatalogError(f"{path}: it holds rows of another symbol than {symbol}; materialize it again")
        for name, dtype in frame.schema.items():
            if _type(self._table, name, dtype) != self._types.get(name):
                raise CatalogError(
                    f"{path}: column {name} is {dtype}, unlike that of the newest partition; materialize it again"
                )

    def _look_over(self, name: str, expected: Held) -> None:
        found = _held(self._warehouse, name).get(self._date, {})
        if found != expected:
            wrong = sorted(
                symbol for symbol in found.keys() | expected.keys() if found.get(symbol) != expected.get(symbol)
            )
            raise CatalogError(
                f"{self._warehouse.where}: {self._table} {self._date} is not what was sent, at {', '.join(wrong[:9])}: "
                "another load of this table is at work. Load again when it is over."
            )


def _known(path: str, version: str | None) -> str:
    if version is None:
        raise CatalogError(f"{path}: it has no data version, so it was not written by the lake; materialize it again")
    return version


def _held(warehouse: ClickHouse, name: str) -> dict[str, Held]:
    """What a table holds: by date and symbol, data version and rows."""
    held: dict[str, Held] = {}
    for symbol, date, version, rows, _ in warehouse.partitions(name).iter_rows():
        if symbol in held.setdefault(date, {}):
            raise CatalogError(
                f"{warehouse.where}: {name} holds {symbol} {date} in two versions, so another program wrote to it. "
                f"ALTER TABLE {name} DROP PARTITION '{date}', and load again."
            )
        held[date][symbol] = version, rows
    return held


def _prepare(warehouse: ClickHouse, table: str, schema: pl.Schema) -> None:
    """Make the table, or give it the columns that the lake has added since; sweep what killed loads left."""
    columns, quoted = {name: _type(table, name, dtype) for name, dtype in schema.items()}, warehouse.dialect.quoted
    if table not in warehouse.tables():
        named = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
        warehouse.command(
            f"CREATE TABLE IF NOT EXISTS `{warehouse.database}`.`{sql_name(table)}` ({named}, "
            "place UInt32 CODEC(Delta, ZSTD), date LowCardinality(String), version LowCardinality(String), "
            f"PROJECTION loaded ({LOADED} GROUP BY symbol, date, version)) "
            f"ENGINE = MergeTree PARTITION BY date ORDER BY (symbol, ts, place) COMMENT '{table}'"
        )
    held = warehouse.types(table)
    if gone := [name for name in held if name not in columns and name not in OWN_COLUMNS]:
        raise CatalogError(
            f"{warehouse.where}: {table} has {', '.join(gone)}, which the newest partition of the lake has not. "
            f"Materialize that again, or DROP TABLE {warehouse.name(table)} and load it anew."
        )
    before = ""
    for name, kind in columns.items():
        if name not in held:
            # Where it stands in the lake: answers have their columns in that order.
            where = f"AFTER {quoted(before)}" if before else "FIRST"
            warehouse.command(
                f"ALTER TABLE {warehouse.name(table)} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind} {where}"
            )
        elif held[name] != kind:
            raise CatalogError(
                f"{warehouse.where}: {table} has {name} as {held[name]}, the lake now as {kind}. "
                f"DROP TABLE {warehouse.name(table)} and load it anew."
            )
        before = name
    left = warehouse.sql(
        f"SELECT name FROM system.tables WHERE database = '{warehouse.database}' "
        f"AND startsWith(name, '{_STAGING}{sql_name(table)}_') "
        f"AND metadata_modification_time < now() - INTERVAL {_ABANDONED_HOURS} HOUR"
    )
    for name in left["name"] if left.height else ():
        warehouse.command(f"DROP TABLE IF EXISTS `{warehouse.database}`.`{name}` SYNC")


def _type(table: str, name: str, dtype: pl.DataType) -> str:
    """ClickHouse's type of a column. Raises CatalogError where there is none."""
    if name in OWN_COLUMNS:
        raise CatalogError(f"{table}: a column cannot be called {name}; the warehouse has its own of that name")
    required = name in ("symbol", "ts") or name in NEVER_NULL.get(table, ())
    if isinstance(dtype, pl.String | pl.Enum | pl.Categorical):
        text = "String" if required else "Nullable(String)"
        few = name == "symbol" or name in _FEW or not isinstance(dtype, pl.String)
        return f"LowCardinality({text})" if few else text
    kind = _TYPES.get(dtype) or _TYPES.get(type(dtype))
    if kind is None:
        raise CatalogError(
            f"{table}: column {name} is {dtype}, which the warehouse does not hold; use numbers and text"
        )
    return kind if required else f"Nullable({kind})"
