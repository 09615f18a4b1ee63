"""What kernels of statistics share: returns, and sums over one window."""

from __future__ import annotations

import numba
import numpy as np

from quant_assets.features.kernels import inner
from quant_assets.features.precision import NOTHING

summing = numba.njit(error_model="numpy", fastmath={"reassoc", "contract"})
"""As `inner`, for sums over a window: they may be added up in lanes, in an order that its length alone decides."""

NEGLIGIBLE = NOTHING
"""A return, or a deviation of returns, below this is the rounding of prices."""


@inner
def log_returns(close: np.ndarray) -> np.ndarray:
    """Log return of each bar since the one before; NaN for the first."""
    out = np.full(close.size, np.nan)
    for i in range(1, close.size):
        out[i] = np.log(close[i] / close[i - 1])
    return out


@inner
def simple_returns(close: np.ndarray) -> np.ndarray:
    """Simple return of each bar since the one before; NaN for the first."""
    out = np.full(close.size, np.nan)
    for i in range(1, close.size):
        out[i] = close[i] / close[i - 1] - 1.0
    return out


@summing
def total(values: np.ndarray) -> float:
    """Their sum."""
    found = 0.0
    for j in range(values.size):
        found += values[j]
    return found


@summing
def squares(values: np.ndarray, centre: float) -> float:
    """The sum of their squared distances from `centre`."""
    found = 0.0
    for j in range(values.size):
        found += (values[j] - centre) * (values[j] - centre)
    return found


@summing
def products(one: np.ndarray, other: np.ndarray, one_centre: float, other_centre: float) -> float:
    """The sum of the products of their distances from their centres."""
    found = 0.0
    for j in range(one.size):
        found += (one[j] - one_centre) * (other[j] - other_centre)
    return found


@inner
def deviation(values: np.ndarray) -> float:
    """Standard deviation with n - 1."""
    return np.sqrt(squares(values, total(values) / values.size) / (values.size - 1))


@summing
def residuals(values: np.ndarray, other: np.ndarray, centre: float, slope: float, other_centre: float) -> float:
    """The sum of the squares of what a line on `other` leaves of them."""
    found = 0.0
    for j in range(values.size):
        rest = values[j] - centre - slope * (other[j] - other_centre)
        found += rest * rest
    return found
