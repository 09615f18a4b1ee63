"""What the Alpaca provider refuses, and is refused: keys, plans, symbols, and dates without data."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    ConfigError,
    MissingSecretError,
    NoDataError,
    QuantError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.alpaca.provider import FEW, Alpaca
from tests.resources.market_data.alpaca.alpaca_desk import FRIDAY, MINUTE, MONDAY, OPENS, SHARES, Desk, desks, rows
from tests.venues.alpaca import KEY, SECRET, AlpacaVenue
from tests.venues.market import Fault, instant, seeded_bars
from tests.venues.server import Answer, Request, as_json


@pytest.fixture
def desk() -> Iterator[Desk]:
    with desks() as desk:
        yield desk


def test_without_keys_it_says_which_and_what_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", KEY)
    monkeypatch.delenv("ALPACA_SECRET_KEY", raising=False)
    with pytest.raises(MissingSecretError, match=r"ALPACA_API_KEY and ALPACA_SECRET_KEY.*sample") as raised:
        Alpaca()
    assert KEY not in str(raised.value)


def test_an_unknown_feed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"provider\.feed: alpaca has no 'otc'; use sip"):
        Alpaca("otc")


def test_wrong_keys_are_refused_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_SECRET_KEY", "something-else")
    with pytest.raises(AccessDeniedError, match=r"refused the keys \(401: unauthorized.*ALPACA_API_KEY.*paper"):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)
    assert len(desk.venue.requests) == 1


def test_recent_data_of_all_exchanges_are_not_in_the_free_plan(desk: Desk) -> None:
    market = desk.market
    market.clock.truth = OPENS[FRIDAY] + 20 * MINUTE
    with AlpacaVenue(market, free_plan=True) as venue:
        free = Desk(venue)
        with pytest.raises(AccessDeniedError, match=r"does not permit querying recent SIP data.*feed: iex"):
            free.alpaca(delay_minutes=0).bars(["AAPL"], FRIDAY, FRIDAY, "1m")
        assert len(rows(free.alpaca().bars(["AAPL"], FRIDAY, FRIDAY, "1m"), "AAPL")) == 4
        assert free.alpaca().quotes(["AAPL"], OPENS[FRIDAY], OPENS[MONDAY]).collect().height == 4
        assert len(rows(free.alpaca("iex").bars(["AAPL"], FRIDAY, FRIDAY, "1m"), "AAPL")) == 20
        market.clock.truth = instant(2024, 3, 11, 20, 16)  # the daily bar is there as soon as it has settled
        assert len(rows(free.alpaca().bars(["AAPL"], FRIDAY, MONDAY), "AAPL")) == 2


def test_a_bar_that_is_over_but_not_yet_within_the_delay_is_left_out(desk: Desk) -> None:
    desk.market.clock.truth = OPENS[FRIDAY] + timedelta(minutes=75)
    desk.market.set_bars("AAPL", "1h", seeded_bars(1, [OPENS[FRIDAY] - timedelta(hours=1), OPENS[FRIDAY]]))
    assert len(rows(desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY, "1h"), "AAPL")) == 1
    assert len(rows(desk.alpaca(delay_minutes=0).bars(["AAPL"], FRIDAY, FRIDAY, "1h"), "AAPL")) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=status, body=f'{{"message": "key {KEY} {SECRET}"}}')
        for status in (200, 400, 401, 403, 500)
    ]
    + [
        Fault("status", status=403, body='{"message": "%s"}' % SECRET.replace("/", escaped))  # noqa: UP031
        for escaped in ("\\/", "\\u002F")
    ]
    + [Fault("status", status=404, body=f"<html>{SECRET}</html>"), Fault("drop"), Fault("cut off"), Fault("slow")],
)
def test_no_error_shows_the_keys(desk: Desk, fault: Fault) -> None:
    desk.market.faults.add("/bars", fault, times=None)
    alpaca = desk.alpaca(timeout_seconds=0.4 if fault.kind == "slow" else 5.0)
    with pytest.raises(QuantError) as raised:
        alpaca.bars(["AAPL"], FRIDAY, FRIDAY)
    shown = "".join(traceback.format_exception(raised.value)) + repr(alpaca) + repr(raised.value)
    assert KEY not in shown
    assert SECRET not in shown


def test_unknown_symbols_are_told_from_those_without_rows(desk: Desk) -> None:
    alpaca = desk.alpaca()
    assert alpaca.bars(["QUIET", "AAPL"], FRIDAY, FRIDAY).collect()["symbol"].unique().to_list() == ["AAPL"]
    with pytest.raises(NoDataError, match="alpaca has no rows of QUIET from 2024-03-08 to 2024-03-11"):
        alpaca.bars(["QUIET"], FRIDAY, MONDAY)
    with pytest.raises(NoDataError, match="alpaca has no trades of QUIET"):
        alpaca.trades(["QUIET"], OPENS[FRIDAY], OPENS[MONDAY])
    for ask in (
        lambda: alpaca.bars(["AAPL", "NOPE"], FRIDAY, FRIDAY),
        lambda: alpaca.quotes(["NOPE"], OPENS[FRIDAY], OPENS[MONDAY]),
        lambda: alpaca.corporate_actions(["NOPE"], FRIDAY, MONDAY),
        lambda: alpaca.instruments(["AAPL", "NOPE"]),
        lambda: alpaca.option_chain("NOPE", MONDAY),
    ):
        with pytest.raises(UnknownSymbolError, match="alpaca has no NOPE"):
            ask()
    with pytest.raises(UnknownSymbolError, match="alpaca has no DOES/NOT"):
        alpaca.bars(["BTC/USD", "DOES/NOT"], FRIDAY, FRIDAY)
    assert desk.pauses == []


def test_many_unknown_symbols_are_looked_up_with_one_request(desk: Desk) -> None:
    many = [f"X{at}" for at in range(FEW + 1)]
    with pytest.raises(UnknownSymbolError, match="alpaca has no X0, X1"):
        desk.alpaca().bars(["AAPL", *many], FRIDAY, FRIDAY)
    assert len(desk.asked("/assets")) == 1


def test_a_malformed_symbol_is_refused_as_unknown(desk: Desk) -> None:
    with pytest.raises(UnknownSymbolError, match=r"400: invalid symbol: \.\."):
        desk.alpaca().bars([".."], FRIDAY, FRIDAY)


def test_no_settled_session_is_no_data(desk: Desk) -> None:
    with pytest.raises(NoDataError):
        desk.alpaca().bars(["AAPL"], date(2024, 3, 9), date(2024, 3, 10))
    assert desk.asked("/bars") == []


def test_a_wait_of_hours_is_not_waited_for(desk: Desk) -> None:
    fault = Fault("status", status=429, retry_after=86_400.0)
    desk.market.faults.add("GET /v2/stocks/bars", fault, times=None)
    with pytest.raises(RateLimitedError):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)
    assert len(desk.asked("/bars")) == 1
    assert desk.pauses == []


@pytest.mark.parametrize("kind", ["html", "truncated"])
def test_an_answer_that_is_none_says_of_what(desk: Desk, kind: str) -> None:
    desk.market.faults.add("GET /v2/stocks/bars", Fault(kind), times=None)
    with pytest.raises(BadAnswerError, match=r"^AAPL,BRK\.B,MSFT: "):
        desk.alpaca().bars(SHARES, FRIDAY, FRIDAY, "1m")


@pytest.mark.parametrize("kind", ["trades", "quotes"])
def test_a_page_that_comes_twice_under_another_token_is_refused(desk: Desk, kind: str) -> None:
    tokens = iter(f"token {number}" for number in range(100))
    honest = desk.venue.answer

    def again(request: Request) -> Answer:
        first = Request(request.method, request.path, {**request.query, "page_token": ""}, request.headers)
        first.query.pop("page_token")
        page = json.loads(honest(first).body)
        return as_json({**page, "next_page_token": next(tokens)})

    desk.venue.answer = again  # type: ignore[method-assign]
    with pytest.raises(BadAnswerError, match="the same rows twice"):
        getattr(desk.alpaca(page_rows=5), kind)(["AAPL"], OPENS[FRIDAY], OPENS[MONDAY])
