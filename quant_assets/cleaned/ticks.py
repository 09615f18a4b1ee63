"""Quotes and trades that cannot be, or cannot be at their time, as findings; the ticks themselves stay as they are.

Whoever makes bars of ticks leaves out what `faults` names: `ticks.join(faults, on=["symbol", "ts"], how="anti")`.
"""

from __future__ import annotations

import polars as pl

from quant_assets.cleaned.rules import FINDING_SCHEMA, finding
from resources.calendars import sessions
from resources.errors import BarSchemaError


def faults(ticks: pl.LazyFrame, instruments: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Findings (FINDING_SCHEMA, sorted by symbol and ts) about quotes or trades (resources.market_data.ticks).

    crossed: bid above ask (old the bid, new the ask); a locked market, bid equal to ask, is none. out_of_session:
    outside the sessions of the symbol's calendar, their close included. clock_error: stamped after it was fetched;
    old in seconds since 1970, new null. invalid_value: a price below zero, or zero with a size; none on a trade.
    `instruments` needs symbol and calendar. Each is judged by its own row: the past never changes.

    Raises BarSchemaError on a tick without symbol or time, and on a symbol without a calendar.

    Example: `faults(provider.quotes(["AAPL"], start, end), provider.instruments(["AAPL"]))`
    """
    calendars = instruments.lazy().select("symbol", "calendar").unique().collect()
    rows = ticks.collect().join(calendars, on="symbol", how="left", maintain_order="left")
    unplaced = rows.filter(pl.any_horizontal(pl.col("symbol", "ts", "calendar").is_null())).head(1)
    if unplaced.height:
        symbol, ts = unplaced.select("symbol", "ts").row(0)
        raise BarSchemaError(f"{symbol} {ts}: a tick needs a symbol, a time and a calendar. Fix the source.")
    if rows.is_empty():
        return FINDING_SCHEMA.to_frame()
    seconds = pl.col("ts").dt.epoch("us") / 1e6
    ahead = (pl.col("ts") > pl.col("fetched_at")).fill_null(False)
    found = [
        rows.filter(ahead).select(finding("clock_error", "ts", seconds, pl.lit(None))),
        _outside(rows.filter(~ahead)).select(finding("out_of_session", "ts", seconds, pl.lit(None))),
    ]
    if "bid" in rows.columns:
        bid, ask = pl.col("bid"), pl.col("ask")
        found.append(rows.filter((bid > ask) & (ask > 0)).select(finding("crossed", "bid", bid, ask)))
        # A price of zero without size is how many venues write that a side is empty.
        wrong = {
            side: (pl.col(side) == 0) & (pl.col(f"{side}_size") > 0) | (pl.col(side) < 0) for side in ("bid", "ask")
        }
    else:
        wrong = {"price": ~(pl.col("price") > 0).fill_null(False)}
    found += [
        rows.filter(bad).select(finding("invalid_value", name, pl.col(name), pl.lit(None)))
        for name, bad in wrong.items()
    ]
    return pl.concat(found).sort("symbol", "ts", "rule", "field")


def _outside(rows: pl.DataFrame) -> pl.DataFrame:
    """The ticks outside the sessions of their calendars."""
    outside = []
    for (name,), part in rows.group_by("calendar", maintain_order=True):
        ends = part.select(first=pl.col("ts").min().dt.date(), last=pl.col("ts").max().dt.date())
        # The session of a tick may have opened on the evening before, or be dated the day after.
        start, end = ends.select(pl.col("first").dt.offset_by("-4d"), pl.col("last").dt.offset_by("1d")).row(0)
        slots = sessions(str(name), start, end).select(opening="open", closing="close").sort("opening")
        ordered = part.sort("ts").join_asof(slots, left_on="ts", right_on="opening", strategy="backward")
        inside = (pl.col("ts") <= pl.col("closing")).fill_null(False)
        outside.append(ordered.filter(~inside).select(rows.columns))
    return pl.concat(outside) if outside else rows.clear()
