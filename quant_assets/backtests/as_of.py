"""What a strategy is backtested on as of a month, from the lake: one reading for its report and its sweep alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from quant_assets.backtests.market.history import History, history
from quant_assets.cleaned.sessions import MISSING, session_bars
from quant_assets.strategies.base import Strategy
from resources.config import Settings
from resources.errors import ConfigError
from resources.lake_io import Table


@dataclass(frozen=True, slots=True)
class World:
    """What can be traded, and what was known of it."""

    first: date
    """First session that is traded."""
    last: date
    traded: pl.DataFrame
    """Cleaned bars from the first session to the last."""
    past: History
    """The same as the exchange takes them."""
    benchmark: pl.DataFrame
    """Daily returns: session, return."""
    features: pl.DataFrame
    """Of every session up to the last, those before the first included: what the strategies read."""


def world(
    settings: Settings,
    month: str,
    readers: Sequence[Strategy],
    bars: Table,
    panel: Table,
    predictions: Table,
    instruments: pl.LazyFrame,
) -> World:
    """Everything up to the last day of a month, with the features that any of the `readers` asks for.

    Raises ConfigError where benchmark or finer bars are asked for that there are not, LakeError where nothing is held.
    """
    first, last = settings.backtest.start or settings.dates.start, last_day(month)
    within = traded(settings, bars, panel, first, last)
    return World(
        first=first,
        last=last,
        traded=within,
        past=history(within, instruments, settings.backtest.currency, finer(settings, bars, within)),
        benchmark=benchmark(settings, within),
        features=features(readers, panel, predictions, last).collect(),
    )


def features(readers: Sequence[Strategy], panel: Table, predictions: Table, last: date) -> pl.LazyFrame:
    """The panel's columns that the strategies read, with the model's scores where one of them does."""
    held = [key for key in panel.dates if key <= last.isoformat()]
    asked = {name for reader in readers for name in reader.required_features} - {"score", "confidence"}
    wanted = sorted(asked)  # so that the same columns are the same frame, whoever asks first
    found = panel.scan(dates=held).select("symbol", "ts", "session", "known_at", "tradable", *wanted)
    if not any(reader.needs_predictions for reader in readers):
        return found
    scores = predictions.scan(dates=held).select("symbol", "session", "score", "confidence")
    return found.join(scores, on=["symbol", "session"], how="left", maintain_order="left")


def traded(settings: Settings, bars: Table, panel: Table, first: date, last: date) -> pl.DataFrame:
    """Cleaned bars of the panel's symbols: one that left the universe stays in the lake, and out of every result."""
    held = [key for key in panel.dates if first.isoformat() <= key <= last.isoformat()]
    members = panel.scan(dates=held).select("symbol").unique()
    within = bars.scan().filter(pl.col("session").is_between(first, last))
    rows = session_bars(within, settings.timeframe)
    return rows.join(members, on="symbol", how="semi", maintain_order="left").collect()


def finer(settings: Settings, bars: Table, within: pl.DataFrame) -> pl.LazyFrame | None:
    """The lake's bars, where they are shorter than a session: they decide inside it. Slots without a trade left out.

    None where the configuration does not ask for them. Raises ConfigError where it asks for others than there are.
    """
    wanted = settings.backtest.intrabar_timeframe
    if wanted is None:
        return None
    if settings.timeframe == "1d" or wanted != settings.timeframe:
        raise ConfigError(
            f"backtest.intrabar_timeframe is {wanted}, and the bars of this installation are {settings.timeframe}; "
            + (
                "leave it out, or set timeframe to it"
                if settings.timeframe == "1d"
                else f"set it to {settings.timeframe}, or leave it out"
            )
        )
    days = within.lazy().select("symbol", "session").unique()
    real = bars.scan().filter(~pl.col("flags").list.contains(MISSING))
    return real.join(days, on=["symbol", "session"], how="semi", maintain_order="left")


def benchmark(settings: Settings, bars: pl.DataFrame) -> pl.DataFrame:
    """Daily returns (session, return) of the configured symbol, or of all symbols in equal weights, without costs.

    Raises ConfigError where there are no bars of that symbol.
    """
    change = (pl.col("adj_close") / pl.col("adj_close").shift() - 1).over("symbol", order_by="session")
    held = bars if settings.benchmark is None else bars.filter(pl.col("symbol") == settings.benchmark)
    if held.is_empty():
        raise ConfigError(
            f"benchmark: there are no bars of {settings.benchmark} in this period; add it to the universe, or leave "
            "benchmark out to compare with all symbols in equal weights"
        )
    return (
        held.with_columns(**{"return": change})
        .group_by("session")
        .agg(pl.col("return").mean().fill_null(0.0))
        .sort("session")
    )


def last_day(month: str) -> date:
    """Of a month such as 2012-02."""
    first = datetime.strptime(month, "%Y-%m").date()
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
