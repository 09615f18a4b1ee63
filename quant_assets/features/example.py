"""Bars made up to try features on: all that is awkward in real ones, in a few hundred sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from quant_assets.cleaned import CLEANED_SCHEMA
from quant_assets.features.derived import OPTIONAL
from resources.calendars import UTC_MICROS
from resources.market_data.base import INSTRUMENT_SCHEMA

HALT = 80
"""Sessions without a trade: longer than most windows, for what they leave in rolling sums."""

LATE = 130
"""Sessions that the last symbol lists later than the others."""

SYMBOLS = ("CALM", "WILD", "FIRM", "LATE")


BARS_A_DAY = 13
"""Half hours of a session in New York."""


def example_bars(seed: int = 1, sessions: int = 700, symbols: Sequence[str] = SYMBOLS, a_day: int = 1) -> pl.DataFrame:
    """Random cleaned bars (CLEANED_SCHEMA and every optional column) on weekdays; `a_day`: bars of half an hour.

    Quiet and wild years, nights, sessions missing or untraded. Trading is halted for 80 sessions in the middle. Prices
    are whole cents, so that ties are as common as on an exchange. The first symbol is calm and cheap, the next ones
    wilder and dearer; LATE lists later. Factors are 1.0.
    """
    random = np.random.default_rng(seed)
    parts = [
        _example(random, name, sessions, daily=0.01 * 2 ** (i % 3), price=20.0 * 10 ** (i % 3))
        for i, name in enumerate(symbols)
    ]
    if a_day > 1:
        parts = [_within_sessions(part, a_day) for part in parts]
    bars = pl.concat(part.slice(LATE) if part["symbol"][0] == "LATE" else part for part in parts)
    return bars.with_columns(_extra(random, *extra.bounds, bars.height).alias(name) for name, extra in OPTIONAL.items())


def example_instruments(symbols: Sequence[str] = SYMBOLS) -> pl.DataFrame:
    """INSTRUMENT_SCHEMA of equities in two sectors, those of one with an expiry; whoever else is there."""
    rows = [
        {
            "symbol": name,
            "asset_class": "equity",
            "calendar": "XNYS",
            "sector": ("Tools", "Toys")[ord(name[0]) % 2],
            "expiry": date(2012, 6, 15) if ord(name[0]) % 2 else None,
        }
        for name in symbols
    ]
    return pl.DataFrame(rows, schema_overrides=INSTRUMENT_SCHEMA).select(
        pl.col(name) if name in rows[0] else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in INSTRUMENT_SCHEMA.items()
    )


def _within_sessions(bars: pl.DataFrame, a_day: int) -> pl.DataFrame:
    """The same bars as so many half hours of each session."""
    days, half = _weekdays(bars.height), timedelta(minutes=30)
    sessions = [days[at // a_day] for at in range(bars.height)]
    starts = [datetime.combine(day, time(14, 30), UTC) + half * (at % a_day) for at, day in enumerate(sessions)]
    return bars.with_columns(
        ts=pl.Series(starts, dtype=UTC_MICROS),
        known_at=pl.Series([start + half for start in starts], dtype=UTC_MICROS),
        session=pl.Series(sessions, dtype=pl.Date),
    )


def _extra(random: np.random.Generator, lower: float, upper: float, count: int) -> pl.Series:
    if np.isinf(lower):
        drawn = random.normal(0, 1, count)
    else:
        drawn = lower + random.lognormal(0, 0.5, count) if np.isinf(upper) else random.uniform(lower, upper, count)
    missing = (np.arange(count) // 50) % 4 == 3
    return pl.Series(np.where(missing, np.nan, drawn), nan_to_null=True)


def _example(random: np.random.Generator, symbol: str, count: int, daily: float, price: float) -> pl.DataFrame:
    swing = daily * np.exp(0.6 * np.sin(np.arange(count) / 90) + random.normal(0, 0.2, count))
    night, day = random.normal(0, 0.4 * swing), random.normal(0.0002, swing)
    missing = (random.random(count) < 0.01) & (np.arange(count) > 0)
    halted = (np.arange(count) >= count // 2) & (np.arange(count) < count // 2 + HALT)
    still = missing | halted
    night[still] = day[still] = swing[still] = 0.0
    exact = price * np.exp(np.cumsum(night + day))
    close, opened = np.round(exact, 2), np.round(exact / np.exp(day), 2)
    high = np.round(np.maximum(opened, close) * np.exp(np.abs(random.normal(0, 0.5 * swing))), 2)
    low = np.round(np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, 0.5 * swing))), 2)
    untraded = still | (random.random(count) < 0.01)
    volume = np.where(untraded, 0.0, np.round(random.lognormal(13, 0.5, count)))
    days = _weekdays(count)
    bars = {"open": opened, "high": high, "low": low, "close": close}
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "ts": [datetime.combine(day, time(14, 30), UTC) for day in days],
            "session": days,
            "known_at": [datetime.combine(day, time(21), UTC) for day in days],
            **bars,
            "volume": volume,
            "split": np.ones(count),
            "dividend": np.zeros(count),
            "split_factor": np.ones(count),
            "dividend_factor": np.ones(count),
            **{f"adj_{name}": prices for name, prices in bars.items()},
            "adj_volume": volume,
            "flags": [["missing_session"] if gone else [] for gone in missing],
        },
        schema=CLEANED_SCHEMA,
    )


def _weekdays(count: int) -> list[date]:
    monday = date(2010, 1, 4)
    return [monday + timedelta(days=7 * (i // 5) + i % 5) for i in range(count)]
