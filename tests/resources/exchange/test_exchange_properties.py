"""What always holds, whatever the bars and the orders: the properties at the end of the fill contract."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.brokers.base import Order, OrderState, Side
from resources.config import BacktestSettings
from resources.exchange import Bar, Exchange, Execution
from tests.resources.exchange.cases import account, opens, order

SYMBOLS = ("X", "Y")
PRICES = st.integers(80, 120).map(lambda ticks: ticks / 2)


@st.composite
def bars(draw: st.DrawFn, actions: bool = False) -> Bar:
    first, second, third, fourth = (draw(PRICES) for _ in range(4))
    extra = {}
    if actions:
        extra["split"] = draw(st.sampled_from([1.0, 1.0, 1.0, 2.0, 0.25, 1.5]))
        extra["dividend"] = draw(st.sampled_from([0.0, 0.0, 0.7]))
    high, low = max(first, second, third, fourth), min(first, second, third, fourth)
    return Bar(first, high, low, second, draw(st.sampled_from([0.0, 30.0, 500.0, 1e5])), **extra)


@st.composite
def orders(draw: st.DrawFn, sessions: int) -> Order:
    kind = draw(st.sampled_from(["market", "limit", "stop", "stop_limit"]))
    tifs = ["day", "gtc"] if "stop" in kind else ["day", "gtc", "ioc", "fok"]
    return order(
        draw(st.sampled_from(["buy", "sell"])),
        draw(st.integers(1, 200)),
        limit=draw(PRICES) if "limit" in kind else None,
        stop=draw(PRICES) if "stop" in kind else None,
        tif=draw(st.sampled_from(tifs)),
        symbol=draw(st.sampled_from(SYMBOLS)),
        at=max(
            opens(0), opens(draw(st.integers(0, sessions - 1))) - timedelta(hours=draw(st.sampled_from([-2, 0, 3])))
        ),
    )


@dataclass(frozen=True)
class World:
    """Sessions of bars and the orders sent between them, on an account with costs."""

    sessions: list[dict[str, Bar]]
    orders: list[Order]
    terms: BacktestSettings

    def play(self, sessions: int | None = None) -> tuple[Exchange, list[list[Execution]]]:
        exchange = Exchange(self.terms)
        waiting = sorted(self.orders, key=lambda each: each.submitted_at)
        done = []
        for number, here in enumerate(self.sessions[:sessions]):
            while waiting and waiting[0].submitted_at <= opens(number):
                exchange.submit(waiting.pop(0))
            done.append(exchange.on_bar(opens(number), here))
        return exchange, done


@st.composite
def worlds(draw: st.DrawFn, actions: bool = False) -> World:
    length = draw(st.integers(1, 6))
    days = st.fixed_dictionaries({symbol: bars(actions=actions) for symbol in SYMBOLS})
    terms = account(
        cash=draw(st.sampled_from([500.0, 20_000.0, 1e6])),
        half_spread_bps=draw(st.sampled_from([0, 30])),
        slippage_bps=draw(st.sampled_from([0, 70])),
        commission_per_share=0.01,
        commission_minimum=1,
        borrow_bps_per_year=200,
        financing_bps_per_year=600,
        participation=draw(st.sampled_from([0.1, 1.0])),
        max_gross=draw(st.sampled_from([1.0, 2.0])),
        shrink_to_cash=draw(st.booleans()),
    )
    sent = draw(st.lists(orders(length), max_size=8, unique_by=lambda each: each.id))
    return World(draw(st.lists(days, min_size=length, max_size=length)), sent, terms)


FEW = settings(max_examples=80, deadline=None)


@FEW
@given(worlds())
def test_prices_lie_in_the_bar_and_keep_limits_and_stops(world):
    _, done = world.play()
    known = {each.id: each for each in world.orders}
    for here, fills in zip(world.sessions, done, strict=True):
        for fill in fills:
            bar, wanted = here[fill.symbol], known[fill.order_id]
            side = 1 if fill.side is Side.BUY else -1
            assert bar.low <= fill.reference_price <= bar.high
            assert side * fill.price >= side * fill.reference_price
            assert abs(fill.price / fill.reference_price - 1) <= 0.10 + 1e-12
            if wanted.limit_price is not None:
                assert side * fill.price <= side * wanted.limit_price
            if wanted.stop_price is not None and wanted.limit_price is None:
                assert side * fill.reference_price >= side * bar.open


@FEW
@given(worlds())
def test_quantity_is_conserved_and_volume_is_not_exceeded(world):
    exchange, done = world.play()
    filled: dict[str, float] = defaultdict(float)
    for here, fills in zip(world.sessions, done, strict=True):
        taken: dict[str, float] = defaultdict(float)
        for fill in fills:
            filled[fill.order_id] += fill.quantity
            taken[fill.symbol] += fill.quantity
            assert fill.quantity == round(fill.quantity) > 0
        assert all(quantity <= world.terms.participation * here[symbol].volume for symbol, quantity in taken.items())
    for status in exchange.orders():
        assert status.filled == filled[status.order.id] <= status.order.quantity
        assert (status.state is OrderState.FILLED) == (status.filled == status.order.quantity)
        if status.order.tif == "fok":
            assert status.filled in (0, status.order.quantity)


@FEW
@given(worlds(actions=True))
def test_cash_and_positions_are_equity_by_an_independent_ledger(world):
    exchange = Exchange(world.terms)
    cash, held, last = world.terms.cash, dict.fromkeys(SYMBOLS, 0.0), dict.fromkeys(SYMBOLS, 0.0)
    waiting = sorted(world.orders, key=lambda each: each.submitted_at)
    for number, here in enumerate(world.sessions):
        while waiting and waiting[0].submitted_at <= opens(number):
            exchange.submit(waiting.pop(0))
        if number:
            shorts = sum(-min(held[symbol], 0.0) * last[symbol] for symbol in SYMBOLS)
            cash -= (0.02 * shorts + 0.06 * max(-cash, 0.0)) / 365
        fills = exchange.on_bar(opens(number), here)
        lieu = {fill.symbol: fill for fill in fills if fill.reason == "cash_in_lieu"}
        for symbol, bar in here.items():
            held[symbol] *= bar.split
            for fill in [lieu[symbol]] if symbol in lieu else []:
                held[symbol] += fill.quantity if fill.side is Side.BUY else -fill.quantity
            cash += held[symbol] * bar.dividend
            last[symbol] = bar.close
        for fill in fills:
            signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
            cash -= signed * fill.price + fill.commission
            held[fill.symbol] += signed if fill.reason != "cash_in_lieu" else 0.0
        equity = cash + sum(held[symbol] * last[symbol] for symbol in SYMBOLS)
        scale = max(1.0, abs(equity), sum(abs(held[symbol] * last[symbol]) for symbol in SYMBOLS))
        assert exchange.cash == pytest.approx(cash, abs=1e-9 * scale)
        assert exchange.equity == pytest.approx(equity, abs=1e-9 * scale)
        assert {each.symbol: each.quantity for each in exchange.positions()} == {
            symbol: quantity for symbol, quantity in held.items() if quantity
        }


@FEW
@given(worlds(actions=True))
def test_the_same_input_gives_the_same_executions(world):
    assert world.play()[1] == world.play()[1]


@FEW
@given(worlds(actions=True), st.integers(0, 6))
def test_cutting_the_history_leaves_earlier_fills_as_they_were(world, cut):
    assert world.play(cut)[1] == world.play()[1][:cut]
