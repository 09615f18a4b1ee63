"""The time by which a gateway lives: the machine's, or one that runs faster, for recorded markets."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

SECOND = 1_000_000
"""In microseconds, as all times of streams."""


class Clock(Protocol):
    """What time it is, and waiting by it."""

    def now(self) -> int:
        """UTC microseconds since 1970."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when so much time has passed by this clock."""
        ...


class SystemClock:
    """The machine's own."""

    def now(self) -> int:
        return time.time_ns() // 1000

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FastClock:
    """Begins at `start` (UTC microseconds) when it is made, and runs `speed` times as fast as the machine's."""

    def __init__(self, start: int, speed: float) -> None:
        self._start, self._speed, self._began = start, speed, time.monotonic()

    def now(self) -> int:
        return self._start + int((time.monotonic() - self._began) * self._speed * SECOND)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)
