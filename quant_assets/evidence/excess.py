"""Returns in excess of what cash earned, by which skill is judged: interest on idle cash is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from quant_assets.evidence.inputs import Floats, moving

DAYS_A_YEAR = 365.0
"""As the exchange counts interest: by the day, on a year of 365."""


def earned_by_cash(sessions: npt.NDArray[Any], bps_per_year: float) -> Floats:
    """What an account of nothing but cash returns in each session: interest since the session before, 0 in the first.

    `sessions` are days in order, one a period; `bps_per_year` is the yield of cash, as the settings of a backtest have
    it.
    """
    days = np.diff(np.asarray(sessions).astype("datetime64[D]")).astype(np.float64)
    return np.concatenate([[0.0], days])[: len(sessions)] * (bps_per_year * 1e-4 / DAYS_A_YEAR)


def over_cash(returns: Floats, cash: Floats) -> Floats:
    """Returns less those of cash, one a period; exactly 0 throughout where the two differ by rounding alone."""
    found = returns - cash
    if found.size and not moving(found, np.abs(returns).max()) and cash.any():
        return np.zeros_like(found)
    return found


def sharpe(returns: Floats) -> float | None:
    """The Sharpe ratio of one period of returns that are in excess of cash already; None where they do not vary."""
    if returns.size < 2 or not moving(returns):
        return None
    return float(returns.mean() / returns.std(ddof=1))
