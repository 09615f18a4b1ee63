"""The carrier over Kafka where messages are gone, come twice or are not ours: what a reader is told, and repaired."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import datetime

import polars as pl
import pytest

from resources.market_data.ticks import TRADE_SCHEMA
from resources.streams.base import Event, Lost, Quote, Repaired, Trade
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import CarrierError
from resources.streams.carriers.kafka_reader import GONE, MISSING
from resources.streams.carriers.wire import Message, WireError, partition_of
from resources.streams.repair import instant
from tests.resources.streams.carriers.topics import forge, put, rest, take, topic, trades
from tests.resources.streams.gateways import played
from tests.venues.kafka import FETCH, NOT_LEADER, KafkaCluster

pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")


class Rest:
    """A provider's trades."""

    def __init__(self, rows: Sequence[Event]) -> None:
        self.rows = [row for row in rows if isinstance(row, Trade)]

    def trades(self, symbols: Collection[str], start: datetime, end: datetime) -> pl.LazyFrame:
        rows = [
            {"symbol": row.symbol, "ts": row.ts, "price": row.price, "size": row.size, "trade_id": str(row.sequence)}
            for row in self.rows
            if row.symbol in symbols and start <= instant(row.ts) < end
        ]
        return pl.LazyFrame(rows, TRADE_SCHEMA)


def identified(rows: Sequence[Event]) -> list[Event]:
    """With the identifier that a provider gives them."""
    return [row._replace(trade_id=str(row.sequence)) if isinstance(row, Trade) else row for row in rows]


@played
async def test_what_brokers_let_go_before_it_was_read_is_told_and_repaired(cluster: KafkaCluster) -> None:
    rows = identified([*trades(*range(1, 10)), *trades(*range(1, 10), symbol="B")])
    publisher = Kafka(topic(cluster))
    carrier = Kafka(topic(cluster), provider=Rest(rows), repair_delay=0.0)  # type: ignore[arg-type]
    reader = carrier.subscribe(["A"])
    await carrier.publish([])  # the place is taken
    await publisher.publish([rows[0], rows[1]])
    assert await take(reader, 2) == rows[:2]
    cluster.refuse_all(FETCH, NOT_LEADER)
    for row in rows[2:7]:
        await publisher.publish([row])
    cluster.let_go("t", partition_of("A", 3), 5)  # the first message, two rows, then 3, 4, 5
    cluster.take_again(FETCH)
    lost = Lost("A", 2, "trade", 5, None, GONE)
    assert await take(reader, 3) == [lost, *rows[5:7]]
    mended = [row._replace(repaired=True, received=0) for row in rows[2:5]]  # type: ignore[union-attr, call-arg]
    got = await take(reader, 4)
    assert [e._replace(received=0) if isinstance(e, Trade) else e for e in got[:3]] == mended
    assert got[3] == Repaired("A", 2, "trade", 5, 3, None)
    await reader.aclose()
    await publisher.close()
    await carrier.close()


@played
async def test_what_was_let_go_before_another_publisher_began_is_told_too(cluster: KafkaCluster) -> None:
    old, new = Kafka(topic(cluster)), Kafka(topic(cluster), repair_delay=0.0)
    reader = new.subscribe(["A"])
    await new.publish([])  # the place is taken
    await old.publish(trades(1))
    assert await take(reader, 1) == trades(1)
    cluster.refuse_all(FETCH, NOT_LEADER)
    await old.publish(trades(2))
    now = time.time_ns() // 1000  # the next publisher, who could not begin while nobody may read
    forge(cluster, Message(now, 0, 0, now, 3, ()), Message(now, 1, 0, now, 3, trades(3)))
    cluster.let_go("t", partition_of("A", 3), 3)  # the first message, 1 and 2; then a session begins
    cluster.take_again(FETCH)
    told = await take(reader, 3)
    lost = next(event for event in told if isinstance(event, Lost))
    assert [event for event in told if isinstance(event, Trade)] == trades(3)
    assert (lost.ts, lost.events, lost.reason) == (1, None, GONE)
    assert lost.until > 3  # nobody knows what the old session told last, but when the new one began
    (given_up,) = [event for event in told if isinstance(event, Repaired)]
    assert given_up[:4] == lost[:4]
    await reader.aclose()
    await old.close()
    await new.close()


def message(session: int, number: int, newest: int, *events: Event, partitions: int = 3) -> Message:
    return Message(session, number, newest, 10**8 * session + number, partitions, events)


