"""Cleaned intraday bars put together to one row a session, so that daily research can start from any timeframe."""

from __future__ import annotations

import polars as pl

from resources.market_data.base import PRICES

MISSING = "missing_bar"


def by_session(cleaned: pl.LazyFrame) -> pl.LazyFrame:
    """One row a symbol and session from cleaned bars (CLEANED_SCHEMA, sorted by symbol and ts), in the same schema.

    Prices are those of the slots with a bar: open of the first, highest high, lowest low, close of the last; where no
    slot has one, the previous close. Volume and dividends are summed, splits multiplied, factors the last; ts is the
    first slot's, known_at the last one's. flags are all of the session's, and missing_session where every slot is
    missing. Daily rows come back as they are.

    Example: `by_session(clean(bars, actions, instruments, timeframe="30m").bars)`
    """
    keys = ["symbol", "session"]
    missing = pl.col("flags").list.contains(MISSING)
    # A slot without a bar holds the close before, on a session's first slots that of another day.
    empty = missing.all().over(keys)
    prices = [prefix + name for prefix in ("", "adj_") for name in PRICES]
    real = cleaned.with_columns(pl.when(~missing | empty).then(name).alias(name) for name in prices)
    how = {"open": "first", "high": "max", "low": "min", "close": "last"}
    taken = [
        getattr(pl.col(prefix + name).drop_nulls(), kind)() for prefix in ("", "adj_") for name, kind in how.items()
    ]
    rows = real.group_by(keys, maintain_order=True).agg(
        pl.col("ts").first(),
        pl.col("known_at").last(),
        *taken,
        pl.col("volume", "adj_volume", "dividend").sum(),
        pl.col("split").product(),
        pl.col("split_factor", "dividend_factor").last(),
        flags=pl.col("flags").explode().drop_nulls().unique(),
        empty=missing.all(),
    )
    lost = pl.when("empty").then(pl.lit(["missing_session"])).otherwise(pl.lit([], pl.List(pl.String)))
    flags = pl.concat_list("flags", lost).list.unique().list.sort()
    return rows.with_columns(flags=flags).select(cleaned.collect_schema().names())


def session_bars(cleaned: pl.LazyFrame, timeframe: str) -> pl.LazyFrame:
    """What research reads of `cleaned/bars`: `by_session` of intraday bars; daily ones as they are, at no cost."""
    return cleaned if timeframe == "1d" else by_session(cleaned)
