"""Dagster's SQLite event log, with real batches, one data version a partition, and checks that stay small.

Three things that Dagster 1.13.27 leaves open matter here, where one run covers thousands of partitions:

- its SQLite storage writes a batch event by event (about 15 ms each); here a batch is one transaction;
- a range run stamps the same data version on every partition. The lake's IO manager puts each
  partition's own content hash into its metadata (DATA_VERSION_METADATA); here that entry becomes the
  event's data-version tag, so that a partition whose content did not change leaves what is below fresh;
- a check declared without partitions is planned once a partition; here once.

Named in dagster.yaml as `storage`. It leans on internals: dagster is pinned, tests hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as db
from dagster import AssetMaterialization
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
)
from dagster._core.events import ASSET_EVENTS, DagsterEventType, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

DATA_VERSION_METADATA = "data_version"


class QuantSqliteStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage with the event log below; `base_dir` is DAGSTER_HOME."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = BatchedSqliteEventLogStorage(self._event_log_storage._base_dir)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> QuantSqliteStorage:
        return cls.from_local(inst_data=inst_data, **config_value)


class BatchedSqliteEventLogStorage(SqliteEventLogStorage):
    """SqliteEventLogStorage that writes a batch in one transaction and keeps data versions per partition."""

    def get_asset_tags_to_index(self, tag_keys: set[str]) -> set[str]:
        """The code version, too, can be asked for by partition: freshness.py reads it for a whole tier at once."""
        return super().get_asset_tags_to_index(tag_keys) | (tag_keys & {CODE_VERSION_TAG})

    def store_event(self, event: EventLogEntry) -> None:
        super().store_event(with_own_data_version(event))

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """One row a check and run, as the checks are declared: without partitions.

        Dagster writes one for each partition of a range run whatever the declaration says, each with the whole
        range in it (5,400 sessions: 116 MB and 8 s a check), and never comes back to them.
        """
        dagster_event = event.get_dagster_event()
        declared = cast(AssetCheckEvaluationPlanned, dagster_event.event_specific_data)
        planned = AssetCheckEvaluationPlanned(asset_key=declared.asset_key, check_name=declared.check_name)
        super()._store_asset_check_evaluation_planned(
            event._replace(dagster_event=dagster_event._replace(event_specific_data=planned)), event_id
        )

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        batch = [with_own_data_version(event) for event in events]
        asset_events = [event for event in batch if event.dagster_event_type in ASSET_EVENTS]
        if len(asset_events) < len(batch) or len({event.run_id for event in batch}) != 1:
            for event in batch:
                super().store_event(event)
            return
        rows = [self._event_to_row(event) for event in batch]
        with self.run_connection(batch[0].run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        with self.index_transaction() as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
            # The transaction holds SQLite's only write lock, so the rows just added have the last, contiguous ids.
            last = connection.execute(db.select(db.func.max(SqlEventLogStorageTable.c.id))).scalar_one()
            ids = range(last - len(batch) + 1, last + 1)
            self._store_asset_event_tags(connection, batch, ids)
            # The asset's own row holds only its newest event of each kind: writing the others is lost work.
            newest = {
                (event.get_dagster_event().asset_key, event.dagster_event_type): (event, event_id)
                for event, event_id in zip(batch, ids, strict=True)
            }
            for event, event_id in newest.values():
                self._store_asset_event(connection, event, event_id)


def with_own_data_version(event: EventLogEntry) -> EventLogEntry:
    """The event, with the data version of its own partition in its tags where its metadata carries one."""
    if event.dagster_event_type != DagsterEventType.ASSET_MATERIALIZATION:
        return event
    dagster_event = event.get_dagster_event()
    data = dagster_event.step_materialization_data
    own = data.materialization.metadata.get(DATA_VERSION_METADATA)
    if own is None:
        return event
    tags = {
        **(data.materialization.tags or {}),
        DATA_VERSION_TAG: str(own.value),
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
    }
    stamped = AssetMaterialization(
        asset_key=data.materialization.asset_key,
        description=data.materialization.description,
        metadata=data.materialization.metadata,
        partition=data.materialization.partition,
        tags=tags,
    )
    return event._replace(
        dagster_event=dagster_event._replace(event_specific_data=StepMaterializationData(stamped, data.asset_lineage))
    )
