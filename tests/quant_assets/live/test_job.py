"""The live job inside Dagster: what it leaves in the instance, and how each way of ending it ends."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.live.assets import specs
from quant_assets.live.frames import EQUITY, EXECUTIONS, POSITIONS
from quant_assets.live.heartbeat import last_beat
from quant_assets.live.job import live_job
from quant_assets.live.journal import Journal
from quant_assets.live.sessions import Turn
from quant_assets.live.world import ATTEMPT_TAG, LIVE_TAG, SESSION_TAG, World
from resources.brokers.base import OrderState
from resources.brokers.paper import Feed, PaperBroker
from resources.config import BacktestSettings
from tests.quant_assets.live.stage import FRIDAY, MONDAY, SETTINGS, WEIGHTS, bars, opens, signals

TAGS = {SESSION_TAG: "2013-02-25", ATTEMPT_TAG: "1"}


class Site:
    """An installation in a folder, with a hook on every frame written."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        self.written: dict[str, pl.DataFrame] = {}
        self.on_write: Callable[[str], None] = lambda name: None
        self.signals = signals(FRIDAY, WEIGHTS)
        self.turn = Turn(FRIDAY, MONDAY, opens(MONDAY), None)
        self.bars: Callable[[date], pl.DataFrame] = bars
        self.replay_seconds = 0.3

    def write(self, asset: Sequence[str], session: date, frame: pl.DataFrame) -> None:
        assert session == MONDAY
        self.written["/".join(asset)] = frame
        self.on_write("/".join(asset))

    def world(self) -> World:
        terms = BacktestSettings(cash=100_000)
        return World(
            settings=SETTINGS,
            journal=self.folder / "journal.sqlite",
            turn=lambda now: self.turn,
            has_signals=lambda instance, session: True,
            signals=lambda session: self.signals if session == FRIDAY else pl.DataFrame(),
            bars=self.bars,
            venue=lambda: PaperBroker(
                self.folder / "paper.sqlite", Feed(self.bars, self.replay_seconds), terms, replay=True
            ),
            write=self.write,
        )

    def failure(self, tags: dict[str, str] | None = None) -> str:
        """The error with which a run ends, and how."""
        result = self.run(tags)
        assert self.status(result) is dg.DagsterRunStatus.FAILURE
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        return str(failure.step_failure_data.error_display_string)

    def sessions(self) -> list[str]:
        """The sessions that the venue's clock has reached."""
        with sqlite3.connect(self.folder / "paper.sqlite") as connection:
            return [row[0] for row in connection.execute("SELECT session FROM sessions ORDER BY session")]

    def run(self, tags: dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
        job = live_job(self.world())
        return job.execute_in_process(instance=self.instance, tags=tags or TAGS, raise_on_error=False)

    def status(self, result: dg.ExecuteInProcessResult) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(result.run_id)
        assert run is not None
        return run.status

    def newest_run(self) -> dg.DagsterRun:
        return self.instance.get_runs(limit=1)[0]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home), overrides={"telemetry": {"enabled": False}}) as instance:
        yield Site(tmp_path, instance)


def test_a_run_leaves_frames_observations_and_heartbeats(site: Site) -> None:
    result = site.run()
    assert result.success
    frames = {name: frame.schema for name, frame in site.written.items()}
    assert frames == {"live/executions": EXECUTIONS, "live/positions": POSITIONS, "live/equity": EQUITY}
    assert site.written["live/executions"].height == 3
    assert sorted(site.written["live/positions"]["symbol"]) == ["AAA", "BBB", "CCC"]
    observed = result.asset_observations_for_node("trade_session")
    assert {observation.asset_key.to_user_string() for observation in observed} == set(frames)
    assert {observation.partition for observation in observed} == {"2013-02-25"}
    assert len(observed) == 2 * 3, "at the start and at the end"
    beat = last_beat(site.instance, result.run_id)
    assert beat is not None
    assert abs((datetime.now(UTC) - beat).total_seconds()) < 60
    run = site.newest_run()
    assert run.tags[LIVE_TAG] == "1"
    assert run.tags["dagster/max_retries"] == "0"


def test_other_engine_events_are_no_heartbeat(site: Site) -> None:
    run = site.instance.create_run_for_job(live_job(site.world()))
    assert last_beat(site.instance, run.run_id) is None
    site.instance.report_engine_event("the worker's heart stopped", run)
    assert last_beat(site.instance, run.run_id) is None


def test_a_run_started_by_hand_takes_the_next_attempt(site: Site) -> None:
    site.run(TAGS | {ATTEMPT_TAG: "4"})
    result = site.run({"by": "hand"})
    assert result.success
    tags = site.newest_run().tags
    assert (tags[SESSION_TAG], tags[ATTEMPT_TAG]) == ("2013-02-25", "5")


def test_a_run_for_a_session_whose_turn_is_over_fails(site: Site) -> None:
    result = site.run(TAGS | {SESSION_TAG: "2013-02-22"})
    assert site.status(result) is dg.DagsterRunStatus.FAILURE
    assert not (site.folder / "journal.sqlite").exists()


def test_no_signals_is_a_failure_that_names_them(site: Site) -> None:
    site.signals = pl.DataFrame()
    assert "no signals of test for 2013-02-22; materialize signals/daily" in site.failure()
    assert site.sessions() == [], "the venue's clock is not moved"


