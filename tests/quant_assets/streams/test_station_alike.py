"""A station that plays a recorded market whose rows have no numbers, many of them alike: each is in the lake once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.cleaned.aggregate import bars_of_trades
from quant_assets.streams.gaps import no_gaps_left
from quant_assets.streams.station import Station
from quant_assets.streams.wiring import wire
from resources.config import Settings
from resources.lake import Lake
from resources.market_data import create
from resources.streams.recording import Recorder, open_gaps, recorded
from resources.streams.repair import quotes_of, trades_of
from resources.streams.sources.recorded import Numbered
from tests.quant_assets.streams.replays import settings
from tests.resources.streams.gateways import provider_bars
from tests.venues.market import instant

BEGINS, MINUTES = instant(2020, 3, 9, 13, 30), 4
ENDS = BEGINS + timedelta(minutes=MINUTES)


@pytest.fixture
def at(tmp_path: Path) -> Settings:
    """An installation whose files hold five rows of each second: A, B, A, and A and B once more."""
    stamps = [BEGINS + timedelta(seconds=second) for second in range(60 * MINUTES) for _ in range(5)]
    price = [{"A": 10.0, "B": 11.0}["ABAAB"[row % 5]] for row in range(len(stamps))]
    named = {"symbol": ["SPY"] * len(stamps), "ts": stamps}
    pl.DataFrame({**named, "price": price, "size": 100.0}).write_parquet(tmp_path / "trades.parquet")
    pl.DataFrame({**named, "bid": price, "ask": 12.0}).write_parquet(tmp_path / "quotes.parquet")
    day = {"symbol": ["SPY"], "date": [BEGINS.date()], "open": 10.0, "high": 11.0, "low": 10.0, "close": 11.0}
    pl.DataFrame({**day, "volume": 1.0}).write_parquet(tmp_path / "daily.parquet")
    files = {name: str(tmp_path / f"{name}.parquet") for name in ("trades", "quotes")}
    data = settings().model_dump(mode="json", exclude_unset=True)
    data["provider"] = {"name": "files", "path": str(tmp_path / "daily.parquet"), **files}
    data |= {"universe": {"symbols": ["SPY"]}, "benchmark": "SPY"}
    data["streams"]["replay"] |= {"hours": MINUTES / 60, "speed": 240}
    return Settings.model_validate(data)


def play(at: Settings, lake: Lake) -> Station:
    world = wire(at, lake, lambda: ["SPY"])
    station = Station(world.task(world.window(datetime.now(UTC))), lake)
    station.start()
    assert station.wait(60)
    station.stop()
    return station


def holds_all(at: Settings, lake: Lake) -> None:
    """The lake's rows are the provider's, in their order, and so are the bars."""
    provider = create(at)
    trades, quotes = provider.trades(["SPY"], BEGINS, ENDS), provider.quotes(["SPY"], BEGINS, ENDS)
    for table, rows, column in (("trades", trades, "price"), ("quotes", quotes, "bid")):
        ours = recorded(lake, table).select("ts", column).collect()
        assert ours.equals(rows.select("ts", column).collect()), table
    assert provider_bars(recorded(lake, "bars")) == provider_bars(bars_of_trades(trades, "1m"))
    assert recorded(lake, "bars").select("complete").collect()["complete"].to_list() == [True] * MINUTES
    assert no_gaps_left(open_gaps(lake)).passed


def test_each_row_is_stored_once(at: Settings, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    assert play(at, lake).counts()["delivered"] == 2 * 5 * 60 * MINUTES
    holds_all(at, lake)


@pytest.mark.parametrize("rows", [5 * 90 + 1, 5 * 90 + 3], ids=["after one of an instant", "after three of it"])
def test_a_kill_in_the_middle_of_an_instant_neither_loses_nor_doubles_a_row(
    at: Settings, tmp_path: Path, rows: int
) -> None:
    lake, provider = Lake(str(tmp_path / "lake")), Numbered(create(at))
    events = [
        *trades_of(provider.trades(["SPY"], BEGINS, ENDS))[:rows],
        *quotes_of(provider.quotes(["SPY"], BEGINS, ENDS))[: rows + 1],
    ]
    last = max(event.ts for event in events)
    Recorder(lake, "files").store([event._replace(received=last, repaired=False) for event in events])
    play(at, lake)
    holds_all(at, lake)
