"""Bars quoted in the wrong unit: pence for pounds, cents for dollars, and so 100 times too high or too low."""

from __future__ import annotations

import math

import polars as pl

from quant_assets.cleaned.rules import FINDING_SCHEMA, finding
from resources.market_data.base import PRICES

FACTOR = 100.0
TOLERANCE = 0.5
"""How far, in log price, a step may be from FACTOR: a night's move, and a crash's."""


def levels(rows: pl.DataFrame, effective: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows in the unit of their symbol's first bar, with `unit` (what the given price was a multiple of), and findings.

    A bar steps to another unit when all four prices lie FACTOR away from the four of the bar before, and no split
    of that size takes effect (`effective` as `adjust.place` returns it); it stays there until a step back. So a row
    is judged by itself and earlier rows only, and single prices that are off are left to the other rules.
    """
    same = pl.col("symbol") == pl.col("symbol").shift()
    ratio = (pl.col("close") / pl.col("close").shift()).log()
    if not rows.select((same & (ratio.abs() > math.log(FACTOR) - TOLERANCE)).any()).item():
        return rows.with_columns(unit=pl.lit(1.0)), FINDING_SCHEMA.to_frame()
    huge = effective.filter(pl.col("given_split").log().abs() > math.log(FACTOR) - TOLERANCE)
    split = huge.select("symbol", "ts", told=pl.lit(True))
    moved = [(pl.col(name) / pl.col(name).shift()).log() for name in PRICES]
    up = pl.all_horizontal((move - math.log(FACTOR)).abs() <= TOLERANCE for move in moved)
    down = pl.all_horizontal((move + math.log(FACTOR)).abs() <= TOLERANCE for move in moved)
    step = pl.when(same & pl.col("told").is_null()).then(up.cast(pl.Int8) - down.cast(pl.Int8)).fill_null(0)
    stepped = (
        rows.join(split, on=["symbol", "ts"], how="left", maintain_order="left")
        .with_columns(step=step.cast(pl.Int32))
        .with_columns(unit=FACTOR ** pl.col("step").cum_sum().over("symbol").cast(pl.Float64))
        .with_columns([(pl.col(name) / pl.col("unit")).alias(name) for name in PRICES])
        .drop("step", "told")
    )
    off = stepped.filter((pl.col("unit") != 1) & ~pl.col("missing"))
    return stepped, off.select(finding("unit_error", "close", pl.col("close") * pl.col("unit"), pl.col("close")))
