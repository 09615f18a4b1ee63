"""Every strategy's rule as a table, and what must hold for all of them: no future, and no dependence on the window."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.strategies import INTENT_SCHEMA, STRATEGIES, Strategy, create
from quant_assets.strategies.asset_rotation import AssetRotation
from quant_assets.strategies.base import blocks, decisions, monthly, percent, weekly
from quant_assets.strategies.cross_sectional_momentum import CrossSectionalMomentum
from quant_assets.strategies.donchian_breakout import DonchianBreakout
from quant_assets.strategies.model_score import ModelScore
from quant_assets.strategies.moving_average_cross import MovingAverageCross
from quant_assets.strategies.pairs_cointegration import PairsCointegration
from quant_assets.strategies.risk_parity import RiskParity
from quant_assets.strategies.rsi_reversion import RsiReversion
from quant_assets.strategies.short_term_reversal import ShortTermReversal
from quant_assets.strategies.triple_screen import TripleScreen
from resources.config import StrategySettings
from resources.errors import ConfigError

MONDAY = date(2024, 1, 1)


def weekdays(first: date, count: int) -> list[date]:
    days = (first + timedelta(n) for n in range(2 * count + 7))
    return [day for day in days if day.weekday() < 5][:count]


def feature_frame(rows: list[dict[str, object]], columns: tuple[str, ...]) -> pl.LazyFrame:
    """A panel from symbol, session and features; stamped like New York, tradable unless said otherwise."""
    schema = {"symbol": pl.String, "session": pl.Date, "tradable": pl.Boolean, **dict.fromkeys(columns, pl.Float64)}
    stamp = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return (
        pl.LazyFrame(rows, schema=schema)
        .with_columns(pl.col("tradable").fill_null(True))
        .with_columns(ts=stamp + pl.duration(hours=14, minutes=30), known_at=stamp + pl.duration(hours=21))
    )


DRAWN = {  # features that are no small numbers around 0: lowest and highest
    "rsi": (0, 100),
    "breakout": (-0.5, 1.5),
    "adj": (50, 60),
    "volatility": (0.01, 0.04),
    "average": (-0.2, 1),
}


def drawn(name: str, noise: np.random.Generator) -> float:
    bounds = DRAWN.get(name.partition("_")[0])
    return round(float(noise.uniform(*bounds) if bounds else noise.normal(0, 0.1)), 2)


def random_panel(strategy: Strategy, seed: int, sessions: int) -> pl.LazyFrame:
    """Noise with everything that happens: late listings, sessions without a row, halts, warm-up, ties."""
    noise = np.random.default_rng(seed)
    days = [day for day in weekdays(MONDAY, sessions) if noise.random() > 0.05]
    rows: list[dict[str, object]] = []
    for number in range(6):
        listed = int(noise.integers(0, 20)) if number > 2 else 0
        for day in days[listed:]:
            if noise.random() < 0.05:
                continue
            row: dict[str, object] = {name: drawn(name, noise) for name in strategy.required_features}
            if "confidence" in row:
                row["confidence"] = float(noise.random())
            if noise.random() < (0.02 if isinstance(strategy, PairsCointegration) else 0.1):
                row[strategy.required_features[0]] = None
            rows.append({"symbol": f"S{number}", "session": day, "tradable": bool(noise.random() > 0.1), **row})
    return feature_frame(rows, strategy.required_features)


ALL = [
    MovingAverageCross(),
    CrossSectionalMomentum(hold=2),
    CrossSectionalMomentum(hold=2, skip=0, rebalance="weekly"),
    ModelScore(hold=2),
    ModelScore(hold=3, rebalance=1, buffer=2),
    ModelScore(hold=2, rebalance=7, buffer=0),
    DonchianBreakout(patience=7),
    RsiReversion(slots=2, patience=6, oversold=20),
    ShortTermReversal(hold=2, sides="long_short"),
    PairsCointegration(formation=20, hold=2, significance="10%", enter=1.0),
    PairsCointegration(formation=20, pairs="S0 S1, S1 S2, S0 S2", significance="10%", enter=0.8),
    RiskParity(target_volatility=0.2),
    TripleScreen(weeks=3, patience=8),
    AssetRotation(symbols="S1, S2, S4", refuge="S0"),
    AssetRotation(hold=1),
]


@pytest.mark.parametrize("strategy", ALL, ids=repr)
@given(seed=st.integers(0, 10_000), cut=st.integers(5, 90))
@settings(max_examples=6, deadline=None)
def test_cutting_the_future_leaves_intents_unchanged(strategy: Strategy, seed: int, cut: int) -> None:
    panel = random_panel(strategy, seed, strategy.history + 80)
    until = MONDAY + timedelta(strategy.history * 7 // 5 + cut)
    whole = strategy.intents(panel).filter(pl.col("session") <= until).collect()
    assert_frame_equal(strategy.intents(panel.filter(pl.col("session") <= until)).collect(), whole)


@pytest.mark.parametrize("strategy", ALL, ids=repr)
@given(seed=st.integers(0, 10_000), back=st.integers(0, 30))
@settings(max_examples=6, deadline=None)
def test_a_window_says_what_the_whole_history_says(strategy: Strategy, seed: int, back: int) -> None:
    panel = random_panel(strategy, seed, strategy.history + 65)
    sessions = panel.select("session").unique().sort("session").collect()["session"].to_list()
    wanted = sessions[-1 - back]
    place = sessions.index(wanted)
    window = sessions[max(place - strategy.history, 0) : place + 1]
    assert len(window) == strategy.history + 1
    of_window = strategy.intents(panel.filter(pl.col("session").is_in(window))).filter(pl.col("session") == wanted)
    of_history = strategy.intents(panel).filter(pl.col("session") == wanted)
    assert_frame_equal(of_window.collect(), of_history.collect())


@pytest.mark.parametrize("strategy", ALL, ids=repr)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_intents_have_one_sorted_row_for_each_tradable_symbol_and_session(strategy: Strategy, seed: int) -> None:
    panel = random_panel(strategy, seed, strategy.history + 40)
    found = strategy.intents(panel).collect()
    assert found.schema == INTENT_SCHEMA
    keys = ["symbol", "ts", "session", "known_at"]
    assert_frame_equal(found.select(keys), panel.filter(pl.col("tradable")).select(keys).sort("symbol", "ts").collect())
    assert found["target_weight"].is_between(-1.0, 1.0).all()
    assert not (found["score"] < -1).any(), "what the suite of signals refuses"
    assert found["reason"].null_count() == 0
    gross = found.group_by("session").agg(pl.col("target_weight").abs().sum())["target_weight"]
    assert (gross <= 1 + 1e-12).all()


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_the_made_up_panels_are_traded(strategy: Strategy) -> None:
    found = strategy.intents(random_panel(strategy, 3, strategy.history + 65)).collect()
    assert found.filter(pl.col("target_weight") != 0).height > 0.005 * found.height, (
        "the proofs above would prove nothing"
    )


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_shuffled_rows_give_the_same_intents(strategy: Strategy) -> None:
    panel = random_panel(strategy, 5, strategy.history + 40)
    shuffled = panel.collect().sample(fraction=1.0, shuffle=True, seed=1).lazy()
    assert_frame_equal(strategy.intents(shuffled).collect(), strategy.intents(panel).collect())


REBALANCES = [  # period, sessions, those on which a decision is taken (never the first of a frame)
    (weekly(), ["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-16"], ["2024-01-08", "2024-01-16"]),
    (monthly(), ["2024-01-30", "2024-01-31", "2024-02-01", "2024-02-02", "2024-03-04"], ["2024-02-01", "2024-03-04"]),
    (blocks(5), ["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-16"], ["2024-01-08", "2024-01-16"]),
    (blocks(1), ["2024-01-04", "2024-01-05", "2024-01-08"], ["2024-01-05", "2024-01-08"]),
    (blocks(1), ["2024-01-05", "2024-01-06", "2024-01-07", "2024-01-08"], ["2024-01-08"]),
    (blocks(2), ["2024-01-08", "2024-01-09", "2024-01-10", "2024-01-11", "2024-01-12"], ["2024-01-09", "2024-01-11"]),
]


@pytest.mark.parametrize(("period", "sessions", "expected"), REBALANCES)
def test_rebalance_days_follow_the_calendar(period: pl.Expr, sessions: list[str], expected: list[str]) -> None:
    frame = pl.LazyFrame({"session": [date.fromisoformat(day) for day in sessions]})
    found = decisions(frame, period).collect()
    assert [str(day) for day in found.filter("rebalance")["session"]] == expected
    assert found["decided"][0] is None
    assert str(found["decided"][-1]) == expected[-1]


def weights(strategy: Strategy, panel: pl.LazyFrame, day: date) -> dict[str, float]:
    frame = strategy.intents(panel).filter(pl.col("session") == day).collect()
    return dict(zip(frame["symbol"], frame["target_weight"], strict=True))


CROSSES = [  # close/fast - 1, close/slow - 1: weight of one name among two
    ("fast above slow", 0.02, 0.05, 0.5),
    ("fast below slow", 0.05, 0.02, 0.0),
    ("equal", 0.03, 0.03, 0.0),
    ("falling, fast above", -0.05, -0.02, 0.5),
    ("warming up", 0.05, None, 0.0),
]


@pytest.mark.parametrize(("name", "fast", "slow", "expected"), CROSSES)
def test_moving_average_cross(name: str, fast: float, slow: float | None, expected: float) -> None:
    strategy = MovingAverageCross()
    days = weekdays(date(2024, 1, 30), 4)
    columns = strategy.required_features
    rows: list[dict[str, object]] = [
        {"symbol": symbol, "session": day, columns[0]: fast, columns[1]: slow if symbol == "A" else None}
        for symbol in ("A", "B")
        for day in days
    ]
    panel = feature_frame(rows, columns)
    assert weights(strategy, panel, days[-1]) == {"A": expected, "B": 0.0}
    reason = strategy.intents(panel).filter(pl.col("symbol") == "A").last().collect()["reason"][0]
    assert reason == (
        "sma 200 is warming up"
        if slow is None
        else f"sma 50/200 {(1 + slow) / (1 + fast) - 1:+.1%}".replace("+0.0%", "0.0%")
    )


def test_names_are_counted_once_a_month_unless_there_are_more() -> None:
    strategy = MovingAverageCross()
    january, february, third, fourth = weekdays(date(2024, 1, 31), 4)
    columns = strategy.required_features
    present = {january: "AB", february: "AB", third: "A", fourth: "ABC"}
    rows: list[dict[str, object]] = [
        {"symbol": symbol, "session": day, columns[0]: 0.0, columns[1]: 0.1}
        for day, symbols in present.items()
        for symbol in symbols
    ]
    panel = feature_frame(rows, columns)
    assert weights(strategy, panel, january) == {"A": 0.0, "B": 0.0}, "no first session of a month seen yet"
    assert weights(strategy, panel, february) == {"A": 0.5, "B": 0.5}
    assert weights(strategy, panel, third) == {"A": 0.5}, "B's halt does not resize A"
    assert weights(strategy, panel, fourth) == pytest.approx({"A": 1 / 3, "B": 1 / 3, "C": 1 / 3})


def test_momentum_leaves_out_the_latest_month_and_holds_between_rankings() -> None:
    strategy = CrossSectionalMomentum(lookback=126, skip=21, hold=1, rebalance="weekly")
    friday, monday, tuesday = date(2024, 1, 5), date(2024, 1, 8), date(2024, 1, 9)
    # A leads over 126 sessions only because of its latest month; on Tuesday the order turns, which must wait.
    returns = {monday: {"A": (0.30, 0.25), "B": (0.20, 0.00)}, tuesday: {"A": (0.90, 0.00), "B": (0.10, 0.00)}}
    returns[friday] = returns[monday]
    long, short = strategy.required_features
    rows: list[dict[str, object]] = [
        {"symbol": symbol, "session": day, long: values[0], short: values[1]}
        for day, of_day in returns.items()
        for symbol, values in of_day.items()
    ]
    panel = feature_frame(rows, (long, short))
    assert weights(strategy, panel, friday) == {"A": 0.0, "B": 0.0}, "no ranking day seen yet"
    assert weights(strategy, panel, monday) == {"A": 0.0, "B": 1.0}
    assert weights(strategy, panel, tuesday) == {"A": 0.0, "B": 1.0}
    reasons = strategy.intents(panel).filter(pl.col("session") == tuesday).collect()["reason"].to_list()
    assert reasons == ["momentum +4.0%, rank 2 on 2024-01-08", "momentum +20.0%, rank 1 on 2024-01-08"]


def test_momentum_of_equal_returns_goes_by_symbol() -> None:
    strategy = CrossSectionalMomentum(lookback=126, skip=0, hold=1, rebalance="weekly")
    days = [date(2024, 1, 5), date(2024, 1, 8)]
    rows: list[dict[str, object]] = [
        {"symbol": symbol, "session": day, strategy.required_features[0]: 0.1} for symbol in ("B", "A") for day in days
    ]
    assert weights(strategy, feature_frame(rows, strategy.required_features), days[-1]) == {"A": 1.0, "B": 0.0}


SURE = 1.0

SCORES = [  # what, parameters, scores at the decision before, scores now with confidence: weights
    (
        "the best by score, scaled by confidence",
        {"hold": 2},
        {},
        {"A": (3, 0.6), "B": (2, 0.5), "C": (1, 0.9)},
        {"A": 0.3, "B": 0.25, "C": 0},
    ),
    ("only positive", {"hold": 2}, {}, {"A": (3, SURE), "B": (-1, SURE), "C": (0, SURE)}, {"A": 0.5, "B": 0, "C": 0}),
    ("no prediction, no weight", {"hold": 2}, {}, {"A": (None, None), "B": (1, SURE)}, {"A": 0, "B": 0.5}),
    ("no confidence, no weight", {"hold": 1}, {}, {"A": (2, None), "B": (1, SURE)}, {"A": 0, "B": 0}),
    ("confidence beyond one is one", {"hold": 1}, {}, {"A": (2, 1.7)}, {"A": 1}),
    ("capped", {"hold": 1, "max_weight": 0.3}, {}, {"A": (2, SURE)}, {"A": 0.3}),
    (
        "held and beaten by one place stays",
        {"hold": 1, "buffer": 1},
        {"A": 9, "B": 1},
        {"A": (1, SURE), "B": (2, SURE)},
        {"A": 1, "B": 0},
    ),
    (
        "held and beaten by two places goes",
        {"hold": 1, "buffer": 1},
        {"A": 9, "B": 1, "C": 2},
        {"A": (1, SURE), "B": (3, SURE), "C": (2, SURE)},
        {"A": 0, "B": 1, "C": 0},
    ),
    (
        "no buffer, no mercy",
        {"hold": 1, "buffer": 0},
        {"A": 9, "B": 1},
        {"A": (1, SURE), "B": (2, SURE)},
        {"A": 0, "B": 1},
    ),
    (
        "held and no longer positive goes",
        {"hold": 1, "buffer": 5},
        {"A": 9, "B": 1},
        {"A": (-1, SURE), "B": (2, SURE)},
        {"A": 0, "B": 1},
    ),
]


@pytest.mark.parametrize(("what", "parameters", "before", "now", "expected"), SCORES, ids=[case[0] for case in SCORES])
def test_model_score(
    what: str,
    parameters: dict[str, float],
    before: dict[str, float],
    now: dict[str, tuple[float, float]],
    expected: dict[str, float],
) -> None:
    friday, monday, next_monday = date(2023, 12, 29), date(2024, 1, 8), date(2024, 1, 15)
    rows: list[dict[str, object]] = [{"symbol": "A", "session": friday, "score": None, "confidence": None}]
    rows += [
        {"symbol": symbol, "session": monday, "score": float(value), "confidence": 1.0}
        for symbol, value in before.items()
    ]
    rows += [
        {"symbol": symbol, "session": next_monday, "score": pair[0], "confidence": pair[1]}
        for symbol, pair in now.items()
    ]
    strategy = create(StrategySettings(name="model_score", parameters=parameters))
    assert weights(strategy, feature_frame(rows, ("score", "confidence")), next_monday) == pytest.approx(expected)


def test_model_score_says_why() -> None:
    days = [date(2024, 1, 5), date(2024, 1, 8)]
    scores = {"A": 0.0052, "B": -0.001, "C": None}
    rows: list[dict[str, object]] = [
        {"symbol": symbol, "session": day, "score": score, "confidence": 0.5}
        for symbol, score in scores.items()
        for day in days
    ]
    found = (
        ModelScore(hold=1).intents(feature_frame(rows, ("score", "confidence"))).filter(pl.col("session") == days[-1])
    )
    assert found.collect()["reason"].to_list() == [
        "score +0.5%, rank 1 on 2024-01-08",
        "score -0.1%, not positive on 2024-01-08",
        "no prediction on 2024-01-08",
    ]


def test_percent_writes_signs() -> None:
    frame = pl.DataFrame({"value": [0.0312, -0.0312, 0.0, 0.0004, -0.0004, 12.5]}).select(percent(pl.col("value")))
    assert frame.to_series().to_list() == ["+3.1%", "-3.1%", "0.0%", "0.0%", "0.0%", "+1250.0%"]


def test_missing_features_are_named() -> None:
    panel = feature_frame([{"symbol": "A", "session": MONDAY}], ())
    with pytest.raises(
        ConfigError, match=r"model_score: the features lack \['score', 'confidence'\].*Join the predictions"
    ):
        ModelScore().intents(panel)


CROSS, MOMENTUM, MODEL = "moving_average_cross", "cross_sectional_momentum", "model_score"

FAULTS = [
    (
        "unknown strategy",
        "astrology",
        {},
        r"'astrology' is not a strategy; use one of \['asset_rotation', 'cross_sectional_momentum'",
    ),
    ("unknown parameter", CROSS, {"fats": 5}, r"parameters\.fats: not a parameter.*fast: 50, slow: 200"),
    ("out of bounds", MODEL, {"hold": 0}, r"model_score\.parameters\.hold: .*equal to 1; for example hold: 10"),
    ("wrong type", MODEL, {"hold": "two"}, r"parameters\.hold: .*integer; for example hold: 10"),
    ("a fraction of a name", MODEL, {"hold": 2.5}, r"parameters\.hold: .*; for example hold: 10"),
    ("wrong word", MOMENTUM, {"rebalance": "daily"}, r"parameters\.rebalance: .*'weekly' or 'monthly'"),
    ("fast not below slow", CROSS, {"fast": 200, "slow": 50}, r"fast 200 must be smaller than slow 50"),
    ("skip not below lookback", MOMENTUM, {"lookback": 21, "skip": 21}, r"skip 21 must be smaller"),
    ("exit above entry", "donchian_breakout", {"entry": 20, "exit": 55}, r"exit 55 must not be above entry 20"),
    ("no such channel", "donchian_breakout", {"entry": 56}, r"entry 56: .*use one of \[20, 55\]"),
    ("bought above sold", "rsi_reversion", {"oversold": 70}, r"oversold 70.0 must be smaller than recovered 65.0"),
    ("no such rsi", "rsi_reversion", {"window": 3}, r"window 3: .*use one of \[2, 7, 14\]"),
    (
        "a stop below nothing",
        "rsi_reversion",
        {"stop_loss": 1.5},
        r"stop_loss: .*less than 1; for example stop_loss: 0.08",
    ),
    ("pullback above recovered", "triple_screen", {"pullback": 80}, r"pullback 80.0 must be smaller"),
    ("leverage", "risk_parity", {"max_gross": 2}, r"max_gross: .*less than or equal to 1"),
    ("one leg", "pairs_cointegration", {"pairs": "KO PEP, V"}, r"pairs 'V' is not two symbols; for example"),
    ("stop inside enter", "pairs_cointegration", {"stop": 1.0}, r"leave 0.5, enter 2.0 and stop 1.0 must rise"),
    ("refuge among assets", "asset_rotation", {"symbols": "SPY, TLT", "refuge": "TLT"}, r"refuge TLT must not be one"),
    ("more than there are", "asset_rotation", {"symbols": "SPY, TLT", "hold": 3}, r"hold 3 is more than the 2 symbols"),
    ("average not in the catalogue", CROSS, {"fast": 51}, r"fast 51: .* has no .*; use one of \[.*50.*200"),
    ("return not in the catalogue", MOMENTUM, {"lookback": 127}, r"lookback 127: .*use one of \[.*126"),
]


@pytest.mark.parametrize(("what", "name", "parameters", "message"), FAULTS, ids=[case[0] for case in FAULTS])
def test_a_wrong_configuration_is_refused(
    what: str, name: str, parameters: dict[str, float | str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        create(StrategySettings(name=name, parameters=parameters))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_works_with_its_defaults(name: str) -> None:
    strategy = create(StrategySettings(name=name))
    assert strategy.name == name
    assert strategy.required_features
    assert strategy.needs_predictions == ("score" in strategy.required_features)
