"""Exchange sessions as polars frames: which days trade, and when each opens and closes in UTC."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import polars as pl

from resources.errors import ConfigError

UTC_MICROS = pl.Datetime("us", "UTC")
"""The only timestamp type inside the project."""

CLOSING_BREAK = {"CMES": timedelta(hours=1), "us_futures": timedelta(hours=1)}
"""Venues whose last hour before the usual close is the daily break; exchange_calendars leaves it in the session."""

_BREAKS = pl.Schema({"session": pl.Date(), "break_start": UTC_MICROS, "break_end": UTC_MICROS})


FOREX = "FX"
"""The week of foreign exchange: each weekday's session opens and closes at 17:00 in New York.

exchange_calendars has 24/5, weekdays by UTC: it holds three hours of Friday night in which nobody trades, and lacks
those of Sunday evening in which everybody does.
"""


def is_calendar(name: str) -> bool:
    """Whether an exchange calendar has this name."""
    return name in _library().get_calendar_names(include_aliases=True)


@lru_cache(maxsize=1)
def _library():  # type: ignore[no-untyped-def]  # exchange_calendars ships no types
    """exchange_calendars, with FOREX among its calendars."""
    import exchange_calendars

    class ForexCalendar(exchange_calendars.ExchangeCalendar):
        name = FOREX
        tz = ZoneInfo("America/New_York")
        open_times = ((None, time(17)),)
        close_times = ((None, time(17)),)
        open_offset = -1

    # By force: two threads may come here at once.
    exchange_calendars.register_calendar_type(FOREX, ForexCalendar, force=True)
    return exchange_calendars


@lru_cache(maxsize=32)
def _calendar(name: str, first: date, last: date):  # type: ignore[no-untyped-def]
    exchange_calendars = _library()
    try:
        return exchange_calendars.get_calendar(name, start=first.isoformat(), end=last.isoformat())
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise ConfigError(
            f"calendar: {name!r} is not an exchange calendar; use a name such as XNYS (New York), XLON (London) or 24/7"
        ) from error
    except ValueError as error:  # a year in which the exchange's holidays are not known
        raise ConfigError(f"dates: {error} Sessions are needed a year around the dates; choose others.") from error


@lru_cache(maxsize=64)
def sessions(calendar: str, start: date, end: date) -> pl.DataFrame:
    """Sessions from `start` to `end`, both included.

    Columns: session (Date), open and close (UTC microseconds), in order. Half days close early,
    holidays and weekends are absent.

    Raises ConfigError if the calendar is unknown.
    """
    # Whole years around the range: a calendar must not begin or end on a day without a session.
    handle = _calendar(calendar, date(start.year - 1, 1, 1), date(end.year + 1, 12, 31))
    schedule = handle.schedule.loc[start.isoformat() : end.isoformat()]
    return pl.DataFrame(
        {
            "session": [stamp.date() for stamp in schedule.index],
            "open": [stamp.to_pydatetime() for stamp in schedule["open"]],
            "close": [stamp.to_pydatetime() for stamp in schedule["close"]],
        },
        schema={"session": pl.Date, "open": UTC_MICROS, "close": UTC_MICROS},
    )


def timezone(calendar: str) -> str:
    """IANA name of the exchange's time zone, for example America/New_York."""
    return str(_calendar(calendar, date(2020, 1, 1), date(2020, 12, 31)).tz)


@lru_cache(maxsize=64)
def breaks(calendar: str, start: date, end: date) -> pl.DataFrame:
    """The daily breaks of the sessions from `start` to `end`, both included.

    Columns: session (Date), break_start and break_end (UTC microseconds). Sessions without a break are absent: a half
    day ends before it. Lunch breaks (Hong Kong, Tokyo), and the hour before the close of venues that trade round the
    clock (CLOSING_BREAK). The products of one venue differ: some trade into the break.

    Raises ConfigError if the calendar is unknown.
    """
    handle = _calendar(calendar, date(start.year - 1, 1, 1), date(end.year + 1, 12, 31))
    if handle.name in CLOSING_BREAK:
        usual = _usual(handle.close_times)
        full = sessions(calendar, start, end).filter(
            pl.col("close").dt.convert_time_zone(str(handle.tz)).dt.time() == usual
        )
        begins = pl.col("close") - CLOSING_BREAK[handle.name]
        return full.select("session", break_start=begins, break_end="close").match_to_schema(_BREAKS)
    schedule = handle.schedule.loc[start.isoformat() : end.isoformat()].dropna(subset=["break_start"])
    return pl.DataFrame(
        {
            "session": [stamp.date() for stamp in schedule.index],
            "break_start": [stamp.to_pydatetime() for stamp in schedule["break_start"]],
            "break_end": [stamp.to_pydatetime() for stamp in schedule["break_end"]],
        },
        schema=_BREAKS,
    )


def session_date(ts: pl.Expr, calendar: str) -> pl.Expr:
    """The date of the session that an instant (UTC) belongs to by the venue's own clock.

    Its local date; where sessions open on the evening before (CMES: 17:00 in Chicago), the next day's from that hour
    on. It does not look at whether that day trades: a Friday evening there is dated Saturday.

    Raises ConfigError if the calendar is unknown.
    """
    handle = _calendar(calendar, date(2020, 1, 1), date(2020, 12, 31))
    local = ts.dt.convert_time_zone(str(handle.tz)).dt.replace_time_zone(None)
    if handle.open_offset >= 0:
        return local.dt.date()
    evening = _usual(handle.open_times)
    until_midnight = timedelta(days=1) - timedelta(hours=evening.hour, minutes=evening.minute)
    return (local + until_midnight).dt.date()


def _usual(times: tuple[tuple[object, time], ...]) -> time:
    """The latest of a calendar's opening or closing times, each with the date from which on it holds."""
    return times[-1][1]


def last_closed_session(calendar: str, now: datetime) -> date:
    """The latest session whose close is at or before `now` (an aware instant)."""
    day = now.date() + timedelta(days=1)
    recent = sessions(calendar, day - timedelta(days=15), day)
    closed = recent.filter(pl.col("close") <= now)
    return closed["session"][-1]


def next_session(calendar: str, after: date) -> date:
    """The first session later than `after`."""
    return sessions(calendar, after + timedelta(days=1), after + timedelta(days=15))["session"][0]
