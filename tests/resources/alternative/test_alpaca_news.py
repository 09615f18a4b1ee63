"""News through alpaca-py from a loopback venue: every article once, whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from resources.alternative.alpaca_news import FOLLOWED, AlpacaNews, article
from resources.alternative.base import as_of, merge
from resources.errors import AccessDeniedError, BadAnswerError, MissingSecretError, RateLimitedError
from tests.venues.alpaca import KEY, SECRET
from tests.venues.alpaca_news import AlpacaNewsVenue
from tests.venues.market import Fault, Market, VenueClock, instant

START, END = instant(2024, 3, 1), instant(2024, 3, 8)
NOW = instant(2024, 3, 11)
HOUR = timedelta(hours=1)


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[AlpacaNewsVenue]:
    def never(seconds: float) -> None:
        raise AssertionError(f"alpaca-py slept {seconds} s before a retry of its own")

    monkeypatch.setenv("ALPACA_API_KEY", KEY)
    monkeypatch.setenv("ALPACA_SECRET_KEY", SECRET)
    monkeypatch.setattr("alpaca.common.rest.time", SimpleNamespace(sleep=never))
    with AlpacaNewsVenue(Market(clock=VenueClock(NOW))) as made:
        yield made


def client(venue: AlpacaNewsVenue, pauses: list[float] | None = None) -> AlpacaNews:
    return AlpacaNews(
        requests_per_minute=1e9, timeout_seconds=5.0, data_url=venue.address, clock=venue.market.clock.now,
        sleep=(pauses if pauses is not None else []).append,
    )  # fmt: skip


def fetch(venue: AlpacaNewsVenue, *symbols: str, pauses: list[float] | None = None) -> pl.DataFrame:
    return client(venue, pauses).news(symbols or ("AAPL", "MSFT"), START, END).collect()


def publish(venue: AlpacaNewsVenue, count: int) -> None:
    for number in range(count):
        venue.publish(number, START + number * timedelta(minutes=7), f"story {number}", ("AAPL", "MSFT")[number % 2])


def told(venue: AlpacaNewsVenue) -> set[tuple[str, str]]:
    """The venue's own truth."""
    return {(str(number), each["headline"]) for number, each in venue.articles.items()}


def test_an_article_is_told_in_our_words(venue: AlpacaNewsVenue) -> None:
    at = START + HOUR
    venue.publish(7, at, "Profits rise", "MSFT", "AAPL", "TSLA", summary="More of it.")
    venue.edit(7, at + HOUR)
    row = fetch(venue).row(0, named=True)
    assert {name: row[name] for name in row if name != "content"} == {
        "source": "alpaca_news", "record_id": "7", "symbol": None, "ts": at, "known_at": at + HOUR, "fetched_at": NOW,
        "state": "new", "headline": "Profits rise", "summary": "More of it.", "author": "A. Writer",
        "url": "https://example.com/7", "symbols_told": ["AAPL", "MSFT", "TSLA"],
    }  # fmt: skip


def test_every_page_is_followed(venue: AlpacaNewsVenue) -> None:
    publish(venue, 173)
    rows = fetch(venue)
    assert set(rows.select("record_id", "headline").rows()) == told(venue)
    assert [request.query.get("page_token") for request in venue.requests] == [None, "50", "100", "150"]


def test_an_article_on_two_pages_is_one_version(venue: AlpacaNewsVenue) -> None:
    venue.repeat = True
    publish(venue, 120)
    rows = fetch(venue)
    assert rows.height > 120
    assert merge(rows.clear(), rows).height == 120


FAULTS = [
    ("429", Fault("status", status=429, retry_after=3.0)),
    ("500", Fault("status", status=500)),
    ("half a page", Fault("truncated")),
    ("a page cut off", Fault("cut off")),
    ("a page of HTML", Fault("html")),
    ("an empty answer", Fault("empty")),
    ("no answer", Fault("drop")),
]


