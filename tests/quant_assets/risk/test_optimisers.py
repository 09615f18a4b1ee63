"""Optimised portfolios beside closed forms, published examples and searches by hand; every bound binds."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.risk.bounds import Bounds, nearest
from quant_assets.risk.estimates import PortfolioError
from quant_assets.risk.optimisers import (
    View,
    black_litterman,
    hierarchical_risk_parity,
    mean_variance,
    minimum_cvar,
)
from tests.quant_assets.risk.samples import covariance_of, drawn

OPEN = Bounds(lowest=-10, highest=10)
FREE = Bounds(lowest=-10, highest=10, invested=None)
MEAN = np.array([0.0006, 0.0004, 0.0003, 0.0002])
COVARIANCE = covariance_of([0.01, 0.015, 0.012, 0.02], [0.3, 0.2, 0.1, 0.4, 0.0, 0.2])
RETURNS = drawn(COVARIANCE, MEAN, names=["AAA", "BBB", "CCC", "DDD"])
SECTORS = {"AAA": "tech", "CCC": "tech", "BBB": "health"}


def array(weights: dict[str, float]) -> Any:
    return np.array(list(weights.values()))


def close(numbers: Any, rel: float = 0.0, abs: float = 1e-5) -> Any:
    return pytest.approx(numbers, rel=rel, abs=abs)


# ---- mean and variance


def test_minimum_variance_is_its_closed_form():
    whole = np.linalg.solve(COVARIANCE, np.ones(4))
    assert array(mean_variance(RETURNS, bounds=OPEN)) == close(whole / whole.sum())


def test_utility_is_its_closed_form():
    weights = array(mean_variance(RETURNS, "utility", risk_aversion=5.0, bounds=FREE))
    assert weights == close(np.linalg.solve(COVARIANCE, MEAN) / 5.0)


def test_the_largest_sharpe_ratio_is_its_closed_form():
    whole = np.linalg.solve(COVARIANCE, MEAN)
    assert array(mean_variance(RETURNS, "sharpe", bounds=OPEN)) == close(whole / whole.sum(), abs=1e-4)


def test_long_only_leaves_out_what_would_be_short():
    # two names that move together: 0.01 and 0.03 a day, correlation 0.9; the closed form is short of the second
    returns = drawn(covariance_of([0.01, 0.03], [0.9]))
    assert array(mean_variance(returns)) == close([1.0, 0.0])
    short = (0.01**2 - 0.9 * 0.01 * 0.03) / (0.01**2 + 0.03**2 - 2 * 0.9 * 0.01 * 0.03)
    assert array(mean_variance(returns, bounds=OPEN)) == close([1 - short, short])


def test_shrinkage_serves_more_names_than_periods():
    few = drawn(np.eye(12) * 1e-4, periods=40)[:8]
    with pytest.raises(PortfolioError, match="8 periods of 12 names, and 13 are needed"):
        mean_variance(few)
    assert sum(mean_variance(few, covariance="ledoit_wolf").values()) == close(1.0)


# ---- bounds, on every optimiser that takes them

OPTIMISERS: dict[str, Callable[[Bounds], dict[str, float]]] = {
    "minimum_variance": lambda bounds: mean_variance(RETURNS, bounds=bounds),
    "utility": lambda bounds: mean_variance(RETURNS, "utility", risk_aversion=3.0, bounds=bounds),
    "sharpe": lambda bounds: mean_variance(RETURNS, "sharpe", bounds=bounds),
    "minimum_cvar": lambda bounds: minimum_cvar(RETURNS, bounds=bounds),
    "hierarchical": lambda bounds: hierarchical_risk_parity(RETURNS, bounds=bounds),
    "black_litterman": lambda bounds: black_litterman(
        RETURNS, dict.fromkeys(RETURNS.columns, 0.25), [View({"DDD": 1.0}, 0.002)], bounds=bounds
    ),
}
each = pytest.mark.parametrize("optimise", OPTIMISERS.values(), ids=OPTIMISERS)


@each
def test_weights_add_up_and_the_same_input_gives_the_same(optimise: Callable[[Bounds], dict[str, float]]) -> None:
    weights = optimise(Bounds())
    assert list(weights) == RETURNS.columns
    assert sum(weights.values()) == close(1.0)
    assert all(0.0 <= weight <= 1.0 for weight in weights.values())
    assert optimise(Bounds()) == weights


@each
def test_single_names_are_capped(optimise: Callable[[Bounds], dict[str, float]]) -> None:
    before = optimise(Bounds())
    assert max(before.values()) > 0.3, "so that the cap has something to bind"
    after = optimise(Bounds(highest=0.3))
    assert max(after.values()) == close(0.3)
    assert min(optimise(Bounds(lowest=0.1)).values()) >= 0.1 - 1e-7


@each
def test_a_sector_is_capped(optimise: Callable[[Bounds], dict[str, float]]) -> None:
    def in_tech(weights: dict[str, float]) -> float:
        return weights["AAA"] + weights["CCC"]

    cap = in_tech(optimise(Bounds())) - 0.1
    weights = optimise(Bounds(sector=max(cap, 0.5), sectors=SECTORS))
    groups = [in_tech(weights), weights["BBB"], weights["DDD"]]
    assert max(groups) == close(max(cap, 0.5))


@each
def test_turnover_is_capped(optimise: Callable[[Bounds], dict[str, float]]) -> None:
    held = {"BBB": 1.0}
    weights = optimise(Bounds(turnover=0.2, held=held))
    assert sum(abs(weights[name] - held.get(name, 0.0)) for name in weights) == close(0.2)
    assert weights["BBB"] == close(0.9)


def test_long_short_portfolios_keep_their_gross():
    bounds = Bounds(lowest=-1, highest=1, invested=0.0, gross=1.0)
    for aversion in (1.0, 3.0):
        weights = array(mean_variance(RETURNS, "utility", risk_aversion=aversion, bounds=bounds))
        assert weights.sum() == close(0.0)
        assert np.abs(weights).sum() == close(1.0)
        assert weights.min() < 0 < weights.max()


def test_a_sector_of_longs_and_shorts_is_what_limits_call_it():
    bounds = Bounds(lowest=-1, highest=1, invested=0.0, gross=1.0, sector=0.4, sectors=SECTORS)
    weights = mean_variance(RETURNS, "utility", bounds=bounds)
    assert abs(weights["AAA"]) + abs(weights["CCC"]) <= 0.4 + 1e-6


# ---- the worst of the periods


def tail(returns: Any, weights: Any, level: float) -> float:
    """Mean loss of the worst 1 - level of the periods, where that is a whole number of them."""
    losses = np.sort(-(returns @ weights))[::-1]
    return float(losses[: round((1 - level) * losses.size)].mean())


def test_minimum_cvar_is_what_a_search_finds():
    noise = np.random.default_rng(3).standard_t(3, (100, 2)) * [0.01, 0.015]
    weights = array(minimum_cvar(noise, level=0.9))
    grid = np.linspace(0, 1, 2001)
    best = min(tail(noise, np.array([first, 1 - first]), 0.9) for first in grid)
    assert tail(noise, weights, 0.9) == close(best, rel=1e-4, abs=0.0)


def test_it_keeps_away_from_crashes_that_variance_forgives():
    # CALM moves by 1 % a day either way; CRASH by less, but for one day in twenty on which it loses 4 %
    days = np.arange(200)
    calm = np.where(days % 2 == 0, 0.01, -0.01)
    crash = np.where(days % 20 == 7, -0.04, 0.002)
    returns = pl.DataFrame({"CALM": calm, "CRASH": crash})
    assert minimum_cvar(returns)["CALM"] > mean_variance(returns)["CALM"] + 0.2


# ---- the hierarchy


def test_two_names_are_weighted_by_inverse_variance():
    weights = hierarchical_risk_parity(drawn(covariance_of([0.01, 0.02], [0.5])))
    assert array(weights) == close([0.8, 0.2], rel=1e-9)


def test_two_pairs_are_weighted_as_by_hand():
    # Lopez de Prado (2016), stage 3: pairs that move together; each half has the variance of its inverse-variance
    # portfolio: of 0.01 and 0.01 with 0.9 it is 0.95e-4, of 0.02 and 0.02 it is 3.8e-4; so 0.8 and 0.2
    block = [0.9, 0.0, 0.0, 0.0, 0.0, 0.9]
    weights = hierarchical_risk_parity(drawn(covariance_of([0.01, 0.01, 0.02, 0.02], block)))
    assert array(weights) == close([0.4, 0.4, 0.1, 0.1], rel=1e-9)


def test_a_hierarchy_serves_more_names_than_periods():
    few = drawn(np.eye(12) * 1e-4, periods=40)[:8]
    assert sum(hierarchical_risk_parity(few).values()) == close(1.0)
    assert sum(minimum_cvar(few, level=0.8).values()) == close(1.0)
    assert hierarchical_risk_parity(few.select("N0")) == {"N0": 1.0}


# ---- views


def test_black_litterman_as_he_and_litterman_published_it():
    """He and Litterman (1999), table 4: Germany will do 5 % a year better than the rest of Europe."""
    countries = ["AUL", "CAN", "FRA", "GER", "JAP", "UKG", "USA"]
    correlations = [
        *(0.488, 0.478, 0.515, 0.439, 0.512, 0.491),
        *(0.664, 0.655, 0.310, 0.608, 0.779),
        *(0.861, 0.355, 0.783, 0.668),
        *(0.354, 0.777, 0.653),
        *(0.405, 0.306),
        0.652,
    ]
    covariance = covariance_of([0.160, 0.203, 0.248, 0.271, 0.210, 0.200, 0.187], correlations)
    market = dict(zip(countries, [0.016, 0.022, 0.052, 0.055, 0.116, 0.124, 0.615], strict=True))
    europe = market["FRA"] + market["UKG"]
    view = View({"GER": 1.0, "FRA": -market["FRA"] / europe, "UKG": -market["UKG"] / europe}, 0.05)
    returns = drawn(covariance, names=countries)
    weights = black_litterman(returns, market, [view], risk_aversion=2.5, tau=0.05, bounds=FREE)
    published = {"AUL": 1.5, "CAN": 2.1, "FRA": -4.0, "GER": 35.4, "JAP": 11.0, "UKG": -9.5, "USA": 58.6}
    assert {name: round(100 * weight, 1) for name, weight in weights.items()} == close(published, abs=0.1001)
    # the same view the other way round, and with the sign that a formula cannot begin with
    turned = View({name: -weight for name, weight in view.weights.items()}, -0.05)
    assert black_litterman(returns, market, [turned], bounds=FREE) == pytest.approx(weights, abs=1e-9)


def test_a_certain_view_comes_true_and_an_uncertain_one_hardly_counts():
    market = dict.fromkeys(RETURNS.columns, 0.25)
    implied = 2.5 * COVARIANCE @ np.full(4, 0.25)

    def mean_of_ddd(confidence: float) -> float:
        weights = black_litterman(RETURNS, market, [View({"DDD": 1.0}, 0.001, confidence)], tau=1e-6, bounds=FREE)
        return float((2.5 * COVARIANCE @ array(weights))[3])

    assert mean_of_ddd(1.0) == close(0.001, rel=1e-3, abs=0.0)
    assert mean_of_ddd(1e-6) == close(implied[3], rel=1e-3, abs=0.0)


def test_names_may_look_like_formulas():
    renamed = RETURNS.rename({"AAA": "BRK-B", "BBB": "^VIX", "CCC": "BTC=USD"})
    market = dict.fromkeys(renamed.columns, 0.25)
    views = [View({"BRK-B": 1.0, "^VIX": -0.5}, 1e-5), View({"BTC=USD": 1}, -0.0001)]
    plain = [View({"AAA": 1.0, "BBB": -0.5}, 1e-5), View({"CCC": 1}, -0.0001)]
    weights = black_litterman(renamed, market, views)
    assert list(weights) == renamed.columns
    assert array(weights) == close(array(black_litterman(RETURNS, dict.fromkeys(RETURNS.columns, 0.25), plain)))


# ---- the nearest portfolio


def test_the_nearest_weights_as_by_hand():
    assert nearest({"A": 0.7, "B": 0.3}, Bounds(highest=0.6)) == close({"A": 0.6, "B": 0.4})
    assert nearest({"A": 0.7, "B": 0.3}, Bounds()) == close({"A": 0.7, "B": 0.3})
    assert nearest({"A": 2.0, "B": 1.0}, Bounds(highest=9, invested=None, gross=2.0)) == close({"A": 1.5, "B": 0.5})
    assert nearest({"A": 1.0, "B": 0.0}, Bounds(turnover=0.5, held={"B": 1.0})) == close({"A": 0.25, "B": 0.75})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=6), st.floats(0.35, 1.0), st.floats(0.4, 1.0))
def test_the_nearest_weights_keep_every_bound(numbers: list[float], highest: float, sector: float) -> None:
    names = [f"N{number}" for number in range(len(numbers))]
    sectors = {name: "even" if number % 2 == 0 else "odd" for number, name in enumerate(names)}
    bounds = Bounds(highest=highest, sector=max(sector, 0.65), sectors=sectors)
    found = nearest(dict(zip(names, numbers, strict=True)), bounds)
    assert sum(found.values()) == close(1.0)
    assert all(-1e-7 <= weight <= highest + 1e-6 for weight in found.values())
    for which in ("even", "odd"):
        assert sum(weight for name, weight in found.items() if sectors[name] == which) <= bounds.sector + 1e-6


# ---- what is refused

MARKET = dict.fromkeys(RETURNS.columns, 0.25)
VIEW = [View({"AAA": 1}, 0.01)]
REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("no weights of 4 names keep all of: lowest 0, highest 0.2, invested 1; there are some without highest or without "
     "invested", lambda: mean_variance(RETURNS, bounds=Bounds(highest=0.2))),
    ("keep all of: lowest 0, highest 1, invested 1, sector 0.2; there are some without invested or without sector",
     lambda: minimum_cvar(RETURNS, bounds=Bounds(sector=0.2, sectors=SECTORS))),
    ("turnover 0.1; there are some without invested or without turnover",
     lambda: mean_variance(RETURNS, bounds=Bounds(turnover=0.1))),
    ("gross 0.5; there are some without invested or without gross",
     lambda: hierarchical_risk_parity(RETURNS, bounds=Bounds(gross=0.5))),
    ("keep all of: lowest 0.3, highest 1, invested 1; there are some without lowest or without invested",
     lambda: mean_variance(RETURNS, "utility", bounds=Bounds(lowest=0.3))),
    ("bounds.gross is -1; it must not be negative", lambda: mean_variance(RETURNS, bounds=Bounds(gross=-1))),
    ("bounds.highest is nan", lambda: mean_variance(RETURNS, bounds=Bounds(highest=math.nan))),
    ("lowest 0.5 is above highest 0.4", lambda: mean_variance(RETURNS, bounds=Bounds(lowest=0.5, highest=0.4))),
    ("bounds.sector is 0.5, and no sectors are given", lambda: mean_variance(RETURNS, bounds=Bounds(sector=0.5))),
    ("bounds.held: ZZZ have no returns", lambda: mean_variance(RETURNS, bounds=Bounds(turnover=1, held={"ZZZ": 0.1}))),
    ("objective: 'max' is not known", lambda: mean_variance(RETURNS, "max")),  # type: ignore[arg-type]
    ("no name has a positive mean return", lambda: mean_variance(RETURNS * -1.0, "sharpe")),
    ("bounds.invested: a ratio of return to risk does not say how much",
     lambda: mean_variance(RETURNS, "sharpe", bounds=FREE)),
    ("risk_aversion is 0.0; it must be a positive number", lambda: mean_variance(RETURNS, "utility", 0.0)),
    ("level is 1.0; it must lie between 0 and 1", lambda: minimum_cvar(RETURNS, level=1.0)),
    ("19 periods of 4 names, and 20 are needed", lambda: minimum_cvar(RETURNS[:19])),
    ("row 2: nan is no simple return",
     lambda: minimum_cvar(RETURNS.with_columns(BBB=pl.when(pl.int_range(pl.len()) != 2).then("BBB")))),
    ("2 periods of 4 names, and 3 are needed", lambda: hierarchical_risk_parity(RETURNS[:2])),
    ("views: there are none", lambda: black_litterman(RETURNS, MARKET, [])),
    ("market: DDD lack a weight", lambda: black_litterman(
        RETURNS, dict.fromkeys(["AAA", "BBB", "CCC"], 0.3), [View({"AAA": 1}, 0.1)])),
    ("view 0: ZZZ have no returns", lambda: black_litterman(RETURNS, MARKET, [View({"ZZZ": 1}, 0.1)])),
    ("view 0: .* must be numbers, not all zero", lambda: black_litterman(RETURNS, MARKET, [View({"AAA": 0}, 0.1)])),
    ("view 0: confidence is 0.0; it must be above 0",
     lambda: black_litterman(RETURNS, MARKET, [View({"AAA": 1}, 0.1, 0.0)])),
    ("some have a confidence and some have none", lambda: black_litterman(
        RETURNS, MARKET, [View({"AAA": 1}, 0.1, 0.5), View({"BBB": 1}, 0.1)])),
    ("tau is -1; it must be a positive number", lambda: black_litterman(RETURNS, MARKET, VIEW, tau=-1)),
    ("tau is 0; it must be a positive number", lambda: black_litterman(RETURNS, MARKET, VIEW, tau=0)),
    ("the weights add up to 0; give shares", lambda: black_litterman(RETURNS, dict.fromkeys(MARKET, 0.0), VIEW)),
    ("the weights add up to 5.5", lambda: black_litterman(RETURNS, MARKET | {"AAA": 4.75}, VIEW)),
    ("the weight of AAA is -0.25", lambda: black_litterman(RETURNS, MARKET | {"AAA": -0.25}, VIEW)),
    ("views that are certain must not contradict each other", lambda: black_litterman(
        RETURNS, MARKET, [View({"AAA": 1}, 0.01, 1.0), View({"AAA": 1}, 0.02, 1.0)])),
    ("covariance: 'x' is not known", lambda: hierarchical_risk_parity(RETURNS, covariance="x")),  # type: ignore[arg-type]
    ("bounds.held: AAA is nan; it must be a number",
     lambda: mean_variance(RETURNS, bounds=Bounds(turnover=1, held={"AAA": math.nan}))),
    ("weights .*: give a number for each name", lambda: nearest({"A": math.nan}, Bounds())),
]  # fmt: skip


@pytest.mark.parametrize(("message", "call"), REFUSED, ids=[message for message, _ in REFUSED])
def test_what_cannot_be_built_is_refused(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(PortfolioError, match=message):
        call()


def test_returns_of_any_size_make_the_same_hierarchy() -> None:
    small = hierarchical_risk_parity(RETURNS * 1e-9)
    assert small == pytest.approx(hierarchical_risk_parity(RETURNS))


def test_importing_the_package_loads_no_solver() -> None:
    code = (
        "import sys, quant_assets.risk.optimisers, quant_assets.risk.sizing; "
        "print(sorted({'skfolio', 'cvxpy', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
