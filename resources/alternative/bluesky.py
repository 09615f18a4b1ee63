"""Posts on Bluesky that name a ticker ($AAPL), by the search of the AT protocol (app.bsky.feed.searchPosts).

What Bluesky says and what it means (lexicons com.atproto.server.createSession, app.bsky.feed.searchPosts and
app.bsky.feed.defs#postView of the AT protocol):

- `createdAt` is what the author's program says, `indexedAt` when Bluesky had the post: known_at. A post that claims a
  later time than that took place when it was indexed; search sorts by the earlier of both, and so is ts.
- A post is never changed in place. One that was deleted is no longer found, and nothing says so.
- Search finds words; only posts that hold the very tag, or name the company (quant_assets.alternative.mapping), count.
- Pages are followed by `cursor`, which search does not promise to lead through everything: where it ends early, the
  posts before the earliest one found are asked for by time (`until`).
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from resources.alternative.base import Kind, versions
from resources.alternative.rows import framed
from resources.alternative.web import ODD, Web
from resources.errors import AccessDeniedError, BadAnswerError, MissingSecretError, ProviderError
from resources.market_data.base import Clock, utc_now
from resources.market_data.pacing import TokenBucket

SERVICE = "https://bsky.social"
"""The account's server, which passes reads on to Bluesky's index."""
PAGE = 100
"""Posts that one answer may hold."""
TAG = re.compile(r"(?<![\w$])\$([A-Za-z][A-Za-z0-9]{0,5}(?:[.-][A-Za-z]{1,2})?)(?![A-Za-z0-9])")

_MILLISECOND = timedelta(milliseconds=1)
"""The end asked for is excluded, and told to so much: other posts of that instant come again."""


class _ExpiredError(ProviderError):
    """The token of the session has run out."""


class _Index(Web):
    """Bluesky's HTTP, whose refusals carry a word for programs."""

    def refusal(self, what: str, status: int, text: str, retry_after: float) -> ProviderError:
        word = _word(text)
        if word == "ExpiredToken":
            return _ExpiredError(f"{what}: Bluesky's session has run out.")
        if status in (400, 401, 403) and word in (
            "AuthenticationRequired",
            "InvalidToken",
            "AuthMissing",
            "AccountTakedown",
        ):
            return AccessDeniedError(
                f"{what}: Bluesky refused ({status}: {word}). Check BLUESKY_IDENTIFIER and BLUESKY_APP_PASSWORD; "
                "an app password is made under Settings, Privacy and security."
            )
        return super().refusal(what, status, text, retry_after)


