"""Alpaca's bars, through alpaca-py, against a venue on loopback: which there are, and how their pages join."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import pytest

from resources.config import ExcludedRow
from resources.errors import BadAnswerError, BarSchemaError, NotOfferedError
from resources.market_data.alpaca import client as alpaca_client
from resources.market_data.alpaca.provider import TIMEFRAMES
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.timeframes import INTRADAY
from tests.resources.market_data.alpaca.alpaca_desk import FRIDAY, MINUTE, MONDAY, OPENS, SHARES, Desk, desks, rows
from tests.venues.market import Fault, VenueClock, every, instant, seeded_bars
from tests.venues.server import Answer


@pytest.fixture
def desk() -> Iterator[Desk]:
    with desks() as desk:
        yield desk


@pytest.mark.parametrize("timeframe", [name for name in TIMEFRAMES if name != "1d"])
def test_intraday_bars_are_the_markets(desk: Desk, timeframe: str) -> None:
    stamps = every(OPENS[FRIDAY], INTRADAY[timeframe], 6)
    for symbol in ("AAPL", "BTC/USD"):
        desk.market.set_bars(symbol, timeframe, seeded_bars(3, stamps))
    frame = desk.alpaca().bars(["BTC/USD", "AAPL"], FRIDAY, FRIDAY, timeframe)
    assert frame.collect_schema() == BAR_SCHEMA
    for symbol in ("AAPL", "BTC/USD"):
        assert rows(frame, symbol) == desk.market.bars[symbol, timeframe]
    known = frame.filter(symbol="AAPL").collect()["known_at"].to_list()
    assert known == [stamp + INTRADAY[timeframe] for stamp in stamps]
    asked = {request.path: request.query for request in desk.venue.requests}
    assert asked["/v2/stocks/bars"]["adjustment"] == "raw"
    assert asked["/v2/stocks/bars"]["feed"] == "sip"
    assert frame.collect()["fetched_at"].unique().to_list() == [desk.market.clock.now()]


def test_daily_bars_are_stamped_with_their_session_on_both_sides_of_a_clock_change(desk: Desk) -> None:
    frame = desk.alpaca().bars(["AAPL"], FRIDAY, MONDAY)
    assert rows(frame, "AAPL") == desk.market.bars["AAPL", "1d"]  # the market's begin with the session
    assert frame.collect()["known_at"].to_list() == [instant(2024, 3, 8, 21), instant(2024, 3, 11, 20)]


def test_a_half_day_is_known_at_its_early_close(desk: Desk) -> None:
    desk.market.clock = VenueClock(instant(2024, 7, 5))
    desk.market.set_bars("AAPL", "1d", seeded_bars(1, [instant(2024, 7, 3, 13, 30)]))
    frame = desk.alpaca().bars(["AAPL"], date(2024, 7, 1), date(2024, 7, 4)).collect()
    assert frame["known_at"].to_list() == [instant(2024, 7, 3, 17)]


@pytest.mark.parametrize(
    ("now", "last"),
    [(instant(2024, 3, 11, 20, 15, 59), FRIDAY), (instant(2024, 3, 11, 20, 16), MONDAY)],
)
def test_a_daily_bar_is_given_when_it_has_settled(desk: Desk, now: datetime, last: date) -> None:
    desk.market.clock.truth = now
    assert [row.ts.date() for row in rows(desk.alpaca().bars(["AAPL"], FRIDAY, MONDAY), "AAPL")][-1] == last


def test_crypto_has_sessions_of_utc_days_and_goes_with_shares(desk: Desk) -> None:
    frame = desk.alpaca().bars(["BTC/USD", "AAPL"], FRIDAY, MONDAY)
    assert frame.collect()["symbol"].to_list() == ["AAPL"] * 2 + ["BTC/USD"] * 3
    bitcoin = frame.filter(symbol="BTC/USD").collect()
    assert rows(frame, "BTC/USD") == desk.market.bars["BTC/USD", "1d"][:3]  # the fourth day is still running
    assert bitcoin["known_at"].to_list()[0] == instant(2024, 3, 9)
    assert frame.collect()["symbol"].is_sorted()


def test_a_daily_bar_that_does_not_begin_at_midnight_is_refused(desk: Desk) -> None:
    desk.market.set_bars("BTC/USD", "1d", seeded_bars(9, [instant(2024, 3, 8, 6)]))  # as they were: of Chicago's days
    with pytest.raises(BarSchemaError, match=r"BTC/USD 2024-03-08 06:00.*must begin at midnight of 24/7"):
        desk.alpaca().bars(["BTC/USD"], FRIDAY, FRIDAY)


def test_an_intraday_bar_still_being_built_is_left_out(desk: Desk) -> None:
    desk.market.clock.truth = OPENS[FRIDAY] + timedelta(minutes=10, seconds=30)
    assert len(rows(desk.alpaca("iex").bars(["AAPL"], FRIDAY, FRIDAY, "1m"), "AAPL")) == 10


@pytest.mark.parametrize("timeframe", ["1m", "1d"])
def test_a_bar_being_built_is_left_out_though_our_clock_runs_ahead(desk: Desk, timeframe: str) -> None:
    venue_now = {"1m": OPENS[MONDAY] + timedelta(seconds=30), "1d": OPENS[MONDAY] + timedelta(hours=6)}[timeframe]
    desk.market.clock.truth = venue_now
    desk.market.set_bars("AAPL", "1m", seeded_bars(1, every(OPENS[MONDAY] - 3 * MINUTE, MINUTE, 4)))
    ahead = desk.alpaca("iex", clock=lambda: venue_now + timedelta(hours=2))
    found = ahead.bars(["AAPL"], FRIDAY, MONDAY, timeframe).collect()
    assert found["ts"].max() == {"1m": OPENS[MONDAY] - MINUTE, "1d": OPENS[FRIDAY]}[timeframe]


def test_a_clock_that_cannot_be_read_is_a_broken_answer(desk: Desk) -> None:
    desk.market.faults.add("GET /v2/clock", Fault("status", status=200, body='{"timestamp": "soon"}'), times=None)
    with pytest.raises(BadAnswerError, match="clock: Alpaca's time is 'soon'"):
        desk.alpaca().bars(["AAPL"], FRIDAY, MONDAY)


def test_an_excluded_session_is_left_out_and_half_rows_are_refused(desk: Desk) -> None:
    half = {"t": "2024-03-08T05:00:00Z", "o": 1, "h": 1, "l": None, "c": 1, "v": 5}
    desk.venue.send("bars", "AAPL", [half, {**half, "t": "2024-03-11T04:00:00Z", "l": 1}], "1d")
    with pytest.raises(BarSchemaError, match=r"AAPL 2024-03-08: low is None.*cleaning\.exclude"):
        desk.alpaca().bars(["AAPL"], FRIDAY, MONDAY)
    exclude = (ExcludedRow(symbol="AAPL", session=FRIDAY, reason="no low"),)
    assert [row.ts for row in rows(desk.alpaca(exclude=exclude).bars(["AAPL"], FRIDAY, MONDAY), "AAPL")] == [
        OPENS[MONDAY]
    ]


def test_other_timeframes_and_futures_are_not_offered_by_name(desk: Desk) -> None:
    with pytest.raises(NotOfferedError, match="alpaca has no bars of '4h'; it has 1m, 5m, 15m, 30m, 1h, 1d"):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY, "4h")
    with pytest.raises(NotOfferedError, match="alpaca has no futures"):
        desk.alpaca().futures("ES", FRIDAY)


# paging


@pytest.mark.parametrize("page_rows", [1, 7, 30, 31, 90, 10_000])
def test_pages_that_count_rows_across_symbols_lose_nothing(desk: Desk, page_rows: int) -> None:
    frame = desk.alpaca(page_rows=page_rows).bars(SHARES, FRIDAY, FRIDAY, "1m")
    for symbol in SHARES:
        assert rows(frame, symbol) == desk.market.bars[symbol, "1m"]
    assert len(desk.asked("/bars")) == -(-90 // page_rows)
    assert {request.query["limit"] for request in desk.asked("/bars")} == {str(page_rows)}


@pytest.mark.parametrize("job_rows", [1440, 3000])
def test_groups_and_windows_at_once_lose_nothing_and_double_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, job_rows: int
) -> None:
    monkeypatch.setattr(alpaca_client, "JOB_ROWS", job_rows)
    cut = instant(2024, 3, 9, 5)  # midnight in New York: where one window ends and the next begins
    for symbol in SHARES:
        desk.market.set_bars(symbol, "1m", seeded_bars(4, every(cut - 40 * MINUTE, MINUTE, 80)))
    frame = desk.alpaca(page_rows=9, workers=3).bars(SHARES, FRIDAY, MONDAY, "1m")
    for symbol in SHARES:
        assert rows(frame, symbol) == desk.market.bars[symbol, "1m"]
    assert len({request.query["start"] for request in desk.asked("/bars")}) > 1


def test_many_symbols_are_asked_for_in_groups(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpaca_client, "GROUP", 2)
    assert desk.alpaca().bars(SHARES, FRIDAY, MONDAY).collect().height == 6
    assert sorted(request.query["symbols"] for request in desk.asked("/bars")) == ["AAPL,BRK.B", "MSFT"]


def test_the_same_page_for_ever_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Answer(200, b'{"bars": {}, "next_page_token": "again"}')
    monkeypatch.setattr(desk.venue, "answer", lambda request: stuck)
    with pytest.raises(BadAnswerError, match="same page twice"):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)


def test_tokens_that_go_in_a_circle_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [Answer(200, b'{"bars": {}, "next_page_token": "%s"}' % token) for token in (b"A", b"B") * 9]
    monkeypatch.setattr(desk.venue, "answer", lambda request: pages.pop())
    with pytest.raises(BadAnswerError, match="same page twice"):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)


def test_a_page_that_does_not_say_whether_it_is_the_last_is_refused(desk: Desk) -> None:
    desk.market.faults.add("/bars", Fault("status", status=200, body='{"bars": {}}'), times=None)
    with pytest.raises(BadAnswerError, match="something else than its data"):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)
