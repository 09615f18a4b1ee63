"""Whether features lie in their documented ranges, and are what the past alone gives."""

import dagster as dg
import polars as pl

from quant_assets.checks import pure_check, run_rows, suite_check
from quant_assets.features import compute
from quant_assets.features.technical import TECHNICAL
from quant_assets.partitions import HISTORY, HISTORY_KEY
from quant_assets.quality import Verdict, point_in_time

SAMPLE = 20
"""Rows computed again from the bars known at their session alone."""


def _point_in_time(context: dg.AssetCheckExecutionContext) -> Verdict:
    stored = run_rows(("features", "technical"), HISTORY)(context)
    symbols = stored.select("symbol").unique().sort("symbol").head(SAMPLE).collect()["symbol"]
    lake = context.resources.lake
    held = [part for part in lake.partitions(("cleaned", "bars")) if part["symbol"] in set(symbols)]
    bars = lake.scan(("cleaned", "bars"), held)
    return point_in_time(
        stored.filter(pl.col("symbol").is_in(symbols.to_list())),
        bars,
        lambda past: compute(past, TECHNICAL.names),
        sample=SAMPLE,
    )


checks = [
    suite_check(
        "features",
        run_rows(("features", "technical"), HISTORY),
        partitions_def=HISTORY,
        partition=HISTORY_KEY,
        required_resource_keys=["lake"],
    ),
    pure_check(
        ("features", "technical"),
        "point_in_time",
        _point_in_time,
        description=f"{SAMPLE} stored rows come out the same, computed again from nothing later than their session.",
        partitions_def=HISTORY,
        required_resource_keys=["lake"],
        additional_deps=[("cleaned", "bars")],
    ),
]
