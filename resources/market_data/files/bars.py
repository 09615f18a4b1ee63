"""Bars in the user's files: which tables answer a request, and their rows as checked bars."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from resources.calendars import UTC_MICROS, session_date
from resources.config import ExcludedRow
from resources.errors import BarSchemaError, NotOfferedError
from resources.market_data.base import BAR_SCHEMA, MEND, PRICES, check_bars, exclude_rows, stamp_sessions
from resources.market_data.files import stamps
from resources.market_data.files.names import instruments_of, join_names
from resources.market_data.files.steps import SAMPLE, refuse_coarser, timeframe_of
from resources.market_data.files.tables import (
    ACTIONS,
    BARS,
    NUMBERS,
    QUOTE_BARS,
    QUOTED,
    ZONES,
    Table,
    read_schema,
    refuse_disorder,
)
from resources.market_data.timeframes import INTRADAY, intraday_bars

LOG = logging.getLogger(__name__)
ROUND_THE_CLOCK = ("crypto", "forex", "future")


@dataclass(frozen=True, slots=True)
class Market:
    """Symbols that share a calendar."""

    calendar: str
    round_the_clock: bool
    symbols: tuple[str, ...]


def markets(instruments: pl.DataFrame, symbols: Sequence[str]) -> list[Market]:
    """Symbols by calendar, from INSTRUMENT_SCHEMA."""
    rows = instruments.filter(pl.col("symbol").is_in(symbols)).select(
        "symbol", "calendar", always=pl.col("asset_class").is_in(ROUND_THE_CLOCK)
    )
    groups = rows.group_by("calendar", "always").agg("symbol").sort("calendar", "always")
    return [Market(calendar, always, tuple(names)) for calendar, always, names in groups.iter_rows()]


@dataclass(frozen=True, slots=True)
class BarFiles:
    """Opened files of bars and the instruments that they hold (as `instruments_of` tells)."""

    tables: tuple[Table, ...]
    held: pl.DataFrame
    exclude: tuple[ExcludedRow, ...]
    source: str

    def symbols(self) -> list[str]:
        """All symbols that have a row which is not excluded, sorted."""
        return self.held.filter("plain")["name"].unique().sort().to_list()

    def daily(
        self, where: Sequence[Market], start: date, end: date, provider: str, now: datetime
    ) -> pl.LazyFrame | None:
        """Daily bars in BAR_SCHEMA; None if there is no row.

        Raises NotOfferedError where the files have other bars of a symbol, and BarSchemaError on rows that are not
        market data.
        """
        chosen = self._chosen([name for market in where for name in market.symbols], "1d")
        found = []
        for market in where:
            parts = [self._daily_rows(table, held, market, start, end) for table, held in _of(market, chosen)]
            rows = pl.concat(parts)
            if market.round_the_clock:
                rows = stamps.fold(rows, market.calendar, start, end)
                rows = rows.filter(pl.col("session").is_between(start, end))
            if rows.is_empty():
                continue
            stamped = stamp_sessions(rows.lazy(), market.calendar, start, end, self.source)
            # A day of 24 hours from its midnight is over later than the session of its date.
            later = pl.max_horizontal("known_at", pl.col("midnight") + timedelta(days=1))
            stamped = stamped.with_columns(
                known_at=later if market.round_the_clock else "known_at",
                provider=pl.lit(provider),
                fetched_at=pl.lit(now, dtype=UTC_MICROS),
            )
            found.append(stamped.select(BAR_SCHEMA.names()).cast(dict(BAR_SCHEMA)))  # type: ignore[arg-type]
        return check_bars(pl.concat(found).sort("symbol", "ts"), self.source) if found else None

    def intraday(
        self, where: Sequence[Market], start: date, end: date, timeframe: str, provider: str, now: datetime
    ) -> pl.LazyFrame | None:
        """Bars of a timeframe in BAR_SCHEMA, finished at `now`; None if there is no row. Raises as `daily` does."""
        chosen = self._chosen([name for market in where for name in market.symbols], timeframe)
        parts = [
            self._intraday_rows(table, held, market, start, end)
            for market in where
            for table, held in _of(market, chosen)
        ]
        rows = pl.concat(parts)
        if rows.filter(pl.col("ts") + INTRADAY[timeframe] <= now).is_empty():
            return None
        refuse_coarser(rows, timeframe, self.source)
        return intraday_bars(rows.lazy(), timeframe=timeframe, provider=provider, fetched_at=now, source=self.source)

    def actions(self, market: Market, start: date, end: date) -> pl.DataFrame:
        """Splits and dividends that stand in the columns of daily bars: symbol, session, kind, value."""
        found = [pl.DataFrame(schema={"symbol": pl.String, "session": pl.Date, "kind": pl.String, "value": pl.Float64})]
        for number, table in enumerate(self.tables):
            held = self.held.filter(pl.col("name").is_in(market.symbols), table=number)
            told = table.timeframe == "1d" and any(name in table.schema for name in ACTIONS)
            if held.is_empty() or not told:
                continue
            rows = self._dated(table, held, market, start, end, ACTIONS)
            found += [
                rows.filter(pl.col(kind) != nothing).select("symbol", "session", kind=pl.lit(kind), value=kind)
                for kind, nothing in (("dividend", 0.0), ("split", 1.0))
            ]
        return pl.concat(found)

    def _chosen(self, names: Sequence[str], timeframe: str) -> list[tuple[Table, pl.DataFrame]]:
        """The tables that have bars of a timeframe, with those instruments of `names` that are taken from each."""
        asked = self.held.filter(pl.col("name").is_in(names))
        numbers = [number for number, table in enumerate(self.tables) if table.timeframe == timeframe]
        there = asked.filter(pl.col("table").is_in(numbers))
        lacking = asked.join(there, on="name", how="anti").sort("name")
        if lacking.height:
            name = lacking["name"][0]
            has = {self.tables[number].timeframe for number in lacking.filter(name=name)["table"]}
            raise NotOfferedError(
                f"{name}: timeframe {timeframe} was asked for, but the files hold its bars of {', '.join(sorted(has))} "
                f"({self.source}). Ask for those, or give files of {timeframe}: bars are not made of others."
            )
        of_quotes = [number for number in numbers if self.tables[number].layout is QUOTE_BARS]
        traded = there.filter(~pl.col("table").is_in(of_quotes))["name"]
        kept = there.filter(~(pl.col("table").is_in(of_quotes) & pl.col("name").is_in(traded.implode())))
        return [(self.tables[number], kept.filter(table=number)) for number in numbers]

    def _daily_rows(self, table: Table, held: pl.DataFrame, market: Market, start: date, end: date) -> pl.DataFrame:
        rows = self._dated(table, held, market, start, end, _prices(table))
        return self._middle(rows, table).select("symbol", "session", "midnight", *NUMBERS)

    def _dated(
        self, table: Table, held: pl.DataFrame, market: Market, start: date, end: date, columns: Sequence[str]
    ) -> pl.DataFrame:
        """Daily rows that are not excluded: symbol, session, midnight (see `stamps.dated`), file and `columns`.

        From `start` to `end`; of round-the-clock markets also those of the days before, which may belong to `start`.
        Raises BarSchemaError on rows without a date or out of order, and on stamps that are no day.
        """
        first = start - stamps.CLOSED if market.round_the_clock else start
        if table.time == "date":
            within = pl.col("session").is_between(first, end) | pl.col("session").is_null()
            scan = self._scan(table, held, columns).filter(within)
            rows = table.collect(exclude_rows(scan, self.exclude))
            rows = rows.with_columns(midnight=pl.lit(None, UTC_MICROS))
        else:
            zones = [name for name in ZONES if name in table.schema]
            begin, over = (datetime(day.year, day.month, day.day) for day in (first, end))
            near = _between(table, begin - stamps.CLOSED, over + stamps.CLOSED)
            found = table.collect(self._scan(table, held, [*columns, *zones]).filter(near))
            placed = stamps.dated(found, market.calendar, first, end)
            inside = pl.col("session").is_between(first, end) | pl.col("ts").is_null()
            rows = exclude_rows(placed.lazy().filter(inside), self.exclude).collect()
        stamps.refuse_undated(rows)
        refuse_disorder(rows, "session")
        return rows

    def _intraday_rows(self, table: Table, held: pl.DataFrame, market: Market, start: date, end: date) -> pl.DataFrame:
        begin, over = stamps.window(market.calendar, start, end)
        scan = self._scan(table, held, _prices(table)).filter(_between(table, begin, over))
        rows = table.collect(scan).filter((pl.col("ts") < over) | pl.col("ts").is_null())
        if {row.symbol for row in self.exclude} & set(market.symbols):
            placed = rows.with_columns(session=session_date(pl.col("ts"), market.calendar))
            rows = exclude_rows(placed.lazy(), self.exclude).collect().drop("session")
        stamps.refuse_undated(rows, "ts")
        refuse_disorder(rows, "ts")
        return self._middle(rows, table).select("symbol", "ts", *NUMBERS)

    def _scan(self, table: Table, held: pl.DataFrame, columns: Sequence[str]) -> pl.LazyFrame:
        """Rows of some instruments, by their names: symbol, session or ts, file and `columns`."""
        some = held["key_symbol"].unique().implode()
        scan = table.scan([*table.naming, *columns]).filter(pl.col("symbol").is_in(some))
        return join_names(scan, table, held)

    def _middle(self, rows: pl.DataFrame, table: Table) -> pl.DataFrame:
        """Rows with open, high, low, close and volume; of quote bars the middle of bid and ask."""
        if table.layout is not QUOTE_BARS:
            return rows
        negative = rows.filter(pl.any_horizontal(pl.col(QUOTED) < 0)).head(1)
        if negative.height:
            row = negative.row(0, named=True)
            field, when = next(name for name in QUOTED if (row[name] or 0) < 0), row.get("ts") or row["session"]
            raise BarSchemaError(
                f"{row['symbol']} {when}: {field} is {row[field]}; prices must be positive ({Path(row['file']).name}). "
                f"{MEND}"
            )
        whole = pl.all_horizontal(pl.col(name).is_not_null() & (pl.col(name) != 0) for name in QUOTED)
        kept = rows.filter(whole)
        if kept.height < rows.height:
            LOG.warning(
                "%s: %d of %d quote bars of %s lack a side and are left out: they have no middle",
                self.source, rows.height - kept.height, rows.height, ", ".join(rows["symbol"].unique().sort()[:5]),
            )  # fmt: skip
        middle = [((pl.col(f"bid_{name}") + pl.col(f"ask_{name}")) / 2).alias(name) for name in PRICES]
        return kept.with_columns(middle).with_columns(
            volume=pl.col("volume") if "volume" in table.schema else pl.lit(0.0)
        )


def open_bars(files: Sequence[Path], exclude: tuple[ExcludedRow, ...], source: str) -> BarFiles:
    """Check the columns of all files, and every field of CSV files; list the instruments that are not all excluded."""
    alike: dict[tuple[object, ...], list[Path]] = {}
    made: dict[tuple[object, ...], Table] = {}
    for file in files:
        schema = read_schema(file)
        layout = QUOTE_BARS if any(name in schema for name in QUOTED) else BARS
        layout.check(schema, file)
        single = Table((file,), schema, layout)
        timeframe = _judged(single) if single.time == "ts" else "1d"
        if timeframe != "1d" and (told := [name for name in ACTIONS if name in schema]):
            raise BarSchemaError(
                f"{file.name}: {' and '.join(told)} stand beside bars of {timeframe}, and would not be read. Put them "
                "into a file of their own (provider.actions: symbol, date, kind, value), and drop the columns."
            )
        key = (file.suffix.lower(), timeframe, *schema.items())
        alike.setdefault(key, []).append(file)
        made[key] = Table(tuple(alike[key]), schema, layout, timeframe)
    tables = tuple(made.values())
    for table in tables:
        table.check_text()
    return BarFiles(tables, instruments_of(tables, source, exclude), exclude, source)


def _judged(table: Table) -> str:
    table.check_text()
    keys = ["symbol", *table.naming]
    columns = [table.typed(name) for name in (*keys, "ts")]
    return timeframe_of(table.collect(table.source().select(columns).head(SAMPLE)), keys)


def _of(market: Market, chosen: Sequence[tuple[Table, pl.DataFrame]]) -> Iterator[tuple[Table, pl.DataFrame]]:
    """The tables that hold symbols of a market, with these alone."""
    for table, held in chosen:
        yield table, held.filter(pl.col("name").is_in(market.symbols))


def _prices(table: Table) -> tuple[str, ...]:
    return (*QUOTED, "volume") if table.layout is QUOTE_BARS else NUMBERS


def _between(table: Table, first: datetime, last: datetime) -> pl.Expr:
    """Whether ts is from `first` to `last`, or missing; in the file's unit, so that row groups can be skipped."""
    unit = UTC_MICROS if table.is_text else table.schema["ts"]
    begin, over = (pl.lit(at.replace(tzinfo=None)).dt.replace_time_zone("UTC").cast(unit) for at in (first, last))
    return pl.col("ts").is_between(begin, over) | pl.col("ts").is_null()
