"""The last look at signals before anybody trades them."""

import polars as pl

from quant_assets.checks import run_rows, suite_check
from quant_assets.partitions import SESSIONS

checks = [
    suite_check(
        "signals",
        run_rows(("signals", "daily"), SESSIONS),
        partitions_def=SESSIONS,
        partition=pl.col("session").dt.strftime("%Y-%m-%d"),
        required_resource_keys=["lake"],
    ),
]
