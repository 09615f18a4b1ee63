"""What each of the rules does, in tables: features in, target weights out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets.strategies import Strategy, orders
from quant_assets.strategies.asset_rotation import AssetRotation
from quant_assets.strategies.base import symbols_of
from quant_assets.strategies.donchian_breakout import DonchianBreakout
from quant_assets.strategies.pairs_cointegration import PairsCointegration
from quant_assets.strategies.risk_parity import RiskParity
from quant_assets.strategies.rsi_reversion import RsiReversion
from quant_assets.strategies.short_term_reversal import ShortTermReversal
from quant_assets.strategies.triple_screen import TripleScreen
from tests.quant_assets.strategies.test_strategies import feature_frame, weekdays, weights

DECEMBER = date(2023, 12, 29)
"""A Friday: what follows it opens a week, a month, a quarter and a year."""


def panel_of(
    strategy: Strategy, values: Mapping[str, Sequence[tuple[float | None, ...]]], first: date = DECEMBER
) -> pl.LazyFrame:
    """By symbol, the required features of each weekday from `first` on."""
    days = weekdays(first, max(len(rows) for rows in values.values()))
    rows: list[dict[str, object]] = [
        {"symbol": symbol, "session": day, **dict(zip(strategy.required_features, row, strict=True))}
        for symbol, series in values.items()
        for day, row in zip(days, series, strict=False)
    ]
    return feature_frame(rows, strategy.required_features)


def path(strategy: Strategy, panel: pl.LazyFrame, symbol: str = "A") -> list[float]:
    """The symbol's targets after the frame's first session, which stands before the first decision."""
    return strategy.intents(panel).filter(pl.col("symbol") == symbol).collect()["target_weight"].to_list()[1:]


BREAKOUTS = [  # what, (place in the long channel, in the short one) from January on; whether long
    ("inside", [(0.9, 0.9), (1.0, 1.0)], [0, 0]),
    ("breaks out and stays", [(1.1, 1.3), (0.8, 0.5), (0.4, 0.0)], [1, 1, 1]),
    ("leaves under the short channel", [(1.1, 1.3), (0.4, -0.1), (0.5, 0.3)], [1, 0, 0]),
    ("breaks out again", [(1.1, 1.3), (0.4, -0.1), (1.2, 1.2)], [1, 0, 1]),
    ("no new high in time", [(1.1, 1.3), (0.9, 0.9), (0.9, 0.9), (0.9, 0.9)], [1, 1, 1, 0]),
    ("a new high renews it", [(1.1, 1.3), (0.9, 0.9), (1.1, 1.1), (0.9, 0.9), (0.9, 0.9)], [1, 1, 1, 1, 1]),
    ("warming up", [(None, 1.3), (None, 0.9)], [0, 0]),
]


@pytest.mark.parametrize(("what", "places", "expected"), BREAKOUTS, ids=[case[0] for case in BREAKOUTS])
def test_donchian_breakout(what: str, places: list[tuple[float | None, float]], expected: list[int]) -> None:
    strategy = DonchianBreakout(patience=3)
    panel = panel_of(strategy, {"A": [(0.5, 0.5), *places], "B": [(0.5, 0.5)] * (len(places) + 1)})
    assert path(strategy, panel) == [0.5 * held for held in expected]


FALLS = [  # what, (rsi, close to its average) from January on; whether long
    ("falls in an uptrend", [(5, 0.1), (30, 0.1), (70, 0.1)], [1, 1, 0]),
    ("falls in a downtrend", [(5, -0.1), (30, -0.1)], [0, 0]),
    ("the trend may break while held", [(5, 0.1), (30, -0.1)], [1, 1]),
    ("held for its patience after the last fall", [(5, 0.1), (30, 0.1), (30, 0.1), (30, 0.1)], [1, 1, 1, 0]),
    ("each fall renews it", [(5, 0.1), (30, 0.1), (5, 0.1), (30, 0.1), (30, 0.1), (30, 0.1)], [1, 1, 1, 1, 1, 0]),
    ("at the thresholds nothing happens", [(10, 0.1), (5, 0.1), (65, 0.1)], [0, 1, 1]),
    ("warming up", [(5, None), (5, None)], [0, 0]),
]


@pytest.mark.parametrize(("what", "values", "expected"), FALLS, ids=[case[0] for case in FALLS])
def test_rsi_reversion(what: str, values: list[tuple[float, float | None]], expected: list[int]) -> None:
    strategy = RsiReversion(slots=4, patience=3)
    panel = panel_of(strategy, {"A": [(50, 0.1), *values]})
    assert path(strategy, panel) == [0.25 * held for held in expected]
    found = strategy.intents(panel).collect()
    exits = found.select("take_profit_fraction", "stop_loss_fraction").rows()[1:]
    assert exits == [(0.05, 0.08) if held else (None, None) for held in expected]
    assert not found["rebalance"].any()


def test_rsi_reversion_is_bought_once_until_the_rule_has_left() -> None:
    strategy = RsiReversion(slots=4)
    fall, calm, up = (5.0, 0.1), (30.0, 0.1), (70.0, 0.1)
    # Weeks and a month go by while it is held: the stop may have closed it, and nothing buys it back but a new fall.
    values = [calm, fall, calm, fall, *[calm] * 6, fall, *[calm] * 6, fall, calm, up, calm, fall, calm]
    sent = orders(strategy.intents(panel_of(strategy, {"A": values}))).collect()
    assert sent.select("target_weight", "stop_loss_fraction", "reduce_only").rows() == [
        (0.25, 0.08, False), (0.0, None, True), (0.25, 0.08, False),
    ]  # fmt: skip


def test_rsi_reversion_holds_those_that_fell_first() -> None:
    strategy = RsiReversion(slots=1)
    calm, fall, up = (30.0, 0.1), (5.0, 0.1), (70.0, 0.1)
    panel = panel_of(strategy, {"A": [calm, calm, fall, fall, calm], "B": [calm, fall, fall, up, calm]})
    assert path(strategy, panel, "A") == [0, 0, 1, 1]
    assert path(strategy, panel, "B") == [1, 1, 0, 0]
    reasons = strategy.intents(panel).filter(pl.col("symbol") == "A").collect()["reason"].to_list()
    assert reasons[2] == "1 others were oversold before"
    assert reasons[3] == "rsi 2 at 5.0, close +10.0% to sma 200"


RETURNS = {"A": -0.3, "B": -0.2, "C": 0.0, "D": 0.1, "E": 0.2}
REVERSALS = [  # sides, names on a side: weights
    ("long", 1, {"A": 1.0}),
    ("long", 2, {"A": 0.5, "B": 0.5}),
    ("long", 4, {"A": 0.25, "B": 0.25}),
    ("long_short", 1, {"A": 0.5, "E": -0.5}),
    ("long_short", 4, {"A": 0.125, "B": 0.125, "D": -0.125, "E": -0.125}),
]


@pytest.mark.parametrize(("sides", "hold", "expected"), REVERSALS)
def test_short_term_reversal(sides: str, hold: int, expected: dict[str, float]) -> None:
    strategy = ShortTermReversal.model_validate({"sides": sides, "hold": hold})
    # On Tuesday the order turns, which waits for the next week.
    panel = panel_of(strategy, {name: [(0.0,), (value,), (-value,)] for name, value in RETURNS.items()})
    found = weights(strategy, panel, date(2024, 1, 2))
    assert found == {name: expected.get(name, 0.0) for name in RETURNS}


def test_risk_parity_gives_each_name_the_same_risk_and_all_together_the_target() -> None:
    strategy = RiskParity(target_volatility=0.05)
    sizes, alike = np.array([0.01, 0.02, 0.04]), 0.25
    panel = panel_of(strategy, {name: [(size, alike)] * 2 for name, size in zip("ABC", sizes.tolist(), strict=True)})
    found = np.array(list(weights(strategy, panel, date(2024, 1, 1)).values()))
    assert found * sizes == pytest.approx(np.full(3, found[0] * sizes[0]))
    correlations = np.full((3, 3), alike) + (1 - alike) * np.eye(3)
    covariance = np.outer(sizes, sizes) * correlations * 252
    assert math.sqrt(found @ covariance @ found) == pytest.approx(0.05)


SCALED = [  # what, volatility by name, mean correlation: weights at a target of 16% and 256 sessions a year
    ("alone", {"A": 0.02}, None, {"A": 0.5}),
    ("no leverage", {"A": 0.005, "B": 0.01}, 1.0, {"A": 2 / 3, "B": 1 / 3}),
    ("what stands still has no size", {"A": 0.02, "B": 0.0}, None, {"A": 0.5, "B": 0.0}),
    ("below zero counts as zero", {"A": 0.02, "B": 0.02}, -0.5, {"A": 0.25 * 2**0.5, "B": 0.25 * 2**0.5}),
    ("warming up", {"A": 0.02, "B": None}, None, {"A": 0.5, "B": 0.0}),
]


@pytest.mark.parametrize(("what", "sizes", "alike", "expected"), SCALED, ids=[case[0] for case in SCALED])
def test_risk_parity_weights(
    what: str, sizes: dict[str, float | None], alike: float | None, expected: dict[str, float]
) -> None:
    strategy = RiskParity(target_volatility=0.16, sessions_a_year=256)
    panel = panel_of(strategy, {name: [(size, alike)] * 2 for name, size in sizes.items()})
    assert weights(strategy, panel, date(2024, 1, 1)) == pytest.approx(expected)


def weekly_panel(strategy: TripleScreen, closes: list[float | None], rsi: float) -> pl.LazyFrame:
    """Each week's Monday to Thursday at 100 and Friday at the week's close, all with the same RSI."""
    days = weekdays(date(2023, 10, 2), 5 * len(closes))
    return feature_frame(
        [
            {"symbol": symbol, "session": day, "rsi_7": rsi, "adj_close": close if day.weekday() == 4 else 100.0}
            for symbol in ("A", "B")
            for number, day in enumerate(days)
            if (close := closes[number // 5]) is not None or symbol == "B"
        ],
        strategy.required_features,
    )


WEEKS = [  # what, weekly closes, daily RSI; whether long in the last of the weeks, whose own close does not count
    ("rising, pulled back", [100, 101, 102, 103, 104, 0], 35, 1),
    ("rising, not pulled back", [100, 101, 102, 103, 104, 0], 45, 0),
    ("falling", [104, 103, 102, 101, 100, 0], 35, 0),
    ("above a falling mean", [110, 109, 100, 100, 104, 0], 35, 0),
    ("below a rising mean", [100, 101, 110, 120, 105, 0], 35, 0),
    ("too few weeks", [100, 101, 102], 35, 0),
    ("a week without a close is no trend", [100, 101, 102, None, 104, 0], 35, 0),
]


@pytest.mark.parametrize(("what", "closes", "rsi", "expected"), WEEKS, ids=[case[0] for case in WEEKS])
def test_triple_screen(what: str, closes: list[float | None], rsi: float, expected: int) -> None:
    strategy = TripleScreen(weeks=3)
    found = strategy.intents(weekly_panel(strategy, closes, rsi)).filter(pl.col("symbol") == "A").collect()
    assert found["target_weight"].to_list()[-5:-1] == [0.5 * expected] * 4


ROTATIONS = [  # what, parameters, returns by asset: weights
    ("the best", {"hold": 1}, {"A": 0.1, "B": 0.2, "C": 0.05}, {"B": 1.0}),
    ("the best two", {"hold": 2}, {"A": 0.1, "B": 0.2, "C": 0.05}, {"A": 0.5, "B": 0.5}),
    ("none that falls", {"hold": 2}, {"A": -0.1, "B": 0.2, "C": 0.0}, {"B": 0.5}),
    ("refuge takes the rest", {"hold": 2, "refuge": "C"}, {"A": -0.1, "B": 0.2, "C": 0.9}, {"B": 0.5, "C": 0.5}),
    ("refuge takes all", {"hold": 1, "refuge": "C"}, {"A": -0.1, "B": -0.2, "C": -0.9}, {"C": 1.0}),
    ("refuge is not needed", {"hold": 1, "refuge": "C"}, {"A": 0.1, "B": -0.2, "C": 0.9}, {"A": 1.0}),
    ("only those named", {"hold": 1, "symbols": "A, C"}, {"A": 0.1, "B": 0.2, "C": 0.05}, {"A": 1.0}),
    ("warming up", {"hold": 1}, {"A": 0.1, "B": None, "C": 0.05}, {"A": 1.0}),
]


@pytest.mark.parametrize(("what", "parameters", "returns", "expected"), ROTATIONS, ids=[case[0] for case in ROTATIONS])
def test_asset_rotation(
    what: str, parameters: dict[str, object], returns: dict[str, float | None], expected: dict[str, float]
) -> None:
    strategy = AssetRotation.model_validate(parameters)
    panel = panel_of(strategy, {name: [(0.0,), (value,), (0.3,)] for name, value in returns.items()})
    assert weights(strategy, panel, date(2024, 1, 2)) == {name: expected.get(name, 0.0) for name in returns}


def test_asset_rotation_judges_a_closed_market_by_its_last_session() -> None:
    strategy = AssetRotation(hold=1)
    saturday = [DECEMBER + timedelta(days) for days in range(1, 6)]  # crypto trades on; stocks again on Tuesday
    rows: list[dict[str, object]] = [
        {"symbol": "COIN", "session": day, "return_126": 0.1} for day in [DECEMBER, *saturday]
    ]
    rows += [
        {"symbol": "STOCK", "session": day, "return_126": value}
        for day, value in ((DECEMBER, 0.4), (date(2024, 1, 2), 0.0), (date(2024, 1, 3), 0.0))
    ]
    panel = feature_frame(rows, strategy.required_features)
    assert weights(strategy, panel, date(2024, 1, 1)) == {"COIN": 0.0}
    assert weights(strategy, panel, date(2024, 1, 2)) == {"COIN": 0.0, "STOCK": 1.0}
    stock = strategy.intents(panel).filter(pl.col("symbol") == "STOCK").collect()
    assert stock["rebalance"].to_list()[1:] == [True, False]
    assert stock["reason"][-1] == "momentum +40.0%, rank 1 on 2023-12-29"


def tied(seed: int, sessions: int, apart: dict[int, float]) -> tuple[list[float], list[float]]:
    """Prices of two names that differ by noise of 1%, and by what is said on some sessions."""
    random = np.random.default_rng(seed)
    common = random.normal(0, 0.02, sessions).cumsum()
    noise = np.where(np.arange(sessions) < FORMED, random.normal(0, 0.01, sessions), 0.0)
    noise[list(apart)] = list(apart.values())
    return (100 * np.exp(common + noise)).tolist(), (50 * np.exp(common)).tolist()


FORMED = 130
PAIRS = PairsCointegration(formation=100, hold=1, pairs="KO PEP")


def pair_panel(apart: dict[int, float], names: tuple[str, str] = ("KO", "PEP")) -> pl.LazyFrame:
    first = next(day for day in (date(2023, 6, 1) + timedelta(n) for n in range(60)) if len(weekdays_to(day)) == FORMED)
    left, right = tied(11, FORMED + 6, apart)
    one, other = ([(price,) for price in prices] for prices in (left, right))
    return panel_of(PAIRS, {names[0]: one, names[1]: other}, first)


def weekdays_to(first: date) -> list[date]:
    """Those up to the first session of 2024."""
    return [day for day in weekdays(first, 200) if day <= date(2024, 1, 1)]


def test_pairs_sell_what_is_dear_against_its_twin_until_it_is_not() -> None:
    panel = pair_panel({FORMED + 1: 0.03, FORMED + 2: 0.015, FORMED + 3: 0.0, FORMED + 4: -0.03})
    left, right = (np.array(path(PAIRS, panel, name)[FORMED - 1 :]) for name in ("KO", "PEP"))
    assert np.sign(left).tolist() == [0, -1, -1, 0, 1, 0]
    assert np.sign(right).tolist() == [0, 1, 1, 0, -1, 0]
    assert (np.abs(left) + np.abs(right))[[1, 2, 4]] == pytest.approx(1.0)
    words = PAIRS.intents(panel).filter(symbol="KO").collect()["reason"]
    assert words[0] == "in no pair formed this quarter"
    assert words[FORMED + 1].startswith("KO/PEP 3."), words[FORMED + 1]
    assert words[FORMED + 1].endswith("on 2024-01-01")


def test_pairs_found_by_search_are_those_named() -> None:
    panel = pair_panel({FORMED + 1: 0.03})
    searched = PairsCointegration(formation=100, hold=1)
    assert searched.intents(panel).collect().equals(PAIRS.intents(panel).collect())


def test_pairs_that_do_not_belong_together_are_left_alone() -> None:
    random = np.random.default_rng(5)
    walks = {name: [(float(p),) for p in np.exp(random.normal(0, 0.02, 200).cumsum())] for name in ("KO", "PEP")}
    panel = panel_of(PAIRS, walks, date(2023, 6, 1))
    assert PAIRS.intents(panel).collect()["target_weight"].abs().sum() == 0.0


def test_symbols_of_a_parameter() -> None:
    assert symbols_of(" SPY,TLT , SPY,") == ["SPY", "TLT"]
    assert symbols_of("") == []
