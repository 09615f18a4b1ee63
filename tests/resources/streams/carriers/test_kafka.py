"""The carrier over Kafka, on librdkafka's own brokers: who reads what, from where, and what holds in bad weather."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from resources.errors import ConfigError, MissingSecretError
from resources.market_data.ticks import TRADE_SCHEMA
from resources.streams.base import Batch, Event, Line, Lost, OffsetGoneError, Quote, Repaired, Status, Trade
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import CarrierError, Topic, Trouble, options, unreachable
from resources.streams.carriers.kafka_reader import GONE, MISSING
from resources.streams.carriers.wire import Message, WireError, encode, partition_of
from resources.streams.repair import instant
from tests.resources.streams.gateways import played
from tests.venues.kafka import FETCH, MESSAGE_TOO_LARGE, NOT_LEADER, PRODUCE, UNKNOWN_TOPIC, KafkaCluster

pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")

A, B = Line("A", "trade"), Line("B", "trade")


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster() as made:
        made.create("t", 3)
        yield made


def trades(*numbers: int, symbol: str = "A") -> list[Event]:
    return [Trade(symbol, number, 1.0, 1.0, sequence=number) for number in numbers]


def topic(cluster: KafkaCluster, **more: Any) -> Topic:
    return Topic(cluster.servers, "t", **{"connect": 5.0, **more})


async def take(reader: AsyncGenerator[Batch, None], count: int) -> list[Event]:
    """The next so many events, none of a batch left over."""
    got: list[Event] = []
    while len(got) < count:
        got += (await anext(reader)).events
    assert len(got) == count, got
    return got


async def rest(reader: AsyncGenerator[Batch, None]) -> list[Event]:
    return [event async for batch in reader for event in batch.events]


async def stored(cluster: KafkaCluster) -> list[Event]:
    """All that the topic holds, as a reader of another process is told."""
    other = Kafka(topic(cluster))
    reader = other.subscribe(since="earliest")
    await other.publish([])  # the place is taken
    await other.close()
    return await rest(reader)


def forge(cluster: KafkaCluster, *messages: Message, symbol: str = "A") -> None:
    """Put these into the symbol's partition as they are."""
    put(cluster, *map(encode, messages), symbol=symbol)


def put(cluster: KafkaCluster, *data: bytes, symbol: str = "A") -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": cluster.servers})
    for one in data:
        producer.produce("t", one, partition=partition_of(symbol, 3))
    assert producer.flush(5) == 0


# who reads what


@played
async def test_each_reader_has_all_in_order_from_where_it_began(cluster: KafkaCluster) -> None:
    carrier = Kafka(topic(cluster))
    first = carrier.subscribe()
    await carrier.publish(trades(1, 2))
    second = carrier.subscribe()
    await carrier.publish(trades(3))
    assert await take(first, 3) == trades(1, 2, 3)
    await carrier.close()
    assert await rest(second) == trades(3)
    assert await rest(first) == []
    assert await stored(cluster) == trades(1, 2, 3)


@played
async def test_a_reader_goes_on_where_another_stopped(cluster: KafkaCluster) -> None:
    carrier, offsets = Kafka(topic(cluster)), []
    reader = carrier.subscribe()
    for number in range(1, 6):
        await carrier.publish([*trades(number), *trades(number, symbol="B")])
        batch = await anext(reader)
        offsets.append((len(batch.events), batch.offset))
    after = sum(count for count, _ in offsets[:3])
    other = Kafka(topic(cluster))  # in another process, and later
    again = other.subscribe(since=offsets[2][1])
    got = await take(again, 10 - after)
    for symbol in "AB":
        begun = sum(event.symbol == symbol for event in got)
        mine = [event for event in got if event.symbol == symbol]
        assert mine == trades(*range(6 - begun, 6), symbol=symbol)
    for each in (again, reader):
        await each.aclose()
    await carrier.close()
    await other.close()


@played
async def test_many_symbols_are_divided_and_each_is_in_order(cluster: KafkaCluster) -> None:
    carrier = Kafka(topic(cluster))
    reader = carrier.subscribe()
    symbols = [f"S{number}" for number in range(12)]
    owed = [Trade(symbol, at, 1.0, 1.0) for at in range(2500) for symbol in symbols]
    for at in range(0, len(owed), 7000):
        await carrier.publish(owed[at : at + 7000])
    await carrier.close()
    got = await rest(reader)
    assert len({partition_of(symbol, 3) for symbol in symbols}) == 3
    for symbol in symbols:
        assert [e for e in got if e.symbol == symbol] == [e for e in owed if e.symbol == symbol]
    assert len(got) == len(owed)
    assert carrier.counts == {"stored": len(owed)}


