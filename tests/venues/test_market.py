"""The shared core of the loopback venues: seeded rows, the plan of faults, and the server that carries it out."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from tests.venues.market import (
    Action,
    Fault,
    FaultPlan,
    Listing,
    Market,
    VenueClock,
    disturbed,
    every,
    instant,
    seeded_bars,
    seeded_quotes,
    seeded_trades,
)
from tests.venues.server import Answer, HttpVenue, Request, as_json

MINUTES = every(instant(2024, 3, 8, 14, 30), timedelta(minutes=1), 50)


def on_step(number: float, step: float) -> bool:
    return abs(number / step - round(number / step)) < 1e-6


def test_seeded_bars_are_bars_on_the_tick_and_the_same_for_a_seed() -> None:
    bars = seeded_bars(7, MINUTES, price=50.0, tick=0.25, lot=0.1)
    assert bars == seeded_bars(7, MINUTES, price=50.0, tick=0.25, lot=0.1)
    assert bars != seeded_bars(8, MINUTES, price=50.0, tick=0.25, lot=0.1)
    assert [bar.ts for bar in bars] == MINUTES
    for bar in bars:
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.low > 0
        assert all(on_step(price, 0.25) for price in bar[1:5])
        assert on_step(bar.volume, 0.1)


def test_seeded_quotes_never_cross_and_trades_have_ids_of_their_own() -> None:
    assert all(quote.bid < quote.ask for quote in seeded_quotes(7, MINUTES))
    trades = seeded_trades(7, MINUTES)
    assert len({trade.trade_id for trade in trades}) == 50
    assert {trade.side for trade in trades} == {"buy", "sell"}


def test_rows_are_kept_in_order_of_time() -> None:
    market = Market()
    market.set_bars("A", "1m", reversed(seeded_bars(7, MINUTES)))
    market.set_actions("A", Action(date(2024, 3, 9), "split", 2.0), Action(date(2024, 3, 8), "dividend", 0.5))
    assert [bar.ts for bar in market.bars["A", "1m"]] == MINUTES
    assert [action.kind for action in market.actions["A"]] == ["dividend", "split"]


def test_the_clock_stands_until_it_is_moved_and_may_be_ahead() -> None:
    clock = VenueClock(instant(2024, 3, 8), skew_seconds=5.0)
    clock.advance(60)
    assert clock.now() == instant(2024, 3, 8, 0, 1, 5)
    assert clock.truth == instant(2024, 3, 8, 0, 1)


def test_a_rule_skips_then_hits_then_is_used_up() -> None:
    plan = FaultPlan()
    plan.add("/bars", Fault("status", status=429), times=2, skip=1)
    plan.add("GET", Fault("drop"), times=None)
    met = [plan.take(what) for what in ("GET /bars", "GET /bars", "POST /orders", "GET /bars", "GET /bars")]
    assert [fault and fault.kind for fault in met] == ["drop", "status", None, "status", "drop"]
    assert plan.fired == [
        ("GET /bars", "drop"),
        ("GET /bars", "status"),
        ("GET /bars", "status"),
        ("GET /bars", "drop"),
    ]


def test_an_unknown_fault_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no fault 'explode'"):
        Fault("explode")


@pytest.mark.parametrize(
    ("fault", "through"),
    [
        (None, [1, 2]),
        (Fault("burst", count=3), [1, 1, 1, 2, 2, 2]),
        (Fault("duplicated"), [1, 1, 2, 2]),
        (Fault("reordered"), [2, 1]),
        (Fault("silent"), []),
        (Fault("dropped"), []),
    ],
)
def test_a_stream_is_disturbed(fault: Fault | None, through: list[int]) -> None:
    assert disturbed([1, 2], fault) == through


class Counter(HttpVenue):
    """Answers with how often it was really asked."""

    asked = 0

    def answer(self, request: Request) -> Answer:
        self.asked += 1
        return as_json({"asked": self.asked, "query": request.query, "body": request.body.decode()})


@pytest.fixture
def venue() -> Iterator[Counter]:
    with Counter(Market()) as venue:
        yield venue


def ask(venue: Counter, path: str = "/a%2Fb?x=1", body: bytes = b"hi") -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection(venue.address.removeprefix("http://"), timeout=5)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Retry-After")
    finally:
        connection.close()


GOOD = b'{"asked": 1, "query": {"x": "1"}, "body": "hi"}'


def test_a_good_answer(venue: Counter) -> None:
    assert ask(venue) == (200, GOOD, None)
    assert venue.requests[0].name == "POST /a/b"


@pytest.mark.parametrize(
    ("fault", "status", "body", "really_asked"),
    [
        (Fault("status", status=418), 418, b'{"message": "fault 418"}', 0),
        (Fault("status", status=500, body="oops"), 500, b"oops", 0),
        (Fault("applied", status=504), 504, b'{"message": "fault 504"}', 1),
        (Fault("truncated"), 200, GOOD[: len(GOOD) // 2], 1),
        (Fault("empty"), 200, b"", 0),
        (Fault("slow", seconds=0.01), 200, GOOD, 1),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_a_fault_of_http(venue: Counter, fault: Fault, status: int, body: bytes, really_asked: int) -> None:
    venue.market.faults.add("POST /a/b", fault)
    assert ask(venue)[:2] == (status, body)
    assert venue.asked == really_asked
    assert ask(venue)[0] == 200  # and it is over


def test_html_retry_after_and_broken_connections(venue: Counter) -> None:
    venue.market.faults.add("POST", Fault("html"))
    assert ask(venue)[1].startswith(b"<!DOCTYPE html>")
    venue.market.faults.add("POST", Fault("status", status=429, retry_after=7))
    assert ask(venue)[2] == "7"
    venue.market.faults.add("POST", Fault("drop"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(venue)
    venue.market.faults.add("POST", Fault("cut off"))
    with pytest.raises(http.client.IncompleteRead):
        ask(venue)


def test_listings_are_found_by_symbol() -> None:
    market = Market()
    market.add(Listing("AAPL"), Listing("BTC/USD", "crypto", tick=0.5))
    assert market.listings["BTC/USD"].tick == 0.5
