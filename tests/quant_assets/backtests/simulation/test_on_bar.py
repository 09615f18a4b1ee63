"""Strategies that see their own fills, as compiled functions called after each bar."""

from __future__ import annotations

import math

import polars as pl
import pytest

from quant_assets.backtests import OnBar, run
from resources.errors import ConfigError
from resources.exchange.reacting import average_price, exits, feature, fresh, position, price, submit, target
from resources.exchange.words import LIMIT
from tests.quant_assets.backtests.worlds import cleaned, sent, sized
from tests.resources.exchange.cases import account, bar, flat, opens


def test_an_order_fills_at_the_open_after_the_bar_that_made_it():
    def buy_once(view):
        if position(view, 0) == 0.0 and view.memory[0, 0] == 0.0:
            view.memory[0, 0] = 1.0
            submit(view, 0, 1, 10.0)

    bars = cleaned({"X": [flat(100), flat(101), flat(102)]})
    result = run(bars, OnBar(buy_once, memory=1, tag="once"), account(cash=10_000))
    assert result.fills.select("ts", "side", "quantity", "price", "tag").rows() == [(opens(1), "buy", 10, 101, "once")]
    assert result.orders["state"].to_list() == ["filled"]


def test_it_sees_its_own_fills():
    def pyramid(view):
        """Add a unit whenever the price is 5 above what the position cost, three at most."""
        held = position(view, 0)
        if held == 0.0 or (held < 3.0 and price(view, 0) >= average_price(view, 0) + 5.0):
            submit(view, 0, 1, 1.0)

    prices = [100, 100, 104, 106, 107, 120, 130]
    result = run(cleaned({"X": [flat(value) for value in prices]}), OnBar(pyramid), account(cash=10_000))
    assert result.fills["price"].to_list() == [100, 107, 130]


def test_it_reads_features_of_the_bar_that_ended_and_nothing_later():
    def follow(view):
        for symbol in range(view.symbols.size):
            if fresh(view, symbol) and not math.isnan(feature(view, symbol, 1)):
                target(view, symbol, feature(view, symbol, 1))

    bars = cleaned({"X": [flat(100)] * 4, "Y": [None, flat(50), flat(50), flat(50)]})
    features = bars.select("ts", "symbol", other=pl.lit(9.0)).with_columns(
        weight=pl.when(pl.col("ts") == opens(1), symbol="X").then(0.5).when(pl.col("ts") == opens(2)).then(0.25)
    )
    result = run(bars, OnBar(follow, features, ["other", "weight"]), account(cash=10_000))
    filled = result.fills.select("ts", "symbol", "side", "quantity").rows()
    assert filled == [(opens(2), "X", "buy", 50), (opens(3), "X", "sell", 25), (opens(3), "Y", "buy", 50)]


def test_its_brackets_and_limits_obey_the_rules():
    def bracketed(view):
        if view.memory[0, 0] == 0.0:
            view.memory[0, 0] = 1.0
            order = submit(view, 0, 1, 10.0)
            order.kind, order.limit = LIMIT, price(view, 0) * view.parameters[0]
            exits(view, 110.0, 90.0)

    bars = cleaned({"X": [flat(100), bar(100, 101, 98, 100), bar(100, 111, 89, 100), flat(100)]})
    result = run(bars, OnBar(bracketed, parameters=[0.99], memory=1), account(cash=10_000))
    assert result.fills.select("side", "price", "reason", "ambiguous").rows() == [
        ("buy", 99, "limit", False),
        ("sell", 90, "stop", True),
    ]
    assert result.orders["state"].to_list() == ["filled", "cancelled", "filled"]


def test_the_same_orders_as_a_frame_give_the_same_fills():
    def each_bar(view):
        submit(view, 0, 1, 1.0)

    bars = cleaned({"X": [flat(100 + number) for number in range(200)]})
    orders = sent(*[sized(number, "X", "buy", 1) for number in range(200)])
    seen, told = (run(bars, wanted, account(cash=1e6)) for wanted in (OnBar(each_bar), orders))
    assert seen.fills.drop("order_id").equals(told.fills.drop("order_id"))
    assert seen.equity.equals(told.equity)


def test_features_that_are_missing_are_named():
    bars = cleaned({"X": [flat(100)] * 3})
    with pytest.raises(ConfigError, match=r"lack \['momentum'\]"):
        run(bars, OnBar(lambda view: None, bars.select("ts", "symbol"), ["momentum"]), account())
