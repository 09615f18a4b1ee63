"""The carrier within one process: a bounded log of batches that any number of readers follow, each at its own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import NamedTuple

from resources.errors import ConfigError, QuantError
from resources.streams.base import (
    KIND_OF,
    Bar,
    Batch,
    Event,
    Line,
    Lost,
    MarketEvent,
    OffsetGoneError,
    Quote,
    Start,
    Trade,
)
from resources.streams.repair import Mend
from resources.streams.track import OVERFLOW, Gap, identity


class SlowReaderError(QuantError):
    """A reader fell so far behind that what it missed is no longer counted; the message says by how much."""


class _Held(NamedTuple):
    first: int  # the offset of its first event
    events: Sequence[Event]


class Memory:
    """Keeps the last `capacity` events. Nothing is copied for a reader of all symbols.

    A reader who is further behind loses what is let go: market events are told by line, as Lost with how many and
    when, and repaired for him alone where `repair` is set (a gateway sets it); Lost, Repaired and Status themselves
    are kept for him. One who has missed more than `capacity` gets SlowReaderError.
    """

    def __init__(self, capacity: int = 200_000) -> None:
        self.capacity = capacity
        self.repair: Callable[[Mend], None] | None = None
        self._log: deque[_Held] = deque()
        self._held = 0
        self._next = 0
        self._gone = 0  # batches that were let go: the number of the first that is kept
        self._closed = False
        self._readers: list[_Reader] = []

    async def publish(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self._log.append(_Held(self._next, events))
        self._next += len(events)
        self._held += len(events)
        while self._held > self.capacity and len(self._log) > 1:
            self._let_go(self._log.popleft())
        for reader in self._readers:
            reader.wake.set()

    def subscribe(self, symbols: Collection[str] | None = None, since: Start = "latest") -> AsyncGenerator[Batch, None]:
        if not isinstance(since, str) and 0 not in since:
            raise ConfigError(f"streams: the offset {dict(since)} is of no batch of this carrier: it has partition 0")
        oldest = self._log[0].first if self._log else self._next
        at = {"latest": self._next, "earliest": oldest}[since] if isinstance(since, str) else since[0]
        if not oldest <= at <= self._next:
            raise OffsetGoneError(f"offset {at} is not kept; there are {oldest} to {self._next}")
        batch = self._gone + sum(held.first + len(held.events) <= at for held in self._log)
        reader = _Reader(None if symbols is None else frozenset(symbols) | {""}, at, batch)
        self._readers.append(reader)
        return self._read(reader)

    async def close(self) -> None:
        self._closed = True
        for reader in self._readers:
            reader.wake.set()

    async def _read(self, reader: _Reader) -> AsyncGenerator[Batch, None]:
        try:
            while True:
                reader.wake.clear()
                if reader.failure is not None:
                    raise reader.failure
                if reader.missed:
                    self._tell_missed(reader)
                if reader.aside:
                    aside, reader.aside = reader.aside, []
                    yield Batch(aside, {0: reader.at})
                elif reader.at < self._next:
                    if events := self._take(reader):
                        yield Batch(events, {0: reader.at})
                elif self._closed:
                    return
                else:
                    await reader.wake.wait()
        finally:
            self._readers.remove(reader)

    def _take(self, reader: _Reader) -> Sequence[Event]:
        """The next batch as it was published, without what the reader does not want."""
        held = self._log[max(0, reader.batch - self._gone)]
        reader.batch = max(reader.batch, self._gone) + 1
        events = held.events[reader.at - held.first :] if reader.at > held.first else held.events
        reader.at = held.first + len(held.events)
        return reader.wanted(events)

    def _let_go(self, held: _Held) -> None:
        self._held -= len(held.events)
        self._gone += 1
        for reader in self._readers:
            if reader.at < held.first + len(held.events):
                reader.miss(held.events[max(0, reader.at - held.first) :], self.capacity)
                reader.at = held.first + len(held.events)

    def _tell_missed(self, reader: _Reader) -> None:
        missed, reader.missed, reader.missing = reader.missed, {}, 0
        for gap in missed.values():
            reader.aside.append(Lost(gap.line.symbol, gap.since, gap.line.kind, gap.closed(), gap.events, OVERFLOW))
            if self.repair is not None:
                self.repair(Mend(gap, reader.lacks(gap), reader.tell, lambda: None))


class _Reader:
    """Where a reader stands, what it missed by line, and what it is told besides the log."""

    def __init__(self, symbols: frozenset[str] | None, at: int, batch: int) -> None:
        """`at`: the offset of the next event; `batch`: the number of the batch that it is in."""
        self.symbols, self.at, self.batch = symbols, at, batch
        self.wake = asyncio.Event()
        self.missed: dict[Line, Gap] = {}
        self.missing = 0
        self.aside: list[Event] = []
        self.failure: SlowReaderError | None = None

    def wanted(self, events: Sequence[Event]) -> Sequence[Event]:
        symbols = self.symbols
        return events if symbols is None else [event for event in events if event[0] in symbols]

    def miss(self, events: Sequence[Event], most: int) -> None:
        """Count these as lost; in `got` of each gap stand the identities of what is missing."""
        for event in () if self.failure else self.wanted(events):
            if not isinstance(event, Trade | Quote | Bar):
                self.aside.append(event)
                continue
            line = Line(event.symbol, KIND_OF[type(event)])
            gap = self.missed.get(line)
            if gap is None:
                gap = self.missed[line] = Gap(line, event.ts, OVERFLOW, until=event.ts, events=0)
            gap.since, gap.until = min(gap.since, event.ts), max(gap.closed(), event.ts)
            gap.events = (gap.events or 0) + 1
            gap.got.add(identity(event))
            self.missing += 1
        if self.missing > most:
            self.failure = SlowReaderError(f"a reader has missed {self.missing} events since it last took any")
            self.missed = {}

    def lacks(self, gap: Gap) -> Callable[[MarketEvent], bool]:
        """Whether a row is among those that were missed, and has not come yet."""

        def lacks(row: MarketEvent) -> bool:
            seen = identity(row)
            if seen not in gap.got:
                return False
            gap.got.remove(seen)
            gap.delivered += 1
            return True

        return lacks

    async def tell(self, events: Sequence[Event]) -> None:
        self.aside += events
        self.wake.set()
