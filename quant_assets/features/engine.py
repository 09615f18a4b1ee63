"""Features of whole histories: one symbol after the other, on all cores, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from quant_assets.features.context import Context
from quant_assets.features.definition import Across, Feature, FeatureSet
from quant_assets.features.inputs import KEYS, check_columns, needed, prepared
from quant_assets.features.plan import Plan

BATCH_ROWS = 50_000
"""Rows that are handed on at once, at least; memory follows this and the longest history, not the market."""


def evaluate(features: FeatureSet, bars: pl.LazyFrame, context: Context | None = None) -> pl.LazyFrame:
    """The keys of the bars (symbol, ts, and session and known_at if they have them) and a Float64 column a feature.

    One row for every bar, sorted by symbol and ts. Nothing is computed before the frame is collected, and then only
    the columns that are asked for. Collected on the streaming engine (or written by `sink_parquet`) memory stays
    bounded, unless a feature looks across symbols.

    Raises BarSchemaError on missing columns at once, on repeated or unordered keys when it is collected.
    """
    known = context or Context()
    held = bars.collect_schema()
    inputs = sorted({name for feature in features for name in feature.inputs})
    check_columns(held.names(), [name for name in needed(inputs) if name not in KEYS])
    keys = [name for name in KEYS if name in held]
    schema = pl.Schema({name: held[name] for name in keys} | dict.fromkeys(features.names, pl.Float64()))

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        asked = schema.names() if with_columns is None else with_columns
        some = FeatureSet(features.name, tuple(feature for feature in features if feature.name in asked))
        left = n_rows
        for frame in batches(some, bars, known):
            found = frame.select(asked)
            found = found if left is None else found.head(left)
            left = None if left is None else left - found.height
            yield found if predicate is None else found.filter(predicate)
            if left == 0:
                return

    return register_io_source(source, schema=schema)


def batches(features: FeatureSet, bars: pl.LazyFrame, context: Context) -> Iterator[pl.DataFrame]:
    """The keys and the features, some symbols at a time; all at once where a feature looks across symbols."""
    alone = [feature for feature in features if not isinstance(feature.build, Across)]
    across = [feature for feature in features if isinstance(feature.build, Across)]
    inputs = sorted({name for feature in features for name in feature.inputs})
    frame = prepared(bars, inputs, context)
    if not across:
        yield from _joined(_by_symbol(alone, frame))
        return
    bases = {base.name: base for feature in across for base in feature.build.of}  # type: ignore[union-attr]
    every = {**{feature.name: feature for feature in alone}, **bases}
    table = (
        pl.concat([*_by_symbol(list(every.values()), frame)]) if frame.height else _nothing(list(every.values()), frame)
    )
    extra = [name for name in frame.columns if name not in table.columns]
    wide = pl.concat([table, frame.select(extra)], how="horizontal") if extra else table
    keys = [name for name in KEYS if name in frame.columns]
    made = wide.with_columns(_finished(feature) for feature in across)
    yield made.select(*keys, *features.names)


def _finished(feature: Feature) -> pl.Expr:
    build = feature.build
    assert isinstance(build, Across)
    value = build.function(**feature.parameters).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value.clip(*feature.bounds)).alias(feature.name)


def _by_symbol(features: Sequence[Feature], frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    plan = Plan(features)
    if not frame.height:
        yield _nothing(features, frame)
        return
    keys = frame.select([name for name in KEYS if name in frame.columns])
    ends = [0, *frame["symbol"].rle().struct.field("len").cum_sum().to_list()]
    workers = os.cpu_count() or 1

    def one(start: int, end: int) -> pl.DataFrame:
        table = plan.table(frame.slice(start, end - start))
        return keys.slice(start, end - start).hstack(table)

    with ThreadPoolExecutor(workers, thread_name_prefix="features") as pool:
        waiting: list[Future[pl.DataFrame]] = []
        for start, end in pairwise(ends):
            waiting.append(pool.submit(one, start, end))
            if len(waiting) > 2 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _joined(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(each.height for each in held) >= BATCH_ROWS:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def _nothing(features: Sequence[Feature], frame: pl.DataFrame) -> pl.DataFrame:
    keys = frame.select([name for name in KEYS if name in frame.columns])
    return keys.with_columns(pl.lit(np.nan).alias(feature.name) for feature in features).clear()
