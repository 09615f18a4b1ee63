"""What the tests of the Yahoo provider share: a market, a venue over it, and providers that do not wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from datetime import time as clock_time
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from resources.market_data.pacing import TokenBucket
from resources.market_data.yahoo import Yahoo
from tests.venues.market import Action, Bar, Listing, Market, VenueClock, instant
from tests.venues.yahoo import FAULTS, YahooVenue

EVENING = instant(2020, 9, 3, 22)
NAN = math.nan

DAYS = {  # AAPL as traded and paid: 7:1 on 2014-06-09, 4:1 on 2020-08-31
    date(2014, 6, 5): (646.20, 649.37, 642.61, 647.35, 10850100),
    date(2014, 6, 6): (649.90, 651.26, 644.47, 645.57, 12497800),
    date(2014, 6, 9): (92.70, 93.88, 91.75, 93.70, 75414997),
    date(2014, 8, 7): (94.93, 95.95, 94.10, 94.48, 46711179),
    date(2020, 8, 28): (504.05, 505.77, 498.31, 499.23, 46907479),
    date(2020, 8, 31): (127.58, 131.00, 126.00, 129.04, 225702688),
    date(2020, 9, 3): (126.91, 128.84, 120.50, 120.88, 257599640),
}
ACTIONS = (
    Action(date(2014, 6, 5), "dividend", 3.29),
    Action(date(2014, 6, 9), "split", 7.0),
    Action(date(2014, 8, 7), "dividend", 0.47),
    Action(date(2020, 8, 31), "split", 4.0),
)


def at_open(day: date, zone: str = "America/New_York", opens: clock_time = clock_time(9, 30)) -> datetime:
    """When Yahoo stamps a day of a New York share: as its session opens."""
    return datetime.combine(day, opens, ZoneInfo(zone)).astimezone(ZoneInfo("UTC"))


def daily(days: dict[date, tuple[float, ...]]) -> list[Bar]:
    return [Bar(at_open(day), *row) for day, row in days.items()]


AAPL = daily(DAYS)
FB = daily({date(2020, 9, 3): (295.99, 297.60, 283.63, 291.12, 32294100)})
SPX = daily({date(2020, 9, 3): (3564.74, 3564.85, 3427.41, 3455.06, 4898680000)})


def a_market() -> Market:
    """AAPL with its splits and dividends, FB since one day, and an index."""
    market = Market(VenueClock(EVENING))
    market.add(Listing("AAPL"), Listing("FB"), Listing("^GSPC", "index", venue="SNP"))
    market.set_actions("AAPL", *ACTIONS)
    for symbol, bars in (("AAPL", AAPL), ("FB", FB), ("^GSPC", SPX)):
        market.set_bars(symbol, "1d", bars)
    return market


class Desk:
    """A venue, and providers that talk to it by the market's clock and do not wait."""

    def __init__(self, bars: dict[str, list[Bar]] | None = None, faults: Sequence[str] = ()) -> None:
        self.market = a_market()
        for symbol, held in (bars or {}).items():
            self.market.add(Listing(symbol))
            self.market.set_bars(symbol, "1d", held)
        for name in faults:
            self.market.faults.add("GET /v8/finance/chart/", FAULTS[name])
        self.venue = YahooVenue(self.market)
        self.pauses: list[float] = []
        self.waits: list[float] = []  # of the pace

    def yahoo(self, now: datetime | None = None, timeout: float = 5.0, **options: Any) -> Yahoo:
        self.market.clock.truth = now or self.market.clock.truth
        settings: dict[str, Any] = {
            "session": self.venue.session(), "clock": self.market.clock.now, "sleep": self.pauses.append,
            "chance": lambda: 1.0, "bucket": TokenBucket(1e3, 1e3, clock=lambda: 0.0, sleep=self.waits.append),
            **options,
        }  # fmt: skip
        return Yahoo(timeout, **settings)


@contextmanager
def desks() -> Iterator[Callable[..., Desk]]:
    """Opens desks, and closes their venues."""
    opened: list[Desk] = []

    def open_desk(bars: dict[str, list[Bar]] | None = None, faults: Sequence[str] = ()) -> Desk:
        opened.append(Desk(bars, faults))
        opened[-1].venue.__enter__()
        return opened[-1]

    try:
        yield open_desk
    finally:
        for each in opened:
            each.venue.__exit__()


def bars_of(frame: pl.LazyFrame | pl.DataFrame) -> list[Bar]:
    return [Bar(*row) for row in frame.lazy().select("ts", "open", "high", "low", "close", "volume").collect().rows()]


def days_of(frame: pl.LazyFrame) -> list[date]:
    return [bar.ts.date() for bar in bars_of(frame)]
