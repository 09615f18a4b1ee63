"""Tables whose cells are shaded by their value: monthly returns, and the parameters of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_assets.backtests.glossary import KNOWN, SAME, shown, unsigned_zero

if TYPE_CHECKING:
    from quant_assets.evidence.surface import Surface

MOST_STEPS = 40
"""Values of a parameter in the table; of more, so many are shown."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a heatmap: its text and, where there is one, its background."""

    text: str
    back: str


@dataclass(frozen=True, slots=True)
class Year:
    year: int
    cells: tuple[Cell, ...]
    total: Cell


def months(frame: pl.DataFrame) -> list[Year]:
    """Returns by month, in per cent, a row a year; `frame` has session and return."""
    known = pl.col("return").is_not_null().any()  # of a lost account there are no more
    growth = pl.when(known).then((1 + pl.col("return")).product() - 1).alias("growth")
    session = pl.col("session").dt
    monthly = frame.group_by(year=session.year(), month=session.month()).agg(growth)
    yearly = dict(frame.group_by(year=session.year()).agg(growth).rows())
    found = {(year, month): value for year, month, value in monthly.rows()}
    # The shade follows the month against a large one of this history, so that one crash does not blank the rest.
    scale = float(monthly["growth"].abs().quantile(0.95) or 0.0) or 1.0
    return [
        Year(
            year,
            tuple(_per_cent(found.get((year, month)), scale) for month in range(1, 13)),
            _per_cent(yearly[year], 3 * scale),
        )
        for year in sorted(yearly)
    ]


def _per_cent(value: float | None, scale: float) -> Cell:
    if value is None:
        return Cell("", "")
    return Cell(unsigned_zero(f"{value * 100:.1f}"), shade(value / scale))


def shade(share: float, strongest: float = 0.5) -> str:
    """A background from faint to strong: blue from 0 to 1, orange from 0 to -1."""
    colour = "38,110,214" if share >= 0 else "214,84,44"
    return f"rgba({colour},{0.08 + (strongest - 0.08) * min(abs(share), 1.0):.2f})"


@dataclass(frozen=True, slots=True)
class Place:
    """One pair of parameters: the figure of its run, its shade, and whether it is the best."""

    text: str
    back: str
    best: bool


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    cells: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A sweep over one or two parameters as a table: `across` is empty where there is one."""

    words: str
    across: str
    down: str
    columns: tuple[str, ...]
    rows: tuple[Line, ...]


def surface(found: Surface | None) -> Grid | None:
    """A sweep's figure over its first two parameters; None without a sweep."""
    if found is None:
        return None
    if found.y is None:  # one parameter reads better downwards: a page scrolls that way
        x, y, x_values, y_values, values = None, found.x, (None,), found.x_values, found.values.T
    else:
        x, y, x_values, y_values, values = found.x, found.y, found.x_values, found.y_values, found.values
    at = (y_values.index(found.best[y]), x_values.index(found.best[x]) if x else 0)
    down, across = _thinned(len(y_values), at[0]), _thinned(len(x_values), at[1])
    scale = float(np.nanmax(np.abs(values))) or 1.0
    rows = tuple(
        Line(
            _value(y_values[row]),
            tuple(_place(found, values[row, column], scale, (row, column) == at) for column in across),
        )
        for row in down
    )
    columns = tuple(_value(x_values[column]) for column in across) if x else (_name(found.figure),)
    thinned = len(down) < len(y_values) or len(across) < len(x_values)
    return Grid(_words(found, thinned), x or "", y, columns, rows)


def _thinned(count: int, always: int) -> list[int]:
    """Up to MOST_STEPS places spread over all, the one of the best among them."""
    if count <= MOST_STEPS:
        return list(range(count))
    spread = np.linspace(0, count - 1, MOST_STEPS).astype(int).tolist()
    return sorted({*spread, always})


def _place(found: Surface, value: float, scale: float, best: bool) -> Place:
    if not np.isfinite(value):
        return Place("", "", best)
    share = float(value) / scale
    # The square tells the best from the good, which a straight scale would paint alike.
    return Place(shown(found.figure, float(value)), shade(share * abs(share), 0.6), best)


def _words(found: Surface, thinned: bool) -> str:
    top = ", ".join(f"{name} {_value(value)}" for name, value in found.best.items())
    lines = [f"{_name(found.figure)} of each run of the sweep. The best, with a star: {top}, at {_figure(found)}."]
    if len(found.best) > 2:
        lines.append("A cell is the median over the other parameters.")
    if found.neighbours_mean is not None and found.plateau is not None:
        lines.append(
            f"Its {found.neighbours} neighbours have {shown(found.figure, found.neighbours_mean)} on average, and "
            f"{found.plateau:.0%} of them reach half of it: a plateau can be believed, a lone peak is luck."
        )
    if thinned:
        lines.append(f"About {MOST_STEPS} values of each parameter are shown.")
    return " ".join(lines)


def _figure(found: Surface) -> str:
    return shown(found.figure, found.best_value)


def _name(figure: str) -> str:
    known = KNOWN.get(SAME.get(figure, figure))
    return known.name if known else figure.replace("_", " ").capitalize()


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
