"""Drawdowns with their dates, moving windows, calendar tables, and the page that lists every measure."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import metrics
from quant_assets.backtests.metrics import reference

PAGE = Path(__file__).resolve().parents[4] / "docs" / "metrics.md"
DRAWN = np.random.default_rng(5).standard_t(4, 700) * 0.01
MARKET = 0.6 * DRAWN + np.random.default_rng(6).normal(0.0002, 0.006, 700)
DAYS = [date(2022, 11, 7) + timedelta(days=number) for number in range(700)]


def dated(returns: np.ndarray, days: list[date] = DAYS) -> pl.DataFrame:
    return pl.DataFrame({"session": days[: len(returns)], "return": returns})


def test_drawdowns_with_dates() -> None:
    # wealth: 1.1, 1.045, 1.0659, 0.95931, 1.2, 0.6, 0.72
    returns = np.array([0.1, -0.05, 0.02, -0.1, 1.2 / 0.95931 - 1, -0.5, 0.2])
    table = metrics.drawdown_table(dated(returns))
    assert table["depth"].to_list() == pytest.approx([-0.5, 0.95931 / 1.1 - 1])
    day = date(2022, 11, 7)
    assert table.drop("depth").rows() == [
        (day + timedelta(4), day + timedelta(5), None, 1, None, 2),
        (day, day + timedelta(3), day + timedelta(4), 3, 4, 3),
    ]
    assert table.columns == ["depth", "peak", "valley", "recovery", "to_valley", "to_recovery", "periods"]
    assert metrics.drawdown_table(returns, top=1)["valley"].to_list() == [5]


@pytest.mark.parametrize(
    ("returns", "rows"),
    [
        ([-0.1, -0.1], [(-0.19, None, 1, None, 2, None, 2)]),
        ([-0.1, 0.2], [(-0.1, None, 0, 1, 1, 2, 1)]),
        ([0.1, 0.2], []),
        ([], []),
        ([0.1, None, -0.2], [(-0.2, 1, 2, None, 1, None, 1)]),
    ],
    ids=["from the start", "from the start and back", "none", "nothing", "a hole"],
)
def test_drawdowns_by_number(returns: list[float | None], rows: list[tuple[object, ...]]) -> None:
    found = metrics.drawdown_table(returns).rows()
    assert [row[1:] for row in found] == [row[1:] for row in rows]
    assert [row[0] for row in found] == pytest.approx([row[0] for row in rows])


def test_the_table_of_drawdowns_agrees_with_the_measures() -> None:
    table = metrics.drawdown_table(DRAWN)
    assert table["depth"][0] == metrics.max_drawdown(DRAWN)
    assert table.height == metrics.drawdown_count(DRAWN)
    assert table["periods"].max() == metrics.max_drawdown_periods(DRAWN)
    assert table["periods"].sum() == pytest.approx(700 * metrics.time_under_water(DRAWN))


@pytest.mark.parametrize("at", [20, 63, 400, 699])
def test_a_moving_window_is_the_measure_of_its_periods(at: int) -> None:
    own, other = DRAWN[at - 20 : at + 1], MARKET[at - 20 : at + 1]
    found = metrics.rolling_sharpe(DRAWN, 21, risk_free=0.0001)[at]
    assert found == pytest.approx(metrics.sharpe_ratio(own, 0.0001), rel=1e-9)
    assert metrics.rolling_volatility(DRAWN, 21)[at] == pytest.approx(metrics.annual_volatility(own), rel=1e-9)
    assert metrics.rolling_beta(DRAWN, MARKET, 21)[at] == pytest.approx(metrics.beta(own, other), rel=1e-9)


def test_a_window_that_is_not_whole_is_null() -> None:
    returns = DRAWN[:10].copy()
    returns[6] = np.nan
    found = metrics.rolling_sharpe(pl.Series(returns), 3)
    assert found.is_null().to_list() == [True, True, False, False, False, False, True, True, True, False]
    assert metrics.rolling_sharpe([0.01] * 5, 3).null_count() == 5, "all alike"
    assert metrics.rolling_volatility([0.01] * 5, 3).to_list() == [None, None, 0, 0, 0]
    assert metrics.rolling_beta(DRAWN[:2], MARKET[:2], 3).null_count() == 2


def test_a_long_history_is_worked_on_in_parts() -> None:
    returns = np.tile(DRAWN, 13)
    found = metrics.rolling_volatility(returns, 5)
    assert len(found) == len(returns)
    for at in (4099, 4100, 4101, 9099):
        assert found[at] == pytest.approx(metrics.annual_volatility(returns[at - 4 : at + 1]))


def test_a_window_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="window is 1"):
        metrics.rolling_sharpe(DRAWN, 1)


def grown(frame: pl.DataFrame, of: pl.Expr) -> float:
    return float(np.prod(1 + frame.filter(of)["return"].to_numpy()) - 1)


def test_returns_by_calendar_period() -> None:
    frame, session = dated(DRAWN), pl.col("session").dt
    months = metrics.aggregate_returns(frame)
    assert months["period"][:3].to_list() == [date(2022, 11, 1), date(2022, 12, 1), date(2023, 1, 1)]
    assert months["return"][1] == pytest.approx(grown(frame, (session.year() == 2022) & (session.month() == 12)))
    years = metrics.aggregate_returns(frame, "yearly")
    assert np.prod(1 + years["return"].to_numpy()) == pytest.approx(1 + metrics.cum_returns_final(DRAWN))
    quarters = metrics.aggregate_returns(frame, "quarterly")["period"]
    assert quarters[:2].to_list() == [date(2022, 10, 1), date(2023, 1, 1)]
    weeks = metrics.aggregate_returns(frame, "weekly")
    assert weeks["period"][1] == date(2022, 11, 14)
    assert weeks["return"][0] == pytest.approx(np.prod(1 + DRAWN[:7]) - 1)
    with pytest.raises(ValueError, match="every is daily; use one of"):
        metrics.aggregate_returns(frame, "daily")


def test_months_beside_each_other_compound_to_their_year() -> None:
    table = metrics.monthly_table(dated(DRAWN))
    assert (table.columns[0], *table.columns[-2:]) == ("year", "Dec", "Year")
    assert table["year"].to_list() == [2022, 2023, 2024]
    months = table.drop("year", "Year").row(0)
    assert months[:10] == (None,) * 10
    assert np.prod([1 + value for value in months[10:]]) == pytest.approx(1 + table["Year"][0])


def test_years_with_their_risk() -> None:
    frame, benchmark = dated(DRAWN), dated(MARKET)
    table = metrics.yearly_table(frame, benchmark)
    in_2023 = frame.filter(pl.col("session").dt.year() == 2023)["return"]
    row = table.row(1, named=True)
    assert (row["year"], row["periods"]) == (2023, 365)
    assert row["return"] == pytest.approx(metrics.cum_returns_final(in_2023))
    assert row["sharpe"] == pytest.approx(metrics.sharpe_ratio(in_2023))
    assert row["volatility"] == pytest.approx(metrics.annual_volatility(in_2023))
    assert row["max_drawdown"] == pytest.approx(metrics.max_drawdown(in_2023))
    months = metrics.monthly_table(frame).drop("year", "Year").row(1)
    assert (row["best_month"], row["worst_month"]) == (max(months), min(months))
    assert row["active_return"] == pytest.approx(row["return"] - grown(benchmark, pl.col("session").dt.year() == 2023))


def test_a_year_too_short_for_a_measure_has_none() -> None:
    table = metrics.yearly_table(dated(DRAWN[:1]))
    assert table.row(0, named=True)["return"] == pytest.approx(DRAWN[0])
    assert (table["sharpe"].to_list(), table["volatility"].to_list()) == ([None], [None])
    assert metrics.yearly_table(dated(DRAWN[:0])).height == 0


def test_the_page_lists_every_measure() -> None:
    assert reference.table() in PAGE.read_text(), "make it anew: python -m quant_assets.backtests.metrics.reference"


def test_the_first_example_of_the_page_runs() -> None:
    block = PAGE.read_text().split("```python\n")[1].split("```")[0]
    exec(compile(block, "docs/metrics.md", "exec"), {})
