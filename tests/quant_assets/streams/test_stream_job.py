"""The stream job inside Dagster: what it leaves in the instance, and how each way of ending it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import pytest

from quant_assets.live.heartbeat import last_beat
from quant_assets.live.world import ATTEMPT_TAG, SESSION_TAG
from quant_assets.streams import job as jobs
from quant_assets.streams.assets import names, specs
from quant_assets.streams.job import stream_job
from quant_assets.streams.station import Feed, Station
from quant_assets.streams.windows import Window
from quant_assets.streams.wiring import micros, wire
from quant_assets.streams.world import STREAM_TAG, StreamWorld
from resources.config_streams import StreamSettings
from resources.errors import AccessDeniedError
from resources.instance import BusyError, at_work
from resources.lake import Lake
from resources.market_data.synthetic import Synthetic
from resources.streams.base import Kind, Sequencing
from resources.streams.owed import Sessions, following
from resources.streams.recording import open_gaps, recorded
from tests.quant_assets.streams.replays import BEGINS, SYMBOLS, settings

PROJECT = Path(__file__).resolve().parents[3]


class Site:
    """An installation in a folder, whose stream job runs here and now."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        self.lake = Lake(str(folder / "lake"))
        self.settings = settings()
        self.change: Callable[[StreamWorld], StreamWorld] = lambda world: world

    def world(self) -> StreamWorld:
        return self.change(wire(self.settings, self.lake, lambda: SYMBOLS))

    def run(self, tags: dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
        return stream_job(self.world()).execute_in_process(
            instance=self.instance, tags=tags or {}, raise_on_error=False
        )

    def status(self, result: dg.ExecuteInProcessResult) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(result.run_id)
        assert run is not None
        return run.status

    def failure(self, result: dg.ExecuteInProcessResult) -> str:
        assert self.status(result) is dg.DagsterRunStatus.FAILURE
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        return str(failure.step_failure_data.error_display_string)

    def newest_run(self) -> dg.DagsterRun:
        return self.instance.get_runs(limit=1)[0]

    def rows(self, table: str = "trades") -> int:
        return recorded(self.lake, table).collect().height

    def all_rows(self) -> int:
        return sum(self.rows(table) for table in ("trades", "quotes", "bars", "findings"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    home = tmp_path / "dagster"
    home.mkdir()
    monkeypatch.setenv("QUANT_HOME", str(tmp_path))
    monkeypatch.setattr(jobs, "STATUS_SECONDS", 0.02)
    with dg.DagsterInstance.local_temp(str(home), overrides={"telemetry": {"enabled": False}}) as instance:
        yield Site(tmp_path, instance)


def owed(table: str, hours: float = 1.0) -> int:
    market, until = Synthetic(), BEGINS + timedelta(hours=hours)
    ask = market.trades if table == "trades" else market.quotes
    return ask(SYMBOLS, BEGINS, until).collect().height


def test_a_run_leaves_rows_materializations_a_verdict_and_heartbeats(site: Site) -> None:
    result = site.run()
    assert result.success
    assert {table: site.rows(table) for table in ("trades", "quotes")} == {
        table: owed(table) for table in ("trades", "quotes")
    }
    told = {event.asset_key.path[-1]: event.step_materialization_data.materialization
            for event in result.all_events if event.is_step_materialization and event.asset_key}  # fmt: skip
    assert set(told) == {"trades", "quotes", "bars", "findings"}
    assert {one.partition for one in told.values()} == {"2020-03-09"}
    rows = told["trades"].metadata["dagster/partition_row_count"].value
    assert rows == owed("trades")
    (verdict,) = result.get_asset_check_evaluations()
    assert (verdict.check_name, verdict.passed, verdict.metadata["gaps"].value) == ("no_gaps_left", True, 0)
    beat = last_beat(site.instance, result.run_id)
    assert beat is not None
    assert abs((datetime.now(UTC) - beat).total_seconds()) < 60
    tags = site.newest_run().tags
    assert (tags[STREAM_TAG], tags[SESSION_TAG], tags[ATTEMPT_TAG]) == ("1", "2020-03-09", "1")
    assert tags["dagster/max_retries"] == "0"


def test_an_observation_says_what_came_and_what_is_missing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.change = lambda world: replace(world, settings=world.settings.model_copy(update={"observe_seconds": 0.2}))
    result = site.run()
    seen = result.asset_observations_for_node("follow_streams")
    assert seen
    assert {one.asset_key.to_user_string() for one in seen} == {"streams/findings"}
    assert {"delivered", "stored", "missing", "connected"} <= set(seen[-1].metadata)


@pytest.mark.parametrize("interrupted", [True, False], ids=["interrupted", "by its status alone"])
def test_a_terminated_run_ends_canceled_and_the_next_goes_on_where_it_was(site: Site, interrupted: bool) -> None:
    site.settings = settings(speed=600)

    def terminate(counts: dict[str, int]) -> None:
        if counts["stored"] > 100:
            site.instance.report_run_canceling(site.newest_run())
            if interrupted:
                signal.raise_signal(signal.SIGINT)

    with watching(terminate):
        result = site.run()
    assert site.status(result) is dg.DagsterRunStatus.CANCELED
    assert site.all_rows() > 100
    assert site.rows() < owed("trades")
    site.settings = settings()
    assert site.run().success
    assert (site.rows(), site.rows("quotes")) == (owed("trades"), owed("quotes"))


def test_a_run_declared_dead_stops_and_stays_failed(site: Site) -> None:
    site.settings = settings(speed=600)

    def declare_dead(counts: dict[str, int]) -> None:
        if counts["stored"] > 100:
            site.instance.report_run_failed(site.newest_run(), "declared dead")

    with watching(declare_dead):
        result = site.run()
    assert "the run is FAILURE" in site.failure(result)
    assert site.all_rows() > 100


@pytest.mark.parametrize("how", ["to its end", "terminated", "declared dead", "with its machine"])
def test_who_did_not_end_as_it_should_leaves_its_marks_in_the_lake(site: Site, how: str) -> None:
    """The next session's run then tells what happened from its last rows to the end of its session."""
    site.settings = settings(speed=7200 if how == "to its end" else 600)

    def followed(world: StreamWorld) -> StreamWorld:
        sessions = Sessions(micros(BEGINS + timedelta(hours=2)), lambda since: ())
        return replace(world, task=lambda window: replace(world.task(window), sessions=sessions))

    def end(counts: dict[str, int]) -> None:
        if how == "declared dead":
            site.instance.report_run_failed(site.newest_run(), "declared dead")
        elif how == "terminated":
            site.instance.report_run_canceling(site.newest_run())
        if how != "declared dead":
            signal.raise_signal(signal.SIGINT)

    site.change = followed
    if how == "to its end":
        assert site.run().success
    else:
        with watching(end):
            site.run()
    assert site.all_rows() > 100
    left = following(recorded(site.lake, "findings").collect())
    assert len(left) == (0 if how in ("to its end", "terminated") else 4)


@contextmanager
def watching(look: Callable[[dict[str, int]], None]) -> Iterator[None]:
    """`look` at the counts of the station, once it is on, until it has done something about them."""
    real = Station.wait

    def wait(self: Station, seconds: float) -> bool:
        counts = self.counts()
        if self.connected and counts["stored"] > 100:
            Station.wait = real  # type: ignore[method-assign]
            look(dict(counts))
        return real(self, seconds)

    Station.wait = wait  # type: ignore[method-assign]
    try:
        yield
    finally:
        Station.wait = real  # type: ignore[method-assign]


def test_what_ends_the_gateway_fails_the_run_with_its_words(site: Site) -> None:
    class Denied:
        name = "denied"
        sequences: Mapping[Kind, Sequencing] = MappingProxyType({})

        async def connect(self, lines: object) -> None:
            raise AccessDeniedError("the keys are refused; check ALPACA_API_KEY")

        async def close(self) -> None: ...

    def denied(world: StreamWorld) -> StreamWorld:
        def task(window: Window) -> Any:
            made = world.task(window)
            feed = made.open(None)
            return replace(made, open=lambda newest: Feed(Denied(), feed.clock, None))  # type: ignore[arg-type]

        return replace(world, task=task)

    site.change = denied
    assert "the keys are refused; check ALPACA_API_KEY" in site.failure(site.run())


def test_two_runs_never_write_to_one_lake(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LOCK_SECONDS", 0.1)
    code = (
        "import sys, time; from resources.config import Settings; from resources.instance import at_work\n"
        "class S:\n    home = __import__('pathlib').Path(sys.argv[1])\n"
        "with at_work(S(), 'run 12345678', lock='streams'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(site.folder)], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "held\n"
            assert "run 12345678" in site.failure(site.run())
            with pytest.raises(BusyError), at_work(site.settings, "a test", lock="streams"):
                pass
            with at_work(site.settings, "make demo"):
                pass  # another lock
        finally:
            other.kill()
    assert site.run().success, "the dead hold nothing"


def test_a_run_for_a_session_that_is_over_fails(site: Site) -> None:
    result = site.run({SESSION_TAG: "2020-03-06", ATTEMPT_TAG: "1"})
    assert "this run is for 2020-03-06, and the session to follow is 2020-03-09 by now" in site.failure(result)
    assert site.rows() == 0


def test_the_window_ends_the_run(site: Site) -> None:
    site.settings = settings(speed=60)
    ends = datetime.now(UTC) + timedelta(seconds=2)
    site.change = lambda world: replace(
        world, window=lambda now: Window(BEGINS.date(), BEGINS, max(ends, now + timedelta(seconds=1)), BEGINS)
    )
    assert site.run().success
    assert site.rows() + site.rows("quotes") < owed("trades")


def test_the_job_is_fit_for_one_long_run(site: Site) -> None:
    job = stream_job(site.world())
    assert job.executor_def is dg.in_process_executor
    assert [node.name for node in job.nodes] == ["follow_streams"]
    assert job.nodes[0].retry_policy is None


def test_assets_are_those_that_the_settings_fill(site: Site) -> None:
    assert names(StreamSettings()) == ["trades", "bars", "findings"]
    assert names(StreamSettings(kinds=("quote",))) == ["quotes", "findings"]
    assert names(StreamSettings(kinds=("quote", "bar"))) == ["quotes", "bars", "findings"]
    assert names(StreamSettings(timeframe=None)) == ["trades", "findings"]
    found = {spec.key.path[-1]: spec for spec in specs(StreamSettings(kinds=("trade", "quote")))}
    assert [dep.asset_key.path[-1] for dep in found["findings"].deps] == ["trades", "quotes"]
    assert [dep.asset_key.path[-1] for dep in found["bars"].deps] == ["trades"]


# a process that is killed

FOLLOW = """
import sys
from resources.lake import Lake
from quant_assets.streams.station import Station
from quant_assets.streams.wiring import micros, wire
from tests.quant_assets.streams.replays import SYMBOLS, settings
speed, folder = float(sys.argv[1]), sys.argv[2]
world = wire(settings(speed), Lake(folder), lambda: SYMBOLS)
station = Station(world.task(world.window(__import__("datetime").datetime.now(__import__("datetime").UTC))), world.lake)
station.start()
while not station.wait(0.05):
    print(station.counts()["stored"], flush=True)
station.stop()
"""


def follow(folder: Path, speed: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FOLLOW, str(speed), str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=os.environ | {"PYTHONPATH": "."}
    )


def test_a_process_that_is_killed_loses_nothing_that_was_stored_and_doubles_nothing(site: Site) -> None:
    with follow(site.folder / "lake", 300) as process:
        assert process.stdout is not None
        confirmed = next(stored for line in process.stdout if (stored := int(line)) > 150)
        process.kill()
    assert site.all_rows() >= confirmed
    assert site.rows() < owed("trades")
    with follow(site.folder / "lake", 7200) as process:
        process.communicate(timeout=60)
        assert process.returncode == 0
    for table in ("trades", "quotes"):
        ours = recorded(site.lake, table).collect()
        ask = Synthetic().trades if table == "trades" else Synthetic().quotes
        theirs = ask(SYMBOLS, BEGINS, BEGINS + timedelta(hours=1)).collect()
        shared = [name for name in theirs.columns if name != "fetched_at"]
        assert ours.select(shared).equals(theirs.select(shared))
    assert set(open_gaps(site.lake)["state"]) <= {"repaired"}
