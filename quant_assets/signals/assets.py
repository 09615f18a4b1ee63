"""What every strategy wants to do after a session's close."""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from quant_assets import strategies
from quant_assets.features.assets import SETS
from quant_assets.features.panel import panel_schema
from quant_assets.metadata import columns, preview, watched
from quant_assets.partitions import SESSIONS, SETTINGS, date_keys
from quant_assets.signals import daily
from quant_assets.signals.daily import SIGNAL_SCHEMA, daily_signals
from quant_assets.versions import code_version
from resources.lake import Lake
from resources.lake_io import Frames, Table

_STRATEGIES = [strategies.create(settings) for settings in SETTINGS.strategies]
for _strategy in _STRATEGIES:
    strategies.check_panel(_strategy, panel_schema(SETS.panel.names))
_SESSIONS_AT_ONCE = 250
_HISTORY = max(strategy.history for strategy in _STRATEGIES) + 1
# One session more than the strategies need, so that each signal knows the target of the session before.
_WINDOW = dg.TimeWindowPartitionMapping(start_offset=-_HISTORY - 1, allow_nonexistent_upstream_partitions=True)


@dg.asset(
    name="daily",
    key_prefix="signals",
    group_name="signals",
    owners=["team:trading"],
    kinds={"polars", "parquet"},
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={
        "panel": dg.AssetIn(["features", "panel"], partition_mapping=_WINDOW),
        "predictions": dg.AssetIn(["models", "predictions"], partition_mapping=_WINDOW),
    },
    code_version=code_version(
        daily, *(module for strategy in _STRATEGIES for module in strategies.code(strategy)), *SETTINGS.strategies
    ),
    metadata=columns(
        SIGNAL_SCHEMA,
        {
            "target_weight": "fraction of equity to hold from the next open",
            "order_intent": "buy, sell or hold, against the session before",
            "reasons": "the strategy's own first, then the model's largest contributions",
        },
    ),
)
def daily_signals_asset(
    context: dg.AssetExecutionContext, panel: Table, predictions: Table, lake: dg.ResourceParam[Lake]
) -> Frames:
    """Each strategy's target for each symbol, with score, confidence, versions and the top reasons."""
    keys = date_keys(context)

    def parts() -> Iterator[pl.LazyFrame]:
        for first in range(0, len(keys), _SESSIONS_AT_ONCE):
            wanted = keys[first : first + _SESSIONS_AT_ONCE]
            # The same window before each part as a run of a single session has: both give the same signals.
            known = [date for date in panel.dates if date <= wanted[-1]]
            window = known[max(0, bisect_left(known, wanted[0]) - _HISTORY - 1) :]
            signals = _signals(panel.scan(dates=window), predictions.scan(dates=window))
            yield (
                signals.drop("data_version")
                .join(_data_versions(lake, wanted), on="session", maintain_order="left")
                .select(*SIGNAL_SCHEMA)
            )

    return watched(context, parts(), lambda last, rows: {"rows": rows, "signals": preview(_newest(last), 20)})


def _signals(panel: pl.LazyFrame, predictions: pl.LazyFrame) -> pl.LazyFrame:
    needed = sorted({name for strategy in _STRATEGIES for name in strategy.required_features} - {"score", "confidence"})
    features = panel.select("symbol", "ts", "session", "known_at", "tradable", *needed).join(
        predictions.select("symbol", "session", "score", "confidence"), on=["symbol", "session"], how="left"
    )
    return daily_signals({strategy.name: strategy.intents(features) for strategy in _STRATEGIES}, predictions, "")


def _newest(signals: pl.DataFrame) -> pl.DataFrame:
    newest = signals.filter(pl.col("session") == pl.col("session").max())
    return newest.drop("ts", "known_at", "data_version")


def _data_versions(lake: Lake, keys: list[str]) -> pl.LazyFrame:
    """session and data_version: one short name for the versions of the session's panel and predictions."""
    inputs = (("features", "panel"), ("models", "predictions"))
    versions = [
        code_version(*(lake.stored_version(lake.path(asset, {"date": key})) for asset in inputs)) for key in keys
    ]
    return pl.LazyFrame({"session": [date.fromisoformat(key) for key in keys], "data_version": versions})
