"""How fast a provider is asked, and how often again: token buckets and retries with jitter."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from resources.errors import BadAnswerError, ProviderTimeoutError, RateLimitedError

T = TypeVar("T")

PASSING = (RateLimitedError, ProviderTimeoutError, BadAnswerError)
"""Errors that another try may mend."""


@dataclass
class TokenBucket:
    """At most `per_second` tokens a second on average, and `burst` at once; shared by threads.

    `clock` and `sleep` are for tests.
    """

    per_second: float
    burst: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _held: float = field(init=False)
    _at: float = field(init=False)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._held, self._at = self.burst, self.clock()

    def take(self, tokens: float = 1.0) -> None:
        """Wait until `tokens` may be spent, and spend them."""
        with self._lock:
            now = self.clock()
            self._held = min(self.burst, self._held + (now - self._at) * self.per_second) - tokens
            self._at = now
            # Whoever comes next queues behind this debt, so that waiting need not happen under the lock.
            wait = -self._held / self.per_second
        if wait > 0:
            self.sleep(wait)

    def drain(self, seconds: float) -> None:
        """Let nobody go for so long: the provider has asked for it (Retry-After)."""
        with self._lock:
            self._at = self.clock()
            self._held = min(self._held, -seconds * self.per_second)


def retried(
    ask: Callable[[], T],
    *,
    tries: int = 5,
    first_pause: float = 1.0,
    longest_pause: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> T:
    """What `ask` gives, asked up to `tries` times where it fails in passing. For reads only: they may be repeated.

    Between tries it waits for a random time up to `first_pause`, doubled each time ("full jitter", so that many
    clients refused together do not come back together); never less than an error's own `retry_after`.

    Raises the last error.
    """
    for attempt in range(tries - 1):
        try:
            return ask()
        except PASSING as error:
            pause = min(longest_pause, first_pause * 2**attempt) * chance()
            sleep(max(pause, getattr(error, "retry_after", 0.0)))
    return ask()
