"""What a session that was not recorded to its end owes: told as lost by the next, and repaired."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from quant_assets.streams.gaps import no_gaps_left
from resources.lake import Lake
from resources.streams.base import Line
from resources.streams.cache import Cache, CacheError
from resources.streams.clock import SECOND
from resources.streams.owed import Interval, Sessions
from resources.streams.recording import open_gaps, recorded
from tests.quant_assets.streams.stations import NOW, Site, binance, crypto
from tests.resources.streams.gateways import micros, played, provider_bars
from tests.venues.market import Fault

BTC, ETH, QUOTES = Line("BTCUSDT", "trade"), Line("ETHUSDT", "trade"), Line("BTCUSDT", "quote")
TOPIC, OTHER = "btcusdt@aggTrade", "ethusdt@aggTrade"
SESSIONS = [(0, 120), (180, 300), (360, 480), (540, 660)]
"""Begin and end of each, in seconds after NOW. The venue tells a trade a second, numbered from 1, all the time."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def at_(seconds: float) -> int:
    return micros(NOW) + int(seconds * SECOND)


def passed(at: Site) -> float:
    return (at.clock.now() - micros(NOW)) / SECOND


async def follow(at: Site, session: int, *lines: Line, topics: tuple[str, ...] = (TOPIC,)) -> None:
    """A run of that session begins, at its begin or later."""
    begin, end = SESSIONS[session]
    if passed(at) < begin:
        await at.tell(begin - passed(at))

    def before(since: int) -> list[Interval]:
        return [(at_(first), at_(last)) for first, last in SESSIONS[:session] if at_(last) > since]

    await at.start(*lines, owed=at_(begin), sessions=Sessions(at_(end), before))
    await at.listening(*topics)


def seconds(*sessions: tuple[int, int]) -> list[int]:
    """The trades of these intervals, ends not included."""
    return [number for begin, end in sessions for number in range(begin, end)]


def told(lake: Lake) -> list[tuple[object, ...]]:
    """Each gap with its beginning and end, in seconds after NOW."""
    found = open_gaps(lake).with_columns(((pl.col("ts", "until").to_physical() - micros(NOW)) / SECOND).round(0))
    return found.select("symbol", "kind", "ts", "until", "state").rows()


