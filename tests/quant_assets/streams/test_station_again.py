"""A station that goes on after another: what is asked for again counts once, in the rows as in the bars."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from quant_assets.streams.station import Station
from quant_assets.streams.wiring import wire
from resources.lake import Lake
from resources.streams.recording import recorded
from tests.quant_assets.streams.replays import SYMBOLS, settings


def sums(lake: Lake, table: str, column: str) -> dict[str, float]:
    rows = recorded(lake, table).group_by("symbol").agg(pl.col(column).sum()).collect().rows()
    return dict(rows)


def test_lines_that_are_asked_for_together_from_earlier_than_they_need_count_nothing_twice(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    world = wire(settings(hours=0.2), lake, lambda: SYMBOLS)
    for _ in range(2):  # the second asks for all lines from the place of the quietest
        station = Station(world.task(world.window(datetime.now(UTC))), lake)
        station.start()
        while not station.wait(0.1):
            pass
        station.stop()
        assert sums(lake, "bars", "volume") == sums(lake, "trades", "size")
    assert station.counts()["repaired"]
