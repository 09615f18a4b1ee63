"""The carrier between processes: events of one gateway on a topic of Kafka, for any number of readers anywhere.

    carrier = Kafka(Topic(servers="broker-1:9092,broker-2:9092", name="us-trades"))
    async with Gateway(AlpacaStream("iex"), provider=Alpaca(feed="iex"), carrier=carrier) as gateway: ...

Symbols are divided among the topic's partitions, Status goes to partition 0. A gateway is one publisher, a topic has
one at a time. An offset counts messages, of which each holds events of one symbol; a batch never ends inside of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from resources.market_data.base import Provider
from resources.streams.base import Batch, Event, Line, Start
from resources.streams.carriers.kafka_client import CarrierError, Topic, Trouble, unreachable
from resources.streams.carriers.kafka_reader import Reader
from resources.streams.carriers.kafka_writer import Writer
from resources.streams.clock import SECOND, Clock, SystemClock
from resources.streams.repair import Mend, Repairer

T = TypeVar("T")

BEAT = 5.0
"""A publisher gives a sign of life so often, in seconds."""

LOOK = 1_000
"""A publisher who does not resume looks at so many messages of each partition for the session of the one before it."""


class Kafka:
    """Publishes to and reads a topic. What a publisher handed on is on the brokers when `publish` returns.

    provider: what a reader of this carrier asks for what the brokers let go before it came to it; None: nobody, and
    each gap is told as given up. repair_delay, repair_pauses: see Repairer. `counts`: events that were stored, or
    not again since an earlier session had stored them; messages that readers dropped; gaps that they found.
    """

    def __init__(
        self,
        topic: Topic | None = None,
        *,
        provider: Provider | None = None,
        clock: Clock | None = None,
        repair_delay: float = 2.0,
        repair_pauses: Sequence[float] = (2, 10, 30, 120, 600),
    ) -> None:
        self.topic = topic or Topic()
        self.counts: Counter[str] = Counter()
        self._clock: Clock = SystemClock() if clock is None else clock
        self._repairer = partial(Repairer, provider, delay_seconds=repair_delay, pauses=repair_pauses)
        self._writer = Writer(self.topic, self.counts)
        self._thread = _Thread("kafka-publisher")
        self._readers: list[_Subscription] = []
        self._begun = self._closed = False
        self._beating: asyncio.Task[None] | None = None

    async def publish(self, events: Sequence[Event]) -> None:
        """Returns when the brokers have stored these; waits while they are away, `Topic.outage` seconds at most.

        Raises CarrierError then, and where they refuse; nobody knows which of these are stored, and this carrier
        takes no more: a new one goes on after `resume`. So it is where a call is cancelled.
        """
        if self._closed:
            raise CarrierError(f"the carrier of topic {self.topic.name!r} is closed")
        for reader in list(self._readers):
            await reader.placed()  # what a reader of "latest" asked for begins before these
        if not events:
            return
        try:
            await self._thread.run(self._store, events)
        except asyncio.CancelledError:
            self._writer.given_up = True
            raise
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat_for_ever())

    async def resume(
        self, since: Mapping[Line, int] | None = None, *, owed: int = 0, back: int = 20_000
    ) -> dict[Line, int]:
        """Go on after another publisher, whatever ended it: since when each line is to be told, UTC microseconds.

        That is its newest event, or the beginning of what it still lacked, if that was told as lost and neither
        repaired nor given up before the other ended. since: lines that somebody asks for from these instants on, such
        as a recorder; the earlier counts. owed: nothing before it is asked for.

        Looks at the last `back` messages of each partition, and further where what is asked for began before them.
        Subscribe the gateway to each line with this as `since`: what is stored already of what it repairs is not
        stored again, so that the topic holds every event once. Of a publisher that still lives, readers drop what it
        sends from now on. A line that these messages do not tell of is not named. Call it before any `publish`.
        """
        return await self._thread.run(self._resume, dict(since or {}), owed, back)

    def subscribe(self, symbols: Collection[str] | None = None, since: Start = "latest") -> AsyncGenerator[Batch, None]:
        """See Carrier; what it raises is raised by the first read, and CarrierError where no broker answers.

        While the brokers are away, or nothing comes of the publisher, not even a sign of life, a reader is told Status
        of symbol "": stale, then flowing.
        """
        reader = _Subscription(Reader(self.topic, symbols, self._clock, self.counts), self._repairer(), self._clock)
        reader.place(since)
        self._readers.append(reader)
        batches = self._read(reader)
        weakref.finalize(batches, self._forget, reader).atexit = False  # one that is never read has no other end
        return batches

    async def close(self) -> None:
        """Readers end when they have read what is on the brokers now."""
        self._closed = True
        if self._beating is not None:
            self._beating.cancel()
        self._thread.end(self._writer.close)
        for reader in self._readers:
            reader.closing = True

    async def _beat_for_ever(self) -> None:
        with contextlib.suppress(CarrierError):  # the next to publish is told
            while True:
                await asyncio.sleep(BEAT)
                await self._thread.run(self._writer.beat)

    async def _read(self, reader: _Subscription) -> AsyncGenerator[Batch, None]:
        try:
            async for batch in reader.batches():
                yield batch
        finally:
            self._forget(reader)

    def _forget(self, reader: _Subscription) -> None:
        if reader in self._readers:
            self._readers.remove(reader)
            reader.end()

    # in the publisher's thread

    def _store(self, events: Sequence[Event]) -> None:
        if not self._begun:
            self._begin(Reader(self.topic, None, self._clock, Counter()), LOOK)
        self._writer.store(events)

    def _resume(self, since: Mapping[Line, int], owed: int, back: int) -> dict[Line, int]:
        while True:
            reader = Reader(self.topic, None, self._clock, Counter())
            reader.progress.owed = owed
            reader.progress.ask(since)
            self._begin(reader, back)
            if reader.knows_all():
                return self._writer.skip(reader.progress)
            back *= 4

    def _begin(self, reader: Reader, back: int) -> None:
        """A session later than any of the last messages of each partition, which the reader reads up to its first."""
        self._begun = False
        try:
            reader.place("latest", back)
            self._read_all(reader)
            while not self._begun:
                self._writer.begin(after=reader.session)
                self._read_all(reader)
                self._begun = self._writer.session == reader.session  # or another began meanwhile
        finally:
            reader.close()

    def _read_all(self, reader: Reader) -> None:
        """All that is kept now."""
        reader.stop()
        began = time.monotonic()
        while not reader.ended():
            if reader.take():
                began = time.monotonic()
            if time.monotonic() - began > self.topic.connect:
                raise unreachable(self.topic, Trouble(), self.topic.connect)


class _Thread:
    """Runs one thing at a time, in the order in which they were asked for."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._ended = False

    def run(self, work: Callable[..., T], *given: object) -> asyncio.Future[T]:
        """It begins with the call, if nothing else is under way."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *given)

    def end(self, work: Callable[[], None]) -> None:
        """Run this last, and wait for nothing."""
        if not self._ended:
            self._ended = True
            self._pool.submit(work)
            self._pool.shutdown(wait=False)


class _Subscription:
    """A reader with its thread, and the repair of what it missed."""

    def __init__(self, reader: Reader, repairer: Repairer, clock: Clock) -> None:
        self.closing = self._stopping = False
        self._reader, self._repairer, self._clock = reader, repairer, clock
        self._thread = _Thread("kafka-reader")
        self._placing: asyncio.Future[None] | None = None
        self._aside: list[Event] = []
        self._mending: asyncio.Task[None] | None = None
        self._more = asyncio.Event()

    def place(self, since: Start) -> None:
        self._placing = self._thread.run(self._reader.place, since)

    async def placed(self) -> None:
        """Wait until the place is taken, or could not be."""
        assert self._placing is not None
        await asyncio.wait([self._placing])

    async def batches(self) -> AsyncGenerator[Batch, None]:
        assert self._placing is not None
        await self._placing
        while not self._reader.ended():
            if self.closing and not self._stopping:
                self._stopping = True
                await self._thread.run(self._reader.stop)
            events = await self._thread.run(self._reader.take)
            self._mend()
            aside, self._aside = self._aside, []
            if events or aside:
                yield Batch([*events, *aside] if aside else events, self._reader.offset)
        self._end_mending()
        await self._repairer.give_up("the carrier is closed")
        if self._aside:
            yield Batch(self._aside, self._reader.offset)

    def end(self) -> None:
        self._end_mending()
        self._thread.end(self._reader.close)

    def _end_mending(self) -> None:
        if self._mending is not None:
            self._mending.cancel()

    def _mend(self) -> None:
        """What is found to be missing is asked for; raises what went wrong with that by mistake."""
        found, self._reader.found = self._reader.found, []
        for gap in found:
            self._repairer.add(Mend(gap, partial(self._reader.lacks, gap), self._tell, partial(self._reader.done, gap)))
        if found:
            self._more.set()
            self._mending = self._mending or asyncio.create_task(self._mend_for_ever())
        if self._mending is not None and self._mending.done():
            self._mending.result()

    async def _mend_for_ever(self) -> None:
        while True:
            self._more.clear()
            due, now = self._repairer.due(), self._clock.now()
            if due is None:
                await self._more.wait()
            elif due > now:
                await self._clock.wait((due - now) / SECOND)
            else:
                await self._repairer.mend(self._clock)

    async def _tell(self, events: Sequence[Event]) -> None:
        self._aside += events