@played
async def test_of_some_symbols_and_what_concerns_all(cluster: KafkaCluster) -> None:
    carrier = Kafka(topic(cluster))
    reader = carrier.subscribe(["B"])
    said = Status("", 1, "connected")
    await carrier.publish([*trades(1), *trades(2, symbol="B"), said, *trades(3, symbol="C")])
    await carrier.close()
    got = await rest(reader)
    assert sorted(got, key=lambda event: event.ts) == [said, *trades(2, symbol="B")]


@pytest.mark.parametrize("at", [1, 5])
@played
async def test_a_place_that_is_not_kept_is_refused(cluster: KafkaCluster, at: int) -> None:
    carrier = Kafka(topic(cluster))
    for number in range(3):
        await carrier.publish(trades(number))  # behind the session's first message: 0 to 3 are kept
    partition = partition_of("A", 3)
    cluster.let_go("t", partition, 2)
    reader = carrier.subscribe(["A"], since={0: 0, partition: at})
    with pytest.raises(OffsetGoneError, match=f"offset {at} of partition {partition} is not kept; there are 2 to 4"):
        await anext(reader)
    with pytest.raises(CarrierError, match=rf"the offset names partitions \[9\]; .* {0} too"):
        await anext(carrier.subscribe(["A"], since={9: 0}))
    await carrier.close()


@played
async def test_a_reader_who_is_left_leaves_nothing_behind(cluster: KafkaCluster) -> None:
    before = threading.active_count()
    carrier = Kafka(topic(cluster))
    begun, never = carrier.subscribe(), carrier.subscribe()
    await carrier.publish(trades(1))
    await take(begun, 1)
    await begun.aclose()
    del never
    assert not carrier._readers
    await carrier.close()
    while threading.active_count() > before:  # threads that have ended may take a moment to be gone
        await asyncio.sleep(0)


# what holds when brokers go away


@played
async def test_while_brokers_are_away_publishing_waits_and_then_all_is_there_once(cluster: KafkaCluster) -> None:
    carrier = Kafka(topic(cluster))
    reader = carrier.subscribe(["A"])
    await carrier.publish(trades(1))
    assert await take(reader, 1) == trades(1)
    cluster.down()
    waiting = asyncio.create_task(carrier.publish(trades(2, 3)))
    (down,) = await take(reader, 1)
    assert isinstance(down, Status)
    assert (down.state, down.symbol) == ("stale", "")
    assert "brokers are down" in down.detail
    assert not waiting.done()
    cluster.up()
    await waiting
    got = await take(reader, 3)
    assert isinstance(got[0], Status)
    assert got[0].state == "flowing"
    assert got[1:] == trades(2, 3)
    await carrier.close()
    assert await rest(reader) == []


@played
async def test_what_is_stored_twice_is_told_once(cluster: KafkaCluster) -> None:
    """The brokers store, and go away before they say so: the client sends again."""
    from confluent_kafka import Consumer, TopicPartition

    carrier = Kafka(topic(cluster))
    await carrier.publish(trades(1))
    watcher = Consumer({"bootstrap.servers": cluster.servers, "group.id": "none", "log_level": 0})
    place = TopicPartition("t", partition_of("A", 3))
    cluster.answer_late(PRODUCE, 60_000)
    publishing = asyncio.create_task(carrier.publish(trades(2)))
    while watcher.get_watermark_offsets(place, timeout=5, cached=False)[1] < 3:
        await asyncio.sleep(0)
    watcher.close()
    assert not publishing.done()
    cluster.down()
    cluster.up()
    await publishing
    await carrier.publish(trades(3))
    other = Kafka(topic(cluster))
    reader = other.subscribe(since="earliest")
    assert await take(reader, 3) == trades(1, 2, 3)
    assert other.counts == {"duplicates": 1}  # so it was stored twice
    await reader.aclose()
    await carrier.close()
    await other.close()


