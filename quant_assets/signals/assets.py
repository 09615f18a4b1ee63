"""What every strategy wants to do after a session's close."""

import dagster as dg
import polars as pl

from quant_assets import strategies
from quant_assets.metadata import columns, preview, show
from quant_assets.partitions import SESSIONS, SETTINGS, in_partitions
from quant_assets.signals import daily
from quant_assets.signals.daily import SIGNAL_SCHEMA, daily_signals
from quant_assets.versions import code_version

_STRATEGIES = [strategies.create(settings) for settings in SETTINGS.strategies]
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
    context: dg.AssetExecutionContext, panel: pl.LazyFrame, predictions: pl.LazyFrame
) -> pl.DataFrame:
    """Each strategy's target for each symbol, with score, confidence, versions and the top reasons."""
    wanted = sorted({name for strategy in _STRATEGIES for name in strategy.required_features} - {"score", "confidence"})
    features = panel.select("symbol", "ts", "session", "known_at", "tradable", *wanted).join(
        predictions.select("symbol", "session", "score", "confidence"), on=["symbol", "session"], how="left"
    )
    intents = {strategy.name: strategy.intents(features) for strategy in _STRATEGIES}
    signals = daily_signals(intents, predictions, _data_version(context)).filter(in_partitions(context)).collect()
    last = signals.filter(pl.col("session") == pl.col("session").max())
    show(context, {"signals": preview(last.drop("ts", "known_at", "data_version"), 20), "rows": last.height})
    return signals


def _data_version(context: dg.AssetExecutionContext) -> str:
    """The inputs' data versions, as Dagster's provenance holds them for this run."""
    records = [
        context.instance.get_latest_data_version_record(dg.AssetKey(key))
        for key in (["features", "panel"], ["models", "predictions"])
    ]
    tags = [record.event_log_entry.asset_materialization.tags for record in records if record is not None]
    return code_version(*(tag.get("dagster/data_version") for tag in tags))
