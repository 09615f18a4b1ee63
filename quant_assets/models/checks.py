"""Whether predictions were made by models that only knew the past."""

import polars as pl

from quant_assets.checks import pure_check, run_rows
from quant_assets.partitions import SESSIONS
from quant_assets.quality import no_future

_rows = run_rows(("models", "predictions"), SESSIONS)

checks = [
    pure_check(
        ("models", "predictions"),
        "trained_on_the_past",
        lambda context: no_future(_rows(context)),
        description="Each prediction's training cut-off is at or before its session.",
        blocking=True,
        partitions_def=SESSIONS,
        partition=pl.col("session").dt.strftime("%Y-%m-%d"),
        required_resource_keys=["lake"],
    ),
]
