"""What a record is: something said of a symbol, known from an instant on, which may be corrected or taken back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError, ConfigError

RECORD_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "id": pl.String(),
        "field": pl.String(),
        "event_time": UTC_MICROS,
        "known_at": UTC_MICROS,
        "value": pl.Float64(),
    }
)
"""One version of a record. `event_time` is what it is about: the end of the period, the instant of the news or trade.

A version with the same symbol, field and id and a later `known_at` is a correction: it counts from its own known_at on,
with its own event_time and value. A correction whose value is null takes the record back."""


@dataclass(frozen=True, slots=True)
class Field:
    """What the values of a field may be."""

    lower: float = -math.inf
    upper: float = math.inf
    ahead: bool = False
    """Whether it may be known before its event: a dividend is declared before it is paid, an article is not."""


KINDS: dict[str, dict[str, Field]] = {
    "news": {"sentiment": Field(-1.0, 1.0)},
    "social": {"mentions": Field(0.0)},
    "sentiment": {"score": Field(-1.0, 1.0)},
    "insider": {"shares": Field()},
    "esg": {"score": Field(0.0, 100.0, ahead=True)},
    "fundamentals": {
        "earnings_per_share": Field(),
        "book_value_per_share": Field(),
        "sales_per_share": Field(0.0),
        "cash_flow_per_share": Field(),
        "dividends_per_share": Field(0.0, ahead=True),
        "shares_outstanding": Field(1e-9),
    },
}
"""The fields of each kind of record. news: an article and its sentiment. social: a number of mentions. sentiment: a
vendor's score. insider: shares bought, below zero sold. esg: a rating. fundamentals: of the last twelve months, per
share in the currency of the price, and shares outstanding, all in shares as of known_at."""


def checked(records: Mapping[str, pl.LazyFrame | pl.DataFrame]) -> pl.DataFrame:
    """All versions with their `kind`, sorted by kind, symbol, field, id and known_at.

    Raises ConfigError on an unknown kind, and BarSchemaError naming kind, symbol, id and instant of a version without
    key or time, of an unknown field, with a value outside the field's range, known before an event that cannot be
    foreseen, or known at the same instant as another of its record; and on missing columns and times that are not UTC.
    """
    parts = [_part(kind, rows.lazy().collect()) for kind, rows in records.items()]
    if not parts:
        return pl.DataFrame(schema={"kind": pl.String(), **RECORD_SCHEMA})
    order = ["kind", "symbol", "field", "id", "known_at"]
    frame = pl.concat(parts).sort(order)
    twice = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in order)
    _refuse(frame, twice, "another version of this record is known at the same instant; keep one")
    return frame


def _part(kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    if kind not in KINDS:
        first = frame.select(name for name in ("symbol", "id", "known_at") if name in frame.columns).head(1)
        where = " ".join(str(value) for row in first.rows() for value in row)
        raise ConfigError(f"records of kind {kind!r} are unknown (first: {where}); the kinds are {', '.join(KINDS)}")
    missing = [name for name in RECORD_SCHEMA.names() if name not in frame.columns]
    if missing:
        raise BarSchemaError(
            f"{kind} records have no column {', '.join(missing)}; they need {', '.join(RECORD_SCHEMA)}"
        )
    frame = frame.select(pl.lit(kind).alias("kind"), *RECORD_SCHEMA.names())
    for name in ("event_time", "known_at"):
        found = frame.schema[name]
        if not isinstance(found, pl.Datetime) or found.time_zone != "UTC":
            _refuse(frame, pl.lit(True), f"{name} is {found}; times are {UTC_MICROS}, UTC microseconds")
            raise BarSchemaError(f"{kind} records: {name} is {found}; times are {UTC_MICROS}, UTC microseconds")
    frame = frame.cast(dict(RECORD_SCHEMA))  # type: ignore[arg-type]
    for name in ("symbol", "id", "known_at", "event_time"):
        _refuse(frame, pl.col(name).is_null(), f"{name} is missing; each record needs one")
    fields = KINDS[kind]
    _refuse(
        frame,
        ~pl.col("field").is_in(list(fields)).fill_null(False),
        f"field is unknown; {kind} has {', '.join(fields)}",
    )
    for name, field in fields.items():
        mine, value = pl.col("field") == name, pl.col("value")
        inside = value.is_finite() & value.is_between(field.lower, field.upper)
        _refuse(frame, mine & ~inside.fill_null(True), f"value must be a number from {field.lower} to {field.upper}")
        if not field.ahead:
            early = mine & (pl.col("known_at") < pl.col("event_time"))
            _refuse(frame, early, "known before its event; one of known_at and event_time is wrong")
    return frame


def _refuse(frame: pl.DataFrame, bad: pl.Expr, message: str) -> None:
    found = frame.filter(bad.fill_null(False)).head(1)
    if found.height:
        row = found.row(0, named=True)
        what = f"{row['field']} {row['value']} of {row['event_time']}"
        raise BarSchemaError(
            f"{row['kind']} record {row['id']} of {row['symbol']}, known at {row['known_at']} ({what}): {message}"
        )
