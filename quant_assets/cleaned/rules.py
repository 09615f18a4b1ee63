"""What cleaning looks for: each rule with its severity, where it applies, and the value it replaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import polars as pl

from resources.calendars import UTC_MICROS
from resources.config import CleaningSettings
from resources.market_data.base import PRICES

FINDING_SCHEMA = pl.Schema(
    {
        "rule": pl.String(),
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "field": pl.String(),
        "old": pl.Float64(),
        "new": pl.Float64(),
        "severity": pl.String(),
    }
)
"""One row for everything noticed. `old` is the value given, `new` the value used: equal where nothing was changed."""

Severity = Literal["info", "warning", "error"]

SEVERITY: dict[str, Severity] = {
    # rows
    "excluded": "info",  # left out by cleaning.exclude
    "duplicate": "warning",  # another row for the symbol and session: one is kept; of ticks: the same trade id again
    "clock_error": "warning",  # not stamped at its session's open: moved there; begun after it was fetched: left out
    "out_of_session": "warning",  # on a day on which the calendar does not trade: left out
    "half_built": "warning",  # fetched before its session ended: left out
    "invalid_value": "warning",  # a price that is not a positive number, a volume that is none or negative: replaced
    "inconsistent": "warning",  # high or low do not bound the bar's prices: widened
    "unit_error": "warning",  # all prices 100 times too high or too low: divided back
    "bad_print": "warning",  # a high, low or open, or a trade, that nothing around it confirms
    "bad_close": "warning",  # the PREVIOUS close was such a print, as this bar shows: previous_close, old
    "missing_session": "warning",  # the calendar trades, the source has no bar: filled with the previous close
    "missing_bar": "info",  # intraday: no trade in this slot of an open session: filled with the previous close
    "zero_volume": "info",
    "stale": "warning",  # prices repeat the bars before, or one bar before to its very volume
    "jump": "warning",  # an adjusted return far outside the volatility of the bars before
    "unapplied_split": "warning",  # a calm session at a usual split ratio from the last, without a split
    # ticks
    "crossed": "warning",  # a quote's bid is above its ask
    # actions
    "split_unconfirmed": "error",  # not applied: the session opened as if there were no split
    "dividend_unconfirmed": "error",  # not applied: large, and the session opened as if there were none
    "dividend_exceeds_price": "error",  # not applied: at least the whole previous close
    "dividend_overdue": "info",  # a regular payer has no next dividend: cut, or lost by the source
    "action_invalid": "error",  # not applied: no number, a split of zero or less, a negative dividend
    "action_duplicated": "warning",  # the same action twice: counted once
    "action_known_late": "warning",  # applied, although it became known after the session's close
    "action_moved": "info",  # its date has no bar: applied at the symbol's next bar
    "action_before_history": "info",  # not applied: there is no earlier close to adjust
    "action_without_bar": "info",  # not applied yet: the symbol has no bar since
}
"""Every rule, by severity. An error says that the source contradicts itself and somebody should look."""

USUAL_SPLITS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0)
SPLIT_MOVE = 5.5
"""A split moves the price by at least this many sigmas."""

SPLIT_OPEN = (2.0, 0.045, 0.055)
SPLIT_CLOSE = (4.0, 0.06, 0.10)
"""How far, in log price, open and close may be from a usual ratio (or its inverse): sigmas, at least, at most."""

SPLIT_BEFORE = 0.14
"""How far the open before may be from the same ratio to this open: a false close before would mimic a split."""

SPLIT_TURNOVER = 4.0
SPLIT_RANGE = 4.5
"""The most that turnover (price x volume) and range (log high / low) may be, as multiples of their medians before.

A split changes nothing but the count of shares; news that halves a price is traded at many times the usual turnover.
A range no wider than the bar's before is usual, too.
"""

SPLIT_DOUBT = 1.5
"""The most that the distances of open, turnover and range, each over what it may be, add up to when squared.

