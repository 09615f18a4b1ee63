"""Dagster's door to the lake: assets return frames, and are given frames or tables.

An asset's input is loaded as what its annotation asks for: `pl.LazyFrame` (every mapped partition) or
`Table` (the same, to be read a slice at a time, so that memory follows the slice and not the range).
It returns a frame, `Frames`, or a `Bundle` (a frame with further files beside it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator

from resources.calendars import session_date
from resources.errors import LakeError
from resources.event_log import DATA_VERSION_METADATA
from resources.lake import Lake, Staging, Written

PARTITION_COLUMN = "lake/partition_column"
"""Definition metadata: which Date column places a row in a date partition (default: session, else ts)."""

BATCH_SYMBOLS = 50


@dataclass(frozen=True, slots=True)
class Bundle:
    """A partition's rows with more frames and files beside them (a backtest's fills, its page)."""

    rows: pl.DataFrame
    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames made one after the other as they are written; each holds whole partitions.

    `committing` is entered when all of them are staged, and left when they have replaced what was there: what it raises
    keeps that as it is. `written` is called when all of them can be read. A class of its own, because Dagster would
    take a bare generator for a stream of events.
    """

    parts: Iterable[pl.DataFrame | pl.LazyFrame]
    written: Callable[[], None] | None = None
    committing: Callable[[], AbstractContextManager[None]] = nullcontext

    def __iter__(self) -> Iterator[pl.DataFrame | pl.LazyFrame]:
        return iter(self.parts)


class Table:
    """The mapped partitions of an input, read a slice at a time."""

    def __init__(self, lake: Lake, asset: Sequence[str], partitions: Sequence[Mapping[str, str]]) -> None:
        self._lake, self._asset, self._partitions = lake, asset, partitions

    @property
    def dates(self) -> list[str]:
        """Date keys of the mapped partitions, in order."""
        return sorted({partition["date"] for partition in self._partitions})

    @property
    def symbols(self) -> list[str]:
        return sorted({partition["symbol"] for partition in self._partitions})

    def symbol_groups(self, size: int = BATCH_SYMBOLS) -> list[list[str]]:
        """The symbols in groups of at most `size`."""
        symbols = self.symbols
        return [symbols[first : first + size] for first in range(0, len(symbols), size)]

    def scan(self, symbols: Sequence[str] | None = None, dates: Sequence[str] | None = None) -> pl.LazyFrame:
        """Rows of these symbols and date keys; of all that are mapped where none are named.

        Raises LakeError where nothing was written for any of them.
        """
        only_symbols, only_dates = _set(symbols), _set(dates)
        return self._lake.scan(
            self._asset,
            [
                part
                for part in self._partitions
                if (only_symbols is None or part["symbol"] in only_symbols)
                and (only_dates is None or part["date"] in only_dates)
            ],
        )


def _set(keys: Sequence[str] | None) -> set[str] | None:
    return None if keys is None else set(keys)


