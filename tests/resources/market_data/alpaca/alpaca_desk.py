"""What the tests of the Alpaca provider share: a market, a venue over it, and providers that do not wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from resources.market_data.alpaca import Alpaca
from tests.venues.alpaca import KEY, SECRET, AlpacaVenue
from tests.venues.market import (
    Bar,
    Listing,
    Market,
    VenueClock,
    every,
    instant,
    seeded_bars,
    seeded_quotes,
    seeded_trades,
)
from tests.venues.server import Request

FRIDAY = date(2024, 3, 8)  # the clocks change on the Sunday after it
MONDAY = date(2024, 3, 11)
MINUTE = timedelta(minutes=1)
OPENS = {FRIDAY: instant(2024, 3, 8, 14, 30), MONDAY: instant(2024, 3, 11, 13, 30)}
SHARES = ("AAPL", "BRK.B", "MSFT")


def a_market() -> Market:
    """Shares on both sides of a clock change, one that is quiet, and bitcoin."""
    market = Market(clock=VenueClock(instant(2024, 3, 11, 22)))
    market.add(*(Listing(symbol) for symbol in SHARES), Listing("QUIET", active=False))
    market.add(Listing("BTC/USD", "crypto", tick=0.5, lot=1e-6, minimum_quantity=2e-5))
    for seed, symbol in enumerate(SHARES):
        market.set_bars(symbol, "1d", seeded_bars(seed, OPENS.values()))
        market.set_bars(symbol, "1m", seeded_bars(seed, every(OPENS[FRIDAY], MINUTE, 30)))
        market.set_quotes(symbol, seeded_quotes(seed, every(OPENS[FRIDAY], MINUTE, 20), lot=100.0))
        market.set_trades(symbol, seeded_trades(seed, every(OPENS[FRIDAY], MINUTE, 20)))
    days = every(instant(2024, 3, 8), timedelta(days=1), 4)
    market.set_bars("BTC/USD", "1d", seeded_bars(9, days, price=60_000.0, tick=0.5, lot=1e-6))
    market.set_bars("BTC/USD", "1m", seeded_bars(9, every(days[0], MINUTE, 30), price=60_000.0, tick=0.5, lot=1e-6))
    market.set_trades("BTC/USD", seeded_trades(9, every(days[0], MINUTE, 20), price=60_000.0, tick=0.5, lot=1e-6))
    market.set_quotes("BTC/USD", seeded_quotes(9, every(days[0], MINUTE, 20), price=60_000.0, tick=0.5, lot=1e-6))
    return market


class Desk:
    """A venue, and providers that talk to it without waiting."""

    def __init__(self, venue: AlpacaVenue) -> None:
        self.venue, self.market, self.pauses = venue, venue.market, list[float]()

    def alpaca(self, feed: str = "sip", **options: Any) -> Alpaca:
        address = self.venue.address
        plenty = {"requests_per_minute": 1e9, "timeout_seconds": 5.0, "clock": self.market.clock.now}
        return Alpaca(
            feed, data_url=address, trading_url=address, sleep=self.pauses.append, **{**plenty, **options}
        )  # fmt: skip

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.venue.requests if path in request.path]


@contextmanager
def desks() -> Iterator[Desk]:
    """A desk at a venue, with the venue's keys in the environment, where alpaca-py may not sleep."""

    def never(seconds: float) -> None:
        raise AssertionError(f"alpaca-py slept {seconds} s before a retry of its own")

    with pytest.MonkeyPatch.context() as patch, AlpacaVenue(a_market()) as venue:
        patch.setenv("ALPACA_API_KEY", KEY)
        patch.setenv("ALPACA_SECRET_KEY", SECRET)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr("alpaca.common.rest.time", SimpleNamespace(sleep=never))
        yield Desk(venue)


def rows(frame: pl.LazyFrame, symbol: str) -> list[Bar]:
    columns = ("ts", "open", "high", "low", "close", "volume")
    return [Bar(*row) for row in frame.filter(symbol=symbol).select(columns).collect().rows()]