ENDLESS = Turn(FRIDAY, MONDAY, datetime(2099, 2, 25, 14, tzinfo=UTC), datetime(2099, 2, 26, tzinfo=UTC))


@pytest.mark.parametrize(
    ("turn", "mend"),
    [
        (Turn(FRIDAY, MONDAY, opens(MONDAY), None), "Set dates.end to the last session that the data has"),
        (ENDLESS, "Materialize the session's history first, then signals/daily"),
    ],
    ids=["replay", "growing history"],
)
def test_signals_without_data_say_so_and_leave_the_venue_where_it_was(site: Site, turn: Turn, mend: str) -> None:
    site.turn, site.signals, site.bars = turn, pl.DataFrame(), lambda session: pl.DataFrame()
    said = site.failure()
    assert "the signals of test for 2013-02-22 are empty: there are no bars of that session" in said
    assert mend in said
    assert site.sessions() == []
    site.turn, site.signals, site.bars = Turn(FRIDAY, MONDAY, opens(MONDAY), None), signals(FRIDAY, WEIGHTS), bars
    assert site.run(TAGS | {ATTEMPT_TAG: "2"}).success, "nothing stands in the way of trading once it is mended"


def test_a_replay_without_bars_fails_at_once_and_says_how_to_mend_it(site: Site) -> None:
    """Its bars cannot come any more: waiting for them would be waiting for ever."""
    site.bars = lambda session: bars(session) if session == FRIDAY else pl.DataFrame()
    said = site.failure()
    assert "no bars of 2013-02-25, the session to replay: the data ends before dates.end" in said
    assert "Set dates.end to the last session that the data has (2013-02-22 or earlier)" in said
    assert site.sessions() == []


def test_a_journal_of_another_account_stops_trading_before_anything_is_sent(site: Site) -> None:
    assert site.run().success
    (site.folder / "paper.sqlite").rename(site.folder / "paper.old")
    said = site.failure(TAGS | {ATTEMPT_TAG: "2"})
    assert "OtherAccountError" in said
    assert f"move the whole folder {site.folder} away" in said
    assert site.sessions() == []
    with sqlite3.connect(site.folder / "paper.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    (site.folder / "paper.old").rename(site.folder / "paper.sqlite")
    assert site.run(TAGS | {ATTEMPT_TAG: "3"}).success, "the account that belongs is taken again"


def test_a_terminated_run_ends_canceled_with_its_records_whole(site: Site) -> None:
    """Termination as the launcher does it: the run is marked CANCELING, then its process interrupted."""

    def terminate(name: str) -> None:
        site.on_write = lambda name: None
        site.instance.report_run_canceling(site.newest_run())
        signal.raise_signal(signal.SIGINT)

    site.on_write = terminate
    site.replay_seconds = 60.0
    assert site.status(site.run()) is dg.DagsterRunStatus.CANCELED
    assert site.written.keys() == {"live/executions", "live/positions", "live/equity"}, "observed a last time"
    site.replay_seconds = 0.3
    assert site.run({"by": "hand"}).success
    assert site.written["live/executions"].height == 3


def test_a_canceling_run_that_gets_no_interrupt_stops_by_itself(site: Site) -> None:
    site.on_write = lambda name: site.instance.report_run_canceling(site.newest_run())
    site.replay_seconds = 60.0
    assert site.status(site.run()) is dg.DagsterRunStatus.CANCELED


def test_a_run_declared_dead_stops_and_stays_failed(site: Site) -> None:
    def declare_dead(name: str) -> None:
        site.on_write = lambda name: None
        site.instance.report_run_failed(site.newest_run(), "declared dead")

    site.on_write = declare_dead
    site.replay_seconds = 60.0
    result = site.run()
    assert site.status(result) is dg.DagsterRunStatus.FAILURE
    site.replay_seconds = 0.3
    assert site.run(TAGS | {ATTEMPT_TAG: "2"}).success
    assert site.status(result) is dg.DagsterRunStatus.FAILURE
    journal = Journal(site.folder / "journal.sqlite")
    assert OrderState.INTENDED not in {status.state for status in journal.orders(MONDAY)}


def test_a_late_attempt_cannot_take_over_from_a_newer_one(site: Site) -> None:
    assert site.run(TAGS | {ATTEMPT_TAG: "2"}).success
    result = site.run(TAGS)
    assert site.status(result) is dg.DagsterRunStatus.FAILURE
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "attempt 1 of 2013-02-25 comes too late" in str(failure.step_failure_data.error_display_string)


def test_the_job_is_fit_for_one_long_run(site: Site) -> None:
    job = live_job(site.world())
    assert job.executor_def is dg.in_process_executor
    (node,) = job.nodes
    assert node.definition.pools == {"broker"}
    assert node.definition.retry_policy is None


def test_live_assets_are_external_and_partitioned_by_session() -> None:
    sessions = dg.DailyPartitionsDefinition("2013-01-01")
    found = specs(sessions)
    assert [spec.key.to_user_string() for spec in found] == ["live/executions", "live/positions", "live/equity"]
    definitions = dg.Definitions(assets=found)
    graph = definitions.resolve_asset_graph()
    for spec in found:
        assert graph.get(spec.key).partitions_def == sessions
        assert not graph.get(spec.key).is_materializable
        assert spec.group_name == "live"
        assert spec.owners == ["team:trading"]