class LakeIOManager(dg.IOManager):
    """Stores asset partitions in the lake and loads them by the partitions that Dagster maps.

    `calendar` places a timestamp in a date partition: the session that it belongs to by the venue's clock.
    """

    def __init__(self, lake: Lake, calendar: str) -> None:
        self.lake = lake
        self._calendar = calendar

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame | Table:
        asset = context.asset_key.path
        if not context.has_asset_partitions:
            return self.lake.scan(asset, [{}])
        definition = context.asset_partitions_def
        # Dagster hands the keys over as a set: an order of our own keeps rows, and so data versions, the same.
        partitions = sorted(
            (partition_of(definition, key) for key in context.asset_partition_keys),
            key=lambda part: tuple(part.values()),
        )
        self._refuse_lost(context, asset, partitions)
        if context.dagster_type.typing_type is Table:
            return Table(self.lake, asset, partitions)
        return self.lake.scan(asset, partitions)

    def _refuse_lost(
        self, context: dg.InputContext, asset: Sequence[str], partitions: Sequence[dict[str, str]]
    ) -> None:
        """Partitions that were never written are left out; one that was materialized and is gone is an error.

        Raises LakeError naming it: without this a symbol would silently drop out of everything below.
        """
        absent = [partition for partition in partitions if not self.lake.exists(asset, partition)]
        if not absent:
            return
        multi = isinstance(context.asset_partitions_def, dg.MultiPartitionsDefinition)
        made = context.instance.get_materialized_partitions(context.asset_key)
        lost = [part for part in absent if (str(dg.MultiPartitionKey(part)) if multi else part["date"]) in made]
        if lost:
            raise LakeError(
                f"{'/'.join(asset)}: {lost[0]} was materialized, but its file is gone from the lake "
                f"({len(lost)} such partitions); materialize it again"
            )

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        asset = tuple(context.asset_key.path)
        with ExitStack() as committing, self.lake.writing(asset) as staging:
            if isinstance(obj, Bundle):
                written = self._stage_bundle(context, staging, obj)
            elif not context.has_asset_partitions:
                written = staging.write([({}, _collect(obj))])
            else:
                written = self._stage_partitions(context, staging, obj)
            if isinstance(obj, Frames):
                committing.enter_context(obj.committing())
        if isinstance(obj, Frames) and obj.written is not None:
            obj.written()
        self._report(context, written)

    def _stage_bundle(self, context: dg.OutputContext, staging: Staging, bundle: Bundle) -> list[Written]:
        partition = (
            partition_of(context.asset_partitions_def, context.partition_key) if context.has_asset_partitions else {}
        )
        for name, frame in bundle.frames.items():
            staging.write_extra(partition, name, frame)
        for name, content in bundle.files.items():
            staging.write_bytes(partition, name, content)
        return staging.write([(partition, bundle.rows)])

    def _stage_partitions(self, context: dg.OutputContext, staging: Staging, obj: Any) -> list[Written]:
        definition = context.asset_partitions_def
        expected = {key: partition_of(definition, key) for key in context.asset_partition_keys}
        missing = {tuple(sorted(partition.items())) for partition in expected.values()}
        place = self._placing(context, definition)
        written: list[Written] = []
        empty: pl.DataFrame | None = None
        # A part is written while the next is computed; no more than these two are held.
        with ThreadPoolExecutor(1) as background:
            before: Future[list[Written]] | None = None
            for frame in [obj] if isinstance(obj, pl.DataFrame | pl.LazyFrame) else obj:
                rows = _collect(frame)
                empty = rows.clear()
                ordered, partitions, lengths = self._split(context, rows, place)
                self._tick_off(context, partitions, missing)
                written += before.result() if before else []
                before = background.submit(staging.write_slices, partitions, ordered, lengths)
            written += before.result() if before else []
        if empty is None:
            raise LakeError(f"{context.asset_key.to_user_string()}: the asset returned no frame, not even an empty one")
        left = [partition for partition in expected.values() if tuple(sorted(partition.items())) in missing]
        return written + staging.write_slices(left, empty, [0] * len(left))

    def _tick_off(
        self, context: dg.OutputContext, partitions: Sequence[Mapping[str, str]], missing: set[tuple[Any, ...]]
    ) -> None:
        """Take written partitions out of `missing`; raises LakeError for one that is not in it."""
        for partition in partitions:
            key = tuple(sorted(partition.items()))
            if key not in missing:
                raise LakeError(
                    f"{context.asset_key.to_user_string()}: rows of {partition} are outside this run's partitions, "
                    "or came twice; filter the asset's rows to the partitions it was asked for"
                )
            missing.discard(key)

    def _placing(self, context: dg.OutputContext, definition: dg.PartitionsDefinition) -> dict[str, pl.Expr]:
        """For each dimension, the expression that gives a row's partition key."""
        column = (context.definition_metadata or {}).get(PARTITION_COLUMN)
        dimensions = (
            {part.name: part.partitions_def for part in definition.partitions_defs}
            if isinstance(definition, dg.MultiPartitionsDefinition)
            else {"date": definition}
        )
        return {
            name: date_key(part.fmt, self._calendar, column)
            if isinstance(part, dg.TimeWindowPartitionsDefinition)
            else pl.col(name)
            for name, part in dimensions.items()
        }

    def _split(
        self, context: dg.OutputContext, rows: pl.DataFrame, place: Mapping[str, pl.Expr]
    ) -> tuple[pl.DataFrame, list[dict[str, str]], list[int]]:
        """The rows with those of a partition together, the partitions in that order, and their row counts."""
        if (
            "session" not in rows.columns
            and "ts" not in rows.columns
            and (context.definition_metadata or {}).get(PARTITION_COLUMN) is None
        ):
            raise LakeError(
                f"{context.asset_key.to_user_string()}: rows need a session or ts column; they have {rows.columns}"
            )
        names = {f"__{name}": name for name in sorted(place, reverse=True)}
        keyed = rows.with_columns(**{temporary: place[name] for temporary, name in names.items()})
        keyed = keyed.sort(list(names), maintain_order=True)
        counts = keyed.group_by(list(names), maintain_order=True).len()
        partitions = [dict(zip(names.values(), map(str, keys[:-1]), strict=True)) for keys in counts.iter_rows()]
        return keyed.drop(list(names)), partitions, counts["len"].to_list()

    def _report(self, context: dg.OutputContext, written: Sequence[Written]) -> None:
        """Rows and data version of each partition; the event log turns the latter into the event's tag."""
        changed = sum(part.changed for part in written)
        context.log.info(
            f"{len(written)} partitions, {changed} of them changed, {sum(part.rows for part in written)} rows"
        )
        if not context.has_asset_partitions:
            context.add_output_metadata(
                {"dagster/row_count": written[0].rows, DATA_VERSION_METADATA: written[0].data_version}
            )
            return
        multi = isinstance(context.asset_partitions_def, dg.MultiPartitionsDefinition)
        facts: dict[str, Mapping[str, Any]] = {}
        for part in written:
            keys = dict(part.partition)
            key = dg.MultiPartitionKey(keys) if multi else keys["date"]
            facts[key] = {"dagster/partition_row_count": part.rows, DATA_VERSION_METADATA: part.data_version}
        add_partition_metadata(context.step_context, context.asset_key, facts)


