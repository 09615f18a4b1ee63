"""Rule 16: how long an order lives, in sessions of several bars and to an instant (GTD), and reduce-only orders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from resources.brokers.base import Order, OrderState, TimeInForce
from resources.exchange import Bar, Exchange, Execution
from tests.resources.exchange.cases import MONDAY, account, bar, flat, opens, order

HOUR = timedelta(hours=1)


def until(instant: datetime, side: str = "buy", **words) -> Order:
    """A GTD order."""
    return replace(order(side, **words), tif=TimeInForce.GTD, expire_at=instant)


def play(exchange: Exchange, wanted: Order, bars: list[Bar]) -> list[tuple[int, Execution]]:
    """Fills, each with the number of its bar; the order is submitted when its time has come."""
    pending, done = [wanted], []
    for number, here in enumerate(bars):
        while pending and pending[0].submitted_at <= opens(number):
            exchange.submit(pending.pop())
        done += [(number, fill) for fill in exchange.on_bar(opens(number), {"X": here})]
    return done


@dataclass(frozen=True)
class Life:
    """An order, the lows of its bars (all open at 100), the bar that fills it, and how it stands after the last."""

    name: str
    order: Order
    lows: list[float]
    fill: int | None
    state: OrderState


SESSION = 3
"""Bars in a session of these cases: 0 to 2, 3 to 5, …"""
FIRST_BAR, LAST_BAR = MONDAY + HOUR, opens(2) + HOUR

DAY = [
    Life("fills in the first bar", order(limit=95, tif="day"), [94, 99, 99], 0, OrderState.FILLED),
    Life("fills in the middle", order(limit=95, tif="day"), [99, 94, 99], 1, OrderState.FILLED),
    Life("fills in the last bar", order(limit=95, tif="day"), [99, 99, 94], 2, OrderState.FILLED),
    Life("still lives before it", order(limit=95, tif="day"), [99, 99], None, OrderState.ACCEPTED),
    Life("ends with it", order(limit=95, tif="day"), [99, 99, 99], None, OrderState.EXPIRED),
    Life("is gone in the next session", order(limit=95, tif="day"), [99, 99, 99, 94], None, OrderState.EXPIRED),
    Life(
        "submitted during the session, ends with it",
        order(limit=95, tif="day", at=FIRST_BAR),
        [99, 99, 99, 94],
        None,
        OrderState.EXPIRED,
    ),
    Life(
        "submitted in the last bar, it is the next session's",
        order(limit=95, tif="day", at=LAST_BAR),
        [99, 99, 94, 99, 94, 99],
        4,
        OrderState.FILLED,
    ),
    Life(
        "and ends with that",
        order(limit=95, tif="day", at=LAST_BAR),
        [99, 99, 94, 99, 99, 99, 94],
        None,
        OrderState.EXPIRED,
    ),
    Life("gtc goes on", order(limit=95), [99, 99, 99, 99, 94, 99], 4, OrderState.FILLED),
    Life("ioc has its first open only", order(limit=95, tif="ioc"), [94, 94], None, OrderState.CANCELLED),
]
GTD = [
    Life("fills before its instant", until(opens(2), limit=95), [99, 94, 99], 1, OrderState.FILLED),
    Life("a bar that opens at it is too late", until(opens(1), limit=95), [99, 94], None, OrderState.EXPIRED),
    Life("a bar that opens after it too", until(opens(1) - HOUR, limit=95), [99, 94], None, OrderState.EXPIRED),
    Life("outlives its session", until(opens(5), limit=95), [99, 99, 99, 99, 94], 4, OrderState.FILLED),
    Life("rests before it", until(opens(5), limit=95), [99, 99], None, OrderState.ACCEPTED),
    Life("a market order that comes too late", until(opens(1), at=FIRST_BAR), [99, 99], None, OrderState.EXPIRED),
    Life("a stop", until(opens(1), "sell", stop=95), [99, 94], None, OrderState.EXPIRED),
]


@pytest.mark.parametrize("case", [*DAY, *GTD], ids=[f"{case.order.tif}: {case.name}" for case in [*DAY, *GTD]])
def test_rule_16_life_of_an_order(case):
    exchange = Exchange(account())
    bars = [
        bar(100, 101, low, 100, first=number % SESSION == 0, last=number % SESSION == SESSION - 1)
        for number, low in enumerate(case.lows)
    ]
    done = play(exchange, case.order, bars)
    assert [(number, fill.price) for number, fill in done] == ([] if case.fill is None else [(case.fill, 95)])
    assert exchange.status(case.order.id).state is case.state


@dataclass(frozen=True)
class Outlasted:
    """A GTD order whose instant is an hour into a bar of 6 1/2, and its fill in that bar (price, ambiguous)."""

    name: str
    order: Order
    bar: tuple[float, float, float, float]
    fill: tuple[float, bool] | None


SOON = MONDAY + HOUR
OUTLASTED = [  # nobody knows whether the price came before the instant: the worse is taken
    Outlasted("a limit reached inside", until(SOON, limit=95), (100, 101, 94, 100), None),
    Outlasted("a limit at the open", until(SOON, limit=95), (94, 101, 93, 100), (94, False)),
    Outlasted("a sell limit reached inside", until(SOON, "sell", limit=105), (100, 106, 99, 100), None),
    Outlasted("a stop reached inside", until(SOON, "sell", stop=95), (100, 101, 94, 100), (95, True)),
    Outlasted("a buy stop reached inside", until(SOON, stop=105), (100, 106, 99, 100), (105, True)),
    Outlasted("a stop at the open", until(SOON, "sell", stop=95), (94, 101, 93, 100), (94, False)),
    Outlasted("market", until(SOON), (100, 101, 99, 100), (100, False)),
    Outlasted("an instant at the bar's end", until(MONDAY + 6.5 * HOUR, limit=95), (100, 101, 94, 100), (95, False)),
]


@pytest.mark.parametrize("case", OUTLASTED, ids=[case.name for case in OUTLASTED])
def test_rule_16_an_instant_inside_a_bar(case):
    exchange = Exchange(account())
    here = bar(*case.bar, ends=MONDAY + 6.5 * HOUR)
    done = play(exchange, case.order, [here, flat(100)])
    assert [(fill.price, fill.ambiguous) for _, fill in done] == ([] if case.fill is None else [case.fill])
    assert exchange.status(case.order.id).state is (OrderState.EXPIRED if case.fill is None else OrderState.FILLED)


def test_rule_16_what_filled_before_its_instant_stays_filled():
    exchange = Exchange(account())
    wanted = until(opens(1))
    done = play(exchange, wanted, [flat(100, volume=60), flat(100)])
    assert [fill.quantity for _, fill in done] == [60]
    status = exchange.status(wanted.id)
    assert (status.state, status.filled) == (OrderState.EXPIRED, 60)


@dataclass(frozen=True)
class Reduce:
    """From a position of 60 (bought or sold at 100), orders over the bars after it: fills, position, ends."""

    name: str
    held: float
    orders: list[Order]
    bars: list[Bar]
    fills: list[tuple[str, float, float]]
    left: float
    ends: dict[str, OrderState]


def reducing(side: str, quantity: float = 100, id: str = "reduce", **words) -> Order:
    return replace(order(side, quantity, id=id, at=opens(0), **words), reduce_only=True)


def also(side: str, quantity: float, **words) -> Order:
    return order(side, quantity, id="other", at=opens(0), **words)


DONE, OFF, WAITS = OrderState.FILLED, OrderState.CANCELLED, OrderState.ACCEPTED
TAKE, STOP = reducing("sell", limit=105), reducing("sell", stop=95)
REDUCE = [
    Reduce("less than is held", 60, [reducing("sell", 50)], [flat(100)], [("reduce", 50, 100)], 10, {"reduce": DONE}),
    Reduce("all that is held", 60, [reducing("sell", 60)], [flat(100)], [("reduce", 60, 100)], 0, {"reduce": DONE}),
    Reduce("more: only that", 60, [reducing("sell")], [flat(100)], [("reduce", 60, 100)], 0, {"reduce": OFF}),
    Reduce("more, short", -60, [reducing("buy")], [flat(100)], [("reduce", 60, 100)], 0, {"reduce": OFF}),
    Reduce("it would add", 60, [reducing("buy")], [flat(100)], [], 60, {"reduce": OFF}),
    Reduce("it would add to a short", -60, [reducing("sell")], [flat(100)], [], -60, {"reduce": OFF}),
    Reduce("a limit", 60, [TAKE], [bar(100, 106, 99, 100)], [("reduce", 60, 105)], 0, {"reduce": OFF}),
    Reduce("a stop", 60, [STOP], [bar(100, 101, 94, 96)], [("reduce", 60, 95)], 0, {"reduce": OFF}),
    Reduce("rests", 60, [TAKE], [flat(100)], [], 60, {"reduce": WAITS}),
    Reduce(
        "nothing is left when its price comes",
        60,
        [also("sell", 60), TAKE],
        [flat(100), flat(110)],
        [("other", 60, 100)],
        0,
        {"reduce": OFF},
    ),
    Reduce(
        "the position has turned round",
        60,
        [also("sell", 100), TAKE],
        [flat(100), flat(110)],
        [("other", 100, 100)],
        -40,
        {"reduce": OFF},
    ),
    Reduce(
        "less is left when its price comes",
        60,
        [also("sell", 20), TAKE],
        [flat(100), flat(110)],
        [("other", 20, 100), ("reduce", 40, 110)],
        0,
        {"reduce": OFF},
    ),
    Reduce(
        "two that together ask for more",
        60,
        [reducing("sell", 50, stop=95), reducing("sell", 50, limit=105, id="other")],
        [bar(100, 106, 94, 100)],
        [("reduce", 50, 95), ("other", 10, 105)],
        0,
        {"reduce": DONE, "other": OFF},
    ),
    Reduce(
        "what volume leaves rests",
        60,
        [reducing("sell")],
        [flat(100, volume=25)],
        [("reduce", 25, 100)],
        35,
        {"reduce": OrderState.PARTIALLY_FILLED},
    ),
    Reduce(
        "bought more meanwhile: it may sell that too",
        60,
        [also("buy", 20), TAKE],
        [flat(100), flat(110)],
        [("other", 20, 100), ("reduce", 80, 110)],
        0,
        {"reduce": OFF},
    ),
]


@pytest.mark.parametrize("case", REDUCE, ids=[case.name for case in REDUCE])
def test_rule_16_reduce_only_never_increases_or_turns_a_position(case):
    exchange = Exchange(account())
    play(exchange, order("buy" if case.held > 0 else "sell", abs(case.held)), [flat(100)])
    for each in case.orders:
        exchange.submit(each)
    done = [fill for number, here in enumerate(case.bars, 1) for fill in exchange.on_bar(opens(number), {"X": here})]
    assert [(fill.order_id, fill.quantity, fill.price) for fill in done] == case.fills
    assert [position.quantity for position in exchange.positions()] == ([case.left] if case.left else [])
    assert {name: exchange.status(name).state for name in case.ends} == case.ends


def test_rule_16_reduce_only_without_any_position_is_cancelled():
    exchange = Exchange(account())
    exchange.submit(reducing("sell"))
    assert exchange.on_bar(opens(1), {"X": flat(100)}) == []
    status = exchange.status("reduce")
    assert (status.state, status.filled) == (OFF, 0)
    assert "reduce" in status.reason


REFUSED = [
    ("gtd without an instant", replace(order(), tif=TimeInForce.GTD)),
    ("an instant without gtd", replace(order(), expire_at=opens(3))),
    ("an instant without a zone", until(opens(3).replace(tzinfo=None))),
]


@pytest.mark.parametrize(("name", "wanted"), REFUSED, ids=[case[0] for case in REFUSED])
def test_rule_16_an_instant_that_cannot_be_is_rejected(name, wanted):
    status = Exchange(account()).submit(wanted)
    assert status.state is OrderState.REJECTED
    assert "expire_at" in status.reason
