"""Exchange sessions: holidays, half days, the change of the clock, and what counts as closed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.calendars import (
    FOREX,
    UTC_MICROS,
    breaks,
    is_calendar,
    last_closed_session,
    next_session,
    session_date,
    sessions,
    timezone,
)
from resources.errors import ConfigError


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type, misc]


CLOSED = [  # of the New York Stock Exchange
    date(2014, 6, 7),  # a Saturday
    date(2014, 7, 4),  # Independence Day
    date(2014, 4, 18),  # Good Friday
    date(2001, 9, 11),  # the attacks, and the three days after
    date(2001, 9, 14),
    date(2012, 10, 29),  # hurricane Sandy
    date(2021, 12, 24),  # Christmas on a Saturday
]


@pytest.mark.parametrize("day", CLOSED)
def test_a_holiday_is_absent(day: date) -> None:
    assert sessions("XNYS", day, day).is_empty()


OPENINGS = [  # calendar, session, open and close in UTC
    ("XNYS", date(2014, 6, 9), at(2014, 6, 9, 13, 30), at(2014, 6, 9, 20)),
    ("XNYS", date(2014, 3, 7), at(2014, 3, 7, 14, 30), at(2014, 3, 7, 21)),  # before the clock goes forward
    ("XNYS", date(2014, 3, 10), at(2014, 3, 10, 13, 30), at(2014, 3, 10, 20)),  # after
    ("XNYS", date(2014, 10, 31), at(2014, 10, 31, 13, 30), at(2014, 10, 31, 20)),
    ("XNYS", date(2014, 11, 3), at(2014, 11, 3, 14, 30), at(2014, 11, 3, 21)),
    ("XNYS", date(2014, 11, 28), at(2014, 11, 28, 14, 30), at(2014, 11, 28, 18)),  # the day after Thanksgiving
    ("XNYS", date(2014, 7, 3), at(2014, 7, 3, 13, 30), at(2014, 7, 3, 17)),
    ("XLON", date(2014, 3, 28), at(2014, 3, 28, 8), at(2014, 3, 28, 16, 30)),
    ("XLON", date(2014, 3, 31), at(2014, 3, 31, 7), at(2014, 3, 31, 15, 30)),
    ("XTKS", date(2014, 6, 9), at(2014, 6, 9, 0), at(2014, 6, 9, 6)),
    ("XLON", date(2014, 10, 24), at(2014, 10, 24, 7), at(2014, 10, 24, 15, 30)),
    ("XLON", date(2014, 10, 27), at(2014, 10, 27, 8), at(2014, 10, 27, 16, 30)),
    ("XLON", date(2014, 12, 24), at(2014, 12, 24, 8), at(2014, 12, 24, 12, 30)),  # a half day
    ("CMES", date(2014, 3, 7), at(2014, 3, 6, 23), at(2014, 3, 7, 23)),
    ("CMES", date(2014, 3, 10), at(2014, 3, 9, 22), at(2014, 3, 10, 22)),  # opens 16 hours after the clock changed
    ("CMES", date(2014, 10, 31), at(2014, 10, 30, 22), at(2014, 10, 31, 22)),
    ("CMES", date(2014, 11, 3), at(2014, 11, 2, 23), at(2014, 11, 3, 23)),
    ("CMES", date(2014, 11, 28), at(2014, 11, 27, 23), at(2014, 11, 28, 18)),
    ("24/7", date(2014, 6, 7), at(2014, 6, 7), at(2014, 6, 8)),
    ("24/5", date(2014, 6, 6), at(2014, 6, 6), at(2014, 6, 7)),
    ("FX", date(2014, 3, 7), at(2014, 3, 6, 22), at(2014, 3, 7, 22)),
    ("FX", date(2014, 3, 10), at(2014, 3, 9, 21), at(2014, 3, 10, 21)),  # Sunday evening
    ("FX", date(2014, 10, 31), at(2014, 10, 30, 21), at(2014, 10, 31, 21)),
    ("FX", date(2014, 11, 3), at(2014, 11, 2, 22), at(2014, 11, 3, 22)),
]


@pytest.mark.parametrize(("calendar", "day", "opens", "closes"), OPENINGS)
def test_hours_are_in_utc(calendar: str, day: date, opens: datetime, closes: datetime) -> None:
    frame = sessions(calendar, day, day)
    assert frame.rows() == [(day, opens, closes)]
    assert (frame.schema["open"], frame.schema["close"]) == (UTC_MICROS, UTC_MICROS)


@pytest.mark.parametrize(("year", "count"), [(2001, 248), (2012, 250), (2014, 252), (2020, 253)])
def test_a_year_has_its_number_of_sessions(year: int, count: int) -> None:
    assert sessions("XNYS", date(year, 1, 1), date(year, 12, 31)).height == count


def test_both_ends_are_included_and_a_range_may_hold_nothing() -> None:
    assert sessions("XNYS", date(2014, 6, 9), date(2014, 6, 13))["session"].to_list() == [
        date(2014, 6, day) for day in range(9, 14)
    ]
    assert sessions("XNYS", date(2014, 6, 7), date(2014, 6, 8)).is_empty()
    assert sessions("XNYS", date(2014, 6, 13), date(2014, 6, 9)).is_empty()


@given(start=st.dates(date(2001, 1, 1), date(2001, 12, 31)), days=st.integers(0, 360))
def test_sessions_are_in_order_apart_and_end_after_they_begin(start: date, days: int) -> None:
    frame = sessions("XNYS", start, start + timedelta(days=days))
    assert (frame["close"] > frame["open"]).all()
    assert (frame["open"][1:] > frame["close"][:-1]).all()
    assert frame["session"].is_between(start, start + timedelta(days=days)).all()


INSTANTS = [
    (at(2014, 6, 9, 19, 59), date(2014, 6, 6)),  # a minute before Monday's close: Friday
    (at(2014, 6, 9, 20), date(2014, 6, 9)),
    (at(2014, 6, 8, 12), date(2014, 6, 6)),
    (at(2014, 11, 28, 18), date(2014, 11, 28)),  # a half day
    (at(2001, 9, 16, 12), date(2001, 9, 10)),
    (datetime.fromisoformat("2014-06-10T05:00:00+09:00"), date(2014, 6, 9)),  # another zone's clock
]


@pytest.mark.parametrize(("now", "session"), INSTANTS)
def test_the_last_closed_session(now: datetime, session: date) -> None:
    assert last_closed_session("XNYS", now) == session


@pytest.mark.parametrize(
    ("after", "session"), [(date(2014, 7, 3), date(2014, 7, 7)), (date(2001, 9, 10), date(2001, 9, 17))]
)
def test_the_next_session(after: date, session: date) -> None:
    assert next_session("XNYS", after) == session


def test_calendars_are_known_by_name() -> None:
    assert is_calendar("XNYS")
    assert not is_calendar("XNYZ")
    assert (timezone("XNYS"), timezone("24/7")) == ("America/New_York", "UTC")


def test_foreign_exchange_trades_every_weekday() -> None:
    week = sessions(FOREX, date(2014, 6, 2), date(2014, 6, 15))["session"].to_list()
    assert week == [date(2014, 6, day) for day in (2, 3, 4, 5, 6, 9, 10, 11, 12, 13)]
    assert (is_calendar("FX"), timezone("FX")) == (True, "America/New_York")


BREAKS = [  # calendar, session, the break in UTC
    ("XHKG", date(2014, 6, 9), (at(2014, 6, 9, 4), at(2014, 6, 9, 5))),  # lunch
    ("CMES", date(2014, 3, 7), (at(2014, 3, 7, 22), at(2014, 3, 7, 23))),  # 16:00 to 17:00 in Chicago
    ("CMES", date(2014, 3, 10), (at(2014, 3, 10, 21), at(2014, 3, 10, 22))),
    ("CMES", date(2014, 11, 28), None),  # a half day ends before it
    ("CME", date(2014, 11, 3), (at(2014, 11, 3, 22), at(2014, 11, 3, 23))),  # another name for it
    ("XNYS", date(2014, 6, 9), None),
    ("24/7", date(2014, 6, 9), None),
]


@pytest.mark.parametrize(("calendar", "day", "interval"), BREAKS)
def test_daily_breaks(calendar: str, day: date, interval: tuple[datetime, datetime] | None) -> None:
    frame = breaks(calendar, day, day)
    assert frame.rows() == ([(day, *interval)] if interval else [])
    assert frame.schema == {"session": pl.Date, "break_start": UTC_MICROS, "break_end": UTC_MICROS}


BELONGS = [  # calendar, instant, date of the session
    ("XNYS", at(2014, 6, 9, 13, 30), date(2014, 6, 9)),
    ("XNYS", at(2014, 6, 10, 3, 59), date(2014, 6, 9)),  # 23:59 in New York
    ("XNYS", at(2014, 1, 10, 4, 59), date(2014, 1, 9)),
    ("24/7", at(2014, 6, 9, 23, 59), date(2014, 6, 9)),
    ("24/5", at(2014, 6, 9), date(2014, 6, 9)),
    ("XTKS", at(2014, 6, 8, 23), date(2014, 6, 9)),  # before the open, by Tokyo's clock
    ("CMES", at(2014, 3, 6, 22, 59), date(2014, 3, 6)),  # 16:59 in Chicago
    ("CMES", at(2014, 3, 6, 23), date(2014, 3, 7)),
    ("CMES", at(2014, 3, 9, 22), date(2014, 3, 10)),  # after the clock went forward: 17:00 again
    ("CMES", at(2014, 3, 9, 21, 59), date(2014, 3, 9)),
    ("CMES", at(2014, 11, 2, 22, 59), date(2014, 11, 2)),
    ("CMES", at(2014, 11, 2, 23), date(2014, 11, 3)),
    ("us_futures", at(2014, 6, 9, 22), date(2014, 6, 10)),  # 18:00 in New York
    ("FX", at(2014, 6, 8, 21), date(2014, 6, 9)),
]


@pytest.mark.parametrize(("calendar", "instant", "day"), BELONGS)
def test_the_session_that_an_instant_belongs_to(calendar: str, instant: datetime, day: date) -> None:
    frame = pl.DataFrame({"ts": [instant]}, schema={"ts": UTC_MICROS})
    assert frame.select(session_date(pl.col("ts"), calendar)).item() == day


@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "CMES", "us_futures", "24/7", "24/5", "FX", "XTKS", "XASX"])
def test_every_minute_of_a_session_has_its_date(calendar: str) -> None:
    year = sessions(calendar, date(2014, 1, 1), date(2014, 12, 31))
    stamps = year.with_columns(last=pl.col("close") - pl.duration(microseconds=1))
    for instant in ("open", "last"):
        assert stamps.select(session_date(pl.col(instant), calendar)).to_series().equals(year["session"])


def test_an_unknown_calendar_is_refused_with_examples() -> None:
    with pytest.raises(ConfigError, match=r"'XNYZ' is not an exchange calendar.*XNYS"):
        sessions("XNYZ", date(2014, 6, 9), date(2014, 6, 9))


def test_years_that_a_calendar_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^dates: .*XKRX.*1956"):
        sessions("XKRX", date(1950, 1, 3), date(1950, 1, 10))
