"""A stream of alpaca-py at work, for the tests of Alpaca's streams."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from tests.venues.market import Fault
from tests.venues.stream import StreamVenue


class Running:
    """A stream of alpaca-py in a thread of its own, and what its handler was given.

    `refuses` says for what the handler raises. The pause before a reconnect is cut unless `patient`.
    """

    def __init__(
        self,
        venue: StreamVenue,
        stream: Any,
        *,
        refuses: Callable[[Any], bool] = lambda _: False,
        patient: bool = False,
    ) -> None:
        self.venue, self.stream, self._refuses = venue, stream, refuses
        self._got: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(target=stream.run, daemon=True)
        if not patient:
            stream._reconnect_min_backoff = 0.02

    async def handler(self, message: Any) -> None:
        if self._refuses(message):
            raise RuntimeError("the handler's mistake")
        self._got.put(message)

    def take(self, count: int) -> list[Any]:
        return [self._got.get(timeout=5) for _ in range(count)]

    def settled(self) -> Self:
        """Wait until it takes itself for connected: what is subscribed before waits for the next reconnect."""
        for _ in range(500):
            if self.stream._running:
                return self
            time.sleep(0.01)
        raise TimeoutError("the stream is not running")

    def nothing_more(self) -> bool:
        time.sleep(0.05)
        return self._got.empty()

    def start(self) -> Self:
        self._thread.start()
        return self

    def alive(self) -> bool:
        return self._thread.is_alive()

    def ended(self) -> bool:
        self._thread.join(5)
        return not self.alive()

    def __enter__(self) -> Self:
        return self if self.alive() else self.start()

    def __exit__(self, *_: object) -> None:
        self.stream.stop()
        self.venue.strike(Fault("dropped"))  # else it looks up only every five seconds
        assert self.ended()
