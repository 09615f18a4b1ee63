"""Position sizes beside their closed forms and the examples that were published of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.risk.estimates import PortfolioError, sample, with_covariance
from quant_assets.risk.sizing import (
    equal_risk,
    fixed_fraction,
    kelly,
    kelly_bet,
    risk_shares,
    volatility_target,
)
from tests.quant_assets.risk.samples import covariance_of, drawn

TWO = covariance_of([0.01, 0.02], [0.25])
RETURNS = drawn(TWO, names=["AAA", "BBB"])


def test_a_stop_loses_the_fraction_that_was_asked_for():
    for price, stop, weight in ((50.0, 45.0, 0.1), (50.0, 55.0, -0.1), (100.0, 99.0, 1.0)):
        assert fixed_fraction(0.01, price, stop) == pytest.approx(weight, rel=1e-12)
        assert fixed_fraction(0.01, price, stop) * (stop / price - 1) == pytest.approx(-0.01, rel=1e-12)


def test_kelly_bets_as_published():
    # Thorp (2006), section 2: a coin that wins with p = 0.53 is worth p - q = 0.06 of the bankroll
    assert kelly_bet(0.53, 1.0) == pytest.approx(0.06, rel=1e-12)
    assert kelly_bet(0.53, 1.0, fraction=0.5) == pytest.approx(0.03, rel=1e-12)
    assert kelly_bet(0.4, 2.0) == pytest.approx(0.1, rel=1e-12)
    assert kelly_bet(0.3, 2.0) == 0.0


def test_kelly_of_one_name_is_mean_over_variance():
    # Thorp (2006), section 7: m = 0.11, s = 0.15 and r = 0.06 make f* = 2.22
    index = drawn([[0.15**2]], 0.11, periods=60)
    assert kelly(index, riskless=0.06)["N0"] == pytest.approx(2.22, abs=0.005)
    assert kelly(index, riskless=0.06)["N0"] == pytest.approx(0.05 / 0.15**2, rel=1e-9)
    assert kelly(index, fraction=0.5, riskless=0.06)["N0"] == pytest.approx(0.5 * 0.05 / 0.15**2, rel=1e-9)


def test_kelly_of_many_names_is_the_inverse_covariance_times_the_mean():
    mean = np.array([0.0004, 0.0002, -0.0003])
    covariance = covariance_of([0.01, 0.02, 0.015], [0.5, 0.2, -0.1])
    weights = kelly(drawn(covariance, mean))
    assert list(weights.values()) == pytest.approx(np.linalg.inv(covariance) @ mean, rel=1e-9)
    # the growth mean'w - w'Cw / 2 is flat there: marginal mean equals marginal variance
    assert covariance @ list(weights.values()) == pytest.approx(mean, rel=1e-9)
    scaled = kelly(drawn(covariance, mean), gross=1.0)
    assert sum(map(abs, scaled.values())) == pytest.approx(1.0, rel=1e-12)
    assert scaled["N0"] / scaled["N2"] == pytest.approx(weights["N0"] / weights["N2"], rel=1e-12)
    assert kelly(drawn(covariance, mean), gross=100.0) == weights


def test_uncorrelated_names_are_each_kelly_by_themselves():
    weights = kelly(drawn(np.diag([0.0001, 0.0004]), [0.0002, 0.0004]))
    assert list(weights.values()) == pytest.approx([2.0, 1.0], rel=1e-9)


def test_volatility_is_brought_to_its_target():
    weights = volatility_target(RETURNS, {"AAA": 1.0, "BBB": 0.5}, target=0.1, periods_per_year=252)
    # variance 1e-4 + 1e-4 + 2 x 0.25 x 1e-4 = 2.5e-4 a day
    scale = 0.1 / math.sqrt(2.5e-4 * 252)
    assert weights == pytest.approx({"AAA": scale, "BBB": scale / 2}, rel=1e-9)
    alone = volatility_target(RETURNS.select("BBB"), {"BBB": 1.0}, target=0.1, periods_per_year=252)
    assert alone == pytest.approx({"BBB": 0.1 / (0.02 * math.sqrt(252))}, rel=1e-9)
    capped = volatility_target(RETURNS, {"AAA": 1.0, "BBB": -0.5}, target=5.0, periods_per_year=252, gross=1.5)
    assert capped == pytest.approx({"AAA": 1.0, "BBB": -0.5}, rel=1e-12)


def test_equal_risk_as_published():
    # Maillard, Roncalli and Teiletche (2010), the example of four names: volatilities 10 %, 20 %, 30 %, 40 %,
    # correlations 0.8 of the first two and -0.5 of the last two
    covariance = covariance_of([0.1, 0.2, 0.3, 0.4], [0.8, 0, 0, 0, 0, -0.5])
    weights = equal_risk(drawn(covariance / 252))
    assert list(weights.values()) == pytest.approx([0.384, 0.192, 0.243, 0.182], abs=0.0006)


def test_without_correlation_equal_risk_is_inverse_volatility():
    weights = equal_risk(drawn(np.diag([0.01**2, 0.02**2, 0.04**2])))
    assert list(weights.values()) == pytest.approx([4 / 7, 2 / 7, 1 / 7], rel=1e-9)


matrices = st.integers(2, 8).flatmap(
    lambda size: st.tuples(
        st.lists(st.floats(-1, 1), min_size=size * size, max_size=size * size),
        st.lists(st.floats(0.001, 0.05), min_size=size, max_size=size),
        st.lists(st.floats(0.1, 5.0), min_size=size, max_size=size),
    )
)


@settings(max_examples=60, deadline=None)
@given(matrices)
def test_each_name_bears_its_share_of_the_risk(given_):
    numbers, volatilities, budgets = given_
    size = len(volatilities)
    factor = np.reshape(numbers, (size, size))
    mixed = factor @ factor.T + 0.1 * np.eye(size)
    correlation = mixed / np.sqrt(np.outer(np.diag(mixed), np.diag(mixed)))
    returns = drawn(covariance_of(volatilities, correlation), periods=40)
    equal = equal_risk(returns)
    assert sum(equal.values()) == pytest.approx(1.0, rel=1e-12)
    assert min(equal.values()) > 0
    assert list(risk_shares(returns, equal).values()) == pytest.approx([1 / size] * size, abs=1e-9)
    wanted = dict(zip(returns.columns, budgets, strict=True))
    shares = risk_shares(returns, equal_risk(returns, wanted))
    assert shares == pytest.approx({name: budget / sum(budgets) for name, budget in wanted.items()}, abs=1e-9)


def test_the_shares_of_the_risk():
    # variance 1e-4 w1^2 + 4e-4 w2^2 + 1e-4 w1 w2: of equal weights 25 and 100 each, and 12.5 of each other
    shares = risk_shares(RETURNS, {"AAA": 0.5, "BBB": 0.5})
    assert shares == pytest.approx({"AAA": 37.5 / 150, "BBB": 112.5 / 150}, rel=1e-9)


def test_arrays_and_keys_of_a_frame_are_taken():
    keyed = RETURNS.with_columns(session=pl.lit(date(2024, 1, 2)))
    assert equal_risk(keyed) == equal_risk(RETURNS)
    assert list(equal_risk(RETURNS.to_numpy())) == ["0", "1"]
    _, shrunk = with_covariance(drawn(np.eye(9) * 1e-4, periods=10)[:5], "ledoit_wolf")
    assert np.linalg.eigvalsh(shrunk)[0] > 1e-8, "fewer periods than names, and no portfolio without risk"


GAP = RETURNS.with_columns(BBB=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("BBB"))
REFUSED: list[tuple[str, Callable[[], Any]]] = [
    (r"returns of BBB, row 3: nan is no simple return", lambda: equal_risk(GAP)),
    (r"returns of A, row 1: -1.5 is no simple return", lambda: sample(pl.DataFrame({"A": [0.1, -1.5, 0.2]}))),
    (r"returns of A, row 0: inf", lambda: sample(pl.DataFrame({"A": [math.inf, 0.1]}))),
    (r"2 periods of 2 names, and 3 are needed", lambda: kelly(RETURNS[:2])),
    (r"1 periods of 2 names, and 2 are needed", lambda: kelly(RETURNS[:1], covariance="ledoit_wolf")),
    (r"returns of CASH: they never change", lambda: kelly(RETURNS.with_columns(CASH=pl.lit(0.0001)))),
    (r"returns of AAA, TWIN: some repeat the others", lambda: kelly(RETURNS.with_columns(TWIN=pl.col("AAA") * 2))),
    (r"column name is String; give one column of numbers", lambda: kelly(RETURNS.with_columns(name=pl.lit("x")))),
    (r"returns: no names", lambda: kelly(pl.DataFrame())),
    (r"returns: a list; give a polars DataFrame", lambda: kelly([[0.1]])),  # type: ignore[arg-type]
    (r"an array of shape \(3,\)", lambda: kelly(np.zeros(3))),
    (r"covariance: 'oas' is not known; use sample", lambda: kelly(RETURNS, covariance="oas")),  # type: ignore[arg-type]
    (r"fraction is 0.0; it must be a number above 0 and at most 1", lambda: fixed_fraction(0.0, 10, 9)),
    (r"stop is 10, the price itself", lambda: fixed_fraction(0.01, 10, 10)),
    (r"probability is 1.2", lambda: kelly_bet(1.2, 1.0)),
    (r"fraction is -1", lambda: kelly(RETURNS, fraction=-1)),
    (r"riskless is nan; it must be a number", lambda: kelly(RETURNS, riskless=math.nan)),
    (r"gross is 0", lambda: kelly(RETURNS, gross=0)),
    (r"weights of ZZZ: there are no returns", lambda: volatility_target(RETURNS, {"ZZZ": 1.0}, 0.1, 252)),
    (r"weights: all are zero", lambda: volatility_target(RETURNS, {"AAA": 0.0}, 0.1, 252)),
    (r"weights: AAA has none that is a number", lambda: risk_shares(RETURNS, {"AAA": math.nan})),
    (r"weights: all are zero, so there is no risk", lambda: risk_shares(RETURNS, {})),
    (r"budgets: each name needs a positive one", lambda: equal_risk(RETURNS, {"AAA": 1.0})),
]


@pytest.mark.parametrize(("message", "call"), REFUSED, ids=[message for message, _ in REFUSED])
def test_what_cannot_be_sized_is_refused(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(PortfolioError, match=message):
        call()
