"""IB Gateway on loopback: the wire protocol of server version 176, a front of the market core.

    with IBGateway(market) as gateway:
        provider = InteractiveBrokers(port=gateway.port)

A frame is a 4-byte big-endian length and text fields, each ended by NUL. Symbols of the market are spelled as the
provider spells them (AAPL, ES.202412, EUR.USD, AAPL240315C00170000); a listing's place in the market is its conId.

Names of requests for fault rules are the API's, with the symbol: "connect", "reqHistoricalData AAPL". Of a fault's
kinds the gateway knows: status (an error message with the code `status` and the text `body`; of a code about the
connection, such as 1100, nothing more follows), silent (no answer), dropped (hangs up), cut off (hangs up in the middle
of the answer), duplicated (answers twice). Streams are in tests/venues/ib_stream.py; orders are to come.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from tests.venues.market import Fault, Listing, Market, instant

VERSION = 176
SIZES = {
    "1m": "1 min",
    "5m": "5 mins",
    "15m": "15 mins",
    "30m": "30 mins",
    "1h": "1 hour",
    "4h": "4 hours",
    "1d": "1 day",
}
LONGEST = {  # of one request, by bar size
    **dict.fromkeys(("1 min",), timedelta(days=1)),
    **dict.fromkeys(("5 mins", "15 mins"), timedelta(days=7)),
    **dict.fromkeys(("30 mins", "1 hour", "4 hours"), timedelta(days=31)),
    "1 day": timedelta(days=366),
}  # fmt: skip
UNITS = {unit: timedelta(days=days) for unit, days in (("D", 1), ("W", 7), ("M", 30), ("Y", 365))}
UNITS["S"] = timedelta(seconds=1)
SEC_TYPES = {"equity": "STK", "option": "OPT", "future": "FUT", "forex": "CASH"}
REQUESTS = {
    1: "reqMktData", 2: "cancelMktData", 50: "reqRealTimeBars", 51: "cancelRealTimeBars", 59: "reqMarketDataType",
    97: "reqTickByTickData", 98: "cancelTickByTickData",
    5: "reqOpenOrders", 6: "reqAccountUpdates", 7: "reqExecutions", 9: "reqContractDetails", 20: "reqHistoricalData",
    25: "cancelHistoricalData", 49: "reqCurrentTime", 61: "reqPositions", 62: "reqAccountSummary",
    76: "reqAccountUpdatesMulti", 78: "reqSecDefOptParams", 87: "reqHeadTimeStamp", 90: "cancelHeadTimeStamp",
    96: "reqHistoricalTicks", 99: "reqCompletedOrders",
}  # fmt: skip
PLACE_OF_CONTRACT = {1: 3, 9: 3, 20: 2, 50: 3, 87: 2, 96: 2, 97: 2}  # among the fields of the requests that name one
CONNECTION_CODES = (1100, 1101, 1102, 2103, 2105, 2110)
CONTRACT = (
    "conId", "symbol", "secType", "expiry", "strike", "right", "multiplier", "exchange", "primaryExchange", "currency",
    "localSymbol", "tradingClass",
)  # fmt: skip

Fields = Sequence[Any]


class IBGateway:
    """A gateway on loopback, a context manager. `requests` are their names in order; `clients` who is connected.

    `whole_seconds`: a page of ticks is completed to the end of its last second, as newer gateways do.
    `tells_taken`: a second client of one id is told why (326) before the gateway hangs up.
    """

    def __init__(self, market: Market, *, whole_seconds: bool = False, tells_taken: bool = True) -> None:
        self.market = market
        self.whole_seconds = whole_seconds
        self.tells_taken = tells_taken
        self.requests: list[str] = []
        self.asked: list[list[str]] = []  # the fields of each, as they came
        self.clients: dict[int, Client] = {}
        self._lock = threading.Lock()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen; on the same port as before, if this is a restart."""
        self._server = socket.create_server(("127.0.0.1", self.port), backlog=16)
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def stop(self) -> None:
        """Hang up on everybody and listen no more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for client in list(self.clients.values()):
            client.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def say(self, code: int, text: str) -> None:
        """A message about the connection to every client."""
        for client in list(self.clients.values()):
            client.error(-1, code, text)

    def join(self, client: Client, client_id: int) -> bool:
        """Whether a client gets the id it asks for."""
        with self._lock:
            if client_id in self.clients:
                return False
            self.clients[client_id] = client
            return True

    def leave(self, client: Client) -> None:
        with self._lock:
            self.clients = {number: each for number, each in self.clients.items() if each is not client}

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                plug, _ = server.accept()
            except OSError:
                return
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.client(plug).serve, daemon=True).start()

    def client(self, plug: socket.socket) -> Client:
        """What serves a connection."""
        return Client(self, plug)


class Client:
    """One connection."""

    def __init__(self, gateway: IBGateway, plug: socket.socket) -> None:
        self.gateway, self.plug, self.market = gateway, plug, gateway.market
        self._writing = threading.Lock()
        self.answers: dict[int, Callable[[Fields], list[Fields]]] = {
            5: lambda _: [(53, 1)], 6: lambda fields: [(54, 1, fields[3])], 7: lambda fields: [(55, 1, fields[2])],
            9: self._details, 20: self._bars, 25: lambda _: [], 49: self._time, 61: lambda _: [(62, 1)],
            62: lambda fields: [(64, 1, fields[2])], 76: lambda fields: [(74, 1, fields[2])], 78: self._chains,
            87: self._head, 90: lambda _: [], 96: self._ticks, 99: lambda _: [(102,)],
        }  # fmt: skip

    def serve(self) -> None:
        with contextlib.suppress(OSError, EOFError), self.plug:
            try:
                self._enter()
                while True:
                    self._answer(self._read())
            finally:
                self.gateway.leave(self)

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.plug.shutdown(socket.SHUT_RDWR)

    def send(self, *fields: Any, cut: bool = False) -> None:
        frame = _frame(fields)
        with self._writing:
            self.plug.sendall(frame[: len(frame) // 2] if cut else frame)

    def send_all(self, messages: Sequence[Fields]) -> None:
        """Several messages in one piece."""
        with self._writing:
            self.plug.sendall(b"".join(map(_frame, messages)))

    def error(self, number: Any, code: int, text: str) -> None:
        self.send(4, 2, number, code, text, "")

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.plug.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _read(self) -> list[str]:
        (size,) = struct.unpack(">I", self._take(4))
        return self._take(size).decode().split("\0")

    def _enter(self) -> None:
        assert self._take(4) == b"API\0"
        versions = self._read()[0]
        assert int(versions.removeprefix("v").split("..")[0]) <= VERSION, versions
        fault = self.market.faults.take("connect")
        kind = fault.kind if fault else ""
        if kind == "dropped":
            raise EOFError
        if kind == "silent":
            self._read()  # waits until the client gives up
        self.send(VERSION, f"{self.market.clock.now():%Y%m%d %H:%M:%S} UTC")
        start = self._read()
        assert start[:2] == ["71", "2"], start
        if not self.gateway.join(self, int(start[2])):
            if self.gateway.tells_taken:
                self.error(
                    -1, 326, "Unable to connect as the client id is already in use. Retry with a unique client id."
                )
            raise EOFError
        self.send(15, 1, "DU1234567")
        self.send(9, 1, 1)
        self.error(-1, 2106, "HMDS data farm connection is OK:ushmds")

    def _answer(self, fields: list[str]) -> None:
        kind = int(fields[0])
        name, number = f"{REQUESTS[kind]} {self._symbol(kind, fields)}".strip(), _number(kind, fields)
        self.gateway.requests.append(name)
        self.gateway.asked.append(fields)
        fault = self.market.faults.take(name)
        if fault is None:
            fault = Fault("status", status=0)
        match fault.kind:
            case "silent":
                return
            case "dropped":
                raise EOFError
            case "status" if fault.status in CONNECTION_CODES:
                self.error(-1, fault.status, fault.body)
                return
            case "status" if fault.status:
                self.error(number, fault.status, fault.body)
                return
        try:
            answers = self.answers[kind](fields)
        except Unanswered:
            return
        except Refused as refused:
            answers = [(4, 2, number, refused.code, refused.text, "")]
        for answer in answers * (2 if fault.kind == "duplicated" else 1):
            self.send(*answer, cut=fault.kind == "cut off")
            if fault.kind == "cut off":
                raise EOFError

    def _symbol(self, kind: int, fields: Fields) -> str:
        """The listing that a request is about, or what it asks for where that is none."""
        if kind == 78:
            return str(fields[2])
        if kind not in PLACE_OF_CONTRACT:
            return ""
        found = self._listings(_contract(kind, fields))
        return found[0].symbol if found else _contract(kind, fields)["symbol"]

    def _listings(self, wanted: dict[str, str]) -> list[Listing]:
        """The listings that fit a contract: a field that is empty fits all."""
        return [each for at, each in enumerate(self.market.listings.values(), 1) if _fits(each, at, wanted)]

    def one(self, kind: int, fields: Fields) -> Listing:
        found = self._listings(_contract(kind, fields))
        if len(found) != 1:
            raise Refused(200, "No security definition has been found for the request")
        return found[0]

    def _details(self, fields: Fields) -> list[Fields]:
        found = self._listings(_contract(9, fields))
        if not found:
            raise Refused(200, "No security definition has been found for the request")
        exchange = _contract(9, fields)["exchange"]
        return [*(self._describe(fields[2], each, exchange) for each in found), (52, 1, fields[2])]

    def _describe(self, number: Any, each: Listing, exchange: str) -> Fields:
        base, local = _base(each), _local(each)
        month, last, under = "", "", ""
        if each.expiry:
            month, last, under = f"{each.expiry:%Y%m}", f"{each.expiry:%Y%m%d} 08:30 US/Central", base
        right = {"call": "C", "put": "P"}.get(each.right or "", "")
        primary = each.venue if each.asset_class == "equity" else ""
        multiplier = f"{each.multiplier:g}" if each.expiry else ""
        return (
            10, number, base, SEC_TYPES[each.asset_class], last, each.strike or 0, right,
            exchange or each.venue, each.currency, local, base, base, self._con_id(each), each.tick, multiplier,
            "LMT,MKT", "SMART", 1, 0, each.name or base, primary, month, "Technology", "", "", "US/Eastern",
            "", "", "", 0, 0, 1, under, "STK" if under else "", "26", last[:8], "COMMON", each.lot, each.lot, each.lot,
        )  # fmt: skip

    def _con_id(self, listing: Listing) -> int:
        return list(self.market.listings).index(listing.symbol) + 1

    def _bars(self, fields: Fields) -> list[Fields]:
        _, number, *_ = fields
        listing = self.one(20, fields)
        end, size, duration, _, shows, form = fields[15:21]
        until, amount = _instant(end), int(duration.split()[0]) * UNITS[duration.split()[1]]
        if amount > LONGEST[size]:
            raise Refused(162, "Historical Market Data Service error message:Time length exceed max.")
        if (listing.asset_class == "forex") != (shows == "MIDPOINT"):
            raise Refused(162, f"Historical Market Data Service error message:No historical data for {shows}")
        assert form == "2", "local times are ambiguous over a clock change: ask for UTC"
        held = self.market.bars.get(
            (listing.symbol, next(ours for ours, theirs in SIZES.items() if theirs == size)), []
        )
        found = [bar for bar in held if until - amount <= bar.ts < until]
        if not found:
            raise Refused(
                162, f"Historical Market Data Service error message:HMDS query returned no data: {listing.symbol}"
            )
        rows: list[Any] = []
        for bar in found:
            # A session is named by the day that it ends on; Globex opens the evening before.
            when = f"{bar.ts + timedelta(hours=7):%Y%m%d}" if size == "1 day" else int(bar.ts.timestamp())
            volume = -1 if shows == "MIDPOINT" else bar.volume
            rows += [when, bar.open, bar.high, bar.low, bar.close, volume, bar.close, 1]
        return [(17, number, f"{until - amount:%Y%m%d %H:%M:%S}", end, len(found), *rows)]

    def _head(self, fields: Fields) -> list[Fields]:
        listing = self.one(87, fields)
        stamps = [bars[0].ts for (symbol, _), bars in self.market.bars.items() if symbol == listing.symbol and bars]
        if not stamps:
            raise Refused(162, "Historical Market Data Service error message:No head time stamp: no data")
        return [(88, fields[1], int(min(stamps).timestamp()))]

    def _ticks(self, fields: Fields) -> list[Fields]:
        listing, number = self.one(96, fields), fields[1]
        start, end, count, shows = fields[15:19]
        assert bool(start) != bool(end), "IB takes one of the two"
        since, size = int(_instant(start).timestamp()), int(count)
        assert size <= 1000, size
        held: Sequence[Any] = (self.market.quotes if shows == "BID_ASK" else self.market.trades).get(listing.symbol, [])
        found = [tick for tick in held if int(tick.ts.timestamp()) >= since]
        page = found[:size]
        if self.gateway.whole_seconds and page:
            last = int(page[-1].ts.timestamp())
            page += [tick for tick in found[size:] if int(tick.ts.timestamp()) == last]
        rows: list[Any] = []
        for tick in page:
            second = int(tick.ts.timestamp())
            if shows == "BID_ASK":
                rows += [second, 0, tick.bid, tick.ask, tick.bid_size, tick.ask_size]
            else:
                rows += [second, 0, tick.price, tick.size, "NASDAQ", ""]
        return [(97 if shows == "BID_ASK" else 98, number, len(page), *rows, 1)]

    def _chains(self, fields: Fields) -> list[Fields]:
        _, number, symbol, *_ = fields
        options = [
            each for each in self.market.listings.values() if each.asset_class == "option" and _base(each) == symbol
        ]
        answers: list[Fields] = []
        if options:
            expiries = sorted({f"{each.expiry:%Y%m%d}" for each in options})
            strikes = sorted({each.strike for each in options})
            for exchange in ("SMART", "CBOE"):
                answers.append((75, number, exchange, 1, symbol, 100, len(expiries), *expiries, len(strikes), *strikes))
        return [*answers, (76, number)]

    def _time(self, _: Fields) -> list[Fields]:
        return [(49, 1, int(self.market.clock.now().timestamp()))]


class Refused(Exception):
    """The gateway's own error message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Unanswered(Exception):
    """There is no answer, not even a refusal."""


