"""Tables of bars in Parquet and CSV files: what their columns must be, and lazy scans over many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError
from resources.market_data.base import PRICES

NUMBERS = (*PRICES, "volume")
ACTIONS = ("dividend", "split")
NEEDED = ("symbol", "date", *NUMBERS)
ALLOWED = (*NEEDED, *ACTIONS, "ts", "adjusted_close", "provider", "fetched_at", "known_at")
TYPES: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "date": pl.Date(),
    "ts": UTC_MICROS,
    **dict.fromkeys(NUMBERS + ACTIONS, pl.Float64()),
}
SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class Table:
    """Files with the same columns, read as one."""

    files: tuple[Path, ...]
    schema: pl.Schema
    zone: str  # of the exchange: the date of a `ts` is its date there

    @property
    def is_text(self) -> bool:
        return self.files[0].suffix.lower() == ".csv"

    @property
    def time(self) -> str:
        """The column that dates the rows."""
        return "date" if "date" in self.schema else "ts"

    def scan(self, columns: Sequence[str]) -> pl.LazyFrame:
        """Columns symbol, session, ts (if the files have it in place of date), file, and those of `columns`.

        Numbers are Float64; a column of `ACTIONS` that the files lack is null. Text that is no number is null
        here and is refused by `check_text`.
        """
        present = [pl.col(name).cast(pl.Float64, strict=False) for name in columns if name in self.schema]
        lacking = [pl.lit(None, pl.Float64).alias(name) for name in columns if name not in self.schema]
        when = _parsed(self.time) if self.is_text else pl.col(self.time)
        if self.time == "ts":
            when = when.cast(UTC_MICROS)
            dates = [when.dt.convert_time_zone(self.zone).dt.date().alias("session"), when.alias("ts")]
        else:
            dates = [when.alias("session")]
        return self._source().select(pl.col("symbol").cast(pl.String), *dates, pl.col("file"), *present, *lacking)

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
        if not self.is_text:
            return
        typed = [name for name in TYPES if name in self.schema and name != "symbol"]
        wrong = {name: pl.col(name).is_not_null() & _parsed(name).is_null() for name in typed}
        found = self.collect(self._source().filter(pl.any_horizontal(wrong.values())).head(1))
        for name, amiss in wrong.items():
            bad = found.filter(amiss)
            if bad.height:
                raise BarSchemaError(
                    f"{bad['symbol'][0]} {bad[self.time][0]}: {name} is {bad[name][0]!r}, which is no {TYPES[name]} "
                    f"({Path(bad['file'][0]).name}). Fix it in the source."
                )

    def _source(self) -> pl.LazyFrame:
        if self.is_text:
            return pl.scan_csv(list(self.files), infer_schema=False, include_file_paths="file")
        return pl.scan_parquet(list(self.files), include_file_paths="file")


def open_tables(files: Sequence[Path], zone: str) -> list[Table]:
    """Group files by their columns. Raises BarSchemaError naming the file whose columns are wrong or unreadable."""
    alike: dict[tuple[object, ...], list[Path]] = {}
    schemas: dict[tuple[object, ...], pl.Schema] = {}
    for file in files:
        schema = _read_schema(file)
        _check_columns(schema, file)
        key = (file.suffix.lower(), *schema.items())
        alike.setdefault(key, []).append(file)
        schemas[key] = schema
    return [Table(tuple(group), schemas[key], zone) for key, group in alike.items()]


def refuse_disorder(rows: pl.DataFrame) -> None:
    """Raise BarSchemaError at the first row that is earlier than the one before it, of its symbol and file."""
    before = pl.col("session").shift().over("symbol", "file")
    back = rows.with_columns(before=before).filter(pl.col("session") < pl.col("before")).head(1)
    if back.height:
        row = back.row(0, named=True)
        raise BarSchemaError(
            f"{row['symbol']} {row['session']}: date comes after {row['before']} ({Path(row['file']).name}); the rows "
            "of a symbol must go up in date. Sort the file by symbol and date."
        )


def _read_schema(file: Path) -> pl.Schema:
    try:
        if file.suffix.lower() == ".csv":
            return pl.scan_csv(file, infer_schema=False).collect_schema()
        return pl.Schema(pl.read_parquet_schema(file))
    except (PolarsError, OSError) as error:
        raise _unreadable(file, error) from error


def _try_reading(file: Path) -> None:
    try:
        if file.suffix.lower() == ".csv":
            pl.scan_csv(file, infer_schema=False).select(pl.all().null_count()).collect()
        else:
            pl.scan_parquet(file).select(pl.all().null_count()).collect()
    except (PolarsError, OSError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> BarSchemaError:
    kind = "CSV" if file.suffix.lower() == ".csv" else "Parquet"
    return BarSchemaError(
        f"{file.name}: not readable as {kind} ({_first_line(error)}). Write the file again, or move it away."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _check_columns(schema: pl.Schema, file: Path) -> None:
    missing = [name for name in NEEDED if name not in schema and not (name == "date" and "ts" in schema)]
    extra = [name for name in schema if name not in ALLOWED]
    if missing or extra:
        parts = [f"missing columns {missing}"] * bool(missing) + [f"unknown columns {extra}"] * bool(extra)
        raise BarSchemaError(
            f"{file.name}: {' and '.join(parts)}; the columns are {list(ALLOWED)}. Rename or drop them."
        )
    if file.suffix.lower() == ".csv":
        return
    for name, wanted in TYPES.items():
        given = schema.get(name, wanted)
        if not _fits(given, wanted) and not (name == "ts" and "date" in schema):
            raise BarSchemaError(f"{file.name}: column {name} is {given}; it must be {wanted}. Convert it.")


def _fits(given: pl.DataType, wanted: pl.DataType) -> bool:
    if isinstance(wanted, pl.String):
        return isinstance(given, pl.String | pl.Categorical | pl.Enum)
    if isinstance(wanted, pl.Datetime):
        return isinstance(given, pl.Datetime) and given.time_zone == "UTC"
    return given.is_numeric() if isinstance(wanted, pl.Float64) else given == wanted


def _parsed(name: str) -> pl.Expr:
    """A CSV column as its type, null where the text does not stand for one."""
    column = pl.col(name)
    if name == "date":
        return column.str.to_date("%Y-%m-%d", strict=False)
    if name == "ts":
        return column.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    return column.cast(pl.Float64, strict=False)