def add_partition_metadata(
    step_context: Any, asset_key: dg.AssetKey, by_partition: Mapping[str, Mapping[str, Any]]
) -> None:
    """Attach metadata to many partitions of the running step's asset at once.

    Dagster's own call checks the whole run's range and copies everything anew for each partition: 80 s for
    3,270 sessions. This adds to the same store in one go; a test holds it to what Dagster reads back.
    """
    held = step_context._metadata_accumulator.per_output_metadata
    handles = {key: AssetMetadataHandle(asset_key=asset_key, partition_key=key) for key in by_partition}
    merged: dict[Any, Mapping[str, Any]] = {
        handle: {**held.get(handle, {}), **by_partition[key]} for key, handle in handles.items()
    }
    step_context._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata={**held, **merged})


def date_key(fmt: str, calendar: str, column: str | None = None) -> pl.Expr:
    """The date partition of a row: its `session` (or the named Date column) in the grain's format."""
    if column is not None:
        return pl.col(column).dt.strftime(fmt)
    return pl.coalesce(pl.col("^session$"), session_date(pl.col("^ts$"), calendar)).dt.strftime(fmt)


def partition_of(definition: dg.PartitionsDefinition | None, key: str) -> dict[str, str]:
    """The lake's partition of a Dagster key: {"symbol": …, "date": …}, or {"date": …}."""
    if isinstance(definition, dg.MultiPartitionsDefinition):
        known = key if isinstance(key, dg.MultiPartitionKey) else definition.get_partition_key_from_str(key)
        keys = known.keys_by_dimension
        return {name: keys[name] for name in sorted(keys, reverse=True)}
    return {"date": key}


def _collect(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, Iterable):
        return pl.concat([_collect(part) for part in frame])
    raise LakeError(f"an asset returned {type(frame).__name__}; it must return polars frames")
