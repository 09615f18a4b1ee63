"""What the market does as a whole: the same value for every symbol of an instant."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import Kernel

ZWEIG = "Zweig (1986), Winning on Wall Street"


def index_growth(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Growth of the index over the last n returns less 1, and the sample standard deviation of these returns."""
    index, window = x[0], int(p[0])
    for i in range(window - 1, index.size):
        held = index[i - window + 1 : i + 1]
        growth = 1.0
        for each in held:
            growth *= 1.0 + each
        out[0, i] = growth - 1.0
        if window > 1:
            out[1, i] = held.std() * math.sqrt(window / (window - 1))


def recent_mean(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Mean of the last n values."""
    held, window = x[0], int(p[0])
    for i in range(window - 1, held.size):
        out[0, i] = held[i - window + 1 : i + 1].mean()


_GROWTH = {
    index: Kernel(index_growth, (f"{index}_return",), ("window",), ("growth", "deviation"))
    for index in ("market", "sector")
}

_WHOLE = (  # column, window of the mean, name, description, look-back, bounds, source
    ("breadth_advancing", 1, "breadth_advancing", "Share of symbols that rose", 1, (0.0, 1.0), ""),
    ("breadth_advancing", 10, "breadth_advancing_10", "Share of symbols that rose, mean of 10 bars", 10, (0.0, 1.0),
     ZWEIG),
    ("breadth_above_50", 1, "breadth_above_50", "Share of symbols above the mean of their last 50 closes", 49,
     (0.0, 1.0), ""),
    ("breadth_above_200", 1, "breadth_above_200", "Share of symbols above the mean of their last 200 closes", 199,
     (0.0, 1.0), ""),
    ("breadth_highs_252", 1, "breadth_highs_252",
     "Share of symbols at the highest of their last 252 closes, less those at the lowest", 251, (-1.0, 1.0), ""),
    ("dispersion", 1, "dispersion", "Standard deviation of the symbols' returns", 1, (0.0, math.inf),
     "Bessembinder, Chan and Seguin (1996), An Empirical Examination of Information, Differences of Opinion, and "
     "Trading Activity"),
    ("dispersion", 21, "dispersion_21", "Standard deviation of the symbols' returns, mean of 21 bars", 21,
     (0.0, math.inf), ""),
    ("average_correlation_63", 1, "average_correlation_63", "Mean correlation of all pairs of symbols, 63 returns", 63,
     (-1.0, 1.0), "Pollet and Wilson (2010), Average Correlation and Stock Market Returns"),
)  # fmt: skip


def _growth(index: str, output: str, window: int) -> Feature:
    name, description, bounds = {
        "growth": (f"{index}_return_{window}", f"Return of the {index} over {window} bars", (-1.0, math.inf)),
        "deviation": (
            f"{index}_volatility_{window}",
            f"Standard deviation of {window} returns of the {index}",
            (0.0, math.inf),
        ),
    }[output]
    return Feature(
        name, "breadth", description, _GROWTH[index], {"window": window}, output=output, lookback=window, bounds=bounds
    )


_KERNELS = {column: Kernel(recent_mean, (column,), ("window",)) for column in dict.fromkeys(row[0] for row in _WHOLE)}

BREADTH = (
    *(
        Feature(
            name,
            "breadth",
            description,
            _KERNELS[column],
            {"window": window},
            lookback=lookback,
            bounds=bounds,
            source=source,
        )
        for column, window, name, description, lookback, bounds, source in _WHOLE
    ),
    *(_growth("market", "growth", window) for window in (1, 21, 252)),
    *(_growth("market", "deviation", window) for window in (21, 63)),
    *(_growth("sector", "growth", window) for window in (1, 21)),
)
"""The market as a whole, and the sector."""
