"""The real thing: Dagster's daemon, code server and run worker, killed in the middle of a market."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from quant_assets.live.world import ATTEMPT_TAG
from quant_assets.streams.world import STREAM_JOB
from resources.lake import Lake
from resources.market_data.synthetic import Synthetic
from resources.streams.recording import open_gaps, recorded
from tests.e2e.processes import end
from tests.quant_assets.streams.replays import BEGINS, SYMBOLS

PROJECT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
SITE: dict[str, Any] = {
    "name": "stream_site", "provider": {"name": "synthetic"}, "universe": {"symbols": SYMBOLS},
    "dates": {"start": "2019-01-02", "end": "2020-12-31"}, "model": {"start": "2020-01-02"},
    "strategies": [{"name": "moving_average_cross"}], "live": {"strategy": "moving_average_cross"},
    "streams": {
        "kinds": ["trade", "quote"], "flush_seconds": 0.2, "keep_alive": True, "heartbeat_seconds": 1,
    },
}  # fmt: skip


def play(place: Path, speed: float) -> None:
    """Workers that start from now on play the market so many times as fast."""
    streams = {**SITE["streams"], "replay": {"start": BEGINS.isoformat(), "speed": speed}}
    (place / "streams.yaml").write_text(yaml.safe_dump({**SITE, "streams": streams}))


def until(what: str, found: Callable[[], object], seconds: float) -> None:
    """Wait for something to be true; fail naming it after so many seconds."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a Dagster instance as the project's, and its daemon running on the site."""
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "configs" / "dagster.yaml", home / "dagster.yaml")
    play(tmp_path, speed=120)
    environment = {"DAGSTER_HOME": str(home), "STREAM_SITE": str(tmp_path), "QUANT_HOME": str(tmp_path)}
    for name, value in {**environment, "PYTHONPATH": str(PROJECT)}.items():
        monkeypatch.setenv(name, value)
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-f", str(HERE / "stream_site.py")]
    with (tmp_path / "daemon.log").open("w") as log:
        daemon = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield tmp_path
    finally:
        end(daemon)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_lake_holds_the_market(place: Path) -> None:
    lake = Lake(str(place / "lake"))
    with dg.DagsterInstance.from_config(str(place / "dagster")) as instance:

        def runs() -> list[dg.DagsterRun]:
            return list(instance.get_runs(dg.RunsFilter(job_name=STREAM_JOB)))

        until("the first rows", lambda: recorded(lake, "trades").collect().height > 50, 120)
        (first,) = runs()
        play(place, speed=3600)  # nobody waits for the rest of the market
        for worker in writing(place):
            os.kill(worker, signal.SIGKILL)
        until("the next attempt", lambda: len(runs()) == 2, 120)
        until("its end", lambda: runs()[0].status is dg.DagsterRunStatus.SUCCESS, 180)
        assert runs()[0].tags[ATTEMPT_TAG] == "2"
        assert instance.get_run_by_id(first.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    for table, ask in (("trades", Synthetic().trades), ("quotes", Synthetic().quotes)):
        theirs = ask(SYMBOLS, BEGINS, BEGINS + timedelta(hours=1)).drop("fetched_at").collect()
        assert recorded(lake, table).select(theirs.columns).collect().equals(theirs)
    assert set(open_gaps(lake)["state"]) == {"repaired"}


def writing(place: Path) -> list[int]:
    """The processes that hold the lake's lock."""
    held = str((place / "streams.lock").resolve())
    processes = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [int(folder.name) for folder in processes if held in opened(folder)]


def opened(process: Path) -> list[str]:
    """The open files of a process; none of one that is not ours or has just ended."""
    try:
        return [os.readlink(link) for link in (process / "fd").iterdir()]
    except OSError:
        return []
