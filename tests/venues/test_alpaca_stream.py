"""Alpaca's market-data streams on loopback, with those of alpaca-py as they are: what they give, and what they lose.

What alpaca-py does not do by itself is stated here by tests whose names say so; a gateway must make up for each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgpack
import pytest
from websockets.sync.client import connect

from tests.venues.alpaca import KEY, SECRET
from tests.venues.alpaca_running import Running
from tests.venues.alpaca_stream import AlpacaData, nanoseconds, trade
from tests.venues.market import (
    Fault,
    Listing,
    Market,
    Quote,
    Trade,
    VenueClock,
    every,
    instant,
    seeded_bars,
    seeded_quotes,
    seeded_trades,
)
from tests.venues.stream import Event

NOW = instant(2024, 3, 8, 15)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def market() -> Market:
    market = Market(clock=VenueClock(NOW))
    stamps = every(NOW + SECOND, SECOND, 120)
    for seed, symbol in enumerate(("AAPL", "MSFT", "BTC/USD")):
        market.add(Listing(symbol, "crypto" if "/" in symbol else "equity"))
        market.set_trades(symbol, seeded_trades(seed, stamps))
        market.set_quotes(symbol, seeded_quotes(seed, stamps, lot=100.0))
        market.set_bars(symbol, "1m", seeded_bars(seed, every(NOW, MINUTE, 3)))
    return market


@pytest.fixture
def data(market: Market) -> Iterator[AlpacaData]:
    with AlpacaData(market) as venue:
        yield venue


def stocks(venue: AlpacaData, feed: str = "iex", key: str = KEY, **options: Any) -> Any:
    from alpaca.data.live import StockDataStream

    return StockDataStream(key, SECRET, url_override=venue.url(feed), **options)


def listening(venue: AlpacaData, *symbols: str, options: dict[str, Any] | None = None, **more: Any) -> Running:
    """A stream of trades of these."""
    running = Running(venue, stocks(venue, **(options or {})), **more)
    running.stream.subscribe_trades(running.handler, *symbols)
    return running


def row(message: Any) -> Trade:
    return Trade(message.timestamp, message.price, message.size, int(message.id))


def trades(market: Market, symbol: str, first: int, last: int) -> list[Trade]:
    return [each._replace(side="buy") for each in market.trades[symbol][first:last]]  # Alpaca tells no side of shares


# market data


def test_trades_quotes_and_bars_are_the_markets(data: AlpacaData, market: Market) -> None:
    running = Running(data, stocks(data))
    for channel in ("trades", "quotes", "bars"):
        getattr(running.stream, f"subscribe_{channel}")(running.handler, "AAPL", "MSFT")
    with running:
        data.until_listening("trades.MSFT", "quotes.AAPL", "bars.AAPL")
        data.advance(60)
        got = running.take(60 * 4 + 2)
        assert running.nothing_more()
    for symbol in ("AAPL", "MSFT"):
        of = {
            kind: [each for each in got if each.symbol == symbol and type(each).__name__ == kind]
            for kind in ("Trade", "Quote", "Bar")
        }
        assert [row(each) for each in of["Trade"]] == trades(market, symbol, 0, 60)
        quotes = [
            Quote(each.timestamp, each.bid_price, each.bid_size * 100, each.ask_price, each.ask_size * 100)
            for each in of["Quote"]
        ]  # of 2024: in round lots
        assert quotes == market.quotes[symbol][:60]
        first = market.bars[symbol, "1m"][0]
        bars = [(b.timestamp, b.open, b.high, b.low, b.close, b.volume) for b in of["Bar"]]
        assert bars == [tuple(first)]


def test_raw_messages_are_exactly_those_of_the_log_in_its_order(data: AlpacaData) -> None:
    with listening(data, "AAPL", "MSFT", options={"raw_data": True}) as running:
        data.until_listening("trades.AAPL", "trades.MSFT")
        data.advance(7)
        data.advance(5)
        told = [one.content for one in data.log if one.copies]
        assert running.take(24) == told
    assert [each["S"] for each in told] == ["AAPL", "MSFT"] * 12
    assert {one.topic for one in data.log if not one.copies} == {
        "quotes.AAPL", "quotes.MSFT", "quotes.BTC/USD", "trades.BTC/USD"
    }  # fmt: skip


def test_crypto_has_a_stream_of_its_own(data: AlpacaData, market: Market) -> None:
    from alpaca.data.live import CryptoDataStream

    running = Running(data, CryptoDataStream(KEY, SECRET, url_override=data.url("crypto")))
    running.stream.subscribe_trades(running.handler, "*")
    running.stream.subscribe_quotes(running.handler, "BTC/USD")
    with running:
        data.until_listening("trades.*", "quotes.BTC/USD")
        data.advance(3)
        got = running.take(6)
        assert running.nothing_more()
    assert [row(each) for each in got if hasattr(each, "price")] == trades(market, "BTC/USD", 0, 3)
    sizes = [each.bid_size for each in got if hasattr(each, "bid_size")]
    assert sizes == [each.bid_size for each in market.quotes["BTC/USD"][:3]]  # no lots here


def test_symbols_come_and_go_while_it_runs(data: AlpacaData) -> None:
    with listening(data, "AAPL", options={"raw_data": True}) as running:
        data.until_listening("trades.AAPL")
        running.settled().stream.subscribe_trades(running.handler, "MSFT")
        data.until_listening("trades.AAPL", "trades.MSFT", "corrections.MSFT", "cancelErrors.MSFT")
        data.advance(1)
        assert [each["S"] for each in running.take(2)] == ["AAPL", "MSFT"]
        running.stream.unsubscribe_trades("AAPL")
        data.until(lambda: "trades.AAPL" not in data.peers[0].topics, "unsubscribing")
        data.advance(1)
        assert [each["S"] for each in running.take(1)] == ["MSFT"]
        assert running.nothing_more()


def test_stamps_go_in_nanoseconds_of_which_parsing_drops_the_last_three_digits(data: AlpacaData) -> None:
    event = trade("AAPL", Trade(NOW, 1.5, 1.0, 7))
    exact = Event(event.topic, event.content | {"t": nanoseconds(NOW, 123_456_789)})
    for raw in (True, False):
        with listening(data, "AAPL", options={"raw_data": raw}) as running:
            data.until_listening("trades.AAPL")
            data.publish(exact)
            (got,) = running.take(1)
        data.until(lambda: not data.peers, "its leaving")
        if raw:
            assert got["t"].to_unix_nano() % 10**9 == 123_456_789
        else:
            assert got.timestamp == NOW + timedelta(microseconds=123_456)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ([{"action": "subscribe", "trades": ["AAPL"]}], {"code": 401, "msg": "not authenticated"}),
        ([{"action": "auth", "key": KEY, "secret": "x"}], {"code": 402, "msg": "auth failed"}),
        ([{"action": "auth", "key": KEY, "secret": SECRET}] * 2, {"code": 403, "msg": "already authenticated"}),
        ([{"action": "dance"}], {"code": 400, "msg": "invalid syntax"}),
    ],
)
def test_refusals_are_in_alpacas_words(data: AlpacaData, said: list[Any], answer: dict[str, Any]) -> None:
    with connect(data.url("iex"), proxy=None) as plug:
        assert msgpack.unpackb(plug.recv(5)) == [{"T": "success", "msg": "connected"}]  # the venue speaks first
        for message in said:
            plug.send(msgpack.packb(message))
            got = msgpack.unpackb(plug.recv(5))
    assert got == [{"T": "error"} | answer]


# faults, and what alpaca-py makes of them


@pytest.mark.parametrize("fault", [Fault("dropped"), Fault("closed")], ids=lambda fault: fault.kind)
def test_events_during_a_reconnect_are_lost_and_it_subscribes_again_by_itself(
    data: AlpacaData, market: Market, fault: Fault
) -> None:
    with listening(data, "AAPL", patient=True) as running:
        data.until_listening("trades.AAPL")
        data.advance(1)
        market.faults.add("trades.AAPL", fault)
        data.advance(1)  # with this the connection ends
        began = time.monotonic()
        data.advance(1)  # and this is told to nobody
        data.until_listening("trades.AAPL")
        assert 0.3 < time.monotonic() - began < 5  # half a second to a second
        data.advance(1)
        got = [row(each) for each in running.take(2)]
        assert running.nothing_more()
    all_four = trades(market, "AAPL", 0, 4)
    assert got == [all_four[0], all_four[3]]
    assert [each["i"] for each in data.lost() if each["T"] == "t" and each["S"] == "AAPL"] == [2, 3]
    assert data.connected == 2


def test_a_silent_stream_is_not_noticed_by_itself(data: AlpacaData, market: Market) -> None:
    with listening(data, "AAPL") as running:
        data.until_listening("trades.AAPL")
        market.faults.add("trades.AAPL", Fault("silent"))
        data.advance(2)
        assert running.nothing_more()
        # It pings every ten seconds, and waits three minutes for an answer.
        assert running.stream._websocket_params["ping_timeout"] == 180
        assert running.settled().alive()
        assert data.connected == 1


@pytest.mark.parametrize(
    "options",
    [
        {"data_timeout": 0.2},
        {"websocket_params": {"ping_interval": 0.05, "ping_timeout": 0.1}},  # in place of its own, not beside them
    ],
    ids=["data_timeout", "pings"],
)
def test_a_silent_stream_is_noticed_with_a_time_limit_or_quick_pings(
    data: AlpacaData, market: Market, options: dict[str, Any]
) -> None:
    quick = {"close_timeout": 0.1}
    options = options | {"websocket_params": options.get("websocket_params", {}) | quick}
    with listening(data, "AAPL", options=options) as running:
        data.until_listening("trades.AAPL")
        market.faults.add("trades.AAPL", Fault("silent"))
        data.advance(1)
        data.until(lambda: data.connected > 1, "another connection")
        data.until_listening("trades.AAPL")
        data.advance(1)
        assert [row(each) for each in running.take(1)] == trades(market, "AAPL", 1, 2)


def test_parameters_of_the_connection_replace_the_streams_own(data: AlpacaData) -> None:
    given = {"close_timeout": 1}
    assert stocks(data, websocket_params=given)._websocket_params == given  # pings every ten seconds are gone
    assert stocks(data, websocket_params={})._websocket_params["ping_interval"] == 10  # but by nothing at all


def test_a_burst_loses_nothing_but_is_not_thinned_out_either(data: AlpacaData, market: Market) -> None:
    with listening(data, "AAPL", options={"raw_data": True}) as running:
        data.until_listening("trades.AAPL")
        market.faults.add("trades.AAPL", Fault("burst", count=2000))
        data.advance(1)
        assert [each["i"] for each in running.take(2000)] == [1] * 2000
        data.publish(*(trade("AAPL", each) for each in market.trades["AAPL"] * 20))
        assert [each["i"] for each in running.take(2400)] == list(range(1, 121)) * 20


@pytest.mark.parametrize(("kind", "ids"), [("duplicated", [1, 1, 2, 2, 3, 3]), ("reordered", [3, 2, 1])])
def test_doubles_and_disorder_are_handed_on_as_they_come(
    data: AlpacaData, market: Market, kind: str, ids: list[int]
) -> None:
    with listening(data, "AAPL") as running:
        data.until_listening("trades.AAPL")
        market.faults.add("trades.AAPL", Fault(kind))
        data.advance(3)
        assert [int(each.id) for each in running.take(len(ids))] == ids


def test_an_error_in_a_handler_is_swallowed_and_takes_the_rest_of_its_message_with_it(
    data: AlpacaData, market: Market
) -> None:
    with listening(data, "AAPL", refuses=lambda message: message.id == 2) as running:
        data.until_listening("trades.AAPL")
        data.advance(4)  # one message with four trades
        data.advance(1)
        assert [int(each.id) for each in running.take(2)] == [1, 5]
        assert running.nothing_more()
        assert running.alive()
    assert [one.copies for one in data.log if one.topic == "trades.AAPL"] == [1] * 5


def test_wrong_keys_are_refused_for_ever_and_nobody_is_told(data: AlpacaData, caplog: pytest.LogCaptureFixture) -> None:
    with listening(data, "AAPL", options={"key": "PKWRONG"}) as running:
        data.until(lambda: data.connected >= 3, "a third try")
        assert running.alive()
    assert "error during websocket communication: auth failed" in caplog.text


def test_a_feed_that_the_plan_does_not_hold_ends_the_stream_without_an_error(
    market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    with AlpacaData(market, free_plan=True) as venue:
        running = listening(venue, "AAPL", options={"feed": "sip"})
        assert running.start().ended()
        assert venue.connected == 1
    assert "insufficient subscription" in caplog.text


def test_a_second_stream_of_an_account_waits_until_the_first_is_gone(data: AlpacaData, market: Market) -> None:
    second = listening(data, "MSFT")
    with listening(data, "AAPL") as first:
        data.until_listening("trades.AAPL")
        second.start()
        data.until(lambda: data.connected >= 3, "a second try of the second")
        data.advance(1)
        assert first.take(1)
        assert second.nothing_more()
        first.stream.stop()
        data.strike(Fault("dropped"))
    with second:
        data.until_listening("trades.MSFT")
        data.advance(1)
        assert [row(each) for each in second.take(1)] == trades(market, "MSFT", 1, 2)


@pytest.mark.parametrize("fault", [Fault("status", status=429), Fault("dropped")], ids=lambda fault: fault.kind)
def test_a_venue_that_cannot_be_reached_is_tried_again(data: AlpacaData, market: Market, fault: Fault) -> None:
    market.faults.add("connect /v2/iex", fault, times=2)
    with listening(data, "AAPL") as running:
        data.until_listening("trades.AAPL")
        data.advance(1)
        assert len(running.take(1)) == 1
    assert len(market.faults.fired) == 2