A price at the edge of all of them at once is news.
"""

SPLIT_SLACK = 2.3
SPLIT_HUGE = 3.5
"""From 2:1 on no calm night does it: the tolerances are SPLIT_SLACK times as wide, and from a step of SPLIT_HUGE:1
on twice that. Nothing but a reverse split multiplies a price by that much: its turnover is not asked."""

WILD_NIGHT = 0.06
"""Where the opens of other symbols stray this far (log price, SPLIT_QUANTILE of them) from their median, and farther,
a step needs as many times more sigmas: 19 September 2008."""

SPLIT_QUANTILE = 0.95

MIN_SYMBOLS = 20
"""Fewer symbols at a time are no cross-section: each is then judged alone."""

PRINT_SIGMAS = 10.0
PRINT_FLOOR = 0.10
"""A print is bad from this many sigmas on, and this far away in log price, with nothing around it that confirms."""

PRINT_RUSH = 1.5
"""News moves prices in earnest: with more than this many times its usual volume, a print may go as much farther as the
square root of what the volume is beyond that."""

JUMP_WINDOW = 63
JUMP_MIN_BARS = 21
JUMP_FLOOR = 0.005
"""Smallest scale of a return: after quiet bars (a peg, a stale feed) not every tick is a jump."""

_MAD_TO_SIGMA = 1.4826  # of a normal distribution


@dataclass(frozen=True, slots=True)
class Check:
    """A rule over adjusted rows: where `when` holds, `field` was `old` and is used as `new`."""

    rule: str
    when: pl.Expr
    field: str
    old: pl.Expr
    new: pl.Expr


def finding(rule: str, field: str | pl.Expr, old: pl.Expr, new: pl.Expr) -> list[pl.Expr]:
    """The columns of FINDING_SCHEMA, to be selected from rows with symbol and ts."""
    name_of = pl.lit(field) if isinstance(field, str) else field
    values = {"rule": pl.lit(rule), "field": name_of, "old": old, "new": new, "severity": pl.lit(SEVERITY[rule])}
    return [values.get(name, pl.col(name)).cast(dtype).alias(name) for name, dtype in FINDING_SCHEMA.items()]


def checks(settings: CleaningSettings) -> list[Check]:
    """The rules over adjusted rows.

    They read the columns of `adjust`, and those of `suspicions`.
    """
    close, volume, split, dividend = pl.col("close"), pl.col("volume"), pl.col("split"), pl.col("dividend")
    given_split, given_dividend = pl.col("given_split"), pl.col("given_dividend")
    refused, too_large = given_dividend != dividend, pl.col("exceeds_price")
    jump = pl.col("move").abs() > settings.jump_sigmas * pl.col("scale")
    stale = (pl.col("repeats") >= settings.stale_bars) | pl.col("copied")
    previous = pl.col("previous_close")
    bad_prints = [
        Check("bad_print", pl.col(f"bad_{name}"), name, pl.col(f"given_{name}"), pl.col(f"mended_{name}"))
        for name in ("open", "high", "low")
    ]
    return [
        Check("missing_session", pl.col("missing"), "close", pl.lit(None), close),
        Check("zero_volume", ~pl.col("missing") & (volume == 0), "volume", volume, volume),
        Check("stale", stale, "close", close, close),
        *bad_prints,
        Check("bad_close", is_bad("close_off"), "previous_close", previous, previous),
        Check("jump", jump, "close", close, close),
        Check("unapplied_split", (split == 1) & pl.col("split_like"), "split", split, split),
        Check("split_unconfirmed", given_split != split, "split", given_split, split),
        Check("dividend_unconfirmed", refused & ~too_large, "dividend", given_dividend, dividend),
        Check("dividend_exceeds_price", refused & too_large, "dividend", given_dividend, dividend),
        Check("action_known_late", pl.col("known_late"), "close", close, close),
    ]


def is_bad(excursion: str) -> pl.Expr:
    """Whether an excursion (`prints.excursions`) is so wide that the print is bad."""
    off = pl.col(excursion).abs()
    return ((off > PRINT_SIGMAS) & (off * pl.col("scale") > PRINT_FLOOR)).fill_null(False)


def suspicions(rows: pl.DataFrame) -> pl.DataFrame:
    """Add what the rules about prices need, each from this row and the rows before it only.

    move: log return of the adjusted close, null in a missing session. scale: its robust standard deviation
    over the JUMP_WINDOW rows before this one, at least JUMP_FLOOR, null until JUMP_MIN_BARS of them.
    repeats: how many bars in a row, this one included, have the same four prices. copied: the bar, its volume too,
    is the bar before (without volume or range a quiet session repeats itself honestly). split_like: see
    `_split_like`.
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    alike = pl.all_horizontal(same, ~pl.col("missing"), *[pl.col(name) == pl.col(name).shift() for name in PRICES])
    row = pl.int_range(pl.len(), dtype=pl.Int64)
    traded = (pl.col("volume") > 0) & (pl.col("high") > pl.col("low"))
    with_moves = rows.with_columns(
        move=pl.when(same & ~pl.col("missing")).then((pl.col("adj_close") / pl.col("adj_close").shift()).log()),
        repeats=row - pl.when(~alike.fill_null(False)).then(row).forward_fill() + 1,
        copied=(alike & traded & (pl.col("volume") == pl.col("volume").shift())).fill_null(False),
    )
    typical = pl.col("move").abs().shift().rolling_median(JUMP_WINDOW, min_samples=JUMP_MIN_BARS).over("symbol")
    scaled = with_moves.with_columns(scale=(typical * _MAD_TO_SIGMA).clip(lower_bound=JUMP_FLOOR))
    return scaled.with_columns(split_like=_split_like(scaled))


