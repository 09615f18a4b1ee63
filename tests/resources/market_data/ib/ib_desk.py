"""What the tests of the Interactive Brokers provider share: a market, a gateway, providers by a test's clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from resources.market_data.ib import InteractiveBrokers
from resources.market_data.pacing import TokenBucket
from tests.venues.ib import IBGateway
from tests.venues.market import Bar, Listing, Market, VenueClock, every, instant, seeded_bars

EVENING = instant(2024, 3, 13, 22)
MONDAY, TUESDAY, WEDNESDAY = date(2024, 3, 11), date(2024, 3, 12), date(2024, 3, 13)
MINUTE = timedelta(minutes=1)
OPENS = [
    instant(2024, 3, 8, 14, 30),
    *(instant(2024, 3, day, 13, 30) for day in (11, 12, 13)),
]  # New York's clock moved


def a_market() -> Market:
    market = Market(VenueClock(EVENING))
    market.add(
        Listing("AAPL", name="Apple Inc"),
        Listing("BRK.B", venue="NYSE"),
        Listing("VOD.LSE", venue="LSE", currency="GBP"),
        Listing("EUR.USD", "forex", venue="IDEALPRO", tick=0.00005, lot=0.01),
        Listing("USD.JPY", "forex", venue="IDEALPRO", currency="JPY", tick=0.005),
        *(
            Listing(f"ES.{day:%Y%m}", "future", venue="CME", tick=0.25, multiplier=50, expiry=day, underlying="ES")
            for day in (date(2023, 12, 15), date(2024, 3, 15), date(2024, 6, 21))
        ),
        *(option(day, strike, right) for day, strike, right in CHAIN),
    )
    market.set_bars("AAPL", "1d", seeded_bars(1, OPENS, price=170))
    market.set_bars("BRK.B", "1d", seeded_bars(2, OPENS, price=400))
    market.set_bars("AAPL", "1m", [bar for opens in OPENS for bar in seeded_bars(3, every(opens, MINUTE, 390))])
    market.set_bars("EUR.USD", "1h", seeded_bars(4, every(instant(2024, 3, 10, 22), timedelta(hours=1), 72), tick=1e-4))
    market.set_bars("ES.202403", "1d", seeded_bars(5, [instant(2024, 3, day, 22) for day in (10, 11, 12)], tick=0.25))
    return market


CHAIN = [  # not every strike at every expiry
    (date(2024, 3, 8), 170.0, "call"),
    (date(2024, 3, 15), 170.0, "call"),
    (date(2024, 3, 15), 170.0, "put"),
    (date(2024, 4, 19), 172.5, "call"),
]


def option(expiry: date, strike: float, right: str) -> Listing:
    name = f"AAPL{expiry:%y%m%d}{right[0].upper()}{round(strike * 1000):08d}"
    return Listing(
        name, "option", venue="CBOE", multiplier=100, expiry=expiry, strike=strike, right=right, underlying="AAPL"
    )


class Desk:
    """A gateway, and providers that talk to it by a clock of the test's and with hardly any waiting."""

    def __init__(self, **gateway: bool) -> None:
        self.market = a_market()
        self.gateway = IBGateway(self.market, **gateway)
        self.pauses: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.meanwhile()
        time.sleep(0.005)  # what the gateway says meanwhile arrives

    def ib(self, now: datetime = EVENING, timeout: float = 5.0, **options: Any) -> InteractiveBrokers:
        self.market.clock.truth = now
        settings: dict[str, Any] = {
            "timeout_seconds": timeout, "connect_seconds": 2.0, "clock": self.market.clock.now, "sleep": self.sleep,
            "bucket": TokenBucket(1e6, 1e6, sleep=lambda seconds: None), **options,
        }  # fmt: skip
        return InteractiveBrokers(port=self.gateway.port, **settings)

    def minutes(self, ib: InteractiveBrokers | None = None) -> pl.DataFrame:
        """Two sessions of AAPL's minutes: two requests."""
        return (ib or self.ib()).bars(["AAPL"], MONDAY, TUESDAY, "1m").collect()

    def count(self, name: str) -> int:
        return self.gateway.requests.count(name)


@contextmanager
def desks() -> Iterator[Callable[..., Desk]]:
    """Opens desks, and stops their gateways."""
    opened: list[Desk] = []

    def open_desk(**gateway: bool) -> Desk:
        opened.append(Desk(**gateway))
        return opened[-1]

    try:
        yield open_desk
    finally:
        for each in opened:
            each.gateway.stop()


def bars_of(frame: pl.DataFrame) -> list[Bar]:
    return [Bar(*row) for row in frame.select("ts", "open", "high", "low", "close", "volume").rows()]


def held(desk: Desk, symbol: str, timeframe: str, first: datetime, last: datetime) -> list[Bar]:
    return [bar for bar in desk.market.bars[symbol, timeframe] if first <= bar.ts < last]


def the_minutes(desk: Desk) -> list[Bar]:
    return held(desk, "AAPL", "1m", OPENS[1], OPENS[3])


def wait_until(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.005)
    return False


def stamps(*counts: int) -> list[datetime]:
    """So many instants within each second from Monday's opening on."""
    return [OPENS[1] + timedelta(seconds=at, microseconds=i) for at, count in enumerate(counts) for i in range(count)]
