"""Bars from your own files: one Parquet or CSV file, or a folder of them.

Long form, one row a symbol and session, with the columns

    symbol, date, open, high, low, close, volume           raw prices and volume, as traded
    dividend, split                                        optional: cash and ratio on the ex-date (0, 1 or empty: none)

`ts` (UTC, the session's open) may stand in for `date`, so a file of bars as this platform writes them reads back.
`adjusted_close`, `provider`, `fetched_at` and `known_at` may be there and are ignored. Rows of a symbol go up in
time within a file; symbols may follow one another or be interleaved, and may be spread over files.

Files are scanned, never loaded whole: a request reads the columns and row groups it needs, and checks what it read.
The types of Parquet columns are checked on opening, and so is every field of a CSV file, since there any text may
stand. A change of the files (name, size or time) is noticed at the next request.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from resources.calendars import sessions, timezone
from resources.config import ExcludedRow
from resources.errors import BarSchemaError, ConfigError
from resources.market_data.base import (
    INSTRUMENT_SCHEMA,
    MEND,
    Clock,
    Partial,
    asked,
    daily_actions,
    daily_bars,
    exclude_rows,
    no_rows,
    utc_now,
)
from resources.market_data.file_tables import ACTIONS, NEEDED, NUMBERS, SUFFIXES, Table, open_tables, refuse_disorder


class Files(Partial):
    """Provider of the user's own daily bars.

    `path`: a file, or a folder whose .parquet and .csv files are all read (not those in folders below).
    `exclude`: rows of the files to leave out. `sectors`: a CSV with Symbol and Sector.

    >>> from datetime import date
    >>> Files("bars.parquet").bars(["AAPL"], date(2014, 1, 2), date(2014, 12, 31)).collect()  # doctest: +SKIP
    """

    name = "files"
    offers = "daily bars, splits, dividends and instruments"

    def __init__(
        self,
        path: Path | str,
        exclude: Sequence[ExcludedRow] = (),
        sectors: Path | str | None = None,
        calendar: str = "XNYS",
        clock: Clock = utc_now,
    ) -> None:
        self._path = Path(path)
        self._exclude = tuple(exclude)
        self._sectors = Path(sectors) if sectors is not None else None
        self._calendar = calendar
        self._clock = clock
        self._opened: tuple[object, _Store] | None = None

    def fingerprint(self) -> str:
        """Names, sizes and times of the files: changes when any of them does."""
        files = _list_files(self._path, self._sectors)
        return " ".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)

    def symbols(self) -> list[str]:
        """All symbols that have a row which is not excluded, sorted."""
        return list(self._store().symbols)

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Raw bars in BAR_SCHEMA.

        Raises UnknownSymbolError; NoDataError if no symbol has a row in the range; BarSchemaError naming symbol,
        date, field and mend if a row asked for is not market data.
        """
        store = self._store()
        names = asked(self.name, symbols, store.symbols, timeframe)
        rows = store.rows(names, start, end, NUMBERS)
        if rows.is_empty():
            raise no_rows(self.name, names, start, end)
        return daily_bars(
            rows.lazy(), calendar=self._calendar, start=start, end=end, provider=self.name, fetched_at=self._clock(),
            source=self._path.name,
        )  # fmt: skip

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Splits and dividends in ACTION_SCHEMA; none where the files have no such columns."""
        store = self._store()
        rows = store.rows(asked(self.name, symbols, store.symbols), start, end, ACTIONS)
        parts = [
            rows.filter(pl.col(kind) != nothing).select("symbol", "session", kind=pl.lit(kind), value=kind)
            for kind, nothing in (("dividend", 0.0), ("split", 1.0))
        ]
        return daily_actions(
            pl.concat(parts).lazy(), calendar=self._calendar, start=start, end=end, provider=self.name,
            fetched_at=self._clock(), source=self._path.name,
        )  # fmt: skip

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA, as a US share; with its sector where a list of sectors is given."""
        names = asked(self.name, symbols, self._store().symbols)
        sectors = read_sectors(self._sectors) if self._sectors else {}
        rows = [
            {"symbol": symbol, "asset_class": "equity", "calendar": self._calendar, "currency": "USD", "tick": 0.01,
             "lot": 1.0, "multiplier": 1.0, "sector": sectors.get(symbol)}
            for symbol in sorted(names)
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA)

    def _store(self) -> _Store:
        files = _list_files(self._path, self._sectors)
        state = [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        if self._opened is None or self._opened[0] != state:
            self._opened = (state, _open(files, self._exclude, self._calendar))
        return self._opened[1]


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


def _list_files(path: Path, sectors: Path | None) -> list[Path]:
    if not path.exists():
        raise ConfigError(f"provider.path: {path} does not exist; for example path: data/bars")
    files = [path] if path.is_file() else sorted(path.iterdir())
    files = [file for file in files if file.suffix.lower() in SUFFIXES and file != sectors]
    if not files:
        raise ConfigError(f"provider.path: no .parquet or .csv file in {path}; put bars there: {', '.join(NEEDED)}")
    return files


@dataclass(frozen=True, slots=True)
class _Store:
    """Opened files and the symbols they hold."""

    tables: tuple[Table, ...]
    exclude: tuple[ExcludedRow, ...]
    calendar: str
    symbols: tuple[str, ...]

    def rows(self, symbols: Sequence[str], start: date, end: date, columns: Sequence[str]) -> pl.DataFrame:
        """Rows of the symbols from `start` to `end` that are not excluded: symbol, session, and `columns`.

        Raises BarSchemaError on rows without a date, with a `ts` that is no session's open, or out of order.
        """
        within = pl.col("session").is_between(start, end) | pl.col("session").is_null()
        parts = []
        for table in self.tables:
            scan = table.scan(columns).filter(pl.col("symbol").is_in(symbols) & within)
            rows = table.collect(exclude_rows(scan, self.exclude))
            _refuse_undated(rows)
            refuse_disorder(rows)
            if table.time == "ts":
                self._refuse_off_open(rows, start, end)
            parts.append(rows.select("symbol", "session", *columns))
        return pl.concat(parts)

    def _refuse_off_open(self, rows: pl.DataFrame, start: date, end: date) -> None:
        opens = sessions(self.calendar, start, end).select("session", opening="open")
        off = rows.join(opens, on="session").filter(pl.col("ts") != pl.col("opening")).head(1)
        if off.height:
            row = off.row(0, named=True)
            raise BarSchemaError(
                f"{row['symbol']} {row['session']}: ts is {row['ts']}; it must be the session's open, {row['opening']} "
                f"({Path(row['file']).name}). Give that, or a column date instead."
            )


def _open(files: Sequence[Path], exclude: tuple[ExcludedRow, ...], calendar: str) -> _Store:
    """Check the columns of all files, and every field of CSV files; list the symbols that are not all excluded."""
    tables = open_tables(files, timezone(calendar))
    held: set[str | None] = set()
    touched = {row.symbol for row in exclude}
    for table in tables:
        table.check_text()
        # Dates are read for symbols with excluded rows only: listing the others takes a single column.
        plain = table.scan(()).select("symbol").filter(~pl.col("symbol").is_in(touched).fill_null(False))
        dated = exclude_rows(table.scan(()).filter(pl.col("symbol").is_in(touched)), exclude).select("symbol")
        for query in (plain, dated):
            held.update(table.collect(query.unique())["symbol"])
    if not held.isdisjoint({None, ""}):
        raise BarSchemaError(f"{', '.join(file.name for file in files[:3])}: a row has no symbol. Fix the source.")
    return _Store(tuple(tables), exclude, calendar, tuple(sorted(symbol for symbol in held if symbol)))


def _refuse_undated(rows: pl.DataFrame) -> None:
    undated = rows.filter(pl.col("session").is_null()).head(1)
    if undated.height:
        row = undated.row(0, named=True)
        raise BarSchemaError(f"{row['symbol']}: a row has no date ({Path(row['file']).name}). {MEND}")
