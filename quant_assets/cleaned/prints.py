"""Bad prints: single prices that nothing around them confirms.

What confirms a price is what is known when the bar is: its own bar, the bars before, the volume, and the same session
of the other symbols. A false high, low or open is therefore told on its own row, for the same bar's close stands
against it. A false close cannot be: it looks like a crash until the next bar. It is told ON THE NEXT ROW (bad_close,
field previous_close), when it becomes known, and the row before stays as it was; at its own time it carries `jump`.
So a longer history never changes a row, and a crash that stays is never called a bad print.
"""

from __future__ import annotations

import polars as pl

from quant_assets.cleaned.rules import JUMP_MIN_BARS, JUMP_WINDOW, MIN_SYMBOLS, PRINT_RUSH, is_bad
from resources.config import CleaningSettings
from resources.market_data.base import PRICES

CALM = 2.0
"""Excursions up to this many sigmas, at STRESS_QUANTILE of the symbols, are a usual session."""

STRESS_QUANTILE = 0.95

EXCURSIONS = ("high_off", "low_off", "open_off", "close_off")


def excursions(rows: pl.DataFrame, sigmas: float) -> pl.DataFrame:
    """Add, in robust sigmas of the symbol's returns (`scale`), how far single prices stand alone.

    high_off, low_off: beyond open, close, and the previous close, high and low. open_off: of the open, on one side of
    both previous close and close. close_off: of the PREVIOUS close, on one side of its own bar's open, the close before
    it, and this bar's open and close. Null where one is not known; missing sessions have none.

    Each is divided by the session's stress: how much wider than usual the other symbols' excursions were, so that what
    the whole market did (6 May 2010, 24 August 2015, March 2020) is not a bad print; and by the rush of its bar: see
    PRINT_RUSH.
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    real = ~pl.col("missing")
    opened, high, low, close = (pl.col(f"adj_{name}") for name in ("open", "high", "low", "close"))
    before = pl.when(same).then(close.shift())
    around = (opened, close, before)
    highest, lowest = (pl.when(same).then(price.shift()) for price in (high, low))
    scale = pl.col("scale")
    of_open = _alone(opened, [close, before])
    # The close before the last, and everything else around the last close.
    second = pl.when(same & (pl.col("symbol") == pl.col("symbol").shift(2))).then(close.shift(2))
    of_close = _alone(before, [opened.shift(), second, opened, close])
    judged = rows.with_columns(
        high_off=pl.when(real).then((high / pl.max_horizontal(*around, highest)).log().clip(lower_bound=0.0) / scale),
        low_off=pl.when(real).then((pl.min_horizontal(*around, lowest) / low).log().clip(lower_bound=0.0) / scale),
        open_off=pl.when(real).then(of_open / scale),
        close_off=pl.when(real).then(of_close / pl.col("scale").shift()),
    )
    return _calmed(judged, sigmas)


def mend_prints(rows: pl.DataFrame, settings: CleaningSettings) -> pl.DataFrame:
    """Add bad_open, bad_high, bad_low (Boolean) and mended_open, _high, _low; use the mended where settings repair.

    A bad open becomes the previous close, restated for the session's split; the high (low) that it made, and a high
    (low) that stands alone, becomes the farthest of open and close. A previous close is never mended: rows are not
    rewritten.
    """
    opened, high, low, close = (pl.col(name) for name in PRICES)
    bad_open, above = is_bad("open_off"), pl.col("open_off") > 0
    flagged = rows.with_columns(
        bad_open=bad_open,
        bad_high=is_bad("high_off") | (bad_open & above & (high == opened)),
        bad_low=is_bad("low_off") | (bad_open & ~above & (low == opened)),
    )
    names = ("open", "high", "low")
    flagged = flagged.with_columns(pl.col(name).alias(f"given_{name}") for name in names)
    repair = "bad_print" in settings.repair
    if not repair or not flagged.select(pl.any_horizontal("bad_open", "bad_high", "bad_low").any()).item():
        return flagged.with_columns(pl.col(name).alias(f"mended_{name}") for name in names)
    sound_open = pl.when("bad_open").then(pl.col("previous_close") / pl.col("split")).otherwise(opened)
    mended = flagged.with_columns(
        mended_open=sound_open,
        mended_high=pl.when("bad_high")
        .then(pl.max_horizontal(sound_open, close))
        .otherwise(pl.max_horizontal(high, sound_open)),
        mended_low=pl.when("bad_low")
        .then(pl.min_horizontal(sound_open, close))
        .otherwise(pl.min_horizontal(low, sound_open)),
    )
    factor = pl.col("split_factor") * pl.col("dividend_factor")
    return mended.with_columns(
        *[pl.col(f"mended_{name}").alias(name) for name in names],
        *[(pl.col(f"mended_{name}") * factor).alias(f"adj_{name}") for name in names],
    )


def _alone(price: pl.Expr, others: list[pl.Expr]) -> pl.Expr:
    """Log distance of a price from the nearest of the others where it lies above or below all of them, signed."""
    # max_horizontal skips nulls, but where a neighbour is not known, neither is the distance.
    known = pl.all_horizontal(other.is_not_null() for other in others)
    above = (price / pl.max_horizontal(*others)).log()
    below = (pl.min_horizontal(*others) / price).log()
    return pl.when(known).then(pl.when(above > 0).then(above).when(below > 0).then(-below).otherwise(0.0))


def _calmed(rows: pl.DataFrame, sigmas: float) -> pl.DataFrame:
    """Excursions of more than so many sigmas divided by their session's stress and bar's rush; the others as given."""
    suspect = pl.any_horizontal(pl.col(name).abs() > sigmas for name in EXCURSIONS).fill_null(False)
    at = rows.select(suspect.arg_true().alias("row"))["row"]
    if at.is_empty():
        return rows
    suspects = rows[at].select("symbol", "session", at, *EXCURSIONS)
    joined = suspects.join(_stress(rows, suspects), on="session", how="left", maintain_order="left").join(
        _rush(rows, suspects), on="row", how="left", maintain_order="left"
    )
    calm = joined.select(
        pl.col(name)
        / (pl.col(f"{name}_stress").fill_null(CALM) / CALM).clip(lower_bound=1.0)
        / pl.col("rush_before" if name == "close_off" else "rush").fill_null(1.0)
        for name in EXCURSIONS
    )
    return rows.with_columns(rows[name].clone().scatter(at, calm[name]) for name in EXCURSIONS)


def _stress(rows: pl.DataFrame, suspects: pl.DataFrame) -> pl.DataFrame:
    """How wide the excursions of the suspects' sessions were at STRESS_QUANTILE of the symbols."""
    wide = [pl.col(name).abs().quantile(STRESS_QUANTILE).alias(f"{name}_stress") for name in EXCURSIONS]
    return (
        rows.lazy()
        .select("session", "scale", *EXCURSIONS)
        .filter(pl.col("session").is_in(suspects["session"].unique().implode()))
        .group_by("session")
        .agg(*wide, symbols=pl.col("scale").count())
        .filter(pl.col("symbols") >= MIN_SYMBOLS)
        .drop("symbols")
        .collect()
    )


def _rush(rows: pl.DataFrame, suspects: pl.DataFrame) -> pl.DataFrame:
    """The rush (PRINT_RUSH), at least one, of the suspects' bars and of the bars before them."""
    usual = pl.col("volume").shift().rolling_median(JUMP_WINDOW, min_samples=JUMP_MIN_BARS).over("symbol")
    return (
        rows.select("symbol", "volume", row=pl.int_range(pl.len(), dtype=pl.UInt32))
        .filter(pl.col("symbol").is_in(suspects["symbol"].unique().implode()))
        .with_columns(rush=(pl.col("volume") / (PRINT_RUSH * usual)).sqrt().fill_nan(1.0).clip(lower_bound=1.0))
        .with_columns(rush_before=pl.col("rush").shift().over("symbol"))
        .filter(pl.col("row").is_in(suspects["row"].implode()))
        .select("row", "rush", "rush_before")
    )
