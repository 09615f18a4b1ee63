"""The stream job's supervisor: one run a window, by the rules of live trading's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.live.heartbeat import beat, last_beat
from quant_assets.live.world import ATTEMPT_TAG, LIVE_JOB, SESSION_TAG
from quant_assets.streams.job import stream_job
from quant_assets.streams.windows import Window
from quant_assets.streams.wiring import wire
from quant_assets.streams.world import STREAM_JOB, StreamWorld
from resources.lake import Lake
from sensors.streaming import kept, stream_supervisor, tick
from sensors.supervisor import Act, Seen, judge
from tests.quant_assets.streams.replays import SYMBOLS, settings
from tests.venues.market import instant

NOW = instant(2024, 3, 8, 15)
Status = dg.DagsterRunStatus


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as instance:
        yield instance


def world(**streams: object) -> StreamWorld:
    made = wire(settings(**streams), Lake("none"), lambda: SYMBOLS)  # type: ignore[arg-type]
    begins = NOW - timedelta(minutes=1)
    return replace(made, window=lambda now: Window(NOW.date(), begins, NOW + timedelta(hours=1), begins))


def started(
    instance: dg.DagsterInstance, request: dg.RunRequest | dg.SkipReason, job: str = STREAM_JOB
) -> dg.DagsterRun:
    """The run that the daemon would start for the request."""
    assert isinstance(request, dg.RunRequest)
    run = instance.create_run_for_job(stream_job(world()), tags=request.tags)
    assert run.job_name == job
    for step in (dg.DagsterEventType.PIPELINE_STARTING, dg.DagsterEventType.PIPELINE_START):
        instance.report_dagster_event(dg.DagsterEvent(step.value, run.job_name), run.run_id)
    return run


@pytest.mark.parametrize("alive", [True, False])
def test_it_runs_by_itself_where_the_configuration_says_so(alive: bool) -> None:
    at = world(keep_alive=alive)
    sensor = stream_supervisor(at, stream_job(at))
    wanted = dg.DefaultSensorStatus.RUNNING if alive else dg.DefaultSensorStatus.STOPPED
    assert (sensor.default_status, sensor.job_name, sensor.minimum_interval_seconds) == (wanted, STREAM_JOB, 15)


def test_before_the_window_it_says_when_it_begins(instance: dg.DagsterInstance) -> None:
    skip = tick(instance, world(), NOW - timedelta(hours=1))
    assert isinstance(skip, dg.SkipReason)
    assert skip.skip_message == "the streams of 2024-03-08 are followed from 2024-03-08 14:59 UTC on"


def test_a_dead_run_is_failed_and_replaced_and_one_alive_is_enough(instance: dg.DagsterInstance) -> None:
    first = tick(instance, world(), NOW)
    assert isinstance(first, dg.RunRequest)
    assert (first.run_key, first.tags) == ("2024-03-08#1", {SESSION_TAG: "2024-03-08", ATTEMPT_TAG: "1"})
    run = started(instance, first)
    beat(instance, run, "following")
    at = last_beat(instance, run.run_id)
    assert isinstance(at, datetime)
    fixed = replace(world(), window=lambda now: Window(NOW.date(), NOW, None, NOW))
    assert isinstance(tick(instance, fixed, at + timedelta(seconds=30)), dg.SkipReason)
    again = tick(instance, fixed, at + timedelta(seconds=31))
    assert isinstance(again, dg.RunRequest)
    assert again.tags[ATTEMPT_TAG] == "2"
    dead = instance.get_run_by_id(run.run_id)
    assert dead is not None
    assert dead.status is Status.FAILURE


def test_runs_of_live_trading_are_none_of_its(instance: dg.DagsterInstance) -> None:
    @dg.job(name=LIVE_JOB)
    def trading() -> None: ...

    run = instance.create_run_for_job(trading, tags={SESSION_TAG: "2024-03-08", ATTEMPT_TAG: "1"})
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, LIVE_JOB), run.run_id)
    assert isinstance(tick(instance, world(), NOW), dg.RunRequest)


def test_it_goes_on_trying_with_growing_pauses_to_the_end_of_the_window() -> None:
    streams = kept(world())

    def after(attempts: int, silent: float) -> Act:
        runs = [Seen(f"run-{n}", "2024-03-08", n, Status.FAILURE, silent) for n in range(1, attempts + 1)]
        return judge(NOW.date(), runs, streams).act

    for attempts, pause in ((4, 0), (5, 15), (6, 30), (7, 60), (11, 600), (5000, 600)):
        assert after(attempts, pause) is Act.START
        assert not pause or after(attempts, pause - 1) is Act.WAIT
    assert not kept(world(), endless=True).tireless  # a replay has no end


def test_a_terminated_run_stays_so(instance: dg.DagsterInstance) -> None:
    run = started(instance, tick(instance, world(), NOW))
    instance.report_run_canceled(run)
    skip = tick(instance, world(), NOW)
    assert isinstance(skip, dg.SkipReason)
    assert f"was terminated, so it stays stopped; launch {STREAM_JOB} to go on" in (skip.skip_message or "")
