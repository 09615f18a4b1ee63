"""Where the installation's Dagster keeps its state."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resources.config import PROJECT, load
from resources.event_log import BatchedSqliteEventLogStorage
from resources.instance import instance, prepare


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
        assert type(made.run_launcher).__name__ == "DefaultRunLauncher"
        limits = made.get_concurrency_config().run_queue_config
        assert limits is not None
        assert {"key": "quant/live", "limit": 1} in [dict(limit) for limit in limits.tag_concurrency_limits]
    assert (home / "history").is_dir() or any(home.rglob("*.db")), "its state stands in the home"
