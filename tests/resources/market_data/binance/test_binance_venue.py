"""Binance's REST on loopback as the real client sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tests.resources.market_data.binance.binance_desk import MINUTE, NOW, Desk, desks, minutes, moments, trading
from tests.venues.market import Quote, instant


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


def test_the_venue_is_binance_to_the_client(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(1500))
    at.market.set_quotes("BTCUSDT", [Quote(instant(2024, 3, 1), 59_999.5, 1.5, 60_000.5, 2.5)])
    at.market.set_bars("BTCUSDT.P", "1m", minutes(3))
    trades = trading(at, "BTCUSDT", moments(instant(2024, 3, 11, 12, 20), 1200, timedelta(milliseconds=10)))
    client = at.venue.client()()
    first = int(instant(2024, 3, 1).timestamp() * 1000)
    assert client.get_server_time() == {"serverTime": int(NOW.timestamp() * 1000)}
    assert client.get_symbol_info("ETHBTC")["quoteAsset"] == "BTC"
    assert len(client.get_historical_klines("BTCUSDT", "1m", first)) == 1500
    assert len(client.get_klines(symbol="BTCUSDT", interval="1m")) == 500
    last = int(instant(2024, 3, 11, 12, 15).timestamp() * 1000)
    assert [each["a"] for each in client.aggregate_trade_iter("BTCUSDT", last)] == [each.trade_id for each in trades]
    assert client.get_orderbook_ticker(symbol="BTCUSDT")["bidPrice"] == "59999.50000000"
    assert client.get_order_book(symbol="BTCUSDT")["asks"] == [["60000.50000000", "2.50000000"]]
    assert client.futures_time() == client.get_server_time()
    assert len(client.futures_klines(symbol="BTCUSDT", interval="1m", startTime=first)) == 3
    assert int(client.response.headers["X-MBX-USED-WEIGHT-1M"]) == 1 + 5


def test_old_trades_need_a_key(desk: Callable[..., Desk]) -> None:
    from binance.exceptions import BinanceAPIException

    at = desk()
    trades = trading(at, "BTCUSDT", moments(instant(2024, 3, 1), 20, MINUTE))
    with pytest.raises(BinanceAPIException, match="-2014"):
        at.venue.client()().get_historical_trades(symbol="BTCUSDT")
    old = at.venue.client()("key", "secret").get_historical_trades(symbol="BTCUSDT", fromId=trades[5].trade_id, limit=2)
    assert [each["id"] for each in old] == [trades[5].trade_id, trades[6].trade_id]


def test_the_venue_refuses_an_hour_between_times_and_a_number_beside_them(desk: Callable[..., Desk]) -> None:
    from binance.exceptions import BinanceAPIException

    client = desk().venue.client()()
    for code, query in [
        (-1127, {"startTime": 0, "endTime": 3_600_001}),
        (-1128, {"startTime": 0, "fromId": 1}),
    ]:
        with pytest.raises(BinanceAPIException) as caught:
            client.get_aggregate_trades(symbol="BTCUSDT", **query)
        assert caught.value.code == code


def test_the_clients_other_addresses_lead_nowhere(desk: Callable[..., Desk]) -> None:
    from binance.exceptions import BinanceAPIException

    with pytest.raises(BinanceAPIException, match="404"):
        desk().venue.client()().get_products()
