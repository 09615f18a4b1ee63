"""How many sessions make a year: what every annual figure of a backtest is scaled by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

DAYS = 365.25
LONG = 4
"""Calendar days between sessions above which they are weeks or longer: a holiday beside a weekend is shorter."""
LONGER = (52.0, 26.0, 12.0, 4.0, 2.0, 1.0)
"""Periods of a year that are longer than days: weeks, fortnights, months, quarters, halves and years."""


def sessions_a_year(sessions: pl.Series | npt.NDArray[np.datetime64]) -> float:
    """Sessions of a year, from the spacing of dates, which may repeat and come in any order.

    By the median of the days between one session and the next: up to four, 365 where any is a Saturday (a market that
    trades on weekends), else 252; beyond that weeks 52, fortnights 26, months 12, quarters 4, halves 2, years 1. 252
    of a single session that is no Saturday.

    Example: `sessions_a_year(pl.Series([date(2024, 1, 5), date(2024, 1, 12), date(2024, 1, 19)]))` is 52.0
    """
    if isinstance(sessions, pl.Series):
        sessions = sessions.cast(pl.Date).drop_nulls().to_numpy()
    days = np.unique(sessions.astype("datetime64[D]").astype(np.int64))
    if days.size > 1 and (apart := float(np.median(np.diff(days)))) > LONG:
        return min(LONGER, key=lambda periods: abs(np.log(DAYS / apart / periods)))
    return 365.0 if bool(((days + 3) % 7 == 5).any()) else 252.0
