"""The verdict on what is missing: of the last days that findings are held of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.streams.gaps import judged
from quant_assets.streams.wiring import micros
from resources.lake import Lake
from resources.streams.base import Event, Lost, Repaired
from resources.streams.recording import Recorder

TODAY = datetime.now(UTC).replace(hour=0, minute=1, second=0, microsecond=0)


def lost(days: int, reason: str = "sequence") -> Lost:
    ts = micros(TODAY + timedelta(days=days))
    return Lost("AAA", ts, "trade", ts, 1, reason)


def repaired(gap: Lost, error: str = "") -> Repaired:
    return Repaired("AAA", gap.ts, "trade", gap.until, 0, None, error)


def closed(days: Iterable[int]) -> list[Event]:
    """A gap of each of these days, repaired."""
    return [event for day in days for event in (lost(day), repaired(lost(day)))]


CASES: list[tuple[str, list[Event], int]] = [
    ("repaired", [lost(-1), repaired(lost(-1))], 0),
    ("left", [lost(-1)], 1),
    ("given up", [lost(0), repaired(lost(0), "refused")], 1),
    ("two of one instant, of which one is repaired", [lost(-1), lost(-1), repaired(lost(-1))], 1),
    ("others are of the future", [lost(-1), *closed(range(2, 12))], 1),
    ("long ago", [lost(-9), *closed(range(-8, 1))], 0),
]


@pytest.mark.parametrize(("what", "events", "left"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("rotated", [True, False], ids=["in partitions", "in segments"])
def test_gaps_that_are_left_are_named(tmp_path: Path, what: str, events: list[Event], left: int, rotated: bool) -> None:
    lake = Lake(str(tmp_path))
    recorder = Recorder(lake, "test")
    recorder.store([event for event in events if event.ts < micros(TODAY)])
    recorder.rotate()
    recorder.store([event for event in events if event.ts >= micros(TODAY)])
    if rotated:
        recorder.rotate()
    verdict = judged(lake)
    assert (verdict.passed, verdict.findings.height) == (left == 0, left)
