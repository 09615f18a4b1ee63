"""What the tests of the Binance provider share: a market, a venue over it, and providers that wait by its clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from resources.market_data.binance import Binance
from resources.market_data.binance.client import buckets
from resources.market_data.pacing import TokenBucket
from tests.venues.binance import BinanceVenue
from tests.venues.market import Bar, Listing, Market, Trade, VenueClock, every, instant, seeded_bars

NOW = instant(2024, 3, 11, 12, 30, 20)  # a Monday; by this machine's clock all of it is long over
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PRICES = ("open", "high", "low", "close", "volume")

LISTINGS = [
    Listing("BTCUSDT", "crypto", currency="USDT", underlying="BTC", tick=0.01, lot=1e-05, minimum_notional=5.0),
    Listing("ETHBTC", "crypto", currency="BTC", underlying="ETH", tick=1e-05, lot=0.0001, minimum_notional=0.0001),
    Listing(
        "BTCUSDT.P", "future", currency="USDT", underlying="BTC", tick=0.1, lot=0.001, minimum_notional=100.0,
        perpetual=True,
    ),
    Listing(
        "BTCUSDT.240329", "future", currency="USDT", underlying="BTC", tick=0.1, lot=0.001, minimum_notional=5.0,
        expiry=date(2024, 3, 29),
    ),
    Listing(
        "BTCUSDT.240628", "future", currency="USDT", underlying="BTC", tick=0.1, lot=0.001, minimum_notional=5.0,
        expiry=date(2024, 6, 28),
    ),
    Listing("SOLUSDT.P", "future", currency="USDT", underlying="SOL", perpetual=True),
]  # fmt: skip


class Desk:
    """A venue, and providers that wait by the venue's clock alone."""

    def __init__(self, **venue: Any) -> None:
        self.market = Market(clock=VenueClock(NOW))
        self.market.add(*LISTINGS)
        self.venue = BinanceVenue(self.market, **venue)
        self.pauses: list[float] = []

    def binance(self, **options: Any) -> Binance:
        options = {"timeout_seconds": 5.0, "threads": 1, "sleep": self.sleep, "paces": self.paces()} | options
        return Binance(client=self.venue.client(), **options)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.market.clock.advance(seconds)

    def seconds(self) -> float:
        return self.market.clock.truth.timestamp()

    def paces(self) -> dict[str, TokenBucket]:
        return {
            name: TokenBucket(each.per_second, each.burst, clock=self.seconds, sleep=self.sleep)
            for name, each in buckets().items()
        }

    def asked(self, part: str) -> list[dict[str, str]]:
        """The queries of the requests whose path contains `part`."""
        return [request.query for request in list(self.venue.requests) if part in request.path]


@contextmanager
def desks() -> Iterator[Callable[..., Desk]]:
    """Opens desks, without keys in the environment; what it takes is the venue's options."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as opened:
        patch.delenv("BINANCE_API_KEY", raising=False)
        patch.delenv("BINANCE_API_SECRET", raising=False)

        def open_desk(**venue: Any) -> Desk:
            desk = Desk(**venue)
            opened.enter_context(desk.venue)
            return desk

        yield open_desk


def minutes(count: int, seed: int = 1) -> list[Bar]:
    return seeded_bars(seed, every(instant(2024, 3, 1), MINUTE, count), price=60_000.0, tick=0.01, lot=1e-05)


def days(first: datetime, count: int) -> list[Bar]:
    return seeded_bars(2, every(first, DAY, count), price=60_000.0, tick=0.01, lot=1e-05)


def bars_in(frame: pl.LazyFrame, symbol: str | None = None) -> list[Bar]:
    rows = frame.filter(pl.col("symbol") == symbol) if symbol else frame
    return [Bar(*row) for row in rows.select("ts", *PRICES).collect().rows()]


def trades_in(frame: pl.LazyFrame) -> list[tuple[Any, ...]]:
    return frame.select("ts", "price", "size", "trade_id", "side").collect().rows()


def as_rows(trades: list[Trade]) -> list[tuple[Any, ...]]:
    return [(each.ts, each.price, each.size, str(each.trade_id), each.side) for each in trades]


def trading(at: Desk, symbol: str, trades: list[Trade]) -> list[Trade]:
    """Put trades on the market, and the hourly candles that go with them."""
    at.market.set_trades(symbol, trades)
    hours = sorted({each.ts.replace(minute=0, second=0, microsecond=0) for each in trades})
    span = every(hours[0] - HOUR, HOUR, (hours[-1] - hours[0]) // HOUR + 3)  # quiet hours have candles as well
    at.market.set_bars(symbol, "1h", [Bar(hour, 1.0, 1.0, 1.0, 1.0, 0.0) for hour in span])
    return trades


def moments(first: datetime, count: int, step: timedelta, seed: int = 4) -> list[Trade]:
    """Trades of which many share a millisecond, numbered from 553287559 on."""
    rng = random.Random(seed)
    trades, ts = [], first
    for number in range(count):
        ts += step * rng.choice((0, 0, 1, 2))
        price, size = 60_000 + rng.randint(-500, 500) / 100, rng.randint(1, 10**6) / 10**5
        trades.append(Trade(ts, price, size, 553287559 + number, rng.choice(("buy", "sell"))))
    return trades
