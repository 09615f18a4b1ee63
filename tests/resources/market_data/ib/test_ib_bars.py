"""Bars of the Interactive Brokers provider: the real client library against a gateway on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from types import SimpleNamespace

import pytest

from resources.config import ExcludedRow
from resources.errors import BarSchemaError, ConfigError, NotOfferedError
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.ib import translate as ib_translate
from tests.resources.market_data.ib.ib_desk import (
    MINUTE,
    MONDAY,
    OPENS,
    TUESDAY,
    WEDNESDAY,
    Desk,
    bars_of,
    desks,
    the_minutes,
)
from tests.venues.market import every, instant, seeded_bars


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


def test_daily_bars_of_several_symbols_carry_their_sessions_over_a_clock_change(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().bars(["BRK.B", "AAPL"], date(2024, 3, 8), WEDNESDAY).collect()
    assert frame.schema == BAR_SCHEMA
    assert bars_of(frame.filter(symbol="AAPL")) == at_desk.market.bars["AAPL", "1d"]
    assert bars_of(frame.filter(symbol="BRK.B")) == at_desk.market.bars["BRK.B", "1d"]
    assert frame["symbol"].is_sorted()
    assert frame.filter(symbol="AAPL")["known_at"].to_list()[:2] == [instant(2024, 3, 8, 21), instant(2024, 3, 11, 20)]


def test_a_session_still_trading_and_an_excluded_day_are_no_bars(desk: Callable[..., Desk]) -> None:
    exclude = (ExcludedRow(symbol="AAPL", session=MONDAY, reason="a test"),)
    frame = desk().ib(instant(2024, 3, 13, 19, 59), exclude=exclude).bars(["AAPL"], MONDAY, WEDNESDAY).collect()
    assert frame["ts"].dt.date().to_list() == [TUESDAY]


def test_minutes_are_asked_for_by_the_day_and_joined(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.minutes()
    assert bars_of(frame) == the_minutes(at_desk)
    assert frame["known_at"].to_list() == [bar.ts + MINUTE for bar in the_minutes(at_desk)]
    asked = [fields[15:21] for fields in at_desk.gateway.asked if fields[0] == "20"]
    assert asked == [
        [f"202403{day} 20:00:00 UTC", "1 min", "86400 S", "1", "TRADES", "2"] for day in (11, 12)
    ]  # fmt: skip


def test_a_bar_being_built_is_left_out_though_our_clock_runs_ahead(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    ib = at_desk.ib(instant(2024, 3, 12, 14, 0, 30), clock=lambda: instant(2024, 3, 12, 14, 30))
    assert ib.bars(["AAPL"], MONDAY, TUESDAY, "1m").collect()["ts"].max() == instant(2024, 3, 12, 13, 59)


def test_an_excluded_session_has_no_minutes_and_a_bad_one_of_it_stops_nothing(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    bars = at_desk.market.bars["AAPL", "1m"]
    at = next(n for n, bar in enumerate(bars) if bar.ts >= OPENS[1])
    bars[at] = bars[at]._replace(high=bars[at].low - 1)
    with pytest.raises(BarSchemaError, match="AAPL 2024-03-11: high is"):
        at_desk.minutes()
    exclude = (ExcludedRow(symbol="AAPL", session=MONDAY, reason="a test"),)
    frame = at_desk.minutes(at_desk.ib(exclude=exclude))
    assert bars_of(frame) == [bar for bar in the_minutes(at_desk) if bar.ts >= OPENS[2]]


def test_an_excluded_session_begins_on_the_evening_before_where_the_venues_does(desk: Callable[..., Desk]) -> None:
    exclude = (ExcludedRow(symbol="EUR.USD", session=MONDAY, reason="a test"),)
    frame = desk().ib(exclude=exclude).bars(["EUR.USD"], date(2024, 3, 10), WEDNESDAY, "1h").collect()
    assert frame["ts"][0] == instant(2024, 3, 11, 21)  # 17:00 in New York


def test_forex_is_the_midpoint_around_the_clock_without_volume(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().bars(["EUR.USD"], date(2024, 3, 10), WEDNESDAY, "1h").collect()
    # The session of the 13th ends at 17:00 in New York: what begins then is of the 14th.
    expected = [bar for bar in at_desk.market.bars["EUR.USD", "1h"] if bar.ts < instant(2024, 3, 13, 21)]
    assert bars_of(frame) == [bar._replace(volume=0.0) for bar in expected]
    assert frame["ts"][0] == instant(2024, 3, 10, 22)  # Sunday evening


def test_futures_are_of_sessions_that_open_the_evening_before(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib(instant(2024, 3, 14, 12)).bars(["ES.202403"], MONDAY, WEDNESDAY).collect()
    assert bars_of(frame) == at_desk.market.bars["ES.202403", "1d"]
    asked = [(fields[14], fields[18]) for fields in at_desk.gateway.asked if fields[0] == "20"]
    assert asked == [("1", "0")]  # expired ones too, and all hours


def test_windows_before_the_first_instant_of_the_history_are_not_asked(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().bars(["AAPL"], date(2024, 2, 26), WEDNESDAY, "1m").collect()
    assert frame.height == 4 * 390
    assert at_desk.count("reqHeadTimeStamp AAPL") == 1
    assert at_desk.count("reqHistoricalData AAPL") == 4
    assert at_desk.count("cancelHeadTimeStamp") == 1  # the client's own


@pytest.mark.parametrize("timeframe", list(ib_translate.STEPS))
def test_no_request_is_longer_than_ib_allows_and_no_bar_is_missed(desk: Callable[..., Desk], timeframe: str) -> None:
    at_desk = desk()  # the gateway refuses longer ones
    days = [
        date(2023, 1, 3) + timedelta(days=at)
        for at in range({"1m": 10, "5m": 30, "15m": 30, "1d": 430}.get(timeframe, 70))
    ]
    opens = [row[1] for row in ib_translate.sessions("XNYS", days[0], days[-1]).rows()]
    at_desk.market.set_bars("AAPL", timeframe, seeded_bars(9, opens))
    frame = at_desk.ib().bars(["AAPL"], days[0], days[-1], timeframe).collect()
    assert bars_of(frame) == at_desk.market.bars["AAPL", timeframe]


def test_what_ib_lacks_it_says_by_name(desk: Callable[..., Desk]) -> None:
    ib = desk().ib()
    with pytest.raises(NotOfferedError, match="ib has no history of splits and dividends"):
        ib.corporate_actions(["AAPL"], MONDAY, TUESDAY)
    with pytest.raises(NotOfferedError, match=r"trades of forex pairs \(EUR\.USD\)"):
        ib.trades(["EUR.USD"], OPENS[0], OPENS[1])
    with pytest.raises(NotOfferedError, match="no bars of '2h'"):
        ib.bars(["AAPL"], MONDAY, TUESDAY, "2h")


def test_no_symbols_is_an_error_with_an_example(desk: Callable[..., Desk]) -> None:
    with pytest.raises(ConfigError, match="no symbols asked for"):
        desk().ib().bars([], MONDAY, TUESDAY)


def test_bars_outside_their_window_are_cut_off() -> None:
    window = (OPENS[1], OPENS[1] + MINUTE)
    bars = [
        SimpleNamespace(**bar._asdict(), date=bar.ts) for bar in seeded_bars(1, every(OPENS[1] - MINUTE, MINUTE, 3))
    ]
    frame = ib_translate.bar_rows("AAPL", bars, window, daily=False, midpoint=False)
    assert frame["ts"].to_list() == [OPENS[1]]
