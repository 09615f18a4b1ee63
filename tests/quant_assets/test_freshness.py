"""Which part of a tier has to run, on a small graph of its own."""

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.freshness import INPUTS_TAG, MADE_FROM_TAG, TIER_TAG, Tier, Work, made_from, work

PARTS = dg.StaticPartitionsDefinition(["a", "b", "c", "d"])
KEYS = PARTS.get_partition_keys()
CONTENT: dict[str, str] = {}
"""What the source holds for each partition; its data version."""


def graph(versions: dict[str, str] | None = None) -> dg.Definitions:
    """raw -> tidy -> features, as a tier; `universe` above it, without partitions."""
    code = {"tidy": "1", "features": "1"} | (versions or {})

    @dg.asset
    def universe(context: dg.AssetExecutionContext) -> None:
        context.add_output_metadata({"data_version": CONTENT.get("universe", "u")})

    def made(name: str, above: list[str]) -> dg.AssetsDefinition:
        @dg.asset(
            name=name, deps=above, partitions_def=PARTS, code_version=code.get(name),
            backfill_policy=dg.BackfillPolicy.single_run(),
        )  # fmt: skip
        def asset(context: dg.AssetExecutionContext) -> None:
            for key in context.partition_keys:
                version = f"{name}-{CONTENT.get(key, key)}"
                context.add_asset_metadata({"data_version": version}, partition_key=key)

        return asset

    return dg.Definitions([universe, made("raw", ["universe"]), made("tidy", ["raw"]), made("features", ["tidy"])])


TIER = Tier("history", dg.AssetSelection.assets("raw", "tidy", "features"), PARTS, KEYS)
TOP = Tier("instruments", dg.AssetSelection.assets("universe"), None, [])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    CONTENT.clear()
    storage = {
        "module": "resources.event_log", "class": "QuantSqliteStorage", "config": {"base_dir": str(tmp_path)}
    }  # fmt: skip
    with dg.instance_for_test(overrides={"storage": {"custom": storage}}, temp_dir=str(tmp_path)) as made:
        yield made


def todo(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tier: Tier = TIER, refresh: bool = False
) -> Work | None:
    return work(instance, definitions.resolve_asset_graph(), tier, refresh)


def names(found: Work | None) -> tuple[list[str], list[str]]:
    assert found is not None
    return [key.to_user_string() for key in found.assets], found.keys


def run(
    instance: dg.DagsterInstance, definitions: dg.Definitions, assets: list[str] | None = None,
    first: str = "a", last: str = "d", tier: Tier = TIER,
) -> None:  # fmt: skip
    found = todo(instance, definitions, tier)
    tags = {TIER_TAG: tier.name, INPUTS_TAG: found.inputs if found else ""}
    if tier.partitions_def is not None:
        tags |= {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    keys = [
        dg.AssetKey(name)
        for name in assets
        or sorted(k.to_user_string() for k in tier.selection.resolve(definitions.resolve_asset_graph()))
    ]
    job = definitions.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, asset_selection=keys, tags=tags).success


def test_a_new_tier_is_all_work_and_then_none(instance: dg.DagsterInstance) -> None:
    definitions = graph()
    assert names(todo(instance, definitions)) == (["raw", "tidy", "features"], KEYS)
    run(instance, definitions)
    assert todo(instance, definitions) is None
    refreshed = todo(instance, definitions, refresh=True)
    assert refreshed is not None
    assert (refreshed.reason, refreshed.keys) == ("asked for", KEYS)


def test_a_killed_run_goes_on_where_it_stood(instance: dg.DagsterInstance) -> None:
    definitions = graph()
    run(instance, definitions, ["raw"])
    run(instance, definitions, ["tidy"], "a", "b")
    assert names(todo(instance, definitions)) == (["tidy", "features"], KEYS)
    run(instance, definitions, ["tidy"], "c", "d")
    run(instance, definitions, ["features"], "a", "c")
    assert names(todo(instance, definitions)) == (["features"], ["d"])


def test_changed_code_runs_from_there_down(instance: dg.DagsterInstance) -> None:
    run(instance, graph())
    assert names(todo(instance, graph({"tidy": "2"}))) == (["tidy", "features"], KEYS)
    assert names(todo(instance, graph({"features": "2"}))) == (["features"], KEYS)
    assert todo(instance, graph()) is None


def test_changed_code_that_ran_for_some_partitions_runs_for_the_others(instance: dg.DagsterInstance) -> None:
    run(instance, graph())
    run(instance, graph({"features": "2"}), ["features"], "b", "c")
    assert names(todo(instance, graph({"features": "2"}))) == (["features"], ["a", "d"])


def test_new_inputs_run_the_whole_tier_and_unchanged_ones_do_not(instance: dg.DagsterInstance) -> None:
    definitions = graph()
    run(instance, definitions, tier=TOP)
    run(instance, definitions)
    run(instance, definitions, tier=TOP)
    assert todo(instance, definitions) is None, "the same content again"
    CONTENT["universe"] = "with a new symbol"
    run(instance, definitions, tier=TOP)
    found = todo(instance, definitions)
    assert found is not None
    assert (found.reason, found.keys) == ("its inputs are new", KEYS)


def test_a_new_partition_alone_is_missing(instance: dg.DagsterInstance) -> None:
    definitions = graph()
    run(instance, definitions, first="a", last="c")
    found = todo(instance, definitions)
    assert names(found) == (["raw", "tidy", "features"], ["d"])
    assert found is not None
    assert re.match("1 partitions are missing", found.reason)


def test_an_asset_without_partitions(instance: dg.DagsterInstance) -> None:
    definitions = graph()
    assert names(todo(instance, definitions, TOP)) == (["universe"], [])
    run(instance, definitions, tier=TOP)
    assert todo(instance, definitions, TOP) is None


def test_an_asset_of_the_tier_that_changed_by_itself_is_noticed(instance: dg.DagsterInstance) -> None:
    definitions = graph()
    run(instance, definitions)
    finished = instance.get_runs(limit=1)[0].run_id
    made = made_from(instance, definitions.resolve_asset_graph(), TIER)
    instance.add_run_tags(finished, {MADE_FROM_TAG: made})
    assert todo(instance, definitions) is None
    CONTENT["b"] = "restated by the provider"
    job = definitions.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("raw")], partition_key="b").success
    found = todo(instance, definitions)
    assert found is not None
    assert (found.reason, found.keys) == ("its inputs are new", KEYS)


def test_a_run_killed_after_its_inputs_changed_leaves_the_rest_to_do(instance: dg.DagsterInstance) -> None:
    definitions = graph()
    run(instance, definitions, tier=TOP)
    run(instance, definitions)
    made = made_from(instance, definitions.resolve_asset_graph(), TIER)
    instance.add_run_tags(instance.get_runs(limit=1)[0].run_id, {MADE_FROM_TAG: made})
    CONTENT["universe"] = "with a new symbol"
    run(instance, definitions, tier=TOP)
    run(instance, definitions, ["raw"])
    assert names(todo(instance, definitions)) == (["tidy", "features"], KEYS)
