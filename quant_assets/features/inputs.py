"""What features read: bars with their keys checked, and the columns that are worked out of them before any feature."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from quant_assets.features.context import Context
from quant_assets.features.derived import DERIVED, OPTIONAL
from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError

REQUIRED = ("symbol", "ts")
KEYS = ("symbol", "ts", "session", "known_at")
"""Columns that stand before the features, as far as the bars have them."""

PLAIN = {f"adj_{name}": name for name in ("open", "high", "low", "close", "volume")}
"""Adjusted columns, and what stands in for one that the bars do not have."""

NUMBERS = (*PLAIN, *PLAIN.values())
"""Columns of prices and volumes."""


def needed(inputs: Sequence[str]) -> list[str]:
    """The columns of the bars that make these inputs."""
    found: list[str] = []
    for name in inputs:
        found += needed(DERIVED[name].needs) if name in DERIVED else [name]
    return sorted(set(found))


def check_columns(held: pl.Schema, wanted: Sequence[str]) -> None:
    """Raises BarSchemaError naming the columns that are wanted and missing, or of a type that cannot be read."""
    missing = [name for name in REQUIRED if name not in held]
    missing += [
        PLAIN.get(name, name)
        for name in wanted
        if name not in held and PLAIN.get(name) not in held and name not in OPTIONAL and name not in missing
    ]
    if missing:
        raise BarSchemaError(f"bars have no column {', '.join(missing)}; they have {', '.join(held)}")
    if not held["ts"].is_temporal():
        raise BarSchemaError(f"bars: column ts is {held['ts']}; it must hold instants, for example {UTC_MICROS}")
    for name in wanted:
        plain = name if name in held else PLAIN.get(name, name)
        if name in NUMBERS and not (held[plain].is_numeric() or held[plain] == pl.Null):
            raise BarSchemaError(f"bars: column {plain} is {held[plain]}; it must hold numbers")


def prepared(bars: pl.LazyFrame, inputs: Sequence[str], context: Context) -> pl.DataFrame:
    """The keys and the inputs, numbers as Float64, sorted by symbol and ts.

    Raises BarSchemaError on a missing column, a row without key, more than one row for a symbol and instant, a symbol
    whose rows go back in time, a price that is not above zero and a volume below it. Null and NaN are gaps.
    """
    held = bars.collect_schema()
    wanted = [name for name in needed(inputs) if name not in KEYS]
    check_columns(held, wanted)
    columns = [name for name in KEYS if name in held]
    if "session" not in held and "session" in needed(inputs):
        bars = bars.with_columns(session=pl.col("ts").dt.date())
        columns.append("session")
    frame = bars.select(*columns, *[_column(name, held) for name in wanted]).collect()
    _check_values(frame)
    frame = _in_order(frame)
    for name in inputs:
        if name in DERIVED and name not in frame.columns:
            frame = DERIVED[name].make(frame, context)
    return frame


def _column(name: str, held: pl.Schema) -> pl.Expr:
    plain = name if name in held else PLAIN.get(name, name)
    if plain not in held:
        return pl.lit(None, dtype=pl.Float64).alias(name)
    number = held[plain].is_numeric() or held[plain] == pl.Null
    return (pl.col(plain).cast(pl.Float64) if number else pl.col(plain)).alias(name)


def _check_values(frame: pl.DataFrame) -> None:
    for name in NUMBERS:
        if name in frame.columns:
            value = pl.col(name)
            low = value < 0 if name.endswith("volume") else value <= 0
            wrong = frame.filter(low | value.is_infinite()).select("symbol", "ts", name).head(1)
            if wrong.height:
                symbol, ts, found = wrong.row(0)
                what = "zero or more" if name.endswith("volume") else "above zero"
                raise BarSchemaError(
                    f"{symbol} {ts}: {name.removeprefix('adj_')} is {found}; it must be {what}, or null"
                )


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    if frame["symbol"].null_count() or frame["ts"].null_count():
        raise BarSchemaError("bars: a row has no symbol or no ts; each row needs both")
    if frame["symbol"].rle_id().n_unique() != frame["symbol"].n_unique() or not frame["symbol"].is_sorted():
        frame = frame.sort("symbol", maintain_order=True)
    same = pl.col("symbol") == pl.col("symbol").shift()
    wrong = frame.filter(same & (pl.col("ts") <= pl.col("ts").shift())).select("symbol", "ts").head(1)
    if wrong.height:
        symbol, ts = wrong.row(0)
        again = frame.join(wrong, on=["symbol", "ts"], how="semi").height > 1
        what = "more than one row for this symbol and instant; keep one" if again else "row out of order; sort by ts"
        raise BarSchemaError(f"{symbol} {ts}: {what}")
    return frame
