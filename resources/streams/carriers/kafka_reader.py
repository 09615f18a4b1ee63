"""The reading half of the Kafka carrier: one reader's way through the partitions that hold its symbols."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from resources.streams.base import (
    KIND_OF,
    Bar,
    Event,
    Line,
    Lost,
    MarketEvent,
    OffsetGoneError,
    Quote,
    Start,
    Status,
    Trade,
)
from resources.streams.carriers.kafka_client import CarrierError, Topic, Trouble, options, partitions, unreachable
from resources.streams.carriers.progress import Progress, line_of
from resources.streams.carriers.wire import Message, decode, partition_of
from resources.streams.clock import SECOND, Clock
from resources.streams.track import Gap, identity

GONE = "no longer kept by Kafka"
"""The reason of a Lost for messages that the brokers let go before they were read."""

MISSING = "missing in Kafka"
"""The reason of a Lost for messages that the brokers had acknowledged, and lack."""

LATE = 60 * SECOND
"""An event is published at most so much later than it happened, unless it was told as lost before."""

SILENT = 15.0
"""A publisher of which nothing came for so many seconds is taken to be gone."""

WAIT = 0.1
"""Seconds that a look for messages takes at most."""

MOST = 500
"""At most so many messages at once."""


class Tear(NamedTuple):
    """A part of a partition that was not read: what was told in it lies between these instants."""

    since: int
    until: int
    reason: str


class Place:
    """Where a reader stands in a partition: the next offset, the first and the last message that it took.

    whole: it began with the oldest that is kept.
    """

    __slots__ = ("at", "first", "last", "tear", "torn", "whole")

    def __init__(self, at: int, *, whole: bool = False) -> None:
        self.at = at
        self.whole = whole
        self.first: Message | None = None
        self.last: Message | None = None
        self.torn = ""  # why what comes next does not follow what was read
        self.tear: Tear | None = None  # the latest part that is missing

    def reaches(self, ts: int) -> bool:
        """Whether all that happened from `ts` on lies behind where it began."""
        return self.whole or (self.first is not None and 0 < self.first.newest < ts)


class Reader:
    """Its methods block, and are called in one thread, one at a time; `lacks` and `done` in any.

    `progress`: of all that was told. `found`: gaps that were found since somebody last took them away. `session`: the
    newest that was seen. counts: messages that came twice or of a session that is over, and gaps.
    """

    def __init__(self, topic: Topic, symbols: Collection[str] | None, clock: Clock, counts: Counter[str]) -> None:
        self._topic, self._clock, self._counts = topic, clock, counts
        self._symbols = None if symbols is None else frozenset(symbols) | {""}
        self._trouble = Trouble()
        self._consumer: Any = None
        self._partitions = 0
        self._places: dict[int, Place] = {}
        self._ends: dict[int, int] | None = None
        self._down = False
        self._heard = time.monotonic()
        self.progress = Progress()
        self.session = 0
        self.found: list[Gap] = []
        self._given: dict[Line, set[int]] = {}  # what a repair has told, and the log may tell yet
        self._lock = threading.Lock()
        self._earliest = False

    def place(self, since: Start, back: int = 0) -> None:
        """Stand at `since`; with "latest", so many messages before it. Raises CarrierError, OffsetGoneError."""
        given = options(self._topic, self._trouble)
        from confluent_kafka import Consumer, TopicPartition

        self._consumer = Consumer(
            {
                **given,
                "group.id": "none",  # it is asked for; nothing is committed, and no group joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        self._earliest = since == "earliest"
        self._partitions = count = partitions(self._consumer, self._topic, self._trouble)
        wanted = range(count)
        if self._symbols is not None:
            wanted = sorted({partition_of(symbol, count) for symbol in self._symbols})  # type: ignore[assignment]
        for partition in wanted:
            low, high = self._kept(partition)
            at = _start(partition, since, low, high, back)
            self._places[partition] = Place(at, whole=at == low)
        self._consumer.assign([TopicPartition(self._topic.name, at, place.at) for at, place in self._places.items()])
        self._trouble.down = ""

    @property
    def offset(self) -> Mapping[int, int]:
        return {partition: place.at for partition, place in self._places.items()}

    def take(self) -> list[Event]:
        """What came next, of this reader's symbols; after WAIT seconds without any, nothing.

        Raises CarrierError, WireError, OffsetGoneError.
        """
        first = self._consumer.poll(WAIT)
        if first is None:
            return self._say_down()
        events: list[Event] = []
        with self._lock:
            for raw in (first, *self._consumer.consume(MOST - 1, 0)):
                if raw.error() is not None:
                    self._on_error(raw)
                    continue
                partition, at = raw.partition(), raw.offset()
                message = decode(raw.value(), f"topic {raw.topic()!r}, partition {partition}, offset {at}")
                self._places[partition].at = at + 1
                self._add(partition, message, events)
        self._trouble.down, self._heard = "", time.monotonic()
        if self._down:
            self._down = False
            events.insert(0, Status("", self._clock.now(), "flowing", f"Kafka at {self._topic.servers}"))
        return events

    def lacks(self, gap: Gap, row: MarketEvent) -> bool:
        """Whether this row, found over REST, was not told; from here on it counts as told."""
        with self._lock:
            seen, given = identity(row), self._given[gap.line]
            if not gap.since <= row.ts <= gap.closed() or seen in given or any(seen in known for known in gap.known):
                return False
            given.add(seen)
            gap.delivered += 1
            return True

    def done(self, gap: Gap) -> None:
        """This gap is repaired, or given up."""
        with self._lock:
            point = self.progress.point(gap.line)
            assert point is not None
            point.pins -= 1

    def knows_all(self) -> bool:
        """Whether it has read all that was told since the beginnings of what the lines lack."""
        lacking: dict[int, int] = {}
        for line, ts in self.progress.lacking().items():
            partition = partition_of(line.symbol, self._partitions)
            lacking[partition] = min(ts, lacking.get(partition, ts))
        return all(self._places[partition].reaches(ts) for partition, ts in lacking.items())

    def stop(self) -> None:
        """Let `ended` be true once all is taken that is kept now. Raises CarrierError where no broker answers."""
        self._ends = {partition: self._kept(partition)[1] for partition in self._places}

    def ended(self) -> bool:
        return self._ends is not None and all(place.at >= self._ends[at] for at, place in self._places.items())

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _add(self, partition: int, message: Message, events: list[Event]) -> None:
        """What this message tells the reader, behind `events`."""
        place = self._places[partition]
        last = place.last
        if message.partitions != self._partitions:
            raise CarrierError(
                f"topic {self._topic.name!r} was divided into {self._partitions} partitions and is now into "
                f"{message.partitions}; its symbols lie elsewhere: begin a new reader, or better a new topic"
            )
        if last is not None:
            if message.session < last.session:
                self._counts["of a session that is over"] += 1
                return
            expected = last.number + 1 if message.session == last.session else 0
            if message.number < expected:
                self._counts["duplicates"] += 1
                place.torn = ""
                return
            if place.torn or message.number > expected:
                events += self._tear(partition, place, message, last)
        place.torn, place.last = "", message._replace(events=())
        place.first = place.first or place.last
        self.session = max(self.session, message.session)
        symbols = self._symbols
        if message.events and (symbols is None or message.events[0][0] in symbols):
            if place.tear is not None:
                events += self._appeared(message.events, place.tear)
            told = message.events if not self._given else [one for one in message.events if not self._gave(one)]
            self.progress.add(told)
            events += told

    def _tear(self, partition: int, place: Place, message: Message, last: Message) -> list[Event]:
        """Messages between the last and this one are missing: Lost of each line that the partition told of."""
        # What they told is not newer than the newest before this message; of another session that is not known.
        newest = message.newest if message.session == last.session else 0
        until = newest or max(message.newest, message.published)
        since = max(0, last.published - LATE) if place.tear is None else place.tear.since
        place.tear = Tear(min(since, until), until, place.torn or MISSING)
        lost: list[Event] = []
        for line, point in list(self.progress.points()):
            if partition_of(line.symbol, self._partitions) == partition:
                lost.append(self._lose(line, point.since(), place.tear))
        return lost

    def _appeared(self, events: Iterable[Event], tear: Tear) -> list[Event]:
        """Lost of the lines that are told of for the first time: what was missed may have told of them too."""
        lines = dict.fromkeys(line for event in events if (line := line_of(event)) is not None)
        return [self._lose(line, tear.since, tear) for line in lines if self.progress.point(line) is None]

    def _lose(self, line: Line, since: int, tear: Tear) -> Lost:
        point, until = self.progress.begin(line, since), max(since, tear.until)
        point.pins += 1
        self._given.setdefault(line, set())
        self.found.append(Gap(line, since, tear.reason, until=until, known=[point.remember()]))
        self._counts["gaps"] += 1
        return Lost(line.symbol, since, line.kind, until, None, tear.reason)

    def _gave(self, event: Event) -> bool:
        """Whether a repair has told this event already."""
        if not isinstance(event, Trade | Quote | Bar):
            return False
        return identity(event) in self._given.get(Line(event.symbol, KIND_OF[type(event)]), ())

    def _on_error(self, raw: Any) -> None:
        from confluent_kafka import KafkaError, TopicPartition

        error, partition = raw.error(), raw.partition()
        if error.code() != KafkaError._AUTO_OFFSET_RESET:
            raise CarrierError(f"Kafka at {self._topic.servers}, topic {self._topic.name!r}: {error.str()}")
        place, (low, high) = self._places[partition], self._kept(partition)
        if place.last is None and not self._earliest:
            raise OffsetGoneError(f"offset {place.at} of partition {partition} is not kept; there are {low} to {high}")
        place.torn, place.at = GONE, low
        again = [TopicPartition(self._topic.name, partition, low)]  # a seek is refused after such an error
        self._consumer.incremental_unassign(again)
        self._consumer.incremental_assign(again)

    def _say_down(self) -> list[Event]:
        why = self._trouble.down
        if not why and time.monotonic() - self._heard > SILENT:
            why = f"nothing came of the publisher of {self._topic.name!r} for {SILENT:g} s"
        if not why or self._down:
            return []
        self._down = True
        return [Status("", self._clock.now(), "stale", f"Kafka at {self._topic.servers}: {why}")]

    def _kept(self, partition: int) -> tuple[int, int]:
        """The oldest offset, and the next."""
        from confluent_kafka import KafkaException, TopicPartition

        try:
            kept: tuple[int, int] | None = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic.name, partition), timeout=self._topic.connect, cached=False
            )
        except KafkaException as error:
            self._trouble.last = error.args[0].str()
            kept = None
        if kept is None:
            raise unreachable(self._topic, self._trouble, self._topic.connect)
        return kept


def _start(partition: int, since: Start, low: int, high: int, back: int) -> int:
    if isinstance(since, str):
        return low if since == "earliest" else max(low, high - back)
    if partition not in since:
        raise CarrierError(
            f"the offset names partitions {sorted(since)}; what these symbols need is in {partition} too"
        )
    at = since[partition]
    if not low <= at <= high:
        raise OffsetGoneError(f"offset {at} of partition {partition} is not kept; there are {low} to {high}")
    return at
