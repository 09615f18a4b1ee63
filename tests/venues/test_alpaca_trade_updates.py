"""Alpaca's stream of trade updates on loopback, with alpaca-py's own: what it gives, and what it loses.

What alpaca-py does not do by itself is stated here by tests whose names say so; a gateway must make up for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.venues.alpaca import KEY, SECRET
from tests.venues.alpaca_running import Running
from tests.venues.alpaca_stream import AlpacaTrading
from tests.venues.market import Fault, Market, VenueClock, instant
from tests.venues.stream import Event

NOW = instant(2024, 3, 8, 15)
SECOND = timedelta(seconds=1)


@pytest.fixture
def market() -> Market:
    return Market(clock=VenueClock(NOW))


@pytest.fixture
def trading(market: Market) -> Iterator[AlpacaTrading]:
    with AlpacaTrading(market) as venue:
        yield venue


def order(number: int, status: str = "new") -> dict[str, Any]:
    """An order as Alpaca sends it with an update."""
    when = "2024-03-08T15:00:00Z"
    return {
        "id": f"61e69015-8549-4bfd-b9c3-01e75843{number:04d}", "client_order_id": f"ours-{number}", "symbol": "AAPL",
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "asset_class": "us_equity", "side": "buy", "qty": "3",
        "filled_qty": "0", "filled_avg_price": None, "order_class": "", "order_type": "market", "type": "market",
        "time_in_force": "day", "limit_price": None, "status": status, "extended_hours": False, "created_at": when,
        "updated_at": when, "submitted_at": when,
    }  # fmt: skip


def account(venue: AlpacaTrading, secret: str = SECRET, **more: Any) -> Running:
    from alpaca.trading.stream import TradingStream

    running = Running(venue, TradingStream(KEY, secret, url_override=venue.url), **more)
    running.stream.subscribe_trade_updates(running.handler)
    return running


def fill(venue: AlpacaTrading, number: int) -> None:
    venue.update(
        "fill", order(number, "filled"), execution_id=f"7ee5c4c2-1bf6-4a4e-9a15-2d3f4b5c{number:04d}", price="101.5",
        qty="3", position_qty="3",
    )  # fmt: skip


def ids(updates: list[Any]) -> list[str]:
    return [update.order.client_order_id for update in updates]


def test_a_trade_update_is_what_the_test_gave_with_the_venues_time(trading: AlpacaTrading, market: Market) -> None:
    market.clock.skew_seconds = 7.0
    with account(trading) as running:
        trading.until_listening("trade_updates")
        trading.update("new", order(1))
        fill(trading, 1)
        new, filled = running.take(2)
    assert (new.event, filled.event) == ("new", "fill")
    assert type(new.event) is str  # and no TradeEvent
    assert (filled.price, filled.qty, filled.position_qty) == (101.5, 3.0, 3.0)
    assert str(filled.execution_id) == trading.told()[1]["execution_id"]
    assert filled.order.client_order_id == "ours-1"
    assert filled.timestamp == NOW + 7 * SECOND  # the venue's clock is ahead
    assert filled.timestamp > market.clock.truth
    heard = [json.loads(message)["action"] for _, message in trading.heard]
    assert heard == ["authenticate", "listen"]


def test_the_trading_stream_wants_keys_first(trading: AlpacaTrading) -> None:
    with connect(trading.url, proxy=None) as plug:
        plug.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        assert json.loads(plug.recv(5)) == {
            "stream": "authorization",
            "data": {"status": "unauthorized", "action": "listen"},
        }
        trading.update("new", order(1))
        with pytest.raises(TimeoutError):
            plug.recv(0.05)


def test_wrong_keys_of_an_account_are_refused_for_ever(
    trading: AlpacaTrading, caplog: pytest.LogCaptureFixture
) -> None:
    with account(trading, secret="wrong"):
        trading.until(lambda: trading.connected >= 3, "a third try")
    assert "failed to authenticate" in caplog.text


@pytest.mark.parametrize("fault", [Fault("dropped"), Fault("closed")], ids=lambda fault: fault.kind)
def test_updates_during_a_reconnect_are_lost_and_it_listens_again(
    trading: AlpacaTrading, market: Market, fault: Fault
) -> None:
    with account(trading) as running:
        trading.until_listening("trade_updates")
        market.faults.add("trade_updates", fault, skip=1)
        trading.shut = True
        for number in (1, 2, 3):
            fill(trading, number)
        trading.shut = False
        trading.until_listening("trade_updates")
        fill(trading, 4)
        assert ids(running.take(2)) == ["ours-1", "ours-4"]
    assert [each["order"]["client_order_id"] for each in trading.lost()] == ["ours-2", "ours-3"]


def test_an_error_in_a_handler_of_updates_is_swallowed_and_the_fill_is_lost(trading: AlpacaTrading) -> None:
    with account(trading, refuses=lambda update: update.order.client_order_id == "ours-1") as running:
        trading.until_listening("trade_updates")
        fill(trading, 1)
        fill(trading, 2)
        assert ids(running.take(1)) == ["ours-2"]
    assert trading.connected == 1
    assert [one.copies for one in trading.log] == [1, 1]


@pytest.mark.parametrize(("kind", "numbers"), [("duplicated", [1, 1]), ("burst", [1] * 500)])
def test_an_update_that_comes_more_than_once_keeps_its_execution_id(
    trading: AlpacaTrading, market: Market, kind: str, numbers: list[int]
) -> None:
    with account(trading) as running:
        trading.until_listening("trade_updates")
        market.faults.add("trade_updates", Fault(kind, count=500))
        fill(trading, 1)
        got = running.take(len(numbers))
    assert ids(got) == [f"ours-{number}" for number in numbers]
    assert len({update.execution_id for update in got}) == 1


def test_updates_of_a_batch_may_come_in_another_order(trading: AlpacaTrading, market: Market) -> None:
    with account(trading) as running:
        trading.until_listening("trade_updates")
        market.faults.add("trade_updates", Fault("reordered"))
        stamped = {"order": order(1), "timestamp": "2024-03-08T15:00:00Z"}
        trading.publish(*(Event("trade_updates", {"event": event} | stamped) for event in ("new", "fill")))
        assert [update.event for update in running.take(2)] == ["fill", "new"]
