"""Where this installation's Dagster keeps its state, and the environment every process needs for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from resources.config import PROJECT, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


def prepare(settings: Settings) -> Path:
    """Make DAGSTER_HOME of an installation, and set the environment that Dagster's processes read.

    One planned event a range instead of one a partition, and batches of 1,000 events: measured at 84 s against
    2.4 s for 5,000 partitions.
    """
    home = (settings.home / "dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT / "configs" / "dagster.yaml", home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS", "1")
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    return home


def instance(settings: Settings) -> DagsterInstance:
    """The installation's Dagster instance."""
    from dagster import DagsterInstance

    return DagsterInstance.from_config(str(prepare(settings)))
