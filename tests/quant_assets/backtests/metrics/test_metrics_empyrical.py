"""Measures against empyrical's, to 1e-9, on series with gaps, ties, losses of everything and next to no length."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from quant_assets.backtests import metrics
from tests.quant_assets.backtests.metrics.empyrical_reference import PERIODS, RATES, TABLE, measures

REFERENCE = json.loads(Path(TABLE).read_text())
SERIES = {name.removeprefix("series/"): np.array(values) for name, values in REFERENCE.items() if "series/" in name}

ON_PURPOSE = {
    # Missing returns are left out here as everywhere; empyrical gives NaN for all.
    ("holes", "value_at_risk"),
    # Both sides over the periods that both have; empyrical counts the benchmark's others too.
    ("holes", "capture"),
}
"""Where ours differ, by series and measure."""


def ours(measure: str, returns: np.ndarray, benchmark: np.ndarray, rate: float, year: int) -> float:
    function = getattr(metrics, measure)
    if measure in ("sharpe_ratio", "sortino_ratio", "downside_risk"):
        return function(returns, rate, year)
    if measure == "omega_ratio":
        return function(returns, rate, 0.02, year)
    if measure == "alpha":
        return function(returns, benchmark, rate, year)
    if measure in ("annual_return", "cagr", "annual_volatility", "calmar_ratio"):
        return function(returns, periods_per_year=year)
    return function(returns, benchmark) if measure in metrics.RELATIVE else function(returns)


def agree(mine: float, reference: float) -> bool:
    if math.isfinite(reference):
        return mine == pytest.approx(reference, rel=1e-9, abs=1e-12)
    return mine == reference or (math.isnan(mine) and math.isnan(reference))


@pytest.mark.parametrize("measure", measures(None))
def test_a_measure_is_that_of_empyrical(measure: str) -> None:
    for name, returns in SERIES.items():
        benchmark = SERIES["benchmark"][: returns.size]
        for rate in RATES:
            for year in PERIODS:
                reference = REFERENCE[f"{name}/{rate}/{year}"][measure]
                mine = ours(measure, returns, benchmark, rate, year)
                differs = (name, measure) in ON_PURPOSE
                assert agree(mine, reference) != differs, f"{name}, {rate}, {year}: {mine} and {reference}"


def test_alpha_and_beta_together() -> None:
    returns, benchmark = SERIES["normal"], SERIES["benchmark"]
    alpha, beta = metrics.alpha_beta(returns, benchmark, risk_free=0.0002)
    assert alpha == metrics.alpha(returns, benchmark, risk_free=0.0002)
    assert beta == pytest.approx(REFERENCE["normal/0.0002/252"]["beta"], rel=1e-9)


def test_series_of_returns_and_of_drawdowns_end_where_their_measures_say() -> None:
    returns = SERIES["holes"]
    assert metrics.cum_returns(returns)[-1] == pytest.approx(REFERENCE["holes/0.0/252"]["cum_returns_final"], rel=1e-9)
    assert metrics.drawdown_series(returns).min() == pytest.approx(REFERENCE["holes/0.0/252"]["max_drawdown"], rel=1e-9)
