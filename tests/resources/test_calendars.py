"""Exchange sessions: holidays, half days, the change of the clock, and what counts as closed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.calendars import UTC_MICROS, is_calendar, last_closed_session, next_session, sessions, timezone
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
    ("24/7", date(2014, 6, 7), at(2014, 6, 7), at(2014, 6, 8)),
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


def test_an_unknown_calendar_is_refused_with_examples() -> None:
    with pytest.raises(ConfigError, match=r"'XNYZ' is not an exchange calendar.*XNYS"):
        sessions("XNYZ", date(2014, 6, 9), date(2014, 6, 9))


def test_years_that_a_calendar_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^dates: .*XKRX.*1956"):
        sessions("XKRX", date(1950, 1, 3), date(1950, 1, 10))
