"""Reads over HTTP: what passes is asked again at the pace of all, what stays is an error that says what happened."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resources.alternative.web import TRIES, Web
from resources.errors import AccessDeniedError, BadAnswerError, NoDataError, ProviderError, RateLimitedError
from resources.market_data.pacing import TokenBucket
from tests.venues.market import Fault, Market
from tests.venues.server import Answer, HttpVenue, Request, as_json


class Echo(HttpVenue):
    """Answers with what it was asked; under /part the bytes of a Range of 0..255."""

    def answer(self, request: Request) -> Answer:
        if request.path == "/part" and "range" in request.headers:
            first, last = (int(each) for each in request.headers["range"].removeprefix("bytes=").split("-"))
            return Answer(206, bytes(range(256))[first : last + 1])
        body = json.loads(request.body) if request.body else None
        return as_json(
            {"method": request.method, "query": request.query, "body": body, "asker": request.headers.get("x")}
        )


class Desk:
    def __init__(self, venue: Echo) -> None:
        self.venue, self.market = venue, venue.market
        self.now, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def web(self, per_second: float = 1e3, burst: float = 1e3) -> Web:
        bucket = TokenBucket(per_second, burst, clock=lambda: self.now, sleep=self.sleep)
        return Web("the venue", bucket, timeout_seconds=5.0, headers={"X": "me"}, sleep=self.sleep, chance=lambda: 1.0)

    def read(self, path: str = "/", **options: Any) -> Any:
        return self.web().read("a thing", self.venue.address + path, json.loads, **options)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Echo(Market()) as venue:
        yield Desk(venue)


def test_what_is_asked_arrives(desk: Desk) -> None:
    assert desk.read(params={"a": 1}) == {"method": "GET", "query": {"a": "1"}, "body": None, "asker": "me"}
    posted = desk.read(method="POST", body={"b": [2]}, headers={"X": "you"})
    assert (posted["method"], posted["body"], posted["asker"]) == ("POST", {"b": [2]}, "you")


def test_a_part_of_a_file_is_that_part_and_the_whole_is_none(desk: Desk) -> None:
    web = desk.web()
    url, part = f"{desk.venue.address}/part", {"Range": "bytes=3-5"}
    assert web.read("a part", url, bytes, headers=part, partial=True) == b"\x03\x04\x05"
    with pytest.raises(BadAnswerError, match="a part: the venue answered 200 and not 206"):
        web.read("a part", url, bytes, partial=True)


STAYS = [
    (404, NoDataError, r"a thing: the venue has none \(404\)"),
    (401, AccessDeniedError, r"the venue refused \(401: 'no'\)"),
    (403, AccessDeniedError, r"the venue refused \(403: 'no'\)"),
    (400, ProviderError, "the venue answered 400: 'no'"),
]


@pytest.mark.parametrize(("status", "error", "says"), STAYS)
def test_a_refusal_is_not_asked_again(desk: Desk, status: int, error: type[ProviderError], says: str) -> None:
    desk.market.faults.add("GET /", Fault("status", status=status, body="no"), times=None)
    with pytest.raises(error, match=says) as told:
        desk.read()
    assert type(told.value) is error
    assert (len(desk.venue.requests), desk.slept) == (1, [])


def test_what_the_reader_refuses_is_asked_again_and_then_shown(desk: Desk) -> None:
    def refuse(content: bytes) -> None:
        raise KeyError("facts")

    with pytest.raises(BadAnswerError, match=r"documented format \(KeyError: 'facts'; it begins b'\{\"method") as told:
        desk.web().read("a thing", desk.venue.address, refuse)
    assert isinstance(told.value.__cause__, KeyError)
    assert len(desk.venue.requests) == TRIES
    assert desk.slept == [1.0, 2.0, 4.0, 8.0]


PAUSES = [("7.5", 7.5), ("0", 0.0), ("-3", 0.0), ("nan", 0.0), ("inf", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)]


@pytest.mark.parametrize(("told", "seconds"), PAUSES)
def test_how_long_a_refusal_asks_to_wait(
    desk: Desk, told: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Answer(429, b"", {"Retry-After": told})
    monkeypatch.setattr(desk.venue, "answer", lambda request: refused)
    with pytest.raises(RateLimitedError) as error:
        desk.read()
    assert error.value.retry_after == seconds
    assert desk.slept[0] == max(seconds, 1.0)


def test_a_wait_holds_for_all_threads_and_one_that_is_too_long_is_an_error_at_once(desk: Desk) -> None:
    waits: list[float] = []
    pace = TokenBucket(2.0, 2.0, clock=lambda: 0.0, sleep=waits.append)  # no time passes, whoever sleeps
    web = Web("the venue", pace, sleep=desk.sleep, chance=lambda: 1.0)
    web.read("a thing", desk.venue.address, json.loads)
    assert waits == []
    desk.market.faults.add("GET /", Fault("status", status=429, retry_after=10.0))
    web.read("a thing", desk.venue.address, json.loads)
    assert desk.slept == [10.0]
    assert waits == [10.5]  # whoever comes next waits as well
    desk.market.faults.add("GET /", Fault("status", status=429, retry_after=121.0))
    with pytest.raises(RateLimitedError, match="for 121 s"):
        web.read("a thing", desk.venue.address, json.loads)
    assert desk.slept == [10.0]


def test_nobody_there_is_told_so(desk: Desk) -> None:
    with pytest.raises(ProviderError, match="a thing: the venue cannot be reached") as told:
        desk.web().read("a thing", "http://127.0.0.1:9/", bytes)
    assert type(told.value) is ProviderError
    assert desk.slept == []


def test_threads_may_share_it(desk: Desk) -> None:
    web, ready = desk.web(), threading.Barrier(4)

    def ask(number: int) -> str:
        ready.wait()
        return str(web.read("a thing", desk.venue.address, json.loads, params={"n": number})["query"]["n"])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["0", "1", "2", "3"]
