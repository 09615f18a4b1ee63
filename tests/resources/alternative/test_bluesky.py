"""Posts from a loopback Bluesky: every one once, by the time it was indexed, whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from resources.alternative.bluesky import Bluesky, post
from resources.errors import AccessDeniedError, BadAnswerError, MissingSecretError, RateLimitedError
from tests.venues.bluesky import HANDLE, PASSWORD, BlueskyVenue
from tests.venues.market import Fault, Market, VenueClock, instant

START, END, NOW = instant(2026, 3, 1), instant(2026, 3, 8), instant(2026, 3, 11)
MINUTE = timedelta(minutes=1)
SEARCH = "GET /xrpc/app.bsky.feed.searchPosts"


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlueskyVenue]:
    monkeypatch.setenv("BLUESKY_IDENTIFIER", HANDLE)
    monkeypatch.setenv("BLUESKY_APP_PASSWORD", PASSWORD)
    with BlueskyVenue(Market(clock=VenueClock(NOW))) as made:
        yield made


def fetch(venue: BlueskyVenue, *symbols: str, pauses: list[float] | None = None) -> pl.DataFrame:
    source = Bluesky(
        requests_per_minute=1e9, timeout_seconds=5.0, service=venue.address, clock=venue.market.clock.now,
        sleep=(pauses if pauses is not None else []).append, chance=lambda: 1.0,
    )  # fmt: skip
    return source.social(symbols or ("AAPL",), START, END).collect()


def write(venue: BlueskyVenue, count: int) -> set[str]:
    return {venue.write(START + number * MINUTE, f"${'AAPL'} number {number}") for number in range(count)}


def test_a_post_is_told_in_our_words(venue: BlueskyVenue) -> None:
    uri = venue.write(START + MINUTE, "long $aapl, short $BRK.B", indexed=START + 2 * MINUTE, likes=3)
    row = fetch(venue).row(0, named=True)
    assert {name: row[name] for name in row if name not in ("content", "url")} == {
        "source": "bluesky", "record_id": uri, "symbol": None, "ts": START + MINUTE, "known_at": START + 2 * MINUTE,
        "fetched_at": NOW, "state": "new", "text": "long $aapl, short $BRK.B", "author": HANDLE, "followers": None,
        "likes": 3, "symbols_told": ["AAPL", "BRK.B"],
    }  # fmt: skip
    assert row["url"].startswith("https://bsky.app/profile/did:plc:")


def test_every_page_is_followed(venue: BlueskyVenue) -> None:
    posts = write(venue, 250)
    assert set(fetch(venue)["record_id"]) == posts
    assert len(venue.requests) == 4  # a session, three pages


@pytest.mark.parametrize("pages", [1, 2])
def test_where_the_pages_end_early_what_was_before_is_asked_for_by_time(venue: BlueskyVenue, pages: int) -> None:
    venue.pages = pages
    posts = write(venue, 330)
    # Several of one instant at the seam between two questions.
    posts |= {venue.write(START + 230 * MINUTE, f"$AAPL again {number}") for number in range(5)}
    assert set(fetch(venue)["record_id"]) == posts


def test_a_post_on_two_symbols_comes_once(venue: BlueskyVenue) -> None:
    venue.write(START + MINUTE, "$AAPL and $MSFT")
    assert fetch(venue, "AAPL", "MSFT").height == 1


def test_a_post_that_claims_another_time_is_known_when_it_was_indexed(venue: BlueskyVenue) -> None:
    venue.write(START - timedelta(days=400), "$AAPL as if long ago", indexed=START + MINUTE)
    venue.write(START + timedelta(days=3), "$AAPL as if later", indexed=START + 2 * MINUTE)
    rows = fetch(venue)
    assert rows.select("text", "ts", "known_at").rows() == [
        ("$AAPL as if later", START + 2 * MINUTE, START + 2 * MINUTE)
    ]


def test_a_session_that_has_run_out_is_renewed(venue: BlueskyVenue) -> None:
    venue.tokens = 2
    posts = write(venue, 450)
    assert set(fetch(venue)["record_id"]) == posts
    assert venue.sessions == 3


def test_a_session_refused_at_once_is_an_error(venue: BlueskyVenue) -> None:
    venue.tokens = 0
    with pytest.raises(AccessDeniedError, match="just given"):
        fetch(venue)


FAULTS = [
    ("429", Fault("status", status=429, retry_after=3.0)),
    ("500", Fault("status", status=500)),
    ("half a page", Fault("truncated")),
    ("a page cut off", Fault("cut off")),
    ("a page of HTML", Fault("html")),
    ("no answer", Fault("drop")),
]


@pytest.mark.parametrize("fault", [each[1] for each in FAULTS], ids=[each[0] for each in FAULTS])
def test_what_passes_is_asked_for_again(venue: BlueskyVenue, fault: Fault) -> None:
    posts = write(venue, 150)
    venue.market.faults.add(SEARCH, fault, skip=1, times=2)
    pauses: list[float] = []
    assert set(fetch(venue, pauses=pauses)["record_id"]) == posts
    assert len(venue.requests) == 5
    assert fault.retry_after is None or max(pauses) >= fault.retry_after


def test_what_lasts_is_an_error_and_no_empty_frame(venue: BlueskyVenue) -> None:
    write(venue, 3)
    venue.market.faults.add(SEARCH, Fault("status", status=429), times=99)
    with pytest.raises(RateLimitedError, match="Bluesky refuses more requests"):
        fetch(venue)


def test_wrong_keys_are_one_clear_error_without_the_password(
    venue: BlueskyVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLUESKY_APP_PASSWORD", "wrong-wrong-wrong")
    with pytest.raises(AccessDeniedError, match="BLUESKY_APP_PASSWORD") as raised:
        fetch(venue)
    assert "wrong-wrong" not in str(raised.value)
    monkeypatch.delenv("BLUESKY_IDENTIFIER")
    with pytest.raises(MissingSecretError, match="BLUESKY_IDENTIFIER"):
        Bluesky()


BROKEN: list[dict[str, Any]] = [{"uri": KeyError}, {"record": "text"}, {"indexedAt": "soon"}, {"author": {}}]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: next(iter(each)))
def test_what_is_no_post_is_refused(venue: BlueskyVenue, broken: dict[str, Any]) -> None:
    venue.write(START, "$AAPL")
    row = {name: value for name, value in {**venue.posts[0], **broken}.items() if value is not KeyError}
    with pytest.raises(BadAnswerError):
        post(row, NOW)
