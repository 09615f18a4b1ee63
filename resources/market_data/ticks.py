"""Quotes and trades: their schemas, and what makes rows of them market data."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError

QUOTE_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "bid": pl.Float64(),
        "bid_size": pl.Float64(),
        "ask": pl.Float64(),
        "ask_size": pl.Float64(),
        "provider": pl.String(),
        "fetched_at": UTC_MICROS,
        "known_at": UTC_MICROS,
    }
)
"""The best bid and offer from `ts` on, sizes in units. A side without a price is null; crossed quotes are kept."""

TRADE_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "price": pl.Float64(),
        "size": pl.Float64(),
        "side": pl.String(),
        "trade_id": pl.String(),
        "provider": pl.String(),
        "fetched_at": UTC_MICROS,
        "known_at": UTC_MICROS,
    }
)
"""A trade at `ts`, size in units. side is the taker's (buy or sell), trade_id the venue's; null where not told."""


def quotes(rows: pl.LazyFrame, *, provider: str, fetched_at: datetime, source: str) -> pl.LazyFrame:
    """Quotes in QUOTE_SCHEMA, sorted by symbol and ts, from rows with symbol, ts, bid, bid_size, ask, ask_size.

    Rows of one symbol and instant keep the provider's order: the last is what stood.

    Raises BarSchemaError naming symbol, instant and field of a row without symbol or time, without both prices, or
    with a price or size that is negative or not finite.
    """
    frame = _stamped(rows, QUOTE_SCHEMA, provider, fetched_at)
    either = pl.col("bid").is_not_null() | pl.col("ask").is_not_null()
    sides = [(name, _not_negative(name), "it must be zero or more") for name in ("bid", "ask", "bid_size", "ask_size")]
    _refuse_first(frame, [("bid", either, "a quote needs a bid or an ask"), *sides], source)
    return frame.lazy()


def trades(rows: pl.LazyFrame, *, provider: str, fetched_at: datetime, source: str) -> pl.LazyFrame:
    """Trades in TRADE_SCHEMA, sorted by symbol and ts, from rows with symbol, ts, price, size, side, trade_id.

    Raises BarSchemaError naming symbol, instant and field of a row without symbol or time, or whose price or size
    is not a positive number.
    """
    frame = _stamped(rows, TRADE_SCHEMA, provider, fetched_at)
    positive = [
        (name, (pl.col(name).is_finite() & (pl.col(name) > 0)).fill_null(False), "it must be a positive number")
        for name in ("price", "size")
    ]
    _refuse_first(frame, positive, source)
    return frame.lazy()


def _stamped(rows: pl.LazyFrame, schema: pl.Schema, provider: str, fetched_at: datetime) -> pl.DataFrame:
    stamped = rows.with_columns(
        provider=pl.lit(provider), fetched_at=pl.lit(fetched_at, dtype=UTC_MICROS), known_at=pl.col("ts")
    )
    return stamped.select(schema.names()).cast(dict(schema)).sort("symbol", "ts", maintain_order=True).collect()  # type: ignore[arg-type]


def _not_negative(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).is_finite() & (pl.col(name) >= 0))


def _refuse_first(frame: pl.DataFrame, rules: list[tuple[str, pl.Expr, str]], source: str) -> None:
    keyed = [
        ("symbol", pl.col("symbol").fill_null("") != "", "each row needs one"),
        ("ts", pl.col("ts").is_not_null(), "each row needs a time"),
    ]
    for field, right, message in [*keyed, *rules]:
        bad = frame.filter(~right).head(1)
        if bad.height:
            symbol, when = bad["symbol"][0], bad["ts"][0]
            raise BarSchemaError(f"{symbol} {when}: {field} is {bad[field][0]}; {message} ({source})")
