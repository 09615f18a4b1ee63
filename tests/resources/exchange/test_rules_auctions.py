"""Rule 16: orders for the opening and the closing auction fill in that bar of a session only, at its open or close."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from resources.brokers.base import Order, OrderState, OrderType
from resources.exchange import Bar, Exchange
from tests.resources.exchange.cases import MONDAY, SUNDAY, account, bar, flat, opens, order, trade


def auction(kind: str, side: str = "buy", quantity: float = 100, **words) -> Order:
    """An order for an auction: market_on_open, limit_on_open, market_on_close, limit_on_close."""
    return replace(order(side, quantity, **words), type=OrderType(kind))


def session(*bars: Bar) -> list[Bar]:
    """Bars of one session, of which only the first opens and only the last closes it."""
    last = len(bars) - 1
    return [replace(each, first=number == 0, last=number == last) for number, each in enumerate(bars)]


@dataclass(frozen=True)
class Auction:
    """An order, its bars, the bar (counted from 0) and price of its fill, and how it stands after the last bar."""

    name: str
    order: Order
    bars: list[Bar]
    fill: tuple[int, float] | None
    state: OrderState


THREE = session(bar(100, 102, 99, 101), bar(101, 103, 100, 102), bar(102, 104, 101, 103))
INSIDE_FIRST = MONDAY + timedelta(minutes=1)
INSIDE_THIRD = opens(2) + timedelta(minutes=1)
NEXT = session(bar(105, 106, 104, 105), bar(105, 107, 104, 106))

ON_OPEN = [
    Auction("a daily bar", auction("market_on_open"), [flat(100)], (0, 100), OrderState.FILLED),
    Auction("the first of several", auction("market_on_open"), THREE, (0, 100), OrderState.FILLED),
    Auction(
        "too late for this session, it waits for the next",
        auction("market_on_open", at=INSIDE_FIRST),
        [*THREE, *NEXT],
        (3, 105),
        OrderState.FILLED,
    ),
    Auction("not in the middle", auction("market_on_open", at=INSIDE_FIRST), THREE, None, OrderState.ACCEPTED),
    Auction("sell", auction("market_on_open", "sell"), THREE, (0, 100), OrderState.FILLED),
    Auction(
        "no volume at the open: over", auction("market_on_open"), [flat(100, 0), flat(100)], None, OrderState.EXPIRED
    ),
]
LIMIT_ON_OPEN = [
    Auction("opens below", auction("limit_on_open", limit=101), THREE, (0, 100), OrderState.FILLED),
    Auction("opens at it", auction("limit_on_open", limit=100), THREE, (0, 100), OrderState.FILLED),
    Auction(
        "opens above: over, whatever the bar reaches later",
        auction("limit_on_open", limit=99.5),
        [*THREE, *NEXT],
        None,
        OrderState.EXPIRED,
    ),
    Auction("sell, opens above", auction("limit_on_open", "sell", limit=99), THREE, (0, 100), OrderState.FILLED),
    Auction("sell, opens at it", auction("limit_on_open", "sell", limit=100), THREE, (0, 100), OrderState.FILLED),
    Auction("sell, opens below", auction("limit_on_open", "sell", limit=101), THREE, None, OrderState.EXPIRED),
]
ON_CLOSE = [
    Auction("a daily bar", auction("market_on_close"), [bar(100, 104, 99, 103)], (0, 103), OrderState.FILLED),
    Auction("the last of several", auction("market_on_close"), THREE, (2, 103), OrderState.FILLED),
    Auction("not before the last", auction("market_on_close"), THREE[:2], None, OrderState.ACCEPTED),
    Auction(
        "submitted during the session", auction("market_on_close", at=INSIDE_FIRST), THREE, (2, 103), OrderState.FILLED
    ),
    Auction(
        "rule 1: submitted in the last bar, it waits for the next session's close",
        auction("market_on_close", at=INSIDE_THIRD),
        [*THREE, *NEXT],
        (4, 106),
        OrderState.FILLED,
    ),
    Auction("sell", auction("market_on_close", "sell"), THREE, (2, 103), OrderState.FILLED),
    Auction("no volume: over", auction("market_on_close"), [flat(100, 0), flat(100)], None, OrderState.EXPIRED),
]
LIMIT_ON_CLOSE = [
    Auction("closes below", auction("limit_on_close", limit=104), THREE, (2, 103), OrderState.FILLED),
    Auction("closes at it", auction("limit_on_close", limit=103), THREE, (2, 103), OrderState.FILLED),
    Auction(
        "closes above: over, whatever the bar reached before",
        auction("limit_on_close", limit=102.5),
        [*THREE, *NEXT],
        None,
        OrderState.EXPIRED,
    ),
    Auction("sell, closes above", auction("limit_on_close", "sell", limit=102), THREE, (2, 103), OrderState.FILLED),
    Auction("sell, closes at it", auction("limit_on_close", "sell", limit=103), THREE, (2, 103), OrderState.FILLED),
    Auction("sell, closes below", auction("limit_on_close", "sell", limit=104), THREE, None, OrderState.EXPIRED),
]
CASES = [*ON_OPEN, *LIMIT_ON_OPEN, *ON_CLOSE, *LIMIT_ON_CLOSE]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.order.type}: {case.name}" for case in CASES])
def test_rule_16_auctions(case):
    exchange = Exchange(account())
    pending, done = [case.order], []
    for number, here in enumerate(case.bars):
        while pending and pending[0].submitted_at <= opens(number):
            exchange.submit(pending.pop())
        done += [(number, fill) for fill in exchange.on_bar(opens(number), {"X": here})]
    expected = [] if case.fill is None else [(*case.fill, 100, "close" if "close" in case.order.type else "open")]
    assert [(number, fill.price, fill.quantity, fill.reason) for number, fill in done] == expected
    assert not any(fill.ambiguous for _, fill in done)
    assert exchange.status(case.order.id).state is case.state


COSTS = [  # rules 12 and 13: half-spread 10 bps and slippage 20 bps, as on market and limit orders
    ("market on open", auction("market_on_open", quantity=10), (100, 100.3, 1.0, 2.0)),
    ("limit on open", auction("limit_on_open", quantity=10, limit=101), (100, 100, 0, 0)),
    ("market on close", auction("market_on_close", quantity=10), (103, 103.309, 1.03, 2.06)),
    ("market on close, sell", auction("market_on_close", "sell", 10), (103, 102.691, 1.03, 2.06)),
    ("limit on close", auction("limit_on_close", quantity=10, limit=104), (103, 103, 0, 0)),
]


@pytest.mark.parametrize(("name", "wanted", "expected"), COSTS, ids=[case[0] for case in COSTS])
def test_rules_12_and_13_auctions_pay_as_market_and_limit_orders_do(name, wanted, expected):
    [fill] = trade([wanted], [bar(100, 104, 99, 103)], account(half_spread_bps=10, slippage_bps=20))
    got = (fill.reference_price, fill.price, fill.spread_cost, fill.slippage_cost)
    assert got == pytest.approx(expected, abs=1e-9)


SHARED = [  # rule 10: 100 units for all, of which the one at the open takes 70
    ("opening auction", "market_on_open", [("first", 70), ("auction", 30)]),
    ("closing auction", "market_on_close", [("first", 70), ("auction", 30)]),
]


@pytest.mark.parametrize(("name", "kind", "expected"), SHARED, ids=[case[0] for case in SHARED])
def test_rule_10_auctions_share_the_volume_of_their_bar_and_end_with_it(name, kind, expected):
    exchange = Exchange(account(participation=0.1))
    exchange.submit(order(quantity=70, id="first"))
    exchange.submit(auction(kind, quantity=70, id="auction"))
    done = exchange.on_bar(opens(0), {"X": flat(100, 1000)}) + exchange.on_bar(opens(1), {"X": flat(100, 1000)})
    assert [(fill.order_id, fill.quantity) for fill in done] == expected
    status = exchange.status("auction")
    assert (status.state, status.filled) == (OrderState.EXPIRED, 30)


def test_rule_18_sales_at_the_close_pay_for_purchases_at_it():
    exchange = Exchange(account(cash=1000))
    exchange.submit(order("buy", 10, symbol="X"))
    exchange.on_bar(opens(0), {"X": flat(100), "Y": flat(50)})
    exchange.submit(auction("market_on_close", "buy", 20, symbol="Y", at=opens(0)))
    exchange.submit(auction("market_on_close", "sell", 10, symbol="X", at=opens(0)))
    done = exchange.on_bar(opens(1), {"X": flat(100), "Y": flat(50)})
    assert [(fill.side, fill.symbol, fill.quantity) for fill in done] == [("sell", "X", 10), ("buy", "Y", 20)]
    assert exchange.equity == pytest.approx(1000, abs=1e-9)


def test_rule_18_a_purchase_at_the_close_is_checked_at_the_close():
    exchange = Exchange(account(cash=1000))
    wanted = auction("market_on_close", "buy", 10)
    exchange.submit(wanted)
    assert exchange.on_bar(opens(0), {"X": bar(100, 104, 99, 103)}) == []
    assert exchange.status(wanted.id).state is OrderState.REJECTED


def test_equity_after_a_fill_at_the_close_is_what_it_was():
    exchange = Exchange(account(cash=20_000))
    exchange.submit(auction("market_on_close"))
    exchange.on_bar(opens(0), {"X": bar(100, 104, 99, 103)})
    assert (exchange.cash, exchange.equity) == (20_000 - 10_300, 20_000)


REFUSED = [
    ("a limit on open without a limit", auction("limit_on_open"), "limit_price"),
    ("a limit on close without a limit", auction("limit_on_close"), "limit_price"),
    ("a market on open with a limit", auction("market_on_open", limit=100), "limit_price"),
    ("a market on close with a stop", auction("market_on_close", stop=100, at=SUNDAY), "stop_price"),
]


@pytest.mark.parametrize(("name", "wanted", "field"), REFUSED, ids=[case[0] for case in REFUSED])
def test_rule_16_an_auction_order_that_cannot_be_is_rejected(name, wanted, field):
    status = Exchange(account()).submit(wanted)
    assert status.state is OrderState.REJECTED
    assert field in status.reason