def _frame(fields: Fields) -> bytes:
    body = "".join(f"{_text(field)}\0" for field in fields).encode()
    return struct.pack(">I", len(body)) + body


def _text(field: Any) -> str:
    return "" if field is None else str(field)


def _number(kind: int, fields: Fields) -> Any:
    """The number of a request, that errors about it carry."""
    if kind in (5, 6, 49, 59, 61, 99):
        return -1
    return fields[2] if kind in (1, 2, 7, 9, 25, 50, 51, 62, 76) else fields[1]


def _contract(kind: int, fields: Fields) -> dict[str, str]:
    first = PLACE_OF_CONTRACT[kind]
    return dict(zip(CONTRACT, fields[first : first + len(CONTRACT)], strict=True))


def _base(each: Listing) -> str:
    """IB's symbol: the share class after a blank, the root of a derivative, the first of a pair."""
    if each.asset_class == "equity":
        return each.symbol.removesuffix(f".{each.venue}").replace(".", " ")
    return each.underlying or each.symbol.split(".")[0]


def _local(each: Listing) -> str:
    if each.asset_class == "option":
        return f"{each.symbol[:-15]:<6}{each.symbol[-15:]}"
    return each.symbol


def _fits(each: Listing, number: int, wanted: dict[str, str]) -> bool:
    if wanted["conId"] not in ("", "0"):
        return int(wanted["conId"]) == number
    last = f"{each.expiry:%Y%m%d}" if each.expiry else ""
    return (
        wanted["secType"] == SEC_TYPES[each.asset_class]
        and wanted["symbol"] in ("", _base(each))
        and wanted["localSymbol"] in ("", _local(each))
        and wanted["currency"] in ("", each.currency)
        and wanted["exchange"] in ("", "SMART", each.venue)
        and last.startswith(wanted["expiry"])
    )


def _instant(text: str) -> datetime:
    """20240308 21:00:00 UTC"""
    day, clock, zone = text.split(" ")
    assert zone == "UTC", text
    return instant(*(int(part) for part in (day[:4], day[4:6], day[6:], *clock.split(":")))).astimezone(UTC)