TORN = [  # what stands in the partition, and what a reader of it is told
    pytest.param(
        [message(1, 0, 0, *trades(5)), message(1, 2, 8, *trades(9))],
        [*trades(5), Lost("A", 5, "trade", 8, None, MISSING), *trades(9)],
        id="a number is missing",
    ),
    pytest.param(
        [message(1, 0, 0, *trades(5)), message(2, 0, 0), message(2, 1, 0, *trades(9))],
        [*trades(5), *trades(9)],
        id="a session that follows another",
    ),
    pytest.param(
        [message(1, 0, 0, *trades(5)), message(2, 3, 8, *trades(9))],
        [*trades(5), Lost("A", 5, "trade", 200_000_003, None, MISSING), *trades(9)],
        id="the beginning of a session is missing",
    ),
    pytest.param(
        [message(1, 0, 0, *trades(5)), message(2, 0, 0, *trades(6)), message(1, 1, 5, *trades(7))],
        [*trades(5), *trades(6)],
        id="a session that is over",
    ),
    pytest.param(
        [message(1, 0, 0, *trades(5)), message(1, 1, 5, *trades(6)), message(1, 1, 5, *trades(6))],
        [*trades(5), *trades(6)],
        id="a message twice",
    ),
    pytest.param(
        [message(1, 0, 0, *trades(5)), message(2, 0, 0), message(2, 2, 3, *trades(9))],
        [*trades(5), Lost("A", 5, "trade", 5, None, MISSING), *trades(9)],
        id="nothing newer can be missing, but what was being repaired",
    ),
    pytest.param(
        [message(1, 0, 0, *trades(5)), message(2, 0, 0), message(2, 2, 0, *trades(9))],
        [*trades(5), Lost("A", 5, "trade", 200_000_002, None, MISSING), *trades(9)],
        id="nobody knows what can be missing",
    ),
    pytest.param(
        [message(1, 4, 0, *trades(5)), message(1, 5, 5, *trades(6))],
        [*trades(5), *trades(6)],
        id="a reader who comes later",
    ),
    pytest.param(
        [
            message(1, 0, 0, *trades(5)),
            message(1, 2, 7, Quote("A", 9, 1.0, 1.0, 2.0, 1.0)),
            message(1, 3, 9, *trades(10)),
        ],
        [
            *trades(5),
            Lost("A", 5, "trade", 7, None, MISSING),
            Lost("A", 7, "quote", 7, None, MISSING),
            Quote("A", 9, 1.0, 1.0, 2.0, 1.0),
            *trades(10),
        ],
        id="a line that is seen for the first time after it",
    ),
    pytest.param(
        [message(1, 0, 0), message(2, 1, 8, *trades(9))],
        [Lost("A", 40_000_000, "trade", 200_000_001, None, MISSING), *trades(9)],
        id="a line that is seen for the first time, in a session whose beginning is missing",
    ),
    pytest.param(
        [message(1, 0, 0, Lost("A", 2, "trade", 4, None, "x"), *trades(5)), message(1, 2, 8, *trades(9))],
        [Lost("A", 2, "trade", 4, None, "x"), *trades(5), Lost("A", 2, "trade", 8, None, MISSING), *trades(9)],
        id="while something is lost: maybe its repair is what is missing",
    ),
]


@pytest.mark.parametrize(("messages", "told"), TORN)
@played
async def test_what_is_missing_in_the_log_is_told_by_line(
    cluster: KafkaCluster, messages: list[Message], told: list[Event]
) -> None:
    forge(cluster, *messages)
    carrier = Kafka(topic(cluster))
    reader = carrier.subscribe(["A"], since="earliest")
    await carrier.publish([])
    await carrier.close()
    got = await rest(reader)
    lost = [event for event in told if isinstance(event, Lost) and event.reason == MISSING]
    given_up = [event for event in got if isinstance(event, Repaired)]
    assert [event for event in got if not isinstance(event, Repaired)] == told
    assert [event[:4] for event in given_up] == [event[:4] for event in lost]  # nobody was there to be asked
    assert all(event.error for event in given_up)


@played
async def test_what_a_repair_brought_and_the_log_then_tells_is_told_once(cluster: KafkaCluster) -> None:
    rows = identified(trades(*range(1, 9)))
    forge(cluster, message(1, 0, 0, rows[0]), message(1, 2, 5, rows[5]))
    carrier = Kafka(topic(cluster), provider=Rest(rows), repair_delay=0.0)  # type: ignore[arg-type]
    reader = carrier.subscribe(["A"], since="earliest")
    got = await take(reader, 8)
    assert got[:3] == [rows[0], Lost("A", 1, "trade", 5, None, MISSING), rows[5]]
    assert [row.ts for row in got[3:7]] == [2, 3, 4, 5]
    assert got[7] == Repaired("A", 1, "trade", 5, 4, None)
    late = rows[2]._replace(repaired=True)  # type: ignore[union-attr, call-arg]
    forge(cluster, message(1, 3, 6, late, rows[6]))  # the gateway's own repair, which comes after the reader's
    assert await take(reader, 1) == [rows[6]]
    await reader.aclose()
    await carrier.close()


@played
async def test_a_topic_that_is_divided_anew_is_no_secret(cluster: KafkaCluster) -> None:
    forge(cluster, message(1, 0, 0, partitions=4), symbol="")
    reader = Kafka(topic(cluster)).subscribe(["A"], since="earliest")
    with pytest.raises(CarrierError, match="was divided into 3 partitions and is now into 4"):
        await anext(reader)


@played
async def test_what_others_put_into_the_topic_is_no_secret(cluster: KafkaCluster) -> None:
    put(cluster, b"hello")
    reader = Kafka(topic(cluster)).subscribe(["A"], since="earliest")
    with pytest.raises(WireError, match="topic 't', partition 2, offset 0: not a message of this project"):
        await anext(reader)
