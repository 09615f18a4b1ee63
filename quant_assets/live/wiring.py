"""The live world of an installation: its lake, its paper account, its journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from quant_assets.backtests.market.instruments import listings_of
from quant_assets.cleaned.sessions import session_bars
from quant_assets.live.sessions import turn
from quant_assets.live.world import World
from resources.brokers.paper import Feed, PaperBroker
from resources.config import Settings
from resources.exchange import Listing
from resources.lake import Lake

if TYPE_CHECKING:
    from dagster import DagsterInstance

SIGNALS = ("signals", "daily")
BARS = ("cleaned", "bars")
INSTRUMENTS = ("market_data", "instruments")


def wire(
    settings: Settings, lake: Lake, symbols: Callable[[], Sequence[str]], date_key: Callable[[date], str]
) -> World:
    """The world that the settings describe.

    `symbols` gives the universe and `date_key` the history partition that holds a session, because the live
    job reads cleaned bars by partition.
    """

    def signals(session: date) -> pl.DataFrame:
        return lake.read(SIGNALS, {"date": session.isoformat()}).filter(pl.col("strategy") == settings.live.strategy)

    def bars(session: date) -> pl.DataFrame:
        key = date_key(session)
        written = [part for symbol in symbols() if lake.exists(BARS, part := {"symbol": symbol, "date": key})]
        if not written:
            return pl.DataFrame()
        rows = lake.scan(BARS, written).filter(pl.col("session") == session)
        return session_bars(rows, settings.timeframe).collect()

    def listings() -> dict[str, Listing]:
        """What the venue knows of each instrument; nothing before the table was ever made."""
        if not lake.exists(INSTRUMENTS):
            return {}
        table = lake.read(INSTRUMENTS)
        names = table["symbol"].to_list()
        return dict(zip(names, listings_of(names, table), strict=True))

    def venue() -> PaperBroker:
        terms = settings.backtest.model_copy(update={"cash": settings.live.cash})
        feed = Feed(bars, settings.live.replay_seconds)
        books, replay = settings.home / "live" / "paper.sqlite", settings.dates.end is not None
        return PaperBroker(books, feed, terms, replay=replay, listings=listings())

    def write(asset: Sequence[str], session: date, frame: pl.DataFrame) -> None:
        with lake.writing(asset) as staging:
            staging.write([({"date": session.isoformat()}, frame)])

    return World(
        settings=settings.live,
        journal=settings.home / "live" / "journal.sqlite",
        turn=lambda now: turn(settings, now),
        has_signals=materialized,
        signals=signals,
        bars=bars,
        venue=venue,
        write=write,
        listings=listings,
    )


def materialized(instance: DagsterInstance, session: date) -> bool:
    """Whether signals/daily of the session was ever materialized: one indexed look-up."""
    from dagster import AssetKey, AssetRecordsFilter

    asked = AssetRecordsFilter(AssetKey(list(SIGNALS)), asset_partitions=[session.isoformat()])
    return bool(instance.fetch_materializations(asked, limit=1).records)