@played
async def test_what_a_killed_session_missed_to_its_end_is_told_and_repaired_by_the_next(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await follow(at, 0, BTC)
        await at.tell(70)
        await at.holds("BTCUSDT", seconds((1, 71)))
        await at.die()
        await follow(at, 1, BTC)
        await at.mended()
        await at.tell(10)
        await at.mended()
        await at.holds("BTCUSDT", seconds((1, 120), (180, at.told("BTCUSDT")[-1] + 1)))
        await at.stop()
        assert ("BTCUSDT", "trade", 65, 120, "repaired") in told(lake)
        assert no_gaps_left(open_gaps(lake)).passed
        ours = provider_bars(recorded(lake, "bars").filter(pl.col("complete")))
        assert at.provider is not None
        theirs = provider_bars(at.provider.bars(["BTCUSDT"], NOW.date(), NOW.date(), "1m"))
        minute = ("BTCUSDT", at_(60))
        assert ours[minute] == theirs[minute], "the bar in which it was killed is whole again"


@pytest.mark.parametrize("terminated", [True, False], ids=["terminated", "to its end"])
@played
async def test_of_a_session_that_ended_in_good_order_nothing_is_told(lake: Lake, terminated: bool) -> None:
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await follow(at, 0, BTC)
        await at.tell(70 if terminated else 120)
        await at.holds("BTCUSDT", seconds((1, 71 if terminated else 121)))
        await at.stop()
        held = at.held("BTCUSDT")
        await follow(at, 2, BTC)
        await at.tell(5)
        await at.mended()
        await at.holds("BTCUSDT", [*held, *seconds((361, 366))])
        await at.stop()
        assert told(lake) == []


@played
async def test_sessions_that_nobody_followed_after_a_death_are_told_each_for_itself(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await follow(at, 0, BTC)
        await at.tell(70)
        await at.holds("BTCUSDT", seconds((1, 71)))
        await at.die()
        await at.tell(480)
        await follow(at, 3, BTC)
        await at.mended()
        await at.holds("BTCUSDT", seconds((1, 120), (180, 300), (360, 480), (540, at.told("BTCUSDT")[-1] + 1)))
        await at.stop()
    intervals = [(ts, until) for _, _, ts, until, state in told(lake) if state == "repaired"]
    assert intervals[:3] == [(65, 120), (180, 300), (360, 480)]
    assert intervals[3][0] == 540


@played
async def test_who_dies_again_before_it_was_repaired_leaves_it_to_the_next_of_any_session(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await follow(at, 0, BTC)
        await at.tell(70)
        await at.holds("BTCUSDT", seconds((1, 71)))
        await at.die()
        for session in (1, 1, 2):  # it was told, and is not asked for yet
            await follow(at, session, BTC)
            assert ("BTCUSDT", "trade", 65, 120, "open") in told(lake)
            await at.die()
        await follow(at, 3, BTC)
        await at.mended()
        await at.holds("BTCUSDT", seconds((1, 120), (180, 300), (360, 480), (540, at.told("BTCUSDT")[-1] + 1)))
        await at.stop()
    assert {state for *_, state in told(lake)} == {"repaired"}


@played
async def test_who_is_to_end_before_its_session_leaves_the_rest_to_the_next(lake: Lake) -> None:
    """Declared dead, or ended with its machine: nobody wanted it to stop."""
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await follow(at, 0, BTC)
        await at.tell(70)
        await at.holds("BTCUSDT", seconds((1, 71)))
        assert at.station is not None
        at.station._all = False
        await at.stop()
        await follow(at, 1, BTC)
        await at.mended()
        await at.holds("BTCUSDT", seconds((1, 120), (180, at.told("BTCUSDT")[-1] + 1)))
        await at.stop()
    assert ("BTCUSDT", "trade", 65, 120, "repaired") in told(lake)


@played
async def test_a_run_that_could_not_begin_owes_its_session_to_the_next(lake: Lake) -> None:
    """What it publishes to cannot be reached, all day."""

    def away(_: object) -> Cache:
        raise CacheError("Redis does not answer")

    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await at.tell(20)
        await at.start(BTC, owed=at_(0), sessions=Sessions(at_(120), lambda since: ()), cache=away)
        with pytest.raises(CacheError, match="does not answer"):
            await at.over()
        await follow(at, 1, BTC)
        await at.mended()
        await at.holds("BTCUSDT", seconds((20, 120), (180, at.told("BTCUSDT")[-1] + 1)))
        await at.stop()
    assert ("BTCUSDT", "trade", 20, 120, "repaired") in told(lake)


@played
async def test_a_connection_that_is_away_when_the_session_ends_leaves_its_break_to_the_next(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await follow(at, 0, BTC)
        await at.tell(70)
        await at.holds("BTCUSDT", seconds((1, 71)))
        at.streams.shut = True
        await at.strike(Fault("dropped"))
        await at.until(lambda: at.station is not None and not at.station.connected, "the break")
        await at.tell(48)
        await at.stop()
        assert told(lake) == [("BTCUSDT", "trade", 70, 119, "given up")]
        at.streams.shut = False
        await follow(at, 1, BTC)
        await at.mended()
        await at.tell(5)
        await at.holds("BTCUSDT", seconds((1, 120), (181, 186)))
        await at.stop()
    assert told(lake) == [("BTCUSDT", "trade", 70, 119, "repaired")]


@played
async def test_the_bars_of_a_break_that_the_next_session_repairs_are_complete_again(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await follow(at, 0, BTC)
        await at.tell(70)
        await at.holds("BTCUSDT", seconds((1, 71)))
        at.streams.shut = True
        await at.strike(Fault("dropped"))
        await at.until(lambda: not at.station.connected, "break")
        await at.tell(50)
        await at.stop()
        at.streams.shut = False
        await follow(at, 1, BTC)
        await at.mended()
        await at.tell(125)
        await at.mended()
        await at.holds("BTCUSDT", seconds((1, 122), (181, at.told("BTCUSDT")[-1] + 1)))
        await at.stop()
    bars = recorded(lake, "bars").select(pl.col("ts").dt.minute(), "trades", "complete").collect().rows()
    assert bars == [(0, 59, True), (1, 60, True), (2, 2, False), (3, 59, True), (4, 60, True)]


@played
async def test_lines_of_other_settings_owe_what_was_followed_of_them(lake: Lake) -> None:
    """One that is new owes nothing; of one that is gone it is told, and given up, as of one without history."""
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await follow(at, 0, BTC, QUOTES)
        await at.tell(70)
        await at.holds("BTCUSDT", seconds((1, 71)))
        await at.die()
        await follow(at, 1, ETH, QUOTES, topics=(OTHER,))
        await at.tell(5)
        await at.holds("ETHUSDT", seconds((181, 186)))
        await at.mended()
        await at.stop()
        assert at.held("BTCUSDT") == seconds((1, 71))
    found = told(lake)
    assert ("BTCUSDT", "trade", 65, 120, "given up") in found
    assert any(one[1] == "quote" and one[3:] == (120, "given up") for one in found)
    problems = no_gaps_left(open_gaps(lake)).findings["problem"].to_list()
    assert any("it is not followed any more" in one for one in problems)
    assert any("binance has no history of quotes" in one for one in problems)


@played
async def test_a_lake_of_before_there_were_marks_tells_nothing(lake: Lake) -> None:
    async with binance(crypto("BTCUSDT", "ETHUSDT", seconds=700), lake) as at:
        await at.start(BTC)
        await at.listening(TOPIC)
        await at.tell(70)
        await at.holds("BTCUSDT", seconds((1, 71)))
        await at.die()
        await follow(at, 1, BTC)
        await at.mended()
        await at.stop()
    assert told(lake) == []


BEHIND = [  # how far the venue's clock is behind ours, and when the next run comes, in seconds after the border
    ("tells the end of the session that is over", 2, 0),
    ("tells more of it", 10, 0),
    ("tells the last of it", 10, 8),
]


@pytest.mark.parametrize(("behind", "late"), [case[1:] for case in BEHIND], ids=[case[0] for case in BEHIND])
@played
async def test_a_venue_whose_clock_is_behind_at_the_border_of_two_sessions(lake: Lake, behind: int, late: int) -> None:
    """What the stream tells of the session that is over does not come from REST as well, nor is it asked too early."""
    market = crypto("BTCUSDT", seconds=700)
    market.clock.skew_seconds = -behind
    async with binance(market, lake) as at:
        await at.start(BTC, owed=at_(0), sessions=Sessions(at_(120), lambda since: ()))
        await at.listening(TOPIC)
        await at.tell(100)
        await at.holds("BTCUSDT", seconds((1, 101 - behind)))
        await at.die()
        await at.tell(20 + late)
        await at.start(BTC, owed=at_(120), sessions=Sessions(at_(600), lambda since: [(at_(0), at_(120))]))
        await at.listening(TOPIC)
        for _ in range(4):
            await at.tell(0.5)
        await at.until(lambda: at.told("BTCUSDT")[-1] in at.held("BTCUSDT"), "what the stream tells")
        await at.mended()
        await at.tell(130)
        await at.mended()
        await at.holds("BTCUSDT", at.told("BTCUSDT"))
        await at.stop()
    bars = recorded(lake, "bars").filter(pl.col("complete")).select(pl.col("ts").dt.minute(), "trades").collect().rows()
    assert bars[:3] == [(0, 59), (1, 60), (2, 60)]
