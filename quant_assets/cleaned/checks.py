"""Whether cleaned bars keep their promises, and how many sessions they cover."""

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from quant_assets.checks import pure_check, run_rows, suite_check
from quant_assets.partitions import HISTORY, HISTORY_KEY, SETTINGS
from quant_assets.plots import coverage_picture
from quant_assets.quality import Verdict, coverage
from resources.calendars import last_closed_session

BARS = ("cleaned", "bars")


def _coverage(context: dg.AssetCheckExecutionContext) -> Verdict:
    rows = run_rows(BARS, HISTORY)(context).filter(~pl.col("flags").list.contains("missing_session"))
    real = rows.select("symbol", "session").collect().lazy()
    end = min(SETTINGS.dates.end or datetime.max.date(), last_closed_session(SETTINGS.calendar, datetime.now(UTC)))
    present = real.select("symbol").unique().collect()
    listed = present.with_columns(listed=pl.lit(None, pl.Date), delisted=pl.lit(None, pl.Date))
    verdict = coverage(real, listed, SETTINGS.calendar, SETTINGS.dates.start, end)
    return replace(verdict, picture=coverage_picture(real))


checks = [
    suite_check(
        "cleaned_bars",
        run_rows(BARS, HISTORY),
        partitions_def=HISTORY,
        partition=HISTORY_KEY,
        required_resource_keys=["lake"],
    ),
    pure_check(
        BARS,
        "coverage",
        _coverage,
        description="Sessions between each symbol's first and last bar that the source had a bar for.",
        partitions_def=HISTORY,
        required_resource_keys=["lake"],
    ),
]
