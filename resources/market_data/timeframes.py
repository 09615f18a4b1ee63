"""The bar sizes that providers are asked for, and intraday bars from a provider's own rows."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import NotOfferedError
from resources.market_data.base import BAR_SCHEMA, check_bars

INTRADAY = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
}
"""Timeframes of fixed length. Beside them there is 1d, a session, whose length is the calendar's."""


def check_timeframe(provider: str, timeframe: str, offered: Collection[str]) -> str:
    """The timeframe, if the provider offers it; raises NotOfferedError naming those that it does."""
    if timeframe not in offered:
        raise NotOfferedError(f"timeframe: {provider} has no bars of {timeframe!r}; it has {', '.join(offered)}")
    return timeframe


def intraday_bars(
    rows: pl.LazyFrame, *, timeframe: str, provider: str, fetched_at: datetime, source: str
) -> pl.LazyFrame:
    """Checked bars in BAR_SCHEMA from rows with symbol, ts (the bar's START), open, high, low, close, volume.

    A bar is known when its timeframe is over. One that was not over at `fetched_at` is still being built, and is
    left out. Raises BarSchemaError as `check_bars` does.
    """
    stamped = rows.with_columns(
        pl.col("ts").cast(UTC_MICROS),
        provider=pl.lit(provider),
        fetched_at=pl.lit(fetched_at, dtype=UTC_MICROS),
    ).with_columns(known_at=pl.col("ts") + INTRADAY[timeframe])
    finished = stamped.filter(pl.col("known_at") <= pl.col("fetched_at"))
    return check_bars(finished.select(BAR_SCHEMA.names()).cast(dict(BAR_SCHEMA)).sort("symbol", "ts"), source)  # type: ignore[arg-type]
