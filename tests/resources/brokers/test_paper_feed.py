"""A recorded session as the day goes by: the made-up path, the clock, bars that are refused or not there yet."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.brokers.paper import Feed
from resources.brokers.paper.feed import LOOK_SECONDS, NUMBERS, STEPS, day_of, price_at
from resources.errors import BarSchemaError
from resources.exchange import Bar

OPENS = datetime(2013, 2, 25, 14, 30, tzinfo=UTC)


def cleaned(opens: datetime = OPENS) -> pl.DataFrame:
    row = {"symbol": "AAA", "ts": opens, "known_at": opens + timedelta(hours=6)}
    return pl.DataFrame([row | dict(zip(NUMBERS, (10.0, 12.0, 9.0, 11.0, 100.0, 1.0, 0.0), strict=True))])


def test_a_day_runs_from_open_to_close() -> None:
    day = day_of(cleaned())
    assert day.bars == {"AAA": Bar(10, 12, 9, 11, 100, ends=day.closes)}
    assert (day.time(0), day.time(STEPS // 2), day.time(STEPS)) == tuple(OPENS + timedelta(hours=h) for h in (0, 3, 6))
    assert [day.price("AAA", step) for step in range(0, STEPS + 1, STEPS // 3)] == [10, 9, 12, 11]
    assert day.price("ZZZ", 0) is None


UNFIT = [
    ("give one session", pl.concat([cleaned(), cleaned(OPENS + timedelta(days=1))])),
    ("give one session, one row a symbol", pl.concat([cleaned(), cleaned()])),
    (r"lack \['split'\]; give cleaned bars", cleaned().drop("split")),
]


@pytest.mark.parametrize(("message", "frame"), UNFIT, ids=["two sessions", "a symbol twice", "a column missing"])
def test_bars_that_are_no_session_are_refused(message: str, frame: pl.DataFrame) -> None:
    with pytest.raises(BarSchemaError, match=message):
        day_of(frame)


def test_the_clock_runs_at_the_speed_asked_for() -> None:
    times = iter([100.0, 100.0, 101.9, 102.0, 110.0, 118.0, 500.0])
    feed = Feed(lambda session: cleaned(), seconds=24.0, clock=lambda: next(times))
    assert (feed.running, feed.step()) == (False, 0)
    feed.start(step=3)
    steps = [feed.step() for _ in range(6)]
    assert steps == [3, 3, 4, 8, STEPS, STEPS]


def test_bars_that_are_not_recorded_yet_are_asked_for_now_and_then_and_then_kept() -> None:
    at, asked = 0.0, []

    def bars(session: date) -> pl.DataFrame:
        asked.append(at)
        return cleaned() if at >= 50 else pl.DataFrame()

    feed = Feed(bars, seconds=1.0, clock=lambda: at)
    for at in range(100):
        found = feed.day(OPENS.date())
        assert (found is not None) == (at >= 60)
    assert asked == [0, LOOK_SECONDS, 2 * LOOK_SECONDS, 3 * LOOK_SECONDS]


prices = st.floats(1.0, 1000.0)


@given(opened=prices, closed=prices, above=st.floats(0, 50), below=st.floats(0, 0.9), fraction=st.floats(0, 1))
def test_the_made_up_path_stays_inside_the_bar(
    opened: float, closed: float, above: float, below: float, fraction: float
) -> None:
    bar = Bar(opened, max(opened, closed) + above, min(opened, closed) - below, closed, 1.0)
    slack = 1e-9 * bar.high
    assert bar.low - slack <= price_at(bar, fraction) <= bar.high + slack
    assert price_at(bar, 0.0) == opened
    assert price_at(bar, 1.0) == closed
    assert {bar.low, bar.high} <= {price_at(bar, step / STEPS) for step in range(STEPS + 1)}
