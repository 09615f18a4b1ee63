"""A sweep's surface as a small PNG, shown inline in the Dagster UI; the report's page has it as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quant_assets import plots
from quant_assets.backtests.glossary import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from quant_assets.evidence.surface import Surface

MOST_TEXTS = 150
"""Cells that have their figure written in them."""
MOST_TICKS = 16


def surface_picture(found: Surface, name: str) -> bytes:
    """The figure over the first two parameters (blue good, red bad) with the best one framed, about 700 pixels wide."""
    from matplotlib.patches import Rectangle

    figure, (axis,) = plots.canvas(height=min(2.0 + 0.25 * found.values.shape[0], 4.5))
    axis.grid(False)
    scale = float(np.nanmax(np.abs(found.values))) or 1.0
    axis.imshow(found.values, cmap="RdBu", vmin=-1.6 * scale, vmax=1.6 * scale, aspect="auto", origin="lower")
    _ticks(found, axis)
    best = (found.y_values.index(found.best[found.y]) if found.y else 0, found.x_values.index(found.best[found.x]))
    for place, value in np.ndenumerate(found.values) if found.values.size <= MOST_TEXTS else ():
        if np.isfinite(value):
            weight = "bold" if place == best else "normal"
            text = shown(found.figure, float(value))
            axis.text(
                place[1], place[0], text, ha="center", va="center", fontsize=8, color=plots.INK, fontweight=weight
            )
    axis.add_patch(Rectangle((best[1] - 0.5, best[0] - 0.5), 1, 1, fill=False, edgecolor=plots.INK, linewidth=1.6))
    told = ", ".join(f"{parameter} {value}" for parameter, value in found.best.items())
    plots.title(axis, f"Sharpe ratio of {name}'s runs", f"best, framed: {told}")
    return plots.png(figure)


def _ticks(found: Surface, axis: Axes) -> None:
    for which, name, values in (("x", found.x, found.x_values), ("y", found.y or "", found.y_values)):
        step = -(-len(values) // MOST_TICKS) or 1
        places = range(0, len(values), step)
        getattr(axis, f"set_{which}ticks")(list(places), [str(values[place]) for place in places])
        getattr(axis, f"set_{which}label")(name, fontsize=8, color=plots.QUIET)
