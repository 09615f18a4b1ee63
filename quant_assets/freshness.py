"""Which part of a tier has to run: what is missing, made by older code, or made from other inputs.

Errs towards running: a tier is left alone only where nothing of that can be so. What runs without need gives the
same data versions again, so nothing below it is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG

INPUTS_TAG, MADE_FROM_TAG, TIER_TAG = "quant/inputs", "quant/made_from", "quant/tier"
"""Tags of a tier's runs: what it read from above when it began, all that it was made from when it ended, its name."""


@dataclass(frozen=True)
class Tier:
    """Assets that are partitioned alike and run together, with the partition keys that should be there."""

    name: str
    selection: dg.AssetSelection
    partitions_def: dg.PartitionsDefinition | None
    keys: Sequence[str]
    one_run: bool = True
    """False where each partition is a run of its own."""
    source: str = ""
    """What the tier's assets read outside the graph, as text that changes with it."""
    newest: tuple[str, float] | None = None
    """The date key that still grows, and the time (UTC seconds) since which it must have been made anew."""


Stored = Callable[[dg.AssetKey, str], str | None]
"""The data version that an asset's partition has where it is kept; None where it is missing or damaged."""


@dataclass(frozen=True)
class Work:
    """What of a tier has to run: assets, and the keys between which (both included) they are not in order."""

    assets: list[dg.AssetKey]
    keys: list[str]
    inputs: str
    reason: str


def work(
    instance: dg.DagsterInstance,
    graph: dg.AssetGraph,
    tier: Tier,
    refresh: bool = False,
    stored: Stored | None = None,
) -> Work | None:
    """The work that a tier needs; None where it is fresh.

    With `stored`, a partition whose file is gone, damaged or not the one that was materialized has to run, too.
    """
    assets = [key for key in graph.toposorted_asset_keys if key in tier.selection.resolve(graph)]
    inputs = _digest(instance, _parents(graph, assets) - set(assets), tier.source)
    if refresh:
        return Work(assets, list(tier.keys), inputs, "asked for")
    if _finished_from(instance, tier) == made_from(instance, graph, tier):
        since = None
    else:
        since = _interrupted_since(instance, tier, inputs)
        if since is None:
            return Work(assets, list(tier.keys), inputs, "its inputs are new")
    pending: dict[dg.AssetKey, list[str]] = {}
    for asset in assets:
        wanting = _wanting(instance, asset, graph.get(asset).code_version, tier, since, stored)
        inherited = [key for parent in graph.get(asset).parent_keys for key in pending.get(parent, [])]
        if wanting or inherited:
            pending[asset] = sorted({*wanting, *inherited})
    if not pending:
        # All is there, and yet the last run failed: a blocking check did, and must be heard again.
        return Work(assets, list(tier.keys), inputs, "its last run failed") if _failed(instance, tier) else None
    keys = sorted({key for keys in pending.values() for key in keys})
    reason = "missing, changed or made by older code"
    return Work(list(pending), keys, inputs, f"{len(keys)} partitions are {reason}" if tier.keys else reason)


def made_from(instance: dg.DagsterInstance, graph: dg.AssetGraph, tier: Tier) -> str:
    """Digest of everything that the tier's assets read, inside the tier and above it, as it stands now."""
    return _digest(instance, _parents(graph, tier.selection.resolve(graph)), tier.source)


def _parents(graph: dg.AssetGraph, assets: Iterable[dg.AssetKey]) -> set[dg.AssetKey]:
    return {parent for key in assets for parent in graph.get(key).parent_keys}


def _wanting(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    code_version: str | None,
    tier: Tier,
    since: float | None,
    stored: Stored | None,
) -> list[str]:
    """Keys that are missing, made by other code, or (where `since` is given) not made at or after that time."""
    if tier.partitions_def is None:
        event = instance.get_latest_materialization_event(asset)
        tags = event.asset_materialization.tags if event and event.asset_materialization else None
        old = event is not None and since is not None and event.timestamp < since
        wrong = tags is None or old or (code_version and tags.get(CODE_VERSION_TAG) != code_version)
        lost = tags is not None and stored is not None and stored(asset, "") != tags.get(DATA_VERSION_TAG)
        return [""] if wrong or lost else []
    held = _tags(instance, asset)
    if since is not None:
        recent = _made_since(instance, asset, since)
        held = {key: tags for key, tags in held.items() if key in recent}
    if tier.newest is not None:
        date, closed = tier.newest
        recent = _made_since(instance, asset, closed)
        held = {key: tags for key, tags in held.items() if key.split("|")[0] != date or key in recent}
    if stored is not None:
        held = {key: tags for key, tags in held.items() if stored(asset, key) == tags.get(DATA_VERSION_TAG)}
    return [
        str(key)
        for key in tier.keys
        if str(key) not in held or (code_version and held[str(key)].get(CODE_VERSION_TAG) != code_version)
    ]


def _made_since(instance: dg.DagsterInstance, asset: dg.AssetKey, since: float) -> set[str]:
    found: set[str] = set()
    cursor = None
    while True:
        page = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset, after_timestamp=since), limit=5000, cursor=cursor
        )
        found.update(record.partition_key for record in page.records if record.partition_key is not None)
        if not page.has_more:
            return found
        cursor = page.cursor


def _tags(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, dict[str, str]]:
    storage = instance.event_log_storage
    found = storage.get_latest_tags_by_partition(
        asset, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG, CODE_VERSION_TAG]
    )
    return {partition: dict(tags) for partition, tags in found.items()}


def _digest(instance: dg.DagsterInstance, assets: set[dg.AssetKey], source: str) -> str:
    digest = hashlib.blake2b(source.encode(), digest_size=10)
    for asset in sorted(assets, key=lambda key: key.to_user_string()):
        digest.update(asset.to_user_string().encode())
        event = instance.get_latest_materialization_event(asset)
        if event and event.asset_materialization and event.asset_materialization.partition is None:
            digest.update((event.asset_materialization.tags or {}).get(DATA_VERSION_TAG, "").encode())
        for partition, tags in sorted(_tags(instance, asset).items()):
            digest.update(f"{partition}={tags.get(DATA_VERSION_TAG)}".encode())
    return digest.hexdigest()


def _finished_from(instance: dg.DagsterInstance, tier: Tier) -> str | None:
    """What the tier's newest run was made from; None where it did not finish."""
    runs = instance.get_runs(dg.RunsFilter(tags={TIER_TAG: tier.name}), limit=1)
    return runs[0].tags.get(MADE_FROM_TAG) if runs else None


def _failed(instance: dg.DagsterInstance, tier: Tier) -> bool:
    runs = instance.get_runs(dg.RunsFilter(tags={TIER_TAG: tier.name}), limit=1)
    return bool(runs) and runs[0].status is dg.DagsterRunStatus.FAILURE


def _interrupted_since(instance: dg.DagsterInstance, tier: Tier, inputs: str) -> float | None:
    """When the newest runs of the tier began that read the present inputs and did not finish it; None without any."""
    began = None
    for record in instance.get_run_records(dg.RunsFilter(tags={TIER_TAG: tier.name}), limit=100):
        tags = record.dagster_run.tags
        if tags.get(INPUTS_TAG) != inputs or MADE_FROM_TAG in tags:
            break
        began = record.start_time or record.create_timestamp.timestamp()
    return began
