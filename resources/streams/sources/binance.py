"""Binance's market streams of spot pairs, at the addresses of python-binance: aggregate trades, quotes, minute bars.

Of python-binance this uses the address, and reads the frames itself: its sockets hold a queue of a hundred messages
and die with all of it where that is full, say nothing of what they missed while they reconnected, and give up after
four tries.

What Binance says and what it means: aggregate trades count up by one a pair, as over REST, so that what is missing is
known by number; quotes (book tickers) have a number that rises, no time, and no history, so that theirs is the time at
which they came, and what is missed is gone; a pair that does not exist is not refused, and says nothing. Streams are
chosen by address: where they change, a second connection is made before the first is left.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from websockets.exceptions import ConnectionClosed

from resources.errors import AccessDeniedError, BadAnswerError, NotOfferedError, ProviderError
from resources.streams.base import Bar, Kind, Line, MarketEvent, Quote, Sequencing, StreamEndedError, Trade
from resources.streams.clock import Clock, SystemClock

STREAMS: dict[Kind, str] = {"trade": "aggTrade", "quote": "bookTicker", "bar": "kline_1m"}
MOST = 1024
"""Streams that one connection may have."""

CONNECTION = {"ping_interval": 20, "ping_timeout": 20, "close_timeout": 1, "max_queue": 4096, "compression": None}


class BinanceStream:
    """Source of spot pairs, written BTCUSDT; no keys. `url`: another address, for tests (ws://HOST/).

    `ignored`: messages that are none of ours, by kind.
    """

    name = "binance"
    sequences: Mapping[Kind, Sequencing] = {"trade": "consecutive", "quote": "rising"}

    def __init__(self, *, url: str | None = None, clock: Clock | None = None) -> None:
        self._url = url
        self._clock: Clock = SystemClock() if clock is None else clock
        self.ignored: Counter[str] = Counter()
        self._lines: set[Line] = set()
        self._socket: Any = None

    async def connect(self, lines: Collection[Line]) -> None:
        self._socket = await self._open(set(lines))
        self._lines = set(lines)

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None:
        lines = (self._lines | set(add)) - set(remove)
        before, self._socket = self._socket, await self._open(lines)
        self._lines = lines
        if before is not None:
            await before.close()  # what it has received is read to its end before the other is turned to

    async def receive(self) -> Sequence[MarketEvent]:
        while (socket := self._socket) is not None:
            try:
                frame = await socket.recv()
            except ConnectionClosed as error:
                if socket is self._socket:
                    raise StreamEndedError(f"{self.name}: {error}") from None
                continue
            return self._event(frame)
        raise StreamEndedError(f"{self.name}: there is no connection")

    async def close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.transport.abort()  # a dead connection would not answer to a proper end
            await socket.wait_closed()

    async def _open(self, lines: set[Line]) -> Any:
        import websockets

        for line in lines:
            if not line.symbol.isalnum():
                raise NotOfferedError(f"{self.name}: {line.symbol} is not streamed; it has spot pairs, such as BTCUSDT")
        if len(lines) > MOST:
            raise NotOfferedError(f"{self.name}: {len(lines)} streams; one connection has {MOST}. Subscribe to fewer.")
        names = "/".join(sorted(f"{line.symbol.lower()}@{STREAMS[line.kind]}" for line in lines))
        try:
            return await websockets.connect(f"{self._address()}stream?streams={names}", **CONNECTION)  # type: ignore[arg-type]
        except websockets.InvalidStatus as error:
            status = error.response.status_code
            if status in (403, 451):
                raise AccessDeniedError(f"{self.name}: it does not serve this location ({status})") from None
            raise ProviderError(f"{self.name}: it answered {status}. It is tried again.") from None
        except (OSError, websockets.WebSocketException) as error:
            raise ProviderError(f"{self.name}: cannot connect ({str(error)[:120]}). It is tried again.") from error

    def _address(self) -> str:
        if self._url is not None:
            return self._url
        from binance import BinanceSocketManager

        return BinanceSocketManager.STREAM_URL.format("com")

    def _event(self, frame: str | bytes) -> Sequence[MarketEvent]:
        now = self._clock.now()
        try:
            data = json.loads(frame)["data"]
            kind = data.get("e", "bookTicker")  # the one that does not say what it is
            if kind in TRANSLATE:
                return TRANSLATE[kind](data, now)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadAnswerError(f"{self.name}: a message is not laid out as expected: {str(frame)[:120]}") from error
        self.ignored[kind] += 1
        return ()


def _trade(data: Mapping[str, Any], now: int) -> Sequence[MarketEvent]:
    number, side = data["a"], "sell" if data["m"] else "buy"  # m: the buyer was the maker
    row = (data["s"], data["T"] * 1000, float(data["p"]), float(data["q"]), side, str(number), number, "", now, False)
    return (Trade._make(row),)


def _quote(data: Mapping[str, Any], now: int) -> Sequence[MarketEvent]:
    sides = (float(data[name]) for name in "bBaA")
    return (Quote._make((data["s"], now, *sides, data["u"], now, False)),)


def _bar(data: Mapping[str, Any], now: int) -> Sequence[MarketEvent]:
    """The bar, if it is not still being built."""
    bar = data["k"]
    prices = (float(bar[name]) for name in "ohlcv")
    row = (data["s"], bar["t"] * 1000, *prices, "1m", bar["n"], 0, True, now, False)
    return (Bar._make(row),) if bar["x"] else ()


TRANSLATE: dict[str, Callable[[Mapping[str, Any], int], Sequence[MarketEvent]]] = {
    "aggTrade": _trade,
    "bookTicker": _quote,
    "kline": _bar,
}
