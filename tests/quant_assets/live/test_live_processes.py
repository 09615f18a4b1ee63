"""The real thing: Dagster's daemon, code server and run workers, and what is killed between two orders."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.live.journal import Journal
from quant_assets.live.world import ATTEMPT_TAG, LIVE_JOB, SESSION_TAG
from resources.brokers.base import Fill, OrderState
from resources.brokers.paper import Feed, PaperBroker
from resources.config import BacktestSettings
from tests.e2e.processes import end
from tests.quant_assets.live.stage import MONDAY

PROJECT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
ORDERS = 12


def until(what: str, found: Callable[[], object], seconds: float) -> None:
    """Wait for something to be true; fail naming it after so many seconds."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Dagster instance configured as the project's."""
    home = tmp_path / "dagster"
    home.mkdir()
    (tmp_path / "workers").mkdir()
    shutil.copy(PROJECT / "configs" / "dagster.yaml", home / "dagster.yaml")
    for name, value in {
        "DAGSTER_HOME": str(home),
        "LIVE_SITE": str(tmp_path),
        "PYTHONPATH": str(PROJECT),
    }.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.event_log_storage.set_concurrency_slots("broker", 1)
    return tmp_path


@contextlib.contextmanager
def serving(place: Path, command: list[str]) -> Iterator[None]:
    """The command running on the place's live site; its output in server.log."""
    target = ["-f", str(HERE / "live_site.py"), "-d", str(HERE)]
    with (place / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *target], cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield
    finally:
        end(process)


@pytest.fixture
def site(place: Path) -> Iterator[Path]:
    """The place, with the daemon running on it."""
    with serving(place, [str(Path(sys.executable).with_name("dagster-daemon")), "run"]):
        yield place


@pytest.fixture
def watched(place: Path) -> Iterator[Path]:
    """The place, with Dagster's UI and all its processes running on it as `make ui` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = (
        "import os, sys; from quant_assets.live import revival\n"
        f"revival.watch('http://127.0.0.1:{port}'); os.execv(sys.argv[1], sys.argv[1:])"
    )
    dagster = str(Path(sys.executable).with_name("dagster"))
    with serving(place, [sys.executable, "-c", code, dagster, "dev", "-h", "127.0.0.1", "-p", port]):
        yield place


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """What a database says; nothing while it is not there yet."""
    if not path.exists():
        return []
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.slow
def test_a_worker_killed_between_two_orders_is_replaced_once_and_nothing_is_doubled_or_lost(site: Path) -> None:
    os.kill(trading(site), signal.SIGKILL)
    assert_replaced(site)


@pytest.mark.slow
def test_a_worker_killed_together_with_its_code_server_is_replaced_too(watched: Path) -> None:
    """The supervisor lives in that very server: first the server is started again, then the supervisor looks."""
    worker = trading(watched)
    server = int(subprocess.run(["ps", "-o", "ppid=", "-p", str(worker)], capture_output=True, check=True).stdout)
    command = subprocess.run(["ps", "-o", "args=", "-p", str(server)], capture_output=True, text=True, check=True)
    assert "dagster api grpc" in command.stdout
    for process in (server, worker):
        os.kill(process, signal.SIGKILL)
    assert_replaced(watched)
    assert "its code server is gone; starting it again" in (watched / "server.log").read_text()


def trading(site: Path) -> int:
    """The process id of a worker that has sent some of its orders, and not all."""
    until("the first orders", lambda: len(rows(site / "paper.sqlite", "SELECT id FROM orders WHERE 1")) >= 3, 120)
    (worker,) = [int(path.name) for path in (site / "workers").iterdir()]
    return worker


def assert_replaced(site: Path) -> None:
    """The worker just killed is replaced by one other, and no order or fill is doubled or lost."""
    ledger = site / "paper.sqlite"
    placed = rows(ledger, "SELECT id FROM orders")
    assert 3 <= len(placed) < ORDERS, "killed with orders still to be sent"
    killed = time.monotonic()

    with dg.DagsterInstance.from_config(str(site / "dagster")) as instance:
        mine = dg.RunsFilter(job_name=LIVE_JOB)

        def ended() -> bool:
            return any(run.status is dg.DagsterRunStatus.SUCCESS for run in instance.get_runs(mine))

        until("the replacement to finish", ended, 120)
        print(f"from kill to the session's end: {time.monotonic() - killed:.1f} s")

        def looked_again() -> bool:
            (state,) = instance.all_instigator_state()
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            return any("is traded" in (tick.skip_reason or "") for tick in ticks)

        until("the supervisor to be content", looked_again, 60)
        runs = sorted(instance.get_runs(mine), key=lambda run: run.tags[ATTEMPT_TAG])
        assert [(run.tags[ATTEMPT_TAG], run.status) for run in runs] == [
            ("1", dg.DagsterRunStatus.FAILURE),
            ("2", dg.DagsterRunStatus.SUCCESS),
        ]
        assert {run.tags[SESSION_TAG] for run in runs} == {"2013-02-25"}
        observed = instance.fetch_observations(dg.AssetKey(["live", "executions"]), limit=10).records
        assert {record.partition_key for record in observed} == {"2013-02-25"}

    journal = Journal(site / "journal.sqlite")
    venue = PaperBroker(ledger, Feed(lambda session: pl.DataFrame(), 1.0), BacktestSettings(cash=100_000), replay=True)
    intended = {status.order.id: (status.state, status.filled) for status in journal.orders(MONDAY)}
    assert intended == {status.order.id: (status.state, status.filled) for status in venue.orders()}
    assert len(intended) == ORDERS
    assert {state for state, _ in intended.values()} == {OrderState.FILLED}
    fills = [event for _, event in venue.events() if isinstance(event, Fill)]
    assert journal.fills(MONDAY) == fills
    assert len({fill.id for fill in fills}) == len(fills) == ORDERS
    assert {fill.order_id: fill.quantity for fill in fills} == {name: filled for name, (_, filled) in intended.items()}
    assert {position.symbol: position.quantity for position in venue.positions()} == {
        fill.symbol: fill.quantity for fill in fills
    }
    assert journal.last_attempt(MONDAY) == 2
    assert len(list((site / "workers").iterdir())) == 2
    assert pl.read_parquet(site / "executions.parquet").height == ORDERS
