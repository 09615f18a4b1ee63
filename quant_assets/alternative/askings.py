"""What the sources were asked for, and when: kept with each partition's materialization, so that lateness can be told.

A run that was cut between the lake and its materialization left no word of its asking; the rows that it brought prove
it (`resources.alternative.base.merge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.metadata import normalize_metadata

from quant_assets.partitions import partition_keys
from resources.alternative.base import Kind
from resources.alternative.histories import Asking, remembered_with
from resources.lake_io import add_partition_metadata

ASKED = "alternative/asked"
"""Metadata of a partition: by source, the start, end and instant of each of its askings, in ISO."""

Memory = dict[tuple[str, str], Mapping[str, Sequence[Asking]]]
"""By date key and symbol, and by source."""


def remembered(context: dg.AssetExecutionContext, kind: Kind, partitions: Sequence[Mapping[str, str]]) -> Memory:
    """The askings for these partitions, as their newest materializations tell them.

    `partitions` are those that the lake has: with its file a partition has lost what was known, and begins anew.
    """
    left = {(part["date"], part["symbol"]) for part in partitions}
    keys = [str(dg.MultiPartitionKey(dict(part))) for part in partitions]
    found: Memory = {}
    cursor = None
    while left:
        page = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(["alternative", kind]), asset_partitions=keys), limit=1000, cursor=cursor
        )
        for record in page.records:  # newest first
            event, key = record.asset_materialization, record.partition_key
            if event is None or key is None or ASKED not in event.metadata:
                continue
            partition = _partition(key)
            if partition in left:
                left.remove(partition)
                found[partition] = {name: _read(told) for name, told in dict(event.metadata[ASKED].value).items()}
        if not page.has_more:
            break
        cursor = page.cursor
    return found


def note(
    context: dg.AssetExecutionContext,
    kind: Kind,
    windows: Mapping[str, tuple[datetime, datetime]],
    answered: Sequence[Mapping[str, datetime]],
    before: Memory,
) -> None:
    """Keep with each partition of the run what was asked for `before` and now: its date key's window of `windows`.

    The window counts as asked for at the latest answer of the run, so as to err towards late.
    """
    latest: dict[str, datetime] = {}
    for each in answered:
        latest |= {name: max(at, latest.get(name, at)) for name, at in each.items()}
    facts: dict[str, Mapping[str, Any]] = {}
    for key in map(str, partition_keys(context)):
        partition = _partition(key)
        held = before.get(partition, {})
        asked = {name: Asking(*windows[partition[0]], at) for name, at in latest.items()}
        every = {**held, **{name: remembered_with(held.get(name, ()), new) for name, new in asked.items()}}
        told = {name: [_written(each) for each in askings] for name, askings in every.items()}
        facts[key] = normalize_metadata({ASKED: dg.MetadataValue.json(told)})
    step = context.op_execution_context._step_execution_context
    add_partition_metadata(step, dg.AssetKey(["alternative", kind]), facts)


def _partition(key: str) -> tuple[str, str]:
    day, _, symbol = key.partition("|")
    return day, symbol


def _written(asking: Asking) -> list[str]:
    return [asking.start.isoformat(), asking.end.isoformat(), asking.at.isoformat()]


def _read(told: str | list[list[str]]) -> list[Asking]:
    """A source's askings from metadata. Before windows were kept it had the instant of the last asking alone."""
    if isinstance(told, str):
        return [Asking.for_everything(datetime.fromisoformat(told))]
    return [Asking(*map(datetime.fromisoformat, each)) for each in told]
