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
    "missing_session": "warning",  # the calendar trades, the source has no bar: filled with the previous close
    "zero_volume": "info",
    "stale": "warning",  # open, high, low and close repeat the bars before
    "jump": "warning",  # an adjusted return far outside the volatility of the bars before
    "unapplied_split": "warning",  # a jump by a usual split ratio, without a split
    # actions
    "split_unconfirmed": "error",  # not applied: the session opened as if there were no split
    "dividend_unconfirmed": "error",  # not applied: large, and the session opened as if there were none
    "dividend_exceeds_price": "error",  # not applied: at least the whole previous close
    "action_invalid": "error",  # not applied: no number, a split of zero or less, a negative dividend
    "action_duplicated": "warning",  # the same action twice: counted once
    "action_known_late": "warning",  # applied, although it became known after the session's close
    "action_moved": "info",  # its date has no bar: applied at the symbol's next bar
    "action_before_history": "info",  # not applied: there is no earlier close to adjust
    "action_without_bar": "info",  # not applied yet: the symbol has no bar since
}
"""Every rule, by severity. An error says that the source contradicts itself and somebody should look."""

USUAL_SPLITS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0)
SPLIT_TOLERANCE = 0.05
"""How far, in log price, open and close may both be from a usual ratio (or its inverse)."""

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
    return [
        Check("missing_session", pl.col("missing"), "close", pl.lit(None), close),
        Check("zero_volume", ~pl.col("missing") & (volume == 0), "volume", volume, volume),
        Check("stale", pl.col("repeats") >= settings.stale_bars, "close", close, close),
        Check("jump", jump, "close", close, close),
        Check("unapplied_split", jump & (split == 1) & pl.col("split_like"), "split", split, split),
        Check("split_unconfirmed", given_split != split, "split", given_split, split),
        Check("dividend_unconfirmed", refused & ~too_large, "dividend", given_dividend, dividend),
        Check("dividend_exceeds_price", refused & too_large, "dividend", given_dividend, dividend),
        Check("action_known_late", pl.col("known_late"), "close", close, close),
    ]


def suspicions(rows: pl.DataFrame) -> pl.DataFrame:
    """Add what the rules about prices need, each from this row and the rows before it only.

    move: log return of the adjusted close, null in a missing session. scale: its robust standard deviation
    over the JUMP_WINDOW rows before this one, at least JUMP_FLOOR, null until JUMP_MIN_BARS of them.
    repeats: how many bars in a row, this one included, have the same four prices. split_like: open and close
    both lie a usual split ratio away from the previous close.
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    alike = pl.all_horizontal(same, ~pl.col("missing"), *[pl.col(name) == pl.col(name).shift() for name in PRICES])
    row = pl.int_range(pl.len(), dtype=pl.Int64)
    with_moves = rows.with_columns(
        move=pl.when(same & ~pl.col("missing")).then((pl.col("adj_close") / pl.col("adj_close").shift()).log()),
        repeats=row - pl.when(~alike.fill_null(False)).then(row).forward_fill() + 1,
        split_like=_near_usual_split(pl.col("open")) & _near_usual_split(pl.col("close")),
    )
    typical = pl.col("move").abs().shift().rolling_median(JUMP_WINDOW, min_samples=JUMP_MIN_BARS).over("symbol")
    return with_moves.with_columns(scale=(typical * _MAD_TO_SIGMA).clip(lower_bound=JUMP_FLOOR))


def _near_usual_split(price: pl.Expr) -> pl.Expr:
    distance = (pl.col("previous_close") / price).log().abs()
    near = [(distance - math.log(ratio)).abs() <= SPLIT_TOLERANCE for ratio in USUAL_SPLITS]
    return pl.any_horizontal(near).fill_null(False)
