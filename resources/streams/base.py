"""The vocabulary of streams: events, the connection to a venue (Source) and what takes events to others (Carrier).

Events are named tuples: made in a quarter of a microsecond, immutable, and already in the shape of a row. Each begins
with `symbol` and `ts`. Times are UTC microseconds since 1970, as whole numbers. Nothing here knows a venue, a gateway
or a broker.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from resources.errors import ProviderError, QuantError

Kind = Literal["trade", "quote", "bar"]
Sequencing = Literal["consecutive", "rising"]


class Line(NamedTuple):
    """What one subscribes to: the trades, quotes or bars of a symbol. Order is kept and gaps are told by line."""

    symbol: str
    kind: Kind


class Trade(NamedTuple):
    """A trade. side is the taker's (buy, sell; "" where not told); size in units.

    sequence: the venue's own running number (0: it has none); two trades of one microsecond stand in its order.
    conditions: the venue's letters, joined. received: when it came off the socket, by our clock.
    repaired: it was missed by the stream and came later, over REST or out of its place.
    """

    symbol: str
    ts: int
    price: float
    size: float
    side: str = ""
    trade_id: str = ""
    sequence: int = 0
    conditions: str = ""
    received: int = 0
    repaired: bool = False


class Quote(NamedTuple):
    """The best bid and offer from `ts` on; a side without a price is None. The rest as of Trade."""

    symbol: str
    ts: int
    bid: float | None
    bid_size: float | None
    ask: float | None
    ask_size: float | None
    sequence: int = 0
    received: int = 0
    repaired: bool = False


class Bar(NamedTuple):
    """A finished bar that began at `ts`. revision: how often it was told before (0: this is the first time).

    trades: how many it was made of; 0 where the venue made it and does not say. complete: no trade of its time is
    known to be missing.
    """

    symbol: str
    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    timeframe: str = "1m"
    trades: int = 0
    revision: int = 0
    complete: bool = True
    received: int = 0
    repaired: bool = False


class Lost(NamedTuple):
    """Events of a line were not delivered: those of `ts` to `until`, both included.

    events: how many, None where only the interval is known. reason: disconnected, sequence, overflow (queue full) or
    a sentence. What can be had over REST follows, marked repaired, and then Repaired with the same interval.
    """

    symbol: str
    ts: int
    kind: Kind
    until: int
    events: int | None
    reason: str


class Repaired(NamedTuple):
    """The interval of a Lost is done with. events: those delivered. left: those still missing, None where unknown.

    error: "" or why it was given up; then nothing of the interval may be taken for complete.
    """

    symbol: str
    ts: int
    kind: Kind
    until: int
    events: int
    left: int | None
    error: str = ""


class Status(NamedTuple):
    """What became of a connection (symbol "") or a line, at `ts` by our clock.

    state: connected, disconnected, stale (nothing came for too long), flowing (again), repairing (a try failed).
    """

    symbol: str
    ts: int
    state: str
    detail: str = ""
    kind: Kind | None = None


Event = Trade | Quote | Bar | Lost | Repaired | Status
MarketEvent = Trade | Quote | Bar
KIND_OF: dict[type[MarketEvent], Kind] = {Trade: "trade", Quote: "quote", Bar: "bar"}
TYPES: tuple[type[Event], ...] = (Trade, Quote, Bar, Lost, Repaired, Status)
"""In an order that does not change: a type's place is its tag where events are written as rows."""

ENDED = "the gateway has ended"
"""Why a gateway gives up what it had no time for; the next one asks again."""

Offset = Mapping[int, int]
"""Where a reader stands: for each partition the place of the next event to read. In process there is partition 0."""

Start = Offset | Literal["earliest", "latest"]


class Batch(NamedTuple):
    """Events in the order of their publication, and where to go on after them."""

    events: Sequence[Event]
    offset: Offset


class StreamEndedError(ProviderError):
    """A connection is over; the message says how."""


class OffsetGoneError(QuantError):
    """A reader asks for events that a carrier no longer keeps; the message names the oldest that it does."""


class Carrier(Protocol):
    """Takes events from one gateway to any number of readers, in order by symbol, each once a reader."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Hand these on, in order. Returns when the carrier answers for them; may wait where its queue is full."""
        ...

    def subscribe(self, symbols: Collection[str] | None = None, since: Start = "latest") -> AsyncGenerator[Batch, None]:
        """Events of these symbols (None: all), and of symbol "", from `since` on; ends when the carrier is closed.

        The place is taken with the call, not with the first read. A reader who is too slow for what is kept is told
        Lost, by line. Raises OffsetGoneError, with the call or with the first read, where `since` is no longer kept.
        Leave it by `aclose`.
        """
        ...

    async def close(self) -> None:
        """Hand on what is under way, then end all subscriptions."""
        ...


class Source(Protocol):
    """One connection at a time to a venue's stream. It neither retries nor remembers: that is the gateway's."""

    name: str
    sequences: Mapping[Kind, Sequencing]
    """The kinds whose events have a number: consecutive (it counts up by one a line, so that what is missing is seen at
    once) or rising (it only tells order and duplicates). Of the others order is told by time."""

    async def connect(self, lines: Collection[Line]) -> None:
        """Connect, authenticate and subscribe; returns when the venue has acknowledged.

        Raises AccessDeniedError, UnknownSymbolError, NotOfferedError where trying again is of no use, and other
        ProviderErrors where it may be.
        """
        ...

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None:
        """Subscribe and unsubscribe on the open connection. Raises as `connect` does."""
        ...

    async def receive(self) -> Sequence[MarketEvent]:
        """What came next, translated, in the order it came; may be empty. Safe to cancel.

        Raises StreamEndedError when the connection is over, whoever ended it.
        """
        ...

    async def close(self) -> None:
        """End the connection; harmless where there is none."""
        ...
