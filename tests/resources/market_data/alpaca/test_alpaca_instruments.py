"""Alpaca's corporate actions, instruments and option chains, through alpaca-py, against a venue on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from resources.calendars import sessions
from resources.config import ExcludedRow
from resources.errors import BarSchemaError, NoDataError, NotOfferedError
from resources.market_data.base import ACTION_SCHEMA, INSTRUMENT_SCHEMA
from tests.resources.market_data.alpaca.alpaca_desk import FRIDAY, MONDAY, OPENS, Desk, desks
from tests.venues.market import Action, Listing


@pytest.fixture
def desk() -> Iterator[Desk]:
    with desks() as desk:
        yield desk


def test_corporate_actions_are_found_by_their_ex_date_however_late_they_were_processed(desk: Desk) -> None:
    paid = Action(FRIDAY, "dividend", 0.24)
    desk.venue.processed["AAPL", paid] = date(2024, 6, 20)
    desk.venue.processed["MSFT", paid] = FRIDAY
    desk.market.set_actions("AAPL", paid, Action(MONDAY, "split", 4.0), Action(date(2024, 3, 7), "dividend", 9.0))
    desk.market.set_actions("MSFT", paid, Action(MONDAY, "split", 0.1))
    desk.market.set_actions("BRK.B", Action(MONDAY, "stock dividend", 0.05))
    frame = desk.alpaca().corporate_actions(["MSFT", "AAPL", "BRK.B", "QUIET", "BTC/USD"], FRIDAY, MONDAY)
    assert frame.collect_schema() == ACTION_SCHEMA
    assert frame.select("symbol", "ts", "kind", "value").collect().rows() == [
        ("AAPL", OPENS[FRIDAY], "dividend", 0.24),
        ("AAPL", OPENS[MONDAY], "split", 4.0),
        ("BRK.B", OPENS[MONDAY], "split", 1.05),
        ("MSFT", OPENS[FRIDAY], "dividend", 0.24),
        ("MSFT", OPENS[MONDAY], "split", 0.1),
    ]


def test_no_action_is_no_error_and_many_come_in_pages(desk: Desk) -> None:
    alpaca = desk.alpaca()
    assert alpaca.corporate_actions(["AAPL", "BTC/USD"], FRIDAY, MONDAY).collect().is_empty()
    days = sessions("XNYS", date(2023, 1, 3), FRIDAY)["session"]
    for at in range(5):
        desk.market.add(Listing(f"D{at}"))
        desk.market.set_actions(f"D{at}", *(Action(day, "dividend", 1.0) for day in days))
    found = alpaca.corporate_actions([f"D{at}" for at in range(5)], days[0], days[-1]).collect()
    assert found.height == 5 * len(days) > 1000
    assert found.unique(["symbol", "ts"]).height == found.height


def test_an_ex_date_that_is_no_session_is_refused(desk: Desk) -> None:
    desk.market.set_actions("AAPL", Action(date(2024, 3, 9), "dividend", 0.24))
    with pytest.raises(BarSchemaError, match="AAPL 2024-03-09: date is not a session"):
        desk.alpaca().corporate_actions(["AAPL"], FRIDAY, MONDAY)


def test_an_excluded_action_is_left_out(desk: Desk) -> None:
    wrong = {date(2024, 3, 9): 0.24, FRIDAY: 0.0}  # no session, and no dividend
    desk.market.set_actions("AAPL", *(Action(day, "dividend", value) for day, value in wrong.items()))
    exclude = tuple(ExcludedRow(symbol="AAPL", session=day, reason="wrong") for day in wrong)
    assert desk.alpaca(exclude=exclude).corporate_actions(["AAPL"], FRIDAY, MONDAY).collect().is_empty()


def test_instruments_carry_the_exchanges_filters(desk: Desk) -> None:
    desk.market.add(
        Listing("WHOLE", venue="XNYS", fractionable=False), Listing("NEW/USD", "crypto", tick=0.01, lot=0.1)
    )
    frame = desk.alpaca().instruments(["WHOLE", "BTC/USD", "AAPL", "NEW/USD"])
    assert frame.schema == INSTRUMENT_SCHEMA
    columns = ("symbol", "asset_class", "venue", "calendar", "currency", "tick", "lot", "minimum_notional")
    last = desk.market.trades["BTC/USD"][-1].price
    assert frame.select(columns).rows() == [
        ("AAPL", "equity", "XNAS", "XNYS", "USD", 0.01, 1e-9, 1.0),
        ("BTC/USD", "crypto", "ALPACA", "24/7", "USD", 0.5, 1e-6, pytest.approx(2e-5 * last)),
        ("NEW/USD", "crypto", "ALPACA", "24/7", "USD", 0.01, 0.1, None),
        ("WHOLE", "equity", "XNYS", "XNYS", "USD", 0.01, 1.0, None),
    ]


def chain(underlying: str = "AAPL") -> list[Listing]:
    spec = [
        (date(2024, 3, 8), 170.0, "call", False),
        (date(2024, 3, 15), 180.0, "put", True),
        (date(2024, 3, 15), 180.0, "call", True),
        (date(2024, 3, 15), 172.5, "call", True),
        (date(2026, 12, 18), 200.0, "put", True),
    ]
    return [
        Listing(
            f"{underlying}{expiry:%y%m%d}{right[0].upper()}{int(strike * 1000):08d}", "option", multiplier=100.0,
            expiry=expiry, strike=strike, right=right, underlying=underlying, active=active,
        )
        for expiry, strike, right, active in spec
    ]  # fmt: skip


def test_an_option_chain_is_paged_and_goes_as_far_as_there_are_expiries(desk: Desk) -> None:
    desk.market.add(*chain())
    frame = desk.alpaca(page_rows=2).option_chain("AAPL", MONDAY)
    assert frame.schema == INSTRUMENT_SCHEMA
    columns = ("symbol", "asset_class", "underlying", "expiry", "strike", "right", "multiplier", "currency")
    assert frame.select(columns).rows() == [
        (each.symbol, "option", "AAPL", each.expiry, each.strike, each.right, 100.0, "USD")
        for each in (chain()[3], chain()[2], chain()[1], chain()[4])
    ]
    assert len(desk.asked("/options")) == 2


def test_the_chain_of_the_last_session_holds_what_has_expired_since(desk: Desk) -> None:
    desk.market.add(*chain())
    assert desk.alpaca().option_chain("AAPL", FRIDAY)["expiry"][0] == FRIDAY
    with pytest.raises(NotOfferedError, match="option chains: alpaca has those of today, not of 2024-03-01"):
        desk.alpaca().option_chain("AAPL", date(2024, 3, 1))


def test_no_options_is_no_data(desk: Desk) -> None:
    with pytest.raises(NoDataError, match="alpaca has no options of AAPL that expire on 2024-03-11 or later"):
        desk.alpaca().option_chain("AAPL", MONDAY)
