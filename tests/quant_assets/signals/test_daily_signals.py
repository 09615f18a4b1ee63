"""The table of signals: what each strategy wants, how it changes, and why."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from quant_assets.signals.daily import SIGNAL_SCHEMA, daily_signals
from quant_assets.strategies.base import INTENT_SCHEMA
from resources.errors import ConfigError

DAYS = [datetime(2024, 1, day, 21, tzinfo=UTC) for day in (2, 3, 4)]


def intents(
    weights: list[float], symbol: str = "A", reason: str = "rule", stop_loss: float | None = None
) -> pl.LazyFrame:
    frame = {
        "symbol": [symbol] * 3,
        "ts": DAYS,
        "session": [day.date() for day in DAYS],
        "known_at": DAYS,
        "target_weight": weights,
        "score": [0.01, 0.02, 0.03],
        "confidence": [0.6, 0.6, None],
        "rebalance": [False] * 3,
        "take_profit_fraction": [None] * 3,
        "stop_loss_fraction": [stop_loss if weight else None for weight in weights],
        "reason": [reason] * 3,
    }
    return pl.LazyFrame(frame, schema=INTENT_SCHEMA)


def predictions() -> pl.LazyFrame:
    rows = {
        "symbol": ["A", "A"],
        "session": [day.date() for day in DAYS[:2]],
        "score": [9.0, 9.0],
        "model_version": ["m1", "m2"],
        "reasons": [["momentum +0.3%"], ["momentum +0.4%", "volatility -0.1%"]],
    }
    return pl.LazyFrame(rows)


CHANGES = [
    ([0.0, 0.5, 0.5], ["hold", "buy", "hold"], [0.0, 0.0, 0.5]),
    ([0.5, 0.2, 0.0], ["buy", "sell", "sell"], [0.0, 0.5, 0.2]),
    ([0.5, 0.5 + 1e-13, -0.5], ["buy", "hold", "sell"], [0.0, 0.5, 0.5]),
]


@pytest.mark.parametrize(("weights", "expected", "previous"), CHANGES)
def test_order_intent_follows_the_change_of_the_target(
    weights: list[float], expected: list[str], previous: list[float]
) -> None:
    found = daily_signals({"moving_average_cross": intents(weights)}, None, "d1").collect()
    assert found.schema == SIGNAL_SCHEMA
    assert found["order_intent"].to_list() == expected
    assert found["previous_weight"].to_list() == pytest.approx(previous)


BRACKETED = [
    ([0.0, 0.5, 0.4], ["hold", "buy", "hold"], [None, 0.1, 0.1]),
    ([0.5, 0.6, 0.0], ["buy", "hold", "sell"], [0.1, 0.1, None]),
    ([0.5, -0.5, -0.6], ["buy", "sell", "hold"], [0.1, 0.1, 0.1]),
]


@pytest.mark.parametrize(("weights", "expected", "stops"), BRACKETED)
def test_a_target_with_exits_is_bought_once_and_held_until_it_ends(
    weights: list[float], expected: list[str], stops: list[float | None]
) -> None:
    found = daily_signals({"rsi_reversion": intents(weights, stop_loss=0.1)}, None, "d1").collect()
    assert found["order_intent"].to_list() == expected
    assert found["stop_loss_fraction"].to_list() == stops
    assert found["take_profit_fraction"].to_list() == [None] * 3


def test_a_rule_gives_its_own_reason_and_no_model() -> None:
    found = daily_signals(
        {"moving_average_cross": intents([0, 0, 0], reason="sma 50/200 +3.1%")}, predictions(), "d1"
    ).collect()
    assert found["reasons"].to_list() == [["sma 50/200 +3.1%"]] * 3
    assert found["model_version"].null_count() == 3
    assert found["data_version"].unique().to_list() == ["d1"]
    assert found["score"].to_list() == [0.01, 0.02, 0.03], "the strategy's own score, not the model's"


def test_a_model_adds_its_contributions_and_version() -> None:
    found = daily_signals(
        {"model_score": intents([0, 0, 0], reason="score +0.5%, rank 1")}, predictions(), "d1"
    ).collect()
    assert found["reasons"].to_list() == [
        ["score +0.5%, rank 1", "momentum +0.3%"],
        ["score +0.5%, rank 1", "momentum +0.4%", "volatility -0.1%"],
        ["score +0.5%, rank 1"],
    ]
    assert found["model_version"].to_list() == ["m1", "m2", None]
    assert found["confidence"].to_list() == [0.6, 0.6, None]


def test_strategies_and_symbols_stay_apart_and_sorted() -> None:
    of_rule = pl.concat([intents([0, 0.5, 0.5], "B"), intents([0.5, 0.5, 0.5], "A")])
    found = daily_signals(
        {"moving_average_cross": of_rule, "cross_sectional_momentum": intents([0.1, 0, 0])}, None, "d1"
    )
    keys = found.select("strategy", "symbol", "order_intent").collect().rows()
    rule = "moving_average_cross"
    assert keys == [
        *(("cross_sectional_momentum", "A", intent) for intent in ("buy", "sell", "hold")),
        *((rule, "A", intent) for intent in ("buy", "hold", "hold")),
        *((rule, "B", intent) for intent in ("hold", "buy", "hold")),
    ]


FAULTS = [
    ({}, r"at least one is needed"),
    ({"astrology": intents([0, 0, 0])}, r"'astrology' is not a strategy; use one of"),
    (
        {"model_score": intents([0, 0, 0])},
        r"strategies\.model_score: needs the model's predictions; materialize models/predictions",
    ),
]


@pytest.mark.parametrize(("given", "message"), FAULTS)
def test_what_cannot_be_signalled_is_refused(given: dict[str, pl.LazyFrame], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        daily_signals(given, None, "d1")
