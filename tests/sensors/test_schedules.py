"""The run after the close: the right session over holidays, half days, weekends and changes of the clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from quant_assets import jobs
from quant_assets.partitions import SETTINGS, SYMBOLS
from resources.calendars import sessions, timezone
from sensors import schedules
from sensors.schedules import after_close, history_range, session_to_run

NEW_YORK = ZoneInfo("America/New_York")
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        made.add_dynamic_partitions(SYMBOLS, ["AAPL", "IBM", "MSFT"])
        yield made


def tick(instance: dg.DagsterInstance, when: datetime) -> dg.RunRequest | dg.SkipReason:
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=when) as context:
        answer = after_close(context)
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


RUNS = [  # what is special about the day, the day, hours that UTC is ahead at the tick
    ("an ordinary Tuesday", "2010-06-01", 4),
    ("the day before a holiday", "2010-07-02", 4),
    ("half day after Thanksgiving", "2010-11-26", 5),
    ("Friday before the clock goes back", "2010-11-05", 4),
    ("Monday after the clock went back", "2010-11-08", 5),
    ("Friday before the clock goes forward", "2011-03-11", 5),
    ("Monday after the clock went forward", "2011-03-14", 4),
    ("first session of a year, so of a new partition", "2011-01-03", 5),
    ("last session of a year", "2011-12-30", 5),
    ("a leap day", "2012-02-29", 5),
    ("the last session of the history", "2012-03-30", 4),
]


@pytest.mark.parametrize(("day", "behind"), [case[1:] for case in RUNS], ids=[case[0] for case in RUNS])
def test_a_session_is_run_on_its_own_day(instance: dg.DagsterInstance, day: str, behind: int) -> None:
    when = datetime.fromisoformat(f"{day}T16:30").replace(tzinfo=NEW_YORK)
    assert when.astimezone(UTC).hour == 16 + behind
    request = tick(instance, when)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == day
    assert request.tags == {START: f"{day[:4]}|AAPL", END: f"{day[:4]}|MSFT", jobs.SESSION_TAG: day}


SKIPS = [
    ("Independence Day, observed on Monday", "2010-07-05", "2010-07-05 is not a session of XNYS"),
    ("Thanksgiving", "2010-11-25", "2010-11-25 is not a session"),
    ("Christmas, observed on Friday", "2010-12-24", "2010-12-24 is not a session"),
    ("Martin Luther King Day", "2011-01-17", "2011-01-17 is not a session"),
    ("Good Friday", "2011-04-22", "2011-04-22 is not a session"),
    ("a Saturday", "2011-03-12", "2011-03-12 is not a session"),
    ("a Sunday on which the clock changes", "2011-03-13", "2011-03-13 is not a session"),
    ("a session after the history's end", "2012-04-02", r"history of small ends on 2012-03-30 \(dates.end\)"),
]


@pytest.mark.parametrize(("day", "reason"), [case[1:] for case in SKIPS], ids=[case[0] for case in SKIPS])
def test_no_run_and_why(instance: dg.DagsterInstance, day: str, reason: str) -> None:
    answer = tick(instance, datetime.fromisoformat(f"{day}T16:30").replace(tzinfo=NEW_YORK))
    assert isinstance(answer, dg.SkipReason)
    assert pl.Series([answer.skip_message]).str.contains(reason).all(), answer.skip_message


def test_without_symbols_there_is_nothing_to_run() -> None:
    with dg.instance_for_test() as empty:
        answer = tick(empty, datetime(2011, 6, 1, 16, 30, tzinfo=NEW_YORK))
    assert isinstance(answer, dg.SkipReason)
    assert "universe sensor" in str(answer.skip_message)


def test_a_history_without_end_goes_on(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    open_end = SETTINGS.model_copy(update={"dates": SETTINGS.dates.model_copy(update={"end": None})})
    monkeypatch.setattr(schedules, "SETTINGS", open_end)
    request = tick(instance, datetime(2025, 7, 3, 16, 30, tzinfo=NEW_YORK))  # a half day
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.tags[START]) == ("2025-07-03", "2025|AAPL")
    assert isinstance(tick(instance, datetime(2025, 6, 19, 16, 30, tzinfo=NEW_YORK)), dg.SkipReason)  # Juneteenth


def test_dagsters_own_evaluation_accepts_the_request(instance: dg.DagsterInstance) -> None:
    """Through the schedule's tick, as the daemon evaluates it: the job and its tags are there."""
    when = datetime(2011, 3, 14, 16, 30, tzinfo=NEW_YORK)
    from quant_assets.definitions import defs

    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=when, repository_def=defs.get_repository_def()
    ) as context:
        [request] = after_close.evaluate_tick(context).run_requests or []
    assert request.run_key == "2011-03-14"
    assert request.tags["dagster/schedule_name"] == "after_close"
    assert request.tags[START] == "2011|AAPL"
    assert after_close.job_name == "history"


