"""Keeps exactly one live run alive for the session to be traded.

Every tick looks at the live runs there are, by their status and the age of their last heartbeat:

| what is seen                                            | what is done                                          |
|---------------------------------------------------------|-------------------------------------------------------|
| no run of the session yet, its signals are there        | attempt 1                                             |
| a run that waits, starts, or runs with a fresh heartbeat | nothing                                               |
| STARTED, heartbeat too old (worker and code server dead) | mark it failed, next attempt                          |
| STARTING or CANCELING for too long                      | mark it failed or canceled, judge again               |
| a run of the session succeeded                          | nothing more for this session                         |
| the last attempt was CANCELED                           | nothing more: terminating a run means stop trading    |
| the last attempt FAILED                                 | next attempt, MAX_ATTEMPTS in all, then says so        |
| the last attempt FAILED, of a job that trades nothing   | next attempt; after MAX_ATTEMPTS with growing pauses    |

To trade a session again after it was terminated or given up, launch `live_trading` by hand: it takes the next
attempt's number and carries on from journal and venue. Which session: quant_assets/live/sessions.py.

This sensor lives in the live location's code server: killed, that has to be started again before anything here can
look. `make ui` sees to it: quant_assets/live/revival.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

import dagster as dg

from quant_assets.live.heartbeat import last_beat
from quant_assets.live.world import ATTEMPT_TAG, LIVE_JOB, SESSION_TAG, World

MAX_ATTEMPTS = 5

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 15.0, 600.0
"""Of what is tireless: how long after so many attempts the next one waits, doubled with each until the longest."""

SLACK_SECONDS = 15.0
"""Added to three heartbeats before a run counts as dead: one tick of this sensor."""

STARTING_SECONDS = 180.0
"""How long a run may take from its launch to its first heartbeat, waiting for the broker pool included."""

CANCELING_SECONDS = 90.0
"""How long a terminated run may take to end."""

IN_PROGRESS = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One live run as the supervisor sees it. `silent` is the seconds since its last sign of life."""

    run_id: str
    session: str
    attempt: int
    status: dg.DagsterRunStatus
    silent: float
    beaten: bool = True
    """Whether the sign of life is a heartbeat, and not only a change of status."""


