"""Features of whole histories: one symbol after the other, on all cores, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from quant_assets.features.context import Context
from quant_assets.features.definition import Across, Coarse, Feature, FeatureSet
from quant_assets.features.inputs import KEYS, check_columns, needed, prepared
from quant_assets.features.plan import Plan
from quant_assets.features.timeframes import columns

BATCH = 32_000_000
"""Bytes of values that are handed on at once, or one symbol's; memory follows this, not the market."""

AHEAD = 256_000_000
"""Bytes of values that may wait, computed or under way."""

LEAST = 10_000
"""Rows that are worth a thread of their own."""


def evaluate(features: FeatureSet, bars: pl.LazyFrame, context: Context | None = None) -> pl.LazyFrame:
    """The keys of the bars (symbol, ts, and session and known_at if they have them) and a Float64 column a feature.

    One row for every bar, sorted by symbol and ts. Nothing is computed before the frame is collected, and then only
    the columns that are asked for. Collected on the streaming engine (or written by `sink_parquet`) memory stays
    bounded, unless a feature looks across symbols.

    Raises BarSchemaError on missing columns at once, on repeated or unordered keys when it is collected.
    """
    known = context or Context()
    held = bars.collect_schema()
    inputs = sorted({"adj_close", *(name for feature in features for name in feature.inputs)})
    check_columns(held, [name for name in needed(inputs) if name not in KEYS])
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
    bases = {base.name: base for feature in across for base in feature.build.of}  # type: ignore[union-attr]
    every = {**{feature.name: feature for feature in alone}, **bases}
    # With the close, a bar without prices is a gap for what reads volume alone, too.
    inputs = sorted({"adj_close", *(name for feature in features for name in feature.inputs)})
    frame = prepared(bars, inputs, context)
    frame = frame.hstack(_coarse([*every.values()], frame, context, "session" in bars.collect_schema()))
    if not across:
        yield from by_symbol(alone, frame)
        return
    table = (
        pl.concat([*by_symbol(list(every.values()), frame)]) if frame.height else _nothing(list(every.values()), frame)
    )
    extra = [name for name in frame.columns if name not in table.columns]
    wide = pl.concat([table, frame.select(extra)], how="horizontal") if extra else table
    keys = [name for name in KEYS if name in frame.columns]
    # In two steps: an expression that is named twice is computed twice.
    raw = wide.with_columns(_raw(feature) for feature in across)
    made = raw.with_columns(_finished(feature) for feature in across)
    yield made.select(*keys, *features.names)


def _coarse(features: Sequence[Feature], frame: pl.DataFrame, context: Context, dated: bool) -> list[pl.Series]:
    """A column for each feature of coarser bars."""
    builds = [feature.build for feature in features if isinstance(feature.build, Coarse)]
    bases = {build.feature.name: build.feature for build in builds}

    def compute(names: Sequence[str], bars: pl.DataFrame) -> pl.DataFrame:
        some = FeatureSet("coarse", tuple(bases[name] for name in names))
        return pl.concat(batches(some, bars.lazy(), context))

    asked = [(each.feature.name, each.timeframe, each.reads, each.feature.scope == "universe") for each in builds]
    return columns(frame, asked, context, dated, compute)


def _raw(feature: Feature) -> pl.Expr:
    build = feature.build
    assert isinstance(build, Across)
    return build.function(**feature.parameters).cast(pl.Float64).alias(feature.name)


def _finished(feature: Feature) -> pl.Expr:
    value = pl.col(feature.name)
    return pl.when(value.is_finite()).then(value.clip(*feature.bounds)).alias(feature.name)


def by_symbol(features: Sequence[Feature], frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The keys and the features, a piece of the market after the other, each computed in a thread.

    A symbol's history is one piece at least. Where its values are so many that there is no memory for a piece a thread,
    or where there are fewer pieces than threads, the threads share the passes over one history instead.
    """
    if not frame.height:
        yield _nothing(features, frame)
        return
    keys = frame.select([name for name in KEYS if name in frame.columns])
    if not features:
        yield keys
        return
    plan, workers = Plan(features), os.cpu_count() or 1
    pieces = _pieces(frame, BATCH // (8 * len(features)), workers)
    step = max(1, 2 * BATCH // (8 * len(features)))
    largest = max(ends[-1] - start for start, ends in pieces) * len(features) * 8
    ahead = max(1, min(workers + 1, AHEAD // largest))
    shared = min(ahead, len(pieces)) < workers

    def one(start: int, ends: Sequence[int]) -> Iterator[pl.DataFrame]:
        rows, own = frame.slice(start, ends[-1] - start), keys.slice(start, ends[-1] - start)
        values = plan.values(rows, [end - start for end in ends], passes.map if shared else map)
        starts = range(0, rows.height, step)
        made = (own.slice(at, step).hstack(plan.table(values[:, at : at + step])) for at in starts)
        # A long history is handed on in parts, each copied when its turn comes.
        return made if rows.height > step else iter(list(made))

    with (
        ThreadPoolExecutor(workers, thread_name_prefix="features") as pool,
        ThreadPoolExecutor(workers, thread_name_prefix="passes") as passes,
    ):
        waiting: deque[Future[Iterator[pl.DataFrame]]] = deque()
        for start, ends in pieces:
            waiting.append(pool.submit(one, start, ends))
            if len(waiting) >= ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _pieces(frame: pl.DataFrame, rows: int, workers: int) -> list[tuple[int, list[int]]]:
    """Where each piece starts, and where its symbols end: so many as fill a batch, but some pieces a thread."""
    wanted = min(rows, max(LEAST, frame.height // (4 * workers)))
    pieces: list[tuple[int, list[int]]] = []
    for end in frame["symbol"].rle().struct.field("len").cum_sum():
        if pieces and pieces[-1][1][-1] - pieces[-1][0] < wanted:
            pieces[-1][1].append(end)
        else:
            pieces.append((pieces[-1][1][-1] if pieces else 0, [end]))
    return pieces


def _nothing(features: Sequence[Feature], frame: pl.DataFrame) -> pl.DataFrame:
    keys = frame.select([name for name in KEYS if name in frame.columns])
    return keys.with_columns(pl.lit(np.nan).alias(feature.name) for feature in features).clear()
