"""What the provider said, as it said it."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.market_data import fetch
from quant_assets.metadata import columns, picture, preview, watched
from quant_assets.partitions import HISTORY, SETTINGS, session_range, symbol_keys
from quant_assets.plots import price_picture
from resources.lake_io import BATCH_SYMBOLS, Frames
from resources.market_data import universe
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, INSTRUMENT_SCHEMA, Provider

_COMMON: dict[str, Any] = {
    "group_name": "market_data",
    "key_prefix": "market_data",
    "owners": ["team:data"],
    "tags": {"provider": SETTINGS.provider.name},
}


@dg.asset(**_COMMON, kinds={"polars", "parquet"}, metadata=columns(INSTRUMENT_SCHEMA))
def instruments(context: dg.AssetExecutionContext, provider: dg.ResourceParam[Provider]) -> pl.DataFrame:
    """What can be traded: one row a symbol, with its venue, calendar, lot, sector and listing dates."""
    frame = provider.instruments(universe(SETTINGS)).sort("symbol")
    context.add_output_metadata({"symbols": frame.height, "preview": preview(frame)})
    return frame


@dg.asset(
    **_COMMON,
    kinds={"polars", "parquet"},
    partitions_def=HISTORY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata=columns(BAR_SCHEMA, {"ts": "start of the bar, UTC", "known_at": "close of the session, UTC"}),
)
def bars(context: dg.AssetExecutionContext, provider: dg.ResourceParam[Provider]) -> Frames:
    """Daily bars exactly as the provider gave them: raw prices, splits not undone."""
    start, end = session_range(context, datetime.now(UTC))
    frames = fetch.bars(provider, _groups(context), start, end, SETTINGS.timeframe, context.log.info)
    return watched(context, frames, _describe_bars)


@dg.asset(
    **_COMMON,
    kinds={"polars", "parquet"},
    partitions_def=HISTORY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata=columns(ACTION_SCHEMA, {"value": "new shares per old share, or cash per share"}),
)
def corporate_actions(context: dg.AssetExecutionContext, provider: dg.ResourceParam[Provider]) -> Frames:
    """Splits and cash dividends on their ex-dates."""
    start, end = session_range(context, datetime.now(UTC))
    frames = fetch.corporate_actions(provider, _groups(context), start, end, context.log.info)
    return watched(context, frames, lambda last, rows: {"actions": rows, "preview": preview(last)})


def _groups(context: dg.AssetExecutionContext) -> list[list[str]]:
    symbols = symbol_keys(context)
    return [symbols[first : first + BATCH_SYMBOLS] for first in range(0, len(symbols), BATCH_SYMBOLS)]


def _describe_bars(last: pl.DataFrame, rows: int) -> dict[str, object]:
    return {
        "rows": rows,
        "first bar": str(last["ts"].min()),
        "last bar": str(last["ts"].max()),
        "prices": picture(price_picture(last), "closing prices of the last symbols fetched"),
        "preview": preview(last),
    }
