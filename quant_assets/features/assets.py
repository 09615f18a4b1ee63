"""What research and models see."""

import inspect
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.cleaned.sessions import session_bars
from quant_assets.features import compute
from quant_assets.features.labels import LABEL_SCHEMA, forward_returns
from quant_assets.features.panel import RANKED, panel, panel_schema
from quant_assets.features.technical import TECHNICAL
from quant_assets.metadata import columns, picture, preview, show, watched
from quant_assets.partitions import HISTORY, SESSIONS, SETTINGS, HistoryOfSessions, in_partitions, lookback
from quant_assets.plots import feature_picture
from quant_assets.versions import code_version
from resources.lake_io import PARTITION_COLUMN, Frames, Table

_COMMON: dict[str, Any] = {"key_prefix": "features", "group_name": "features", "owners": ["team:research"]}


@dg.asset(
    **_COMMON,
    kinds={"polars", "talib"},
    partitions_def=HISTORY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={"bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=lookback(TECHNICAL.lookback))},
    code_version=TECHNICAL.code_version,
    metadata=columns(
        dict.fromkeys(TECHNICAL.names, pl.Float64), {feature.name: feature.description for feature in TECHNICAL}
    ),
)
def technical(context: dg.AssetExecutionContext, bars: Table) -> Frames:
    """Trend, momentum, volatility and volume of each symbol, known at the session's close. All are free of scale."""

    def parts() -> Iterator[pl.LazyFrame]:
        for group in bars.symbol_groups():
            rows = session_bars(bars.scan(group), SETTINGS.timeframe)
            yield compute(rows, TECHNICAL.names).filter(in_partitions(context))
            context.log.info(f"computed up to {group[-1]}")

    return watched(
        context,
        parts(),
        lambda last, rows: {
            "rows": rows,
            "features": len(TECHNICAL.names),
            "preview": preview(last.select(last.columns[:12])),
        },
    )


@dg.asset(
    **_COMMON,
    name="panel",
    kinds={"polars"},
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={
        "technical": dg.AssetIn(["features", "technical"], partition_mapping=HistoryOfSessions()),
        "bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=HistoryOfSessions()),
        "instruments": dg.AssetIn(["market_data", "instruments"]),
    },
    code_version=code_version(inspect.getmodule(panel)),
    metadata=columns(
        panel_schema(TECHNICAL.names),
        {
            "tradable": "the session has a real bar with volume",
            **{f"{name}_rank": "place among the tradable symbols of the session, 0 to 1" for name in RANKED},
            **{feature.name: feature.description for feature in TECHNICAL},
        },
    ),
)
def panel_asset(context: dg.AssetExecutionContext, technical: Table, bars: Table, instruments: pl.LazyFrame) -> Frames:
    """All symbols of a session side by side: who could be traded, every feature, and ranks across the universe."""

    def parts() -> Iterator[pl.LazyFrame]:
        universe = instruments.select("symbol")
        for window in technical.dates:
            # Features of a symbol that left the universe stay in the lake, and out of the panel.
            rows = technical.scan(dates=[window]).join(universe, on="symbol", how="semi", maintain_order="left")
            traded = session_bars(bars.scan(dates=[window]), SETTINGS.timeframe)
            yield panel(rows, traded, instruments).filter(in_partitions(context))

    return watched(
        context,
        parts(),
        lambda last, rows: {
            "rows": rows,
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
        **columns(LABEL_SCHEMA, {"known_session": "on its close, and not before, the return is known"}),
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
