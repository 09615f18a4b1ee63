"""The gateway on loopback with market data that streams: ticks, tick by tick, bars of 5 seconds.

    with IBStreams(market) as gateway:
        ib.connect(port=gateway.port)
        ticker = ib.reqMktData(contract)
        gateway.advance(60)               # the clock moves on, and what happened meanwhile is told

What has happened the market's clock decides. What one subscription is told at once is a batch, and goes out in one
piece, as a gateway does under load: the client sees all its ticks in one event. Bars of 5 seconds are the market's of
timeframe "5s", told when they are over.

`lose` is the loss of IB's servers (1100), upon which market data ends and subscriptions are met with silence. `restore`
(1102, or 1101) brings no market data back: who wants it subscribes again.

Names of batches for fault rules: "stream reqMktData AAPL". Of a fault's kinds streams know: dropped (hangs up), silent
(the data farm says nothing more of it), status (an error message with code `status`, and the end), burst, duplicated,
reordered.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.venues.ib import REQUESTS, Client, Fields, IBGateway, Refused, Unanswered
from tests.venues.market import Market, Quote, Trade, disturbed

BID_SIZE, BID, ASK, ASK_SIZE, LAST, LAST_SIZE, LAST_STAMP = 0, 1, 2, 3, 4, 5, 45
FIVE_SECONDS = timedelta(seconds=5)
TICK_KINDS = {"Last": 1, "AllLast": 2, "BidAsk": 3}


@dataclass(frozen=True)
class Subscription:
    """A client's request for a stream: its number, of what, and what it wants to see (Last, BidAsk, TRADES)."""

    number: str
    request: str
    symbol: str
    shows: str = ""

    @property
    def name(self) -> str:
        return f"{self.request} {self.symbol}"


class IBStreams(IBGateway):
    """A gateway whose market data streams."""

    def __init__(self, market: Market, **options: bool) -> None:
        self.connected = True  # to IB's servers
        self._told_until = market.clock.now()
        super().__init__(market, **options)

    def client(self, plug: socket.socket) -> Client:
        return StreamingClient(self, plug)

    def streams(self) -> list[str]:
        """The names of all clients' subscriptions."""
        return [each.name for client in self._streaming() for each in client.subscriptions()]

    def advance(self, seconds: float) -> None:
        """Move the market's clock, and tell who subscribed what happened since anything was told."""
        self.market.clock.advance(seconds)
        since, self._told_until = self._told_until, self.market.clock.now()
        for client in self._streaming():
            client.tell(since, self._told_until)

    def lose(self) -> None:
        """Lose IB's servers."""
        self.connected = False
        for client in self._streaming():
            client.forget()
        self.say(1100, "Connectivity between IBKR and Trader Workstation has been lost.")

    def restore(self, code: int = 1102) -> None:
        """Find them again."""
        self.connected = True
        kept = "maintained" if code == 1102 else "lost"
        self.say(code, f"Connectivity between IBKR and Trader Workstation has been restored - data {kept}.")

    def _streaming(self) -> list[StreamingClient]:
        return [client for client in list(self.clients.values()) if isinstance(client, StreamingClient)]