@played
async def test_who_waited_long_enough_is_told_whom_for(cluster: KafkaCluster) -> None:
    carrier = Kafka(topic(cluster, outage=1.0))
    await carrier.publish(trades(1))
    cluster.down()
    with pytest.raises(CarrierError, match=rf"no Kafka broker at {cluster.servers} answered within 1 s .*start it, or"):
        await carrier.publish(trades(2))
    with pytest.raises(CarrierError, match="no Kafka broker"):  # and it does not go on as if nothing were missing
        await carrier.publish(trades(3))
    assert len(carrier._writer._producer) == 0  # nor is it sent after all
    cluster.up()
    await carrier.close()
    assert await stored(cluster) == trades(1)


@played
async def test_a_publication_that_is_given_up_ends_the_publisher(cluster: KafkaCluster) -> None:
    carrier = Kafka(topic(cluster))
    await carrier.publish(trades(1))
    cluster.down()
    publishing = asyncio.create_task(carrier.publish(trades(2)))
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    cluster.up()
    with pytest.raises(CarrierError, match="publishing was given up; make a new carrier, and call its `resume`"):
        await carrier.publish(trades(3))
    await carrier.close()
    with pytest.raises(CarrierError, match="the carrier of topic 't' is closed"):
        await carrier.publish(trades(4))


@played
async def test_what_brokers_refuse_is_an_error_with_their_reason(cluster: KafkaCluster) -> None:
    carrier = Kafka(topic(cluster))
    await carrier.publish(trades(1))
    cluster.refuse(PRODUCE, MESSAGE_TOO_LARGE, 1)
    with pytest.raises(CarrierError, match="refused 't': Broker: Message size too large"):
        await carrier.publish(trades(2))
    await carrier.close()


# what holds when messages are gone


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


# settings


@played
async def test_nobody_there_is_told_with_the_address() -> None:
    carrier = Kafka(Topic("127.0.0.1:9", "t", connect=0.5))
    said = r"no Kafka broker at 127.0.0.1:9 answered within 0.5 s \(.*(refused|are down).*\); start it, or mend Topic"
    reader = carrier.subscribe()
    for work in (carrier.publish(trades(1)), carrier.resume(), anext(reader)):
        with pytest.raises(CarrierError, match=said):
            await work
    await carrier.close()


@played
async def test_a_topic_that_is_not_there_is_told_with_how_to_make_it(cluster: KafkaCluster) -> None:
    cluster.refuse_topic("t", UNKNOWN_TOPIC)
    carrier = Kafka(topic(cluster))
    with pytest.raises(CarrierError, match=r"has no topic 't' .*kafka-topics.sh --create --topic t --partitions 8"):
        await carrier.publish(trades(1))
    await carrier.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"servers": " "}, "Topic.servers is empty; give it a value, such as 'localhost:9092'"),
        ({"name": ""}, "Topic.name is empty; give it a value, such as 'market'"),
        ({"connect": 0.0}, "Topic.connect is 0.0; it must be above 0"),
        ({"outage": 1e9}, r"Topic.outage is 1000000000.0; it must be above 0 and at most 86400 s"),
        ({"security": "tls"}, "Topic.security is 'tls'; it is one of plaintext, ssl, sasl_plaintext, sasl_ssl"),
        ({"mechanism": "GSSAPI"}, "Topic.mechanism is 'GSSAPI'; it is one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
    ],
)
def test_settings_out_of_bounds_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Topic(**given)


def test_keys_that_are_refused_are_told_by_name() -> None:
    from confluent_kafka import KafkaError

    trouble = Trouble()
    trouble(KafkaError(KafkaError._AUTHENTICATION, "SCRAM failed"))
    said = "refuses KAFKA_USERNAME or KAFKA_PASSWORD: SCRAM failed; mend them in the environment"
    assert said in str(unreachable(Topic(), trouble, 1.0))


def test_without_the_package_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CarrierError, match=r"pip install 'quant-assets\[kafka\]'"):
        options(Topic(), Trouble())


@played
async def test_secrets_come_from_the_environment() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAFKA_USERNAME", "me")
        patch.delenv("KAFKA_PASSWORD", raising=False)
        carrier = Kafka(Topic("127.0.0.1:9", security="sasl_ssl"))
        with pytest.raises(MissingSecretError, match="Kafka with sasl_ssl needs KAFKA_PASSWORD in the environment"):
            await carrier.publish(trades(1))
        await carrier.close()
