"""What features may know of a symbol beside its bars, and how columns are made of the bars before any feature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Context:
    """What is known of the symbols beside their bars."""

    instruments: pl.DataFrame | None = None
    """In INSTRUMENT_SCHEMA; only symbol is needed, what is missing is null."""
    calendar: str = "XNYS"
    """Of symbols whose instrument names none."""
    benchmark: str | None = None
    """Symbol whose return is the market's; the equal-weighted mean of all symbols by default."""


@dataclass(frozen=True)
class Derived:
    """A column made of the bars of all symbols (sorted by symbol and ts), before any feature."""

    make: Callable[[pl.DataFrame, Context], pl.DataFrame]
    """Gives the bars with the column (and others, if it makes several); a row sees no later instant than its own."""
    needs: tuple[str, ...]
    """Columns of the bars that it reads."""
    universe: bool = False
    """Whether it depends on the other symbols present."""
    streams: bool = False
    """Whether it is the same made of one bar alone."""


@dataclass(frozen=True)
class Extra:
    """A column that bars may have or not."""

    description: str
    bounds: tuple[float, float] = (0.0, math.inf)
    """The smallest and largest value possible; what the proofs draw their examples from."""
