"""One row for every session of a symbol's calendar, between its first bar and its last."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

import polars as pl

from quant_assets.cleaned.rules import finding
from resources.calendars import sessions
from resources.config import CleaningSettings
from resources.errors import BarSchemaError
from resources.market_data.base import BAR_SCHEMA, PRICES, check_bars


def align(
    bars: pl.LazyFrame, instruments: pl.DataFrame, settings: CleaningSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars on their calendar, and findings about the rows that the settings leave out.

    The rows: symbol, ts, session, known_at, open, high, low, close, volume, missing (Boolean), sorted by symbol
    and ts. A session without a bar has the previous close as its four prices, and volume 0.

    Raises BarSchemaError, naming symbol and date, on rows that are not market data (see `check_bars`), on a bar
    that does not start when a session opens, and on a symbol without a calendar.
    """
    raw = bars.collect()
    calendars = _calendars(raw, instruments)
    grid = _grid(raw, calendars)
    placed = raw.join(calendars, on="symbol", how="left").join(
        grid.drop("session_close"), on=["calendar", "ts"], how="left"
    )
    kept, excluded = _exclude(placed, settings)
    kept = kept.sort("symbol", "ts")
    check_bars(kept.lazy().select(BAR_SCHEMA.names()), "cleaning")
    _refuse_strays(kept)
    given = kept.select("symbol", "ts", "known_at", *PRICES, "volume")
    rows = _every_session(kept, grid).join(given, on=["symbol", "ts"], how="left", maintain_order="left")
    # The first row of a symbol is a bar, so filling forward cannot reach into the symbol above.
    previous = pl.col("close").forward_fill()
    filled = rows.select(
        "symbol",
        "ts",
        "session",
        pl.coalesce("known_at", "session_close").alias("known_at"),
        *[pl.coalesce(name, previous).alias(name) for name in PRICES],
        pl.col("volume").fill_null(0.0),
        pl.col("close").is_null().alias("missing"),
    )
    return filled, excluded


def _calendars(raw: pl.DataFrame, instruments: pl.DataFrame) -> pl.DataFrame:
    """symbol, calendar: one row for every symbol of the bars."""
    known = instruments.select("symbol", "calendar").unique()
    calendars = raw.select("symbol").unique().join(known, on="symbol", how="left").sort("symbol", "calendar")
    unknown = calendars.filter(pl.col("calendar").is_null())["symbol"].to_list()
    if unknown:
        raise BarSchemaError(
            f"{', '.join(map(str, unknown[:5]))}: no calendar known. Give the symbol a row with a calendar, "
            "such as XNYS, in the instruments."
        )
    twice = calendars.filter(pl.col("symbol").is_duplicated()).head(2)
    if twice.height:
        raise BarSchemaError(
            f"{twice['symbol'][0]}: calendar is both {' and '.join(twice['calendar'])}. "
            "Keep one row a symbol in the instruments."
        )
    return calendars


def _grid(raw: pl.DataFrame, calendars: pl.DataFrame) -> pl.DataFrame:
    """Every session of the calendars used around the bars: calendar, position (from 0), session, ts, session_close."""
    if raw["ts"].null_count() == raw.height:
        raise BarSchemaError("no bars to clean. Load market data for these symbols and dates first.")
    first, last = cast(datetime, raw["ts"].min()), cast(datetime, raw["ts"].max())
    # A session can open on the evening before its date.
    start, end = first.date() - timedelta(days=1), last.date() + timedelta(days=1)
    return pl.concat(
        sessions(name, start, end).select(
            pl.lit(name).alias("calendar"),
            pl.int_range(pl.len(), dtype=pl.Int64).alias("position"),
            "session",
            pl.col("open").alias("ts"),
            pl.col("close").alias("session_close"),
        )
        for name in calendars["calendar"].unique().sort()
    )


def _exclude(placed: pl.DataFrame, settings: CleaningSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that stay, and a finding for each that the settings leave out."""
    listed = pl.DataFrame(
        [(row.symbol, row.session) for row in settings.exclude],
        schema={"symbol": pl.String, "day": pl.Date},
        orient="row",
    ).unique()
    dated = placed.with_columns(day=pl.coalesce("session", pl.col("ts").dt.date()))
    stay = dated.join(listed, on=["symbol", "day"], how="anti", nulls_equal=True)
    left_out = dated.join(listed, on=["symbol", "day"], how="semi", nulls_equal=True)
    return stay, left_out.select(finding("excluded", "close", pl.col("close"), pl.lit(None)))


def _refuse_strays(kept: pl.DataFrame) -> None:
    stray = kept.filter(pl.col("position").is_null()).head(1)
    if stray.height:
        symbol, ts, calendar = stray.select("symbol", "ts", "calendar").row(0)
        raise BarSchemaError(
            f"{symbol} {ts.date()}: ts {ts:%H:%M} UTC is not the open of a session of {calendar}. Fix the source or "
            "the instrument's calendar, or exclude the row in the configuration (cleaning.exclude)."
        )


def _every_session(kept: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """symbol, session, ts, session_close for every session from each symbol's first bar to its last."""
    return (
        kept.group_by("symbol", maintain_order=True)
        .agg(
            pl.col("calendar").first(),
            pl.int_range(pl.col("position").first(), pl.col("position").last() + 1, dtype=pl.Int64).alias("position"),
        )
        .explode("position")
        .join(grid, on=["calendar", "position"], how="left", maintain_order="left")
        .drop("calendar", "position")
    )
