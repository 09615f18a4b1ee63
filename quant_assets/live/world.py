"""What the live job needs of an installation, as a handful of callables: no lake, provider or venue is named here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl

from quant_assets.live.sessions import Turn
from resources.brokers.base import Broker
from resources.config import LiveSettings
from resources.exchange import Listing

if TYPE_CHECKING:
    from dagster import DagsterInstance

SESSION_TAG = "quant/session"
"""Run tag: the session that a live run trades."""

ATTEMPT_TAG = "quant/attempt"
"""Run tag: which attempt at the session this is, from 1."""

LIVE_TAG = "quant/live"
"""Run tag of every live run; dagster.yaml lets one of them run at a time."""

LIVE_JOB = "live_trading"


class Venue(Broker, Protocol):
    """A broker for one session at a time, with a clock of its own."""

    def account_id(self) -> str:
        """Which account is traded here: made when it was opened, never that of another account."""
        ...

    def begin(self, session: date, opens: datetime) -> None:
        """Make `session`, which opens at `opens`, the one being traded; carries on where it stood if it already was."""
        ...

    def ready(self) -> None:
        """Everything is sent. A replayed venue lets its clock run from here; a real one never waited."""
        ...

    def closed(self) -> bool:
        """Whether the session is over at the venue."""
        ...

    def now(self) -> datetime:
        """The venue's time, UTC."""
        ...

    def close(self) -> None:
        """Let go of files and connections; nothing changes at the venue."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """One installation, as seen from the live job and its supervisor."""

    settings: LiveSettings
    journal: Path
    """The order journal's file."""
    turn: Callable[[datetime], Turn]
    """Which session is to be traded at an instant."""
    has_signals: Callable[[DagsterInstance, date], bool]
    """Whether the signals of a session were materialized; asked by the sensor, so cheap."""
    signals: Callable[[date], pl.DataFrame]
    """The traded strategy's signals of a session."""
    bars: Callable[[date], pl.DataFrame]
    """Cleaned bars of a session, no rows until it is recorded: symbol, open, high, low, close, volume, split, ..."""
    venue: Callable[[], Venue]
    write: Callable[[Sequence[str], date, pl.DataFrame], None]
    """Store a frame as an asset's partition of a session."""
    listings: Callable[[], Mapping[str, Listing]] = dict
    """What is known of each instrument; shares in lots of one where nothing is."""
