"""Alpaca's streams on loopback, as alpaca-py speaks to them: market data in msgpack, trade updates in JSON.

    with AlpacaData(market) as data:
        stream = StockDataStream(KEY, SECRET, url_override=data.url("iex"))

Topics are "trades.AAPL", "quotes.AAPL", "bars.AAPL" (bars of a minute, told when they are over) and "trade_updates".
Rows go out in the words of the REST front (tests/venues/alpaca.py), stamped in nanoseconds. As Alpaca does, the venue
speaks first, wants the keys before anything else, refuses a second connection of an account to the same feed (406),
a feed that the plan does not hold (409), and sends what happens at once as one message with many rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack

from tests.venues import alpaca
from tests.venues.alpaca import KEY, SECRET
from tests.venues.market import Market
from tests.venues.stream import Event, Peer, StreamVenue

CRYPTO = "/v1beta3/crypto/us"
FEEDS = {"sip": "/v2/sip", "iex": "/v2/iex", "crypto": CRYPTO}
CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors")
WITH_TRADES = ("corrections", "cancelErrors")  # who listens to trades listens to these
MINUTE = timedelta(minutes=1)
REFUSALS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    406: "connection limit exceeded",
    409: "insufficient subscription",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AlpacaData(StreamVenue):
    """The market-data streams. `free_plan`: SIP is refused. `connections`: how many an account may have of a feed."""

    def __init__(self, market: Market, *, free_plan: bool = False, connections: int = 1, **options: Any) -> None:
        super().__init__(market, **options)
        self.free_plan = free_plan
        self.connections = connections

    def url(self, feed: str) -> str:
        """Where a stream of sip, iex or crypto is to be sent."""
        return self.address + FEEDS[feed]

    def serves(self, path: str) -> bool:
        return path in FEEDS.values()

    async def welcome(self, peer: Peer) -> None:
        await peer.say(msgpack.packb([{"T": "success", "msg": "connected"}]))

    async def hear(self, peer: Peer, message: str | bytes) -> None:
        assert isinstance(message, bytes), "JSON is not spoken here"
        asked: Any = msgpack.unpackb(message)
        match asked:
            case {"action": "auth"}:
                await self._authenticate(peer, asked)
            case {"action": "subscribe" | "unsubscribe"} if not peer.admitted:
                await _refuse(peer, 401)
            case {"action": "subscribe"}:
                peer.topics |= dict.fromkeys(_topics(asked))
                await _subscribed(peer)
            case {"action": "unsubscribe"}:
                for topic in _topics(asked):
                    peer.topics.pop(topic, None)
                await _subscribed(peer)
            case _:
                await _refuse(peer, 400)

    def wants(self, peer: Peer, event: Event) -> bool:
        channel, _, symbol = event.topic.partition(".")
        if ("/" in symbol) != (peer.path == CRYPTO):
            return False
        return event.topic in peer.topics or f"{channel}.*" in peer.topics

    def frames(self, peer: Peer, events: Sequence[Event]) -> list[str | bytes]:
        return [msgpack.packb([event.content for event in events])]

    def happened(self, after: datetime, until: datetime) -> list[tuple[datetime, Event]]:
        found = []
        for symbol, trades in self.market.trades.items():
            found += [(row.ts, trade(symbol, row)) for row in trades if after < row.ts <= until]
        for symbol, quotes in self.market.quotes.items():
            found += [(row.ts, quote(symbol, row)) for row in quotes if after < row.ts <= until]
        for (symbol, timeframe), bars in self.market.bars.items():
            if timeframe == "1m":
                found += [(row.ts + MINUTE, bar(symbol, row)) for row in bars if after < row.ts + MINUTE <= until]
        return found

    async def _authenticate(self, peer: Peer, asked: dict[str, Any]) -> None:
        beside = sum(other.admitted and not other.over and other.path == peer.path for other in self.peers)
        if peer.admitted:
            await _refuse(peer, 403)
        elif (asked.get("key"), asked.get("secret")) != (KEY, SECRET):
            await _refuse(peer, 402)
        elif self.free_plan and peer.path == FEEDS["sip"]:
            await _refuse(peer, 409)
        elif beside >= self.connections:
            await _refuse(peer, 406)
        else:
            peer.admitted = True
            await peer.say(msgpack.packb([{"T": "success", "msg": "authenticated"}]))


class AlpacaTrading(StreamVenue):
    """The stream of an account's trade updates; a test says what they are."""

    @property
    def url(self) -> str:
        return f"{self.address}/stream"

    def update(self, event: str, order: dict[str, Any], **more: Any) -> None:
        """Tell a trade update, stamped by the venue's clock unless `timestamp` is given."""
        stamped = {"timestamp": alpaca.stamp(self.market.clock.now())} | more
        self.publish(Event("trade_updates", {"event": event, "order": order, **stamped}))

    def serves(self, path: str) -> bool:
        return path == "/stream"

    async def hear(self, peer: Peer, message: str | bytes) -> None:
        match json.loads(message):
            case {"action": "authenticate", "data": {"key_id": key, "secret_key": secret}}:
                peer.admitted = (key, secret) == (KEY, SECRET)
                await self._authorization(peer, "authenticate")
            case {"action": "listen", "data": {"streams": streams}} if peer.admitted:
                peer.topics = dict.fromkeys(stream for stream in streams if stream == "trade_updates")
                await peer.say(_json("listening", {"streams": list(peer.topics)}))
            case {"action": action}:
                await self._authorization(peer, action)

    def frames(self, peer: Peer, events: Sequence[Event]) -> list[str | bytes]:
        return [_json(event.topic, event.content) for event in events]

    def happened(self, after: datetime, until: datetime) -> list[tuple[datetime, Event]]:
        return []

    async def _authorization(self, peer: Peer, action: str) -> None:
        status = "authorized" if peer.admitted else "unauthorized"
        await peer.say(_json("authorization", {"status": status, "action": action}))


