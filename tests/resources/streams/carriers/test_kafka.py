"""The carrier over Kafka, on librdkafka's own brokers: who reads what, from where, and what holds in bad weather."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from resources.errors import ConfigError, MissingSecretError
from resources.streams.base import Line, OffsetGoneError, Status, Trade
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import CarrierError, Topic, Trouble, options, unreachable
from resources.streams.carriers.wire import partition_of
from tests.resources.streams.carriers.topics import rest, stored, take, topic, trades
from tests.resources.streams.gateways import played
from tests.venues.kafka import MESSAGE_TOO_LARGE, PRODUCE, UNKNOWN_TOPIC, KafkaCluster

pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")

A, B = Line("A", "trade"), Line("B", "trade")


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


@played
async def test_a_ca_file_that_is_not_there_is_told_by_its_name() -> None:
    carrier = Kafka(Topic(servers="127.0.0.1:9", name="t", security="ssl", ca_file="/not/there.pem"))
    with pytest.raises(ConfigError, match=r"Topic\.ca_file is '/not/there\.pem', and there is no such file"):
        await carrier.publish(trades(1))
    with pytest.raises(ConfigError, match=r"Topic\.ca_file"):
        await carrier.resume()
    await carrier.close()