# --- when the ticks come


def ticks(since: datetime, count: int) -> list[datetime]:
    iterator = schedule_execution_time_iterator(
        since.timestamp(), after_close.cron_schedule, after_close.execution_timezone
    )
    return list(islice(iterator, count))


CHANGES = [  # since (UTC), the instants that follow
    (
        "the clock goes forward on 2011-03-13",
        datetime(2011, 3, 10, tzinfo=UTC),
        ["2011-03-10T21:30", "2011-03-11T21:30", "2011-03-14T20:30", "2011-03-15T20:30"],
    ),
    (
        "the clock goes back on 2011-11-06",
        datetime(2011, 11, 3, tzinfo=UTC),
        ["2011-11-03T20:30", "2011-11-04T20:30", "2011-11-07T21:30", "2011-11-08T21:30"],
    ),
]


@pytest.mark.parametrize(("since", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_ticks_follow_the_venues_clock(since: datetime, expected: list[str]) -> None:
    found = ticks(since, len(expected))
    assert [f"{tick.astimezone(UTC):%Y-%m-%dT%H:%M}" for tick in found] == expected
    assert {tick.astimezone(NEW_YORK).strftime("%H:%M") for tick in found} == {"16:30"}


def test_over_two_years_of_ticks_every_session_is_run_exactly_once(instance: dg.DagsterInstance) -> None:
    first, last = date(2010, 6, 1), date(2012, 3, 30)
    found = ticks(datetime(2010, 6, 1, tzinfo=UTC), 480)
    assert found[-1].date() >= last
    ran = [session_to_run("XNYS", tick) for tick in found if tick.date() <= last]
    expected = sessions("XNYS", first, last)
    assert [session for session in ran if session] == expected["session"].to_list()
    closes = dict(expected.select("session", "close").rows())
    late = [tick - closes[tick.date()] for tick in found if tick.date() in closes]
    assert min(late) == timedelta(minutes=30)
    assert max(late) == timedelta(hours=3, minutes=30), "half days, which close at 13:00"


@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "XTKS", "CMES", "24/5", "24/7", "FX"])
def test_on_any_calendar_every_session_is_run_exactly_once_and_after_its_close(calendar: str) -> None:
    zone, first, last = timezone(calendar), date(2024, 1, 3), date(2025, 12, 24)
    since = datetime(2024, 1, 3, tzinfo=ZoneInfo(zone)).timestamp()
    found = islice(schedule_execution_time_iterator(since, schedules.ticks(calendar, zone), zone), 740)
    ran = [
        (session, tick) for tick in found if (session := session_to_run(calendar, tick)) and first <= session <= last
    ]
    expected = sessions(calendar, first, last)
    assert [session for session, _ in ran] == expected["session"].to_list()
    late = [tick - close for (_, tick), close in zip(ran, expected["close"], strict=True)]
    assert timedelta(0) <= min(late) <= timedelta(minutes=30)
    assert max(late) < timedelta(hours=9), "half days"


def test_a_late_daemon_runs_the_session_that_the_tick_was_meant_for() -> None:
    """The tick's own time counts, not the wall clock: the schedule reads no other."""
    meant = datetime(2011, 6, 1, 16, 30, tzinfo=NEW_YORK)
    assert session_to_run("XNYS", meant) == date(2011, 6, 1)


def test_a_range_covers_all_symbols_in_the_stores_order() -> None:
    assert history_range("2010", "2012", ["MSFT", "AAPL", "IBM"]) == {START: "2010|MSFT", END: "2012|IBM"}
    assert history_range("2010", "2010", ["IBM"]) == {START: "2010|IBM", END: "2010|IBM"}
