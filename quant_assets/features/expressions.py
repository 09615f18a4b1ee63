"""What feature builders share: the adjusted columns, returns, safe division, TA-Lib, and the memory of averages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

OPEN, HIGH, LOW, CLOSE = (pl.col(f"adj_{name}") for name in ("open", "high", "low", "close"))
VOLUME = pl.col("adj_volume")

NOTHING = 1e-9
"""A denominator below this fraction of its natural size is rounding, not information."""

PRECISION = 1e-12
"""What may be left of the bars before the look-back in a recursive average, as a fraction of the price."""


def log_return() -> pl.Expr:
    """Log return of the adjusted close since the session before."""
    return (CLOSE / CLOSE.shift()).log()


def ratio(numerator: pl.Expr, denominator: pl.Expr, size: pl.Expr | float = 1.0) -> pl.Expr:
    """The quotient, null where the denominator is nothing beside its natural `size`, or that is zero itself."""
    return pl.when((denominator > NOTHING * size) & (pl.lit(0.0) < size)).then(numerator / denominator)


def varies(value: pl.Expr, window: int, size: pl.Expr | float = 1.0) -> pl.Expr:
    """Whether the value differed within the last `window` bars, by more than rounding beside its natural `size`.

    Extremes tell exactly, and a standard deviation does not: rolling sums keep the rounding of bars long gone, so
    that in a halted stock it is not quite zero, and what is divided by it is noise.
    """
    return value.rolling_max(window) - value.rolling_min(window) > NOTHING * size


def moved(window: int) -> pl.Expr:
    """Whether there was more than one price within the last `window` bars."""
    return HIGH.rolling_max(window) - LOW.rolling_min(window) > NOTHING * CLOSE


def talib(function: str, inputs: Sequence[pl.Expr], output: int = 0, **parameters: int | float) -> pl.Expr:
    """An indicator of TA-Lib over whole columns; `output` picks one where it returns several. NaN during warm-up."""

    def run(columns: Sequence[pl.Series]) -> pl.Series:
        import talib as library

        result = getattr(library, function)(*[column.to_numpy() for column in columns], **parameters)
        return pl.Series(result[output] if isinstance(result, tuple) else result)

    return pl.map_batches(list(inputs), run, return_dtype=pl.Float64)


def wilder(value: pl.Expr, window: int) -> pl.Expr:
    """Wilder's average: exponential with weight 1/window. It needs settle(1 / window) bars to forget its start."""
    return value.ewm_mean(alpha=1 / window, adjust=False)


def settle(alpha: float) -> int:
    """Bars until an exponential average with weight `alpha` has forgotten its start, to PRECISION.

    Its memory of a bar shrinks by (1 - alpha) every bar; Wilder's averages have alpha 1/n, others 2/(n + 1).
    """
    return math.ceil(math.log(PRECISION) / math.log1p(-alpha))
