"""What Dagster itself says is fresh or stale: by content where a partition is made again, by code where it changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG, CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from dagster_shared.record import copy

from quant_assets import launch
from quant_assets.definitions import LAKE, defs
from quant_assets.partitions import SETTINGS
from resources.instance import instance as open_instance

pytestmark = pytest.mark.xdist_group("installation")

LOOKED_AT = {  # of each asset, partitions enough to tell
    "market_data/instruments": [None],
    "market_data/bars": ["2010|AAPL", "2011|IBM", "2012|MSFT"],
    "market_data/corporate_actions": ["2010|AAPL", "2011|IBM"],
    "cleaned/bars": ["2010|AAPL", "2011|IBM", "2012|MSFT"],
    "features/technical": ["2010|AAPL", "2011|IBM", "2012|MSFT"],
    "features/panel": ["2010-06-01", "2011-09-15", "2012-03-30"],
    "features/labels": ["2011-09-15", "2012-03-30"],
}


@pytest.fixture
def instance(installation: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(SETTINGS) as made:
        yield made


def stale(instance: dg.DagsterInstance, definitions: dg.Definitions = defs) -> dict[str, dict[str, set[str | None]]]:
    """Of the partitions looked at, those that are not fresh, by asset and the words of the causes."""
    resolver = CachingStaleStatusResolver(
        instance, definitions.resolve_asset_graph(), loading_context=LoadingContextForTest(instance)
    )
    found: dict[str, dict[str, set[str | None]]] = {}
    for asset, keys in LOOKED_AT.items():
        for key in keys:
            status = resolver.get_status(dg.AssetKey.from_user_string(asset), key)
            assert status is not StaleStatus.MISSING, (asset, key)
            if status is StaleStatus.STALE:
                causes = resolver.get_stale_causes(dg.AssetKey.from_user_string(asset), key)
                found.setdefault(asset, {}).setdefault(" and ".join(sorted({c.reason for c in causes})), set()).add(key)
    return found


def versions(instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
    storage = instance.event_log_storage
    tags = storage.get_latest_tags_by_partition(
        dg.AssetKey.from_user_string(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    return {key: tag[DATA_VERSION_TAG] for key, tag in tags.items()}


def with_code_version(asset: str, version: str) -> dg.Definitions:
    """The definitions as they would be if this asset's code were another."""
    key = dg.AssetKey.from_user_string(asset)
    changed = [
        item.map_asset_specs(lambda spec: spec.replace_attributes(code_version=version) if spec.key == key else spec)
        if isinstance(item, dg.AssetsDefinition)
        else item
        for item in defs.assets or []
    ]
    return copy(defs, assets=changed)


def test_after_everything_all_is_fresh(instance: dg.DagsterInstance) -> None:
    assert stale(instance) == {}


def test_each_partition_of_a_range_run_has_the_version_of_its_own_content(instance: dg.DagsterInstance) -> None:
    found = versions(instance, "cleaned/bars")
    assert len(found) == len(set(found.values())) == 9
    for key, version in found.items():
        year, symbol = key.split("|")
        assert LAKE.stored_version(LAKE.path(["cleaned", "bars"], {"symbol": symbol, "date": year})) == version


def test_the_same_input_gives_the_same_versions_and_leaves_what_is_below_fresh(instance: dg.DagsterInstance) -> None:
    before = {asset: versions(instance, asset) for asset in list(LOOKED_AT)[1:5]}
    launch.history("2010", "2012", ["AAPL", "IBM", "MSFT"])
    assert {asset: versions(instance, asset) for asset in before} == before
    launch.partition("market_data/instruments")
    assert stale(instance) == {}


CHANGED = ["cleaned/bars", "features/technical", "features/panel", "features/labels"]


@pytest.mark.parametrize("asset", CHANGED)
def test_a_changed_definition_makes_exactly_its_own_partitions_stale(instance: dg.DagsterInstance, asset: str) -> None:
    """Dagster marks what was made by older code; what is below follows once the content really changes."""
    found = stale(instance, with_code_version(asset, "another"))
    assert {name: set().union(*causes.values()) for name, causes in found.items()} == {asset: set(LOOKED_AT[asset])}
    assert list(found[asset]) == ["has a new code version"]


def test_changed_content_of_one_partition_makes_stale_what_reads_it_and_nothing_else(
    instance: dg.DagsterInstance,
) -> None:
    """A correction of IBM's 2011: later years of IBM and the sessions from then on read it, AAPL and 2010 do not."""
    key = dg.AssetKey(["cleaned", "bars"])
    held = versions(instance, "cleaned/bars")["2011|IBM"]
    try:
        report(instance, key, "2011|IBM", "corrected")
        found = {asset: set().union(*causes.values()) for asset, causes in stale(instance).items()}
    finally:
        report(instance, key, "2011|IBM", held)
    assert found == {"features/technical": {"2011|IBM"}, "features/panel": {"2011-09-15"}}
    assert stale(instance) == {}, "and the old content again is fresh again"


def report(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str, version: str) -> None:
    """A materialization that says that the partition's content is of this version."""
    last = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records[0]
    assert last.asset_materialization is not None
    tags = {**(last.asset_materialization.tags or {}), DATA_VERSION_TAG: version}
    instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition, tags=tags))
