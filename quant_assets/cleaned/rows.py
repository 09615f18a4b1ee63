"""Rows before anything is computed from them: at their session, finished, one a session, with prices that can be.

Each step returns the rows that go on and findings about the others, so that no row leaves without a word.
"""

from __future__ import annotations

import polars as pl

from quant_assets.cleaned.rules import FINDING_SCHEMA, finding
from resources.calendars import UTC_MICROS
from resources.config import CleaningSettings
from resources.market_data.base import PRICES

NEAR_OPEN = "3h"
"""A bar stamped this near to a session's open belongs to it: a wrong zone offset, a missed daylight-saving change."""

VALUES = (*PRICES, "volume")

WRONG = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "rule": pl.String(),
        "field": pl.String(),
        "old": pl.Float64(),
        "repaired": pl.Boolean(),
    }
)


def placed(rows: pl.DataFrame, grid: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows at the open of their session, with `moved` (Boolean), and findings about those that were stamped elsewhere.

    A bar near a session's open, or on a session's date, is moved to that open (clock_error, old and new in seconds
    since 1970); one on a day without a session is left out (out_of_session).
    """
    if rows["position"].null_count() == 0:
        return rows.with_columns(moved=pl.lit(False)), FINDING_SCHEMA.to_frame()
    stray = rows.filter(pl.col("position").is_null()).drop("position", "session")
    slots = grid.select("calendar", "position", "session", slot="ts").sort("slot")
    near = stray.sort("ts").join_asof(
        slots, left_on="ts", right_on="slot", by="calendar", strategy="nearest", tolerance=NEAR_OPEN,
        check_sortedness=False,
    )  # fmt: skip
    dated = (
        near.filter(pl.col("slot").is_null())
        .drop("position", "session", "slot")
        .with_columns(session=pl.col("ts").dt.date())
        .join(slots, on=["calendar", "session"], how="left")
    )
    homes = pl.concat([near.filter(pl.col("slot").is_not_null()), dated.select(near.columns)])
    seconds = pl.col("ts").dt.epoch("s")
    homeless = homes.filter(pl.col("slot").is_null()).select(finding("out_of_session", "ts", seconds, pl.lit(None)))
    found = homes.filter(pl.col("slot").is_not_null())
    clock = found.with_columns(given=seconds, ts="slot").select(
        finding("clock_error", "ts", pl.col("given"), pl.col("slot").dt.epoch("s"))
    )
    settled = found.with_columns(ts="slot", moved=pl.lit(True)).drop("slot")
    straight = rows.filter(pl.col("position").is_not_null()).with_columns(moved=pl.lit(False))
    return pl.concat([straight, settled.select(straight.columns)]), pl.concat([homeless, clock])


def known(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with null for a known_at that is not after the bar's start, and a clock_error finding for each of them.

    The session's close takes its place: new is null, as the row does not say when it was known.
    """
    wrong = pl.col("known_at") <= pl.col("ts")
    if not rows.select(wrong.any()).item():
        return rows, FINDING_SCHEMA.to_frame()
    seconds = pl.col("known_at").dt.epoch("s")
    told = rows.filter(wrong).select(finding("clock_error", "known_at", seconds, pl.lit(None)))
    return rows.with_columns(known_at=pl.when(~wrong).then("known_at")), told


def whole(rows: pl.DataFrame, settings: CleaningSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of finished sessions, and findings about bars that were fetched before they ended.

    Such a bar will be another tomorrow: it is left out, unless the settings do not ask for the repair.
    """
    half = (pl.col("fetched_at") < pl.col("known_at")).fill_null(False)
    if not rows.select(half.any()).item():
        return rows, FINDING_SCHEMA.to_frame()
    leave_out = "half_built" in settings.repair
    used = pl.lit(None) if leave_out else pl.col("close")
    told = rows.filter(half).select(finding("half_built", "close", pl.col("close"), used))
    return (rows.filter(~half) if leave_out else rows), told


def one_a_session(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows sorted by symbol and ts, one for each, and a finding for every other: old its close, new the close kept.

    Kept is the first row that was stamped right and whose prices can be.
    """
    symbol, ts = pl.col("symbol"), pl.col("ts")
    back = (symbol < symbol.shift()) | ((symbol == symbol.shift()) & (ts < ts.shift()))
    if rows.select(back.any()).item():
        rows = rows.sort("symbol", "ts", maintain_order=True)
    again = rows.select(again=((symbol == symbol.shift()) & (ts == ts.shift())).fill_null(False))["again"]
    if not again.any():
        return rows, FINDING_SCHEMA.to_frame()
    several = again | again.shift(-1, fill_value=False)
    ranked = (
        rows.filter(several)
        .with_columns(bad=~(_bound() & pl.all_horizontal(_good(name) for name in VALUES)).fill_null(False))
        .sort("symbol", "ts", "moved", "bad", maintain_order=True)
        .with_columns(
            kept=pl.col("close").first().over("symbol", "ts"), first=pl.struct("symbol", "ts").is_first_distinct()
        )
    )
    told = ranked.filter(~pl.col("first")).select(finding("duplicate", "close", pl.col("close"), pl.col("kept")))
    kept = pl.concat([rows.filter(~several), ranked.filter("first").select(rows.columns)])
    return kept.sort("symbol", "ts"), told


def sound(rows: pl.DataFrame, settings: CleaningSettings) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rows with null for every value that cannot be; what was wrong; and rows to be given back as they came.

    Wrong (symbol, ts, rule, field, old, repaired): invalid_value is a price that is not a positive number, or a
    volume that is none or negative; inconsistent is a high or low that does not bound the other prices. Rows before
    a symbol's first possible close are left out. The rows to be given back, as (symbol, ts, VALUES), are those
    whose repair the settings do not ask for.
    """
    good = pl.all_horizontal(_good(name) for name in VALUES)
    odd = rows.filter(~(good & _bound()))
    if odd.is_empty():
        return rows, WRONG.to_frame(), odd.select("symbol", "ts", *VALUES)
    high, low = pl.col("high"), pl.col("low")
    bounds = {"high": high < pl.max_horizontal(*PRICES), "low": low > pl.min_horizontal(*PRICES)}
    wrong = pl.concat(
        [_wrong(odd.filter(~_good(name)), "invalid_value", name, settings) for name in VALUES]
        + [_wrong(odd.filter(good & broken), "inconsistent", name, settings) for name, broken in bounds.items()]
    )
    given_back = odd.join(wrong.filter(~pl.col("repaired")), on=["symbol", "ts"], how="semi")
    possible = rows.with_columns(pl.when(_good(name)).then(name).alias(name) for name in VALUES)
    started = pl.col("close").is_not_null().cum_sum().over("symbol") > 0
    return possible.filter(started), wrong, given_back.select("symbol", "ts", *VALUES)


def _good(name: str) -> pl.Expr:
    least = pl.col(name) >= 0 if name == "volume" else pl.col(name) > 0
    return (pl.col(name).is_finite() & least).fill_null(False)


def _bound() -> pl.Expr:
    """Whether high and low bound the other prices; false where one is missing."""
    highest = pl.col("high") >= pl.max_horizontal(*PRICES)
    return (highest & (pl.col("low") <= pl.min_horizontal(*PRICES))).fill_null(False)


def _wrong(rows: pl.DataFrame, rule: str, field: str, settings: CleaningSettings) -> pl.DataFrame:
    repaired = pl.lit(rule in settings.repair)
    return rows.select("symbol", "ts", rule=pl.lit(rule), field=pl.lit(field), old=field, repaired=repaired)
