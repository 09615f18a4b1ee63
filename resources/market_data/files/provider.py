"""Market data of your own files: Parquet and CSV, of every asset class; docs/data.md has the table of columns.

Long form, one row an instrument and time:

    bars         symbol, date or ts, open, high, low, close, volume; dividend and split if there are any
    quote bars   symbol, date or ts, bid_open, bid_high, bid_low, bid_close, ask_open, ..., ask_close
    both         asset_class, venue, contract, expiry, strike, right: which instrument it is (names)

What a file holds is told by its columns; all files of a folder are read. A file has bars of one timeframe, judged by
the steps between them (steps); with `date` they are daily. Bars of another timeframe than asked are not made of
them. `ts` is the bar's start in UTC, of daily bars the session's open or midnight (stamps). Rows of an instrument
go up in time within a file; instruments may follow one another, be interleaved, and be spread over files.

The price of a quote bar is the middle of bid and ask, its volume 0 if there is no such column. One of which a price of
either side is missing or 0 has no middle: it is left out, and the number of these is logged. A crossed one is kept: the
middle is the best guess still. An instrument with both kinds at a timeframe has the bars of trades.

Files are scanned, never loaded whole: a request reads the columns and row groups it needs, and checks what it read.
The types of Parquet columns are checked on opening, and so is every field of a CSV file, since there any text may
stand. A change of the files (name, size or time) is noticed at the next request.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from resources.config import ExcludedRow
from resources.errors import ConfigError, NoDataError, NotOfferedError
from resources.market_data.base import (
    ACTION_SCHEMA,
    INSTRUMENT_SCHEMA,
    Clock,
    Partial,
    asked,
    daily_actions,
    no_rows,
    utc_now,
)
from resources.market_data.files.actions import read_actions
from resources.market_data.files.bars import BarFiles, markets, open_bars
from resources.market_data.files.instruments import described, read_list
from resources.market_data.files.names import known
from resources.market_data.files.tables import BARS, Layout, list_files
from resources.market_data.files.ticks import QUOTES, TRADES, Ticks, open_ticks
from resources.market_data.timeframes import INTRADAY, check_timeframe


class Files(Partial):
    """Provider of the user's own files.

    `path`: a file of bars, or a folder whose .parquet and .csv files are all read (not those in folders below).
    `exclude`: rows of bars to leave out. `sectors`: a CSV with Symbol and Sector. `calendar`: of shares, options and
    indices, and of futures whose venue tells none. `instruments`: a list of them (instruments.py). `quotes` and
    `trades`: a Parquet file or a folder of them (ticks.py). `actions`: splits and dividends (actions.py), instead
    of those in the bars' own columns.

    >>> from datetime import date
    >>> Files("bars.parquet").bars(["AAPL"], date(2014, 1, 2), date(2014, 12, 31)).collect()  # doctest: +SKIP
    """

    name = "files"
    offers = "the bars, quotes, trades, splits, dividends and instruments that its files hold"

    def __init__(
        self,
        path: Path | str,
        exclude: Sequence[ExcludedRow] = (),
        sectors: Path | str | None = None,
        calendar: str = "XNYS",
        *,
        instruments: Path | str | None = None,
        quotes: Path | str | None = None,
        trades: Path | str | None = None,
        actions: Path | str | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._path = Path(path)
        self._exclude = tuple(exclude)
        self._sectors, self._list, self._quotes, self._trades, self._actions = (
            None if each is None else Path(each) for each in (sectors, instruments, quotes, trades, actions)
        )
        self._calendar = calendar
        self._clock = clock
        self._opened: dict[str, tuple[object, Any]] = {}

    def fingerprint(self) -> str:
        """Names, sizes and times of the files: changes when any of them does."""
        files = [*self._bar_files(), *self._tick_files(self._quotes, QUOTES), *self._tick_files(self._trades, TRADES)]
        files += [file for file in (self._sectors, self._list, self._actions) if file is not None and file.exists()]
        return " ".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)

    def symbols(self) -> list[str]:
        """All symbols that have a bar which is not excluded, sorted."""
        return self._bars().symbols()

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Raw bars in BAR_SCHEMA, at the timeframe that the files hold.

        Raises UnknownSymbolError; NotOfferedError naming the timeframe that the files hold instead; NoDataError if no
        symbol has a row in the range; BarSchemaError naming symbol, date, field and mend if a row asked for is not
        market data.
        """
        check_timeframe(self.name, timeframe, ("1d", *INTRADAY))
        store = self._bars()
        names = known(self.name, symbols, store.held)
        where = markets(self._described(), names)
        now = self._clock()
        if timeframe == "1d":
            found = store.daily(where, start, end, self.name, now)
        else:
            found = store.intraday(where, start, end, timeframe, self.name, now)
        if found is None:
            raise no_rows(self.name, names, start, end)
        return found

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Splits and dividends in ACTION_SCHEMA: of the file of actions, else of the columns of daily bars."""
        store = self._bars()
        names = known(self.name, symbols, store.held)
        parts = [pl.LazyFrame(schema=ACTION_SCHEMA)]
        for market in markets(self._described(), names):
            if self._actions is None:
                source, rows = self._path, store.actions(market, start, end)
            else:
                within = pl.col("symbol").is_in(market.symbols) & pl.col("session").is_between(start, end)
                source, rows = self._actions, self._listed_actions().filter(within)
            actions = daily_actions(
                rows.lazy(), calendar=market.calendar, start=start, end=end, provider=self.name,
                fetched_at=self._clock(), source=source.name,
            )  # fmt: skip
            parts.append(actions)
        return pl.concat(parts).sort("symbol", "ts", "kind")

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA: what the list says, what the files say, else US shares.

        Raises UnknownSymbolError, and BarSchemaError on a list that makes no sense.
        """
        held, every = self._held(), self._instruments()
        listed = set(every["symbol"]) - set(held.filter(~pl.col("plain"))["name"])
        names = asked(self.name, symbols, listed | (set(every["symbol"]) & set(symbols)))
        rows = every.filter(pl.col("symbol").is_in(names))
        if self._sectors is None:
            return rows
        sectors = pl.DataFrame(
            list(read_sectors(self._sectors).items()), schema={"symbol": pl.String, "told": pl.String}, orient="row"
        )
        told = rows.join(sectors, on="symbol", how="left", maintain_order="left")
        return told.with_columns(sector=pl.coalesce("sector", "told")).select(INSTRUMENT_SCHEMA.names())

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Quotes in QUOTE_SCHEMA from `start` to before `end`, in time order.

        Raises NotOfferedError without files of quotes; ConfigError on times without a zone; UnknownSymbolError;
        NoDataError; BarSchemaError naming symbol, instant and field of a row that is no quote.
        """
        return self._ticks(self._quotes, QUOTES).quotes(symbols, start, end, self.name, self._clock())

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Trades in TRADE_SCHEMA from `start` to before `end`, in time order. Raises as `quotes` does."""
        return self._ticks(self._trades, TRADES).trades(symbols, start, end, self.name, self._clock())

    def option_chain(self, underlying: str, on: date) -> pl.DataFrame:
        """The options listed on a date, in INSTRUMENT_SCHEMA, sorted by expiry, strike and right.

        Without a list, an option counts as listed from its first bar. Raises NoDataError if there is none.
        """
        options = self._plain().filter(asset_class="option", underlying=underlying)
        return self._alive(options, underlying, on, "options").sort("expiry", "strike", "right")

    def futures(self, root: str, on: date) -> pl.DataFrame:
        """The dated futures of a root (ES) listed on a date, in INSTRUMENT_SCHEMA, sorted by expiry.

        Without a list, a future counts as listed from its first bar. Raises NoDataError if there is none, and
        NotOfferedError if neither the files nor a list tell when one of them expires.
        """
        named = (pl.col("symbol").str.split(".").list.first() == root) | (pl.col("underlying") == root)
        found = self._plain().filter(named & ~pl.col("perpetual").fill_null(False), asset_class="future")
        endless = found.filter(pl.col("expiry").is_null()).head(1)
        if endless.height:
            raise NotOfferedError(
                f"files cannot tell the futures of {root} on a date: {endless['symbol'][0]} has no expiry. Give a list "
                "with symbol, asset_class and expiry as provider.instruments."
            )
        return self._alive(found, root, on, "futures").sort("expiry")

    def _alive(self, found: pl.DataFrame, root: str, on: date, kind: str) -> pl.DataFrame:
        listed = pl.col("listed").is_null() | (pl.col("listed") <= on)
        gone = pl.col("delisted").is_not_null() & (pl.col("delisted") < on)
        alive = found.filter(listed & ~gone & (pl.col("expiry") >= on))
        if alive.is_empty():
            ends = found["expiry"].sort()
            has = f"; those it has expire from {ends[0]} to {ends[-1]}" if found.height else ""
            raise NoDataError(f"files has no {kind} of {root} listed on {on}{has}")
        return alive

    def _plain(self) -> pl.DataFrame:
        """All instruments, each by one name only."""
        by_venue = self._held().filter(~pl.col("plain"))["name"]
        return self._instruments().filter(~pl.col("symbol").is_in(by_venue.implode()))

    def _bar_files(self) -> list[Path]:
        apart = [each for each in (self._sectors, self._list, self._quotes, self._trades, self._actions) if each]
        return list_files(self._path, "path", apart, f"bars with {', '.join(BARS.needed)}")

    def _tick_files(self, path: Path | None, layout: Layout) -> list[Path]:
        return [] if path is None else list_files(path, layout.kind, (), ", ".join(layout.needed))

    def _bars(self) -> BarFiles:
        files = self._bar_files()
        return self._once("bars", files, lambda: open_bars(files, self._exclude, self._path.name))

    def _ticks(self, path: Path | None, layout: Layout) -> Ticks:
        if path is None:
            raise NotOfferedError(
                f"files has no {layout.kind} unless provider.{layout.kind} names a Parquet file of them, or a folder"
            )
        files = self._tick_files(path, layout)
        return self._once(layout.kind, files, lambda: open_ticks(files, layout, path.name))

    def _held(self) -> pl.DataFrame:
        """The instruments of all files (`instruments_of`)."""
        given = [(path, kind) for path, kind in ((self._quotes, QUOTES), (self._trades, TRADES)) if path is not None]
        return pl.concat([self._bars().held, *[self._ticks(path, kind).held for path, kind in given]])

    def _described(self) -> pl.DataFrame:
        """INSTRUMENT_SCHEMA of what has bars, and of the list."""
        store = self._bars()
        files = [*self._bar_files(), *self._listed_files()]
        make = lambda: described(store.held, self._listed(), self._calendar, self._path.name)  # noqa: E731
        return self._once("described", files, make)

    def _instruments(self) -> pl.DataFrame:
        """INSTRUMENT_SCHEMA of what any file holds, and of the list."""
        if self._quotes is None and self._trades is None:
            return self._described()
        return described(self._held(), self._listed(), self._calendar, self._path.name)

    def _listed_files(self) -> list[Path]:
        if self._list is None:
            return []
        if not self._list.is_file():
            raise ConfigError(
                f"provider.instruments: {self._list} is not a file; for example instruments: data/instruments.csv"
            )
        return [self._list]

    def _listed(self) -> pl.DataFrame:
        files = self._listed_files()
        return read_list(files[0]) if files else pl.DataFrame(schema=INSTRUMENT_SCHEMA)

    def _listed_actions(self) -> pl.DataFrame:
        path = self._actions
        if path is None or not path.is_file():
            raise ConfigError(f"provider.actions: {path} is not a file; for example actions: data/actions.csv")
        return self._once("actions", [path], lambda: read_actions(path))

    def _once(self, kind: str, files: Sequence[Path], make: Callable[[], Any]) -> Any:
        """What `make` gives, made again only when the files have changed."""
        state = [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        if kind not in self._opened or self._opened[kind][0] != state:
            self._opened[kind] = (state, make())
        return self._opened[kind][1]


def read_sectors(path: Path) -> dict[str, str]:
    """Sector of each symbol, from a CSV with the columns Symbol and Sector. Raises ConfigError if it is not one."""
    try:
        with path.open(newline="", encoding="utf-8") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"provider.sectors: {path} cannot be read ({error}); for example data/sectors.csv") from error
    if not rows or not {"Symbol", "Sector"} <= set(rows[0]):
        raise ConfigError(f"provider.sectors: {path.name} needs rows with the columns Symbol and Sector")
    return {row["Symbol"]: row["Sector"] for row in rows}