def trade(symbol: str, row: Any) -> Event:
    return Event(f"trades.{symbol}", _content("t", symbol, row.ts, alpaca.trade(row, "/" in symbol)))


def quote(symbol: str, row: Any) -> Event:
    return Event(f"quotes.{symbol}", _content("q", symbol, row.ts, alpaca.quote(row, "/" in symbol)))


def bar(symbol: str, row: Any) -> Event:
    return Event(f"bars.{symbol}", _content("b", symbol, row.ts, alpaca.bar(row, daily=False)))


def nanoseconds(ts: datetime, more: int = 0) -> msgpack.Timestamp:
    """The stamp that goes over the wire: a Timestamp extension, to the nanosecond."""
    return msgpack.Timestamp.from_unix_nano((ts - EPOCH) // timedelta(microseconds=1) * 1000 + more)


def _content(kind: str, symbol: str, ts: datetime, row: alpaca.Row) -> dict[str, Any]:
    return {"T": kind, "S": symbol} | json.loads(row[1]) | {"t": nanoseconds(ts)}


def _topics(asked: dict[str, Any]) -> list[str]:
    channels = {channel: asked.get(channel, []) for channel in CHANNELS}
    channels |= {channel: asked.get("trades", []) for channel in WITH_TRADES}
    return [f"{channel}.{symbol}" for channel, symbols in channels.items() for symbol in symbols]


async def _subscribed(peer: Peer) -> None:
    said: dict[str, Any] = {"T": "subscription"} | {channel: [] for channel in CHANNELS}
    for topic in peer.topics:
        channel, _, symbol = topic.partition(".")
        said[channel].append(symbol)
    await peer.say(msgpack.packb([said]))


async def _refuse(peer: Peer, code: int) -> None:
    await peer.say(msgpack.packb([{"T": "error", "code": code, "msg": REFUSALS[code]}]))


def _json(stream: str, data: Any) -> bytes:
    """The trading stream's frames are binary, although they hold text."""
    return json.dumps({"stream": stream, "data": data}).encode()
