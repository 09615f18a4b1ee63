"""What the kernels of this group share: returns, the side that traded, and averages of what is known."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.kernels import inner
from quant_assets.features.precision import NOTHING


@inner
def told(difference: float) -> float:
    """A difference of logs of prices, zero where it is the rounding of none."""
    return 0.0 if abs(difference) < NOTHING else difference


@inner
def log_returns(close: np.ndarray) -> np.ndarray:
    """Log return of each bar since the one before, zero where the price is unchanged; NaN on the first."""
    out = np.full(close.size, np.nan)
    for i in range(1, close.size):
        out[i] = told(math.log(close[i] / close[i - 1]))
    return out


@inner
def mean_of_known(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN where that is less than half of them."""
    total, known = 0.0, 0
    for value in values:
        if not math.isnan(value):
            total += value
            known += 1
    return total / known if 2 * known >= values.size else np.nan


@inner
def deviation(values: np.ndarray) -> float:
    """Standard deviation of a sample."""
    mean = values.mean()
    total = 0.0
    for value in values:
        total += (value - mean) ** 2
    return math.sqrt(total / (values.size - 1))


@inner
def bought(imbalance: float, move: float, usual: float) -> float:
    """Share of a bar's volume that buyers started less that of sellers, -1 to 1.

    The imbalance of its signed trades where they are known; otherwise bulk volume classification: of a move z standard
    deviations large, the normal distribution's share below z was bought, so that 2 N(z) - 1 is left. Easley, Lopez de
    Prado and O'Hara (2012), Flow Toxicity and Liquidity in a High-Frequency World.
    """
    if not math.isnan(imbalance):
        return imbalance
    return math.erf(move / (usual * math.sqrt(2.0))) if move != 0.0 else 0.0
