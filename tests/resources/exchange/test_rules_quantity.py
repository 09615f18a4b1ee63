"""Rules 10, 11 and 16: how much fills, and how long an order lives."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from resources.brokers.base import Order, OrderState
from resources.exchange import Bar, Exchange, Listing
from tests.resources.exchange.cases import account, bar, flat, opens, order, trade


@dataclass(frozen=True)
class Case:
    """An order, the volumes of the bars it meets (all at 100) and what fills on each; then how it stands."""

    name: str
    order: Order
    volumes: list[float]
    fills: list[float]
    state: OrderState


PARTICIPATION = [  # rule 10: a tenth of the volume
    Case("gtc rests and goes on", order(quantity=150), [1000, 300, 1000], [100, 30, 20], OrderState.FILLED),
    Case("gtc with more to come", order(quantity=150), [1000], [100], OrderState.PARTIALLY_FILLED),
    Case("day keeps what it got", order(quantity=150, tif="day"), [1000, 1000], [100, 0], OrderState.EXPIRED),
    Case("ioc cancels the rest", order(quantity=150, tif="ioc"), [1000, 1000], [100, 0], OrderState.CANCELLED),
    Case("ioc fills whole", order(quantity=100, tif="ioc"), [1000], [100], OrderState.FILLED),
    Case("fok whole", order(quantity=100, tif="fok"), [1000], [100], OrderState.FILLED),
    Case("fok not at all", order(quantity=101, tif="fok"), [1000, 9999], [0, 0], OrderState.CANCELLED),
    Case("less than a lot of volume", order(quantity=1), [9, 10], [0, 1], OrderState.FILLED),
]
NO_VOLUME = [  # rule 11
    Case("market waits", order(quantity=5), [0, 1000], [0, 5], OrderState.FILLED),
    Case("limit through the open waits", order(quantity=5, limit=105), [0, 1000], [0, 5], OrderState.FILLED),
    Case("a stop does not trigger", order(quantity=5, stop=99), [0], [0], OrderState.ACCEPTED),
    Case("ioc is gone", order(quantity=5, tif="ioc"), [0, 1000], [0, 0], OrderState.CANCELLED),
]
LIFE = [  # rule 16
    Case("day ends with its first session", order(quantity=5, limit=90, tif="day"), [1000], [0], OrderState.EXPIRED),
    Case("day ends in a halt too", order(quantity=5, tif="day"), [0, 1000], [0, 0], OrderState.EXPIRED),
    Case(
        "day not before it is eligible",
        order(quantity=5, tif="day", at=opens(1)),
        [1000, 1000],
        [0, 5],
        OrderState.FILLED,
    ),
    Case("gtc rests", order(quantity=5, limit=90), [1000] * 5, [0] * 5, OrderState.ACCEPTED),
]


def check(case: Case) -> None:
    exchange = Exchange(account(participation=0.1))
    exchange.submit(case.order)
    got = [
        sum(fill.quantity for fill in exchange.on_bar(opens(number), {"X": flat(100, volume)}))
        for number, volume in enumerate(case.volumes)
    ]
    status = exchange.status(case.order.id)
    assert got == case.fills
    assert (status.state, status.filled) == (case.state, sum(case.fills))


def table(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


@table(PARTICIPATION)
def test_rule_10_participation(case):
    check(case)


@table(NO_VOLUME)
def test_rule_11_no_volume_fills_nothing(case):
    check(case)


@table(LIFE)
def test_rule_16_life_of_an_order(case):
    check(case)


def test_rule_10_orders_in_one_symbol_share_the_volume_in_order_of_submission():
    fills = trade(
        [order(quantity=70, id="a"), order(quantity=70, id="b")], [flat(100, 1000)], account(participation=0.1)
    )
    assert [(fill.order_id, fill.quantity, fill.ambiguous) for fill in fills] == [("a", 70, False), ("b", 30, False)]


def test_rule_10_the_open_takes_the_volume_before_the_inside():
    orders = [order(quantity=70, limit=99, id="inside"), order(quantity=70, id="open")]
    fills = trade(orders, [bar(100, 101, 98, 100, 1000)], account(participation=0.1))
    assert [(fill.order_id, fill.quantity, fill.ambiguous) for fill in fills] == [
        ("open", 70, False),
        ("inside", 30, False),
    ]


RIVALS = [  # inside the bar nobody knows who came first: the worse for the account does, and both are flagged
    (
        "the dearer buy",
        order(quantity=80, limit=95, id="low"),
        order(quantity=80, limit=97, id="high"),
        ["high", "low"],
    ),
    (
        "the stop before the limit",
        order("sell", 80, limit=102, id="take"),
        order("sell", 80, stop=97, id="loss"),
        ["loss", "take"],
    ),
    (
        "the cheaper sale",
        order("sell", 80, limit=103, id="high"),
        order("sell", 80, limit=102, id="low"),
        ["low", "high"],
    ),
]


@pytest.mark.parametrize(("name", "first", "second", "expected"), RIVALS, ids=[case[0] for case in RIVALS])
def test_rule_10_competition_for_volume_inside_a_bar_is_ambiguous(name, first, second, expected):
    fills = trade([first, second], [bar(100, 105, 94, 100, 1000)], account(participation=0.1))
    assert [fill.order_id for fill in fills] == expected
    assert [fill.quantity for fill in fills] == [80, 20]
    assert all(fill.ambiguous for fill in fills)


def test_rule_10_inside_fills_that_do_not_compete_are_not_ambiguous():
    orders = [order(quantity=10, limit=97), order("sell", 10, limit=102)]
    fills = trade(orders, [bar(100, 105, 94, 100, 1000)], account(participation=0.1))
    assert [fill.ambiguous for fill in fills] == [False, False]


TICK = [  # rule 10: prices on a tick of 0.05, away from the account's advantage
    ("market buy up", order("buy"), flat(10.01), 10.05),
    ("market sell down", order("sell"), flat(10.04), 10.00),
    ("on the tick already", order("buy"), flat(10.15), 10.15),
    ("buy limit down", order("buy", limit=10.04), bar(11, 11, 9, 10), 10.00),
    ("sell limit up", order("sell", limit=10.01), bar(9, 11, 9, 10), 10.05),
    ("buy stop up", order("buy", stop=10.01), bar(9, 11, 9, 10), 10.05),
    ("sell stop down", order("sell", stop=10.04), bar(11, 11, 9, 10), 10.00),
]


@pytest.mark.parametrize(("name", "wanted", "here", "price"), TICK, ids=[case[0] for case in TICK])
def test_rule_10_tick(name, wanted: Order, here: Bar, price):
    exchange = Exchange(account(), {"X": Listing(tick=0.05)})
    exchange.submit(wanted)
    assert [fill.price for fill in exchange.on_bar(opens(0), {"X": here})] == pytest.approx([price], abs=1e-12)


def test_rule_10_lots():
    exchange = Exchange(account(participation=0.1), {"X": Listing(lot=10)})
    assert exchange.submit(order(quantity=15)).state is OrderState.REJECTED
    exchange.submit(order(quantity=50))
    assert [fill.quantity for fill in exchange.on_bar(opens(0), {"X": flat(100, 290)})] == [20]


@pytest.mark.parametrize("tif", ["ioc", "fok"])
def test_rule_10_an_immediate_limit_has_only_the_open(tif):
    assert trade([order(limit=95, tif=tif)], [bar(100, 101, 90, 100), flat(90)]) == []
    assert [fill.price for fill in trade([order(limit=95, tif=tif)], [flat(94)])] == [94]


def test_rule_11_a_symbol_without_a_bar_fills_nothing():
    fills = trade([order(symbol="X")], [{"Y": flat(50)}, {"X": flat(100), "Y": flat(50)}])
    assert [(fill.symbol, fill.ts) for fill in fills] == [("X", opens(1))]
