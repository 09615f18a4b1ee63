"""Payloads of odd shapes: every value of a documented answer is put wrong in turn, and the source reads it or says so.

What is said is one of the project's errors and names what is odd; what is read is a frame of finite numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest

from resources.alternative.alpaca_news import AlpacaNews
from resources.alternative.base import Kind, checked
from resources.alternative.bluesky import Bluesky
from resources.alternative.edgar import Edgar
from resources.alternative.satellite import Area, Satellite
from resources.alternative.web import Web
from resources.alternative.yahoo import Yahoo
from resources.errors import QuantError
from resources.market_data.alpaca.client import Connection
from resources.market_data.pacing import TokenBucket
from tests.venues.market import instant

NOW, START, END = instant(2024, 6, 1), instant(2024, 1, 1), instant(2024, 6, 1)
ODD = (
    None, [], {}, "", "text", "12", 0, -1, 1.5, True, [None], [["a"]], {"a": None}, 2**31, 2**63, 10**400, float("nan"),
    float("inf"), "2024-05-01T10:00:00", "0000-00-00", "9999-12-31T23:59:59Z", "\ud83d broken", "x" * 300,
)  # fmt: skip
QUIET: dict[str, Any] = {"sleep": lambda _: None, "clock": lambda: NOW}
READY = TokenBucket(1e9, 1e9, clock=lambda: 0.0, sleep=lambda _: None)
BODY = Mapping[str, Any]

ARTICLE = {
    "id": 7, "headline": "Profits rise", "summary": "More.", "author": "A. Writer", "url": "https://example.com/7",
    "created_at": "2024-05-01T10:00:00Z", "updated_at": "2024-05-01T11:00:00Z", "symbols": ["AAPL", "MSFT"],
}  # fmt: skip
POST = {
    "uri": "at://did:plc:a/app.bsky.feed.post/1", "indexedAt": "2024-05-01T10:00:00Z", "likeCount": 3,
    "author": {"did": "did:plc:a", "handle": "me.example.com"},
    "record": {"text": "$AAPL up", "createdAt": "2024-05-01T09:59:59Z"},
}  # fmt: skip
FACT = {"end": "2024-03-30", "start": "2024-01-01", "val": 5, "accn": "a-1", "fy": 2024, "fp": "Q2", "form": "10-Q",
        "filed": "2024-05-02"}  # fmt: skip
FILINGS = {
    "accessionNumber": ["a-1"], "form": ["10-Q"], "filingDate": ["2024-05-02"], "reportDate": ["2024-03-30"],
    "acceptanceDateTime": ["2024-05-02T20:31:07.000Z"], "primaryDocument": ["a.htm"],
}  # fmt: skip
COMPANY = {
    "cik": "0000320193", "name": "Apple Inc.", "filings": {"recent": FILINGS, "files": []},
    "formerNames": [{"name": "Apple Computer", "from": "1994-01-26T00:00:00.000Z", "to": "2007-01-04T00:00:00.000Z"}],
}  # fmt: skip
SERIES = {
    "meta": {"symbol": ["AAPL"], "type": ["annualTotalRevenue"]},
    "annualTotalRevenue": [{"asOfDate": "2024-03-30", "periodType": "12M", "currencyCode": "USD",
                            "reportedValue": {"raw": 5.0, "fmt": "5"}}],
}  # fmt: skip
INSIDERS = {"insiderTransactions": {"transactions": [{
    "filerName": "COOK", "filerRelation": "CEO", "transactionText": "Sale at price 170.03 per share.", "ownership": "D",
    "shares": {"raw": 100}, "startDate": {"raw": 1714521600},
}]}}  # fmt: skip
RATING = {"esgScores": {"ratingYear": 2024, "ratingMonth": 3, "totalEsg": {"raw": 17.2}, "environmentScore": 1.0,
                        "socialScore": 2, "governanceScore": 3, "highestControversy": 3, "percentile": {"raw": 9.0},
                        "peerGroup": "Technology"}}  # fmt: skip
ITEM = {
    "id": "scene-1", "collection": "scenes", "bbox": [10, 49, 11, 50],
    "properties": {"datetime": "2024-05-01T10:00:00Z", "updated": "2024-05-01T18:30:00Z", "eo:cloud_cover": 20.0},
    "assets": {"avg_rad": {"href": "https://example.com/a.tif", "raster:bands": [
        {"scale": 1, "offset": 0, "nodata": 0, "statistics": {"mean": 12.5, "valid_percent": 100}}]}},
}  # fmt: skip


def answered(told: Callable[[str], Any]) -> Any:
    """Every read of the web is answered with JSON by its address."""
    return patch.object(Web, "_ask", lambda _, what, method, url, asked, good: json.dumps(told(url)).encode())


def alpaca(page: Any) -> pl.LazyFrame:
    with patch.object(Connection, "_retried", lambda _, client, path, params, read: read(json.dumps(page))):
        return AlpacaNews(**QUIET).news(["AAPL"], START, END)


def bluesky(page: Any) -> pl.LazyFrame:
    with answered(lambda url: {"accessJwt": "t"} if url.endswith("createSession") else page):
        return Bluesky(**QUIET).social(["AAPL"], START, END)


def edgar_facts(content: Any) -> pl.LazyFrame:
    with answered(lambda url: content if "companyfacts" in url else COMPANY):
        return _edgar().fundamentals(["AAPL"], START, END)


def edgar_filings(content: Any) -> pl.LazyFrame:
    facts = {"cik": 320193, "facts": {"us-gaap": {"Assets": {"units": {"USD": [FACT]}}}}}
    with answered(lambda url: facts if "companyfacts" in url else content):
        _edgar().names(["AAPL"])
        return _edgar().fundamentals(["AAPL"], START, END)


def edgar_tickers(content: Any) -> pl.LazyFrame:
    with answered(lambda url: content if "tickers" in url else COMPANY):
        _edgar(ciks={}).names(["AAPL"])
    return _edgar().fundamentals([], START, END)


def _edgar(**options: Any) -> Edgar:
    return Edgar("Me me@example.com", **{"ciks": {"AAPL": 320193}, **QUIET, "bucket": READY, **options})


def yahoo(method: str, what: str) -> Callable[[Any], pl.LazyFrame]:
    def ask(body: Any) -> pl.LazyFrame:
        told = {what: {"result": [body], "error": None}}
        answer = SimpleNamespace(status_code=200, json=lambda: told, text=json.dumps(told))
        source = Yahoo(concepts=("TotalRevenue",), bucket=READY, chance=lambda: 1.0, **QUIET)
        with patch("resources.market_data.yahoo.client.Client._send", lambda *_: answer):
            found: pl.LazyFrame = getattr(source, method)(["AAPL"], START, END)
            return found

    return ask


def satellite(item: Any) -> pl.LazyFrame:
    area = Area("field", "AGRI", (10.0, 49.0, 11.0, 50.0))
    options = {"assets": {"index": "avg_rad"}, "index_name": "night_lights", "collections": ("scenes",)}
    source = Satellite("https://stac.example.com", [area], bucket=READY, **options, **QUIET)
    with patch("resources.alternative.satellite.catalogue.Catalogue.items", lambda *_: iter([item])):
        return source.activity(["AGRI"], START, END)


ANSWERS: dict[str, tuple[Kind, Callable[[Any], pl.LazyFrame], BODY]] = {
    "alpaca_news": ("news", alpaca, {"news": [ARTICLE]}),
    "bluesky": ("social", bluesky, {"posts": [POST]}),
    "edgar companyfacts": (
        "fundamentals", edgar_facts, {"cik": 320193, "facts": {"us-gaap": {"Assets": {"units": {"USD": [FACT]}}}}},
    ),
    "edgar submissions": ("fundamentals", edgar_filings, COMPANY),
    "edgar tickers": ("fundamentals", edgar_tickers, {"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple"}}),
    "yahoo statements": ("fundamentals", yahoo("fundamentals", "timeseries"), SERIES),
    "yahoo insiders": ("insider", yahoo("insider", "quoteSummary"), INSIDERS),
    "yahoo rating": ("esg", yahoo("esg", "quoteSummary"), RATING),
    "satellite": ("activity", satellite, ITEM),
}  # fmt: skip


def odd(told: Any) -> Iterator[tuple[str, Any]]:
    """The answer with each of its values in turn put wrong, or left out."""
    for path in places(told):
        for value in ODD:
            made, held = _copied(told, path)
            held[path[-1]] = value
            yield f"{path} is {str(value)[:40]!r}", made
        made, held = _copied(told, path)
        del held[path[-1]]
        yield f"{path} is missing", made


def places(told: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value of an answer."""
    for key in told if isinstance(told, dict) else range(len(told)) if isinstance(told, list) else ():
        yield (*path, key)
        yield from places(told[key], (*path, key))


def _copied(told: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    """A copy of an answer, and what in it holds the value at a place."""
    made = held = deepcopy(told)
    for key in path[:-1]:
        held = held[key]
    return made, held


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY", "BLUESKY_IDENTIFIER", "BLUESKY_APP_PASSWORD"):
        monkeypatch.setenv(name, "key")


@pytest.mark.parametrize("name", ANSWERS)
def test_an_odd_value_is_read_or_refused_by_name(name: str) -> None:
    kind, ask, good = ANSWERS[name]
    assert ask(deepcopy(good)).collect().height == {"edgar tickers": 0, "yahoo statements": 2}.get(name, 1)
    wrong: list[str] = []
    for what, content in odd(good):
        try:
            checked(kind, ask(content).collect())
        except QuantError as error:
            if len(str(error)) < 30 or "\n" in str(error):
                wrong.append(f"{what}: says {error}")
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: {str(error)[:120]}")
    assert not wrong, "\n".join(wrong)