def _split_like(rows: pl.DataFrame) -> pl.Series:
    """Open and close lie a usual split ratio from the previous bar, in trading as calm as at other times.

    What the median symbol did since the bar before is taken off first, and a dividend, too. Turnover and range are
    compared with their medians over the JUMP_WINDOW bars before; those are asked for the symbols with a candidate
    only.
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    before = pl.col("previous_close") - pl.col("dividend")
    step = (before / pl.col("open")).log()
    # Two closes' tolerance below the smallest split: the night of the others may make up for the first.
    candidate = (step.abs() > math.log(USUAL_SPLITS[0]) - 2 * SPLIT_CLOSE[2]) & (
        pl.col("move").abs() > SPLIT_MOVE * pl.col("scale")
    )
    indexed = rows.with_row_index("row")
    found = rows.select(candidate.fill_null(False).alias("found"))["found"]
    if not found.any():
        return found
    hits = indexed.filter(found)
    asked = (
        indexed.select("row", "symbol", "ts", *PRICES, "volume", "previous_close", "dividend", "move", "scale")
        .filter(pl.col("symbol").is_in(hits["symbol"].unique().implode()))
        .with_columns(
            turnover=(pl.col("close") * pl.col("volume")).log1p(), range=(pl.col("high") / pl.col("low")).log()
        )
    )
    usual = {
        f"usual_{name}": pl.col(name).shift().rolling_median(JUMP_WINDOW, min_samples=JUMP_MIN_BARS).over("symbol")
        for name in ("turnover", "range")
    }
    judged = (
        asked.with_columns(
            **usual,
            step=step,
            close_step=(before / pl.col("close")).log(),
            open_before=pl.when(same).then((pl.col("open").shift() / pl.col("open")).log()),
            range_before=pl.when(same).then(pl.col("range").shift()),
        )
        .filter(pl.col("row").is_in(hits["row"].implode()))
        .join(_nights(rows, hits), on="ts", how="left")
        .with_columns(pl.col("night", "wild").fill_null(0.0))
        .filter(_is_split().fill_null(False))
    )
    return indexed.select(pl.col("row").is_in(judged["row"].implode()))["row"]


def _nights(rows: pl.DataFrame, hits: pl.DataFrame) -> pl.DataFrame:
    """ts, night (median log step from the close before to the open), wild (SPLIT_QUANTILE of the distances from it).

    For the times of `hits` where there are MIN_SYMBOLS at least.
    """
    night = (pl.col("open") / pl.col("previous_close")).log()
    return (
        rows.lazy()
        .filter(~pl.col("missing") & pl.col("ts").is_in(hits["ts"].unique().implode()))
        .select("ts", night=night)
        .group_by("ts")
        .agg(
            symbols=pl.col("night").count(),
            wild=(pl.col("night") - pl.col("night").median()).abs().quantile(SPLIT_QUANTILE),
            night=pl.col("night").median(),
        )
        .filter(pl.col("symbols") >= MIN_SYMBOLS)
        .drop("symbols")
        .collect()
    )


def _is_split() -> pl.Expr:
    """Whether a candidate's steps lie at a usual ratio, in calm trading."""
    calm_step = pl.col("step") + pl.col("night")
    ratio = _usual_split(calm_step.abs().exp())
    sign = pl.col("step").sign()
    open_off, close_off, before_off = (
        (sign * value - ratio.log()).abs()
        for value in (calm_step, pl.col("close_step") + pl.col("night"), pl.col("open_before"))
    )
    large, huge = ratio >= 2, pl.col("step").abs() > math.log(SPLIT_HUGE)
    before_slack = pl.when(large).then(SPLIT_SLACK).otherwise(1.0)
    slack = before_slack * pl.when(huge).then(2.0).otherwise(1.0)
    wild = (pl.col("wild") / WILD_NIGHT).clip(lower_bound=1.0)
    rush = (pl.col("turnover") - pl.col("usual_turnover")) / (slack * SPLIT_TURNOVER).log()
    width = (pl.col("range") / pl.col("usual_range")).log() / (slack * SPLIT_RANGE).log()
    away = open_off / (slack * _within(SPLIT_OPEN))
    # Not clipped at the bar before: its range may be none at all.
    width = pl.when(pl.col("range") <= pl.col("range_before")).then(0.0).otherwise(width.clip(lower_bound=0.0))
    rush = pl.when(huge & (sign < 0)).then(0.0).otherwise(rush.clip(lower_bound=0.0))
    return pl.all_horizontal(
        pl.col("move").abs() > SPLIT_MOVE * wild * pl.col("scale"),
        close_off <= slack * _within(SPLIT_CLOSE),
        before_off <= before_slack * SPLIT_BEFORE,
        pl.max_horizontal(away, rush, width) <= 1,
        away.pow(2) + rush.pow(2) + width.pow(2) <= SPLIT_DOUBT,
    )


def _within(tolerance: tuple[float, float, float]) -> pl.Expr:
    sigmas, least, most = tolerance
    return (sigmas * pl.col("scale")).clip(least, most)


def _usual_split(ratio: pl.Expr) -> pl.Expr:
    """The usual split nearest to a ratio of at least one, in log distance."""
    # Between two ratios their geometric mean is the border.
    borders = [math.sqrt(low * high) for low, high in pairwise(USUAL_SPLITS)]
    nearest = pl.lit(USUAL_SPLITS[0])
    for border, usual in zip(borders, USUAL_SPLITS[1:], strict=True):
        nearest = pl.when(ratio > border).then(usual).otherwise(nearest)
    return nearest
