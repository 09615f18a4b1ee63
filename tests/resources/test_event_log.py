"""The event log: Dagster reads back from a batch what it reads back from single events, and a version a partition."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from resources.event_log import BatchedSqliteEventLogStorage

PARTS = dg.StaticPartitionsDefinition([f"p{number:02d}" for number in range(20)])
KEYS = PARTS.get_partition_keys()
RANGE = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]}
UP, DOWN = dg.AssetKey("up"), dg.AssetKey("down")


@dg.asset(partitions_def=PARTS, backfill_policy=dg.BackfillPolicy.single_run(), code_version="1")
def up(context: dg.AssetExecutionContext) -> None:
    for key in context.partition_keys:
        context.add_asset_metadata({"data_version": f"v-{key}"}, partition_key=key)


@dg.asset(deps=[up], partitions_def=PARTS, backfill_policy=dg.BackfillPolicy.single_run(), code_version="1")
def down(context: dg.AssetExecutionContext) -> None:
    for key in context.partition_keys:
        context.add_asset_metadata({"data_version": f"w-{key}"}, partition_key=key)


@pytest.fixture(params=["batches", "one by one"])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000" if request.param == "batches" else "0")
    monkeypatch.setenv("DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS", "1")
    overrides = {
        "storage": {
            "custom": {
                "module": "resources.event_log",
                "class": "QuantSqliteStorage",
                "config": {"base_dir": str(tmp_path)},
            }
        },
        "telemetry": {"enabled": False},
    }
    with dg.instance_for_test(overrides=overrides, temp_dir=str(tmp_path)) as made:
        yield made


def materialize(instance: dg.DagsterInstance, *assets: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(list(assets), instance=instance, tags=RANGE)


def test_dagster_builds_the_storage_that_dagster_yaml_names(instance: dg.DagsterInstance) -> None:
    assert type(instance.event_log_storage) is BatchedSqliteEventLogStorage


def test_each_partition_of_a_range_run_has_its_own_data_version(instance: dg.DagsterInstance) -> None:
    materialize(instance, up)
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        UP, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG, CODE_VERSION_TAG]
    )
    assert {key: tag[DATA_VERSION_TAG] for key, tag in tags.items()} == {key: f"v-{key}" for key in KEYS}
    assert {tag[CODE_VERSION_TAG] for tag in tags.values()} == {"1"}, "the code version can be asked for by partition"


def test_the_run_and_the_asset_tell_the_same_story(instance: dg.DagsterInstance) -> None:
    result = materialize(instance, up, down)
    assert instance.get_materialized_partitions(UP) == set(KEYS)
    assert instance.get_materialized_partitions(DOWN) == set(KEYS)
    in_run = [
        entry.dagster_event.partition
        for entry in instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    ]
    assert sorted(in_run) == sorted(KEYS * 2)
    records = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION, asset_key=UP))
    assert sorted(record.partition_key for record in records) == KEYS
    assert len({record.storage_id for record in records}) == len(KEYS)
    latest = instance.get_latest_materialization_event(UP)
    assert latest is not None
    assert latest.asset_materialization is not None
    newest = max(records, key=lambda record: record.storage_id)
    assert latest.asset_materialization.partition == newest.partition_key


def test_tags_stand_beside_their_own_event(instance: dg.DagsterInstance) -> None:
    """The ids a batch works out for itself are those that the rows have."""
    materialize(instance, up)
    materialize(instance, up, down)
    storage = instance.event_log_storage
    for key in (KEYS[0], KEYS[7], KEYS[-1]):
        [found] = storage.get_event_tags_for_asset(UP, filter_event_id=_last_id(instance, key))
        assert found[DATA_VERSION_TAG] == f"v-{key}"


def _last_id(instance: dg.DagsterInstance, key: str) -> int:
    records = instance.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION, asset_key=UP, asset_partitions=[key]), limit=1
    )
    return records[0].storage_id


def test_what_is_below_knows_what_it_was_made_from(instance: dg.DagsterInstance) -> None:
    materialize(instance, up, down)
    record = instance.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION, asset_key=DOWN, asset_partitions=["p03"]),
        limit=1,
    )[0]
    assert record.asset_materialization is not None
    assert (record.asset_materialization.tags or {})[DATA_VERSION_TAG] == "w-p03"


def test_an_event_without_a_version_of_its_own_keeps_dagsters(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def plain() -> int:
        return 1

    dg.materialize([plain], instance=instance)
    event = instance.get_latest_materialization_event(dg.AssetKey("plain"))
    assert event is not None
    assert event.asset_materialization is not None
    assert len((event.asset_materialization.tags or {})[DATA_VERSION_TAG]) == 64, "a hash, as Dagster makes it"


def test_a_mixed_batch_is_stored_event_by_event(instance: dg.DagsterInstance) -> None:
    result = materialize(instance, up)
    stored = instance.all_logs(result.run_id)
    assert [entry.dagster_event_type for entry in stored].count(dg.DagsterEventType.RUN_SUCCESS) == 1
    storage = instance.event_log_storage
    before = len(instance.all_logs(result.run_id))
    storage.store_event_batch(stored[:2])
    assert len(instance.all_logs(result.run_id)) == before + 2


def test_the_internals_that_are_leant_on_are_there() -> None:
    """A new Dagster that moves these fails here, by name, and not in a user's range run."""
    for name in (
        "_event_to_row",
        "_store_asset_event_tags",
        "_store_asset_event",
        "run_connection",
        "index_transaction",
    ):
        assert hasattr(SqliteEventLogStorage, name), f"dagster's event log has no {name} any more"


DAYS = dg.DailyPartitionsDefinition(start_date="2012-01-02", end_date="2012-03-01")


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def daily() -> None: ...


@dg.asset_check(asset=daily)
def fine() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def test_a_check_declared_without_partitions_is_planned_once(instance: dg.DagsterInstance) -> None:
    days = DAYS.get_partition_keys()
    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    dg.materialize([daily, fine], instance=instance, tags=tags)
    storage = instance.event_log_storage
    records = storage.get_asset_check_execution_history(dg.AssetCheckKey(daily.key, "fine"), limit=100)
    assert [(record.status.value, record.partition) for record in records] == [("SUCCEEDED", None)]
