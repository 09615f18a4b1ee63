"""Models and their runs in MLflow: one finished run an asset partition, versions and aliases in the registry.

SQLite beside the lake unless MLFLOW_TRACKING_URI names a server or another database. Everything goes through
an MLflow client with its address given, never through MLflow's global "active run": a run that another
step left open can then not swallow this one's metrics, and runs of several threads do not mix.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from resources.config import Settings
from resources.errors import QuantError

SUPERSEDED = "superseded_by"
"""Tag on a finished run: the id of the later run of the same asset and partition."""

_DETAILS = "details.json"


class TrackingError(QuantError):
    """MLflow cannot be used, or does not hold what was asked for."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A registered model: LightGBM's own text format, and what was stored beside it."""

    booster_text: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where runs and models are kept. Cheap to make: MLflow is imported on first use (about 3 s, once a process)."""

    experiment: str
    folder: Path
    uri: str = field(repr=False)  # may hold a password

    @classmethod
    def of(cls, settings: Settings) -> Tracking:
        """The tracking of an installation.

        Example: `Tracking.of(load()).find("gradient_boosting", "2005-01-01")`
        """
        folder = settings.home.absolute() / "mlflow"
        return cls(settings.name, folder, os.environ.get("MLFLOW_TRACKING_URI") or _local_uri(folder))

    @contextmanager
    def run(
        self,
        asset: str,
        partition: str,
        *,
        dagster_run_id: str | None = None,
        data_version: str | None = None,
        code_version: str | None = None,
    ) -> Iterator[Run]:
        """One MLflow run for one asset partition, ended whatever happens.

        Left normally it is FINISHED, and former finished runs of the partition are tagged superseded_by. Left by
        an error it is FAILED (KILLED for an interrupt) with the error as a tag, and the former run stays current.
        Runs of the partition still open, whose process died, are ended as KILLED first.

        Example: `with tracking.run("models/gradient_boosting", "2005-01-01") as run: run.metrics({"ic": 0.03})`
        """
        client, experiment = self._client(), self._experiment()
        tags = {
            "asset": asset,
            "partition": partition,
            "dagster_run_id": dagster_run_id,
            "data_version": data_version,
            "code_version": code_version,
        }
        for former in self._runs(asset, partition):
            if former.info.status == "RUNNING":
                client.set_terminated(former.info.run_id, "KILLED")
        created = client.create_run(
            experiment,
            tags={name: value for name, value in tags.items() if value is not None},
            run_name=f"{asset} {partition}",
        )
        run_id = created.info.run_id
        try:
            yield Run(self, run_id, experiment, asset, partition)
        except BaseException as error:
            client.set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            client.set_tag(run_id, "error", f"{type(error).__name__}: {error}"[:1000])
            raise
        client.set_terminated(run_id, "FINISHED")
        for former in self._runs(asset, partition):
            if former.info.run_id != run_id and _current(former):
                client.set_tag(former.info.run_id, SUPERSEDED, run_id)

    def current_run(self, asset: str, partition: str) -> str | None:
        """Id of the partition's finished run that nothing superseded, None where there is none."""
        return next((str(run.info.run_id) for run in self._runs(asset, partition) if _current(run)), None)

    def find(self, name: str, partition: str) -> int | None:
        """The newest version of model `name` that a finished run of `partition` registered; None without one."""
        client = self._client()
        found = client.search_model_versions(f"name = {quoted(name)} and tags.partition = {quoted(partition)}")
        for version in sorted(found, key=lambda version: int(version.version), reverse=True):
            if client.get_run(version.run_id).info.status == "FINISHED":
                return int(version.version)
        return None

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let `alias` (such as champion or challenger) of model `name` mean `version`; nothing happens if it does."""
        if self.version(name, alias) != version:
            self._client().set_registered_model_alias(name, alias, str(version))

    def version(self, name: str, alias: str) -> int | None:
        """The version that `alias` of model `name` means, None where it means none."""
        from mlflow.exceptions import MlflowException

        try:
            return int(self._client().get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def load(self, name: str, version: int) -> StoredModel:
        """Version `version` of model `name`, as it was logged.

        Raises TrackingError where the registry does not hold it.
        """
        client = self._client()
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            source = client.get_model_version_download_uri(name, str(version))
        except MlflowException as error:
            raise TrackingError(f"model {name} version {version}: {error}. Materialize models/{name} first") from error
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=self.uri))
            return StoredModel(
                booster_text=(path / "model.lgb").read_text(),
                details=json.loads((path / "extra_files" / _DETAILS).read_text()),
            )

    def _client(self) -> Any:
        return client_of(self.uri)

    def _experiment(self) -> str:
        """Id of the installation's experiment; artifacts lie beside a local database."""
        location = str(self.folder / "artifacts") if self.uri == _local_uri(self.folder) else None
        return experiment_of(self._client(), self.experiment, location)

    def _runs(self, asset: str, partition: str) -> list[Any]:
        """All runs of one asset partition, newest first."""
        where = f"tags.asset = {quoted(asset)} and tags.partition = {quoted(partition)}"
        return list(self._client().search_runs([self._experiment()], where, order_by=["attributes.start_time DESC"]))


