"""Quotes and trades of the Interactive Brokers provider, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from resources.errors import BarSchemaError, NoDataError, ProviderError
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from tests.resources.market_data.ib.ib_desk import MINUTE, OPENS, Desk, desks, stamps
from tests.venues.market import Quote, Trade, seeded_trades


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


# Ticks: a page is 1000 of them, their stamps are whole seconds, and equal ones may be two


PAGES = [  # how many ticks each second holds, and how many requests that takes without whole seconds
    ("one short page", (3, 0, 2), 2),
    ("a full page that ends with its second", (400, 600, 5), 3),
    ("a page border within a second", (400, 599, 5, 700, 1), 3),
    ("many pages", (700,) * 6, 7),
    ("exactly a page", (500, 500), 3),
]


@pytest.mark.parametrize("whole_seconds", [False, True])
@pytest.mark.parametrize(("counts", "requests"), [case[1:] for case in PAGES], ids=[case[0] for case in PAGES])
def test_ticks_over_page_borders_are_all_there_once_true_repeats_included(
    desk: Callable[..., Desk], counts: tuple[int, ...], requests: int, whole_seconds: bool
) -> None:
    at_desk = desk(whole_seconds=whole_seconds)
    sold = [
        trade._replace(price=100.0, size=1.0 + at % 2) for at, trade in enumerate(seeded_trades(1, stamps(*counts)))
    ]
    at_desk.market.set_trades("AAPL", sold)
    frame = at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2]).collect()
    assert frame.schema == TRADE_SCHEMA
    seconds = [trade.ts.replace(microsecond=0) for trade in sold]
    assert frame["ts"].to_list() == seconds
    assert frame["size"].to_list() == [trade.size for trade in sold]
    if not whole_seconds:
        assert at_desk.count("reqHistoricalTicks AAPL") == requests


def test_a_second_that_fills_a_page_is_refused_by_name_or_taken_whole(desk: Callable[..., Desk]) -> None:
    for whole, at_desk in ((False, desk()), (True, desk(whole_seconds=True))):
        at_desk.market.set_trades("AAPL", seeded_trades(1, stamps(2, 1500, 3)))
        if whole:
            assert at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2]).collect().height == 1505
        else:
            with pytest.raises(ProviderError, match=r"AAPL 2024-03-11 13:30:01.*1000 ticks or more within this second"):
                at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2])


def test_ticks_end_before_the_end_and_begin_at_the_start(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.set_trades("AAPL", seeded_trades(1, stamps(1, 1, 1, 1)))
    second = timedelta(seconds=1)
    frame = at_desk.ib().trades(["AAPL"], OPENS[1] + second, OPENS[1] + 3 * second).collect()
    assert frame["ts"].to_list() == [OPENS[1] + second, OPENS[1] + 2 * second]


def test_quotes_keep_a_missing_side_null(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    quotes = [Quote(OPENS[1], 1.1, 5, 1.2, 6), Quote(OPENS[1] + MINUTE, 0, 0, 1.2, 7), Quote(OPENS[2], 1.0, 1, 1.1, 1)]
    at_desk.market.set_quotes("EUR.USD", quotes)
    frame = at_desk.ib().quotes(["EUR.USD"], OPENS[1], OPENS[2]).collect()
    assert frame.schema == QUOTE_SCHEMA
    assert frame.select("ts", "bid", "bid_size", "ask", "ask_size").rows() == [
        tuple(quotes[0]), (OPENS[1] + MINUTE, None, 0.0, 1.2, 7.0)
    ]  # fmt: skip


def test_a_trade_without_a_price_is_refused(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.set_trades("AAPL", [Trade(OPENS[1], 0.0, 1.0, 1)])
    with pytest.raises(BarSchemaError, match=r"price is 0\.0"):
        at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2])


def test_no_ticks_at_all_is_no_data(desk: Callable[..., Desk]) -> None:
    with pytest.raises(NoDataError, match="AAPL from 2024-03-11"):
        desk().ib().trades(["AAPL"], OPENS[1], OPENS[2])
