"""How many sessions a year has, from their spacing, and that every place takes the same."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import run
from quant_assets.backtests.metrics.year import sessions_a_year
from quant_assets.backtests.report.daily import charts, daily
from resources.config import BacktestSettings

MONDAY = date(2024, 1, 1)
DAYS = [MONDAY + timedelta(days=day) for day in range(800)]
WEEKDAYS = [day for day in DAYS if day.weekday() < 5]
MONTH_ENDS = [day for day, after in pairwise(WEEKDAYS) if day.month != after.month]
MONTHS = [date(2015 + month // 12, month % 12 + 1, 1) for month in range(60)]

SPACED = [
    ("weekdays", WEEKDAYS, 252),
    ("weekdays, a week of holidays", [day for day in WEEKDAYS if not date(2024, 12, 23) < day < date(2025, 1, 3)], 252),
    ("every day", DAYS, 365),
    ("out of order, twice", DAYS[:30][::-1] * 2, 365),
    ("Mondays", DAYS[::7], 52),
    ("Saturdays", DAYS[5::7], 52),
    ("Mondays, some missing", [day for place, day in enumerate(DAYS[::7]) if place % 5], 52),
    ("fortnights", DAYS[::14], 26),
    ("first of the month", MONTHS, 12),
    ("last weekday of the month", MONTH_ENDS, 12),
    ("quarters", MONTHS[::3], 4),
    ("years", MONTHS[::12], 1),
    ("one Monday", [MONDAY], 252),
    ("one Saturday", DAYS[5:6], 365),
    ("none", [], 252),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sessions", "expected"), SPACED, ids=[case[0] for case in SPACED])
def test_by_the_spacing_of_sessions(name, sessions, expected):
    assert sessions_a_year(pl.Series(sessions, dtype=pl.Date)) == expected
    assert sessions_a_year(np.array(sessions, "datetime64[D]")) == expected


def held(sessions: list[date], **settings: float):
    """One share bought on the first session and held."""
    growth = np.exp(np.cumsum(np.random.default_rng(1).normal(0.002, 0.02, len(sessions))))
    ts = [datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC) for day in sessions]
    prices = dict.fromkeys(("open", "high", "low", "close"), 100 * growth)
    bars = pl.DataFrame({"ts": ts, "symbol": "X", **prices, "volume": 1e9})
    orders = pl.DataFrame({"ts": ts[:1], "symbol": ["X"], "side": ["buy"], "quantity": [4000.0]})
    return run(bars, orders, BacktestSettings(cash=1e6, **settings))


@pytest.mark.parametrize(("sessions", "year"), [(DAYS[::7], 52), (MONTHS, 12)], ids=["weeks", "months"])
def test_weeks_and_months_are_annualised_as_such(sessions, year):
    result = held(sessions)
    returns = result.equity["return"]
    assert result.metrics["volatility"] == pytest.approx(returns.std() * year**0.5)
    years = (sessions[-1] - sessions[0]).days / 365.25
    assert result.metrics["cagr"] == pytest.approx((result.equity["equity"][-1] / 1e6) ** (1 / years) - 1, rel=0.03)


NOBODY = pl.DataFrame(schema={"session": pl.Date, "return": pl.Float64})
ROLLED = [("weekdays", WEEKDAYS, None, 252), ("every day", DAYS, None, 365), ("weeks", DAYS[::7], None, 52),
          ("told", WEEKDAYS, 260.0, 260)]  # fmt: skip


@pytest.mark.parametrize(("name", "sessions", "told", "year"), ROLLED, ids=[case[0] for case in ROLLED])
def test_rolling_figures_of_the_page_are_of_the_same_year(name, sessions, told, year):
    result = held(sessions, **({"periods_per_year": told} if told else {}))
    page = daily(result.equity, result.fills, NOBODY, told)
    last = page["return"].to_numpy()[-year:]
    assert page["rolling_volatility"][-1] == pytest.approx(last.std(ddof=1) * year**0.5)
    assert page["rolling_sharpe"][-1] == pytest.approx(last.mean() / last.std(ddof=1) * year**0.5)
    assert page["rolling_volatility"].null_count() == year - 1
    assert "rolling" in charts(page, told)
    assert "rolling" not in charts(page.head(year), told or year)
