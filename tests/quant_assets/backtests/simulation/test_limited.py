"""Limits inside a backtest: what they see of the account, what falls with a refused order, and that wide ones are none.

That each limit binds, and as it does in a paper session: tests/quant_assets/live/test_limits_alike.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quant_assets.backtests import BacktestResult, OnBar, run
from quant_assets.risk.limits import check
from resources.calendars import UTC_MICROS
from resources.config import BacktestSettings, LimitSettings
from resources.errors import ConfigError
from resources.exchange import Bar
from tests.quant_assets.backtests.engine.test_engine_properties import HISTORIES, TARGETS, TERMS, frames, weighted
from tests.quant_assets.backtests.worlds import cleaned, closes, sent, sized, target
from tests.resources.exchange.cases import account, flat, opens
from tests.resources.exchange.test_exchange_properties import SYMBOLS, bars, worlds

FREE = account(cash=10_000, max_gross=10)
LOOSE = LimitSettings(
    gross=10, net=10, single_name=10, order_notional=10, orders_per_session=10_000, drawdown_stop=1,
    leverage=100, turnover=100,
)  # fmt: skip


def limited(config: BacktestSettings = FREE, **bounds: Any) -> BacktestSettings:
    """The account with limits of which nothing binds but what is named."""
    return config.model_copy(update={"limits": LOOSE.model_copy(update=bounds)})


def refused(result: BacktestResult) -> dict[str, str]:
    """Reason by id of the orders that the limits refused, and of those that fell with them."""
    spoken = result.orders.filter(pl.col("reason").str.contains("limit |waited for"))
    return dict(spoken.select("order_id", "reason").iter_rows())


# ---- limits that are wide change nothing

EVERY_SHARE = ("gross", "net", "single_name", "order_notional", "leverage", "turnover", "drawdown_stop")
HUGE = LOOSE.model_copy(update=dict.fromkeys(EVERY_SHARE, 1e12))
FEW = settings(max_examples=25, deadline=None)


def same(first: BacktestResult, second: BacktestResult) -> None:
    for name in ("equity", "fills", "positions", "orders"):
        assert getattr(first, name).equals(getattr(second, name))


@FEW
@given(worlds(actions=True).filter(lambda world: world.orders and world.terms.cash > 10_000))
def test_wide_limits_leave_orders_of_every_kind_alone(world):
    history, orders = frames(world)
    later = orders.filter(pl.col("ts") >= closes(0))  # before its first close an order cannot be judged
    assume(later.height)
    same(run(history, later, world.terms), run(history, later, world.terms.model_copy(update={"limits": HUGE})))


@FEW
@given(HISTORIES, TARGETS)
def test_wide_limits_leave_targets_alone(history, rows):
    whole = cleaned({symbol: [here[symbol] for here in history] for symbol in SYMBOLS})
    same(run(whole, weighted(rows), TERMS), run(whole, weighted(rows), TERMS.model_copy(update={"limits": HUGE})))


WITHOUT_ACTIONS = st.lists(st.fixed_dictionaries({name: bars() for name in SYMBOLS}), min_size=6, max_size=6)


@FEW
@given(WITHOUT_ACTIONS, TARGETS, st.booleans())
def test_targets_are_judged_as_the_units_that_the_exchange_makes_of_them(history, rows, foreign):
    judged: dict[str, float] = {}

    def note(orders, *account, **more):
        judged.update({order.id: order.quantity for order in orders})
        return check(orders, *account, **more)

    kinds = {"asset_class": ["equity", "future"], "multiplier": [1.0, 5.0], "currency": ["EUR", "EUR"]}
    instruments = pl.DataFrame({"symbol": list(SYMBOLS), **kinds}) if foreign else None
    steps = pl.DataFrame({"ts": [closes(number) + timedelta(hours=1) for number in range(-1, 6)]})
    rates = steps.with_columns(currency=pl.lit("EUR"), rate=1.0 + pl.int_range(pl.len()) / 10) if foreign else None
    whole = cleaned({symbol: [here[symbol] for here in history] for symbol in SYMBOLS})
    orders = weighted(rows).with_columns(pl.col("ts") + pl.duration(hours=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quant_assets.backtests.simulation.limited.check", note)
        result = run(whole, orders, TERMS.model_copy(update={"limits": HUGE}), instruments, rates=rates)
    last = result.orders.filter(pl.col("order_id") == pl.col("order_id").last().over("ts", "symbol"))
    assert judged == dict(last.filter(pl.col("quantity") > 0).select("order_id", "quantity").iter_rows())


# ---- what the limits see

FLAT = {name: [flat(100)] * 5 for name in ("X", "Y", "Z")}
EXITS = {"take_profit": 120.0, "stop_loss": 90.0}
SHORT_EXITS = {"take_profit": 80.0, "stop_loss": 120.0}
LATER = closes(0) + timedelta(minutes=1)


@dataclass(frozen=True)
class Case:
    name: str
    orders: list[dict[str, Any]]
    refused: dict[str, str]
    """Reason by order id."""
    limits: dict[str, Any] = field(default_factory=dict)
    bars: dict[str, Any] = field(default_factory=lambda: FLAT)


def buy(ts: int | datetime, name: str, quantity: float, **more: Any) -> dict[str, Any]:
    return sized(ts, more.pop("symbol", "X"), more.pop("side", "buy"), quantity, order_id=name, **more)


def more_of_it(quantity: float) -> dict[str, Any]:
    """A replace of order a after it was sent, and before it is received."""
    return {"ts": LATER, "symbol": "X", "action": "replace", "order_id": "a", "quantity": quantity}


LATER_ON = closes(1) + timedelta(minutes=1)
ROTATION = [buy(0, "a", 40), buy(1, "b", 40, side="sell"), buy(1, "c", 40, symbol="Y")]
TARGETED = [target(1, "X", 0.0, order_id="b"), target(1, "Y", 0.4, order_id="c")]
"""Out of X, which is held, and into Y: of half the equity together only because X is sold."""

CASES = [
    # ---- what an order is worth: equity 10,000, every price 100
    Case("units", [buy(0, "a", 50), buy(1, "b", 51)], {"b": "limit order_notional: 0.51 exceeds 0.5"},
         {"order_notional": 0.5}),
    Case("money", [{"ts": 0, "symbol": "X", "side": "sell", "notional": 5_100.0, "order_id": "a"}],
         {"a": "limit order_notional: 0.51 exceeds 0.5"}, {"order_notional": 0.5}),
    Case("money in whole lots", [{"ts": 0, "symbol": "X", "side": "buy", "notional": 5_099.0, "order_id": "a"}],
         {}, {"order_notional": 0.5}),
    Case("a target counts what is held", [target(0, "X", 0.5, order_id="a"), target(1, "X", 0.9, order_id="b")],
         {}, {"order_notional": 0.5}),
    Case("a target to be short", [target(0, "X", -0.6, order_id="a")],
         {"a": "limit order_notional: 0.6 exceeds 0.5"}, {"order_notional": 0.5}),
    Case("a target in units", [{"ts": 0, "symbol": "X", "target_position": 60.0, "order_id": "a"}],
         {"a": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    # ---- the close that whoever submits can know, and no later price
    Case("the last close, not the open that it fills at", [target(0, "X", 0.5, order_id="a")], {},
         {"single_name": 0.5}, {"X": [flat(100), flat(130), flat(130)]}),
    Case("equity of the last close", [buy(0, "a", 50), buy(1, "b", 50, symbol="Y")],
         {"b": "limit order_notional: 0.555556 exceeds 0.5"}, {"order_notional": 0.5},
         {"X": [flat(100), Bar(100, 100, 80, 80, 1e6), flat(80)], "Y": [flat(100)] * 3}),
    # ---- the session's orders
    Case("a count for each session", [buy(0, "a", 1), buy(0, "b", 1), buy(1, "c", 1), buy(1, "d", 1)],
         {"b": "limit orders_per_session: 2 exceeds 1", "d": "limit orders_per_session: 2 exceeds 1"},
         {"orders_per_session": 1}),
    Case("turnover of a session, sales included", [buy(0, "a", 40), buy(1, "b", 40, side="sell"),
         buy(1, "c", 20, symbol="Y"), buy(1, "d", 1, symbol="Z"), buy(2, "e", 40)],
         {"d": "limit turnover: 0.61 exceeds 0.6"}, {"turnover": 0.6}),
    # ---- what rests
    Case("a limit that rests takes room", [buy(0, "a", 40, type="limit", limit_price=90.0), buy(1, "b", 20)],
         {"b": "limit gross: 0.6 exceeds 0.5"}, {"gross": 0.5}),
    Case("what rests on the other side takes none", [buy(0, "a", 40, type="limit", limit_price=90.0),
         buy(1, "b", 40, side="sell")], {}, {"gross": 0.5}),
    Case("what was cancelled takes none", [buy(0, "a", 40, type="limit", limit_price=90.0),
         buy(1, "a", 1, action="cancel"), buy(2, "b", 20)], {}, {"gross": 0.5}),
    Case("a reduce-only order that rests takes none", [buy(0, "x", 40), buy(1, "a", 40, side="sell", type="stop",
         stop_price=90.0, reduce_only=True), buy(2, "b", 10)], {}, {"gross": 0.5}),
    Case("a target replaces what rests of the one before", [target(0, "X", 0.4, order_id="a", type="limit",
         limit_price=90.0), target(1, "X", 0.5, order_id="b")], {}, {"gross": 0.5}),
    Case("a target does not replace other orders", [buy(0, "a", 40, type="limit", limit_price=90.0),
         target(1, "X", 0.5, order_id="b")], {"b": "limit gross: 0.9 exceeds 0.5"}, {"gross": 0.5}),
    Case("a target that is refused leaves the one before it, of an earlier instant", [target(0, "X", 0.5, order_id="a"),
         {**target(0, "Y", 0.5, order_id="b"), "ts": LATER}, {**target(0, "X", 0.9, order_id="c"), "ts": LATER}],
         {"b": "limit gross: 1 exceeds 0.6", "c": "limit single_name: 0.9 exceeds 0.6"},
         {"single_name": 0.6, "gross": 0.6}),
    Case("one that rests since an earlier session", [target(0, "X", 0.5, order_id="a", type="limit", limit_price=90.0),
         target(1, "Y", 0.5, order_id="b"), target(1, "X", 0.9, order_id="c")],
         {"b": "limit gross: 1 exceeds 0.6", "c": "limit single_name: 0.9 exceeds 0.6"},
         {"single_name": 0.6, "gross": 0.6}),
    Case("and takes its room from a target of another name only", [target(0, "X", 0.5, order_id="a"),
         {**target(0, "Y", 0.1, order_id="b"), "ts": LATER}, {**target(0, "X", 0.9, order_id="c"), "ts": LATER}],
         {"c": "limit single_name: 0.9 exceeds 0.6"}, {"single_name": 0.6, "gross": 0.6}),
    # ---- exits that rest may fill before a market order or after it
    Case("a reversal beside an exit", [target(0, "X", -0.5, order_id="a", **SHORT_EXITS),
         target(2, "X", 0.5, order_id="b")], {"b": "limit single_name: 1 exceeds 0.6"}, {"single_name": 0.6}),
    Case("a reversal that is small enough whichever fills first", [target(0, "X", -0.2, order_id="a", **SHORT_EXITS),
         target(2, "X", 0.4, order_id="b")], {}, {"single_name": 0.6}),
    Case("a market order to be flat beside an exit may open as much again", [buy(0, "a", 40, **EXITS),
         target(1, "X", 0.0, order_id="b"), target(1, "Y", 0.4, order_id="c")],
         {"c": "limit gross: 0.8 exceeds 0.5"}, {"gross": 0.5}),
    # ---- several sells beside one long position, of a bound of half
    Case("sells that rest together sell more than is held", [buy(0, "a", 40),
         *(buy(day, f"s{day}", 40, side="sell", type="limit", limit_price=120.0) for day in (1, 2, 3))],
         {"s3": "limit single_name: 0.8 exceeds 0.5"}, {"single_name": 0.5}),
    Case("a market sell beside one that rests", [buy(0, "a", 40), buy(1, "b", 40, side="sell", type="limit",
         limit_price=130.0), buy(2, "c", 40, side="sell")], {"c": "limit single_name: 0.442379 exceeds 0.42"},
         {"single_name": 0.42}, {"X": [flat(100), flat(100), Bar(100, 119, 100, 119, 1e6), flat(119), flat(119)]}),
    Case("a replace adds more than is held", [buy(0, "a", 40), buy(1, "b", 40, side="sell", type="limit",
         limit_price=120.0), buy(2, "b", 80, side="sell", action="replace"),
         buy(3, "b", 120, side="sell", action="replace")],
         {"b": "the history is over; a replace was refused: limit single_name: 0.8 exceeds 0.5"},
         {"single_name": 0.5}),
    Case("two replaces at one instant", [buy(0, "a", 40), buy(1, "b", 40, side="sell", type="limit",
         limit_price=120.0), buy(2, "b", 80, side="sell", action="replace"),
         buy(2, "b", 120, side="sell", action="replace")],
         {"b": "the history is over; a replace was refused: limit single_name: 1.2 exceeds 0.5"},
         {"single_name": 0.5}),
    Case("buys that rest beside a short", [buy(0, "a", 40, side="sell"),
         *(buy(day, f"s{day}", 40, type="limit", limit_price=90.0) for day in (1, 2, 3))],
         {"s3": "limit single_name: 0.8 exceeds 0.5"}, {"single_name": 0.5}),
    Case("parts of what is held", [buy(0, "a", 40), *(buy(day, f"s{day}", 20, side="sell", type="limit",
         limit_price=120.0) for day in (1, 2))], {}, {"order_notional": 0.45, "orders_per_session": 1}),
    Case("what is cancelled at the same instant", [buy(0, "a", 40), buy(1, "b", 40, side="sell", type="stop",
         stop_price=50.0), buy(2, "b", 1, side="sell", action="cancel"), buy(2, "c", 40, side="sell")], {},
         {"orders_per_session": 1, "order_notional": 0.4}),
    Case("of alternatives one", [buy(0, "a", 40), *(buy(1, name, 40, side="sell", oco_group="g", **kind)
         for name, kind in (("up", {"type": "limit", "limit_price": 120.0}), ("down", {"type": "stop",
         "stop_price": 80.0}))), buy(2, "c", 50, side="sell")], {}, {"single_name": 0.5}),
    Case("of alternatives the largest", [buy(0, "a", 20), *(buy(1, name, units, side="sell", oco_group="g",
         type="limit", limit_price=120.0) for name, units in (("small", 20), ("large", 60))),
         buy(2, "c", 20, side="sell")], {"c": "limit net: 0.6 exceeds 0.5"}, {"net": 0.5}),
    Case("a sell that may rest makes no room beside it", [buy(0, "a", 40), buy(1, "b", 40, side="sell", type="limit",
         limit_price=120.0), buy(1, "c", 40, symbol="Y")], {"c": "limit gross: 0.8 exceeds 0.5"}, {"gross": 0.5}),
    Case("nor does what waits for another", [buy(0, "a", 40), buy(1, "b", 10, symbol="Z"),
         buy(1, "c", 40, side="sell", parent="b"), buy(1, "d", 40, symbol="Y")],
         {"d": "limit gross: 0.9 exceeds 0.5"}, {"gross": 0.5}),
    Case("a reduce-only order may leave others to turn it", [buy(0, "a", 40), buy(1, "b", 40, side="sell", type="limit",
         limit_price=120.0, reduce_only=True), buy(2, "c", 60, side="sell", type="limit", limit_price=120.0)],
         {"c": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5, "order_notional": 1.0}),
    Case("and fills first where it is a market order", [buy(0, "a", 40), buy(1, "b", 99, side="sell", reduce_only=True),
         {**buy(0, "c", 60, side="sell"), "ts": closes(1) + timedelta(minutes=1)}],
         {"c": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    Case("it makes room for what it is sent with", [buy(0, "a", 40), target(1, "X", 0.0, order_id="b"),
         target(1, "Y", 0.4, order_id="c")], {}, {"gross": 0.5}),
    Case("beside an exit where it only reduces", [buy(0, "a", 40, **EXITS), target(1, "X", 0.0, order_id="b",
         reduce_only=True),
         target(1, "Y", 0.4, order_id="c")], {}, {"gross": 0.5}),
    Case("and none that only reduces", [buy(0, "a", 40, **EXITS), target(1, "X", 0.0, order_id="b")], {},
         {"order_notional": 0.4, "orders_per_session": 1}),
    # ---- several targets of a symbol at one instant: the last stands
    Case("the second is judged", [target(0, "X", 0.4, order_id="a"), target(1, "X", 0.0, order_id="b"),
         target(1, "X", 0.6, order_id="c")], {"c": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    Case("the first is not", [target(0, "X", 0.9, order_id="a"), target(0, "X", 0.4, order_id="b")], {},
         {"single_name": 0.5}),
    Case("nor before a target that is met", [target(0, "X", 0.4, order_id="a"), target(1, "X", 0.9, order_id="b"),
         target(1, "X", 0.4, order_id="c")], {}, {"single_name": 0.5}),
    Case("one after the other", [target(0, "X", 0.9, order_id="a"), target(0, "X", 0.8, order_id="b"),
         target(0, "X", 0.7, order_id="c")], {name: f"limit single_name: {weight} exceeds 0.5"
         for name, weight in (("a", 0.9), ("b", 0.8), ("c", 0.7))}, {"single_name": 0.5}),
    Case("each is sent", [target(0, "X", 0.3, order_id="a"), target(0, "X", 0.4, order_id="b"), buy(0, "c", 1)],
         {"c": "limit orders_per_session: 3 exceeds 2"}, {"orders_per_session": 2}),
    # ---- orders that only reduce
    Case("a sale passes whatever it is worth", [buy(0, "a", 50), buy(1, "b", 50, side="sell")], {},
         {"order_notional": 0.5, "orders_per_session": 1}),
    Case("a reduce-only order passes, however large", [buy(0, "a", 50), buy(1, "b", 500, side="sell",
         reduce_only=True)], {}, {"order_notional": 0.5}),
    Case("a sale makes room at the same instant", [buy(0, "a", 50), buy(1, "b", 50, symbol="Y"),
         buy(1, "c", 50, side="sell")], {}, {"gross": 0.5}),
    Case("to turn a position is to open one", [buy(0, "a", 50), target(1, "X", -0.6, order_id="b")],
         {"b": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    # ---- what falls with it
    Case("its bracket", [buy(0, "a", 60, **EXITS)],
         {"a": "limit single_name: 0.6 exceeds 0.5",
          "a:take_profit": "the order that it waited for ended without a fill",
          "a:stop_loss": "the order that it waited for ended without a fill"}, {"single_name": 0.5}),
    Case("what waits for it, and takes no room", [buy(0, "a", 60), buy(0, "b", 40, parent="a", symbol="Y"),
         buy(0, "c", 10, parent="b", symbol="Y"), buy(0, "d", 50, symbol="Z")],
         {"a": "limit single_name: 0.6 exceeds 0.5", "b": "the order that it waited for ended without a fill",
          "c": "the order that it waited for ended without a fill"}, {"single_name": 0.5, "gross": 0.5}),
    Case("what waits for it and comes later", [buy(0, "a", 60), buy(1, "b", 60, parent="a", symbol="Y")],
         {"a": "limit single_name: 0.6 exceeds 0.5", "b": "the order that it waited for ended without a fill"},
         {"single_name": 0.5}),
    Case("a bracket that passes", [buy(0, "a", 50, **EXITS)],
         {}, {"single_name": 0.5}),
    # ---- replaces
    Case("a replace is judged by what it adds", [buy(0, "a", 40, type="limit", limit_price=90.0),
         buy(1, "a", 60, action="replace")],
         {"a": "the history is over; a replace was refused: limit gross: 0.6 exceeds 0.5"}, {"gross": 0.5}),
    Case("a replace makes no room for the next before it is judged", [buy(0, "a", 40, type="limit", limit_price=90.0),
         buy(1, "a", 9000, action="replace"), buy(1, "a", 8000, action="replace")],
         {"a": "the history is over; a replace was refused: limit order_notional: 80 exceeds 10"}, {"gross": 0.5}),
    Case("a replace that adds little enough", [buy(0, "a", 40, type="limit", limit_price=90.0),
         buy(1, "a", 50, action="replace")], {}, {"gross": 0.5}),
    Case("a replace after one of the price alone", [buy(0, "a", 40, type="limit", limit_price=90.0),
         {"ts": 1, "symbol": "X", "action": "replace", "order_id": "a", "limit_price": 91.0},
         buy(1, "a", 60, action="replace")],
         {"a": "the history is over; a replace was refused: limit gross: 0.6 exceeds 0.5"}, {"gross": 0.5}),
    Case("a replace after one that was refused", [buy(0, "a", 40, type="limit", limit_price=90.0),
         buy(1, "a", 70, action="replace"), buy(2, "a", 50, action="replace"), buy(3, "b", 1)],
         {"a": "the history is over; a replace was refused: limit gross: 0.7 exceeds 0.5",
          "b": "limit gross: 0.51 exceeds 0.5"}, {"gross": 0.5}),
    Case("a replace of a target that has not been received", [target(0, "X", 0.1, order_id="a"),
         more_of_it(60)],
         {"a": "a replace was refused: limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    Case("a replace that takes of a target", [target(0, "X", 0.4, order_id="a"), more_of_it(30),
         buy(LATER, "b", 10)], {}, {"single_name": 0.5}),
    Case("a replace makes one order of its whole quantity", [buy(0, "a", 30, type="limit", limit_price=90.0),
         buy(1, "a", 60, action="replace")],
         {"a": "the history is over; a replace was refused: limit order_notional: 0.6 exceeds 0.35"},
         {"order_notional": 0.35}),
    Case("step by step", [buy(0, "a", 20, type="limit", limit_price=90.0), buy(1, "a", 35, action="replace"),
         buy(2, "a", 36, action="replace")],
         {"a": "the history is over; a replace was refused: limit order_notional: 0.36 exceeds 0.35"},
         {"order_notional": 0.35}),
    Case("of which a part has filled", [buy(0, "a", 30), buy(1, "a", 50, action="replace")],
         {"a": "the history is over; a replace was refused: limit order_notional: 0.5 exceeds 0.35"},
         {"order_notional": 0.35}, {"X": [flat(100), flat(100, volume=20), flat(100, volume=0), flat(100, volume=0)]}),
    Case("a replace that shrinks one of a price that rose", [buy(0, "a", 30, type="limit", limit_price=90.0),
         buy(1, "a", 25, action="replace")], {}, {"order_notional": 0.35}, {"X": [flat(100), flat(200), flat(200)]}),
    Case("turnover is what replaces add", [buy(0, "a", 30, type="limit", limit_price=90.0), buy(1, "a", 60,
         action="replace"), buy(1, "b", 31, symbol="Y")], {"b": "limit turnover: 0.61 exceeds 0.6"},
         {"turnover": 0.6}),
    Case("a replace that adds is an order more", [buy(0, "a", 30, type="limit", limit_price=90.0), buy(LATER, "a", 40,
         action="replace"), {**buy(0, "b", 1), "ts": LATER}], {"b": "limit orders_per_session: 3 exceeds 2"},
         {"orders_per_session": 2}),
    Case("one that adds nothing is none, nor is a cancel", [buy(0, "a", 30, type="limit", limit_price=90.0),
         {"ts": LATER, "symbol": "X", "action": "replace", "order_id": "a", "limit_price": 91.0},
         buy(LATER, "a", 20, action="replace"), buy(LATER, "a", 1, action="cancel"), {**buy(0, "b", 1), "ts": LATER},
         {**buy(0, "c", 1), "ts": LATER}], {"c": "limit orders_per_session: 3 exceeds 2"}, {"orders_per_session": 2}),
    Case("a replace of a reduce-only order adds nothing", [buy(0, "a", 40), buy(1, "b", 20, side="sell", type="stop",
         stop_price=90.0, reduce_only=True), buy(2, "b", 100, side="sell", action="replace")], {},
         {"single_name": 0.5, "order_notional": 0.5}),
    Case("but may leave others to turn it", [buy(0, "a", 40), buy(1, "b", 10, side="sell", type="limit",
         limit_price=120.0, reduce_only=True), buy(1, "c", 50, side="sell", type="limit", limit_price=120.0),
         buy(2, "b", 40, side="sell", action="replace")],
         {"b": "the history is over; a replace was refused: limit single_name: 0.5 exceeds 0.4"},
         {"single_name": 0.4}),
    # ---- what waits for an order that was replaced
    Case("a child of an order that was replaced", [buy(0, "a", 10), more_of_it(20), buy(1, "b", 60, parent="a")],
         {"b": "limit single_name: 0.8 exceeds 0.5"}, {"single_name": 0.5}),
    Case("twice", [buy(0, "a", 10, type="limit", limit_price=90.0), buy(1, "a", 20, action="replace"),
         buy(2, "a", 10, action="replace"), buy(3, "b", 60, parent="a", symbol="Y")],
         {"b": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    Case("and then cancelled", [buy(0, "a", 10, type="limit", limit_price=90.0), buy(1, "a", 20, action="replace"),
         buy(2, "a", 10, action="cancel"), buy(3, "b", 60, parent="a", symbol="Y")],
         {"b": "the order that it waited for ended without a fill"}, {"single_name": 0.5}),
    # ---- what may be undone, or never trade, makes no room
    Case("an entry that its own exits may undo", [buy(0, "a", 10, **EXITS),
         buy(0, "b", 50, side="sell", type="limit", limit_price=110.0),
         buy(0, "c", 10, side="sell", type="limit", limit_price=110.0)],
         {"c": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    Case("one of several alternatives", [buy(0, "a", 30, oco_group="g"), buy(1, "b", 30, side="sell", oco_group="g"),
         buy(1, "c", 30)], {"c": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    # ---- what covers others may not be taken away: b makes the room that c fills, or is hedged by it
    Case("a cancel of a sale that made room", [*ROTATION, {"ts": LATER_ON, "symbol": "X", "action": "cancel",
         "order_id": "b"}], {"b": "a cancel was refused: limit gross: 0.8 exceeds 0.5"}, {"gross": 0.5}),
    Case("at the same instant it makes none", [*ROTATION, buy(1, "b", 1, action="cancel", side="sell")],
         {"c": "limit gross: 0.8 exceeds 0.5"}, {"gross": 0.5}),
    Case("a replace that shrinks it", [*ROTATION, buy(LATER_ON, "b", 10, action="replace", side="sell")],
         {"b": "a replace was refused: limit gross: 0.7 exceeds 0.5"}, {"gross": 0.5}),
    Case("a replace that shrinks it at the same instant", [*ROTATION, buy(1, "b", 10, action="replace", side="sell")],
         {"c": "limit gross: 0.8 exceeds 0.5"}, {"gross": 0.5}),
    Case("a replace that leaves enough", [*ROTATION, buy(LATER_ON, "b", 30, action="replace", side="sell")], {},
         {"gross": 0.5}),
    Case("two replaces of which each would", [buy(0, "a", 20), buy(0, "z", 20, symbol="Z"), buy(1, "b", 20,
         side="sell"), buy(1, "y", 20, symbol="Z", side="sell"), buy(1, "c", 40, symbol="Y"), buy(LATER_ON, "b", 10,
         side="sell", action="replace"), buy(LATER_ON, "y", 10, symbol="Z", side="sell", action="replace")],
         {"y": "a replace was refused: limit gross: 0.6 exceeds 0.5"}, {"gross": 0.5}),
    Case("a cancel of the purchase with it", [*ROTATION, *({"ts": LATER_ON, "symbol": symbol, "action": "cancel",
         "order_id": name} for symbol, name in (("X", "b"), ("Y", "c")))], {}, {"gross": 0.5}),
    Case("a cancel of the purchase", [*ROTATION, {"ts": LATER_ON, "symbol": "Y", "action": "cancel",
         "order_id": "c"}], {}, {"gross": 0.5}),
    Case("a cancel where nothing counts on it", [buy(0, "a", 40), buy(1, "b", 40, side="sell"), {"ts": LATER_ON,
         "symbol": "X", "action": "cancel", "order_id": "b"}], {}, {"gross": 0.5}),
    Case("a cancel of a sale that brings a position back within a bound", [buy(0, "a", 40), buy(1, "b", 20,
         side="sell"), {"ts": LATER_ON, "symbol": "X", "action": "cancel", "order_id": "b"}],
         {"b": "a cancel was refused: limit single_name: 0.571429 exceeds 0.4"}, {"single_name": 0.4},
         {"X": [flat(100), Bar(100, 200, 100, 200, 1e6), flat(200), flat(200)]}),
    Case("a cancel of what thin volume left of it", [*ROTATION, {"ts": 2, "symbol": "X", "action": "cancel",
         "order_id": "b"}], {"b": "a cancel was refused: limit gross: 0.7 exceeds 0.5"}, {"gross": 0.5},
         {"X": [flat(100), flat(100), flat(100, volume=10), flat(100)], "Y": [flat(100)] * 4}),
    Case("a cancel of what hedges a limit", [buy(0, "b", 40), buy(0, "c", 60, symbol="Y", side="sell", type="stop",
         stop_price=90.0), {"ts": LATER, "symbol": "X", "action": "cancel", "order_id": "b"}],
         {"b": "a cancel was refused: limit net: 0.6 exceeds 0.4"}, {"net": 0.4}),
    Case("a new target in place of a sale that made room", [buy(0, "a", 40), *TARGETED, target(LATER_ON, "X", 0.2,
         order_id="d")], {"d": "limit gross: 0.6 exceeds 0.5"}, {"gross": 0.5}),
    Case("a new target that is met", [buy(0, "a", 40), *TARGETED, target(LATER_ON, "X", 0.4, order_id="d")],
         {"d": "limit gross: 0.8 exceeds 0.5"}, {"gross": 0.5}),
    Case("that fills no more at once", [buy(0, "a", 40), *TARGETED, target(LATER_ON, "X", 0.0, order_id="d",
         type="limit", limit_price=120.0)], {"d": "limit gross: 0.8 exceeds 0.5"}, {"gross": 0.5}),
    Case("new targets of both", [buy(0, "a", 40), *TARGETED, target(LATER_ON, "X", 0.4, order_id="d"),
         target(LATER_ON, "Y", 0.1, order_id="e")], {}, {"gross": 0.5}),
    Case("what a new target replaced is no more", [buy(0, "a", 40), target(1, "X", 0.0, order_id="b"),
         target(LATER_ON, "X", 0.4, order_id="d"), {**target(1, "Y", 0.4, order_id="c"),
         "ts": LATER_ON + timedelta(minutes=1)}], {"c": "limit gross: 0.8 exceeds 0.5"}, {"gross": 0.5}),
    Case("a reduce-only sale of what a plain one was to close", [buy(0, "a", 20), buy(1, "b", 60, side="sell",
         type="limit", limit_price=120.0), buy(2, "c", 20, side="sell", reduce_only=True)],
         {"c": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    Case("of what hedges another, beside an order on its way", [buy(0, "a", 40), buy(0, "h", 40, symbol="Y",
         side="sell"), buy(1, "z", 10, symbol="Z", side="sell"), buy(LATER_ON, "c", 40, side="sell", reduce_only=True)],
         {}, {"net": 0.4}),
    Case("before it is held", [buy(0, "a", 20), buy(0, "b", 60, side="sell", type="limit", limit_price=120.0),
         buy(LATER, "c", 20, side="sell", reduce_only=True)], {"c": "limit single_name: 0.6 exceeds 0.5"},
         {"single_name": 0.5}),
    Case("sent with both", [buy(0, "a", 20), buy(0, "b", 60, side="sell", type="limit", limit_price=120.0),
         buy(0, "c", 20, side="sell", type="stop", stop_price=90.0, reduce_only=True)],
         {"b": "limit single_name: 0.6 exceeds 0.5"}, {"single_name": 0.5}),
    # ---- what cannot be judged
    Case("before its first close", [{**buy(0, "a", 1), "ts": opens(0)}, buy(0, "b", 1)],
         {"a": "limit price: X has no usable price (nan)"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_limits_see(case: Case) -> None:
    result = run(cleaned(case.bars), sent(*case.orders), limited(**case.limits))
    assert refused(result) == case.refused


def test_a_sale_for_the_open_of_the_next_session_makes_no_room_inside_this_one():
    halves = [(day, opens(day) + timedelta(hours=hours)) for day in range(3) for hours in (0, 3)]
    flat_bars = [
        {"symbol": symbol, "ts": ts, "session": ts.date(), "known_at": ts + timedelta(hours=3), "close": 100.0}
        for symbol in ("X", "Y")
        for _, ts in halves
    ]
    prices = [pl.col("close").alias(name) for name in ("open", "high", "low")]
    whole = pl.DataFrame(flat_bars).with_columns(*prices, volume=1e6, split=1.0, dividend=0.0)
    times = [pl.col(name).cast(UTC_MICROS) for name in ("ts", "known_at")]
    noon, evening = opens(1) + timedelta(hours=3), opens(1) + timedelta(hours=6)
    for instant, stopped in ((noon, {"c": "limit gross: 0.8 exceeds 0.5"}), (evening, {})):
        rotation = (buy(instant, "b", 40, side="sell", tif="opg"), buy(instant, "c", 40, symbol="Y"))
        result = run(whole.with_columns(times), sent(buy(0, "a", 40), *rotation), limited(gross=0.5))
        assert refused(result) == stopped


def test_of_two_targets_at_one_instant_the_one_that_stands_is_traded():
    rows = (target(0, "X", 0.4, order_id="a"), target(1, "X", 0.0, order_id="b"), target(1, "X", 0.6, order_id="c"))
    results = [run(cleaned(FLAT), sent(*rows), limited(single_name=bound)) for bound in (0.5, 0.6)]
    assert [result.equity["gross_exposure"][-1] for result in results] == [0.0, 0.6]


def test_an_exit_that_fills_first_and_a_reversal_stay_within_the_limits():
    whole = {"X": [flat(100), flat(100), flat(100), flat(79), flat(79)]}
    rows = (target(0, "X", -0.3, order_id="a", **SHORT_EXITS), target(2, "X", 0.3, order_id="b"))
    results = [run(cleaned(whole), sent(*rows), limited(single_name=bound)) for bound in (0.5, 0.6)]
    assert [result.fills["quantity"].to_list() for result in results] == [[30.0, 30.0], [30.0, 30.0, 60.0]]


def test_a_refused_order_shows_what_was_asked_and_never_trades():
    result = run(cleaned(FLAT), sent(target(0, "X", -0.6, order_id="a")), limited(single_name=0.5))
    assert result.fills.is_empty()
    (row,) = result.orders.select("side", "quantity", "state", "filled", "reason").rows()
    assert row == ("sell", 60.0, "rejected", 0.0, "limit single_name: 0.6 exceeds 0.5")


def test_the_drawdown_counts_from_the_highest_end_of_a_step():
    bars = {"X": [flat(100), flat(100), flat(150), flat(110), flat(110)], "Y": [flat(100)] * 5}
    orders = sent(buy(0, "a", 100), buy(3, "b", 1, symbol="Y"), buy(3, "c", 10, side="sell"))
    stopped = {"b": "limit drawdown_stop: drawdown 0.266667 has reached 0.25"}
    assert refused(run(cleaned(bars), orders, limited(drawdown_stop=0.25))) == stopped
    assert refused(run(cleaned(bars), orders, limited(drawdown_stop=0.27))) == {}


def round_the_clock(days: dict[str, list[Bar]]) -> tuple[pl.DataFrame, pl.Series]:
    """Bars of which X's last from midnight to midnight, and those midnights."""
    bars, ours = cleaned(days), pl.col("symbol") == "X"
    bars = bars.with_columns(ts=pl.when(ours).then(pl.col("ts").dt.truncate("1d")).otherwise("ts")).with_columns(
        known_at=pl.when(ours).then(pl.col("ts") + pl.duration(hours=24)).otherwise("known_at")
    )
    return bars, bars.filter(ours)["ts"]