@pytest.mark.parametrize("fault", [each[1] for each in FAULTS], ids=[each[0] for each in FAULTS])
def test_what_passes_is_asked_for_again(venue: AlpacaNewsVenue, fault: Fault) -> None:
    publish(venue, 120)
    venue.market.faults.add("GET /v1beta1/news", fault, skip=1, times=2)
    pauses: list[float] = []
    assert set(fetch(venue, pauses=pauses).select("record_id", "headline").rows()) == told(venue)
    assert len(venue.requests) == 5  # three pages, one of them asked for three times
    assert fault.retry_after is None or max(pauses) >= fault.retry_after


LASTING = [
    ("429", Fault("status", status=429), RateLimitedError),
    ("a ban", Fault("status", status=429, retry_after=7200.0), RateLimitedError),
    ("500", Fault("status", status=500), BadAnswerError),
    ("401", Fault("status", status=401), AccessDeniedError),
]


@pytest.mark.parametrize(("fault", "error"), [each[1:] for each in LASTING], ids=[each[0] for each in LASTING])
def test_what_lasts_is_an_error_and_no_empty_frame(
    venue: AlpacaNewsVenue, fault: Fault, error: type[Exception]
) -> None:
    publish(venue, 3)
    venue.market.faults.add("GET /v1beta1/news", fault, times=99)
    with pytest.raises(error) as raised:
        fetch(venue)
    assert KEY not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_an_update_is_a_correction_known_from_then_on(venue: AlpacaNewsVenue) -> None:
    at = START + HOUR
    venue.publish(1, at, "Loss of 5 m", "AAPL")
    venue.market.clock.truth = at + 2 * HOUR
    first = fetch(venue)
    log = merge(first.clear(), first)
    before = as_of(log.lazy(), at + 2 * HOUR).collect()
    venue.edit(1, at + 5 * HOUR, headline="Loss of 3 m")
    venue.market.clock.truth = NOW
    log = merge(log, fetch(venue))
    assert log.select("headline", "known_at", "state").rows() == [
        ("Loss of 5 m", at, "new"), ("Loss of 3 m", at + 5 * HOUR, "corrected"),
    ]  # fmt: skip
    assert as_of(log.lazy(), at + 2 * HOUR).collect().equals(before)
    assert as_of(log.lazy(), NOW).collect()["headline"].to_list() == ["Loss of 3 m"]


def test_an_article_updated_after_the_window_is_still_found(venue: AlpacaNewsVenue) -> None:
    venue.publish(1, END - HOUR, "on the last day", "AAPL")
    venue.edit(1, END + timedelta(days=2))
    venue.publish(2, END, "after the window", "AAPL")
    assert timedelta(days=2) < FOLLOWED
    assert fetch(venue)["record_id"].to_list() == ["1"]


def test_a_venues_fast_clock_makes_nothing_known_in_the_future(venue: AlpacaNewsVenue) -> None:
    venue.publish(1, END - HOUR, "soon", "AAPL")
    row = article(venue.articles[1], {}, END - 2 * HOUR)
    assert row["ts"] == row["known_at"] == END - 2 * HOUR


BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("no id", {"id": None}),
    ("no headline", {"headline": KeyError}),
    ("no tags", {"symbols": None}),
    ("a time that is none", {"created_at": "yesterday"}),
    ("no time of the update", {"updated_at": None}),
]


@pytest.mark.parametrize("broken", [each[1] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_what_is_no_article_is_refused(venue: AlpacaNewsVenue, broken: dict[str, Any]) -> None:
    venue.publish(1, START, "story", "AAPL")
    row = {name: value for name, value in {**venue.articles[1], **broken}.items() if value is not KeyError}
    with pytest.raises(BadAnswerError):
        article(row, {}, NOW)


def test_without_keys_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPACA_API_KEY", raising=False)
    with pytest.raises(MissingSecretError, match="ALPACA_API_KEY"):
        AlpacaNews()


def test_crypto_is_asked_for_as_alpaca_writes_it(venue: AlpacaNewsVenue) -> None:
    venue.publish(1, START + HOUR, "coins", "BTCUSD")
    assert fetch(venue, "BTC/USD")["symbols_told"].to_list() == [["BTC/USD"]]


def test_an_empty_window_asks_nothing(venue: AlpacaNewsVenue) -> None:
    late = datetime(2030, 1, 1, tzinfo=START.tzinfo)
    assert client(venue).news(["AAPL"], late, late + HOUR).collect().height == 0
    assert venue.requests == []
