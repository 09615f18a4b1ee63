"""Alpaca's quotes and trades, through alpaca-py, against a venue on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from tests.resources.market_data.alpaca.alpaca_desk import FRIDAY, MINUTE, MONDAY, OPENS, Desk, desks
from tests.venues.market import Quote, instant


@pytest.fixture
def desk() -> Iterator[Desk]:
    with desks() as desk:
        yield desk


def test_quotes_are_the_markets_in_shares(desk: Desk) -> None:
    frame = desk.alpaca(page_rows=7).quotes(["AAPL", "BTC/USD"], instant(2024, 3, 8), OPENS[FRIDAY] + 15 * MINUTE)
    assert frame.collect_schema() == QUOTE_SCHEMA
    for symbol, count in (("AAPL", 15), ("BTC/USD", 20)):  # the end is excluded
        found = frame.filter(symbol=symbol).select("ts", "bid", "bid_size", "ask", "ask_size").collect().rows()
        assert found == [tuple(quote) for quote in desk.market.quotes[symbol][:count]]


def test_quotes_sizes_are_shares_since_november_2025_and_absent_sides_are_null(desk: Desk) -> None:
    desk.market.clock.truth = instant(2025, 11, 4)
    desk.market.set_quotes(
        "AAPL",
        [
            Quote(instant(2025, 10, 31, 15), 1.0, 200.0, 1.1, 300.0),
            Quote(instant(2025, 11, 3, 15), 1.0, 240.0, 0.0, 0.0),
            Quote(instant(2025, 11, 3, 16), 0.0, 0.0, 0.0, 0.0),
        ],
    )
    frame = desk.alpaca().quotes(["AAPL"], instant(2025, 10, 31), instant(2025, 11, 4)).collect()
    assert frame.select("bid_size", "ask", "ask_size").rows() == [(200.0, 1.1, 300.0), (240.0, None, 0.0)]


def test_trades_are_the_markets_and_crypto_tells_the_side(desk: Desk) -> None:
    frame = desk.alpaca(page_rows=7).trades(["AAPL", "BTC/USD"], instant(2024, 3, 8), OPENS[MONDAY])
    assert frame.collect_schema() == TRADE_SCHEMA
    for symbol in ("AAPL", "BTC/USD"):
        told = symbol == "BTC/USD"
        assert frame.filter(symbol=symbol).select("ts", "price", "size", "trade_id", "side").collect().rows() == [
            (*trade[:3], str(trade.trade_id), trade.side if told else None) for trade in desk.market.trades[symbol]
        ]


def test_a_window_of_days_takes_each_trade_once_also_at_midnight_and_in_nanoseconds(desk: Desk) -> None:
    stamps = ("2024-03-08T23:59:59.999999999Z", "2024-03-09T00:00:00Z", "2024-03-10T00:00:00Z")
    desk.venue.send("trades", "AAPL", [{"t": at, "p": 1.5, "s": 1, "i": i} for i, at in enumerate(stamps)])
    found = desk.alpaca().trades(["AAPL"], instant(2024, 3, 8), instant(2024, 3, 10)).collect()
    assert found.select("trade_id", "ts").rows() == [
        ("0", instant(2024, 3, 8, 23, 59, 59, 999999)),
        ("1", instant(2024, 3, 9)),
    ]


def test_trades_that_were_cancelled_or_corrected_are_left_out(desk: Desk) -> None:
    trade = {"t": "2024-03-08T15:00:00Z", "p": 1.5, "s": 1}
    updates = [{"i": 1, "u": "canceled"}, {"i": 2, "u": "incorrect"}, {"i": 3, "u": "corrected"}, {"i": 4}]
    desk.venue.send("trades", "AAPL", [trade | update for update in updates])
    found = desk.alpaca().trades(["AAPL"], OPENS[FRIDAY], OPENS[MONDAY]).collect()
    assert found["trade_id"].to_list() == ["3", "4"]
