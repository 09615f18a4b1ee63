"""Yahoo Finance on loopback, a front of the market core: charts, options, and the cookie, crumb and consent pages.

    with YahooVenue(market) as venue:
        provider = Yahoo(session=venue.session())

The market holds what was traded and paid. As Yahoo does, the venue works all splits into prices, volumes and dividends
and sends prices as 32-bit floats. A price that is not a number is sent as null. Symbols of the market are Yahoo's own
(BTC-USD, ^GSPC); of which class they are and where they trade their listing says. Intraday bars reach as far back as
Yahoo's do, by the market's clock, which answers are dated by as well (HTTP's Date).

Names of requests for fault rules: "GET /v8/finance/chart/AAPL", "GET /v7/finance/options/AAPL".
"""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from curl_cffi.requests import Response, Session

from tests.venues.market import Action, Bar, Fault, Listing, Market
from tests.venues.server import Answer, HttpVenue, Request, as_json

CHART, OPTIONS = "/v8/finance/chart/", "/v7/finance/options/"
PAGES = {
    "/v1/test/getcrumb": b"crumb",
    "/consent": b'<form><input name="csrfToken" value="t"><input name="sessionId" value="s"></form>',
    "/v2/collectConsent": b"",
    "/copyConsent": b"",
}
KINDS = {
    "equity": "EQUITY", "option": "OPTION", "future": "FUTURE", "crypto": "CRYPTOCURRENCY", "forex": "CURRENCY",
    "index": "INDEX",
}  # fmt: skip
PLACES = {  # a listing's venue: Yahoo's name of it, and its time zone
    "NASDAQ": ("NMS", "America/New_York"), "NYSE": ("NYQ", "America/New_York"), "SNP": ("SNP", "America/New_York"),
    "CME": ("CME", "America/New_York"), "NYB": ("NYB", "America/New_York"), "OPRA": ("OPR", "America/New_York"),
    "LSE": ("LSE", "Europe/London"), "JPX": ("JPX", "Asia/Tokyo"), "ASX": ("ASX", "Australia/Sydney"),
    "SAO": ("SAO", "America/Sao_Paulo"), "CCC": ("CCC", "UTC"), "CCY": ("CCY", "Europe/London"),
}  # fmt: skip
LIMITS = {  # of an interval: the days that it reaches back, and those of one request
    "1m": (30, 8), **dict.fromkeys(("5m", "15m", "30m"), (60, 60)), "1h": (730, 730),
}  # fmt: skip
NAMES = ("open", "high", "low", "close", "volume")


class YahooVenue(HttpVenue):
    """A Yahoo server, a context manager.

    `live`: symbols whose last bar is sent once more, stamped so, as Yahoo does with the last trade while a session
    lasts and after it. `whole_end`: the minute in which a request ends is sent as well.
    """

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self.whole_end = False
        self.live: dict[str, datetime] = {}

    def session(self) -> LoopbackSession:
        """A session for yfinance that reaches this venue and nothing else."""
        return LoopbackSession(self.address)

    @property
    def asked(self) -> list[str]:
        """The symbols of the chart requests, in their order."""
        return [each.path.removeprefix(CHART) for each in self.requests if each.path.startswith(CHART)]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        venue = self

        class Dated(super()._handler()):  # type: ignore[misc]
            def date_time_string(self, timestamp: float | None = None) -> str:
                return format_datetime(venue.market.clock.now(), usegmt=True)

        return Dated

    def answer(self, request: Request) -> Answer:
        if request.path.startswith(CHART):
            return self._chart(request.path.removeprefix(CHART), request.query)
        if request.path.startswith(OPTIONS):
            return self._options(request.path.removeprefix(OPTIONS), request.query)
        body = PAGES.get(request.path)
        return Answer(404, b"") if body is None else Answer(200, body)

    def fault_answer(self, fault: Fault) -> Answer:
        words = {429: "Too Many Requests\r\n", 500: "Internal Server Error"}
        return Answer(fault.status, (fault.body or words.get(fault.status, "")).encode())

    def _chart(self, symbol: str, query: dict[str, str]) -> Answer:
        if symbol not in self.market.listings:
            return not_found()
        start, end, interval = int(query["period1"]), int(query["period2"]), query["interval"]
        if interval in LIMITS:
            reach, span = LIMITS[interval]
            told = f"{interval} data not available for startTime={start} and endTime={end}. "
            if start < (self.market.clock.now() - timedelta(days=reach)).timestamp():
                return refused(422, f"{told}The requested range must be within the last {reach} days.")
            if end - start > span * 86_400:
                return refused(422, f"{told}Only {span} days worth of {interval} granularity data are allowed.")
        until = end + 60 if self.whole_end else end
        result = chart(self.market, symbol, start, until, interval, self.live.get(symbol))
        return as_json({"chart": {"result": [result], "error": None}})

    def _options(self, symbol: str, query: dict[str, str]) -> Answer:
        listed = [
            each
            for each in self.market.listings.values()
            if each.asset_class == "option" and each.underlying == symbol and each.active
        ]
        stamps = sorted({_midnight(each.expiry) for each in listed if each.expiry})
        asked = int(query["date"]) if "date" in query else next(iter(stamps), 0)
        found = [each for each in listed if each.expiry and _midnight(each.expiry) == asked]
        sides = {
            f"{right}s": [_option(each) for each in sorted(found, key=_strike) if each.right == right]
            for right in ("call", "put")
        }
        result = {
            "underlyingSymbol": symbol, "expirationDates": stamps, "strikes": sorted({_strike(each) for each in found}),
            "hasMiniOptions": False, "quote": {"symbol": symbol},
            "options": [{"expirationDate": asked, "hasMiniOptions": False, **sides}] if found else [],
        }  # fmt: skip
        results = [result] if symbol in self.market.listings else []
        return as_json({"optionChain": {"result": results, "error": None}})


