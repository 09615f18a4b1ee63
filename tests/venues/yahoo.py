"""Yahoo Finance on loopback: the chart endpoint as Yahoo serves it, and the cookie, crumb and consent pages around it.

Listings hold what was traded and paid. As Yahoo does, the venue works all splits into prices, volumes and dividends,
and sends prices as 32-bit floats. Faults are data: a plan of names, one taken by each chart request in turn.
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from datetime import time as clock_time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

from curl_cffi.requests import Response, Session

CHART = "/v8/finance/chart/"
PAGES = {
    "/v1/test/getcrumb": b"crumb",
    "/consent": b'<form><input name="csrfToken" value="t"><input name="sessionId" value="s"></form>',
    "/v2/collectConsent": b"",
    "/copyConsent": b"",
}
HTML = "<!DOCTYPE html><html><body>Will be right back...</body></html>"

Bar = tuple[float | None, float | None, float | None, float | None, float | None]


@dataclass
class Listing:
    """A share as it traded: open, high, low, close, volume by session; ratios and cash by ex-date."""

    bars: dict[date, Bar]
    splits: dict[date, tuple[int, int]] = field(default_factory=dict)
    dividends: dict[date, float] = field(default_factory=dict)
    zone: str = "America/New_York"
    opens: clock_time = clock_time(9, 30)
    live_at: datetime | None = None  # when the last bar is sent once more, stamped so, as during and after trading
    meta: dict[str, Any] = field(default_factory=dict)

    def stamp(self, day: date) -> int:
        return int(datetime.combine(day, self.opens, ZoneInfo(self.zone)).timestamp())

    def factor(self, day: date) -> float:
        return math.prod(new / old for ex_date, (new, old) in self.splits.items() if ex_date > day)

    def chart(self, symbol: str, start: int, end: int) -> dict[str, Any]:
        """`chart.result[0]` of the days stamped from `start` to `end`."""
        days = [day for day in sorted(self.bars) if start <= self.stamp(day) < end]
        rows = [self._adjusted(day) for day in days]
        stamps = [self.stamp(day) for day in days]
        if days and self.live_at is not None:
            rows.append(rows[-1])
            stamps.append(int(self.live_at.timestamp()))
        names = ("open", "high", "low", "close", "volume")
        quote = {name: [row[at] for row in rows] for at, name in enumerate(names)} if rows else {}
        result: dict[str, Any] = {
            "meta": {
                "symbol": symbol, "currency": "USD", "exchangeName": "NMS", "instrumentType": "EQUITY", "priceHint": 2,
                "exchangeTimezoneName": self.zone, "firstTradeDate": self.stamp(min(self.bars)), **self.meta,
            },
            "indicators": {"quote": [quote], "adjclose": [{}]},
        }  # fmt: skip
        if rows:
            result["timestamp"] = stamps
        events = {
            "splits": {
                str(self.stamp(day)): {"date": self.stamp(day), "numerator": new, "denominator": old}
                for day, (new, old) in self.splits.items()
                if start <= self.stamp(day) < end
            },
            "dividends": {
                str(self.stamp(day)): {"date": self.stamp(day), "amount": round(cash / self.factor(day), 6)}
                for day, cash in self.dividends.items()
                if start <= self.stamp(day) < end
            },
        }
        if any(events.values()):
            result["events"] = {name: held for name, held in events.items() if held}
        return result

    def _adjusted(self, day: date) -> list[float | None]:
        factor = self.factor(day)
        prices = [price if price is None else float32(price / factor) for price in self.bars[day][:4]]
        volume = self.bars[day][4]
        return [*prices, volume if volume is None else round(volume * factor)]


def float32(number: float) -> float:
    """The number as Yahoo sends it."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    length: int | None = None  # announced, where it is not the body's


def _json(status: int, result: list[dict[str, Any]] | None, error: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps({"chart": {"result": result, "error": error}}).encode())


def _not_found() -> Answer:
    return _json(404, None, {"code": "Not Found", "description": "No data found, symbol may be delisted"})


FAULTS: dict[str, Callable[[Answer], Answer]] = {
    "none": lambda good: good,
    "429": lambda good: Answer(429, b"Too Many Requests\r\n"),
    "500": lambda good: Answer(500, b"Internal Server Error"),
    "503 html": lambda good: Answer(503, HTML.encode()),
    "404": lambda good: _not_found(),
    "html": lambda good: Answer(200, HTML.encode()),
    "truncated": lambda good: Answer(200, good.body[: len(good.body) // 2]),
    "cut off": lambda good: Answer(200, good.body[: len(good.body) // 2], len(good.body)),
    "nothing": lambda good: Answer(200, b""),
    "null": lambda good: _json(200, None),
    "no range": lambda good: _json(
        400, None, {"code": "Bad Request", "description": "Data doesn't exist for startDate = 1, endDate = 2"}
    ),
    "unauthorized": lambda good: _json(401, None, {"code": "Unauthorized", "description": "Invalid Crumb"}),
}
"""What takes the place of a good answer. The fault `slow` waits until the venue closes."""


class YahooVenue:
    """A Yahoo server on loopback, a context manager. Chart requests use up `faults`; `asked` are their symbols."""

    def __init__(self, listings: dict[str, Listing], faults: list[str] | None = None) -> None:
        self.listings = listings
        self.faults = list(faults or [])
        self.asked: list[str] = []
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> YahooVenue:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def session(self) -> LoopbackSession:
        """A session for yfinance that reaches this venue and nothing else."""
        return LoopbackSession(f"http://127.0.0.1:{self._server.server_address[1]}")

    def answer(self, path: str) -> Answer:
        """The answer to a GET, and a POST, of a path with its query."""
        parts = urlsplit(path)
        if parts.path.startswith(CHART):
            return self._chart(unquote(parts.path.removeprefix(CHART)), parse_qs(parts.query))
        body = PAGES.get(parts.path)
        return Answer(404, b"") if body is None else Answer(200, body)

    def _chart(self, symbol: str, query: dict[str, list[str]]) -> Answer:
        self.asked.append(symbol)
        fault = self.faults.pop(0) if self.faults else "none"
        listing = self.listings.get(symbol)
        if fault == "slow":
            self._closing.wait(10)
            return Answer(200, b"")
        good = _not_found()
        if listing is not None:
            good = _json(200, [listing.chart(symbol, int(query["period1"][0]), int(query["period2"][0]))])
        return FAULTS[fault](good)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        venue = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = venue.answer(self.path)
                with contextlib.suppress(ConnectionError):  # a client that gave up waiting is gone
                    self.send_response(answer.status)
                    length = len(answer.body) if answer.length is None else answer.length
                    self.send_header("Content-Length", str(length))
                    self.end_headers()
                    self.wfile.write(answer.body)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                """Keep the tests' output clean."""

        return Handler


class LoopbackSession(Session):
    """A curl_cffi session that sends *.yahoo.com to a venue on loopback, and refuses any other address."""

    def __init__(self, address: str) -> None:
        super().__init__(trust_env=False)
        self._address = address

    def request(self, method: Any, url: str, **options: Any) -> Response:
        parts = urlsplit(url)
        if not f".{parts.hostname}".endswith(".yahoo.com"):
            raise AssertionError(f"a test reached for {parts.hostname}: Yahoo's client may talk to yahoo.com only")
        near = self._address + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return super().request(method, near, **options | {"allow_redirects": False})


def at(*when: int) -> datetime:
    """An instant in UTC."""
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type, misc]  # year, month, day and so on, as positions
