"""The exchange as a venue: orders in any state, requests twice or too late, and bars that are none."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from resources.brokers.base import OrderState, Position
from resources.errors import BarSchemaError
from resources.exchange import Bar, Exchange, IdentityError, Listing, OrderError
from resources.exchange.words import CASH
from tests.resources.exchange.cases import account, bar, flat, opens, order


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(account(cash=100_000))


def test_the_same_id_twice_is_one_order(exchange):
    wanted = order(quantity=10)
    exchange.submit(wanted)
    exchange.on_bar(opens(0), {"X": flat(100)})
    assert exchange.submit(wanted).state is OrderState.FILLED
    assert exchange.on_bar(opens(1), {"X": flat(100)}) == []
    assert len(exchange.orders()) == 1


FAULTS = [
    (order(quantity=-5), "quantity is -5; it must be positive"),
    (order(quantity=math.nan), "quantity is missing; it must be positive"),
    (order(quantity=2.5), "quantity is 2.5; it must be a multiple of the lot"),
    (order(limit=-1.0), "limit_price is -1; a limit order needs a positive one"),
    (order(stop=math.inf), "stop_price is inf; a stop order needs a positive one"),
    (order(stop=10, tif="ioc"), "tif is ioc; a stop waits for its price: use day, gtc or gtd"),
    (order(at=datetime(2024, 1, 7)), "submitted_at is 2024-01-07 00:00:00; give it a time zone"),
]


@pytest.mark.parametrize(("wanted", "reason"), FAULTS, ids=[reason for _, reason in FAULTS])
def test_what_no_exchange_could_take_is_rejected_with_the_reason(exchange, wanted, reason):
    status = exchange.submit(wanted)
    assert (status.state, status.reason) == (OrderState.REJECTED, reason)
    assert exchange.on_bar(opens(0), {"X": flat(100)}) == []


def test_cancel(exchange):
    wanted = order(quantity=10, limit=90)
    exchange.submit(wanted)
    exchange.on_bar(opens(0), {"X": flat(100)})
    assert exchange.cancel(wanted.id).state is OrderState.CANCELLED
    assert exchange.on_bar(opens(1), {"X": flat(80)}) == []


def test_cancel_of_an_ended_order_changes_nothing(exchange):
    wanted = order(quantity=10)
    exchange.submit(wanted)
    exchange.on_bar(opens(0), {"X": flat(100)})
    assert exchange.cancel(wanted.id).state is OrderState.FILLED


def test_replace_changes_limit_and_quantity(exchange):
    wanted = order(quantity=10, limit=90)
    exchange.submit(wanted)
    exchange.on_bar(opens(0), {"X": flat(100)})
    assert exchange.replace(wanted.id, quantity=20, limit_price=95).order.limit_price == 95
    [fill] = exchange.on_bar(opens(1), {"X": flat(94)})
    assert (fill.order_id, fill.quantity, fill.price) == (wanted.id, 20, 94)
    assert exchange.status(wanted.id).state is OrderState.FILLED


def test_replace_keeps_what_is_filled_and_paid(exchange):
    exchange = Exchange(account(commission_minimum=1))
    wanted = order(quantity=10)
    exchange.submit(wanted)
    first = exchange.on_bar(opens(0), {"X": flat(100, volume=4)})
    assert exchange.replace(wanted.id, quantity=6).state is OrderState.PARTIALLY_FILLED
    second = exchange.on_bar(opens(1), {"X": flat(100)})
    assert [(fill.quantity, fill.commission) for fill in first + second] == [(4, 1), (2, 0)]
    assert [fill.id for fill in first + second] == [f"{wanted.id}#1", f"{wanted.id}#2"]
    assert exchange.status(wanted.id).filled == 6


def test_replace_goes_to_the_end_of_the_queue(exchange):
    first, second = order(quantity=10), order(quantity=10)
    exchange.submit(first)
    exchange.submit(second)
    exchange.replace(first.id, quantity=11)
    done = exchange.on_bar(opens(0), {"X": flat(100, volume=10)})
    assert [fill.order_id for fill in done] == [second.id]


def test_replace_refuses_what_cannot_be(exchange):
    wanted = order(quantity=10)
    exchange.submit(wanted)
    exchange.on_bar(opens(0), {"X": flat(100, volume=4)})
    with pytest.raises(OrderError, match=r"\(X\): quantity is 4 and 4.0 are filled already"):
        exchange.replace(wanted.id, quantity=4)
    with pytest.raises(OrderError, match="limit_price is 99; only limit orders have one"):
        exchange.replace(wanted.id, limit_price=99)
    exchange.cancel(wanted.id)
    with pytest.raises(OrderError, match="cancelled already"):
        exchange.replace(wanted.id, quantity=20)


def test_unknown_order(exchange):
    with pytest.raises(OrderError, match="order nobody: unknown here"):
        exchange.cancel("nobody")


def test_positions_average_what_was_paid(exchange):
    exchange.submit(order("buy", 10))
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.submit(order("buy", 30, at=opens(0)))
    exchange.on_bar(opens(1), {"X": flat(120)})
    assert exchange.positions() == [Position("X", 40, 115, 120)]
    exchange.submit(order("sell", 50, at=opens(1)))
    exchange.on_bar(opens(2), {"X": flat(130)})
    assert exchange.positions() == [Position("X", -10, 130, 130)]
    assert exchange.equity == 100_000 + 30 * 10 + 10 * 30


def test_a_symbol_without_a_bar_keeps_its_price(exchange):
    exchange.submit(order("buy", 10))
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.on_bar(opens(1), {"Y": flat(7)})
    assert exchange.positions() == [Position("X", 10, 100, 100)]


@pytest.mark.parametrize(
    "ts",
    [opens(0), opens(0) - timedelta(days=1), datetime(2030, 1, 1)],
    ids=["same", "before", "naive"],
)
def test_sessions_come_in_order(exchange, ts):
    exchange.on_bar(opens(0), {"X": flat(100)})
    with pytest.raises(OrderError, match="sessions come in order"):
        exchange.on_bar(ts, {"X": flat(100)})


IMPOSSIBLE = [
    bar(100, 99, 98, 98.5),
    bar(100, 101, 100.5, 101),
    bar(100, 101, math.nan, 100),
    bar(-1, 101, -1, 100),
    flat(100, -5.0),
    flat(100, split=0.0),
    flat(100, dividend=math.inf),
]


@pytest.mark.parametrize("wrong", IMPOSSIBLE, ids=str)
def test_an_impossible_bar_is_refused_and_changes_nothing(exchange, wrong: Bar):
    exchange.submit(order("buy", 10))
    with pytest.raises(BarSchemaError, match="X 2024-01-08"):
        exchange.on_bar(opens(0), {"Y": flat(5), "X": wrong})
    assert exchange.on_bar(opens(0), {"X": flat(100)})[0].quantity == 10


def test_many_orders_and_symbols_make_the_book_grow():
    exchange = Exchange(account(), {"S3": Listing(lot=2)})
    for number in range(100):
        exchange.submit(order(quantity=2, symbol=f"S{number % 10}"))
    done = exchange.on_bar(opens(0), {f"S{number}": flat(10 + number) for number in range(10)})
    assert len(done) == 100
    assert {position.quantity for position in exchange.positions()} == {20}


def test_a_book_that_does_not_balance_is_noticed(exchange):
    exchange.submit(order("buy", 10))
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange._venue.desk.account[CASH] += 0.01
    with pytest.raises(IdentityError, match="2024-01-09"):
        exchange.on_bar(opens(1), {"X": flat(100)})


def test_the_package_loads_without_numba():
    """A code location imports it; numba loads with the first exchange."""
    code = "import sys, resources.exchange, quant_assets.backtests; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