class StreamingClient(Client):
    """A connection with subscriptions."""

    gateway: IBStreams

    def __init__(self, gateway: IBStreams, plug: socket.socket) -> None:
        super().__init__(gateway, plug)
        self._held: dict[str, Subscription] = {}
        self._holding = threading.Lock()
        self.answers |= {
            1: self._market_data, 2: self._cancel, 50: self._bars_of_5_seconds, 51: self._cancel, 59: lambda _: [],
            97: self._tick_by_tick, 98: self._cancel,
        }  # fmt: skip

    def subscriptions(self) -> list[Subscription]:
        with self._holding:
            return list(self._held.values())

    def forget(self) -> None:
        with self._holding:
            self._held.clear()

    def tell(self, after: datetime, until: datetime) -> None:
        """What happened later than `after` and no later than `until`."""
        for each in self.subscriptions():
            batch = list(happened(self.market, each, after, until))
            fault = self.market.faults.take(f"stream {each.name}") if batch else None
            if fault is not None and fault.kind in ("dropped", "silent", "status"):
                with self._holding:
                    del self._held[each.number]
                if fault.kind == "dropped":
                    self.hang_up()
                elif fault.kind == "status":
                    self.error(each.number, fault.status, fault.body)
                continue
            messages = [message for event in disturbed(batch, fault) for message in event]
            if messages:
                self.send_all(messages)

    def _subscribe(self, kind: int, fields: Fields, number: str, shows: str = "") -> Subscription:
        if not self.gateway.connected:
            raise Unanswered
        each = Subscription(number, REQUESTS[kind], self.one(kind, fields).symbol, shows)
        with self._holding:
            self._held[number] = each
        return each

    def _market_data(self, fields: Fields) -> list[Fields]:
        """Subscribe, or with `snapshot` tell once, what stands and what was sold last."""
        number, now = fields[2], self.market.clock.now()
        listing, snapshot = self.one(1, fields), fields[17] == "1"
        opening: list[Fields] = [(81, number, listing.tick, "9c0001", 3), (58, 1, number, 1)]
        quotes = [quote for quote in self.market.quotes.get(listing.symbol, []) if quote.ts <= now]
        trades = [trade for trade in self.market.trades.get(listing.symbol, []) if trade.ts <= now]
        for row in (*quotes[-1:], *trades[-1:]):
            opening += ticks(number, row)
        if snapshot:
            return [*opening, (57, 1, number)]
        self._subscribe(1, fields, number)
        return opening

    def _tick_by_tick(self, fields: Fields) -> list[Fields]:
        number, shows = fields[1], fields[14]
        if shows not in TICK_KINDS:
            raise Refused(10189, f"Failed to request tick-by-tick data:{shows}")
        self._subscribe(97, fields, number, shows)
        return []

    def _bars_of_5_seconds(self, fields: Fields) -> list[Fields]:
        number, size, shows = fields[2], fields[15], fields[16]
        if size != "5":
            raise Refused(10314, "Real-time bars are of 5 seconds")
        self._subscribe(50, fields, number, shows)
        return []

    def _cancel(self, fields: Fields) -> list[Fields]:
        number = fields[1] if fields[0] == "98" else fields[2]
        with self._holding:
            if self._held.pop(number, None) is None:
                raise Refused(300, f"Can't find EId with tickerId:{number}")
        return []


def happened(market: Market, each: Subscription, after: datetime, until: datetime) -> Iterator[list[Fields]]:
    """The market's events for a subscription, each as the messages that tell it."""

    def within(rows: Sequence[Any]) -> list[Any]:
        return [row for row in rows if after < row.ts <= until]

    quotes, trades = within(market.quotes.get(each.symbol, [])), within(market.trades.get(each.symbol, []))
    if each.request == "reqMktData":
        for row in sorted((*quotes, *trades), key=lambda row: row.ts):
            yield ticks(each.number, row)
    elif each.request == "reqRealTimeBars":
        for bar in market.bars.get((each.symbol, "5s"), []):
            if after < bar.ts + FIVE_SECONDS <= until:
                volume = bar.volume if each.shows == "TRADES" else -1
                yield [(50, 3, each.number, _second(bar.ts), *bar[1:5], volume, bar.close, 1)]
    else:
        for row in quotes if each.shows == "BidAsk" else trades:
            kind = TICK_KINDS[each.shows]
            rest = (
                (row.bid, row.ask, row.bid_size, row.ask_size, 0)
                if isinstance(row, Quote)
                else (row.price, row.size, 0, "NASDAQ", "")
            )
            yield [(99, each.number, kind, _second(row.ts), *rest)]


def ticks(number: str, row: Quote | Trade) -> list[Fields]:
    """A quote or a trade as the ticks of reqMktData: each price with its size, and its size once more."""
    if isinstance(row, Quote):
        sides = ((BID, row.bid, BID_SIZE, row.bid_size), (ASK, row.ask, ASK_SIZE, row.ask_size))
    else:
        sides = ((LAST, row.price, LAST_SIZE, row.size),)
    told: list[Fields] = []
    for price_kind, price, size_kind, size in sides:
        told += [(1, 6, number, price_kind, price, size, 0), (2, 6, number, size_kind, size)]
    if isinstance(row, Trade):
        told.append((46, 6, number, LAST_STAMP, _second(row.ts)))
    return told


def _second(when: datetime) -> int:
    return int(when.timestamp())
