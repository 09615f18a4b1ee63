"""A gateway at work on a loopback venue, for its tests: simulated time, what was told, and the venue's log as truth.

Nothing here sleeps: a test waits until what it names has happened, and time passes when the test says so.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl

from resources.streams import base as made
from resources.streams.base import Batch, Event, Line, Lost, MarketEvent, Repaired, Status
from resources.streams.gateway import Gateway
from resources.streams.repair import EPOCH
from tests.venues.market import Bar, Fault, Market, Trade
from tests.venues.stream import StreamVenue

LIMIT_SECONDS = 10.0


def played(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine as a test; one that does not end fails."""

    @functools.wraps(scenario)
    def test(*args: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(scenario(*args, **named), 3 * LIMIT_SECONDS))

    return test


def micros(when: datetime) -> int:
    return (when - EPOCH) // timedelta(microseconds=1)


class ManualClock:
    """Time that passes when a test says so; who waits goes on when their time has come."""

    def __init__(self, start: datetime) -> None:
        self._now = micros(start)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = itertools.count()
        self.asked: list[float] = []  # how long anybody wanted to wait

    def now(self) -> int:
        return self._now

    async def wait(self, seconds: float) -> None:
        self.asked.append(seconds)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._now + int(seconds * 1e6), next(self._count), over))
        await over

    def advance(self, seconds: float) -> None:
        self._now += int(seconds * 1e6)
        while self._waiting and self._waiting[0][0] <= self._now:
            over = heapq.heappop(self._waiting)[2]
            if not over.done():
                over.set_result(None)


class Reader:
    """All that one reader of a gateway is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()

    async def read(self, batches: AsyncGenerator[Batch, None]) -> None:
        async for batch in batches:
            self.events += batch.events
            self._more.set()

    async def until(self, ready: Callable[[], object], what: str) -> None:
        """Wait until what was told makes this true; raises TimeoutError that says `what` did not come."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                while not ready():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            seen = [event for event in self.events if isinstance(event, Status | Lost | Repaired)]
            raise TimeoutError(f"{what} did not come; there are {seen} and {len(self.events)} in all") from None

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def states(self) -> list[str]:
        """What became of the connection."""
        return [event.state for event in self.of(Status) if not event.symbol]

    def rows(self, line: Line, kind: type[Any]) -> list[Any]:
        return [event for event in self.of(kind) if event.symbol == line.symbol]


class Desk:
    """A gateway, a reader of it, and the venue's streams."""

    def __init__(self, gateway: Gateway, streams: StreamVenue, clock: ManualClock) -> None:
        self.gateway, self.streams, self.clock = gateway, streams, clock
        self.market: Market = streams.market
        self.reader = Reader()
        self.provider: Any = None

    def fault(self, match: str, fault: Fault, **more: Any) -> None:
        self.market.faults.add(match, fault, **more)

    async def subscribe(self, lines: Sequence[Line], *topics: str) -> None:
        await self.gateway.subscribe(lines)
        await self.listening(*topics)

    async def listening(self, *topics: str) -> None:
        await asyncio.to_thread(self.streams.until_listening, *topics)

    async def streams_until(self, ready: Callable[[], object], what: str) -> None:
        """Wait for something about the venue's connections."""
        await asyncio.to_thread(self.streams.until, ready, what)

    async def tell(self, seconds: float) -> None:
        """The market goes on, and so does our clock."""
        self.clock.advance(seconds)
        await asyncio.to_thread(self.streams.advance, seconds)

    async def strike(self, fault: Fault) -> None:
        await asyncio.to_thread(self.streams.strike, fault)

    async def until(self, ready: Callable[[], object], what: str) -> None:
        await self.reader.until(ready, what)

    async def connected(self, times: int) -> None:
        await self.until(lambda: self.reader.states().count("connected") >= times, f"connection {times}")

    async def lost(self, gaps: int) -> list[Lost]:
        """Wait until so many gaps were told."""
        await self.until(lambda: len(self.reader.of(Lost)) >= gaps, f"{gaps} gaps")
        return self.reader.of(Lost)

    async def repaired(self, gaps: int, seconds: float = 10.0) -> list[Repaired]:
        """So much time passes after that many gaps were told; wait until they are repaired or given up."""
        await self.lost(gaps)
        self.market.clock.advance(0.5)  # REST gives what happened before now
        self.clock.advance(seconds)
        await self.until(lambda: len(self.reader.of(Repaired)) >= gaps, f"{gaps} repairs")
        return self.reader.of(Repaired)


@asynccontextmanager
async def running(gateway: Gateway, streams: StreamVenue, clock: ManualClock) -> AsyncIterator[Desk]:
    """The desk while the gateway runs; what ended it, if anything did, is raised at the end."""
    desk = Desk(gateway, streams, clock)
    async with gateway:
        reading = asyncio.create_task(desk.reader.read(gateway.events()))
        yield desk
    await reading


def check_delivery(told: Sequence[MarketEvent], owed: Sequence[MarketEvent], lost: Sequence[Lost]) -> None:
    """What a gateway owes for a line: each event of the venue's log once, those of the stream in order, and what was
    repaired within an interval that was told as lost (or late, out of its place)."""
    same = [event[:7] for event in told]
    assert sorted(same) == sorted(event[:7] for event in owed)
    live = [event for event in told if not event.repaired]
    assert [event.ts for event in live] == sorted(event.ts for event in live)
    for event in told:
        if event.repaired:
            assert any(gap.ts <= event.ts <= gap.until for gap in lost), event


def bars_of(trades: Sequence[Trade], length: timedelta) -> list[Bar]:
    """The bars a venue makes of its trades, sizes summed without rounding."""
    slots: dict[datetime, list[Trade]] = {}
    for trade in trades:
        slots.setdefault(trade.ts - (trade.ts - EPOCH) % length, []).append(trade)
    bars = []
    for start, rows in sorted(slots.items()):
        prices = [row.price for row in rows]
        volume = float(sum((Fraction(str(row.size)) for row in rows), Fraction(0)))
        bars.append(Bar(start, prices[0], max(prices), min(prices), prices[-1], volume))
    return bars


def last_revisions(told: Iterable[made.Bar]) -> dict[tuple[str, int], made.Bar]:
    """Each bar as it was told last, by symbol and start."""
    return {(bar.symbol, bar.ts): bar for bar in told}


def provider_bars(frame: pl.LazyFrame) -> dict[tuple[str, int], tuple[float, ...]]:
    """Prices and volume of a provider's bars, by symbol and start."""
    columns = frame.select("symbol", pl.col("ts").to_physical(), "open", "high", "low", "close", "volume")
    return {(row[0], row[1]): row[2:] for row in columns.collect().iter_rows()}
