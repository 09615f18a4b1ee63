"""Bars of a time of which a part was not followed: they say so, live and when they are made again from the lake."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from quant_assets.streams.gaps import no_gaps_left
from resources.lake import Lake
from resources.streams.base import Line
from resources.streams.clock import SECOND
from resources.streams.owed import Sessions
from resources.streams.recording import open_gaps, recorded
from tests.quant_assets.streams.stations import NOW, Site, binance, crypto
from tests.resources.streams.gateways import micros, played, provider_bars

BTC, ETH = Line("BTCUSDT", "trade"), Line("ETHUSDT", "trade")
TOPIC, OTHER = "btcusdt@aggTrade", "ethusdt@aggTrade"
LONG = (0, 600)
"""A session, in seconds after NOW. The venue tells a trade a second, all the time."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def at_(seconds: float) -> int:
    return micros(NOW) + int(seconds * SECOND)


async def follow(
    at: Site, seconds: float, *lines: Line, session: tuple[int, int] = LONG, topics: tuple[str, ...] = (TOPIC,)
) -> None:
    """So long after NOW a run of that session begins."""
    passed = (at.clock.now() - micros(NOW)) / SECOND
    if seconds > passed:
        await at.tell(seconds - passed)
    await at.start(*lines, owed=at_(session[0]), sessions=Sessions(at_(session[1]), lambda since: []))
    await at.listening(*topics)


async def mended(at: Site) -> None:
    """What is missing is repaired, and what that made of its bars is stored."""
    await at.mended()
    await at.tell(5)
    await at.mended()


def bars(lake: Lake, symbol: str = "BTCUSDT") -> list[tuple[float, bool]]:
    """Start in seconds after NOW, whether complete."""
    rows = recorded(lake, "bars", [symbol]).select(pl.col("ts").to_physical(), "complete")
    return [((ts - micros(NOW)) / SECOND, complete) for ts, complete in rows.collect().iter_rows()]


def unfollowed(lake: Lake) -> list[tuple[str, float, float]]:
    """What is marked: symbol, and beginning and end in seconds after NOW; -1 for half a day and more before."""
    rows = recorded(lake, "findings").filter(pl.col("what") == "not followed").sort("symbol", "ts").collect()
    stamps = ((pl.col(name).to_physical() - micros(NOW)) / SECOND for name in ("ts", "until"))
    return [
        (symbol, max(-1.0, round(ts, 1)), abs(round(until, 1)))
        for symbol, ts, until in rows.select("symbol", *stamps).rows()
    ]


def complete_ones_are_the_venues(at: Site, seconds: float) -> None:
    """Of the bars that began before so long after NOW."""
    assert at.provider is not None
    theirs = provider_bars(at.provider.bars(["BTCUSDT"], NOW.date(), NOW.date(), "1m"))
    mine = pl.col("complete") & (pl.col("ts").to_physical() < at_(seconds))
    for key, bar in provider_bars(recorded(at.lake, "bars").filter(mine)).items():
        assert theirs[key] == bar


@pytest.mark.parametrize("ends", ["in good order", "by a kill"])
@played
async def test_a_bar_that_began_before_its_symbol_was_followed_is_not_complete(lake: Lake, ends: str) -> None:
    async with binance(crypto("BTCUSDT", seconds=600), lake) as at:
        await follow(at, 30.5, BTC)
        await at.tell(100)
        await at.until(lambda: bars(lake) == [(0, False), (60, True)], "the bars")
        await (at.stop() if ends == "in good order" else at.die())
        assert unfollowed(lake) == [("BTCUSDT", -1.0, 30.5)]
        await follow(at, 150.5, BTC)
        await mended(at)
        await at.tell(60)
        await at.until(lambda: len(bars(lake)) >= 3, "the next bar")
        await at.stop()
        assert bars(lake)[:3] == [(0, False), (60, True), (120, True)], "who goes on repaired what was missed"
        assert unfollowed(lake) == [("BTCUSDT", -1.0, 30.5)]
        complete_ones_are_the_venues(at, 180)
        assert no_gaps_left(open_gaps(lake)).passed


@played
async def test_a_bar_whose_rest_nobody_followed_is_not_complete(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", seconds=600), lake) as at:
        await follow(at, 0, BTC, session=(0, 130))
        await at.tell(130)
        await at.until(lambda: bars(lake) == [(0, True), (60, True)], "the bars")
        await at.stop()
        await follow(at, 160, BTC, session=(150, 600))
        await at.tell(130)
        await at.until(lambda: len(bars(lake)) >= 4, "the bars of the next session")
        await at.stop()
        assert bars(lake) == [(0, True), (60, True), (120, False), (180, True)]
        complete_ones_are_the_venues(at, 240)
        assert no_gaps_left(open_gaps(lake)).passed


@played
async def test_both_bars_at_the_edges_of_a_time_between_two_sessions_are_not_complete(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", seconds=600), lake) as at:
        await follow(at, 0, BTC, session=(0, 90))
        await at.tell(90)
        await at.stop()
        await follow(at, 260, BTC, session=(250, 600))
        await at.tell(130)
        await at.until(lambda: len(bars(lake)) >= 4, "the bars of the next session")
        await at.stop()
        assert bars(lake) == [(0, True), (60, False), (240, False), (300, True)]
        assert unfollowed(lake) == [("BTCUSDT", -1.0, 0.0), ("BTCUSDT", 90.0, 120.0), ("BTCUSDT", 90.0, 260.0)]
        complete_ones_are_the_venues(at, 360)


@played
async def test_a_session_that_was_killed_and_one_that_begins_at_a_bars_start_have_complete_bars(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", seconds=600), lake) as at:
        await follow(at, 0, BTC, session=(0, 120))
        await at.tell(70)
        await at.holds("BTCUSDT", range(1, 71))
        await at.die()
        await follow(at, 185, BTC, session=(180, 600))
        await mended(at)
        await at.tell(60)
        await at.until(lambda: len(bars(lake)) >= 3, "the bars")
        await at.stop()
        assert bars(lake)[:3] == [(0, True), (60, True), (180, True)]
        assert unfollowed(lake) == [("BTCUSDT", -1.0, 0.0), ("BTCUSDT", 120.0, 180.0)]
        complete_ones_are_the_venues(at, 240)


@played
async def test_a_symbol_that_is_added_in_its_session_has_no_whole_bar_of_before(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=600), lake) as at:
        await follow(at, 0, BTC)
        await at.tell(200)
        await at.until(lambda: len(bars(lake)) == 3, "the bars")
        await at.stop()
        await follow(at, 210, BTC, ETH, topics=(TOPIC, OTHER))
        await mended(at)
        await at.tell(60)
        await at.until(lambda: len(bars(lake, "ETHUSDT")) >= 2, "the bars of the new one")
        await at.stop()
        assert bars(lake)[:4] == [(0, True), (60, True), (120, True), (180, True)]
        assert bars(lake, "ETHUSDT")[:2] == [(120, False), (180, True)]


@played
async def test_a_late_trade_of_a_bar_that_was_seen_in_part_does_not_make_it_complete(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", seconds=600), lake) as at:
        await follow(at, 30.5, BTC)
        await at.tell(100)
        await at.until(lambda: bars(lake) == [(0, False), (60, True)], "the bars")
        station = at.station
        assert station is not None
        assert station._maker is not None
        station._maker.past.add(("BTCUSDT", at_(0)))  # let go, and to be made again from the lake
        await at.tell(60)
        await at.until(lambda: len(bars(lake)) >= 3, "the next bar")
        await at.stop()
        assert bars(lake)[0] == (0, False)
