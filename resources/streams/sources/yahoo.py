"""Yahoo's stream, at the address and in the messages of yfinance: last prices with their bid and ask.

Of yfinance this uses the address and the layout of messages, and reads the frames itself: its client never reconnects,
and spins for ever on a venue that closes properly.

What Yahoo says and what it means: a message is a sample of the market, not each trade of it, with prices in 32 bits
and times in milliseconds; it has no number, and two trades of one millisecond, price and size are taken for one.
Nothing answers a subscription, which ends unless it is repeated; a symbol that does not exist says nothing. There is
no history of trades and quotes, so that what is missed is reported and given up.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from websockets.exceptions import ConnectionClosed

from resources.errors import BadAnswerError, NotOfferedError, ProviderError
from resources.streams.base import Kind, Line, MarketEvent, Quote, Sequencing, StreamEndedError, Trade
from resources.streams.clock import Clock, SystemClock

REPEAT_SECONDS = 15.0
"""How often a subscription is repeated, as yfinance does."""

CONNECTION = {"ping_interval": 20, "ping_timeout": 20, "close_timeout": 1, "max_queue": 1024, "compression": None}


class YahooStream:
    """Source of last prices (as trades) and quotes of Yahoo's symbols (AAPL, BTC-USD, EURUSD=X); no keys.

    `url`: another address, for tests.
    """

    name = "yahoo"
    sequences: Mapping[Kind, Sequencing] = {}

    def __init__(self, *, url: str | None = None, clock: Clock | None = None) -> None:
        self._url = url
        self._clock: Clock = SystemClock() if clock is None else clock
        self._lines: set[Line] = set()
        self._socket: Any = None
        self._repeating: asyncio.Task[None] | None = None

    async def connect(self, lines: Collection[Line]) -> None:
        import websockets

        _check(lines)
        try:
            self._socket = await websockets.connect(self._address(), **CONNECTION)  # type: ignore[arg-type]
            await self._say("subscribe", lines)
        except (OSError, websockets.WebSocketException) as error:
            raise ProviderError(f"{self.name}: cannot connect ({str(error)[:120]}). It is tried again.") from error
        self._lines = set(lines)
        self._repeating = asyncio.create_task(self._repeat(self._socket))

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None:
        _check(add)
        left = (self._lines | set(add)) - set(remove)
        symbols = {line.symbol for line in left}
        try:
            await self._say("subscribe", add)
            await self._say("unsubscribe", [line for line in remove if line.symbol not in symbols])
        except ConnectionClosed as error:
            raise StreamEndedError(f"{self.name}: {error}") from None
        self._lines = left

    async def receive(self) -> Sequence[MarketEvent]:
        if self._socket is None:
            raise StreamEndedError(f"{self.name}: there is no connection")
        try:
            frame = await self._socket.recv()
        except ConnectionClosed as error:
            raise StreamEndedError(f"{self.name}: {error}") from None
        return self._events(frame, self._clock.now())

    async def close(self) -> None:
        repeating, self._repeating = self._repeating, None
        socket, self._socket = self._socket, None
        if repeating is not None:
            repeating.cancel()
        if socket is not None:
            socket.transport.abort()  # a dead connection would not answer to a proper end
            await socket.wait_closed()

    def _address(self) -> str:
        if self._url is not None:
            return self._url
        from yfinance import WebSocket

        return str(WebSocket(verbose=False).url)

    async def _say(self, what: str, lines: Collection[Line]) -> None:
        if lines:
            await self._socket.send(json.dumps({what: sorted({line.symbol for line in lines})}))

    async def _repeat(self, socket: Any) -> None:
        with contextlib.suppress(ConnectionClosed):  # `receive` tells
            while True:
                await self._clock.wait(REPEAT_SECONDS)
                await socket.send(json.dumps({"subscribe": sorted({line.symbol for line in self._lines})}))

    def _events(self, frame: str | bytes, now: int) -> list[MarketEvent]:
        from google.protobuf.message import DecodeError
        from yfinance.pricing_pb2 import PricingData

        said = PricingData()
        try:
            said.ParseFromString(base64.b64decode(json.loads(frame)["message"]))
        except (DecodeError, KeyError, TypeError, ValueError) as error:
            raise BadAnswerError(f"{self.name}: a message is not laid out as expected: {str(frame)[:120]}") from error
        symbol, ts = said.id, said.time * 1000
        events: list[MarketEvent] = []
        if said.last_size > 0 and Line(symbol, "trade") in self._lines:
            events.append(Trade(symbol, ts, _decimal(said.price), float(said.last_size), received=now))
        if (said.bid > 0 or said.ask > 0) and Line(symbol, "quote") in self._lines:
            bid, ask = (_decimal(price) if price > 0 else None for price in (said.bid, said.ask))
            events.append(Quote(symbol, ts, bid, float(said.bid_size), ask, float(said.ask_size), received=now))
        return events


def _decimal(price: float) -> float:
    """The shortest decimal that is this number in 32 bits: 170.13, not 170.1300048828125."""
    import numpy as np

    return float(str(np.float32(price)))


def _check(lines: Collection[Line]) -> None:
    if any(line.kind == "bar" for line in lines):
        raise NotOfferedError("yahoo streams no bars; it has trades and quotes, and bars over REST")
