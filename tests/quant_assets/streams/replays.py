"""An installation whose stream job plays an hour of the synthetic market."""

from __future__ import annotations

from typing import Any

from resources.config import Settings
from tests.venues.market import instant

BEGINS = instant(2020, 3, 9, 13, 30)
SYMBOLS = ["SYN0001", "SYN0002"]


def settings(speed: float = 7200, hours: float = 1.0, **streams: Any) -> Settings:
    return Settings.model_validate(
        {
            "name": "streams_test",
            "provider": {"name": "synthetic"},
            "universe": {"symbols": SYMBOLS},
            "dates": {"start": "2019-01-02", "end": "2020-12-31"},
            "model": {"start": "2020-01-02"},
            "strategies": [{"name": "moving_average_cross"}],
            "live": {"strategy": "moving_average_cross"},
            "streams": {
                "kinds": ["trade", "quote"],
                "flush_seconds": 0.05,
                "replay": {"start": BEGINS.isoformat(), "speed": speed, "hours": hours},
                **streams,
            },
        }
    )
