"""Alpaca's news on loopback (/v1beta1/news), as alpaca-py's client of news asks for it.

As Alpaca does, the venue takes `start` and `end` (included) for the time of an article's last update, orders by it,
gives at most 50 articles a page, lists of each article the newest version only, and knows nothing of symbols but their
tags. `articles` is the truth: what the venue would say now; `edit` changes an article as an editor would.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.venues.alpaca import KEY, SECRET, AlpacaVenue, stamp
from tests.venues.server import Answer, Request, as_json


class AlpacaNewsVenue(AlpacaVenue):
    """A front of articles beside the market's. `repeat`: each page begins with the last article of the one before."""

    def __init__(self, market: Any, *, repeat: bool = False) -> None:
        super().__init__(market)
        self.articles: dict[int, dict[str, Any]] = {}
        self.repeat = repeat

    def publish(self, number: int, at: datetime, headline: str, *symbols: str, **more: Any) -> None:
        self.articles[number] = {
            "id": number, "headline": headline, "summary": "", "author": "A. Writer", "source": "benzinga",
            "created_at": stamp(at), "updated_at": stamp(at), "url": f"https://example.com/{number}",
            "symbols": list(symbols), "images": [], "content": "", **more,
        }  # fmt: skip

    def edit(self, number: int, at: datetime, **changed: Any) -> None:
        self.articles[number] |= {"updated_at": stamp(at), **changed}

    def answer(self, request: Request) -> Answer:
        if request.path != "/v1beta1/news":
            return super().answer(request)
        if (request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key")) != (KEY, SECRET):
            return as_json({"message": "unauthorized."}, 401)
        query = request.query
        limit = int(query.get("limit", 10))
        if not 1 <= limit <= 50:
            return as_json({"message": "limit must be between 1 and 50"}, 400)
        wanted, start, end = set(query["symbols"].split(",")), _at(query["start"]), _at(query["end"])
        listed = sorted(
            (each for each in self.articles.values() if wanted & set(each["symbols"])),
            key=lambda each: (each["updated_at"], each["id"]),
        )
        held = [each for each in listed if start <= _at(each["updated_at"]) <= min(end, self.market.clock.now())]
        first = int(query.get("page_token") or 0)
        last = first + limit
        shown = held[max(0, first - self.repeat) : last - (self.repeat and first > 0)]
        token = str(first + len(shown) - (self.repeat and first > 0)) if first + len(shown) < len(held) else None
        return as_json({"news": shown, "next_page_token": token})


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
