"""Which part of a tier has to run: what is missing, made by older code, or made from other inputs.

Errs towards running: a tier is left alone only where nothing of that can be so. What runs without need gives the
same data versions again, so nothing below it is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG

INPUTS_TAG, TIER_TAG = "quant/inputs", "quant/tier"


@dataclass(frozen=True)
class Tier:
    """Assets that are partitioned alike and run together, with the partition keys that should be there."""

    name: str
    selection: dg.AssetSelection
    partitions_def: dg.PartitionsDefinition | None
    keys: Sequence[str]
    one_run: bool = True
    """False where each partition is a run of its own."""


@dataclass(frozen=True)
class Work:
    """What of a tier has to run: assets, and the keys between which (both included) they are not in order."""

    assets: list[dg.AssetKey]
    keys: list[str]
    inputs: str
    reason: str


def work(instance: dg.DagsterInstance, graph: dg.AssetGraph, tier: Tier, refresh: bool = False) -> Work | None:
    """The work that a tier needs; None where it is fresh."""
    assets = [key for key in graph.toposorted_asset_keys if key in tier.selection.resolve(graph)]
    inputs = _digest(instance, {parent for key in assets for parent in graph.get(key).parent_keys} - set(assets))
    if refresh:
        return Work(assets, list(tier.keys), inputs, "asked for")
    if inputs != _last_inputs(instance, tier.name):
        return Work(assets, list(tier.keys), inputs, "its inputs are new")
    pending: dict[dg.AssetKey, list[str]] = {}
    for asset in assets:
        wanting = _wanting(instance, asset, graph.get(asset).code_version, tier)
        inherited = [key for parent in graph.get(asset).parent_keys for key in pending.get(parent, [])]
        if wanting or inherited:
            pending[asset] = sorted({*wanting, *inherited})
    if not pending:
        return None
    keys = sorted({key for keys in pending.values() for key in keys})
    return Work(
        list(pending),
        keys,
        inputs,
        f"{len(keys)} partitions are missing or made by older code" if tier.keys else "missing or made by older code",
    )


def _wanting(instance: dg.DagsterInstance, asset: dg.AssetKey, code_version: str | None, tier: Tier) -> list[str]:
    if tier.partitions_def is None:
        event = instance.get_latest_materialization_event(asset)
        tags = event.asset_materialization.tags if event and event.asset_materialization else None
        return [""] if tags is None or (code_version and tags.get(CODE_VERSION_TAG) != code_version) else []
    held = _tags(instance, asset)
    return [
        str(key)
        for key in tier.keys
        if str(key) not in held or (code_version and held[str(key)].get(CODE_VERSION_TAG) != code_version)
    ]


def _tags(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, dict[str, str]]:
    storage = instance.event_log_storage
    found = storage.get_latest_tags_by_partition(
        asset, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG, CODE_VERSION_TAG]
    )
    return {partition: dict(tags) for partition, tags in found.items()}


def _digest(instance: dg.DagsterInstance, assets: set[dg.AssetKey]) -> str:
    digest = hashlib.blake2b(digest_size=10)
    for asset in sorted(assets, key=lambda key: key.to_user_string()):
        digest.update(asset.to_user_string().encode())
        event = instance.get_latest_materialization_event(asset)
        if event and event.asset_materialization and event.asset_materialization.partition is None:
            digest.update((event.asset_materialization.tags or {}).get(DATA_VERSION_TAG, "").encode())
        for partition, tags in sorted(_tags(instance, asset).items()):
            digest.update(f"{partition}={tags.get(DATA_VERSION_TAG)}".encode())
    return digest.hexdigest()


def _last_inputs(instance: dg.DagsterInstance, tier: str) -> str | None:
    """The inputs' digest of the tier's last run that began, finished or not: what is there was made from these."""
    runs = instance.get_runs(dg.RunsFilter(tags={TIER_TAG: tier}), limit=1)
    return runs[0].tags.get(INPUTS_TAG) if runs else None
