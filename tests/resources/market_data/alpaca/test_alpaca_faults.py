"""The Alpaca provider at a venue whose answers fail: what passes costs nothing, what lasts is an error of its kind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from resources.errors import AccessDeniedError, BadAnswerError, ProviderError, ProviderTimeoutError, RateLimitedError
from resources.market_data.alpaca import client as alpaca_client
from tests.resources.market_data.alpaca.alpaca_desk import FRIDAY, MONDAY, OPENS, SHARES, Desk, desks, rows
from tests.venues.alpaca import AlpacaVenue
from tests.venues.market import Fault, Listing, instant

TRIES = 5


@pytest.fixture
def desk() -> Iterator[Desk]:
    with desks() as desk:
        yield desk


FAULTS = [  # what the venue does, the error, what the message says
    (Fault("status", status=429), RateLimitedError, r"AAPL.*refuses more requests \(429\)"),
    (Fault("status", status=500), BadAnswerError, "AAPL.*answered 500: fault 500"),
    (Fault("html", status=503), BadAnswerError, "answered 503.*DOCTYPE"),
    (Fault("applied", status=504), BadAnswerError, "answered 504"),
    (Fault("html"), BadAnswerError, "something else than its data.*DOCTYPE"),
    (Fault("truncated"), BadAnswerError, "something else than its data"),
    (Fault("cut off"), BadAnswerError, "AAPL.*broke off"),
    (Fault("empty"), BadAnswerError, "AAPL.*was empty"),
    (Fault("drop"), BadAnswerError, "AAPL.*broke off"),
    (Fault("status", status=200, body='{"message": "ok"}'), BadAnswerError, "something else than its data"),
    (Fault("status", status=200, body='{"bars": {"AAPL": [{"o": "x"}]}}'), BadAnswerError, "something else"),
    (Fault("slow"), ProviderTimeoutError, r"AAPL.*within 0\.1 s.*provider\.timeout_seconds"),
]
NAMES = [f"{fault.kind} {fault.status or ''}{fault.body[:8]}".strip() for fault, _, _ in FAULTS]


@pytest.mark.parametrize(("fault", "error", "says"), FAULTS, ids=NAMES)
def test_a_lasting_fault_is_an_error_of_its_kind_after_five_tries(
    desk: Desk, fault: Fault, error: type[ProviderError], says: str
) -> None:
    desk.market.faults.add("/stocks/bars", fault, times=None)
    timeout = 0.1 if fault.kind == "slow" else 5.0
    with pytest.raises(error, match=says):
        desk.alpaca(timeout_seconds=timeout).bars(SHARES, FRIDAY, FRIDAY, "1m")
    assert len(desk.pauses) == TRIES - 1
    assert len(desk.asked("/bars")) <= TRIES  # and none by alpaca-py itself


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS], ids=NAMES)
def test_a_passing_fault_on_any_page_loses_and_doubles_nothing(desk: Desk, fault: Fault) -> None:
    desk.market.faults.add("/stocks/bars", fault, times=2)
    desk.market.faults.add("/stocks/bars", fault, times=1, skip=3)
    timeout = 0.3 if fault.kind == "slow" else 5.0
    frame = desk.alpaca(page_rows=11, timeout_seconds=timeout).bars(SHARES, FRIDAY, FRIDAY, "1m")
    for symbol in SHARES:
        assert rows(frame, symbol) == desk.market.bars[symbol, "1m"]
    assert len(desk.market.faults.fired) == 3


def test_retry_after_is_obeyed_also_by_those_beside(desk: Desk) -> None:
    desk.market.faults.add("/bars", Fault("status", status=429, retry_after=7.5))
    alpaca = desk.alpaca(requests_per_minute=60)
    assert alpaca.bars(["AAPL"], FRIDAY, FRIDAY).collect().height == 1
    assert desk.pauses[0] >= 7.5  # the try itself
    assert desk.pauses[1] > 7.0  # the bucket, empty for as long (sleeping here takes no time)


def test_no_more_requests_go_out_than_the_plan_allows(desk: Desk) -> None:
    desk.alpaca(requests_per_minute=60, page_rows=10).bars(SHARES, FRIDAY, FRIDAY, "1m")
    assert len(desk.asked("/bars")) == 9
    assert sum(pause > 0 for pause in desk.pauses) == 6  # three at once, then one after another
    assert desk.pauses[-1] > 5.0


def test_a_fault_stops_the_other_downloads(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpaca_client, "GROUP", 1)
    desk.market.faults.add("/bars", Fault("status", status=403), skip=4)
    with pytest.raises(AccessDeniedError):
        desk.alpaca(workers=2, page_rows=1).bars([*SHARES, "QUIET"], FRIDAY, FRIDAY, "1m")
    assert len(desk.asked("/bars")) < 25  # the three have 30 pages each


def test_a_server_that_is_gone_cannot_be_reached(desk: Desk) -> None:
    with AlpacaVenue(desk.market) as venue:
        gone = Desk(venue)
    with pytest.raises(ProviderError, match=r"AAPL: Alpaca cannot be reached.*proxy"):
        gone.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)
    assert gone.pauses == []


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/assets/AAPL", lambda alpaca: alpaca.instruments(["AAPL"])),
        ("/latest/trades", lambda alpaca: alpaca.instruments(["BTC/USD"])),
        ("/corporate-actions", lambda alpaca: alpaca.corporate_actions(["AAPL"], FRIDAY, MONDAY).collect()),
        ("/options/contracts", lambda alpaca: alpaca.option_chain("AAPL", MONDAY)),
        ("/stocks/quotes", lambda alpaca: alpaca.quotes(["AAPL"], OPENS[FRIDAY], OPENS[MONDAY]).collect()),
        ("/crypto/us/trades", lambda alpaca: alpaca.trades(["BTC/USD"], instant(2024, 3, 8), OPENS[MONDAY]).collect()),
        ("/crypto/us/bars", lambda alpaca: alpaca.bars(["BTC/USD"], FRIDAY, MONDAY).collect()),
    ],
)
@pytest.mark.parametrize("kinds", [("truncated", "drop", "html", "empty"), (429, 503, 504, "slow")], ids=str)
def test_every_request_overcomes_what_passes(desk: Desk, path: str, ask: Any, kinds: tuple[Any, ...]) -> None:
    desk.market.add(Listing("AAPL240315C00180000", "option", expiry=date(2024, 3, 15), strike=180.0, right="call",
                            underlying="AAPL"))  # fmt: skip
    good = ask(desk.alpaca())
    for kind in kinds:
        desk.market.faults.add(path, Fault(kind) if isinstance(kind, str) else Fault("applied", status=kind))
    assert ask(desk.alpaca(timeout_seconds=0.3 if "slow" in kinds else 5.0)).equals(good)
    assert len(desk.market.faults.fired) == 4


# the pause that is asked for


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "inf"}, 0.0),
        ({"Retry-After": "-4"}, 0.0),
        ({"X-RateLimit-Reset": str(instant(2024, 3, 8).timestamp() + 9)}, 9.0),
        ({"X-RateLimit-Reset": str(instant(2024, 3, 8).timestamp() - 9)}, 0.0),  # a clock that runs ahead
    ],
)
def test_what_a_refusal_asks_to_wait(headers: dict[str, str], seconds: float) -> None:
    from resources.market_data.alpaca.translate import pause

    assert pause(headers, instant(2024, 3, 8)) == seconds
