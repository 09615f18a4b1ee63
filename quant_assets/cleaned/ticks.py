"""Quotes and trades that cannot be, or cannot be at their time, as findings; the ticks themselves stay as they are.

Whoever makes bars of ticks leaves out what `faults` names: `without(ticks, faults(ticks, instruments))`.

All rules but one judge a tick by itself and what came before it. A trade far from those before is news or a bad print,
and only what follows tells which: bad_print waits for the REFERENCE (5) trades of the symbol after it. Until they are
there the trade is not called bad; once they are, nothing later changes what was said.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.cleaned.rules import FINDING_SCHEMA, finding
from resources.calendars import UTC_MICROS, sessions
from resources.errors import BarSchemaError

EARLIEST = date(1980, 1, 1)
"""No ticks were kept before: a stamp of 1970 is a clock that was never set."""

REFERENCE = 5
"""A trade is compared with this many of its symbol before and as many after. It stands alone if all but one of them lie
on one side of it: so two bad prints in a row are still told, and three are a price."""

BEFORE = 31
"""Trades before it that say how far trades lie apart: from the third lowest price to the third highest."""

TICK_WIDTHS = 3.0
TICK_FLOOR = 0.003
"""A trade that stands alone is bad from this many of those widths on, and this far away in log price."""

AT_ONCE = 200_000
"""Trades looked at together: where they jump about all the time, memory must not follow their count."""

QUOTE_AGE = "1m"
"""A standing quote not older than this confirms a trade at or within its bid and ask."""


def faults(
    ticks: pl.LazyFrame, instruments: pl.DataFrame | pl.LazyFrame, quotes: pl.LazyFrame | None = None
) -> pl.DataFrame:
    """Findings (FINDING_SCHEMA, sorted by symbol and ts) about quotes or trades (resources.market_data.ticks).

    crossed: bid above ask (old the bid, new the ask); a locked market, bid equal to ask, is none. out_of_session:
    outside the sessions of the symbol's calendar, their close included. clock_error: stamped after it was fetched, or
    before EARLIEST; old in seconds since 1970, new null. invalid_value: a price or size that is no number or below
    zero, or a bid or ask of zero with a size; of a trade, a price or size of zero, too. duplicate: a trade id for the
    second time at the same instant (old its price, new the price of the first). Rows without an id are not compared:
    an exchange prints equal trades, and repeats equal quotes, within a millisecond. bad_print: a trade alone among the
    REFERENCE before and after it, far by TICK_WIDTHS and TICK_FLOOR; old the price, new the median of those before.

    `instruments` needs symbol and calendar. `quotes` (QUOTE_SCHEMA), where given, confirm trades: what was traded at or
    within the standing bid and ask is no bad print.

    Raises BarSchemaError on a tick without symbol or time, and on a symbol without a calendar.

    Example: `faults(provider.trades(["AAPL"], start, end), provider.instruments(["AAPL"]))`
    """
    rows = _placed(ticks, instruments)
    if rows.is_empty():
        return FINDING_SCHEMA.to_frame()
    seconds = pl.col("ts").dt.epoch("us") / 1e6
    early = pl.col("ts") < pl.lit(EARLIEST).cast(UTC_MICROS)
    wrong_clock = rows.select(((pl.col("ts") > pl.col("fetched_at")).fill_null(False) | early).alias("wrong"))["wrong"]
    outside = _outside(rows, wrong_clock)
    found = [
        rows.filter(wrong_clock).select(finding("clock_error", "ts", seconds, pl.lit(None))),
        rows.filter(outside).select(finding("out_of_session", "ts", seconds, pl.lit(None))),
    ]
    if "bid" in rows.columns:
        found += _of_quotes(rows)
    else:
        found += _of_trades(rows, wrong_clock | outside, quotes)
    return pl.concat(found).sort("symbol", "ts", "rule", "field")


def without(ticks: pl.LazyFrame, findings: pl.DataFrame) -> pl.LazyFrame:
    """The ticks less those that `faults` named; others of the same instant stay, and the first of a trade told twice.

    Example: `without(trades, faults(trades, instruments))`
    """
    mistimed = findings.filter(pl.col("field") == "ts").select("symbol", "ts").unique()
    left = ticks.join(mistimed.lazy(), on=["symbol", "ts"], how="anti", maintain_order="left")
    if (findings["rule"] == "duplicate").any():
        key = ("symbol", "ts", "trade_id")
        left = left.filter(pl.col("trade_id").is_null() | pl.struct(key).is_first_distinct())
    named = findings.filter((pl.col("field") != "ts") & (pl.col("rule") != "duplicate"))
    for (field,), part in named.group_by("field", maintain_order=True):
        values = part.select("symbol", "ts", pl.col("old").alias(str(field))).unique().lazy()
        left = left.join(values, on=["symbol", "ts", str(field)], how="anti", nulls_equal=True, maintain_order="left")
    return left


def _placed(ticks: pl.LazyFrame, instruments: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """The ticks sorted by symbol and ts, each with the calendar of its symbol."""
    calendars = instruments.lazy().select("symbol", "calendar").unique().collect()
    rows = ticks.collect()
    symbol, ts = pl.col("symbol"), pl.col("ts")
    if rows.select(((symbol < symbol.shift()) | ((symbol == symbol.shift()) & (ts < ts.shift()))).any()).item():
        rows = rows.sort("symbol", "ts", maintain_order=True)
    rows = rows.join(calendars, on="symbol", how="left", maintain_order="left")
    unplaced = rows.filter(pl.any_horizontal(pl.col("symbol", "ts", "calendar").is_null())).head(1)
    if unplaced.height:
        name, at = unplaced.select("symbol", "ts").row(0)
        raise BarSchemaError(f"{name} {at}: a tick needs a symbol, a time and a calendar. Fix the source.")
    return rows


def _outside(rows: pl.DataFrame, wrong_clock: pl.Series) -> pl.Series:
    """Which ticks lie outside the sessions of their calendars, of those whose clock is not wrong."""
    stamps = rows["ts"].dt.epoch("us").to_numpy()
    outside = np.zeros(rows.height, bool)
    for name in rows["calendar"].unique().sort():
        here = np.flatnonzero(((rows["calendar"] == name) & ~wrong_clock).to_numpy())
        if not len(here):
            continue
        days = rows.select(pl.col("ts").gather(here).dt.date())["ts"]
        first, last = cast(date, days.min()), cast(date, days.max())
        # The session of a tick may have opened on the evening before, or be dated the day after.
        span = first - timedelta(days=4), last + timedelta(days=1)
        slots = sessions(str(name), *span).sort("open")
        opens, closes = (slots[edge].dt.epoch("us").to_numpy() for edge in ("open", "close"))
        at = np.searchsorted(opens, stamps[here], side="right") - 1
        outside[here] = (at < 0) | (stamps[here] > closes[np.maximum(at, 0)])
    return pl.Series(outside)


def _of_quotes(rows: pl.DataFrame) -> list[pl.DataFrame]:
    bid, ask = pl.col("bid"), pl.col("ask")
    found = [rows.filter((bid > ask) & (ask > 0)).select(finding("crossed", "bid", bid, ask))]
    for side in ("bid", "ask"):
        # A price of zero without size is how many venues write that a side is empty.
        empty = (pl.col(side) == 0) & (pl.col(f"{side}_size") > 0)
        wrong = {side: _no_number(side) | empty, f"{side}_size": _no_number(f"{side}_size")}
        found += [_invalid(rows, name, bad) for name, bad in wrong.items()]
    return found


def _of_trades(rows: pl.DataFrame, mistimed: pl.Series, quotes: pl.LazyFrame | None) -> list[pl.DataFrame]:
    """Bad prints are looked for among the trades of which nothing else is said."""
    wrong = {name: ~(pl.col(name).is_finite() & (pl.col(name) > 0)).fill_null(False) for name in ("price", "size")}
    again, repeats = _repeated(rows)
    doubted = mistimed | again | rows.select(pl.any_horizontal(wrong.values()).alias("wrong"))["wrong"]
    sound = rows.filter(~doubted) if doubted.any() else rows
    return [*[_invalid(rows, name, bad) for name, bad in wrong.items()], repeats, _bad_prints(sound, quotes)]


def _repeated(rows: pl.DataFrame) -> tuple[pl.Series, pl.DataFrame]:
    """Which trades have the id of an earlier one of their symbol and instant, and the findings about them."""
    none = pl.repeat(False, rows.height, eager=True)
    if rows["trade_id"].null_count() == rows.height:
        return none, FINDING_SCHEMA.to_frame()
    together = (pl.col("symbol") == pl.col("symbol").shift()) & (pl.col("ts") == pl.col("ts").shift())
    behind = rows.select(together.fill_null(False).alias("behind"))["behind"]
    # Few trades share their instant with another: only those are compared.
    crowd = rows.with_row_index("row").filter(
        (behind | behind.shift(-1, fill_value=False)) & rows["trade_id"].is_not_null()
    )
    key = ("symbol", "ts", "trade_id")
    later = crowd.with_columns(first=pl.col("price").first().over(key)).filter(~pl.struct(key).is_first_distinct())
    again = none.scatter(later["row"], True) if later.height else none
    return again, later.select(finding("duplicate", "price", pl.col("price"), pl.col("first")))


def _bad_prints(rows: pl.DataFrame, quotes: pl.LazyFrame | None) -> pl.DataFrame:
    """Trades that stand alone among the REFERENCE before and after, farther than trades before them lay apart.

    A trade without BEFORE trades before it, or REFERENCE after, is not judged.
    """
    price = rows["price"].to_numpy()
    starts = rows.select(new=(pl.col("symbol") != pl.col("symbol").shift()).fill_null(True))["new"].to_numpy()
    sizes = np.diff(np.append(np.flatnonzero(starts), len(price)))
    rank = np.arange(len(price)) - np.repeat(np.flatnonzero(starts), sizes)
    typical = rows["price"].rolling_median(REFERENCE).shift().to_numpy()
    # Whoever is that far from all but one of the neighbours is that far from the median of those before.
    with np.errstate(invalid="ignore"):
        far = np.abs(np.log(price / typical)) > TICK_FLOOR
    at = np.flatnonzero(far & (rank >= BEFORE) & (np.repeat(sizes, sizes) - rank > REFERENCE))
    parts = [part[_alone(price, part)] for part in np.array_split(at, len(at) // AT_ONCE + 1)]
    bad = np.concatenate(parts)
    suspects = rows[bad].with_columns(reference=pl.Series(typical[bad], dtype=pl.Float64))
    return _unquoted(suspects, quotes).select(finding("bad_print", "price", pl.col("price"), pl.col("reference")))


def _alone(price: npt.NDArray[np.float64], at: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which of the trades at these rows stand alone."""
    steps = np.delete(np.arange(-REFERENCE, REFERENCE + 1), REFERENCE)
    neighbours = np.sort(price[at[:, None] + steps], axis=1)
    earlier = np.sort(price[at[:, None] - np.arange(1, BEFORE + 1)], axis=1)
    width = np.log(earlier[:, -3] / earlier[:, 2])
    away = np.maximum(np.log(price[at] / neighbours[:, -2]), np.log(neighbours[:, 1] / price[at]))
    return away > np.maximum(TICK_WIDTHS * width, TICK_FLOOR)


def _unquoted(suspects: pl.DataFrame, quotes: pl.LazyFrame | None) -> pl.DataFrame:
    """The suspects without those at or within a quote that stood and can be."""
    if quotes is None or suspects.is_empty():
        return suspects
    bid, ask = pl.col("bid"), pl.col("ask")
    sound = quotes.filter((bid > 0) & (bid <= ask)).select("symbol", "ts", "bid", "ask").sort("ts").collect()
    standing = suspects.sort("ts").join_asof(
        sound, on="ts", by="symbol", strategy="backward", tolerance=QUOTE_AGE, check_sortedness=False
    )
    return standing.filter(~pl.col("price").is_between(bid, ask).fill_null(False))


def _invalid(rows: pl.DataFrame, name: str, bad: pl.Expr) -> pl.DataFrame:
    return rows.filter(bad).select(finding("invalid_value", name, pl.col(name), pl.lit(None)))


def _no_number(name: str) -> pl.Expr:
    return pl.col(name).is_not_null() & ~(pl.col(name).is_finite() & (pl.col(name) >= 0))
