"""The carrier within one process that hands all on to another one as well."""

from __future__ import annotations

from collections.abc import Sequence

from resources.streams.base import Carrier, Event
from resources.streams.carriers.memory import Memory


class Relay(Memory):
    """Readers in this process have what is published at once; who publishes waits for the other carrier.

    What the other carrier raises ends the publisher.

    Example: `Gateway(source, carrier=Relay(Kafka(Topic())))`
    """

    def __init__(self, onward: Carrier, capacity: int = 200_000) -> None:
        super().__init__(capacity)
        self._onward = onward

    async def publish(self, events: Sequence[Event]) -> None:
        await super().publish(events)
        await self._onward.publish(events)

    async def close(self) -> None:
        try:
            await self._onward.close()
        finally:
            await super().close()
