"""Binance's streams on loopback, as python-binance speaks to them: the market streams of spot, and ws-api v3.

    with BinanceVenue(market) as rest, BinanceStream(market) as streams:
        Client, Sockets = streams.clients(rest.address)
        client = await Client.create(KEY, SECRET)
        async with Sockets(client).trade_socket("BTCUSDT") as socket: ...

A stream's name is its topic: btcusdt@trade, btcusdt@aggTrade (every trade is its own aggregate), btcusdt@bookTicker,
btcusdt@kline_1m. They are asked for by address alone, raw (/ws/NAME) or combined (/stream?streams=NAME/NAME); the
messages SUBSCRIBE and UNSUBSCRIBE, which python-binance never sends, are not known here. As Binance does, the venue
accepts any name and says nothing of those that it does not have; a book ticker has no time; a candle is told when it
begins, still being built ("x" is false), and when it is over.

ws-api: userDataStream.subscribe.signature and .unsubscribe, ping and time; keys, signatures and clocks are checked.
The topic of an account's events is "user"; each goes out as {"subscriptionId": ..., "event": {...}}. An account has
one subscription a connection, and it ends with the connection.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

from resources.market_data.timeframes import INTRADAY
from tests.venues.market import Bar, Market, Quote, Trade
from tests.venues.stream import Event, Peer, StreamVenue

KEY, SECRET = "LOOPBACKKEYOFBINANCE", "loopback-secret-of-binance"
WS_API = "/ws-api/v3"
USER = "user"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTHS = {**INTRADAY, "1d": timedelta(days=1)}
AHEAD_MILLIS, WINDOW_MILLIS = 1000, 5000


class RefusedError(Exception):
    """The venue's own refusal of a request over ws-api."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.said = {"status": status, "error": {"code": code, "msg": message}}


