"""What the stream job needs of an installation, as a handful of callables: no provider or venue is named here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from quant_assets.streams.station import Task
from quant_assets.streams.windows import Window
from resources.config_streams import StreamSettings
from resources.lake import Lake

STREAM_JOB = "market_streams"

STREAM_TAG = "quant/stream"
"""Run tag of every run of the job."""


@dataclass(frozen=True, slots=True)
class StreamWorld:
    """One installation, as seen from the stream job and its supervisor."""

    settings: StreamSettings
    lake: Lake
    window: Callable[[datetime], Window]
    """Which window an instant lies in, or the next one."""
    task: Callable[[Window], Task]
    """What a run of the window follows."""
    alone: Callable[[str], AbstractContextManager[None]]
    """Held while the lake is written; BusyError where another process (told by its name) does. Of this machine."""