@dataclass(frozen=True, slots=True)
class Run:
    """An open run, as `Tracking.run` gives it."""

    tracking: Tracking
    id: str
    experiment_id: str
    asset: str
    partition: str

    def params(self, values: Mapping[str, Any]) -> None:
        """Log settings, each once a run."""
        from mlflow.entities import Param

        self.tracking._client().log_batch(self.id, params=[Param(name, str(value)) for name, value in values.items()])

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Log figures at `step` (a fold's number, say); None is left out."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        known = [Metric(name, value, now, step) for name, value in values.items() if value is not None]
        self.tracking._client().log_batch(self.id, metrics=known)

    def model(self, name: str, booster_text: str, details: Mapping[str, Any]) -> int:
        """Store a LightGBM model with its `details` (JSON values), register it as `name`, return its version.

        It is in MLflow's own LightGBM format, so `mlflow.lightgbm.load_model` and `mlflow models serve` read it.
        """
        client = self.tracking._client()
        from mlflow.entities import LoggedModelOutput

        logged = client.create_logged_model(self.experiment_id, name, source_run_id=self.id, model_type="lightgbm")
        client.log_outputs(self.id, [LoggedModelOutput(logged.model_id, step=0)])
        with tempfile.TemporaryDirectory() as scratch:
            _write_model(Path(scratch), booster_text, details, logged, self.id)
            client.log_model_artifacts(logged.model_id, str(Path(scratch) / "model"))
        client.finalize_logged_model(logged.model_id, "READY")
        self._ensure_registered(name)
        # The source is the artifacts' address and not models:/<id>, which MLflow would look up in its global store.
        version = client.create_model_version(
            name,
            source=logged.artifact_location,
            run_id=self.id,
            model_id=logged.model_id,
            tags={"asset": self.asset, "partition": self.partition},
        )
        return int(version.version)

    def _ensure_registered(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.tracking._client().create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def ui_command(settings: Settings, port: int = 5000) -> str:
    """Shell command that opens MLflow's pages, on this machine only.

    An address from MLFLOW_TRACKING_URI is left to the shell, since it may hold a password.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given and given.startswith(("http://", "https://")):
        return 'python -m webbrowser "$MLFLOW_TRACKING_URI"'
    store = '"$MLFLOW_TRACKING_URI"' if given else shlex.quote(_local_uri(settings.home.absolute() / "mlflow"))
    return (
        "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "
        f"mlflow server --host 127.0.0.1 --port {port} --workers 1 --backend-store-uri {store}"
    )


def _current(run: Any) -> bool:
    return run.info.status == "FINISHED" and SUPERSEDED not in run.data.tags


def _local_uri(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


@lru_cache(maxsize=8)
def client_of(uri: str) -> Any:
    """The MLflow client of an address; a new SQLite database gets its tables (about 1 s, once)."""
    # Nothing is reported home, and a server that does not answer is given up on in seconds, not minutes.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import logging

    from mlflow import MlflowClient

    # Two lines about creating tables are no news to the user of a run.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    with answering(), alone(uri):
        _look_at(uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_of(client: Any, name: str, location: str | None) -> str:
    """Id of the experiment of that name, made where it is not there, with its artifacts at `location`."""
    from mlflow.exceptions import MlflowException

    with answering():
        try:
            known = client.get_experiment_by_name(name)
            return str(known.experiment_id if known else client.create_experiment(name, location))
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS":  # another process was quicker
                return str(client.get_experiment_by_name(name).experiment_id)
            raise


@contextmanager
def answering() -> Iterator[None]:
    """Turn what MLflow or its database raise, when they cannot be used, into a TrackingError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise unusable(error) from error


def _look_at(uri: str) -> None:
    """Raise TrackingError for a local file that is no database of MLflow's: MLflow would try for minutes, or go on."""
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise unusable(f"{path}: {error}") from error
    if names and "alembic_version" not in names:
        raise unusable(f"{path} is a database of something else, with the tables {sorted(names)[:3]}")


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """One process after the other: MLflow makes the tables of a SQLite database wrong where two do at once."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def unusable(error: Exception | str) -> TrackingError:
    """What is raised where MLflow cannot be used, and what to do about it."""
    return TrackingError(
        f"MLflow cannot be used: {error}. Restore a damaged file from a copy, set MLFLOW_TRACKING_URI to a server or "
        "database that answers, or unset it to keep models in a local SQLite file"
    )


def quoted(text: str) -> str:
    """`text` as a string of MLflow's search language, which has no escapes."""
    if "'" in text:
        raise ValueError(f"{text!r}: MLflow cannot search for a name with a single quote; rename it")
    return f"'{text}'"


def _write_model(folder: Path, booster_text: str, details: Mapping[str, Any], logged: Any, run_id: str) -> None:
    """Write MLflow's model folder `model` under `folder`.

    Requirements and signature are given: MLflow would find them by importing and running the model (seconds).
    """
    import lightgbm
    import mlflow.lightgbm
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    booster = lightgbm.Booster(model_str=booster_text)
    notes = folder / _DETAILS
    notes.write_text(json.dumps(details, indent=1))
    mlflow.lightgbm.save_model(
        booster,
        str(folder / "model"),
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            run_id=run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        ),
        signature=ModelSignature(
            inputs=Schema([ColSpec("double", name) for name in booster.feature_name()]),
            outputs=Schema([ColSpec("double")]),
        ),
        pip_requirements=[f"lightgbm=={lightgbm.__version__}"],
        extra_files=[str(notes)],
    )
