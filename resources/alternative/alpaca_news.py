"""News by Alpaca (Benzinga's articles, from 2015 on), through alpaca-py's client of news.

What Alpaca says and what it means:

- `created_at` is when the article was first out, `updated_at` when this version was: our ts and known_at. Only the
  newest version is kept there, so of an article that was changed before it was first fetched the first is not known.
- The window asked for goes by the update, ours by the creation: articles are asked for until FOLLOWED after the end of
  the window, so that one that was changed within these days is still found.
- An article that is taken away is no longer listed, and nothing says so: it is not withdrawn here.
- `symbols` are Benzinga's tags; crypto is written BTCUSD there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from resources.alternative.base import Kind, versions
from resources.alternative.rows import framed
from resources.alternative.web import ODD
from resources.errors import BadAnswerError
from resources.market_data.alpaca.client import Connection, chunks
from resources.market_data.base import Clock, utc_now

PAGE = 50
"""Articles that one answer may hold."""
GROUP = 50
"""Symbols that one request names."""
FOLLOWED = timedelta(days=7)


class AlpacaNews:
    """Source of news. ALPACA_API_KEY and ALPACA_SECRET_KEY in the environment.

    `requests_per_minute`: 200 on the free plan. `data_url`: another address, for tests. Raises MissingSecretError
    without the keys.

    >>> from datetime import UTC, datetime
    >>> day = datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC)
    >>> AlpacaNews().news(["AAPL"], *day).collect()  # doctest: +SKIP
    """

    name = "alpaca_news"
    kinds: tuple[Kind, ...] = ("news",)
    begins: datetime | None = datetime(2015, 1, 1, tzinfo=UTC)

    def __init__(
        self,
        *,
        requests_per_minute: float = 200.0,
        timeout_seconds: float = 30.0,
        data_url: str | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._connection = Connection(
            paper=True,
            timeout_seconds=timeout_seconds,
            requests_per_minute=requests_per_minute,
            workers=1,
            page_rows=PAGE,
            data_url=data_url,
            trading_url=None,
            clock=clock,
            sleep=sleep,
        )

    def news(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Articles created in [start, end) that are tagged with one of the symbols, as they read now; `symbol` is null.

        Raises as `Connection` does, BadAnswerError also on an article without id, headline or times.
        """
        fetched_at = self._clock()
        until = min(end + FOLLOWED, fetched_at)
        tags = {symbol.replace("/", ""): symbol for symbol in symbols}
        rows: list[dict[str, Any]] = []
        for group in chunks(list(tags), GROUP) if start < until else []:
            asks = {
                "symbols": ",".join(group), "start": _stamp(start), "end": _stamp(until), "sort": "asc",
                "include_content": "false",
            }  # fmt: skip
            for page in self._connection.documents("news", "/news", asks, "news"):
                rows += [article(told, tags, fetched_at) for told in _listed(page)]
        there = [row for row in rows if start <= row["ts"] < end]
        return versions("news", framed("news", self.name, there), self.name, fetched_at).lazy()


def article(told: Mapping[str, Any], tags: Mapping[str, str], fetched_at: datetime) -> dict[str, Any]:
    """An article as Alpaca tells it in our words. A venue's clock may be ahead: nothing is known after it was fetched.

    Raises BadAnswerError where it is none.
    """
    try:
        number, created, updated = int(told["id"]), _instant(told, "created_at"), _instant(told, "updated_at")
        symbols = sorted(tags.get(each, each) for each in told["symbols"])
        headline = told["headline"]
        if headline is None:
            raise ValueError("headline is missing")
        more = {name: told.get(name) or None for name in ("summary", "author", "url")}
    except ODD as error:
        raise BadAnswerError(
            f"alpaca_news: {str(told)[:80]} is no article ({type(error).__name__}: {error}). Try later."
        ) from error
    ts = min(created, fetched_at)
    return {
        "record_id": str(number), "ts": ts, "known_at": min(max(updated, ts), fetched_at), "headline": headline,
        **more, "summary": more["summary"] or "", "symbols_told": symbols,
    }  # fmt: skip


def _instant(told: Mapping[str, Any], name: str) -> datetime:
    """A time of an article, in UTC. Raises LookupError, TypeError or ValueError where it is none or has no zone."""
    at = datetime.fromisoformat(told[name])
    if at.tzinfo is None:
        raise ValueError(f"{name} {told[name]} has no zone")
    return at.astimezone(UTC)


def _listed(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    held = page["news"] or []
    if not isinstance(held, list):
        raise BadAnswerError(f"alpaca news: {str(held)[:80]} is no list of articles. Try later.")
    return held


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
