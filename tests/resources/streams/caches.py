"""A cache as its tests use it: what is told to it, by a clock that is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from resources.streams.base import Batch, Event, Quote, Trade
from resources.streams.cache import Cache, CacheSettings
from tests.venues.redis import RedisServer


class Clock:
    """A time that is set."""

    def __init__(self, now: int) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    async def wait(self, seconds: float) -> None:
        raise NotImplementedError


def cache(server: RedisServer, *, now: int = 1000, **more: Any) -> Cache:
    return Cache(CacheSettings(url=server.url, connect=5.0, **more), clock=Clock(now))


def quote(symbol: str, ts: int, bid: float = 1.0, *, repaired: bool = False) -> Quote:
    return Quote(symbol, ts, bid, 1.0, None, None, received=ts, repaired=repaired)


def trade(symbol: str, ts: int, *, repaired: bool = False) -> Trade:
    return Trade(symbol, ts, 1.0, 1.0, "buy", str(ts), ts, received=ts, repaired=repaired)


async def told(*batches: list[Event]) -> AsyncGenerator[Batch, None]:
    for at, events in enumerate(batches):
        yield Batch(events, {0: at + 1, 3: 7})


async def until(ready: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0.001)