class Act(StrEnum):
    WAIT = "wait"
    START = "start"
    FAIL = "fail"
    """Mark the run failed, then judge again."""
    CANCEL = "cancel"
    """Mark the run canceled, then judge again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    act: Act
    why: str
    attempt: int = 0
    run_id: str = ""
    """The run to mark; for START the attempt before, where there was one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept alive: a job of one run a session, how often it gives a sign of life, and words for its work."""

    job: str
    heartbeat_seconds: float
    doing: str
    done: str
    tireless: bool = False
    """Whether it is tried again to the end of its session, with growing pauses, and never given up."""

    @property
    def silence(self) -> float:
        """How many seconds a running attempt may go without a heartbeat."""
        return 3 * self.heartbeat_seconds + SLACK_SECONDS


def judge(session: date, runs: Sequence[Seen], kept: Kept) -> Verdict:
    """What to do about the session, given all runs of the job in progress and all of the session, oldest first."""
    for run in runs:
        stuck = _stuck(run, kept.silence)
        if stuck is not None:
            return stuck
    alive = [run for run in runs if run.status in IN_PROGRESS]
    if alive:
        return Verdict(Act.WAIT, f"run {alive[0].run_id[:8]} of {alive[0].session} is {alive[0].status.value}")
    own = sorted((run for run in runs if run.session == session.isoformat()), key=lambda run: run.attempt)
    if not own:
        return Verdict(Act.START, f"{session}: first attempt", attempt=1)
    done = [run for run in own if run.status is dg.DagsterRunStatus.SUCCESS]
    if done:
        return Verdict(Act.WAIT, f"{session} is {kept.done}: run {done[-1].run_id[:8]} succeeded")
    last = own[-1]
    if last.status is dg.DagsterRunStatus.CANCELED:
        ended = f"{session}: run {last.run_id[:8]} was terminated"
        why = f"{ended}, so {kept.doing} stays stopped; launch {kept.job} to go on"
        return Verdict(Act.WAIT, why)
    if kept.tireless:
        pause = min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** min(10, max(0, last.attempt - MAX_ATTEMPTS)))
        if last.attempt >= MAX_ATTEMPTS and last.silent < pause:
            why = f"{session}: {last.attempt} attempts failed; the next one is {pause:.0f} s after the last"
            return Verdict(Act.WAIT, why)
    elif last.attempt >= MAX_ATTEMPTS:
        why = (
            f"{session}: {last.attempt} attempts failed; mend the error of run {last.run_id[:8]} and launch {kept.job}"
        )
        return Verdict(Act.WAIT, why)
    why = f"{session}: attempt {last.attempt} failed in run {last.run_id[:8]}"
    return Verdict(Act.START, why, last.attempt + 1, last.run_id)


def _stuck(run: Seen, silence: float) -> Verdict | None:
    starting = run.status is dg.DagsterRunStatus.STARTING or (
        run.status is dg.DagsterRunStatus.STARTED and not run.beaten
    )
    if starting and run.silent > STARTING_SECONDS:
        return Verdict(Act.FAIL, f"no heartbeat within {STARTING_SECONDS:.0f} s of its launch", run_id=run.run_id)
    if run.status is dg.DagsterRunStatus.STARTED and run.beaten and run.silent > silence:
        return Verdict(
            Act.FAIL, f"its last heartbeat is {run.silent:.0f} s old, more than {silence:.0f} s", run_id=run.run_id
        )
    if run.status is dg.DagsterRunStatus.CANCELING and run.silent > CANCELING_SECONDS:
        return Verdict(Act.CANCEL, f"termination was asked {run.silent:.0f} s ago", run_id=run.run_id)
    return None


def supervisor(world: World, job: dg.JobDefinition, every: int = 15) -> dg.SensorDefinition:
    """The sensor, running by default, that starts `job` and starts it again; looks every so many seconds."""

    @dg.sensor(
        name="live_supervisor",
        job=job,
        minimum_interval_seconds=every,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Keeps one live run alive for the session to trade; judges by run status and heartbeat.",
    )
    def live_supervisor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return tick(context.instance, world, datetime.now(UTC))

    return live_supervisor


def tick(instance: dg.DagsterInstance, world: World, now: datetime) -> dg.RunRequest | dg.SkipReason:
    """One look at the live runs, marking the dead ones; the run to start, or why there is none."""
    turn = world.turn(now)
    verdict = look(instance, turn.session, now, live(world))
    if verdict.act is Act.WAIT:
        return dg.SkipReason(verdict.why)
    if verdict.attempt == 1:
        if turn.too_late(now):
            return dg.SkipReason(
                f"{turn.session} opened at {turn.opens:%H:%M} UTC before it was traded; waiting for the next session"
            )
        if not world.has_signals(instance, turn.signals):
            return dg.SkipReason(f"{turn.session} waits for the signals of {turn.signals}: materialize signals/daily")
    return attempt(instance, turn.session, verdict)


def live(world: World) -> Kept:
    """Live trading, as it is kept alive."""
    return Kept(LIVE_JOB, world.settings.heartbeat_seconds, "trading", "traded")


def look(instance: dg.DagsterInstance, session: date, now: datetime, kept: Kept) -> Verdict:
    """Mark the runs that are dead; whether to wait or to start one."""
    verdict = judge(session, seen(instance, session, now, kept.job), kept)
    while verdict.act in (Act.FAIL, Act.CANCEL):
        _mark(instance, verdict)
        verdict = judge(session, seen(instance, session, now, kept.job), kept)
    return verdict


def attempt(instance: dg.DagsterInstance, session: date, verdict: Verdict) -> dg.RunRequest:
    """The run that a verdict asks to start."""
    if verdict.run_id:
        # A killed worker leaves its place in a pool taken, and the next attempt would wait for it.
        instance.event_log_storage.free_concurrency_slots_for_run(verdict.run_id)
    key = session.isoformat()
    return dg.RunRequest(run_key=f"{key}#{verdict.attempt}", tags={SESSION_TAG: key, ATTEMPT_TAG: str(verdict.attempt)})


def seen(instance: dg.DagsterInstance, session: date, now: datetime, job: str = LIVE_JOB) -> list[Seen]:
    """Every run of the job in progress, and every one of the session, oldest first."""
    active = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=list(IN_PROGRESS)))
    own = instance.get_run_records(dg.RunsFilter(job_name=job, tags={SESSION_TAG: session.isoformat()}))
    records = {record.storage_id: record for record in [*own, *active]}
    return [_see(instance, records[number], now) for number in sorted(records)]


def _see(instance: dg.DagsterInstance, record: dg.RunRecord, now: datetime) -> Seen:
    run = record.dagster_run
    beat = last_beat(instance, run.run_id) if run.status is dg.DagsterRunStatus.STARTED else None
    sign = beat or record.update_timestamp.replace(tzinfo=UTC)
    return Seen(
        run.run_id,
        run.tags.get(SESSION_TAG, "a session of its own"),
        int(run.tags.get(ATTEMPT_TAG, "0")),
        run.status,
        (now - sign).total_seconds(),
        beat is not None,
    )


def _mark(instance: dg.DagsterInstance, verdict: Verdict) -> None:
    run = instance.get_run_by_id(verdict.run_id)
    if run is None or run.is_finished:
        return
    if verdict.act is Act.FAIL:
        instance.report_run_failed(run, f"The supervisor declared this run dead: {verdict.why}.")
    else:
        instance.report_run_canceled(run, f"The supervisor closed this run: {verdict.why}, and it never ended.")
