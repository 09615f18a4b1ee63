"""Bluesky on loopback: a session, and the search for posts, as the lexicons of the AT protocol describe them.

As Bluesky does, the venue sorts by the earlier of createdAt and indexedAt, newest first, takes `since` as included and
`until` as excluded, gives at most 100 posts a page, finds words without regard to case, and refuses a token that has
run out with ExpiredToken (400). `pages` bounds how far a cursor leads, as search does not promise to lead through
everything; `tokens` says for how many reads a token is good.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from tests.venues.alpaca import stamp
from tests.venues.market import Market
from tests.venues.server import Answer, HttpVenue, Request, as_json

HANDLE, PASSWORD = "loopback.example.com", "abcd-efgh-ijkl-mnop"
DID = "did:plc:loopback0000000000000000"


class BlueskyVenue(HttpVenue):
    """A front of posts."""

    def __init__(self, market: Market, *, pages: int = 1000, tokens: int = 1000) -> None:
        super().__init__(market)
        self.posts: list[dict[str, Any]] = []
        self.pages, self.tokens = pages, tokens
        self.sessions = 0
        self._left: dict[str, int] = {}

    def write(self, at: datetime, text: str, *, indexed: datetime | None = None, likes: int = 0) -> str:
        """Add a post; its address."""
        uri = f"at://{DID}/app.bsky.feed.post/{len(self.posts):013d}"
        record = {"$type": "app.bsky.feed.post", "text": text, "createdAt": stamp(at), "langs": ["en"]}
        author = {"did": DID, "handle": HANDLE, "displayName": "Loop Back"}
        self.posts.append(
            {
                "uri": uri, "cid": f"bafyrei{len(self.posts):052d}", "author": author, "record": record,
                "replyCount": 0, "repostCount": 0, "likeCount": likes, "quoteCount": 0,
                "indexedAt": stamp(indexed or at), "labels": [],
            }
        )  # fmt: skip
        return uri

    def answer(self, request: Request) -> Answer:
        match (request.method, request.path):
            case ("POST", "/xrpc/com.atproto.server.createSession"):
                asked = json.loads(request.body)
                if (asked["identifier"], asked["password"]) != (HANDLE, PASSWORD):
                    return _refused(401, "AuthenticationRequired", "Invalid identifier or password")
                self.sessions += 1
                token = f"token-{self.sessions}"
                self._left[token] = self.tokens
                return as_json({"accessJwt": token, "refreshJwt": "unused", "handle": HANDLE, "did": DID})
            case ("GET", "/xrpc/app.bsky.feed.searchPosts"):
                return self._search(request)
        return _refused(404, "XRPCNotSupported", request.path)

    def _search(self, request: Request) -> Answer:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._left:
            return _refused(401, "AuthMissing", "Authentication Required")
        if not self._left[token]:
            return _refused(400, "ExpiredToken", "Token has expired")
        self._left[token] -= 1
        query = request.query
        limit, first = int(query.get("limit", 25)), int(query.get("cursor") or 0)
        if not 1 <= limit <= 100:
            return _refused(400, "InvalidRequest", "limit must be from 1 to 100")
        since, until = datetime.fromisoformat(query["since"]), datetime.fromisoformat(query["until"])
        held = [each for each in self.posts if since <= sort_at(each) < until]
        held = [each for each in held if query["q"].lower() in each["record"]["text"].lower()]
        held.sort(key=sort_at, reverse=True)
        more = first + limit < len(held) and first // limit + 1 < self.pages
        return as_json({"posts": held[first : first + limit]} | ({"cursor": str(first + limit)} if more else {}))


def sort_at(post: dict[str, Any]) -> datetime:
    return min(datetime.fromisoformat(post["record"]["createdAt"]), datetime.fromisoformat(post["indexedAt"]))


def _refused(status: int, word: str, message: str) -> Answer:
    return as_json({"error": word, "message": message}, status)
