"""Exchange sessions as polars frames: which days trade, and when each opens and closes in UTC."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache

import polars as pl

from resources.errors import ConfigError

UTC_MICROS = pl.Datetime("us", "UTC")
"""The only timestamp type inside the project."""


def is_calendar(name: str) -> bool:
    """Whether an exchange calendar has this name."""
    import exchange_calendars

    return name in exchange_calendars.get_calendar_names(include_aliases=True)


@lru_cache(maxsize=8)
def _calendar(name: str, first: date, last: date):  # type: ignore[no-untyped-def]  # exchange_calendars ships no types
    import exchange_calendars

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


def last_closed_session(calendar: str, now: datetime) -> date:
    """The latest session whose close is at or before `now` (an aware instant)."""
    day = now.date() + timedelta(days=1)
    recent = sessions(calendar, day - timedelta(days=15), day)
    closed = recent.filter(pl.col("close") <= now)
    return closed["session"][-1]


def next_session(calendar: str, after: date) -> date:
    """The first session later than `after`."""
    return sessions(calendar, after + timedelta(days=1), after + timedelta(days=15))["session"][0]
