"""What research and models see.

One asset a group of features, cut by date and symbol; features/cross_section for those that look across symbols, the
panel and the labels, cut by session. quant_assets.features.stored says which feature is where, configs/features which
of them the panel holds. Of a group that it takes from, the group's asset holds what is taken (or all: `store` of the
configuration); the other groups are whole, and made on demand.
"""

import inspect
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.cleaned.sessions import session_bars
from quant_assets.features.alternative import attach, records, replay, said
from quant_assets.features.context import Context
from quant_assets.features.definition import FeatureSet
from quant_assets.features.health import ages, counted, health, recent_drift, worst
from quant_assets.features.labels import LABEL_SCHEMA, forward_returns
from quant_assets.features.panel import RANKED, gathered, members, panel, panel_schema
from quant_assets.features.sets import configured
from quant_assets.features.stored import ACROSS, in_windows, kinds_read, knows_instruments
from quant_assets.metadata import columns, picture, preview, show, watched
from quant_assets.partitions import (
    HISTORY,
    PARTITIONS,
    SESSIONS,
    SETTINGS,
    HistoryOfSessions,
    date_keys,
    in_partitions,
    lookback,
    windows_before,
)
from quant_assets.plots import feature_picture, health_picture
from quant_assets.versions import code_version
from resources.lake_io import PARTITION_COLUMN, Frames, Table

SETS = configured(SETTINGS)
"""The feature sets of this installation: the model's, and the panel's."""

_COMMON: dict[str, Any] = {"key_prefix": "features", "group_name": "features", "owners": ["team:research"]}

_TOLD = {
    "technical": "Trend, momentum, volatility and volume of each symbol.",
    "alpha158": "The features of qlib's Alpha158 handler, of each symbol.",
    "statistical": "Statistics of each symbol's returns over windows.",
    "microstructure": "Spreads, liquidity and order flow of each symbol.",
    "temporal": "Lags, ranks in time, and where each session lies in the calendar.",
    "alternative": "News, social, fundamental, insider and ESG records of each symbol, by when they were known.",
}

_TABLE = dg.PythonObjectDagsterType(Table)
_INSTRUMENTS = dg.AssetIn(["market_data", "instruments"], dagster_type=dg.PythonObjectDagsterType(pl.LazyFrame))

_SENTIMENT = dg.AssetIn(
    ["alternative", "sentiment"], partition_mapping=lookback(said.RECORD_SESSIONS), dagster_type=_TABLE
)

_ATTACHING = (attach, records, replay, said)
"""The modules that make columns of records."""

_WINDOW = pl.col("session").dt.strftime(PARTITIONS.grain_format)


def _described(held: FeatureSet) -> dict[str, str]:
    return {feature.name: feature.description for feature in held}


def _about(instruments: pl.LazyFrame | None) -> Context:
    table = None if instruments is None else instruments.collect()
    return Context(table, SETTINGS.calendar, SETTINGS.benchmark)


def _shown(last: pl.DataFrame, rows: int, held: FeatureSet, bars: pl.DataFrame) -> Mapping[str, Any]:
    """What an asset's page says: a picture of the worst features of the last batch, and a word on each of them."""
    found = health([counted(last, held, ages(bars.lazy()).collect())], recent_drift(last, held))
    bad = worst(found)
    return {
        "rows": rows,
        "features": len(held),
        "worst features": preview(bad.select("feature", "rows", "null_share", "psi", "by_chance"), bad.height),
        "nulls and drift": picture(health_picture(found), "nulls after the warm-up, and drift, of the worst features"),
        "spread": picture(feature_picture(last.select(bad["feature"].to_list())), "spread of the worst features"),
        "preview": preview(last.select(last.columns[:12])),
    }


def _of_universe(rows: pl.LazyFrame, instruments: pl.LazyFrame) -> pl.LazyFrame:
    """Without symbols that left the universe, which stay in the lake, or that were not listed on the day."""
    return members(rows.join(instruments.select("symbol"), on="symbol", how="semi", maintain_order="left"), instruments)


def group_asset(held: FeatureSet) -> dg.AssetsDefinition:
    """The asset of a group's features of one symbol's own bars.

    Each partition is computed from itself and the partitions before it that its look-back needs, no others: a single
    one and a whole range give the same bytes. A group with columns derived of more than bars also reads the table of
    instruments, one of alternative records their sentiment.
    """
    ins = {
        "bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=lookback(held.lookback), dagster_type=_TABLE),
        **({"instruments": _INSTRUMENTS} if knows_instruments(held) else {}),
        **({"sentiment": _SENTIMENT} if any(map(kinds_read, held)) else {}),
    }

    @dg.asset(
        **_COMMON,
        name=held.name,
        description=f"{_TOLD.get(held.name, 'Features of each symbol.')} Known at the session's close; free of scale.",
        kinds={"polars", "numba"},
        partitions_def=HISTORY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins=ins,
        code_version=code_version(held.code_version, *_ATTACHING) if "sentiment" in ins else held.code_version,
        metadata=columns(dict.fromkeys(held.names, pl.Float64), _described(held)),
    )
    def group(context: dg.AssetExecutionContext, **inputs: Any) -> Frames:
        bars: Table = inputs["bars"]
        about = _about(inputs.get("instruments"))
        read: list[pl.DataFrame] = []

        def parts() -> Iterator[pl.LazyFrame]:
            for symbols in bars.symbol_groups():
                rows = session_bars(bars.scan(symbols), SETTINGS.timeframe).collect()
                if "sentiment" in inputs:
                    told = inputs["sentiment"].scan(symbols).collect()
                    rows = said.with_records(rows, told, SETTINGS.alternative.since(SETTINGS.dates.start))
                read[:] = [rows]
                made = in_windows(rows, held, _WINDOW, date_keys(context), bars.dates, windows_before, about)
                yield made.lazy()
                context.log.info(f"computed up to {symbols[-1]}")

        return watched(context, parts(), lambda last, rows: _shown(last, rows, held, read[0]))

    return group