def test_a_cancel_inside_a_bar_that_goes_on_makes_no_room_before_it_is_over():
    """Whether a was reached before its cancel nobody knows until then: it fills, and b beside it would be too much."""
    low = Bar(100, 100, 80, 100, 1e6)
    bars, midnight = round_the_clock({"X": [flat(100), flat(100), low, flat(100)], "Y": [flat(100)] * 4})
    too_much = {"b": "limit gross: 0.8 exceeds 0.5"}
    for hours, stopped in ((1, too_much), (23, too_much), (-1, {})):
        later = midnight[2] + timedelta(hours=hours)
        entry = buy(0, "a", 40, type="limit", limit_price=90.0)
        rows = (entry, buy(0, "a", 1, action="cancel"), buy(0, "b", 40, symbol="Y"))
        instants = (midnight[2] - timedelta(hours=2), later, later)
        given = sent(*({**row, "ts": instant} for row, instant in zip(rows, instants, strict=True)))
        result = run(bars, given, limited(gross=0.5))
        assert refused(result) == stopped
        assert result.fills["order_id"].to_list() == (["a"] if stopped else ["b"])


def test_a_bar_that_outlasts_the_next_open_is_known_when_it_ends():
    """X trades round the clock: what it closed at, and what it gained, is known to an order of the next midnight."""
    bars, midnight = round_the_clock({"X": [flat(200), Bar(200, 240, 200, 240, 1e6), flat(240)], "Y": [flat(50)] * 3})
    orders = sent({**buy(0, "a", 20), "ts": midnight[1]}, {**buy(0, "b", 20), "ts": midnight[2]})
    # 20 of them, bought at 200, are worth 4,800 beside 6,000 of cash; as many again would be 4,800 of 10,800
    stopped = {"b": "limit order_notional: 0.444444 exceeds 0.42"}
    assert refused(run(bars, orders, limited(order_notional=0.42))) == stopped


