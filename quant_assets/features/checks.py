"""Whether features lie in their documented ranges, and are what the past alone gives."""

import dagster as dg
import polars as pl

from quant_assets.checks import pure_check, run_partitions, run_rows, suite_check
from quant_assets.cleaned.sessions import session_bars
from quant_assets.features import compute
from quant_assets.features.technical import TECHNICAL
from quant_assets.partitions import HISTORY, HISTORY_KEY, SESSIONS, SETTINGS
from quant_assets.quality import Verdict, point_in_time
from resources.lake_io import partition_of

TECHNICAL_ASSET, BARS = ("features", "technical"), ("cleaned", "bars")
SAMPLE = 20
"""Rows computed again from the bars known at their session alone."""


def _point_in_time(context: dg.AssetCheckExecutionContext) -> Verdict:
    lake = context.resources.lake
    asked = run_partitions(context, HISTORY)
    partitions = [partition_of(HISTORY, key) for key in asked] or lake.partitions(TECHNICAL_ASSET)
    symbols = sorted({partition["symbol"] for partition in partitions})
    some = set(symbols[:: max(1, len(symbols) // SAMPLE)])
    stored = lake.scan(TECHNICAL_ASSET, [part for part in partitions if part["symbol"] in some]).collect()
    bars = lake.scan(BARS, [part for part in lake.partitions(BARS) if part["symbol"] in some]).collect()
    daily = session_bars(bars.lazy(), SETTINGS.timeframe)
    return point_in_time(stored.lazy(), daily, lambda past: compute(past, TECHNICAL.names), sample=SAMPLE)


checks = [
    suite_check(
        "features",
        run_rows(TECHNICAL_ASSET, HISTORY),
        partitions_def=HISTORY,
        partition=HISTORY_KEY,
        required_resource_keys=["lake"],
    ),
    suite_check(
        "panel",
        run_rows(("features", "panel"), SESSIONS),
        partitions_def=SESSIONS,
        partition=pl.col("session").dt.strftime("%Y-%m-%d"),
        required_resource_keys=["lake"],
    ),
    pure_check(
        TECHNICAL_ASSET,
        "point_in_time",
        _point_in_time,
        description=f"{SAMPLE} stored rows come out the same, computed again from nothing later than their session.",
        partitions_def=HISTORY,
        required_resource_keys=["lake"],
        additional_deps=[BARS],
    ),
]
