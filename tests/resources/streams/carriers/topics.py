"""A topic as the tests of the Kafka carrier use it: what is put into it, and what is read from it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from resources.streams.base import Batch, Event, Trade
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import Topic
from resources.streams.carriers.wire import Message, encode, partition_of
from tests.venues.kafka import KafkaCluster


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
