"""What would have become of each strategy, told with its caveats."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl

from quant_assets import strategies
from quant_assets.backtests import engine, metrics, report
from quant_assets.backtests.honesty import Provenance, caveats, verdict
from quant_assets.metadata import picture, show
from quant_assets.partitions import REPORTS, SETTINGS
from quant_assets.strategies import orders
from quant_assets.versions import code_version
from resources.config import BacktestSettings
from resources.lake_io import Bundle, Table

_STRATEGIES = {settings.name: settings for settings in SETTINGS.strategies}


@dg.asset(
    name="report",
    key_prefix="backtests",
    group_name="backtests",
    owners=["team:research"],
    kinds={"numba", "html"},
    partitions_def=REPORTS,
    # A report is a run of its own: each has its page, its picture and its place in the list of trials.
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    ins={
        "bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=dg.AllPartitionMapping()),
        "panel": dg.AssetIn(["features", "panel"], partition_mapping=dg.AllPartitionMapping()),
        "predictions": dg.AssetIn(["models", "predictions"], partition_mapping=dg.AllPartitionMapping()),
    },
    code_version=code_version(engine, metrics, SETTINGS.backtest, *SETTINGS.strategies),
)
def report_asset(context: dg.AssetExecutionContext, bars: Table, panel: Table, predictions: Table) -> Bundle:
    """A strategy's history on the simulated exchange, after costs: figures, fills, and one page to read it on."""
    raise NotImplementedError