def test_other_currencies_and_contracts_are_worth_what_they_are_in_the_account():
    kinds = {"asset_class": ["equity", "future"], "currency": ["EUR", "USD"], "multiplier": [1.0, 50.0]}
    instruments = pl.DataFrame({"symbol": ["X", "Y"], **kinds})
    rates = pl.DataFrame({"ts": [opens(-1), opens(2)], "currency": "EUR", "rate": [1.0, 1.3]})
    orders = sent(buy(0, "a", 40), buy(1, "b", 40), buy(2, "c", 40), buy(2, "d", 1, symbol="Y"))
    result = run(cleaned(FLAT), orders, limited(order_notional=0.44), instruments, rates=rates)
    # b filled at 130: 800 of cash and 80 shares are an equity of 11,200; c is 5,200 of it, and d's contract 5,000
    assert refused(result) == {
        "c": "limit order_notional: 0.464286 exceeds 0.44",
        "d": "limit order_notional: 0.446429 exceeds 0.44",
    }


def test_what_a_backtest_with_limits_cannot_do_is_refused():
    with pytest.raises(ConfigError, match="no symbol has a sector: give instruments with a column sector"):
        run(cleaned(FLAT), sent(buy(0, "a", 1)), limited(sector=0.5))
    with pytest.raises(ConfigError, match="limits: an on_bar keeps its own; leave them out"):
        run(cleaned(FLAT), OnBar(lambda view: None), limited())
