"""Whether what the provider said is market data, and is up to date."""

from datetime import UTC, date, datetime

import dagster as dg
import polars as pl

from quant_assets.checks import pure_check, run_rows, suite_check
from quant_assets.partitions import HISTORY, HISTORY_KEY, PARTITIONS, SETTINGS
from quant_assets.quality import Verdict, latest_session_present

BARS = ("market_data", "bars")
BY_HISTORY = ("bars", "corporate_actions", "quotes", "trades")
"""Assets of the history's partitions, each with a suite of its name."""


def _latest(context: dg.AssetCheckExecutionContext) -> Verdict:
    lake = context.resources.lake
    held = lake.partitions(BARS)
    venue_day = pl.col("ts").dt.convert_time_zone(PARTITIONS.timezone).dt.date()
    sessions: set[date] = set()
    # A partition may hold no rows: the newest one that does has the latest session.
    for newest in sorted({partition["date"] for partition in held}, reverse=True):
        rows = lake.scan(BARS, [partition for partition in held if partition["date"] == newest])
        sessions = set(rows.select(venue_day.unique()).collect().to_series())
        if sessions:
            break
    return latest_session_present(sessions, SETTINGS.calendar, now=datetime.now(UTC), end=SETTINGS.dates.end)


checks = [
    suite_check("instruments", run_rows(("market_data", "instruments"), None), required_resource_keys=["lake"]),
    *(
        suite_check(
            name,
            run_rows(("market_data", name), HISTORY),
            partitions_def=HISTORY,
            partition=HISTORY_KEY,
            required_resource_keys=["lake"],
        )
        for name in BY_HISTORY
    ),
    pure_check(
        BARS,
        "latest_session_present",
        _latest,
        description="The last session that closed is there, whatever the run was about.",
        required_resource_keys=["lake"],
    ),
]
