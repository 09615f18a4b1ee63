"""The optimised portfolio: its weights beside the optimisers' own, its limits, and what it does without a solution."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.backtests import run
from quant_assets.features.strategy_proofs import prove_strategy
from quant_assets.risk import optimisers
from quant_assets.risk.bounds import Bounds, nearest
from quant_assets.risk.estimates import CovarianceMethod
from quant_assets.risk.optimisers import hierarchical_risk_parity, mean_variance, minimum_cvar
from quant_assets.risk.sizing import equal_risk, risk_shares
from quant_assets.strategies import Strategy, code, create, orders
from quant_assets.strategies.optimised_portfolio import OptimisedPortfolio
from resources.config import StrategySettings
from resources.errors import ConfigError
from tests.quant_assets.strategies import test_strategies as every
from tests.quant_assets.strategies.test_strategies import feature_frame, weekdays, weights

WINDOW = 40
MARCH, APRIL, JANUARY = date(2024, 3, 1), date(2024, 4, 1), date(2025, 1, 1)
SHRUNK: CovarianceMethod = "ledoit_wolf"


def drawn(names: str = "ABCD", sessions: int = 110, drift: float = 0.003, seed: int = 7) -> pl.DataFrame:
    """session and a column of returns a name, each a bit wilder than the last; from January 2024 on."""
    random = np.random.default_rng(seed)
    common = random.normal(0, 0.006, sessions)
    common -= common.mean()
    columns = {
        name: drift + common + random.normal(0, 0.004 * (1 + place), sessions) for place, name in enumerate(names)
    }
    return pl.DataFrame({"session": weekdays(date(2024, 1, 1), sessions), **columns})


def panel_of(returns: pl.DataFrame, gone: Mapping[str, Callable[[date], bool]] | None = None) -> pl.LazyFrame:
    """The panel of names with these returns, without the rows of a name on the days on which it is gone."""
    rows: list[dict[str, object]] = [
        {"symbol": name, "session": day, "adj_close": price}
        for name in returns.columns[1:]
        for day, price in zip(returns["session"], 50.0 * (1.0 + returns[name]).cum_prod(), strict=True)
        if not (gone or {}).get(name, lambda _: False)(day)
    ]
    return feature_frame(rows, ("adj_close",))


def known(returns: pl.DataFrame, day: date) -> pl.DataFrame:
    """The returns of the window that ends with the close of `day`."""
    return returns.filter(pl.col("session") <= day).tail(WINDOW)


def reasons(strategy: Strategy, panel: pl.LazyFrame, day: date) -> dict[str, str]:
    return dict(strategy.intents(panel).filter(session=day).select("symbol", "reason").collect().rows())


def targets(strategy: Strategy, panel: pl.LazyFrame) -> pl.DataFrame:
    """Target weights, a row a month and a column a name."""
    found = strategy.intents(panel).filter(pl.col("rebalance")).collect()
    return found.pivot("symbol", index="session", values="target_weight").sort("session").fill_null(0.0)


METHODS: dict[str, Callable[[pl.DataFrame, Bounds], dict[str, float]]] = {
    "minimum_variance": lambda r, b: mean_variance(r, bounds=b, covariance=SHRUNK),
    "maximum_ratio": lambda r, b: mean_variance(r, "sharpe", bounds=b, covariance=SHRUNK),
    "maximum_utility": lambda r, b: mean_variance(r, "utility", 5.0, b, SHRUNK),
    "minimum_cvar": lambda r, b: minimum_cvar(r, 0.95, b),
    "hierarchical_risk_parity": lambda r, b: hierarchical_risk_parity(r, b, SHRUNK),
    "equal_risk": lambda r, b: nearest(equal_risk(r, covariance=SHRUNK), b),
}


@pytest.mark.parametrize("method", METHODS)
def test_the_weights_are_the_optimisers_of_the_returns_known_by_then(method: str) -> None:
    returns = drawn()
    strategy = OptimisedPortfolio.model_validate({"method": method, "window": WINDOW, "max_weight": 0.6})
    for day in (MARCH, APRIL):
        expected = METHODS[method](known(returns, day), Bounds(highest=0.6))
        found = weights(strategy, panel_of(returns), day)
        assert found == pytest.approx(expected, abs=1e-5)
        assert max(found.values()) - min(found.values()) > 0.01, "not what equal weights would be as well"


def test_the_least_variance_of_two_names_is_its_closed_form() -> None:
    returns = drawn("AB")
    (a, c), (_, b) = np.cov(known(returns, MARCH).drop("session").to_numpy(), rowvar=False)
    strategy = OptimisedPortfolio(window=WINDOW, max_weight=1.0, covariance="sample")
    found = weights(strategy, panel_of(returns), MARCH)
    assert found == pytest.approx({"A": (b - c) / (a + b - 2 * c), "B": (a - c) / (a + b - 2 * c)}, abs=1e-5)


def test_equal_risk_is_equal() -> None:
    returns = drawn()
    strategy = OptimisedPortfolio(method="equal_risk", window=WINDOW, max_weight=1.0)
    shares = risk_shares(known(returns, MARCH), weights(strategy, panel_of(returns), MARCH), SHRUNK)
    assert list(shares.values()) == pytest.approx([0.25] * 4, abs=1e-5)


def test_a_portfolio_holds_until_the_next_month() -> None:
    found = OptimisedPortfolio(window=WINDOW).intents(panel_of(drawn())).filter(symbol="A").collect()
    changes = found.filter(pl.col("target_weight") != pl.col("target_weight").shift())["session"].to_list()
    assert changes == [MARCH, APRIL, date(2024, 5, 1), date(2024, 6, 3)][: len(changes)]
    assert len(changes) >= 3
    assert found.filter("rebalance")["session"].to_list() == [date(2024, 2, 1), *changes]
    assert found["score"].to_list() == found["target_weight"].to_list()


# ---- no future, and the same from a window


PROVED = [
    OptimisedPortfolio(window=20, max_weight=0.7, covariance="sample"),
    OptimisedPortfolio(method="minimum_cvar", level=0.9, window=20, symbols="S0, S1, S3, S4", max_weight=0.4),
]


@pytest.mark.parametrize("strategy", PROVED, ids=lambda each: each.method)
def test_what_every_strategy_must_stand_up_to(strategy: Strategy) -> None:
    every.test_cutting_the_future_leaves_intents_unchanged(strategy=strategy)
    every.test_a_window_says_what_the_whole_history_says(strategy=strategy)
    every.test_intents_have_one_sorted_row_for_each_tradable_symbol_and_session(strategy=strategy)
    every.test_the_made_up_panels_are_traded(strategy)
    every.test_shuffled_rows_give_the_same_intents(strategy)


def test_the_audit_finds_nothing_where_decisions_follow_from_each_other() -> None:
    assert prove_strategy(OptimisedPortfolio(method="equal_risk", window=20, max_weight=0.6, max_turnover=0.1)) == []


@pytest.mark.parametrize("method", METHODS)
def test_another_future_changes_nothing_before_it(method: str) -> None:
    strategy = OptimisedPortfolio.model_validate({"method": method, "window": WINDOW, "max_weight": 0.6})
    returns = drawn()
    late = pl.col("session") > MARCH
    other = returns.with_columns(pl.when(late).then(-3 * pl.col(name)).otherwise(name).alias(name) for name in "ABCD")
    one, two = (strategy.intents(panel_of(each)).collect() for each in (returns, other))
    assert one.filter(~late).equals(two.filter(~late))
    assert not one.filter(session=APRIL).equals(two.filter(session=APRIL))


# ---- limits

BOUND = [  # what, parameters, names: sum of the weights, and the largest
    ("a name", {"max_weight": 0.3}, "ABCD", 1.0, 0.3),
    ("just room for all", {"max_weight": 0.25}, "ABCD", 1.0, 0.25),
    ("too few names: the rest is cash", {"max_weight": 0.25}, "AB", 0.5, 0.25),
    ("a sector", {"max_weight": 0.9, "sectors": "calm A B, wild C D", "max_sector": 0.6}, "ABCD", 1.0, 0.6),
    ("all others are a sector", {"max_weight": 0.9, "sectors": "wild C D", "max_sector": 0.6}, "ABCD", 1.0, 0.6),
    ("too few sectors", {"max_weight": 0.9, "sectors": "calm A B C D", "max_sector": 0.3}, "ABCD", 0.3, 0.3),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("what", "parameters", "names", "whole", "most"), BOUND, ids=[case[0] for case in BOUND])
def test_limits_bind(
    method: str, what: str, parameters: dict[str, object], names: str, whole: float, most: float
) -> None:
    strategy = OptimisedPortfolio.model_validate({"method": method, "window": WINDOW, **parameters})
    found = weights(strategy, panel_of(drawn(names)), MARCH)
    assert sum(found.values()) == pytest.approx(whole, abs=1e-5)
    assert max(found.values()) <= most + 1e-9
    if "max_sector" in parameters:
        assert found["A"] + found["B"] <= most + 1e-6
        assert found.get("C", 0.0) + found.get("D", 0.0) <= most + 1e-6


@given(seed=st.integers(0, 10_000), cap=st.floats(0.05, 1.0), turnover=st.floats(0.02, 2.0))
@settings(max_examples=8, deadline=None)
def test_limits_hold_whatever_happens(seed: int, cap: float, turnover: float) -> None:
    strategy = OptimisedPortfolio(window=20, max_weight=cap, max_turnover=turnover)
    found = targets(strategy, panel_of(drawn(sessions=70, seed=seed))).drop("session").to_numpy()[1:]
    assert (found >= 0.0).all()
    assert (found <= cap).all()
    assert found.sum(axis=1) == pytest.approx(np.full(len(found), min(1.0, 4 * cap)), abs=1e-5)
    assert (np.abs(np.diff(found, axis=0)).sum(axis=1) <= turnover + 1e-5).all()


@pytest.mark.parametrize("method", METHODS)
def test_turnover_is_bounded_but_in_the_first_decision_of_a_year(method: str) -> None:
    # What was calm becomes wild, and the other way round, from April on and again in December.
    returns = drawn("ABCD", 290)
    turned = pl.col("session").is_between(APRIL, date(2024, 11, 29))
    mirror = dict(zip("ABCD", "DCBA", strict=True))
    returns = returns.with_columns(pl.when(turned).then(b).otherwise(a).alias(a) for a, b in mirror.items())
    free = OptimisedPortfolio.model_validate({"method": method, "window": WINDOW, "max_weight": 0.6})
    bound = free.model_copy(update={"max_turnover": 0.1})
    one, two = (targets(each, panel_of(returns)).filter(pl.col("session") >= MARCH) for each in (free, bound))
    changes, bounded = (np.abs(np.diff(each.drop("session").to_numpy(), axis=0)).sum(axis=1) for each in (one, two))
    within = (one["session"] < JANUARY).to_numpy()[1:]
    assert changes[within].max() > 0.1, "nothing to bind"
    assert bounded[within].max() == pytest.approx(0.1, abs=1e-4)
    assert bounded[~within].max() > 0.1
    same = one["session"].is_in([MARCH, JANUARY])
    assert np.allclose(one.filter(same).drop("session"), two.filter(same).drop("session"), atol=1e-6)


def test_what_is_bought_for_a_name_that_is_gone_does_not_count() -> None:
    strategy = OptimisedPortfolio(window=WINDOW, max_weight=0.5, max_turnover=0.1)
    panel = panel_of(drawn(), gone={"A": lambda day: day > date(2024, 3, 20)})
    before, after = (np.array(row[1:]) for row in targets(strategy, panel).rows()[1:3])
    assert before[0] > 0.2
    assert after[0] == 0.0
    assert after.sum() == pytest.approx(1.0)
    assert np.abs(after - before).sum() <= 2 * before[0] + 0.1 + 1e-5


# ---- who takes part

APART = [  # what, days on which D has no row; before the decision of April
    ("listed in the window", lambda day: day < date(2024, 3, 1)),
    ("gone a week before", lambda day: day > date(2024, 3, 22)),
    ("seldom traded", lambda day: day.weekday() in (2, 3)),
    ("not traded on the window's first session", lambda day: day == date(2024, 2, 5)),
]


@pytest.mark.parametrize(("what", "gone"), APART, ids=[case[0] for case in APART])
def test_who_takes_part(what: str, gone: Callable[[date], bool]) -> None:
    strategy = OptimisedPortfolio(window=WINDOW, max_weight=0.5)
    returns = drawn()
    assert returns.filter(pl.col("session") <= APRIL)["session"][-WINDOW - 1] == date(2024, 2, 5)
    found = weights(strategy, panel_of(returns, {"D": gone}), APRIL)
    alone = weights(strategy, panel_of(returns.drop("D")), APRIL)
    assert found == pytest.approx({**alone, **({"D": 0.0} if "D" in found else {})})


def test_a_name_that_misses_a_few_sessions_takes_part_with_its_last_price() -> None:
    strategy = OptimisedPortfolio(method="equal_risk", window=WINDOW, max_weight=0.5)
    hole = date(2024, 3, 13)
    found = weights(strategy, panel_of(drawn(), {"D": lambda day: day == hole}), APRIL)
    assert found["D"] > 0.0


def test_what_stands_still_is_left_out() -> None:
    strategy = OptimisedPortfolio(window=WINDOW, max_weight=0.5)
    panel = panel_of(drawn().with_columns(B=pl.lit(0.0)))
    assert weights(strategy, panel, MARCH)["B"] == 0.0
    assert reasons(strategy, panel, MARCH)["B"] == (
        "traded too little, or did not move, in the sessions before 2024-03-01"
    )


def test_only_those_named() -> None:
    strategy = OptimisedPortfolio(window=WINDOW, max_weight=0.6, symbols="D, B, ZZZ")
    panel = panel_of(drawn())
    found = weights(strategy, panel, MARCH)
    assert [name for name, weight in found.items() if weight] == ["B", "D"]
    assert reasons(strategy, panel, MARCH)["A"] == "not one of symbols"


def test_a_market_that_is_closed_on_the_day_joins_on_its_own_next_session() -> None:
    strategy = OptimisedPortfolio(method="equal_risk", window=WINDOW, max_weight=0.5)
    found = strategy.intents(panel_of(drawn(), {"D": lambda day: day == MARCH})).filter(symbol="D").collect()
    monday = MARCH + timedelta(3)
    assert found.filter("rebalance")["session"].to_list()[1] == monday
    assert found.filter(session=monday)["target_weight"][0] > 0.0


# ---- without a solution


def test_a_month_without_a_solution_is_cash_and_says_so() -> None:
    strategy = OptimisedPortfolio(method="maximum_ratio", window=WINDOW, max_weight=0.6)
    returns = drawn()
    fall = pl.col("session").is_between(date(2024, 3, 1), date(2024, 3, 29))
    panel = panel_of(returns.with_columns(pl.when(fall).then(-0.03).otherwise(name).alias(name) for name in "ABCD"))
    assert sum(weights(strategy, panel, MARCH).values()) == pytest.approx(1.0)
    assert set(weights(strategy, panel, APRIL).values()) == {0.0}
    assert reasons(strategy, panel, APRIL)["A"] == (
        "all is cash: no maximum_ratio on 2024-04-01: objective sharpe: no name has a positive mean return; "
        "use minimum_variance"
    )
    capped = strategy.model_copy(update={"max_turnover": 0.5})
    kept = weights(capped, panel, APRIL)
    assert kept == weights(capped, panel, MARCH)
    assert reasons(capped, panel, APRIL)["A"].startswith(f"{100 * kept['A']:.1f}% kept: no maximum_ratio on 2024-04-01")


SHORT = [  # what, parameters, what the reason says
    ("too few sessions", {"window": 60}, "fewer than 61 sessions, or no name that trades in them"),
    ("more names than sessions", {"window": 20, "covariance": "sample"}, "20 periods of 26 names, and 27 are needed"),
    ("nobody", {"window": 20, "symbols": "ZZZ"}, "not one of symbols"),
]


@pytest.mark.parametrize(("what", "parameters", "said"), SHORT, ids=[case[0] for case in SHORT])
def test_too_little_is_cash_and_says_so(what: str, parameters: dict[str, object], said: str) -> None:
    strategy = OptimisedPortfolio.model_validate(parameters)
    panel = panel_of(drawn("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    assert set(weights(strategy, panel, MARCH).values()) == {0.0}
    assert said in reasons(strategy, panel, MARCH)["A"]


def test_it_says_why() -> None:
    strategy, panel = OptimisedPortfolio(window=WINDOW, max_weight=0.3), panel_of(drawn())
    assert reasons(strategy, panel, date(2024, 1, 31))["A"] == "no first session of a month yet"
    said = reasons(strategy, panel, date(2024, 3, 14))
    assert said["A"] == "30.0% by minimum_variance of 4 names over 40 sessions on 2024-03-01"


# ---- as part of the whole

FAULTS = [
    ({"method": "astrology"}, r"parameters\.method: .*; for example method: minimum_cvar"),
    ({"max_sector": 0.3}, r"max_sector 0\.3 needs sectors; for example"),
    ({"sectors": "tech, energy XOM"}, r"sectors 'tech' names no symbol; for example"),
    ({"sectors": "tech AAPL, fruit AAPL"}, r"AAPL is in tech and in fruit; leave it in one"),
    ({"method": "minimum_cvar", "window": 20, "level": 0.99}, r"level 0\.99: none of 20 sessions is in its tail"),
    ({"max_turnover": 0.0}, r"max_turnover: .*greater than 0; for example max_turnover: 0\.3"),
    ({"max_weight": 1.5}, r"max_weight: .*less than or equal to 1"),
]


@pytest.mark.parametrize(("parameters", "message"), FAULTS, ids=[str(case[0]) for case in FAULTS])
def test_a_wrong_configuration_is_refused(parameters: dict[str, float | str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(StrategySettings(name="optimised_portfolio", parameters=parameters))


def test_the_optimisers_are_part_of_its_version() -> None:
    assert optimisers in code(OptimisedPortfolio())
    assert optimisers not in code(create(StrategySettings(name="risk_parity")))


def test_strategies_load_no_optimiser() -> None:
    heavy = "{'skfolio', 'cvxpy', 'sklearn', 'scipy.stats'}"
    asked = f"import sys; import quant_assets.strategies; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_least_variance_of_real_names_is_calmer_than_equal_weights(shared_data: Path) -> None:
    names = ["AAPL", "AXP", "BA", "CAT", "CVX", "DIS", "GS", "HD", "IBM", "JNJ", "JPM", "KO", "MCD", "MRK", "PG", "WMT"]
    stamp = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    bars = (
        pl.scan_parquet(shared_data / "sp500_daily.parquet")
        .filter(pl.col("symbol").is_in(names), pl.col("date").is_between(date(2014, 1, 1), date(2016, 12, 31)))
        .with_columns(
            pl.col("volume").cast(pl.Float64),
            session="date",
            ts=stamp + pl.duration(hours=14, minutes=30),
            known_at=stamp + pl.duration(hours=21),
            tradable=pl.lit(True),
            adj_close="adjusted_close",
        )
        .sort("symbol", "ts")
        .collect()
    )
    strategy = OptimisedPortfolio(max_weight=0.2)
    intents = strategy.intents(bars.lazy()).filter(pl.col("session") >= date(2015, 2, 2)).collect()
    traded = bars.filter(pl.col("session") >= date(2015, 2, 2)).drop("date", "adjusted_close", "adj_close", "tradable")
    same = intents.with_columns(target_weight=1.0 / len(names))
    one, two = (run(traded, orders(each.lazy())).equity["return"].std() for each in (intents, same))
    assert isinstance(one, float)
    assert isinstance(two, float)
    assert one < 0.92 * two
    assert intents.filter("rebalance").group_by("session").agg(pl.col("target_weight").sum())[
        "target_weight"
    ].to_list() == pytest.approx([1.0] * 23)
