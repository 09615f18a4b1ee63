"""Small lakes of ticks for tests of the catalog, and the answers worked out one by one in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

import polars as pl
from hypothesis import strategies as st

from resources.catalog import QUOTED, QUOTES, TRADES
from resources.lake import Lake
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA

MICROSECOND = timedelta(microseconds=1)
MONDAY = datetime(2024, 3, 11, tzinfo=UTC)
"""The first session after New York set its clocks forward (Sunday, 10 March, 07:00 UTC)."""

_STEPS = [timedelta(0), MICROSECOND, timedelta(seconds=59, microseconds=999_999), timedelta(minutes=1)]
_DAYS = [datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 3, 8, tzinfo=UTC), datetime(2024, 3, 10, tzinfo=UTC), MONDAY]
_HOURS = [0, 4, 5, 7, 8, 13.5, 14.5, 20, 21, 23]

INSTANTS = sorted(
    day + timedelta(hours=hours) + sign * step
    for day in _DAYS
    for hours in _HOURS
    for step in _STEPS
    for sign in (-1, 1)
)
"""Around midnights, opens, closes, bars' starts and the change of clocks; few enough that many rows share one."""

SYMBOLS = ["A", "B/C", "^D", "E.F"]
PRICES = st.sampled_from([100.0, 100.01, 99.99, 0.1, 1e-8, 123_456.789])
SIZES = st.sampled_from([1.0, 100.0, 0.1, 0.3, 1e-9, 12_345.678, 2.0**40])


_TRADES = st.tuples(
    st.sampled_from(SYMBOLS), st.sampled_from(INSTANTS), PRICES, SIZES, st.sampled_from(["buy", "sell", None])
)
_QUOTES = st.tuples(
    st.sampled_from(SYMBOLS), st.sampled_from(INSTANTS), st.one_of(st.none(), PRICES), st.one_of(st.none(), PRICES)
)


def trades(most: int = 40) -> st.SearchStrategy[pl.DataFrame]:
    """Trades in TRADE_SCHEMA, in any order."""
    return st.lists(_TRADES, max_size=most).map(of_trades)


def quotes(most: int = 40) -> st.SearchStrategy[pl.DataFrame]:
    """Quotes in QUOTE_SCHEMA, in any order, one-sided and crossed ones among them."""
    return st.lists(_QUOTES, max_size=most).map(of_quotes)


def of_trades(rows: Sequence[tuple[str, datetime, float, float, str | None]]) -> pl.DataFrame:
    """Trades of symbol, ts, price, size, side; each other column tells rows apart."""
    told = [
        {"symbol": symbol, "ts": ts, "price": price, "size": size, "side": side, "trade_id": str(at) if side else None}
        | {"provider": f"p{at % 3}", "fetched_at": ts + at * MICROSECOND, "known_at": ts}
        for at, (symbol, ts, price, size, side) in enumerate(rows)
    ]
    return pl.DataFrame(told, schema=TRADE_SCHEMA)


def of_quotes(rows: Sequence[tuple[str, datetime, float | None, float | None]]) -> pl.DataFrame:
    """Quotes of symbol, ts, bid, ask; each other column tells rows apart."""
    told = [
        {"symbol": symbol, "ts": ts, "bid": bid, "bid_size": bid and float(at), "ask": ask, "ask_size": ask and at / 3}
        | {"provider": f"p{at % 3}", "fetched_at": ts + at * MICROSECOND, "known_at": ts}
        for at, (symbol, ts, bid, ask) in enumerate(rows)
    ]
    return pl.DataFrame(told, schema=QUOTE_SCHEMA)


def drawn(seed: int, many: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """So many trades and quotes, by a seed."""
    random = Random(seed)
    prices, sizes = [100.0, 100.01, 99.99, 0.1, 1e-8], [1.0, 100.0, 0.1, 0.3, 1e-9, 12_345.678]
    traded = [
        (random.choice(SYMBOLS), random.choice(INSTANTS), random.choice(prices), random.choice(sizes), None)
        for _ in range(many)
    ]
    told = [
        (random.choice(SYMBOLS), random.choice(INSTANTS), random.choice([None, *prices]), random.choice(prices))
        for _ in range(many)
    ]
    return of_trades(traded), of_quotes(told)


def write(lake: Lake, table: str, frame: pl.DataFrame, grain: str = "%Y-%m") -> None:
    """File the rows by symbol and UTC date, in their order."""
    keyed = frame.with_columns(date=pl.col("ts").dt.strftime(grain))
    with lake.writing(table.split("/")) as staging:
        staging.write(
            [
                ({"symbol": str(symbol), "date": str(date)}, part.drop("date"))
                for (symbol, date), part in keyed.group_by("symbol", "date", maintain_order=True)
            ]
        )


def make(lake: Lake, trades: pl.DataFrame, quotes: pl.DataFrame, grain: str = "%Y-%m") -> Lake:
    write(lake, TRADES, trades, grain)
    write(lake, QUOTES, quotes, grain)
    return lake


# --- answers


def rows(frame: pl.DataFrame, symbols: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame:
    asked = [row for row in frame.rows(named=True) if row["symbol"] in symbols and start <= row["ts"] < end]
    asked.sort(key=lambda row: (row["symbol"], row["ts"]))  # stable: rows of one instant keep their order
    return pl.DataFrame(asked, schema=frame.schema)


def last(frame: pl.DataFrame, symbols: Sequence[str], at: datetime) -> pl.DataFrame:
    standing = {}
    for row in rows(frame, symbols, INSTANTS[0], at + MICROSECOND).rows(named=True):
        standing[row["symbol"]] = row
    return pl.DataFrame(list(standing.values()), schema=frame.schema)


def quoted(
    trades: pl.DataFrame,
    quotes: pl.DataFrame,
    symbols: Sequence[str],
    span: tuple[datetime, datetime],
    age: timedelta | None,
) -> pl.DataFrame:
    by_symbol: dict[str, list[dict[str, Any]]] = {}
    for quote in rows(quotes, symbols, INSTANTS[0], INSTANTS[-1] + MICROSECOND).rows(named=True):
        by_symbol.setdefault(quote["symbol"], []).append(quote)
    told = []
    for trade in rows(trades, symbols, *span).rows(named=True):
        stood = None
        for quote in by_symbol.get(trade["symbol"], ()):
            if quote["ts"] <= trade["ts"] and (age is None or trade["ts"] - quote["ts"] <= age):
                stood = quote
        told.append(
            trade
            | {"quoted_at": stood and stood["ts"]}
            | {name: stood and stood[name] for name in ("bid", "bid_size", "ask", "ask_size")}
        )
    return pl.DataFrame(told, schema=QUOTED)


def is_exact_sum(volume: float, sizes: Sequence[float]) -> bool:
    """Whether a volume is the sum of the sizes to a unit in its last place."""
    exact = sum(map(Fraction, sizes))
    return abs(Fraction(volume) - exact) <= Fraction(math.ulp(volume)) + Fraction(len(sizes), 2**62)
