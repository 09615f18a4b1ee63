"""One row for every session of a symbol's calendar, between its first bar and its last; intraday: `slots`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

import polars as pl

from quant_assets.cleaned.rows import VALUES, known, one_a_session, placed, sound, whole
from quant_assets.cleaned.rules import FINDING_SCHEMA, finding
from resources.calendars import sessions
from resources.config import CleaningSettings
from resources.errors import BarSchemaError
from resources.market_data.base import BAR_SCHEMA, MEND, PRICES

EARLIEST = datetime(1900, 1, 1)


def align(
    bars: pl.LazyFrame, instruments: pl.DataFrame, settings: CleaningSettings
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Bars on their calendar; findings about rows that were moved, left out or mended; the rows as given, where asked.

    The rows: symbol, ts, session, known_at, open, high, low, close, volume, missing (Boolean), sorted by symbol
    and ts. A session without a bar has the previous close as its four prices, and volume 0. The third frame
    (symbol, ts, PRICES, volume) holds what stood in the rows whose repair the settings decline.

    Raises BarSchemaError on rows that cannot be placed: without symbol, without time, of a symbol without a
    calendar; and on columns that are not BAR_SCHEMA.
    """
    raw = given_bars(bars)
    calendars = calendars_of(raw, instruments)
    timed, impossible = possible(raw)
    grid = _grid(timed, calendars)
    stamped = timed.join(calendars, on="symbol", how="left", maintain_order="left").join(
        grid.drop("session_close"), on=["calendar", "ts"], how="left", maintain_order="left"
    )
    stayed, excluded = exclude(stamped, settings)
    refuse_untimed(stayed)
    on_clock, strays = placed(stayed, grid)
    timely, unknown = known(on_clock)
    finished, half_built = whole(_until_close(timely, grid), settings)
    unique, duplicates = one_a_session(finished)
    kept, wrong, declined = sound(unique, settings)
    given = kept.select("symbol", "ts", "known_at", *PRICES, "volume", real=pl.lit(True))
    rows = _every_session(kept, grid).join(given, on=["symbol", "ts"], how="left", maintain_order="left")
    # The first row of a symbol has a close, so filling forward cannot reach into the symbol above.
    previous = pl.col("close").forward_fill()
    filled = rows.select(
        "symbol",
        "ts",
        "session",
        pl.coalesce("known_at", "session_close").alias("known_at"),
        *filled_prices(previous),
        pl.col("volume").fill_null(0.0),
        pl.col("real").is_null().alias("missing"),
    )
    mended = told_values(wrong, filled)
    return filled, pl.concat([impossible, excluded, strays, unknown, half_built, duplicates, mended]), declined


def given_bars(bars: pl.LazyFrame) -> pl.DataFrame:
    """The bars, if they are in BAR_SCHEMA, there is one at least, and each has a symbol."""
    schema = bars.collect_schema()
    for name, dtype in BAR_SCHEMA.items():
        if schema.get(name) != dtype:
            raise BarSchemaError(f"cleaning: column {name} is {schema.get(name)}; it must be {dtype}. Fix the source.")
    raw = bars.select(BAR_SCHEMA.names()).collect()
    if raw["ts"].null_count() == raw.height:
        raise BarSchemaError("no bars to clean. Load market data for these symbols and dates first.")
    nameless = raw.filter(pl.col("symbol").is_null() | (pl.col("symbol") == ""))
    if nameless.height:
        raise BarSchemaError(
            f"{nameless.height} bars without a symbol, the first of {nameless['ts'][0]}. Fix the source."
        )
    return raw


def refuse_untimed(rows: pl.DataFrame) -> None:
    """Raises BarSchemaError if a row has no time."""
    if rows["ts"].null_count():
        untimed = rows.filter(pl.col("ts").is_null())
        raise BarSchemaError(f"{untimed['symbol'][0]}: {untimed.height} bars without a time (cleaning). {MEND}")


