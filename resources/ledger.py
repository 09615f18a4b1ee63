"""An append-only list of notes in MLflow: written whole or not at all, by many processes at once, and never changed.

A note is one MLflow run in an experiment of its own. What must not be lost is in its tags, which MLflow's database
writes in one transaction with the run; what is nice to look at (parameters, metrics, Parquet files) comes after.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from resources.tracking import Tracking, TrackingError, alone, answering, client_of, experiment_of, quoted

TAG_LENGTH = 4_800
"""Characters in a tag; MLflow takes 8,000, its older servers 5,000."""
TAGS_AT_ONCE = 100
ATTEMPTS = 5
PAGE = 5_000


@dataclass(frozen=True, slots=True)
class Note:
    """What was written: `id` of the MLflow run, `written` in milliseconds since 1970, and its tags."""

    id: str
    written: int
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The notes of one experiment. Cheap to make: MLflow is imported with the first note."""

    tracking: Tracking
    name: str

    def write(self, title: str, tags: Mapping[str, str], parameters: Mapping[str, str] | None = None) -> str:
        """Write a note and return its id. When this returns the note is on the disk, and its MLflow run FINISHED.

        Raises TrackingError if MLflow does not answer.
        """
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        uri = self.tracking.uri
        client, experiment = client_of(uri), self._experiment()
        for attempt in range(ATTEMPTS):
            with answering():
                try:
                    with alone(uri):
                        run_id = str(client.create_run(experiment, tags=dict(tags), run_name=title).info.run_id)
                        if parameters:
                            client.log_batch(run_id, params=[Param(name, value) for name, value in parameters.items()])
                        client.set_terminated(run_id, "FINISHED")
                    return run_id
                except MlflowException as error:
                    if client.get_experiment(experiment).lifecycle_stage == "deleted":
                        raise TrackingError(
                            f"MLflow: the experiment {self.name} was deleted, and nothing can be put on its record; "
                            f"restore it: mlflow experiments restore --experiment-id {experiment}"
                        ) from error
                    # A note that is written twice is the same note: readers count what it says, not how often.
                    if error.error_code != "TEMPORARILY_UNAVAILABLE" or attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")

    def add(
        self,
        note: str,
        tags: Mapping[str, str],
        metrics: Mapping[str, float] | None = None,
        frames: Mapping[str, pl.DataFrame] | None = None,
    ) -> None:
        """Add tags, then metrics and Parquet files, to a note. Tags already there are overwritten.

        Raises TrackingError if there is no such note, or MLflow does not answer.
        """
        from mlflow.entities import Metric, RunTag

        uri, now = self.tracking.uri, time.time_ns() // 1_000_000
        client = client_of(uri)
        told = [RunTag(name, value) for name, value in tags.items()]
        figures = [Metric(name, value, now, 0) for name, value in (metrics or {}).items()]
        with answering(), self._known(note):
            with alone(uri):
                for first in range(0, len(told), TAGS_AT_ONCE):
                    client.log_batch(note, tags=told[first : first + TAGS_AT_ONCE])
                if figures:
                    client.log_batch(note, metrics=figures)
            with tempfile.TemporaryDirectory() as scratch:
                for name, frame in (frames or {}).items():
                    path = Path(scratch) / f"{name}.parquet"
                    frame.write_parquet(path)
                    client.log_artifact(note, str(path))

    def read(self, **tags: str) -> list[Note]:
        """The notes with these tags, oldest first. One that somebody deleted in MLflow's pages still counts.

        Raises TrackingError if MLflow does not answer.
        """
        from mlflow.entities import ViewType

        where = " and ".join(f"tags.{name} = {quoted(value)}" for name, value in tags.items())
        client, experiment = client_of(self.tracking.uri), self._experiment()
        found: list[Note] = []
        token = None
        while True:
            with answering():
                page: Any = client.search_runs(
                    [experiment], where, ViewType.ALL, PAGE, ["attributes.start_time ASC"], token
                )
            found.extend(Note(run.info.run_id, int(run.info.start_time), run.data.tags) for run in page)
            token = page.token
            if not token:
                return found

    @contextmanager
    def _known(self, note: str) -> Iterator[None]:
        """Turn MLflow's word for a note that is not there into ours."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise TrackingError(f"{self.name}: no note {note!r}; write it first") from error
            raise

    def _experiment(self) -> str:
        folder = str(self.tracking.folder / "artifacts")
        served = self.tracking.uri.startswith(("http://", "https://", "databricks"))
        return experiment_of(client_of(self.tracking.uri), self.name, None if served else folder)
