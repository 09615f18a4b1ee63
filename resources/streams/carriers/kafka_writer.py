"""The publishing half of the Kafka carrier; everything here blocks, and runs in one thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from resources.streams.base import KIND_OF, Bar, Event, Line, Lost, Quote, Repaired, Trade
from resources.streams.carriers.kafka_client import (
    LOG,
    STEP,
    CarrierError,
    Topic,
    Trouble,
    options,
    partitions,
    unreachable,
)
from resources.streams.carriers.progress import Progress
from resources.streams.carriers.wire import Message, encode, partition_of
from resources.streams.track import identity

MOST = 1000
"""At most so many events in a message: about 65 KiB of the megabyte that a broker takes by default."""

REPEAT = 5_000
"""After so many messages in a partition what is lost of its lines is told again."""

NONE: tuple[int, frozenset[int]] = (0, frozenset())

SLOW = 5.0
"""After so many seconds without an answer from the brokers it is logged."""


class Writer:
    """One session of a publisher: an idempotent producer, and the running numbers of its messages.

    It begins with a message without events in each partition: from there on readers drop what an older session may
    still send.
    """

    def __init__(self, topic: Topic, counts: Counter[str]) -> None:
        self.session = 0
        self.given_up = False
        self._topic, self._counts = topic, counts
        self._trouble = Trouble()
        self._producer: Any = None
        self._failure: CarrierError | None = None
        self._next: list[int] = []
        self._newest: list[int] = []
        self._repeated: list[int] = []
        self._lost: dict[Line, list[Lost]] = {}
        self._stored: dict[Line, tuple[int, Collection[int]]] = {}

    def begin(self, after: int = 0) -> None:
        """A new session, later than `after` and any before it of this writer. Raises CarrierError."""
        if self._producer is None:
            self._connect()
        self.session = max(time.time_ns() // 1000, after + 1, self.session + 1)
        self._next = [0] * len(self._next)
        self._repeated = [0] * len(self._next)
        for partition in range(len(self._next)):
            self._send(partition, "", ())
        self._flush()

    def skip(self, progress: Progress) -> dict[Line, int]:
        """What is told already is not stored again; since when each line is to be told."""
        since = progress.since()
        self._stored = {line: (since[line], point.remember()) for line, point in progress.points()}
        return since

    def store(self, events: Sequence[Event]) -> None:
        """Returns when the brokers have these on all replicas that are in sync. Raises CarrierError.

        After an error nobody knows which of them are stored; then this session takes no more.
        """
        self._look()
        groups: dict[str, list[Event]] = {}
        count = 0
        for event in events:
            if type(event) is Lost or type(event) is Repaired:
                self._lacks(event)
            elif self._stored and self._has(event):
                continue
            count += 1
            rows = groups.get(event[0])
            if rows is None:
                rows = groups[event[0]] = []
            rows.append(event)
        for symbol, rows in groups.items():
            for at in range(0, len(rows), MOST):
                self._send(partition_of(symbol, len(self._next)), symbol, rows[at : at + MOST])
        self._repeat()
        self._flush()
        self._counts["stored"] += count

    def beat(self) -> None:
        """A sign of life: a message without events in partition 0, which all read. Raises CarrierError."""
        self._look()
        self._send(0, "", ())
        self._flush()

    def close(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(STEP)
            self._producer = None

    def _connect(self) -> None:
        given = options(self._topic, self._trouble)
        from confluent_kafka import Producer

        made = Producer(
            {
                **given,
                "enable.idempotence": True,
                "message.timeout.ms": int(self._topic.outage * 1000),
                "linger.ms": 0,  # what is published at once is sent at once; what comes meanwhile waits for its turn
                "compression.type": self._topic.compression,
                "delivery.report.only.error": True,
                "on_delivery": self._undelivered,
            }
        )
        count = partitions(made, self._topic, self._trouble)
        self._producer, self._next, self._newest = made, [0] * count, [0] * count

    def _send(self, partition: int, symbol: str, rows: Sequence[Event]) -> None:
        from confluent_kafka import KafkaException

        now, newest = time.time_ns() // 1000, self._newest[partition]
        data = encode(Message(self.session, self._next[partition], newest, now, len(self._next), rows))
        while True:
            try:
                self._producer.produce(self._topic.name, data, key=symbol, partition=partition)
                break
            except BufferError:  # librdkafka's queue is full
                self._producer.poll(STEP)
                self._look()
            except KafkaException as error:
                self._undelivered(error.args[0])
                self._look()
        self._next[partition] += 1
        self._newest[partition] = max([newest, *(row[1] for row in rows if type(row) in KIND_OF)])

    def _lacks(self, event: Lost | Repaired) -> None:
        """What is lost of a line, and not repaired yet."""
        line = Line(event.symbol, event.kind)
        before = self._lost.pop(line, ())
        if isinstance(event, Lost):  # told again, it may have grown
            left = [*(one for one in before if one.ts != event.ts), event]
        else:
            left = [one for one in before if one.ts < event.ts or one.until > event.until]
        if left:
            self._lost[line] = left
        else:  # all that an earlier session may have stored has come again
            self._stored.pop(line, None)

    def _repeat(self) -> None:
        """Tell again what is lost where so many messages came since, so that `resume` need not look further back."""
        due = [at for at, number in enumerate(self._next) if number - self._repeated[at] >= REPEAT]
        for line, lost in self._lost.items() if due else ():
            partition = partition_of(line.symbol, len(self._next))
            if partition in due:
                self._send(partition, line.symbol, lost)
        for partition in due:
            self._repeated[partition] = self._next[partition]

    def _flush(self) -> None:
        began, told = time.monotonic(), False
        while left := self._producer.flush(STEP):
            self._look()
            if not told and time.monotonic() - began > SLOW:
                told = True
                why = self._trouble.last or "no reason was told"
                LOG.warning("Kafka at %s: %d messages wait to be stored (%s)", self._topic.servers, left, why)
        self._look()
        if told:
            LOG.warning("Kafka at %s: stored after %.0f s", self._topic.servers, time.monotonic() - began)

    def _undelivered(self, error: Any, _: Any = None) -> None:
        """Called by librdkafka for each message that is not stored in time, or refused."""
        from confluent_kafka import KafkaError

        if error is not None and self._failure is None:
            if error.code() == KafkaError._MSG_TIMED_OUT:
                self._failure = unreachable(self._topic, self._trouble, self._topic.outage)
            else:
                why = error.str()
                self._failure = CarrierError(f"Kafka at {self._topic.servers} refused {self._topic.name!r}: {why}")

    def _look(self) -> None:
        """Whether it is of use to wait any longer."""
        if self._trouble.denied:
            self._failure = unreachable(self._topic, self._trouble, self._topic.outage)
        if self.given_up and self._failure is None:
            self._failure = CarrierError("publishing was given up; make a new carrier, and call its `resume`")
        if self._failure is not None:
            raise self._failure

    def _has(self, event: Event) -> bool:
        """Whether the event is stored already, by an earlier session."""
        if not isinstance(event, Trade | Quote | Bar):
            return False
        since, known = self._stored.get(Line(event.symbol, KIND_OF[type(event)]), NONE)
        if event.ts < since or identity(event) not in known:
            return False
        self._counts["already stored"] += 1
        return True