def possible(raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose time can be, and a finding for each that begins after it was fetched, or before any exchange."""
    early = pl.col("ts") < pl.lit(EARLIEST).dt.replace_time_zone("UTC")
    impossible = ((pl.col("ts") > pl.col("fetched_at")) | early).fill_null(False)
    if not raw.select(impossible.any()).item():
        return raw, FINDING_SCHEMA.to_frame()
    left_out = raw.filter(impossible)
    if left_out.height == raw.height:
        symbol, ts, fetched = left_out.select("symbol", "ts", "fetched_at").row(0)
        raise BarSchemaError(f"{symbol} {ts}: every bar begins after it was fetched ({fetched}). Fix the clock.")
    told = left_out.select(finding("clock_error", "ts", pl.col("ts").dt.epoch("s"), pl.lit(None)))
    return raw.filter(~impossible), told


def calendars_of(raw: pl.DataFrame, instruments: pl.DataFrame) -> pl.DataFrame:
    """symbol, calendar: one row for every symbol of the bars."""
    named = instruments.select("symbol", "calendar").unique()
    calendars = raw.select("symbol").unique().join(named, on="symbol", how="left").sort("symbol", "calendar")
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


def _until_close(rows: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """The rows with their session's close for a known_at that is null: `whole` measures when they were fetched."""
    if rows["known_at"].null_count() == 0:
        return rows
    closes = grid.select("calendar", "position", "session_close")
    timed = rows.join(closes, on=["calendar", "position"], how="left", maintain_order="left")
    return timed.with_columns(pl.coalesce("known_at", "session_close").alias("known_at")).drop("session_close")


def exclude(rows: pl.DataFrame, settings: CleaningSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that stay, and a finding for each that the settings leave out."""
    touched = [row.symbol for row in settings.exclude]
    listed = pl.DataFrame(
        [(row.symbol, row.session) for row in settings.exclude],
        schema={"symbol": pl.String, "day": pl.Date},
        orient="row",
    ).unique()
    # Only the symbols listed are looked at: joining all rows to a handful would cost a second.
    dated = (
        rows.with_row_index("row")
        .filter(pl.col("symbol").is_in(touched))
        .with_columns(day=pl.coalesce("session", pl.col("ts").dt.date()))
    )
    left_out = dated.join(listed, on=["symbol", "day"], how="semi", nulls_equal=True)
    stay = rows
    if left_out.height:
        stay = rows.with_row_index("row").filter(~pl.col("row").is_in(left_out["row"].implode())).drop("row")
    return stay, left_out.select(finding("excluded", "close", pl.col("close"), pl.lit(None)))


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


def filled_prices(previous: pl.Expr) -> list[pl.Expr]:
    """The four prices: in a missing row the previous close; a price that is none, from its own bar and before.

    A close that is none becomes the previous close; so does an open, within its bar's high and low; high and low
    bound the others.
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    before = pl.when(same).then(previous.shift()).otherwise(previous)
    opened = pl.coalesce("open", pl.max_horizontal("low", pl.min_horizontal("high", before)))
    others = (opened, previous, "high", "low")
    return [
        opened.alias("open"),
        pl.max_horizontal(*others).alias("high"),
        pl.min_horizontal(*others).alias("low"),
        previous.alias("close"),
    ]


def told_values(wrong: pl.DataFrame, filled: pl.DataFrame) -> pl.DataFrame:
    """The findings about single values, each with the value used instead; null where the row is left out."""
    if wrong.is_empty():
        return FINDING_SCHEMA.to_frame()
    used = (
        filled.join(wrong, on=["symbol", "ts"], how="semi")
        .select("symbol", "ts", *VALUES)
        .unpivot(VALUES, index=["symbol", "ts"], variable_name="field", value_name="used")
    )
    joined = wrong.join(used, on=["symbol", "ts", "field"], how="left", maintain_order="left")
    as_given = ~pl.col("repaired") & pl.col("used").is_not_null()
    new = pl.when(as_given).then("old").otherwise("used")
    return pl.concat(
        joined.filter(pl.col("rule") == rule).select(finding(rule, pl.col("field"), pl.col("old"), new))
        for rule in ("invalid_value", "inconsistent")
    )
