"""Where the installation's Dagster keeps its state."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.config import PROJECT, load
from resources.errors import ConfigError
from resources.event_log import BatchedSqliteEventLogStorage
from resources.instance import BusyError, at_work, in_turn, instance, prepare


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANT_HOME", str(tmp_path / "a home"))
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE", "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path / "a home" / "dagster"


def test_prepare_makes_the_home_and_sets_what_every_process_reads(home: Path) -> None:
    assert prepare(load()) == home.resolve()
    assert (home / "dagster.yaml").read_bytes() == (PROJECT / "configs" / "dagster.yaml").read_bytes()
    assert os.environ["DAGSTER_HOME"] == str(home.resolve())
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "1000"
    assert os.environ["DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"] == "1"
    assert os.environ["DAGSTER_DISABLE_TELEMETRY"] == "1"


def test_a_users_own_choice_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "50")
    prepare(load())
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "50"


def test_the_instance_is_what_dagster_yaml_says(home: Path) -> None:
    with instance(load()) as made:
        assert made.root_directory == str(home.resolve())
        assert isinstance(made.event_log_storage, BatchedSqliteEventLogStorage)
        assert made.run_monitoring_enabled
        assert not made.telemetry_enabled
        assert not made.nux_enabled, "the first page is seen without a window over it"
        assert type(made.run_launcher).__name__ == "DefaultRunLauncher"
        limits = made.get_concurrency_config().run_queue_config
        assert limits is not None
        assert {"key": "quant/live", "limit": 1} in [dict(limit) for limit in limits.tag_concurrency_limits]
    assert (home / "history").is_dir() or any(home.rglob("*.db")), "its state stands in the home"


def test_a_home_that_cannot_be_made_is_named_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QUANT_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    with pytest.raises(
        ConfigError, match=r"^QUANT_HOME: .*/file/home cannot be used \(Not a directory\)\. Set QUANT_H"
    ):
        prepare(load())
    with pytest.raises(ConfigError, match=r"^QUANT_HOME: .* or unset it for .*\.quant"), at_work(load(), "a test"):
        pass


def test_one_program_at_a_time_is_at_work_on_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> None:
        with at_work(load(), "another"):
            pass

    with ThreadPoolExecutor(1) as other:
        with at_work(load(), "make demo"):
            ask()  # within itself
            with pytest.raises(BusyError, match=rf"^make demo \(process {os.getpid()}\) is at work on .*a home\. Wait"):
                other.submit(ask).result()
        other.submit(ask).result()


def test_runs_are_in_turn_by_name(home: Path) -> None:
    with in_turn(load(), "news"), in_turn(load(), "social"):
        file = (load().home / "news.lock").open()
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_killed_program_leaves_its_home_free(home: Path) -> None:
    program = (
        "import os; from resources.config import load; from resources.instance import at_work\n"
        "with at_work(load(), 'a program'): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=False).returncode == -9
    with at_work(load(), "the next"):
        assert (home.parent / "at_work.lock").read_text() == f"the next (process {os.getpid()})"


def test_dagster_yaml_is_never_seen_half_written(home: Path) -> None:
    prepare(load())
    (home / "dagster.yaml").write_text("old")
    held = (home / "dagster.yaml").open()
    prepare(load())
    assert held.read() == "old", "a new file takes the old one's place"
    held.close()
    assert (home / "dagster.yaml").read_bytes() == (PROJECT / "configs" / "dagster.yaml").read_bytes()
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
