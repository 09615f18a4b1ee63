"""Alpaca's market-data streams, through alpaca-py: trades, quotes and bars of a minute, of shares or of crypto.

Of alpaca-py this uses the stream's address, connection and authentication, and reads the frames itself:

- its own loop swallows errors, tries wrong keys for ever, and loses the rest of a message where a handler fails;
- it reconnects by itself and tells nobody, so that what was missed is not known to be missing;
- it makes an object of each stamp and a coroutine of each row: here a frame becomes events at once.

What Alpaca says and what it means: an account may have one connection to a feed, and one that broke off counts for a
while (it is tried again); sizes of quotes are in round lots until November 2025; trades come with an id but no
running number, so that what is missing is known by time alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgpack
from websockets.exceptions import ConnectionClosed, WebSocketException

from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    ConfigError,
    NotOfferedError,
    ProviderError,
    UnknownSymbolError,
)
from resources.market_data.alpaca.client import _keys
from resources.streams.base import Bar, Kind, Line, MarketEvent, Quote, Sequencing, StreamEndedError, Trade
from resources.streams.clock import Clock, SystemClock

CHANNELS: dict[Kind, str] = {"trade": "trades", "quote": "quotes", "bar": "bars"}
FEEDS = ("iex", "sip", "crypto")
SIDES = {"B": "buy", "S": "sell"}

SIZES_IN_SHARES = 1_762_146_000_000_000
"""From here on (2025-11-03, midnight in New York) quotes of shares count in shares; before, in round lots."""
ROUND_LOT = 100.0

DENIED = {402: "the keys are refused", 409: "the plan does not hold this feed"}
CONNECTION = {
    "ping_interval": 10, "ping_timeout": 20, "close_timeout": 1, "max_queue": 1024, "max_size": 2**24,
    "compression": None,
}  # fmt: skip
"""alpaca-py waits three minutes for the answer to a ping."""


class AlpacaStream:
    """Source of one feed: iex, sip (shares, written BRK.B) or crypto (BTC/USD).

    The keys stand in the environment: ALPACA_API_KEY and ALPACA_SECRET_KEY. `url`: another address, for tests.
    `ignored`: messages that are none of ours, by Alpaca's type; among them corrections (c) and cancellations (x) of
    trades, which REST knows and the stream's trades do not.

    Raises MissingSecretError without the keys, ConfigError on an unknown feed.
    """

    sequences: Mapping[Kind, Sequencing] = {}

    def __init__(self, feed: str = "iex", *, url: str | None = None, clock: Clock | None = None) -> None:
        if feed not in FEEDS:
            raise ConfigError(f"streams.feed: alpaca has no {feed!r}; use one of {', '.join(FEEDS)}")
        self.name = f"alpaca {feed}"
        self.ignored: Counter[str] = Counter()
        self._feed, self._url = feed, url
        self._keys = _keys()
        self._clock: Clock = SystemClock() if clock is None else clock
        self._socket: Any = None
        self._early: list[MarketEvent] = []
        self._answer: asyncio.Future[Mapping[str, Any]] | None = None

    async def connect(self, lines: Collection[Line]) -> None:
        """Also raises AccessDeniedError where the keys or the plan are refused."""
        stream = self._stream()
        try:
            await stream._start_ws()
            self._socket = stream._ws
            self._answer = asyncio.get_running_loop().create_future()
            await self._send("subscribe", lines)
            early: list[MarketEvent] = []
            while not self._answer.done():
                early += await self.receive()
            self._early = early
            _check(self._answer.result(), lines)
        except ValueError as error:  # of alpaca-py: what the venue said to the keys
            raise _refusal(self.name, str(error)) from None
        except (OSError, WebSocketException, StreamEndedError) as error:
            raise ProviderError(f"{self.name}: cannot connect ({str(error)[:120]}). It is tried again.") from error
        finally:
            self._answer = None
            if self._socket is None and stream._ws is not None:
                stream._ws.transport.abort()

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None:
        """Returns when `receive`, which must be waited for meanwhile, has seen the acknowledgement."""
        for action, lines in (("subscribe", add), ("unsubscribe", remove)):
            if lines:
                self._answer = asyncio.get_running_loop().create_future()
                try:
                    await self._send(action, lines)
                    said = await self._answer
                finally:
                    self._answer = None
                if action == "subscribe":
                    _check(said, lines)

    async def receive(self) -> Sequence[MarketEvent]:
        if self._early:
            early, self._early = self._early, []
            return early
        if self._socket is None:
            raise StreamEndedError(f"{self.name}: there is no connection")
        try:
            frame = await self._socket.recv()
        except ConnectionClosed as error:
            ended = StreamEndedError(f"{self.name}: {error}")
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(ended)
            raise ended from None
        now = self._clock.now()
        try:
            return self._events(msgpack.unpackb(frame, timestamp=2), now)  # stamps as nanoseconds: no object of each
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswerError(f"{self.name}: a message is not laid out as expected ({error!r:.120})") from error

    async def close(self) -> None:
        socket, self._socket, self._early = self._socket, None, []
        if socket is not None:
            socket.transport.abort()  # a dead connection would not answer to a proper end
            await socket.wait_closed()

    def _stream(self) -> Any:
        from alpaca.data.enums import DataFeed
        from alpaca.data.live import CryptoDataStream, StockDataStream

        options: dict[str, Any] = {"raw_data": True, "websocket_params": CONNECTION, "url_override": self._url}
        if self._feed == "crypto":
            return CryptoDataStream(*self._keys, **options)
        return StockDataStream(*self._keys, feed=DataFeed(self._feed), **options)

    async def _send(self, action: str, lines: Collection[Line]) -> None:
        asked: dict[str, Any] = {"action": action}
        for line in lines:
            asked.setdefault(CHANNELS[line.kind], []).append(line.symbol)
        await self._socket.send(msgpack.packb(asked))

    def _events(self, rows: Sequence[Mapping[str, Any]], now: int) -> list[MarketEvent]:
        """The events of a frame; what the venue says of itself is dealt with."""
        crypto = self._feed == "crypto"
        events: list[MarketEvent] = []
        for row in rows:
            match row["T"]:
                case "q":
                    events += _quote(row, crypto, now)
                case "t":
                    events.append(_trade(row, now))
                case "b":
                    events.append(_bar(row, now))
                case "subscription":
                    if self._answer is not None and not self._answer.done():
                        self._answer.set_result(row)
                case "error":
                    self._refused(row)
                case other:
                    self.ignored[other] += 1
        return events

    def _refused(self, row: Mapping[str, Any]) -> None:
        error = _refusal(self.name, str(row.get("msg")), int(row.get("code", 0)))
        if self._answer is None or self._answer.done():
            raise StreamEndedError(str(error))
        self._answer.set_exception(error)


def _trade(row: Mapping[str, Any], now: int) -> Trade:
    number = row["i"]
    return Trade(
        row["S"], row["t"] // 1000, row["p"], row["s"] * 1.0, SIDES.get(row.get("tks", ""), ""), str(number), number,
        "".join(row.get("c") or ()), now,
    )  # fmt: skip


def _quote(row: Mapping[str, Any], crypto: bool, now: int) -> tuple[Quote, ...]:
    """The quote; none where neither side has a price."""
    ts, bid, ask = row["t"] // 1000, row["bp"], row["ap"]
    if not bid and not ask:
        return ()
    units = 1.0 if crypto or ts >= SIZES_IN_SHARES else ROUND_LOT
    return (Quote(row["S"], ts, bid or None, row["bs"] * units, ask or None, row["as"] * units, 0, now),)


def _bar(row: Mapping[str, Any], now: int) -> Bar:
    prices = (float(row[name]) for name in "ohlcv")
    return Bar._make((row["S"], row["t"] // 1000, *prices, "1m", row.get("n", 0), 0, True, now, False))


def _check(said: Mapping[str, Any], lines: Collection[Line]) -> None:
    """Raise UnknownSymbolError for what was asked for and is not in the acknowledgement."""
    missing = sorted({line.symbol for line in lines if line.symbol not in said.get(CHANNELS[line.kind], ())})
    if missing:
        raise UnknownSymbolError(f"alpaca does not stream {', '.join(missing[:12])}; crypto is written BTC/USD")


def _refusal(name: str, said: str, code: int = 0) -> ProviderError:
    """The error that says what the venue's refusal means."""
    known = {"auth failed": 402, "insufficient subscription": 409}
    code = code or known.get(said, 0)
    if code in DENIED:
        return AccessDeniedError(
            f"{name}: {DENIED[code]} ({said}). Check ALPACA_API_KEY and ALPACA_SECRET_KEY, and the plan of the account."
        )
    if code == 405:
        return NotOfferedError(f"{name}: the plan does not hold so many symbols ({said}). Subscribe to fewer.")
    return ProviderError(f"{name}: the venue refused ({said}). It is tried again.")