def across_asset(held: FeatureSet) -> dg.AssetsDefinition:
    """The asset of every feature that looks across symbols, of whatever group: all symbols of a session together.

    A session is computed from the history partitions that hold it and its look-back, among the symbols that were in
    the universe on each date.
    """
    reach = windows_before(held.lookback)

    @dg.asset(
        **_COMMON,
        name=ACROSS,
        description="What a symbol is beside the others of the same session. Known at the session's close.",
        kinds={"polars", "numba"},
        partitions_def=SESSIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={
            "bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=HistoryOfSessions(reach), dagster_type=_TABLE),
            "instruments": _INSTRUMENTS,
        },
        code_version=held.code_version,
        metadata=columns(dict.fromkeys(held.names, pl.Float64), _described(held)),
    )
    def across(context: dg.AssetExecutionContext, **inputs: Any) -> Frames:
        bars: Table = inputs["bars"]
        instruments: pl.LazyFrame = inputs["instruments"]
        about, there = _about(instruments), bars.dates
        read: list[pl.DataFrame] = []

        def parts() -> Iterator[pl.LazyFrame]:
            for window in _windows_of(context):
                near = there[max(0, there.index(window) - reach) : there.index(window) + 1]
                rows = _of_universe(session_bars(bars.scan(dates=near), SETTINGS.timeframe), instruments).collect()
                read[:] = [rows]
                made = in_windows(rows, held, _WINDOW, [window], near, windows_before, about)
                yield made.lazy().filter(in_partitions(context))

        return watched(context, parts(), lambda last, rows: _shown(last, rows, held, read[0]))

    return across


def _windows_of(context: dg.AssetExecutionContext) -> dict[str, list[str]]:
    """The history's windows that hold this run's sessions, in order, and which of the sessions each holds."""
    windows: dict[str, list[str]] = {}
    for key in date_keys(context):
        windows.setdefault(PARTITIONS.date_key(date.fromisoformat(key)), []).append(key)
    return windows


feature_assets = [across_asset(held) if name == ACROSS else group_asset(held) for name, held in SETS.stored.items()]
"""The assets that hold features."""

_ASKED = SETS.panel.by_asset()


@dg.asset(
    **_COMMON,
    name="panel",
    kinds={"polars"},
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={
        **{
            name: dg.AssetIn(
                ["features", name],
                partition_mapping=None if name == ACROSS else HistoryOfSessions(),
                dagster_type=_TABLE,
            )
            for name in _ASKED
        },
        "bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=HistoryOfSessions(), dagster_type=_TABLE),
        "instruments": _INSTRUMENTS,
    },
    code_version=code_version(inspect.getmodule(panel), SETS.panel.names),
    metadata=columns(
        panel_schema(SETS.panel.names),
        {
            "tradable": "the session has a real bar with volume",
            **{f"{name}_rank": "place among the tradable symbols of the session, 0 to 1" for name in RANKED},
            **_described(SETS.panel.features),
        },
    ),
)
def panel_asset(context: dg.AssetExecutionContext, **inputs: Any) -> Frames:
    """All symbols of a session side by side: who could be traded, every feature, and ranks across the universe."""
    bars: Table = inputs["bars"]
    instruments: pl.LazyFrame = inputs["instruments"]

    def parts() -> Iterator[pl.LazyFrame]:
        for window, own in _windows_of(context).items():
            tables = {
                name: _of_universe(inputs[name].scan(dates=own if name == ACROSS else [window]), instruments)
                for name in _ASKED
            }
            tables = {name: table.filter(in_partitions(context)) for name, table in tables.items()}
            traded = session_bars(bars.scan(dates=[window]), SETTINGS.timeframe)
            yield panel(gathered(tables, _ASKED, SETS.panel.names), traded, instruments)

    return watched(
        context,
        parts(),
        lambda last, rows: {
            "rows": rows,
            "feature sets": SETS.panel.description,
            "version of the features": SETS.panel.version,
            "features": picture(feature_picture(last), "features of the last sessions"),
            "preview": preview(last.select(last.columns[:12])),
        },
    )


@dg.asset(
    **_COMMON,
    name="labels",
    kinds={"polars"},
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={
        "rows": dg.AssetIn(
            ["features", "panel"],
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-SETTINGS.model.horizon, allow_nonexistent_upstream_partitions=True
            ),
        )
    },
    code_version=code_version(forward_returns, SETTINGS.model.horizon),
    metadata={
        PARTITION_COLUMN: "known_session",
        **columns(
            LABEL_SCHEMA,
            {
                "known_session": "on its close, and not before, the return is known",
                "decided_at": "close of the session: features known later are not used for it",
            },
        ),
    },
)
def labels_asset(context: dg.AssetExecutionContext, rows: pl.LazyFrame) -> pl.DataFrame:
    """Forward returns, filed under the session on which they became known: no partition holds a later day's price."""
    frame = forward_returns(rows, SETTINGS.model.horizon).filter(in_partitions(context, "known_session")).collect()
    show(
        context,
        {"rows": frame.height, "mean forward return": frame["forward_return"].mean(), "preview": preview(frame)},
    )
    return frame
