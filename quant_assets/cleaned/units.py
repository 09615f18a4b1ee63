"""Bars quoted in the wrong unit: pence for pounds, cents for dollars, and so 100 times too high or too low."""

from __future__ import annotations

import math

import polars as pl

from quant_assets.cleaned.rules import FINDING_SCHEMA, finding
from resources.market_data.base import PRICES

FACTOR = 100.0
SMALLEST = 10.0
"""A smaller step is none between units, whatever split was told beside it."""

TOLERANCE = 0.5
"""How far, in log price, a step may be from FACTOR: a night's move, and a crash's."""


def levels(rows: pl.DataFrame, effective: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows in the unit of their symbol's first bar, with `unit` (what the given price was a multiple of), and findings.

    A bar steps to another unit when all four prices lie FACTOR away from the four of the bar before, and no split
    of that size takes effect (`effective` as `adjust.place` returns it); a smaller split of the same bar is taken off
    where that makes it FACTOR. It stays there until a step back. So a row is judged by itself and earlier rows only,
    and single prices that are off are left to the other rules.
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    ratio = (pl.col("close") / pl.col("close").shift()).log()
    if not rows.select((same & (ratio.abs() > math.log(SMALLEST))).any()).item():
        return rows.with_columns(unit=pl.lit(1.0)), FINDING_SCHEMA.to_frame()
    given = effective.select("symbol", "ts", told=pl.col("given_split").log())
    steps = [(pl.col(name) / pl.col(name).shift()).log() for name in PRICES]
    huge = pl.col("told").abs() > math.log(FACTOR) - TOLERANCE
    step = pl.when(same & ~huge).then(_by_factor(steps, 1).cast(pl.Int8) - _by_factor(steps, -1).cast(pl.Int8))
    stepped = (
        rows.join(given, on=["symbol", "ts"], how="left", maintain_order="left")
        .with_columns(pl.col("told").fill_null(0.0))
        .with_columns(step=step.fill_null(0).cast(pl.Int32))
        .with_columns(unit=FACTOR ** pl.col("step").cum_sum().over("symbol").cast(pl.Float64))
        .with_columns([(pl.col(name) / pl.col("unit")).alias(name) for name in PRICES])
        .drop("step", "told")
    )
    off = stepped.filter((pl.col("unit") != 1) & ~pl.col("missing"))
    return stepped, off.select(finding("unit_error", "close", pl.col("close") * pl.col("unit"), pl.col("close")))


def _by_factor(steps: list[pl.Expr], sign: int) -> pl.Expr:
    """Whether all steps (log prices) are FACTOR up (1) or down (-1), as they are or without the split that was told."""
    size = sign * math.log(FACTOR)
    as_given = pl.all_horizontal((step - size).abs() <= TOLERANCE for step in steps)
    return as_given | pl.all_horizontal((step + pl.col("told") - size).abs() <= TOLERANCE for step in steps)
