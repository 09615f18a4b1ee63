"""Publishers of a topic as the tests of their gateways use them, and what the topic then holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from resources.streams.base import Event, Kind, Line, MarketEvent, Sequencing, Trade
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import Topic
from tests.venues.kafka import KafkaCluster


def carrier(cluster: KafkaCluster) -> Kafka:
    return Kafka(Topic(cluster.servers, "t", connect=5.0))


async def stored(cluster: KafkaCluster) -> list[Event]:
    """All that the topic holds, as a reader of another process is told."""
    other = carrier(cluster)
    reader = other.subscribe(since="earliest")
    await other.publish([])  # the place is taken
    await other.close()
    return [event async for batch in reader for event in batch.events]


def trades(*numbers: int, symbol: str = "A") -> list[Event]:
    """As a venue tells them, one a second."""
    return [Trade(symbol, number * 10**6, 1.0, 1.0, trade_id=str(number), sequence=number) for number in numbers]


def market_events(told: Sequence[Event]) -> list[Trade]:
    return [event for event in told if isinstance(event, Trade)]


async def until(ready: Callable[[], object]) -> None:
    """Let others go until this is so."""
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0.001)


class Scripted:
    """A source that brings what is put into `told`."""

    name = "scripted"
    sequences: Mapping[Kind, Sequencing] = {}

    def __init__(self) -> None:
        self.told: asyncio.Queue[Sequence[MarketEvent]] = asyncio.Queue()

    async def connect(self, lines: Collection[Line]) -> None: ...

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None: ...

    async def receive(self) -> Sequence[MarketEvent]:
        return await self.told.get()

    async def close(self) -> None: ...
