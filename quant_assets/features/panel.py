"""All symbols of a session side by side: who could be traded, and how each ranks among those."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from quant_assets.features.inputs import KEYS
from resources.calendars import UTC_MICROS

RANKED = (
    "return_21",
    "return_126",
    "return_252_21",
    "sma_ratio_200",
    "rsi_14",
    "volatility_63",
    "volume_ratio_5_63",
    "amihud_21",
)
"""Features that the panel also gives as ranks, `<feature>_rank`."""


def panel_schema(features: Iterable[str]) -> pl.Schema:
    """The columns of a panel made of these features."""
    names = list(features)
    numbers = [*names, *(f"{name}_rank" for name in RANKED if name in names)]
    keys = {"symbol": pl.String(), "ts": UTC_MICROS, "session": pl.Date(), "known_at": UTC_MICROS}
    prices = dict.fromkeys(("close", "adj_open", "adj_close"), pl.Float64())
    state = {"tradable": pl.Boolean(), **prices, "flags": pl.List(pl.String())}
    return pl.Schema({**keys, **state, **dict.fromkeys(numbers, pl.Float64())})


def panel(
    features: pl.LazyFrame, bars: pl.LazyFrame, instruments: pl.DataFrame | pl.LazyFrame | None = None
) -> pl.LazyFrame:
    """The features, with tradable (Boolean), close, adj_open, adj_close, flags, and ranks of RANKED.

    One row a symbol and session.

    tradable: the session has a real bar with volume. A rank lies in [0, 1] among the tradable symbols of the session
    that have the feature; ties share their mean, a symbol alone has 0.5, all others null. With `instruments`, only
    symbols listed and not delisted on the session's date are in it (dates that are null do not bind).

    A row needs nothing but its session, so any range of sessions gives the rows that the whole history would.

    Example: `panel(compute(cleaned), cleaned, instruments)`
    """
    real = ~pl.col("flags").list.contains("missing_session") & (pl.col("volume") > 0)
    today = bars.select("symbol", "ts", "close", "adj_open", "adj_close", "flags", tradable=real)
    named = [name for name in features.collect_schema().names() if name not in KEYS]
    joined = features.join(today, on=["symbol", "ts"], how="inner", maintain_order="left")
    members = joined if instruments is None else _members(joined, instruments.lazy())
    ranks = [_rank(name) for name in RANKED if name in named]
    return members.with_columns(ranks).select(
        *KEYS,
        *("tradable", "close", "adj_open", "adj_close", "flags"),
        *named,
        *[f"{name}_rank" for name in RANKED if name in named],
    )


def _members(rows: pl.LazyFrame, instruments: pl.LazyFrame) -> pl.LazyFrame:
    dates = instruments.select("symbol", "listed", "delisted")
    session = pl.col("session")
    since = (session >= pl.col("listed")).fill_null(True)
    until = (session <= pl.col("delisted")).fill_null(True)
    return rows.join(dates, on="symbol", how="left", maintain_order="left").filter(since & until)


def _rank(name: str) -> pl.Expr:
    value = pl.when("tradable").then(name)
    place, others = value.rank("average") - 1, value.count().cast(pl.Int64) - 1
    return pl.when(others > 0).then(place / others).when(place >= 0).then(0.5).over("session").alias(f"{name}_rank")