class Bluesky:
    """Source of posts. BLUESKY_IDENTIFIER (a handle) and BLUESKY_APP_PASSWORD in the environment.

    `requests_per_minute`: Bluesky allows 3,000 in five minutes to an address. `service`: the account's own server, and
    another address for tests. Raises MissingSecretError without the keys.

    >>> from datetime import UTC, datetime
    >>> day = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
    >>> Bluesky().social(["AAPL"], *day).collect()  # doctest: +SKIP
    """

    name = "bluesky"
    kinds: tuple[Kind, ...] = ("social",)
    begins: datetime | None = datetime(2023, 7, 1, tzinfo=UTC)
    """Taken so that a count of posts is not zero for want of people: before it accounts were few, and by invitation."""

    def __init__(
        self,
        *,
        requests_per_minute: float = 300.0,
        timeout_seconds: float = 30.0,
        service: str = SERVICE,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._keys = _keys()
        self._service, self._clock = service, clock
        bucket = TokenBucket(requests_per_minute / 60, max(1.0, requests_per_minute / 20), sleep=sleep)
        self._index = _Index("Bluesky", bucket, timeout_seconds=timeout_seconds, sleep=sleep, chance=chance)
        self._token, self._entering = "", threading.Lock()

    def social(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Posts from [start, end) that tag one of the symbols; `symbol` is null. Raises as `Web.read` does."""
        fetched_at = self._clock()
        found: dict[str, dict[str, Any]] = {}
        for symbol in dict.fromkeys(symbols):
            for told in self._search(f"${symbol}", start, min(end, fetched_at)):
                row = post(told, fetched_at)
                if start <= row["ts"] < end:
                    found[row["record_id"]] = row
        return versions("social", framed("social", self.name, found.values()), self.name, fetched_at).lazy()

    def _search(self, words: str, start: datetime, end: datetime) -> list[Mapping[str, Any]]:
        """The posts between two instants, newest first, each once."""
        found: dict[str, Mapping[str, Any]] = {}
        # Milliseconds are asked for, and what they cut off would be lost: `social` leaves out what is asked too much.
        until, cursor = end + _MILLISECOND, None
        while start < until:
            asks = {"q": words, "sort": "latest", "since": _stamp(start), "until": _stamp(until), "limit": PAGE}
            posts, cursor = self._page(words, asks | ({"cursor": cursor} if cursor else {}))
            fresh = {str(each["uri"]): each for each in posts if each["uri"] not in found}
            found |= fresh
            if not fresh or (cursor is None and len(posts) < PAGE):
                break
            if cursor is None:
                # The pages ended with a full one: what came before its earliest post is asked for by time.
                until = min(_times(each)[0] for each in fresh.values()) + _MILLISECOND
        return list(found.values())

    def _page(self, words: str, asks: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str | None]:
        """The posts of a page and the cursor of the next one; a session that has run out is renewed once."""

        def read(body: bytes) -> tuple[list[Mapping[str, Any]], str | None]:
            held = json.loads(body)
            for each in held["posts"]:
                _times(each)
                if not isinstance(each["uri"], str):
                    raise TypeError(f"uri is {str(each['uri'])[:40]!r}")
            return held["posts"], held.get("cursor") or None

        url = f"{self._service}/xrpc/app.bsky.feed.searchPosts"
        for last in (False, True):
            token = self._session()
            try:
                return self._index.read(words, url, read, params=asks, headers={"Authorization": f"Bearer {token}"})
            except _ExpiredError as error:
                if last:
                    raise AccessDeniedError(f"{words}: Bluesky refuses a session that it has just given.") from error
                with self._entering:
                    if self._token == token:
                        self._token = ""
        raise AssertionError("one of the two tries returns or raises")

    def _session(self) -> str:
        """The token of a session, of a new one where there is none."""
        with self._entering:
            if not self._token:
                identifier, password = self._keys
                self._token = self._index.read(
                    "session",
                    f"{self._service}/xrpc/com.atproto.server.createSession",
                    lambda body: str(json.loads(body)["accessJwt"]),
                    method="POST",
                    body={"identifier": identifier, "password": password},
                )
            return self._token


def post(told: Mapping[str, Any], fetched_at: datetime) -> dict[str, Any]:
    """A post as Bluesky tells it in our words. Raises BadAnswerError where it is none."""
    try:
        ts, indexed = _times(told)
        uri, author, text = str(told["uri"]), told["author"], told["record"].get("text") or ""
        handle, did, tags = author["handle"], author["did"], sorted({tag.upper() for tag in TAG.findall(text)})
    except ODD as error:
        raise BadAnswerError(f"bluesky: {str(told)[:80]} is no post ({error!r}). Try later.") from error
    return {
        "record_id": uri,
        "ts": min(ts, fetched_at),
        "known_at": min(indexed, fetched_at),
        "text": text,
        "author": handle,
        "url": f"https://bsky.app/profile/{did}/post/{uri.rpartition('/')[2]}",
        "followers": None,
        "likes": told.get("likeCount"),
        "symbols_told": tags,
    }


def _times(told: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """When a post took place, and when it was indexed. Raises KeyError, TypeError or ValueError on what is no post."""
    indexed = _instant(told["indexedAt"])
    return min(_instant(told["record"]["createdAt"]), indexed), indexed


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text} has no zone")
    return at.astimezone(UTC)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(text: str) -> str:
    """The error's name in Bluesky's JSON; "" where it is none."""
    try:
        told = json.loads(text)
    except ValueError:
        return ""
    return str(told.get("error", "")) if isinstance(told, dict) else ""


def _keys() -> tuple[str, str]:
    held = tuple(os.environ.get(name, "").strip() for name in ("BLUESKY_IDENTIFIER", "BLUESKY_APP_PASSWORD"))
    if not all(held):
        raise MissingSecretError(
            "bluesky: BLUESKY_IDENTIFIER and BLUESKY_APP_PASSWORD must both be set in the environment; an app password "
            "is made on bsky.app under Settings, Privacy and security."
        )
    return held[0], held[1]
