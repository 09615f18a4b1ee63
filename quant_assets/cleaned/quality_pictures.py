"""The quality page's map as a small PNG for Dagster's metadata."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_assets import plots
from quant_assets.cleaned.quality_grid import Grid, count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 150
LABELLED = 40
"""Up to so many symbols each has its own labelled line; above MOST_LINES several share one, which shows the worst."""

LEVELS = ("no bars", "complete", "note", "missing", "doubt", "contradiction")
"""From harmless to bad: what a cell is coloured by is the worst in it."""

COLOURS = ("#ffffff", "#e4e9f0", "#8db3e0", "#f6c667", "#df8418", "#852780")
"""Told apart by lightness, too."""

_OF_SEVERITY = {"info": 2, "warning": 4, "error": 5}


def quality_picture(bars: pl.LazyFrame, findings: pl.DataFrame, calendar: str) -> bytes:
    """Coverage and findings by symbol and period as a PNG of about 700 x 380 pixels; as quality_page takes them."""
    grid = count(bars, findings, calendar)
    if grid is None:
        return plots.empty_picture("No cleaned bars in these partitions")
    levels = _levels(grid)
    own = len(grid.symbols) <= LABELLED
    figure, (axis,) = plots.canvas(height=max(3.0, 0.13 * len(grid.symbols) + 1.0) if own else 3.8)
    from matplotlib.colors import ListedColormap

    axis.grid(False)
    shades = ListedColormap(list(COLOURS))
    axis.imshow(levels, aspect="auto", cmap=shades, vmin=-0.5, vmax=len(LEVELS) - 0.5, interpolation="nearest")
    if own:
        axis.set_yticks(range(len(grid.symbols)), list(grid.symbols), fontsize=7, color=plots.INK)
        axis.hlines(np.arange(1, len(grid.symbols)) - 0.5, -0.5, levels.shape[1] - 0.5, color="white", linewidth=1)
    else:
        axis.set_yticks([0, len(levels) - 1], [grid.symbols[0], grid.symbols[-1]], fontsize=7, color=plots.INK)
    step = max(1, -(-len(grid.periods) // 8))
    axis.set_xticks(range(0, len(grid.periods), step), grid.labels[::step])
    _legend(axis)
    contradictions = grid.marks.filter(pl.col("severity") == "error")["count"].sum()
    head = f"{contradictions:,} contradictions, {int(grid.cells['missing'].sum()):,} missing sessions"
    plots.title(axis, head, f"{len(grid.symbols):,} symbols, {grid.first} to {grid.last}")
    return _exact_png(figure)


def _levels(grid: Grid) -> np.ndarray:
    """The worst of each line and period, as a number of LEVELS."""
    levels = np.zeros((len(grid.symbols), len(grid.periods)), np.uint8)
    cells = grid.cells.with_columns(level=pl.when(pl.col("missing") > 0).then(3).otherwise(1))
    marks = grid.marks.with_columns(level=pl.col("severity").replace_strict(_OF_SEVERITY, default=4))
    # A missing session is a finding, too; here it has a colour of its own.
    marks = marks.filter(pl.col("rule") != "missing_session")
    for frame in (cells, marks):
        at = frame["line"].to_numpy(), frame["column"].to_numpy()
        np.maximum.at(levels, at, frame["level"].to_numpy().astype(np.uint8))
    if len(levels) <= MOST_LINES:
        return levels
    first = np.arange(MOST_LINES) * len(levels) // MOST_LINES
    return np.asarray(np.maximum.reduceat(levels, first, axis=0))


def _exact_png(figure: Figure) -> bytes:
    """The figure with every colour as it is: plots.png would give up the rarest, here that of a contradiction."""
    file = io.BytesIO()
    figure.savefig(file, format="png", pil_kwargs={"optimize": True})
    return file.getvalue()


def _legend(axis: Axes) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=colour, edgecolor=plots.GRID, label=level)
        for level, colour in zip(LEVELS, COLOURS, strict=True)
    ]
    axis.legend(
        handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=len(LEVELS), fontsize=7, frameon=False,
        handlelength=1.0, labelcolor=plots.QUIET, columnspacing=1.2,
    )  # fmt: skip
