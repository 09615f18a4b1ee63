"""Which session is traded, from which signals, at which instant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from quant_assets.live.sessions import turn
from resources.config import DateSettings, Settings, load
from resources.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[3]


def settings(start: str = "2000-03-01", end: str | None = None) -> Settings:
    dates = DateSettings(start=date.fromisoformat(start), end=date.fromisoformat(end) if end else None)
    return load(PROJECT / "configs" / "sample.yaml").model_copy(update={"dates": dates})


@dataclass(frozen=True)
class Case:
    name: str
    now: str
    signals: str
    session: str
    late: bool = False


CASES = [  # New York opens at 14:30 UTC in winter, 13:30 in summer
    Case("the evening before: yesterday's turn lasts", "2024-01-09T23:00", "2024-01-08", "2024-01-09", late=True),
    Case("an hour before the open", "2024-01-10T13:30", "2024-01-09", "2024-01-10"),
    Case("a second before that", "2024-01-10T13:29:59", "2024-01-08", "2024-01-09", late=True),
    Case("at the open it is too late", "2024-01-10T14:30", "2024-01-09", "2024-01-10", late=True),
    Case("just before the open", "2024-01-10T14:29:59", "2024-01-09", "2024-01-10"),
    Case("summer time", "2024-07-10T12:30", "2024-07-09", "2024-07-10"),
    Case("Monday trades Friday's signals", "2024-01-08T14:00", "2024-01-05", "2024-01-08"),
    Case("over a long weekend", "2024-01-16T14:00", "2024-01-12", "2024-01-16"),
    Case("on Sunday Friday's turn lasts", "2024-01-14T12:00", "2024-01-11", "2024-01-12", late=True),
    Case("over Christmas", "2024-12-26T14:00", "2024-12-24", "2024-12-26"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_by_the_calendar(case: Case) -> None:
    now = datetime.fromisoformat(case.now).replace(tzinfo=UTC)
    found = turn(settings(), now)
    assert (found.signals, found.session) == (date.fromisoformat(case.signals), date.fromisoformat(case.session))
    assert found.too_late(now) == case.late
    assert not found.over(now)
    assert not found.replay


def test_a_turn_ends_where_the_next_begins() -> None:
    friday = turn(settings(), datetime(2024, 1, 12, 14, 0, tzinfo=UTC))
    assert friday.ends == datetime(2024, 1, 16, 13, 30, tzinfo=UTC)
    assert friday.over(friday.ends)
    assert turn(settings(), friday.ends).session == date(2024, 1, 16)


@pytest.mark.parametrize("now", [datetime(1990, 1, 1, tzinfo=UTC), datetime(2026, 3, 7, 3, 0, tzinfo=UTC)])
def test_a_replay_trades_the_last_recorded_session_whenever_it_is(now: datetime) -> None:
    found = turn(settings(end="2013-03-01"), now)
    assert (found.signals, found.session) == (date(2013, 2, 28), date(2013, 3, 1))
    assert found.opens == datetime(2013, 3, 1, 14, 30, tzinfo=UTC)
    assert found.replay
    assert not found.too_late(now)
    assert not found.over(now)


def test_a_replay_that_ends_on_a_holiday_takes_the_sessions_before() -> None:
    found = turn(settings(end="2013-02-18"), datetime.now(UTC))  # Presidents' Day
    assert (found.signals, found.session) == (date(2013, 2, 14), date(2013, 2, 15))


def test_a_replay_needs_two_sessions() -> None:
    with pytest.raises(ConfigError, match=r"2013-02-28 to 2013-03-03 holds 2|holds 1 session"):
        turn(settings(start="2013-03-01", end="2013-03-03"), datetime.now(UTC))