class BinanceStream(StreamVenue):
    """Both kinds of socket, a context manager."""

    def __init__(self, market: Market, **options: Any) -> None:
        super().__init__(market, **options)
        self._subscriptions: Counter[Peer] = Counter()  # of its whole life, by connection

    def clients(self, rest: str) -> tuple[type[Any], type[Any]]:
        """python-binance's AsyncClient and BinanceSocketManager, sent here and, for REST, to the address `rest`."""
        from binance import AsyncClient, BinanceSocketManager

        here = {"API_URL": f"{rest}/api", "WS_API_URL": f"{self.address}{WS_API}"}
        refused = {name: f"{rest}/refused" for name in vars(AsyncClient.__mro__[1]) if name.endswith("_URL")}
        streams = {name: f"{self.address}/refused/" for name in vars(BinanceSocketManager) if name.endswith("_URL")}
        return (
            type("LoopbackClient", (AsyncClient,), refused | here),
            type("LoopbackSockets", (BinanceSocketManager,), streams | {"STREAM_URL": f"{self.address}/"}),
        )

    def report(self, **event: Any) -> None:
        """Tell an event of the account (an executionReport, say), stamped by the venue's clock unless `E` is given."""
        self.publish(Event(USER, {"E": _millis(self.market.clock.now())} | event))

    def serves(self, path: str) -> bool:
        return path in (WS_API, "/stream") or path.startswith("/ws/")

    async def welcome(self, peer: Peer) -> None:
        if peer.path != WS_API:
            peer.topics = dict.fromkeys(_asked(peer))

    async def hear(self, peer: Peer, message: str | bytes) -> None:
        if peer.path != WS_API:
            return
        asked = json.loads(message)
        try:
            said = {"status": 200, "result": self._result(peer, asked.get("method"), asked.get("params") or {})}
        except RefusedError as refused:
            said = refused.said
        await peer.say(json.dumps({"id": asked.get("id")} | said))

    def frames(self, peer: Peer, events: Sequence[Event]) -> list[str | bytes]:
        if peer.path == WS_API:
            number = peer.topics[USER]
            return [json.dumps({"subscriptionId": number, "event": event.content}) for event in events]
        if peer.path == "/stream":
            return [json.dumps({"stream": event.topic, "data": event.content}) for event in events]
        return [json.dumps(event.content) for event in events]

    def happened(self, after: datetime, until: datetime) -> list[tuple[datetime, Event]]:
        found = []
        for symbol, trades in self._spot(self.market.trades):
            rows = [row for row in trades if after < row.ts <= until]
            found += [(row.ts, event) for row in rows for event in (self.trade(symbol, row), self.agg(symbol, row))]
        for symbol, quotes in self._spot(self.market.quotes):
            found += [(row.ts, book_ticker(symbol, row)) for row in quotes if after < row.ts <= until]
        for (symbol, timeframe), bars in self.market.bars.items():
            if "." in symbol or timeframe not in LENGTHS:
                continue
            for row in bars:
                moments = (row.ts, False), (row.ts + LENGTHS[timeframe], True)
                found += [(at, self.kline(symbol, timeframe, row, over)) for at, over in moments if after < at <= until]
        return found

    def trade(self, symbol: str, row: Trade) -> Event:
        return self._event(symbol, "trade", {"t": row.trade_id} | _traded(row))

    def agg(self, symbol: str, row: Trade) -> Event:
        return self._event(symbol, "aggTrade", {"a": row.trade_id, "f": row.trade_id, "l": row.trade_id} | _traded(row))

    def kline(self, symbol: str, timeframe: str, row: Bar, over: bool) -> Event:
        """A candle; one that is still being built has its opening price alone."""
        begin, end = _millis(row.ts), _millis(row.ts + LENGTHS[timeframe]) - 1
        seen = row if over else row._replace(high=row.open, low=row.open, close=row.open, volume=0.0)
        candle = {
            "t": begin, "T": end, "s": symbol, "i": timeframe, "f": -1, "L": -1, "o": _text(seen.open),
            "c": _text(seen.close), "h": _text(seen.high), "l": _text(seen.low), "v": _text(seen.volume),
            "n": 1 if over else 0, "x": over, "q": _text(seen.close * seen.volume), "V": "0", "Q": "0", "B": "0",
        }  # fmt: skip
        return self._event(symbol, f"kline_{timeframe}", {"k": candle}, kind="kline")

    def _event(self, symbol: str, stream: str, more: dict[str, Any], kind: str = "") -> Event:
        stamped = {"e": kind or stream, "E": _millis(self.market.clock.now()), "s": symbol}
        return Event(f"{symbol.lower()}@{stream}", stamped | more)

    def _spot(self, rows: dict[str, Any]) -> list[tuple[str, Any]]:
        return [(symbol, each) for symbol, each in rows.items() if "." not in symbol]

    def _result(self, peer: Peer, method: str | None, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "ping":
                return {}
            case "time":
                return {"serverTime": _millis(self.market.clock.now())}
            case "userDataStream.subscribe.signature":
                self._check(params)
                if USER in peer.topics:
                    raise RefusedError(-2035, "User Data Stream subscription already active.")
                peer.topics[USER] = self._subscriptions[peer]
                self._subscriptions[peer] += 1
                return {"subscriptionId": peer.topics[USER]}
            case "userDataStream.unsubscribe":
                if peer.topics.pop(USER, None) is None:
                    raise RefusedError(-2036, "User Data Stream subscription not active.")
                return {}
        raise RefusedError(-1020, "This operation is not supported.")

    def _check(self, params: dict[str, Any]) -> None:
        """Raise what Binance says to a key, a stamp or a signature that is not right."""
        for name in ("apiKey", "signature", "timestamp"):
            if name not in params:
                raise RefusedError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        if params["apiKey"] != KEY:
            raise RefusedError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        now, stamp = _millis(self.market.clock.now()), int(params["timestamp"])
        if stamp >= now + AHEAD_MILLIS:
            raise RefusedError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now - stamp > int(params.get("recvWindow", WINDOW_MILLIS)):
            raise RefusedError(-1021, "Timestamp for this request is outside of the recvWindow.")
        signed = urlencode(sorted((name, value) for name, value in params.items() if name != "signature"))
        if not hmac.compare_digest(hmac.digest(SECRET.encode(), signed.encode(), "sha256").hex(), params["signature"]):
            raise RefusedError(-1022, "Signature for this request is not valid.")


def book_ticker(symbol: str, row: Quote) -> Event:
    sizes = {"b": row.bid, "B": row.bid_size, "a": row.ask, "A": row.ask_size}
    said = {"u": _millis(row.ts), "s": symbol} | {name: _text(number) for name, number in sizes.items()}
    return Event(f"{symbol.lower()}@bookTicker", said)


def _traded(row: Trade) -> dict[str, Any]:
    # "m": was the buyer the maker? Then the taker sold.
    return {"p": _text(row.price), "q": _text(row.size), "T": _millis(row.ts), "m": row.side == "sell", "M": True}


def _asked(peer: Peer) -> list[str]:
    names = parse_qs(peer.query).get("streams", [""])[0] if peer.path == "/stream" else peer.path.removeprefix("/ws/")
    return [name for name in names.split("/") if name]


def _millis(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(milliseconds=1)


def _text(number: float) -> str:
    return f"{number:.8f}"
