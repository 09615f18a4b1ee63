"""One MLflow run an asset partition, whatever happens; versions and aliases; nothing outside its folder."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from resources.config import PROJECT, Settings, load
from resources.ledger import Ledger
from resources.tracking import SUPERSEDED, StoredModel, Tracking, TrackingError, client_of, ui_command

ASSET = "models/gradient_boosting"
SAMPLE = PROJECT / "configs" / "sample.yaml"


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(SAMPLE)


@pytest.fixture(scope="module")
def tracking(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    """One database for all tests, since making its tables takes a second: each test has its own partition."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANT_HOME", str(tmp_path_factory.mktemp("a home")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield Tracking.of(settings)
        assert list(Path.cwd().iterdir()) == [], "MLflow wrote into the working folder"


@pytest.fixture(scope="module")
def booster_text() -> str:
    import lightgbm
    import numpy as np

    rows = np.arange(120.0).reshape(60, 2)
    parameters = {"verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    data = lightgbm.Dataset(rows, rows[:, 0] % 7, feature_name=["rsi_14", "roc_20"])
    return lightgbm.train(parameters, data, 3).model_to_string()


def runs(tracking: Tracking, partition: str) -> list[Any]:
    """All runs of a partition, oldest first, as MLflow has them."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking.uri)
    experiment = client.get_experiment_by_name("sample").experiment_id
    return client.search_runs([experiment], f"tags.partition = '{partition}'", order_by=["attributes.start_time"])


def test_a_run_holds_what_it_was_made_of(tracking: Tracking) -> None:
    with tracking.run(ASSET, "p1", dagster_run_id="run-7", data_version="abc", code_version="2") as run:
        run.params({"trees": 80, "learning_rate": 0.05})
        for fold, ic in enumerate([0.01, None, 0.03], start=1):
            run.metrics({"ic": ic, "rows": 10.0 * fold}, step=fold)
    (kept,) = runs(tracking, "p1")
    assert kept.info.run_id == run.id
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "models/gradient_boosting p1"
    assert kept.data.params == {"trees": "80", "learning_rate": "0.05"}
    assert kept.data.metrics == {"ic": 0.03, "rows": 30.0}
    tags = {"asset": ASSET, "partition": "p1", "dagster_run_id": "run-7", "data_version": "abc", "code_version": "2"}
    assert tags.items() <= kept.data.tags.items()


def test_versions_that_are_not_known_are_not_tagged(tracking: Tracking) -> None:
    with tracking.run(ASSET, "p2"):
        pass
    assert not {"dagster_run_id", "data_version", "code_version"} & set(runs(tracking, "p2")[0].data.tags)


def test_materializing_again_supersedes(tracking: Tracking) -> None:
    made = []
    for _ in range(3):
        with tracking.run(ASSET, "p3") as run:
            made.append(run.id)
    tags = {kept.info.run_id: kept.data.tags.get(SUPERSEDED) for kept in runs(tracking, "p3")}
    assert tags == {made[0]: made[1], made[1]: made[2], made[2]: None}
    assert tracking.current_run(ASSET, "p3") == made[2]


def test_other_partitions_and_assets_are_left_alone(tracking: Tracking) -> None:
    made = {}
    for asset, partition in [(ASSET, "p4"), (ASSET, "p5"), ("models/other", "p4")]:
        with tracking.run(asset, partition) as run:
            made[asset, partition] = run.id
    assert {key: tracking.current_run(*key) for key in made} == made
    assert tracking.current_run(ASSET, "never made") is None


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no rows"), "FAILED"), (KeyboardInterrupt("stop"), "KILLED")]
)
def test_an_error_ends_the_run_and_the_former_stays_current(
    tracking: Tracking, error: BaseException, status: str
) -> None:
    partition = f"failing {status}"
    with tracking.run(ASSET, partition) as good:
        pass
    with pytest.raises(type(error)), tracking.run(ASSET, partition):
        raise error
    former, failed = runs(tracking, partition)
    assert (former.info.status, failed.info.status) == ("FINISHED", status)
    assert failed.data.tags["error"] == f"{type(error).__name__}: {error}"
    assert failed.info.end_time is not None
    assert tracking.current_run(ASSET, partition) == good.id


def test_a_run_whose_process_died_is_ended_by_the_next(tracking: Tracking) -> None:
    left_open = tracking.run(ASSET, "p6")
    left_open.__enter__()
    with tracking.run(ASSET, "p6") as run:
        assert [kept.info.status for kept in runs(tracking, "p6")] == ["KILLED", "RUNNING"]
    assert tracking.current_run(ASSET, "p6") == run.id


def test_runs_of_two_partitions_may_be_open_at_once_and_none_is_global(tracking: Tracking) -> None:
    import mlflow

    with tracking.run(ASSET, "p7") as one, tracking.run(ASSET, "p8") as other:
        assert mlflow.active_run() is None
        one.metrics({"ic": 1.0})
        other.metrics({"ic": 2.0})
    assert [runs(tracking, name)[0].data.metrics["ic"] for name in ("p7", "p8")] == [1.0, 2.0]


def test_a_model_comes_back_as_it_was(tracking: Tracking, booster_text: str) -> None:
    details = {"cutoff": "2005-01-01", "ic": 0.1 + 0.2, "folds": [{"ic": None}]}
    with tracking.run(ASSET, "p9") as run:
        version = run.model("round_trip", booster_text, details)
    assert tracking.load("round_trip", version) == StoredModel(booster_text, details)


def test_mlflow_itself_reads_the_model(tracking: Tracking, booster_text: str) -> None:
    import mlflow.lightgbm
    from mlflow import MlflowClient

    with tracking.run(ASSET, "p10") as run:
        version = run.model("native", booster_text, {})
    client = MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)
    source = client.get_model_version_download_uri("native", str(version))
    booster = mlflow.lightgbm.load_model(source)
    assert booster.feature_name() == ["rsi_14", "roc_20"]
    assert Path(source).is_relative_to(tracking.folder / "artifacts")
    assert client.get_model_version("native", str(version)).run_id == run.id


def test_the_newest_version_of_a_finished_run_is_found(tracking: Tracking, booster_text: str) -> None:
    for _ in range(2):
        with tracking.run(ASSET, "p11") as run:
            version = run.model("found", booster_text, {})

    def fail_after_the_model() -> None:
        with tracking.run(ASSET, "p11") as run:
            run.model("found", booster_text, {})
            raise ValueError("after the model")

    with pytest.raises(ValueError, match="after the model"):
        fail_after_the_model()
    assert tracking.find("found", "p11") == version == 2
    assert tracking.find("found", "p12") is None
    assert tracking.find("unknown", "p11") is None


def test_an_alias_moves_and_may_be_set_again(tracking: Tracking, booster_text: str) -> None:
    with tracking.run(ASSET, "p13") as run:
        first = run.model("aliased", booster_text, {})
        second = run.model("aliased", booster_text, {})
    assert tracking.version("aliased", "champion") is None
    for version in (first, first, second, first):
        tracking.set_alias("aliased", "champion", version)
        assert tracking.version("aliased", "champion") == version
    tracking.set_alias("aliased", "challenger", second)
    assert tracking.version("aliased", "champion") == first


@pytest.mark.parametrize(("name", "version"), [("unknown", 1), ("counted", 99)])
def test_a_model_that_is_not_there_is_one_clear_error(
    tracking: Tracking, booster_text: str, name: str, version: int
) -> None:
    with tracking.run(ASSET, "p14") as run:
        run.model("counted", booster_text, {})
    with pytest.raises(TrackingError, match=rf"model {name} version {version}: .*Materialize models/{name} first"):
        tracking.load(name, version)


def test_a_name_that_cannot_be_searched_is_refused(tracking: Tracking) -> None:
    with pytest.raises(ValueError, match="single quote"):
        tracking.find("found", "it's")


def test_a_store_that_mlflow_refuses_is_one_clear_error(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    tracking = Tracking.of(settings)
    with pytest.raises(TrackingError, match=r"^MLflow cannot be used: .*or unset it"), tracking.run(ASSET, "p15"):
        pass


def _garbage(database: Path) -> None:
    database.write_bytes(b"no database at all " * 500)


def _folder(database: Path) -> None:
    database.mkdir()


def _of_others(database: Path) -> None:
    with closing(sqlite3.connect(database)) as made:
        made.execute("CREATE TABLE runs (whose TEXT)")
        made.commit()


def _truncated(database: Path) -> None:
    client_of(f"sqlite:///{database}")
    client_of.cache_clear()
    database.write_bytes(database.read_bytes()[:20_000])


@pytest.mark.parametrize("broken", [_garbage, _folder, _of_others, _truncated])
def test_a_store_that_is_damaged_is_one_clear_error_at_once(broken: Callable[[Path], None], tmp_path: Path) -> None:
    """MLflow itself tries a folder for minutes, and lets its database's errors through."""
    tracking = Tracking("x", tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
    broken(tmp_path / "mlflow.db")
    ledger, began = Ledger(tracking, "notes"), time.monotonic()
    for use in (lambda: ledger.write("title", {"a": "b"}), lambda: ledger.read(a="b"), lambda: ledger.add("x", {})):
        with pytest.raises(TrackingError, match=r"^MLflow cannot be used: .*Restore a damaged file from a copy"):
            use()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (None, "--backend-store-uri 'sqlite:////srv/my models/mlflow/mlflow.db'"),
        ("postgresql+psycopg2://me:secret@db/mlflow", '--backend-store-uri "$MLFLOW_TRACKING_URI"'),
        ("https://me:secret@mlflow.example", 'python -m webbrowser "$MLFLOW_TRACKING_URI"'),
    ],
)
def test_the_pages_are_opened_locally_and_without_secrets(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, uri: str | None, expected: str
) -> None:
    monkeypatch.setenv("QUANT_HOME", "/srv/my models")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    command = ui_command(settings)
    assert command.endswith(expected)
    assert ("--host 127.0.0.1" in command) == ("mlflow server" in command)
    assert "secret" not in command + repr(Tracking.of(settings))


def test_importing_it_does_not_import_mlflow_or_lightgbm() -> None:
    code = (
        "import sys, resources.tracking, quant_assets.models.gradient_boosting, quant_assets.models.champion; "
        "sys.exit(bool({'mlflow', 'lightgbm', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_processes_that_make_the_database_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    program = (  # imports first, so that all reach the database together
        "import sys, time, mlflow.store.tracking.sqlalchemy_store\n"
        "from resources.config import load; from resources.tracking import Tracking\n"
        "time.sleep(max(0, float(sys.argv[1]) - time.time())); print(Tracking.of(load()).version('none', 'champion'))"
    )
    command = [sys.executable, "-c", program, str(time.time() + 12)]
    programs = [
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for started in programs:
        out, errors = started.communicate(timeout=120)
        assert (started.returncode, out.strip()) == (0, "None"), errors[-1500:]
