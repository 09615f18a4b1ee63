"""What cleaning looks for: each rule with its severity, where it applies, and the value it replaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
    "duplicate": "warning",  # another row for the symbol and session: one is kept
    "clock_error": "warning",  # not stamped at its session's open: moved there; begun after it was fetched: left out
    "out_of_session": "warning",  # on a day on which the calendar does not trade: left out
    "half_built": "warning",  # fetched before its session ended: left out
    "invalid_value": "warning",  # a price that is not a positive number, a volume that is none or negative: replaced
    "inconsistent": "warning",  # high or low do not bound the bar's prices: widened
    "unit_error": "warning",  # all prices 100 times too high or too low: divided back
    "bad_print": "warning",  # a high, low or open that nothing around it confirms
    "bad_close": "warning",  # the PREVIOUS close was such a print, as this bar shows: previous_close, old
    "missing_session": "warning",  # the calendar trades, the source has no bar: filled with the previous close
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
SPLIT_MOVE = 8.5
SPLIT_MOVE_LARGE = 6.0
"""A split moves the price by at least this many sigmas; a large one (SPLIT_LARGE), seldom mimicked, by less."""

SPLIT_OPEN = (2.0, 0.03, 0.05)
SPLIT_CLOSE = (3.5, 0.05, 0.075)
"""How far, in log price, open and close may be from a usual ratio (or its inverse): sigmas, at least, at most."""

SPLIT_BEFORE = 0.10
"""How far the open before may be from the same ratio to this open: a false close before would mimic a split."""

SPLIT_TURNOVER = 3.7
SPLIT_RANGE = 4.0
"""The most that turnover (price x volume) and range (log high / low) may be, as multiples of their medians before.

A split changes nothing but the count of shares; news that halves a price is traded at many times the usual turnover.
"""

SPLIT_LARGE = math.log(1.75)
SPLIT_SLACK = 2.5
"""From 2:1 on no calm night does it: all four tolerances are then this many times as wide."""

PRINT_SIGMAS = 11.0
PRINT_FLOOR = 0.10
"""A print is bad from this many sigmas on, and this far away in log price, with nothing around it that confirms."""

PRINT_RUSH = 5.0
"""A volume this many times that of both bars before is news, which moves prices in earnest."""

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
    """Whether an excursion (`prints.excursions`) is so wide that the print is bad, in a session without a rush."""
    off = pl.col(excursion).abs()
    rush = pl.col("volume") > PRINT_RUSH * pl.max_horizontal(pl.col("volume").shift(), pl.col("volume").shift(2))
    return ((off > PRINT_SIGMAS) & (off * pl.col("scale") > PRINT_FLOOR) & ~rush).fill_null(False)


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
    """Open and close lie a usual split ratio from the previous bar, in a session as calm as others.

    Calm: turnover and range are no more than a few times their medians over the JUMP_WINDOW bars before. Those
    are asked for the symbols with a candidate only.
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    open_off = _from_usual_split(pl.col("previous_close") / pl.col("open"))
    close_off = _from_usual_split(pl.col("previous_close") / pl.col("close"))
    open_before = _from_usual_split(pl.when(same).then(pl.col("open").shift()) / pl.col("open"))
    distance = (pl.col("previous_close") / pl.col("open")).log().abs()
    large = distance > SPLIT_LARGE
    slack = pl.when(large).then(SPLIT_SLACK).otherwise(1.0)
    near = pl.all_horizontal(
        pl.col("move").abs() > pl.when(large).then(SPLIT_MOVE_LARGE).otherwise(SPLIT_MOVE) * pl.col("scale"),
        open_off <= slack * _within(SPLIT_OPEN),
        close_off <= slack * _within(SPLIT_CLOSE),
        open_before <= slack * SPLIT_BEFORE,
    )
    far = distance > math.log(USUAL_SPLITS[0]) - SPLIT_OPEN[2]
    candidate = rows.select(far.fill_null(False).alias("far"))["far"]
    indexed = rows.with_row_index("row")
    symbols = indexed.filter(candidate)["symbol"].unique()
    columns = ("row", "symbol", *PRICES, "volume", "previous_close", "move", "scale")
    asked = indexed.select(columns).filter(pl.col("symbol").is_in(symbols.implode()))
    turnover = (pl.col("close") * pl.col("volume")).log1p()
    spread = (pl.col("high") / pl.col("low")).log()
    usual = [
        value.shift().rolling_median(JUMP_WINDOW, min_samples=JUMP_MIN_BARS).over("symbol").alias(name)
        for name, value in (("turnover", turnover), ("spread", spread))
    ]
    calm = (turnover - pl.col("turnover") <= (slack * SPLIT_TURNOVER).log()) & (
        spread <= slack * SPLIT_RANGE * pl.col("spread")
    )
    found = asked.with_columns(usual).filter(near & calm.fill_null(False))["row"]
    return indexed.select(pl.col("row").is_in(found.implode()))["row"]


def _within(tolerance: tuple[float, float, float]) -> pl.Expr:
    sigmas, least, most = tolerance
    return (sigmas * pl.col("scale")).clip(least, most)


def _from_usual_split(ratio: pl.Expr) -> pl.Expr:
    """Log distance of a price ratio from the nearest usual split, or its inverse."""
    distance = ratio.log().abs()
    return pl.min_horizontal((distance - math.log(usual)).abs() for usual in USUAL_SPLITS)
