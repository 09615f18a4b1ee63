"""The supervisor: exactly one live run, judged by status and heartbeat, on a real instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.live.heartbeat import beat, last_beat
from quant_assets.live.job import live_job
from quant_assets.live.sessions import Turn
from quant_assets.live.world import ATTEMPT_TAG, LIVE_JOB, SESSION_TAG, World
from resources.config import LiveSettings
from sensors.supervisor import (
    CANCELING_SECONDS,
    MAX_ATTEMPTS,
    STARTING_SECONDS,
    Act,
    Kept,
    Seen,
    judge,
    supervisor,
    tick,
)

SESSION = date(2013, 3, 1)
KEPT = Kept(LIVE_JOB, 5.0, "trading", "traded")
SILENCE = KEPT.silence
Status = dg.DagsterRunStatus


def run(attempt: int, status: Status, silent: float = 1.0, session: str = "2013-03-01", beaten: bool = True) -> Seen:
    return Seen(f"run-{attempt}", session, attempt, status, silent, beaten)


@dataclass(frozen=True)
class Case:
    name: str
    runs: list[Seen]
    act: Act
    attempt: int = 0
    run_id: str = ""
    why: str = ""


CASES = [
    Case("nothing yet", [], Act.START, attempt=1),
    Case("waiting in the queue, for hours", [run(1, Status.QUEUED, 9e4)], Act.WAIT, why="QUEUED"),
    Case("not started", [run(1, Status.NOT_STARTED)], Act.WAIT),
    Case("starting", [run(1, Status.STARTING, STARTING_SECONDS)], Act.WAIT, why="STARTING"),
    Case("never starts", [run(1, Status.STARTING, STARTING_SECONDS + 1)], Act.FAIL, run_id="run-1"),
    Case("alive", [run(1, Status.STARTED, SILENCE)], Act.WAIT, why="STARTED"),
    Case("silent", [run(1, Status.STARTED, SILENCE + 0.1)], Act.FAIL, run_id="run-1", why="30 s old"),
    Case("before its first heartbeat", [run(1, Status.STARTED, 100, beaten=False)], Act.WAIT),
    Case("no first heartbeat", [run(1, Status.STARTED, 181, beaten=False)], Act.FAIL, run_id="run-1"),
    Case("being terminated", [run(1, Status.CANCELING, CANCELING_SECONDS)], Act.WAIT, why="CANCELING"),
    Case("never ends", [run(1, Status.CANCELING, CANCELING_SECONDS + 1)], Act.CANCEL, run_id="run-1"),
    Case("done", [run(1, Status.SUCCESS, 9e9)], Act.WAIT, why="is traded"),
    Case("done, and a later one failed", [run(1, Status.SUCCESS), run(2, Status.FAILURE)], Act.WAIT, why="is traded"),
    Case("terminated by the user", [run(1, Status.CANCELED)], Act.WAIT, why="trading stays stopped"),
    Case("failed", [run(1, Status.FAILURE)], Act.START, attempt=2, run_id="run-1"),
    Case("failed before it was terminated", [run(1, Status.FAILURE), run(2, Status.CANCELED)], Act.WAIT),
    Case("terminated, then tried by hand", [run(1, Status.CANCELED), run(2, Status.FAILURE)], Act.START, 3, "run-2"),
    Case("the last attempt", [run(n, Status.FAILURE) for n in range(1, 5)], Act.START, MAX_ATTEMPTS, "run-4"),
    Case("given up", [run(n, Status.FAILURE) for n in range(1, MAX_ATTEMPTS + 1)], Act.WAIT, why="5 attempts failed"),
    Case("the day before still runs", [run(1, Status.STARTED, session="2013-02-28")], Act.WAIT, why="of 2013-02-28"),
    Case("the day before hangs", [run(1, Status.STARTED, 99, session="2013-02-28")], Act.FAIL, run_id="run-1"),
    Case("one by hand, without tags", [run(0, Status.STARTED, session="a session of its own")], Act.WAIT),
    Case("one dead, one alive", [run(1, Status.STARTED, 99), run(2, Status.STARTED)], Act.FAIL, run_id="run-1"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_judge(case: Case) -> None:
    verdict = judge(SESSION, case.runs, KEPT)
    assert (verdict.act, verdict.attempt, verdict.run_id) == (case.act, case.attempt, case.run_id)
    assert case.why in verdict.why


def nothing(*_: object) -> pl.DataFrame:
    raise AssertionError("the supervisor reads no data")


@dataclass
class Desk:
    """An instance, the live job, and a world whose turn and signals are told."""

    instance: dg.DagsterInstance
    turn: Turn = field(
        default_factory=lambda: Turn(date(2013, 2, 28), SESSION, datetime(2013, 3, 1, 14, 30, tzinfo=UTC), None)
    )
    signals: bool = True

    @property
    def world(self) -> World:
        return World(
            settings=LiveSettings(strategy="test", heartbeat_seconds=5),
            journal=Path("none"),
            turn=lambda now: self.turn,
            has_signals=lambda instance, session: self.signals and session == self.turn.signals,
            signals=nothing,
            bars=nothing,
            venue=nothing,  # type: ignore[arg-type]
            write=nothing,  # type: ignore[arg-type]
        )

    def tick(self, later: float = 0.0, than: datetime | None = None) -> dg.RunRequest | dg.SkipReason:
        """A look so many seconds later than now, or than an instant."""
        return tick(self.instance, self.world, (than or datetime.now(UTC)) + timedelta(seconds=later))

    def beat(self, run: dg.DagsterRun) -> datetime:
        """A heartbeat of the run, and when it was."""
        beat(self.instance, run, "trading")
        at = last_beat(self.instance, run.run_id)
        assert at is not None
        return at

    def launch(self, request: dg.RunRequest | dg.SkipReason, status: Status = Status.STARTED) -> dg.DagsterRun:
        """The run that the daemon would start for the request, brought to a status by the events of real runs."""
        assert isinstance(request, dg.RunRequest)
        run = self.instance.create_run_for_job(live_job(self.world), tags=request.tags)
        types = dg.DagsterEventType
        for step in {
            Status.STARTING: [types.PIPELINE_STARTING],
            Status.STARTED: [types.PIPELINE_STARTING, types.PIPELINE_START],
            Status.SUCCESS: [types.PIPELINE_START, types.PIPELINE_SUCCESS],
            Status.FAILURE: [types.PIPELINE_START, types.PIPELINE_FAILURE],
            Status.CANCELED: [types.PIPELINE_START, types.PIPELINE_CANCELING, types.PIPELINE_CANCELED],
            Status.CANCELING: [types.PIPELINE_START, types.PIPELINE_CANCELING],
        }[status]:
            self.instance.report_dagster_event(dg.DagsterEvent(step.value, run.job_name), run.run_id)
        return run

    def status(self, run: dg.DagsterRun) -> Status:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = str(tmp_path_factory.mktemp("dagster"))
    with dg.DagsterInstance.local_temp(home, overrides={"telemetry": {"enabled": False}}) as instance:
        yield instance


@pytest.fixture
def desk(instance: dg.DagsterInstance) -> Desk:
    instance.wipe()
    return Desk(instance)


def test_the_first_attempt_names_session_and_attempt(desk: Desk) -> None:
    sensor = supervisor(desk.world, live_job(desk.world))
    assert sensor.minimum_interval_seconds == 15
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.job_name == LIVE_JOB
    request = sensor(dg.build_sensor_context(instance=desk.instance))
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "2013-03-01#1"
    assert request.tags == {SESSION_TAG: "2013-03-01", ATTEMPT_TAG: "1"}


def test_without_signals_it_waits_and_says_for_what(desk: Desk) -> None:
    desk.signals = False
    skip = desk.tick()
    assert isinstance(skip, dg.SkipReason)
    assert skip.skip_message == "2013-03-01 waits for the signals of 2013-02-28: materialize signals/daily"


def test_a_session_that_opened_untraded_is_let_go(desk: Desk) -> None:
    now = datetime.now(UTC)
    desk.turn = Turn(now.date() - timedelta(days=1), now.date(), now - timedelta(minutes=1), now + timedelta(hours=20))
    skip = desk.tick()
    assert isinstance(skip, dg.SkipReason)
    assert "before it was traded; waiting for the next session" in (skip.skip_message or "")


def test_a_failed_attempt_is_replaced_even_after_the_open(desk: Desk) -> None:
    now = datetime.now(UTC)
    desk.turn = Turn(now.date() - timedelta(days=1), now.date(), now + timedelta(minutes=1), now + timedelta(hours=20))
    desk.launch(desk.tick(), Status.FAILURE)
    again = desk.tick(later=3600)
    assert isinstance(again, dg.RunRequest)
    assert again.tags[ATTEMPT_TAG] == "2"


@pytest.mark.parametrize("status", [Status.STARTING, Status.STARTED, Status.SUCCESS, Status.CANCELED, Status.CANCELING])
def test_one_run_is_enough(desk: Desk, status: Status) -> None:
    run = desk.launch(desk.tick(), status)
    desk.beat(run)
    for _ in range(3):
        assert isinstance(desk.tick(), dg.SkipReason)
    assert desk.status(run) is status


def test_a_run_with_an_old_heartbeat_is_failed_and_replaced_in_the_same_tick(desk: Desk) -> None:
    run = desk.launch(desk.tick())
    at = desk.beat(run)
    assert isinstance(desk.tick(3 * 5 + 15, than=at), dg.SkipReason)
    assert desk.status(run) is Status.STARTED
    request = desk.tick(3 * 5 + 15 + 1, than=at)
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.tags[ATTEMPT_TAG]) == ("2013-03-01#2", "2")
    assert desk.status(run) is Status.FAILURE
    (failure,) = desk.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.PIPELINE_FAILURE)
    assert "declared this run dead: its last heartbeat is 31 s old" in failure.message
    desk.launch(request)
    assert isinstance(desk.tick(), dg.SkipReason)


def test_the_newest_heartbeat_counts(desk: Desk) -> None:
    run = desk.launch(desk.tick())
    first = desk.beat(run)
    desk.instance.report_engine_event("something of Dagster's own", run)
    second = desk.beat(run)
    desk.instance.report_engine_event("something of Dagster's own", run)
    assert second > first
    assert isinstance(desk.tick(30, than=second), dg.SkipReason)


def test_engine_events_of_others_keep_no_dead_run_alive(desk: Desk) -> None:
    run = desk.launch(desk.tick())
    desk.instance.report_engine_event("run monitoring looked at it", run)
    assert isinstance(desk.tick(later=STARTING_SECONDS / 2), dg.SkipReason)
    assert isinstance(desk.tick(later=STARTING_SECONDS + 5), dg.RunRequest)
    assert desk.status(run) is Status.FAILURE


def test_a_termination_that_never_ends_is_ended_and_stays_a_termination(desk: Desk) -> None:
    run = desk.launch(desk.tick(), Status.CANCELING)
    skip = desk.tick(later=CANCELING_SECONDS + 5)
    assert desk.status(run) is Status.CANCELED
    assert isinstance(skip, dg.SkipReason)
    assert "trading stays stopped" in (skip.skip_message or "")


def test_it_gives_up_after_so_many_attempts_and_says_so(desk: Desk) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        request = desk.tick()
        assert isinstance(request, dg.RunRequest)
        assert request.run_key == f"2013-03-01#{attempt}"
        desk.launch(request, Status.FAILURE)
    skip = desk.tick()
    assert isinstance(skip, dg.SkipReason)
    assert f"{MAX_ATTEMPTS} attempts failed; mend the error of run" in (skip.skip_message or "")


def test_a_dead_run_of_yesterday_makes_room_for_today(desk: Desk) -> None:
    yesterday = desk.launch(desk.tick())
    desk.beat(yesterday)
    desk.turn = Turn(SESSION, date(2013, 3, 4), datetime(2013, 3, 4, 14, 30, tzinfo=UTC), None)
    assert isinstance(desk.tick(), dg.SkipReason)
    request = desk.tick(later=60)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "2013-03-04#1"
    assert desk.status(yesterday) is Status.FAILURE


def test_a_run_launched_by_hand_counts(desk: Desk) -> None:
    run = desk.launch(dg.RunRequest(tags={}))
    desk.beat(run)
    assert isinstance(desk.tick(), dg.SkipReason)


def test_the_place_in_the_pool_is_freed_for_the_next_attempt(desk: Desk) -> None:
    storage = desk.instance.event_log_storage
    storage.set_concurrency_slots("broker", 1)
    run = desk.launch(desk.tick())
    storage.claim_concurrency_slot("broker", run.run_id, "trade_session")
    desk.beat(run)
    assert storage.get_concurrency_info("broker").active_slot_count == 1
    assert isinstance(desk.tick(later=60), dg.RunRequest)
    assert storage.get_concurrency_info("broker").active_slot_count == 0
