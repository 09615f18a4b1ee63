"""What the provider said, as it said it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.market_data import fetch
from quant_assets.metadata import columns, picture, preview, watched
from quant_assets.partitions import HISTORY, SETTINGS, session_range, session_windows, symbol_keys
from quant_assets.plots import price_picture
from resources.lake_io import Frames
from resources.market_data import universe
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, INSTRUMENT_SCHEMA, Provider, check_calendars
from resources.market_data.downloads import Downloads
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA

LOCAL = ("sample", "synthetic", "files")
"""Providers on this machine: asking them again costs nothing."""

_COMMON: dict[str, Any] = {
    "group_name": "market_data",
    "key_prefix": "market_data",
    "owners": ["team:data"],
    "tags": {"provider": SETTINGS.provider.name},
}


@dg.asset(**_COMMON, kinds={"polars", "parquet"}, metadata=columns(INSTRUMENT_SCHEMA))
def instruments(context: dg.AssetExecutionContext, provider: dg.ResourceParam[Provider]) -> pl.DataFrame:
    """What can be traded: one row a symbol, with its venue, calendar, lot, sector and listing dates."""
    frame = check_calendars(provider.instruments(universe(SETTINGS)), SETTINGS.calendar).sort("symbol")
    context.add_output_metadata({"symbols": frame.height, "preview": preview(frame)})
    return frame


_HISTORY: dict[str, Any] = {
    **_COMMON,
    "kinds": {"polars", "parquet"},
    "partitions_def": HISTORY,
    "backfill_policy": dg.BackfillPolicy.single_run(),
}


@dg.asset(
    **_HISTORY, metadata=columns(BAR_SCHEMA, {"ts": "start of the bar, UTC", "known_at": "its end; a day's: the close"})
)
def bars(context: dg.AssetExecutionContext, provider: dg.ResourceParam[Provider]) -> Frames:
    """Bars exactly as the provider gave them: raw prices, splits not undone."""
    start, end = session_range(context, datetime.now(UTC))
    kept = _kept(f"bars {SETTINGS.timeframe}")
    frames = fetch.bars(provider, symbol_keys(context), start, end, SETTINGS.timeframe, kept, context.log.info)
    return watched(context, frames, _describe_bars, written=_forget(kept))


@dg.asset(**_HISTORY, metadata=columns(ACTION_SCHEMA, {"value": "new shares per old share, or cash per share"}))
def corporate_actions(context: dg.AssetExecutionContext, provider: dg.ResourceParam[Provider]) -> Frames:
    """Splits and cash dividends on their ex-dates."""
    start, end = session_range(context, datetime.now(UTC))
    kept = _kept("corporate actions")
    frames = fetch.corporate_actions(provider, symbol_keys(context), start, end, kept, context.log.info)
    return watched(
        context, frames, lambda last, rows: {"actions": rows, "preview": preview(last)}, written=_forget(kept)
    )


@dg.asset(**_HISTORY, metadata=columns(QUOTE_SCHEMA, {"bid_size": "units", "ask_size": "units"}))
def quotes(context: dg.AssetExecutionContext, provider: dg.ResourceParam[Provider]) -> Frames:
    """Best bids and offers as the provider gave them, of whole days at the venue. On demand."""
    return _ticks(context, "quotes", provider.quotes, QUOTE_SCHEMA)


@dg.asset(**_HISTORY, metadata=columns(TRADE_SCHEMA, {"side": "the taker's: buy or sell", "size": "units"}))
def trades(context: dg.AssetExecutionContext, provider: dg.ResourceParam[Provider]) -> Frames:
    """Trades as the provider gave them, of whole days at the venue. On demand."""
    return _ticks(context, "trades", provider.trades, TRADE_SCHEMA)


def _ticks(context: dg.AssetExecutionContext, kind: str, ask: fetch.AskTicks, schema: pl.Schema) -> Frames:
    windows = session_windows(context, datetime.now(UTC))
    kept = _kept(kind)
    frames = fetch.ticks(ask, symbol_keys(context), windows, SETTINGS.calendar, schema, kept, context.log.info)
    return watched(context, frames, lambda last, rows: {"ticks": rows, "preview": preview(last)}, _forget(kept))


def _kept(kind: str) -> Downloads | None:
    """Where downloads of a kind are kept until they are written; None for a provider that is local."""
    if SETTINGS.provider.name in LOCAL:
        return None
    question = f"{kind} {SETTINGS.provider} {SETTINGS.calendar} {SETTINGS.cleaning.exclude}"
    return Downloads(SETTINGS.home / "downloads", question)


def _forget(kept: Downloads | None) -> Callable[[], None] | None:
    return kept.forget if kept else None


def _describe_bars(last: pl.DataFrame, rows: int) -> dict[str, object]:
    return {
        "rows": rows,
        "first bar": str(last["ts"].min()),
        "last bar": str(last["ts"].max()),
        "prices": picture(price_picture(last), "closing prices of the last symbols fetched"),
        "preview": preview(last),
    }
