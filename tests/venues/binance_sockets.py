"""python-binance's sockets at work on the loopback venue, for the tests of Binance's streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from tests.venues.binance import BinanceVenue
from tests.venues.binance_stream import KEY, SECRET, BinanceStream
from tests.venues.market import (
    Fault,
    Listing,
    Market,
    VenueClock,
    every,
    instant,
    seeded_bars,
    seeded_quotes,
    seeded_trades,
)

NOW = instant(2024, 3, 8, 15)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
TRADES = "btcusdt@trade"


class Desk:
    """The venue's REST and streams over one market, and clients of python-binance in the test's event loop."""

    def __init__(self, rest: BinanceVenue, streams: BinanceStream) -> None:
        self.rest, self.streams, self.market = rest, streams, rest.market
        self.client: Any = None

    def run(self, scenario: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
        """Play it. Its sockets are left to the end of the loop: they close only every ten seconds."""

        async def played() -> None:
            try:
                await asyncio.wait_for(scenario(self), 20)
            finally:
                if self.client is not None:
                    await self.client.session.close()

        asyncio.run(played())

    async def sockets(self, key: str = KEY, secret: str = SECRET, **options: Any) -> Any:
        """A BinanceSocketManager with a client of its own, whose clock is set by the venue's."""
        client, sockets = self.streams.clients(self.rest.address)
        self.client = await client.create(key, secret)
        # The venue's clock stands while the test runs: what is signed from now on lies up to three seconds back.
        self.market.clock.advance(3)
        await self.advance(0)
        return sockets(self.client, **options)

    async def listen(self, socket: Any, *topics: str) -> Any:
        await socket.connect()
        await self.listening(*topics)
        return socket

    async def listening(self, *topics: str) -> None:
        await asyncio.to_thread(self.streams.until_listening, *topics)

    async def until(self, ready: Callable[[], object], what: str) -> None:
        await asyncio.to_thread(self.streams.until, ready, what)

    async def advance(self, seconds: float) -> None:
        await asyncio.to_thread(self.streams.advance, seconds)

    async def strike(self, fault: Fault) -> None:
        await asyncio.to_thread(self.streams.strike, fault)

    async def filled(self, *numbers: int) -> None:
        for number in numbers:
            event = {"e": "executionReport", "c": f"ours-{number}"}
            await asyncio.to_thread(partial(self.streams.report, **event))

    def fault(self, match: str, fault: Fault, **more: Any) -> None:
        self.market.faults.add(match, fault, **more)


@contextlib.contextmanager
def opened() -> Iterator[Desk]:
    """A desk whose market trades from the fourth second after NOW on.

    The client's pause before a reconnect, of one or two seconds and up to a minute, is cut short.
    """
    import pytest
    from binance.ws.reconnecting_websocket import ReconnectingWebsocket

    market = Market(clock=VenueClock(NOW))
    stamps = every(NOW + 4 * SECOND, SECOND, 120)
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT", "BTCUSDT.P")):
        market.add(Listing(symbol, "crypto", currency="USDT"))
        market.set_trades(symbol, seeded_trades(seed, stamps, lot=0.001))
        market.set_quotes(symbol, seeded_quotes(seed, stamps, lot=0.001))
        market.set_bars(symbol, "1m", seeded_bars(seed, every(NOW, MINUTE, 5), lot=0.001))
    with BinanceVenue(market) as rest, BinanceStream(market) as streams, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReconnectingWebsocket, "_get_reconnect_wait", lambda self, attempts: 0.02)
        yield Desk(rest, streams)


async def take(socket: Any, count: int) -> list[Any]:
    return [await asyncio.wait_for(socket.recv(), 5) for _ in range(count)]


async def nothing_more(socket: Any) -> bool:
    await asyncio.sleep(0.05)
    return bool(socket._queue.empty())


async def after_errors(socket: Any) -> tuple[list[str], Any]:
    """The kinds of the errors that come, and the first message that is none."""
    kinds = []
    while (message := (await take(socket, 1))[0]).get("e") == "error":
        kinds.append(message["type"])
    return kinds, message


async def until_error(socket: Any, kind: str) -> None:
    """Take messages up to this error."""
    while (await take(socket, 1))[0].get("type") != kind:
        pass
