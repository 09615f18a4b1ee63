"""The time between submitting an order and its being eligible to fill (fills rule 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from resources.exchange.models.base import Named

A_DAY = 86_400


class Latency(Named):
    """The time between submitting an order and its being eligible to fill."""

    def seconds(self, order_ids: Sequence[str]) -> npt.NDArray[np.float64]:
        """Seconds of each order, by its id: the same id always has the same."""
        raise NotImplementedError


class FixedLatency(Latency):
    """The same for every order."""

    name: ClassVar[str] = "fixed"

    delay_seconds: float = Field(default=0.0, ge=0, le=A_DAY)

    def seconds(self, order_ids: Sequence[str]) -> npt.NDArray[np.float64]:
        """The delay, for each order."""
        return np.full(len(order_ids), self.delay_seconds)

    def words(self) -> str:
        return f"{self.delay_seconds:g} seconds"


class JitterLatency(Latency):
    """`delay_seconds` and up to `jitter_seconds` more, evenly spread over orders by a hash of their ids.

    An order's delay is no chance: it is the same in every run, and in backtest and paper trading.
    """

    name: ClassVar[str] = "jitter"

    delay_seconds: float = Field(default=0.0, ge=0, le=A_DAY, description="at least")
    jitter_seconds: float = Field(default=0.5, ge=0, le=A_DAY, description="more, at most")

    def seconds(self, order_ids: Sequence[str]) -> npt.NDArray[np.float64]:
        """Seconds of each order."""
        hashes = [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big") for name in order_ids]
        return self.delay_seconds + self.jitter_seconds * np.array(hashes, dtype=np.float64) / 2.0**48

    def words(self) -> str:
        return f"{self.delay_seconds:g} to {self.delay_seconds + self.jitter_seconds:g} seconds"
