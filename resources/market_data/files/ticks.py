"""Quotes and trades in the user's Parquet files.

    quotes   symbol, ts, bid, ask; optional bid_size, ask_size
    trades   symbol, ts, price, size; optional side (buy or sell) or buyer_is_maker, trade_id

ts is UTC, of any precision (kept in microseconds). The columns that name instruments (names) may be there, too.
An empty side of a quote, price and size 0 (or no size), is null. Ticks that the source itself marks as `suspicious`
(1, true) are left out, and their number is logged. exchange and condition are not read: quotes may be one exchange's,
not the best of all.

Files are scanned: a request reads the row groups of its time and symbols, so that files sorted by time are read fast
and need not fit into memory.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError, ConfigError
from resources.market_data import ticks
from resources.market_data.base import no_rows
from resources.market_data.files.names import instruments_of, join_names, known
from resources.market_data.files.tables import (
    INTEGER_OR_TEXT,
    NAMING,
    TYPES,
    ZONES,
    Layout,
    Table,
    is_text,
    read_schema,
)

LOG = logging.getLogger(__name__)
SIDES = {"buy": "buy", "b": "buy", "sell": "sell", "s": "sell"}
NOTES = (*NAMING, *ZONES, "suspicious", "exchange", "condition", "provider", "fetched_at", "known_at")
KEYS = {name: TYPES[name] for name in ("symbol", "ts", *NAMING)}

QUOTES = Layout(
    "quotes",
    needed=("bid", "ask"),
    optional=("bid_size", "ask_size", *NOTES),
    types={**KEYS, **dict.fromkeys(("bid", "ask", "bid_size", "ask_size"), pl.Float64())},
    times=("ts",),
)
TRADES = Layout(
    "trades",
    needed=("price", "size"),
    optional=("side", "buyer_is_maker", "trade_id", *NOTES),
    types={
        **KEYS,
        **dict.fromkeys(("price", "size"), pl.Float64()),
        "side": pl.String(),
        "buyer_is_maker": pl.Boolean(),
        "trade_id": INTEGER_OR_TEXT,
    },
    times=("ts",),
)


@dataclass(frozen=True, slots=True)
class Ticks:
    """Files of quotes or of trades, and the instruments that they hold (as `instruments_of` tells)."""

    tables: tuple[Table, ...]
    held: pl.DataFrame
    source: str

    def quotes(
        self, symbols: Sequence[str], start: datetime, end: datetime, provider: str, now: datetime
    ) -> pl.LazyFrame:
        """Quotes in QUOTE_SCHEMA. Raises as `resources.market_data.ticks.quotes` and `rows` do."""
        columns = ("bid", "bid_size", "ask", "ask_size")
        rows = self.rows(symbols, start, end, columns, provider).with_columns(
            pl.when(~((pl.col(side) == 0) & (pl.col(f"{side}_size").fill_null(0) == 0))).then(name).alias(name)
            for side in ("bid", "ask")
            for name in (side, f"{side}_size")
        )
        return ticks.quotes(rows.lazy(), provider=provider, fetched_at=now, source=self.source)

    def trades(
        self, symbols: Sequence[str], start: datetime, end: datetime, provider: str, now: datetime
    ) -> pl.LazyFrame:
        """Trades in TRADE_SCHEMA. Raises as `resources.market_data.ticks.trades` and `rows` do, and on other sides."""
        columns = ("price", "size", "side", "buyer_is_maker", "trade_id")
        rows = self.rows(symbols, start, end, columns, provider)
        told = pl.col("side").str.to_lowercase().replace_strict(SIDES, default=None, return_dtype=pl.String)
        wrong = rows.filter(pl.col("side").is_not_null() & told.is_null()).head(1)
        if wrong.height:
            raise BarSchemaError(
                f"{wrong['symbol'][0]} {wrong['ts'][0]}: side is {wrong['side'][0]!r}; it must be buy, sell or empty "
                f"({self.source}). Fix the source."
            )
        # The buyer's order was in the book before, so the seller took it.
        taker = pl.when("buyer_is_maker").then(pl.lit("sell")).when(~pl.col("buyer_is_maker")).then(pl.lit("buy"))
        rows = rows.with_columns(side=pl.coalesce(told, taker))
        return ticks.trades(rows.lazy(), provider=provider, fetched_at=now, source=self.source)

    def rows(
        self, symbols: Sequence[str], start: datetime, end: datetime, columns: Sequence[str], provider: str
    ) -> pl.DataFrame:
        """The ticks of some symbols from `start` to before `end`: symbol (as asked), ts, and `columns`.

        Raises ConfigError on times without a zone, UnknownSymbolError, NoDataError, and BarSchemaError on a file
        that cannot be read.
        """
        if start.tzinfo is None or end.tzinfo is None:
            raise ConfigError(
                f"{start} and {end} need a time zone to ask for ticks; for example datetime(2024, 1, 1, tzinfo=UTC)"
            )
        names = known(provider, symbols, self.held)
        wanted = self.held.filter(pl.col("name").is_in(names))
        times = start.astimezone(UTC), end.astimezone(UTC)
        parts = [
            self._part(table, wanted.filter(table=number), times, columns) for number, table in enumerate(self.tables)
        ]
        rows = pl.concat(parts)
        if rows.is_empty():
            raise no_rows(provider, names, start.date(), end.date())
        return rows

    def _part(
        self, table: Table, wanted: pl.DataFrame, times: tuple[datetime, datetime], columns: Sequence[str]
    ) -> pl.DataFrame:
        # Compared in the file's own unit, so that row groups of other times are skipped by their statistics.
        first, last = (pl.lit(at, UTC_MICROS).cast(table.schema["ts"]) for at in times)
        source = table.source().filter(
            table.typed("symbol").is_in(wanted["key_symbol"].unique().implode())
            & (pl.col("ts") >= first)
            & (pl.col("ts") < last)
        )
        doubt = [pl.col("suspicious")] if "suspicious" in table.schema else []
        rows = source.select(*[table.typed(name) for name in ("symbol", "ts", *table.naming, *columns)], *doubt)
        found = table.collect(join_names(rows, table, wanted))
        if doubt:
            marked = pl.col("suspicious").cast(pl.String).str.to_lowercase().is_in(["1", "true", "y", "yes"])
            left_out = found.filter(marked)
            if left_out.height:
                LOG.warning(
                    "%s: %d ticks that the source marks as suspicious are left out, the first %s of %s",
                    self.source, left_out.height, left_out["ts"][0], left_out["symbol"][0],
                )  # fmt: skip
            found = found.filter(~marked.fill_null(False))
        return found.select("symbol", "ts", *columns)


def open_ticks(files: Sequence[Path], layout: Layout, source: str) -> Ticks:
    """Check the columns of files and list their instruments. Raises BarSchemaError; ConfigError on CSV files."""
    schemas: dict[Path, pl.Schema] = {}
    for file in files:
        if is_text(file):
            raise ConfigError(
                f"provider.{layout.kind}: {file.name} is CSV; {layout.kind} are read from Parquet files, which can be "
                "read in parts. Write it as Parquet, sorted by ts."
            )
        schemas[file] = read_schema(file)
        layout.check(schemas[file], file)
    alike: dict[tuple[object, ...], list[Path]] = {}
    for file, schema in schemas.items():
        alike.setdefault(tuple(schema.items()), []).append(file)
    tables = tuple(Table(tuple(group), schemas[group[0]], layout) for group in alike.values())
    return Ticks(tables, instruments_of(tables, source), source)
