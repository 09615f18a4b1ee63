"""From signals to orders: sizes, sides, who comes first, and what is left alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import polars as pl
import pytest

from quant_assets.live.planning import Book, order_id, plan_session, resting_at, target_units
from quant_assets.risk.limits import Resting
from resources.brokers.base import Order, OrderState, OrderStatus, OrderType, Side, TimeInForce
from resources.brokers.brackets import exits_of
from resources.config import LimitSettings
from resources.exchange import Listing

FRIDAY, MONDAY = date(2013, 2, 22), date(2013, 2, 25)
NOW = datetime(2013, 2, 25, 14, 29, tzinfo=UTC)
PRICES = {"AAA": 100.0, "BBB": 50.0, "CCC": 10.0}
LIMITS = LimitSettings(gross=2, net=2, single_name=1, order_notional=1)


@dataclass(frozen=True)
class Case:
    name: str
    wants: dict[str, tuple[float, str]]
    """Target weight and order intent by symbol."""
    orders: list[tuple[str, float]]
    """Symbol and signed quantity, in the order sent."""
    held: dict[str, float] = field(default_factory=dict)
    equity: float = 10_000.0


CASES = [
    Case("buys whole units, rounded down", {"AAA": (0.255, "buy")}, [("AAA", 25)]),
    Case("a target of exactly so many units", {"CCC": (0.3, "buy")}, [("CCC", 300)]),
    Case("sells short, rounded toward zero", {"BBB": (-0.256, "sell")}, [("BBB", -51)]),
    Case("less than a unit is nothing", {"AAA": (0.009, "buy")}, []),
    Case("tops up", {"AAA": (0.5, "buy")}, [("AAA", 30)], held={"AAA": 20}),
    Case("closes", {"AAA": (0.0, "sell")}, [("AAA", -20)], held={"AAA": 20}),
    Case("covers", {"AAA": (0.0, "buy")}, [("AAA", 20)], held={"AAA": -20}),
    Case("turns round", {"AAA": (-0.2, "sell")}, [("AAA", -40)], held={"AAA": 20}),
    Case("hold leaves drift alone", {"AAA": (0.5, "hold")}, [], held={"AAA": 45}),
    Case("hold catches up what is far off", {"AAA": (0.5, "hold")}, [("AAA", 20)], held={"AAA": 30}),
    Case("hold buys what a first session lacks", {"AAA": (0.5, "hold")}, [("AAA", 50)]),
    Case("hold flat closes what is left", {"AAA": (0.0, "hold")}, [("AAA", -5)], held={"AAA": 5}),
    Case("buy trades drift too", {"AAA": (0.5, "buy")}, [("AAA", 5)], held={"AAA": 45}),
    Case("no row is no wish", {"AAA": (0.1, "buy")}, [("AAA", 10)], held={"BBB": 7}),
    Case("sales pay for purchases", {"AAA": (0.5, "buy"), "BBB": (0.0, "sell"), "CCC": (0.1, "sell")},
         [("BBB", -40), ("CCC", -100), ("AAA", 50)], held={"BBB": 40, "CCC": 200}),
    Case("no equity, only sales", {"AAA": (0.5, "buy"), "BBB": (0.5, "buy")}, [("BBB", -9)], {"BBB": 9}, equity=-5),
]  # fmt: skip


def frame(wants: dict[str, tuple[float, str]]) -> pl.DataFrame:
    rows = [
        {"symbol": symbol, "session": FRIDAY, "strategy": "test", "target_weight": weight, "order_intent": wish}
        for symbol, (weight, wish) in wants.items()
    ]
    return pl.DataFrame(rows)


def book(case: Case) -> Book:
    return Book(case.held, case.equity, case.equity, PRICES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_orders(case: Case) -> None:
    plan = plan_session(frame(case.wants), MONDAY, book(case), NOW, LIMITS)
    signed = [(order.symbol, order.quantity if order.side == "buy" else -order.quantity) for order in plan.orders]
    assert signed == case.orders
    assert plan.refused == {}
    assert (plan.session, plan.signals_session, plan.held) == (MONDAY, FRIDAY, case.held)


@dataclass(frozen=True)
class Exits:
    name: str
    target: float
    wish: str
    held: float
    order: tuple[float, float | None, float | None] | None
    """Signed quantity, take-profit and stop-loss; the last price is 100 and the fractions are 0.05 and 0.08."""


BRACKETED = [
    Exits("an entry has its exits", 0.5, "buy", 0, (50, 105, 92)),
    Exits("a short entry has them the other way", -0.5, "sell", 0, (-50, 95, 108)),
    Exits("held is left alone", 0.5, "hold", 50, None),
    Exits("held and far from its target too", 0.5, "hold", 20, None),
    Exits("closed by its bracket it is not bought again", 0.5, "hold", 0, None),
    Exits("turns round", -0.2, "sell", 20, (-40, 95, 108)),
    Exits("only reduces: no exits of its own", 0.2, "buy", 50, (-30, None, None)),
]


@pytest.mark.parametrize("case", BRACKETED, ids=lambda case: case.name)
def test_a_target_with_exits(case: Exits) -> None:
    fractions = {"take_profit_fraction": 0.05, "stop_loss_fraction": 0.08}
    wants = frame({"AAA": (case.target, case.wish)}).with_columns(**{k: pl.lit(v) for k, v in fractions.items()})
    plan = plan_session(wants, MONDAY, Book({"AAA": case.held}, 10_000, 10_000, PRICES), NOW, LIMITS)
    orders = [
        (order.quantity if order.side == "buy" else -order.quantity, order.take_profit, order.stop_loss)
        for order in plan.orders
    ]
    assert orders == ([] if case.order is None else [pytest.approx(case.order)])


def test_one_exit_of_two_and_an_order_to_be_flat() -> None:
    wants = frame({"AAA": (0.1, "buy"), "BBB": (0.0, "sell")}).with_columns(
        take_profit_fraction=pl.lit(None, pl.Float64), stop_loss_fraction=pl.Series([0.1, None])
    )
    flat, entry = plan_session(wants, MONDAY, Book({"BBB": 4}, 10_000, 10_000, PRICES), NOW, LIMITS).orders
    assert (entry.take_profit, entry.stop_loss, entry.reduce_only) == (None, 90.0, False)
    assert (flat.symbol, flat.take_profit, flat.stop_loss, flat.reduce_only) == ("BBB", None, None, True)


def test_ids_are_the_same_in_every_attempt_and_differ_in_every_session() -> None:
    wants = frame({"AAA": (0.1, "buy"), "BRK.B": (0.1, "buy")})
    rich = Book({}, 10_000, 10_000, {**PRICES, "BRK.B": 10})
    ids = [order.id for order in plan_session(wants, MONDAY, rich, NOW, LIMITS).orders]
    assert ids == ["20130225-test-AAA-1", "20130225-test-BRK.B-1"]
    assert ids == [order.id for order in plan_session(wants, MONDAY, rich, datetime.now(UTC), LIMITS).orders]
    assert order_id(FRIDAY, "test", "AAA") != ids[0]


def test_the_limits_refuse_and_say_why() -> None:
    wants = frame({"AAA": (0.5, "buy"), "BBB": (0.2, "buy"), "ZZZ": (0.1, "buy")})
    plan = plan_session(wants, MONDAY, Book({}, 10_000, 10_000, PRICES), NOW, LimitSettings())
    assert plan.refused == {
        "20130225-test-AAA-1": "limit order_notional: 0.5 exceeds 0.35",
        "20130225-test-ZZZ-1": "limit price: ZZZ has no usable price (nan)",
    }
    assert [order.symbol for order in plan.orders] == ["AAA", "BBB", "ZZZ"]


SHORT = Order("a", "AAA", Side.SELL, 50, OrderType.MARKET, TimeInForce.DAY, NOW, take_profit=90.0, stop_loss=120.0)


def test_what_rests_at_the_venue_is_what_is_still_open_and_of_alternatives_the_largest() -> None:
    take, stop = exits_of(SHORT)
    limit = Order("b", "AAA", Side.SELL, 20, OrderType.LIMIT, TimeInForce.GTC, NOW, limit_price=120.0)
    venue = [
        OrderStatus(SHORT, OrderState.FILLED, 50),
        OrderStatus(take, OrderState.PARTIALLY_FILLED, 10),
        OrderStatus(stop, OrderState.ACCEPTED, 5),
        OrderStatus(limit, OrderState.PARTIALLY_FILLED, 4),
    ]
    assert resting_at(venue) == {"AAA": Resting(sells=-16, reducing_buys=45)}
    assert resting_at([OrderStatus(take, OrderState.CANCELLED, 0)]) == {}


def test_a_reversal_is_judged_with_the_exit_that_may_fill_before_it() -> None:
    venue = [OrderStatus(exit_, OrderState.ACCEPTED, 0) for exit_ in exits_of(SHORT)]
    wants, limits = frame({"AAA": (0.5, "buy")}), LimitSettings(gross=2, net=2, single_name=0.6, order_notional=1)
    for resting, refused in (({}, []), (resting_at(venue), ["limit single_name: 1 exceeds 0.6"])):
        book = Book({"AAA": -50}, 1e4, 1e4, PRICES, resting=resting)
        assert list(plan_session(wants, MONDAY, book, NOW, limits).refused.values()) == refused


def test_a_holding_without_a_price_can_still_be_closed_and_is_else_left_alone() -> None:
    held = {"ZZZ": 5.0}
    (order,) = plan_session(frame({"ZZZ": (0.0, "sell")}), MONDAY, Book(held, 1e4, 1e4, {}), NOW, LIMITS).orders
    assert (order.side, order.quantity) == ("sell", 5.0)
    assert plan_session(frame({"ZZZ": (0.1, "hold")}), MONDAY, Book(held, 1e4, 1e4, {}), NOW, LIMITS).orders == []


UNFIT = [
    ("two sessions", frame({"AAA": (0.1, "buy")}).vstack(frame({"BBB": (0.1, "buy")}).with_columns(session=MONDAY))),
    ("a symbol twice", frame({"AAA": (0.1, "buy")}).vstack(frame({"AAA": (0.2, "buy")}))),
    ("not a number", frame({"AAA": (math.nan, "buy")})),
    ("no weight", frame({"AAA": (0.1, "buy")}).with_columns(target_weight=pl.lit(None, pl.Float64))),
]


@pytest.mark.parametrize(("name", "wants"), UNFIT, ids=[name for name, _ in UNFIT])
def test_signals_that_are_not_one_wish_a_symbol_are_refused(name: str, wants: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"signals to trade must be|target_weight is not a number"):
        plan_session(wants, MONDAY, Book({}, 1e4, 1e4, PRICES), NOW, LIMITS)


def test_units_are_whole_lots() -> None:
    assert target_units(0.3, 10_000, 7.0, lot=10.0) == 420.0
    assert target_units(-0.3, 10_000, 7.0, lot=10.0) == -420.0


def test_contracts_are_sized_and_limited_by_what_they_are_worth() -> None:
    """A future at 10 with a multiplier of 50 is worth 500: a tenth of 10,000 is two of them; a quarter is too much."""
    listings = {"AAA": Listing(multiplier=50.0, asset_class="future"), "BBB": Listing(lot=0.001, asset_class="crypto")}
    book = Book({}, 10_000, 10_000, {"AAA": 10.0, "BBB": 40_000.0}, listings)
    limits = LimitSettings(single_name=0.2, order_notional=0.2)
    plan = plan_session(frame({"AAA": (0.1, "buy"), "BBB": (0.1, "buy")}), MONDAY, book, NOW, limits)
    assert [(order.symbol, order.quantity) for order in plan.orders] == [("AAA", 2.0), ("BBB", 0.025)]
    assert plan.refused == {}
    heavy = plan_session(frame({"AAA": (0.25, "buy")}), MONDAY, book, NOW, limits)
    assert [order.quantity for order in heavy.orders] == [5.0]
    assert "0.25" in heavy.refused[heavy.orders[0].id]
