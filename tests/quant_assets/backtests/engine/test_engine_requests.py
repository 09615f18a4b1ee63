"""Several requests about one order: obeyed one after the other, alike in a backtest and in the live exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from quant_assets.backtests import run
from resources.exchange import Bar, Exchange, OrderError
from tests.quant_assets.backtests.worlds import cleaned, closes, sent, sized
from tests.resources.exchange.cases import account, bar, opens, order

HOUR = timedelta(hours=1)
DAYS = 7


@dataclass(frozen=True)
class Request:
    """An action sent so many hours after the close of a session; `refused` at once by the live exchange, which knows
    what has filled."""

    session: int
    hours: int
    action: str
    changes: dict[str, float] = field(default_factory=dict)
    refused: bool = False


@dataclass(frozen=True)
class Chain:
    """Requests about a purchase of 60 at a limit; its fills (session, quantity, price) and how it stands after six
    sessions, of which each trades 10 below 99 (low of 98)."""

    name: str
    limit: float
    requests: list[Request]
    fills: list[tuple[int, float, float]]
    state: str
    quantity: float = 60
    last_limit: float = 99
    latency: float = 0


def replaced(session: int, hours: int = 1, refused: bool = False, **changes: float) -> Request:
    return Request(session, hours, "replace", changes, refused)


def cancelled(session: int, hours: int = 1) -> Request:
    return Request(session, hours, "cancel")


def tens(*sessions: int, price: float = 99) -> list[tuple[int, float, float]]:
    return [(session, 10, price) for session in sessions]


def too_few(session: int, hours: int = 1) -> Request:
    """To a quantity that has filled already."""
    return replaced(session, hours, refused=True, quantity=10.0)


CHAINS = [
    Chain("a cancel after a replace that was rejected", 99, [too_few(1), cancelled(2)], tens(0, 1, 2),
          "cancelled"),
    Chain("a replace after it", 99, [too_few(1), replaced(2, limit_price=97)], tens(0, 1, 2),
          "cancelled", last_limit=97),
    Chain("another, and then a cancel", 99, [too_few(1), too_few(1, 2), cancelled(1, 3)],
          tens(0, 1), "cancelled"),
    Chain("rejected between two that are not", 97, [replaced(0, limit_price=99), too_few(3),
          replaced(3, 2, quantity=40), cancelled(4)], tens(1, 2, 3, 4), "filled", quantity=40),
    Chain("rejected as it arrives, a day after it was sent", 99, [replaced(1, quantity=15), cancelled(2)],
          tens(1, 2, 3), "cancelled", latency=86_400),
    Chain("replaced and cancelled between two bars", 97, [replaced(0), cancelled(0, 2)], [], "cancelled",
          last_limit=97),
    Chain("replaced at a price that would fill, and cancelled", 97, [replaced(0, limit_price=99), cancelled(0, 2)],
          [], "cancelled"),
    Chain("replaced twice", 97, [replaced(0, limit_price=99), replaced(0, 2, limit_price=96)], [], "cancelled",
          last_limit=96),
    Chain("the second leaves what the first changed", 97, [replaced(0, limit_price=99), replaced(0, 2, quantity=20)],
          tens(1, 2), "filled", quantity=20),
    Chain("replaced thrice and cancelled", 97, [replaced(0, limit_price=99), replaced(0, 2, quantity=20),
          replaced(0, 3, limit_price=98.5), cancelled(1)], [(1, 10, 98.5)], "cancelled", quantity=20,
          last_limit=98.5),
    Chain("nothing after a cancel", 97, [cancelled(0), replaced(0, 2, limit_price=99)], [], "cancelled",
          last_limit=97),
]  # fmt: skip


@pytest.mark.parametrize("case", CHAINS, ids=[case.name for case in CHAINS])
def test_requests_in_a_backtest(case: Chain) -> None:
    rows: list[dict[str, Any]] = [
        {"ts": closes(each.session) + HOUR * each.hours, "symbol": "X", "order_id": "x", "action": each.action,
         **each.changes}
        for each in case.requests
    ]  # fmt: skip
    first = sized(opens(0), "X", "buy", 60.0, order_id="x", type="limit", limit_price=case.limit)
    settings = account(latency_seconds=case.latency)
    result = run(cleaned({"X": [day()] * DAYS}), sent(first, *rows), settings)
    number = {opens(session): session for session in range(DAYS)}
    fills = [(number[ts], *rest) for ts, *rest in result.fills.select("ts", "quantity", "price").rows()]
    assert fills == case.fills
    assert result.orders.select("order_id", "state", "quantity", "limit_price").rows() == [
        ("x", case.state, case.quantity, case.last_limit)
    ]


@pytest.mark.parametrize("case", CHAINS, ids=[case.name for case in CHAINS])
def test_requests_in_the_live_exchange(case: Chain) -> None:
    exchange = Exchange(account(latency_seconds=case.latency))
    exchange.submit(order("buy", 60, limit=case.limit, id="x", at=opens(0)))
    fills: list[tuple[int, float, float]] = []
    for session in range(DAYS):
        for each in (each for each in case.requests if each.session == session - 1):
            send(exchange, each)
        done = exchange.on_bar(opens(session), {"X": day(ends=closes(session))})
        fills += [(session, fill.quantity, fill.price) for fill in done]
    assert fills == case.fills
    exchange.cancel("x")  # as the end of a history does
    status = exchange.status("x")
    assert (status.state, status.filled) == (case.state, sum(quantity for _, quantity, _ in case.fills))
    assert (status.order.quantity, status.order.limit_price) == (case.quantity, case.last_limit)


def day(**more: Any) -> Bar:
    return bar(100, 101, 98, 100, 10, **more)


def send(exchange: Exchange, request: Request) -> None:
    at = closes(request.session) + HOUR * request.hours
    if request.action == "cancel":
        exchange.cancel("x", at=at)
    elif request.refused:
        with pytest.raises(OrderError, match="are filled already"):
            exchange.replace("x", **request.changes, at=at)
    else:
        exchange.replace("x", **request.changes, at=at)


def test_what_waits_for_a_target_that_was_replaced_twice_over_falls_with_it() -> None:
    """By a request, and then by a later target: whoever looks for what took its place comes to an end."""
    rows = (
        {"ts": 0, "symbol": "X", "target_position": 60.0, "order_id": "x", "type": "limit", "limit_price": 97.0},
        {"ts": 1, "symbol": "X", "order_id": "x", "action": "replace", "limit_price": 96.0},
        {"ts": 2, "symbol": "X", "target_position": 10.0, "order_id": "y"},
        sized(closes(2) + HOUR, "X", "sell", 1.0, order_id="c", parent="x"),
        {"ts": 3, "symbol": "X", "order_id": "x", "action": "cancel"},
    )
    result = run(cleaned({"X": [day()] * DAYS}), sent(*rows), account())
    assert result.orders.select("order_id", "state", "reason").rows() == [
        ("x", "cancelled", "replaced by a later order"),
        ("y", "filled", ""),
        ("c", "cancelled", "the order that it waited for ended without a fill"),
    ]
