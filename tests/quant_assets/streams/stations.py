"""Stations at work on a loopback venue or a recorded market, for their tests: what the lake holds, what it owes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from quant_assets.streams.station import Feed, Station, Task
from resources.lake import Lake
from resources.market_data.base import Provider
from resources.market_data.binance import Binance
from resources.streams.base import Line, Source
from resources.streams.patience import Patience
from resources.streams.recording import open_gaps, recorded
from resources.streams.sources.binance import BinanceStream
from tests.resources.streams.gateways import LIMIT_SECONDS, ManualClock, bars_of, micros
from tests.venues.binance import BinanceVenue
from tests.venues.binance_stream import BinanceStream as BinanceStreams
from tests.venues.market import Fault, Listing, Market, VenueClock, every, instant, seeded_quotes, seeded_trades
from tests.venues.stream import StreamVenue

NOW = instant(2024, 3, 8, 15)


class Site:
    """A station on a venue, with time that passes when a test says so."""

    def __init__(
        self, lake: Lake, streams: StreamVenue, clock: ManualClock, provider: Provider | None, source: Source
    ) -> None:
        self.lake, self.streams, self.clock = lake, streams, clock
        self.provider, self.source = provider, source
        self.market: Market = streams.market
        self.station: Station | None = None
        self._work: asyncio.Task[None] | None = None

    async def start(self, *lines: Line, **options: Any) -> None:
        feed = Feed(self.source, self.clock, self.provider)
        patience = options.pop("patience", Patience(silence=1e9, connect=1e9))
        flush, owed = options.pop("flush_seconds", 0.02), options.pop("owed", micros(NOW))
        task = Task("test", lines, owed, lambda newest: feed, patience, flush_seconds=flush, **options)
        self.station = Station(task, self.lake)
        self._work = asyncio.create_task(self.station.follow())

    async def stop(self) -> None:
        """As a run ends: what came is stored. Raises what went wrong."""
        assert self.station is not None
        if self._work is not None:
            if not self._work.done():
                self.station._stop.set()
            work, self._work = self._work, None
            await asyncio.wait_for(work, LIMIT_SECONDS)

    async def die(self) -> None:
        """As a process dies: nothing that is not stored by now is stored any more."""
        assert self.station is not None
        assert self._work is not None
        recorder = self.station._recorder
        assert recorder is not None
        recorder.store = lambda events: 0  # type: ignore[method-assign]
        recorder.rotate = list  # type: ignore[method-assign]
        self._work.cancel()
        await asyncio.wait([self._work])

    async def listening(self, *topics: str) -> None:
        """Wait until the venue has heard of these, and the station of its connection: time that passes then is
        followed."""
        await asyncio.to_thread(self.streams.until_listening, *topics)
        station = self.station
        assert station is not None
        await self.until(lambda: station.connected, "a connection")

    async def tell(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await asyncio.to_thread(self.streams.advance, seconds)

    async def streams_publish(self, *events: Any) -> None:
        """The venue tells these, of the test's own."""
        await asyncio.to_thread(self.streams.publish, *events)

    async def over(self) -> None:
        """Wait until it has ended by itself, and raise what ended it."""
        assert self._work is not None
        work, self._work = self._work, None
        await asyncio.wait_for(work, LIMIT_SECONDS)

    async def strike(self, fault: Fault) -> None:
        await asyncio.to_thread(self.streams.strike, fault)

    async def until(self, ready: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                while not ready():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            counts = self.station.counts() if self.station is not None else {}
            raise TimeoutError(f"{what} did not come; {counts}; {open_gaps(self.lake)}") from None

    async def mended(self) -> None:
        """Time passes until nothing is missing any more."""
        station = self.station
        assert station is not None
        await self.until(lambda: station.connected, "a connection")  # from then on what was missed is known
        self.market.clock.advance(0.5)  # REST gives what happened before now

        def over() -> bool:
            self.clock.advance(1.0)
            return not station.counts()["missing"]

        await self.until(over, "repairs")

    def held(self, symbol: str) -> list[int]:
        """The numbers of the trades that the lake holds, in its order."""
        return recorded(self.lake, "trades", [symbol]).collect()["sequence"].to_list()

    def told(self, symbol: str) -> list[int]:
        """The numbers of all trades that the venue has told, whoever heard them."""
        return sorted({said["a"] for said in self.streams.told(f"{symbol.lower()}@aggTrade")})

    async def holds(self, symbol: str, owed: Sequence[int]) -> None:
        await self.until(lambda: self.held(symbol) == list(owed), f"{len(owed)} trades of {symbol}")


@asynccontextmanager
async def ended(site: Site) -> AsyncIterator[Site]:
    """The site, whose station is stopped in the end, whatever the test did with it."""
    try:
        yield site
        await site.stop()
    finally:
        if site._work is not None and not site._work.done():
            site._work.cancel()
            await asyncio.wait([site._work])


def crypto(*symbols: str, seconds: int = 300) -> Market:
    """A market in which each of these trades and is quoted once a second from NOW on, numbered from 1."""
    market, second = Market(clock=VenueClock(NOW)), timedelta(seconds=1)
    stamps = every(NOW + second, second, seconds)
    for seed, symbol in enumerate(symbols):
        market.add(Listing(symbol, "crypto", currency="USDT"))
        market.set_trades(symbol, seeded_trades(seed, stamps, lot=0.001))
        market.set_quotes(symbol, seeded_quotes(seed, stamps, lot=0.001))
        for timeframe, minutes in (("1m", 1), ("1h", 60)):
            market.set_bars(symbol, timeframe, bars_of(market.trades[symbol], timedelta(minutes=minutes)))
    return market


@asynccontextmanager
async def binance(market: Market, lake: Lake) -> AsyncIterator[Site]:
    """A site at Binance's loopback venue."""
    clock = ManualClock(NOW)
    with BinanceVenue(market) as rest, BinanceStreams(market) as streams:
        provider = Binance(client=rest.client(), timeout_seconds=5.0, threads=1, sleep=lambda _: None)
        source = BinanceStream(url=f"{streams.address}/", clock=clock)
        async with ended(Site(lake, streams, clock, provider, source)) as site:
            yield site
