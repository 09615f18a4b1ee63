"""Tables in Parquet and CSV files: which columns they may have, and lazy scans over many files at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError, ConfigError
from resources.market_data.base import PRICES

NUMBERS = (*PRICES, "volume")
ACTIONS = ("dividend", "split")
QUOTED = tuple(f"{side}_{price}" for side in ("bid", "ask") for price in PRICES)
NAMING = ("asset_class", "venue", "contract", "expiry", "strike", "right")
"""Columns that, with symbol, say which instrument a row is of; `resources.market_data.files.names` makes its name."""

ZONES = ("source_tz", "exchange_tz")
"""Columns with the time zone in which a day of the row begins, first the one that is asked first."""

NOTES = ("adjusted_close", "local_date", "price_factor", "split_factor", "bid_size", "ask_size", "open_interest",
         "provider", "fetched_at", "known_at")  # fmt: skip
"""Columns of bars that may be there and are not read."""

INTEGER_OR_TEXT = pl.Unknown()
TYPES: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "date": pl.Date(),
    "ts": UTC_MICROS,
    **dict.fromkeys((*NUMBERS, *ACTIONS, *QUOTED, "strike"), pl.Float64()),
    **dict.fromkeys((*ZONES, "asset_class", "venue", "right"), pl.String()),
    "contract": INTEGER_OR_TEXT,
    "expiry": pl.Date(),
}
SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class Layout:
    """What rows of a kind must and may have beside symbol, and one of `times`."""

    kind: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    types: dict[str, pl.DataType]
    times: tuple[str, ...] = ("date", "ts")

    @property
    def allowed(self) -> tuple[str, ...]:
        return ("symbol", *self.times, *self.needed, *self.optional)

    def check(self, schema: pl.Schema, file: Path) -> None:
        """Raise BarSchemaError naming the file and the columns that are missing, unknown or of a wrong type."""
        time = () if any(name in schema for name in self.times) else self.times[:1]
        missing = [name for name in ("symbol", *time, *self.needed) if name not in schema]
        extra = [name for name in schema if name not in self.allowed]
        if missing or extra:
            parts = [f"missing columns {missing}"] * bool(missing) + [f"unknown columns {extra}"] * bool(extra)
            raise BarSchemaError(
                f"{file.name}: {' and '.join(parts)}; the columns of {self.kind} are {list(self.allowed)}. "
                "Rename or drop them."
            )
        if is_text(file):
            return
        for name, wanted in self.types.items():
            given = schema.get(name)
            if (
                given is None
                or _fits(given, wanted)
                or (name == "ts" and self.times[0] != "ts" and self.times[0] in schema)
            ):
                continue
            told = "text or a whole number" if wanted == INTEGER_OR_TEXT else wanted
            raise BarSchemaError(f"{file.name}: column {name} is {given}; it must be {told}. Convert it.")


BARS = Layout("bars", NUMBERS, (*ACTIONS, *NAMING, *ZONES, *NOTES), TYPES)
QUOTE_BARS = Layout("quote bars", QUOTED, ("volume", *NAMING, *ZONES, *NOTES), TYPES)


@dataclass(frozen=True, slots=True)
class Table:
    """Files with the same columns, read as one. `timeframe`: of their bars, if they hold bars."""

    files: tuple[Path, ...]
    schema: pl.Schema
    layout: Layout
    timeframe: str = "1d"

    @property
    def is_text(self) -> bool:
        return is_text(self.files[0])

    @property
    def time(self) -> str:
        """The column that dates the rows."""
        return next(name for name in self.layout.times if name in self.schema)

    @property
    def naming(self) -> list[str]:
        """The columns of NAMING that the files have."""
        return [name for name in NAMING if name in self.schema]

    def typed(self, name: str) -> pl.Expr:
        """A column of the files in its type, null where text does not stand for a value; null if they lack it."""
        wanted = UTC_MICROS if name == "ts" else self.layout.types[name]
        if wanted == INTEGER_OR_TEXT:
            wanted = pl.String()
        if name not in self.schema:
            return pl.lit(None, wanted).alias(name)
        if self.is_text:
            return parsed(name, wanted)
        return pl.col(name) if self.schema[name] == wanted else pl.col(name).cast(wanted, strict=False)

    def scan(self, columns: Sequence[str]) -> pl.LazyFrame:
        """Columns symbol, session (of `date`) or ts, file, and those of `columns`; null where the files lack one.

        Text that is no number is null here and is refused by `check_text`.
        """
        when = self.typed("date").alias("session") if self.time == "date" else self.typed("ts")
        return self.source().select(self.typed("symbol"), when, pl.col("file"), *[self.typed(name) for name in columns])

    def keys(self) -> pl.LazyFrame:
        """Each distinct symbol with its columns of `naming`, and `first`, the date of its first row, if it has any."""
        key = [self.typed(name) for name in ("symbol", *self.naming)]
        if not self.naming:
            return self.source().select(key).unique()
        first = self.typed(self.time).alias("first")
        names = ("symbol", *self.naming)
        return self.source().select(*key, first).group_by(names).agg(pl.col("first").min().cast(pl.Date))

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Collect a query on `scan`. Raises BarSchemaError naming the first file that cannot be read."""
        try:
            return frame.collect()
        except (PolarsError, OSError) as error:
            for file in self.files:
                _try_reading(file)
            raise BarSchemaError(f"{self.files[0].parent.name}: cannot be read ({_first_line(error)})") from error

    def check_text(self) -> None:
        """Raise BarSchemaError at the first field of CSV files that is not what its column holds."""
        typed = [name for name, wanted in self.layout.types.items() if name in self.schema and wanted in _PARSED]
        if not self.is_text or not typed:
            return
        wrong = {name: pl.col(name).is_not_null() & self.typed(name).is_null() for name in typed}
        found = self.collect(self.source().filter(pl.any_horizontal(wrong.values())).head(1))
        for name, amiss in wrong.items():
            bad = found.filter(amiss)
            if bad.height:
                told = "UTC time such as 2014-06-09T13:30:00Z" if name == "ts" else self.layout.types[name]
                when = f" {bad[self.time][0]}" if self.layout.times else ""
                raise BarSchemaError(
                    f"{bad['symbol'][0]}{when}: {name} is {bad[name][0]!r}, which is no {told} "
                    f"({Path(bad['file'][0]).name}). Fix it in the source."
                )

    def source(self) -> pl.LazyFrame:
        """The files' own columns, and `file`."""
        if self.is_text:
            return pl.scan_csv(list(self.files), infer_schema=False, include_file_paths="file")
        return pl.scan_parquet(list(self.files), include_file_paths="file")