def chart(
    market: Market, symbol: str, start: int, end: int, interval: str = "1d", live: datetime | None = None
) -> dict[str, Any]:
    """`chart.result[0]` of the bars stamped from `start` to `end`; with `live` the last once more, stamped so."""
    listing, actions = market.listings[symbol], market.actions.get(symbol, [])
    held, daily = market.bars.get((symbol, interval), []), market.bars.get((symbol, "1d"), [])
    place, zone = PLACES[listing.venue]
    stamped = [(action, _ex_stamp(action, daily, ZoneInfo(zone))) for action in actions]
    splits = [(action, stamp) for action, stamp in stamped if action.kind == "split"]

    def factor(stamp: int) -> float:
        return math.prod(split.value for split, ex_stamp in splits if ex_stamp > stamp)

    bars = [bar for bar in held if start <= _stamp(bar) < end]
    stamps, rows = [_stamp(bar) for bar in bars], [_adjusted(bar, factor(_stamp(bar))) for bar in bars]
    if rows and live is not None:
        stamps, rows = [*stamps, int(live.timestamp())], [*rows, rows[-1]]
    first = _stamp((daily or held)[0]) if daily or held else None
    result: dict[str, Any] = {
        "meta": {
            "symbol": symbol, "currency": listing.currency, "exchangeName": place,
            "instrumentType": KINDS[listing.asset_class], "priceHint": 4 if listing.asset_class == "forex" else 2,
            "exchangeTimezoneName": zone, "firstTradeDate": first, "dataGranularity": interval,
            "regularMarketTime": int((live or market.clock.now()).timestamp()),
        },
        "indicators": {"quote": [{name: [row[at] for row in rows] for at, name in enumerate(NAMES)} if rows else {}]},
    }  # fmt: skip
    if rows:
        result["timestamp"] = stamps
    within = [(action, stamp) for action, stamp in stamped if start <= stamp < end]
    events = {
        "splits": {str(stamp): _split(each, stamp) for each, stamp in within if each.kind == "split"},
        "dividends": {
            str(stamp): {"date": stamp, "amount": round(each.value / factor(stamp), 6)}
            for each, stamp in within
            if each.kind == "dividend"
        },
    }
    if any(events.values()):
        result["events"] = {name: each for name, each in events.items() if each}
    return result


def _stamp(bar: Bar) -> int:
    return int(bar.ts.timestamp())


def _ex_stamp(action: Action, daily: list[Bar], zone: ZoneInfo) -> int:
    """When the ex-date's session opens: as its bar says, or at half past nine."""
    opens = datetime.combine(action.ex_date, time(9, 30), zone)
    return next((_stamp(bar) for bar in daily if bar.ts.astimezone(zone).date() == action.ex_date), _seconds(opens))


def _seconds(when: datetime) -> int:
    return int(when.timestamp())


def _split(action: Action, stamp: int) -> dict[str, Any]:
    ratio = Fraction(action.value).limit_denominator(1000)
    return {"date": stamp, "numerator": ratio.numerator, "denominator": ratio.denominator}


def _adjusted(bar: Bar, factor: float) -> list[float | None]:
    prices = [None if math.isnan(price) else float32(price / factor) for price in bar[1:5]]
    return [*prices, None if math.isnan(bar.volume) else round(bar.volume * factor)]


def float32(number: float) -> float:
    """The number as Yahoo sends it."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _strike(each: Listing) -> float:
    return each.strike or 0.0


def _midnight(day: date) -> int:
    return _seconds(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _option(each: Listing) -> dict[str, Any]:
    assert each.expiry is not None
    return {
        "contractSymbol": each.symbol, "strike": each.strike, "currency": each.currency, "lastPrice": 1.0, "bid": 0.0,
        "ask": 0.0, "change": 0.0, "volume": 1, "openInterest": 1, "contractSize": "REGULAR",
        "expiration": _midnight(each.expiry), "lastTradeDate": 1_700_000_000, "impliedVolatility": 0.2,
        "inTheMoney": False,
    }  # fmt: skip


def refused(status: int, description: str, code: str = "Unprocessable Entity") -> Answer:
    """A refusal in the words of Yahoo's charts."""
    return as_json({"chart": {"result": None, "error": {"code": code, "description": description}}}, status)


def not_found() -> Answer:
    return refused(404, "No data found, symbol may be delisted", "Not Found")


def fault(answer: Answer) -> Fault:
    """A fault that gives this answer."""
    return Fault("status", status=answer.status, body=answer.body.decode())


FAULTS = {
    "429": Fault("status", status=429),
    "500": Fault("status", status=500),
    "503 html": Fault("html", status=503),
    "404": fault(not_found()),
    "html": Fault("html"),
    "truncated": Fault("truncated"),
    "cut off": Fault("cut off"),
    "hung up": Fault("drop"),
    "nothing": Fault("empty"),
    "null": fault(Answer(200, json.dumps({"chart": {"result": None, "error": None}}).encode())),
    "no range": fault(refused(400, "Data doesn't exist for startDate = 1, endDate = 2", "Bad Request")),
    "unauthorized": fault(refused(401, "Invalid Crumb", "Unauthorized")),
    "slow": Fault("slow"),
}
"""What Yahoo does in place of a good answer, by name."""


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
