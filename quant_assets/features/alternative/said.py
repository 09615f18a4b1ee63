"""What features read of records: the sentiment of news and the number of posts, by the instant each was known.

Turns the log of versions that alternative/sentiment holds into records (RECORD_SCHEMA), and adds their columns to bars.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

from quant_assets.features.alternative.attach import FLOWS, attach_records
from quant_assets.features.alternative.records import RECORD_SCHEMA

READ: dict[str, tuple[str, pl.Expr]] = {
    "news": ("sentiment", pl.col("score")),
    "social": ("mentions", pl.when(pl.col("score").is_not_null()).then(1.0)),
}
"""The kinds that features read, with the field that they are to them and its value; null takes a record back."""

MOST_LATE = timedelta(days=180)
"""A version that became known longer after its event than this is left out of features.

So the records of a bar lie within a bounded stretch before it, and one partition has the values of the whole history.
"""

RECORD_SESSIONS = 200
"""Sessions of records before a partition's first bar: 90 days of the longest window, MOST_LATE, and 63 bars back."""


def columns_of(kind: str) -> tuple[str, ...]:
    """The columns that a kind of records brings to the bars."""
    return tuple(
        name
        for (each, _), windows in FLOWS.items()
        if each == kind
        for columns in windows.values()
        for name in columns.values()
    )


BROUGHT = {name: kind for kind in READ for name in columns_of(kind)}
"""The columns that records bring, and the kind that does."""


def told(sentiment: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The versions of alternative/sentiment as features understand them, in RECORD_SCHEMA, by kind.

    `sentiment` needs kind, source, record_id, symbol, ts, known_at and score, which is null where a version takes the
    record back.
    """
    timely = sentiment.filter(pl.col("known_at") - pl.col("ts") <= MOST_LATE)
    return {
        kind: timely.filter(pl.col("kind") == kind)
        .select(
            "symbol",
            id=pl.format("{} {}", "source", "record_id"),
            field=pl.lit(field),
            # A source may stamp an article a moment after it was known; the event was not later than the word of it.
            event_time=pl.min_horizontal("ts", "known_at"),
            known_at="known_at",
            value=value,
        )
        .select(RECORD_SCHEMA.names())
        for kind, (field, value) in READ.items()
    }


def with_records(bars: pl.DataFrame, sentiment: pl.DataFrame, since: Mapping[str, datetime]) -> pl.DataFrame:
    """The bars with the columns of those kinds of READ that are in `since`: what was known when each bar ended.

    `since` says, by kind, from when on its sources have records: before that, nothing known is not nothing there.
    Raises as `attach_records` does.
    """
    begun = {kind: at for kind, at in since.items() if kind in READ}
    records = {kind: rows for kind, rows in told(sentiment).items() if kind in begun}
    return attach_records(bars, records, since=begun).collect()