def is_text(file: Path) -> bool:
    return file.suffix.lower() == ".csv"


def list_files(path: Path, setting: str, apart: Sequence[Path] = (), holds: str = "") -> list[Path]:
    """The file, or the Parquet and CSV files of a folder but those in `apart`.

    Raises ConfigError naming the setting if there is none.
    """
    if not path.exists():
        raise ConfigError(f"provider.{setting}: {path} does not exist; for example {setting}: data/{setting}")
    files = [path] if path.is_file() else sorted(path.iterdir())
    others = {other.resolve() for other in apart}
    files = [file for file in files if file.suffix.lower() in SUFFIXES and file.resolve() not in others]
    if not files:
        raise ConfigError(f"provider.{setting}: no .parquet or .csv file in {path}; put {setting} there: {holds}")
    return files


def refuse_disorder(rows: pl.DataFrame, time: str) -> None:
    """Raise BarSchemaError at the first row that is earlier than the one before it, of its symbol and file."""
    before = pl.col(time).shift().over("symbol", "file")
    back = rows.with_columns(before=before).filter(pl.col(time) < pl.col("before")).head(1)
    if back.height:
        row = back.row(0, named=True)
        raise BarSchemaError(
            f"{row['symbol']} {row[time]}: date comes after {row['before']} ({Path(row['file']).name}); the rows "
            "of a symbol must go up in date. Sort the file by symbol and date."
        )


def read_schema(file: Path) -> pl.Schema:
    """Names and types of a file's columns; all text in CSV. Raises BarSchemaError on a file that is not readable."""
    try:
        if is_text(file):
            return pl.scan_csv(file, infer_schema=False).collect_schema()
        return pl.Schema(pl.read_parquet_schema(file))
    except (PolarsError, OSError) as error:
        raise _unreadable(file, error) from error


def _try_reading(file: Path) -> None:
    try:
        if is_text(file):
            pl.scan_csv(file, infer_schema=False).select(pl.all().null_count()).collect()
        else:
            pl.scan_parquet(file).select(pl.all().null_count()).collect()
    except (PolarsError, OSError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> BarSchemaError:
    kind = "CSV" if is_text(file) else "Parquet"
    return BarSchemaError(
        f"{file.name}: not readable as {kind} ({_first_line(error)}). Write the file again, or move it away."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _fits(given: pl.DataType, wanted: pl.DataType) -> bool:
    if isinstance(given, pl.Null):  # a column without a single value
        return True
    if wanted == INTEGER_OR_TEXT:
        return given.is_integer() or isinstance(given, pl.String | pl.Categorical | pl.Enum)
    if isinstance(wanted, pl.String):
        return isinstance(given, pl.String | pl.Categorical | pl.Enum)
    if isinstance(wanted, pl.Datetime):
        return isinstance(given, pl.Datetime) and given.time_zone == "UTC"
    return given.is_numeric() if isinstance(wanted, pl.Float64) else given == wanted


_PARSED = (pl.Date(), UTC_MICROS, pl.Float64(), pl.Boolean())


def parsed(name: str, wanted: pl.DataType) -> pl.Expr:
    """A CSV column as its type, null where the text does not stand for one; times are ISO with Z or +00:00."""
    column = pl.col(name)
    if isinstance(wanted, pl.Date):
        return column.str.to_date("%Y-%m-%d", strict=False)
    if isinstance(wanted, pl.Datetime):
        plain = column.str.replace("T", " ", literal=True).str.replace("(Z|[+-]00:?00)$", "")
        utc = pl.when(column.str.contains("(Z|[+-]00:?00)$")).then(plain)
        forms = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
        times = [utc.str.to_datetime(form, time_unit="us", strict=False) for form in forms]
        return pl.coalesce(times).dt.replace_time_zone("UTC").alias(name)
    if isinstance(wanted, pl.Boolean):
        return column.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    return column if isinstance(wanted, pl.String) else column.cast(wanted, strict=False)
