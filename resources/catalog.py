"""The catalog: questions about the rows of the lake by symbol and time, the same whichever engine answers.

    with open_catalog(settings.warehouse, lake) as catalog:       # resources.warehouse.choose
        catalog.last_quotes(["AAPL"], at)
        catalog.bars(["AAPL"], "1m", start, end)
        catalog.quoted_trades(["AAPL"], start, end)

A table is an asset of the lake by its path, such as market_data/trades. Rows of one symbol and instant stand in a fixed
order: by `sequence` where the table has such a column (none counts as 0), then as they stand in the lake. Every answer
is sorted by symbol, ts and that order, and does not depend on the engine, its threads or how often it is asked.

What is asked, as SQL: `resources.warehouse.questions`. Engines: `resources.warehouse.duckdb` and `.clickhouse`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import ConfigError, QuantError
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from resources.market_data.timeframes import INTRADAY
from resources.warehouse import asking, questions, slots
from resources.warehouse.questions import Dialect, Source, sql_name

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

TRADES = "market_data/trades"
QUOTES = "market_data/quotes"

QUOTED = pl.Schema(
    {
        **TRADE_SCHEMA,
        "quoted_at": UTC_MICROS,
        **{name: QUOTE_SCHEMA[name] for name in ("bid", "bid_size", "ask", "ask_size")},
    }
)
"""A trade in TRADE_SCHEMA with the quote that stood: `quoted_at` is the quote's ts. Null where there was none."""

FIRST, AFTER_LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
"""All of time, for questions without a start or an end."""

PIECE_ROWS = 2_000_000
"""Rows that an engine is asked about at once; more are asked about symbol by symbol."""


class CatalogError(QuantError):
    """A question that the catalog cannot answer; the message says why and what to do."""


class UnknownTableError(CatalogError):
    """The catalog has no such table."""


class UnknownColumnError(CatalogError):
    """A table has no such column."""


class UnheldSymbolError(CatalogError):
    """A table holds no row of a symbol, at no time."""


class WarehouseUnavailableError(CatalogError):
    """The warehouse's server cannot be reached, or did not answer in time."""


class WarehouseAccessError(CatalogError):
    """The warehouse's server refused user or password, or the user may not do this."""


class Catalog(ABC):
    """Answers questions about the lake's tables. Not for several threads at once."""

    dialect: Dialect

    # --- questions

    def rows(
        self,
        table: str,
        symbols: Sequence[str],
        start: datetime | None = None,
        end: datetime | None = None,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """The rows of these symbols with start <= ts < end; all columns, or those named.

        Raises UnknownTableError, UnknownColumnError, UnheldSymbolError, and CatalogError on a table without symbol and
        ts, a time without zone, an end before its start and a file that cannot be read.

        Example: `catalog.rows("market_data/bars", ["AAPL"], columns=["symbol", "ts", "close"])`
        """
        span = _span(start or FIRST, end or AFTER_LAST)
        names = self._held_symbols(table, symbols)
        held = self.columns(table)
        wanted = list(dict.fromkeys(columns)) if columns is not None else held
        missing = [name for name in wanted if name not in held]
        if missing:
            raise UnknownColumnError(f"{table} has no column {', '.join(missing)}; it has {', '.join(held)}")
        parts = []
        for piece in self._pieces(table, names, *span):
            source = self._source("a", table, piece, *span)
            part = self._ask(questions.rows(self.dialect, source, wanted), source.parameters)
            parts.append(_ordered(part).select(wanted))
        return pl.concat(parts)

    def last_quotes(self, symbols: Sequence[str], at: datetime, *, table: str = QUOTES) -> pl.DataFrame:
        """The last quote of each symbol at or before `at`, in QUOTE_SCHEMA; no row for a symbol that has none.

        Of several quotes of one instant the last stands. A side without a price is null, as the quote was.

        Raises as `rows` does.

        Example: `catalog.last_quotes(["AAPL", "MSFT"], datetime(2024, 3, 1, 15, 30, tzinfo=UTC))`
        """
        until = _instant("at", at)
        names = self._held_symbols(table, symbols)
        source = self._newest("a", table, names, until)
        frame = self._ask(questions.last(self.dialect, source, QUOTE_SCHEMA.names()), source.parameters)
        return _typed(frame, QUOTE_SCHEMA).sort("symbol")

    def bars(
        self,
        symbols: Sequence[str],
        timeframe: str,
        start: datetime,
        end: datetime,
        *,
        calendars: pl.DataFrame | None = None,
        of: Literal["trades", "quotes"] = "trades",
    ) -> pl.DataFrame:
        """Bars in BAR_SCHEMA from the trades, or the middles of the quotes, with start <= ts < end.

        What a bar is: `quant_assets.cleaned.aggregate.bars_of_trades` and `bars_of_quotes`, whose answers these are;
        `calendars` (symbol, calendar) as there. Volumes are summed exactly (see `questions.bars`), so that they do not
        depend on the order of the trades; a sum of floating-point numbers differs from it in the last digits.

        Raises ConfigError on an unknown timeframe, BarSchemaError on a symbol without the calendar that 1d needs, and
        on ticks that make no bar (a price or size that is no number, a volume of 2^63 or more); otherwise as `rows`
        does.

        Example: `catalog.bars(["SPY"], "1m", start, end)`
        """
        if timeframe != "1d" and timeframe not in INTRADAY:
            raise ConfigError(f"timeframe: no bars of {timeframe!r} from ticks; for example 1d, {', '.join(INTRADAY)}")
        table, span = TRADES if of == "trades" else QUOTES, _span(start, end)
        names = self._held_symbols(table, symbols)
        parts = [BAR_SCHEMA.to_frame()]
        for part in slots.parts(names, timeframe, *span, calendars):
            for piece in self._pieces(table, part.symbols, part.start, part.end):
                source = self._source("a", table, piece, part.start, part.end)
                frame = self._ask(questions.bars(self.dialect, source, part.plan, of), source.parameters)
                parts.append(_typed(part.plan.finish(questions.bars_of_answer(table, frame)), BAR_SCHEMA))
        return pl.concat(parts).sort("symbol", "ts")

    def quoted_trades(
        self, symbols: Sequence[str], start: datetime, end: datetime, *, max_age: timedelta | None = None
    ) -> pl.DataFrame:
        """Trades with start <= ts < end, each with the quote that stood at its instant (QUOTED).

        That is the last quote at or before the trade's `ts`; a quote of the same microsecond counts, as in
        `features.microstructure`. Quotes from before `start` count. One older than `max_age` does not.

        Raises as `rows` does; a symbol needs trades, and may be without quotes.

        Example: `catalog.quoted_trades(["AAPL"], start, end, max_age=timedelta(seconds=5))`
        """
        if max_age is not None and max_age < timedelta(0):
            raise CatalogError(f"max_age: it is {max_age}; it must be zero or more")
        span = _span(start, end)
        names = self._held_symbols(TRADES, symbols)
        quoted = self._quoted(names)
        begun = quoted and span[0] > FIRST
        before = self.last_quotes(quoted, span[0] - slots.MICROSECOND) if begun else QUOTE_SCHEMA.to_frame()
        parts = []
        for piece in self._pieces(TRADES, names, *span):
            trades, told = self._source("a", TRADES, piece, *span), sorted(set(piece) & set(quoted))
            if told:
                quotes = self._source("b", QUOTES, told, *span)
                text = questions.quoted(self.dialect, trades, quotes, TRADE_SCHEMA.names())
                part = _typed(self._ask(text, {**trades.parameters, **quotes.parameters}), QUOTED)
            else:
                alone = self.rows(TRADES, piece, *span, TRADE_SCHEMA.names())
                part = alone.match_to_schema(QUOTED, missing_columns="insert")
            parts.append(_stood(part, before, max_age))
        return pl.concat(parts)

    def sql(self, text: str) -> pl.DataFrame:
        """The answer to a question in the engine's own SQL; tables are named as their path with _ for /.

        Both engines' types come as the same of the frame's: instants in UTC microseconds, texts of few values, UUIDs
        and addresses as texts, whole numbers of 128 bits as decimals.

        One statement that reads: SELECT, also with FROM or WITH at its beginning, DESCRIBE, EXPLAIN.

        Raises QuestionError on any other, UnknownTableError, UnknownColumnError, and CatalogError with the engine's
        words on what it does not understand.

        Example: `catalog.sql("SELECT symbol, count(*) FROM market_data_trades GROUP BY symbol")`
        """
        question = asking.question(text, backslash=self.dialect.backslash)
        names = {table: sql_name(table) for table in self.tables()}
        named = [table for table, name in names.items() if name.lower() in question.lower()]
        try:
            return _plain(self._sql(question, named))
        except UnknownTableError as error:
            raise UnknownTableError(f"{error}; there is {', '.join(names.values()) or 'no table'}") from error
        except UnknownColumnError as error:
            held = "; ".join(f"{names[table]} has {', '.join(self.columns(table))}" for table in named)
            raise UnknownColumnError(f"{error}; {held}") from error

    # --- what there is

    @abstractmethod
    def tables(self) -> list[str]:
        """Paths of the tables, sorted."""

    @abstractmethod
    def columns(self, table: str) -> list[str]:
        """Names of a table's columns, in its order. Raises UnknownTableError."""

    @abstractmethod
    def symbols(self, table: str) -> list[str]:
        """The symbols that a table has rows of, sorted. Raises UnknownTableError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the engine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what an engine gives

    @abstractmethod
    def _sql(self, text: str, tables: Sequence[str]) -> pl.DataFrame:
        """The answer to one statement that names these tables."""

    @abstractmethod
    def _known(self, table: str, symbols: Sequence[str]) -> set[str]:
        """Those of the symbols that the table has a row of."""

    @abstractmethod
    def _source(self, name: str, table: str, symbols: Sequence[str], start: datetime, end: datetime) -> Source:
        """The rows of these symbols with start <= ts < end, with a column `place` that orders those of one symbol and
        instant. `name` tells the parameters of several sources apart."""

    @abstractmethod
    def _newest(self, name: str, table: str, symbols: Sequence[str], at: datetime) -> Source:
        """Rows with ts <= at, among them the last of each symbol; not all of history where that can be helped."""

    @abstractmethod
    def _ask(self, text: str, parameters: Mapping[str, Any]) -> pl.DataFrame:
        """The answer, in any order; instants in UTC microseconds."""

    # --- what both share

    def _held_symbols(self, table: str, symbols: Sequence[str]) -> list[str]:
        """Each symbol once, sorted. Raises CatalogError, UnknownTableError or UnheldSymbolError."""
        if isinstance(symbols, str) or not symbols:
            raise CatalogError(f"symbols: it is {symbols!r}; give a list of at least one, for example ['AAPL']")
        lacking = [name for name in ("symbol", "ts") if name not in self.columns(table)]
        if lacking:
            raise CatalogError(f"{table} has no {' and no '.join(lacking)}: it can be asked by `sql` only")
        names = sorted(set(symbols))
        unknown = sorted(set(names) - self._known(table, names))
        if unknown:
            held = self.symbols(table)
            some = ", ".join(held[:12]) + (f" and {len(held) - 12} more" if len(held) > 12 else "")
            raise UnheldSymbolError(f"{table} has no rows of {', '.join(unknown)}; it has {some or 'none at all'}")
        return names

    def _pieces(self, table: str, names: Sequence[str], start: datetime, end: datetime) -> list[list[str]]:
        """The symbols in groups, in order, of about PIECE_ROWS rows in the range or of one symbol: what an engine sorts
        and joins, and the memory for it, follows their number and not that of all rows."""
        if len(names) == 1:
            return [list(names)]
        source = self._source("a", table, names, start, end)
        counted = dict(self._ask(questions.counts(source), source.parameters).iter_rows())
        pieces: list[list[str]] = [[]]
        held = 0
        for name in names:
            rows = counted.get(name, 0)
            if pieces[-1] and held + rows > PIECE_ROWS:
                pieces.append([])
                held = 0
            pieces[-1].append(name)
            held += rows
        return pieces

    def _quoted(self, names: Sequence[str]) -> list[str]:
        """Those of the symbols that have quotes; none where there is no table of them."""
        try:
            self.columns(QUOTES)
        except UnknownTableError:
            return []
        return sorted(self._known(QUOTES, names))


def _instant(name: str, value: datetime) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise CatalogError(f"{name}: {value!r} has no time zone; for example datetime(2024, 3, 1, tzinfo=UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise CatalogError(f"{name}: {value} is outside of the years 1 to 9999 in UTC") from error


def _span(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    low, high = _instant("start", start), _instant("end", end)
    if high < low:
        raise CatalogError(f"end: {high} is before start {low}")
    return low, high


def _typed(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The columns of the schema, with its types."""
    return frame.select(schema.names()).cast(dict(schema))  # type: ignore[arg-type]


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Instants in UTC microseconds, those without a zone as UTC; texts of few values as texts."""
    plain = {name: _plain_type(dtype) for name, dtype in frame.schema.items()}
    return frame.cast({name: dtype for name, dtype in plain.items() if dtype != frame.schema[name]})


def _plain_type(dtype: PolarsDataType) -> PolarsDataType:
    match dtype:
        case pl.Datetime():
            return UTC_MICROS
        case pl.Enum() | pl.Categorical():
            return pl.String()
        case pl.List():
            return pl.List(_plain_type(dtype.inner))
        case pl.Array():
            return pl.Array(_plain_type(dtype.inner), dtype.size)
        case pl.Map():
            return pl.Map(dtype.key, _plain_type(dtype.value))
        case pl.Struct():
            return pl.Struct({field.name: _plain_type(field.dtype) for field in dtype.fields})
        case _:
            return dtype


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """Sorted by symbol, ts and place, which is far quicker to look at than to do again."""
    symbol, ts, place = pl.col("symbol"), pl.col("ts"), pl.col("place")
    same = symbol == symbol.shift()
    back = (symbol < symbol.shift()) | (same & ((ts < ts.shift()) | ((ts == ts.shift()) & (place < place.shift()))))
    return frame.sort("symbol", "ts", "place") if frame.select(back.any()).item() else frame


def _stood(joined: pl.DataFrame, before: pl.DataFrame, max_age: timedelta | None) -> pl.DataFrame:
    """Trades without a quote in the range get the one that stood when it began; quotes too old are taken away."""
    told = QUOTED.names()[len(TRADE_SCHEMA) :]
    frame = joined
    without = frame["quoted_at"].is_null().arg_true()
    if len(without) and before.height:
        # Few rows, at the beginning of the range: what they lack is put in place, instead of all rows being joined.
        earlier = before.rename({"ts": "quoted_at"}).select("symbol", *told)
        found = frame["symbol"].gather(without).to_frame().join(earlier, on="symbol", how="left", maintain_order="left")
        frame = frame.with_columns(frame[name].clone().scatter(without, found[name]) for name in told)
    if max_age is not None:
        fresh = pl.col("ts") - pl.col("quoted_at") <= max_age
        frame = frame.with_columns(pl.when(fresh).then(name).alias(name) for name in told)
    return frame
