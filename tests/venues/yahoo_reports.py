"""Yahoo's fundamentals timeseries and quote summaries on loopback, beside its charts.

    with YahooReports(market) as venue:
        venue.figures["AAPL"] = {"annualTotalRevenue": [Figure(date(2023, 9, 30), 383_285e6, "12M")]}
        source = Yahoo(session=venue.session())

As Yahoo does, the venue refuses a quote summary without its crumb (401), tells of a type that a company does not report
its name alone, and puts null where a figure is missing among others. `formatted`: numbers come with their text beside
them, as Yahoo sends some whatever was asked.

Names of requests for fault rules: "GET /v10/finance/quoteSummary/AAPL".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from tests.venues.market import Market
from tests.venues.server import Answer, Request, as_json
from tests.venues.yahoo import PAGES, YahooVenue

TIMESERIES, SUMMARY = "/ws/fundamentals-timeseries/v1/finance/timeseries/", "/v10/finance/quoteSummary/"
CRUMB = PAGES["/v1/test/getcrumb"].decode()


@dataclass(frozen=True)
class Figure:
    ended: date
    value: float
    length: str
    currency: str = "USD"


class YahooReports(YahooVenue):
    """`figures`: of a symbol and type, None where one is missing; `summaries`: the modules of a symbol."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self.formatted = False
        self.figures: dict[str, dict[str, list[Figure | None]]] = {}
        self.summaries: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> Answer:
        if request.path.startswith(TIMESERIES):
            return self._timeseries(request.path.removeprefix(TIMESERIES), request.query)
        if request.path.startswith(SUMMARY):
            if request.query.get("crumb") != CRUMB:
                return _no("quoteSummary", "Unauthorized", "Invalid Crumb", 401)
            return self._summary(request.path.removeprefix(SUMMARY), request.query["modules"].split(","))
        return super().answer(request)

    def _timeseries(self, symbol: str, query: dict[str, str]) -> Answer:
        held, results = self.figures.get(symbol, {}), []
        for name in query["type"].split(","):
            told = [
                each
                for each in held.get(name, [])
                if each is None or int(query["period1"]) <= _stamp(each.ended) <= int(query["period2"])
            ]
            content = {
                "timestamp": [_stamp(each.ended) for each in told if each],
                name: [_figure(each) for each in told],
            }
            results.append({"meta": {"symbol": [symbol], "type": [name]}, **(content if told else {})})
        return as_json({"timeseries": {"result": results, "error": None}})

    def _summary(self, symbol: str, modules: list[str]) -> Answer:
        held = self.summaries.get(symbol)
        if held is None:
            return _no("quoteSummary", "Not Found", f"Quote not found for symbol: {symbol}", 404)
        found = {name: self._numbers(held[name]) for name in modules if name in held}
        if not found and modules == ["esgScores"]:
            return _no("quoteSummary", "Not Found", f"No fundamentals data found for symbol: {symbol}", 404)
        return as_json({"quoteSummary": {"result": [found], "error": None}})

    def _numbers(self, told: Any) -> Any:
        if isinstance(told, dict):
            return {name: self._numbers(each) for name, each in told.items()}
        if isinstance(told, list):
            return [self._numbers(each) for each in told]
        plain = not self.formatted or isinstance(told, str | bool) or told is None
        return told if plain else {"raw": told, "fmt": f"{told:,}", "longFmt": f"{told:,}"}


def _figure(each: Figure | None) -> dict[str, Any] | None:
    if each is None:
        return None
    return {
        "dataId": 20100, "asOfDate": each.ended.isoformat(), "periodType": each.length, "currencyCode": each.currency,
        "reportedValue": {"raw": each.value, "fmt": f"{each.value:.4g}"},
    }  # fmt: skip


def _stamp(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _no(what: str, code: str, description: str, status: int) -> Answer:
    return as_json({what: {"result": None, "error": {"code": code, "description": description}}}, status)


def transaction(day: date, name: str, shares: float | None, text: str, **told: Any) -> dict[str, Any]:
    """An element of insiderTransactions.transactions."""
    return {
        "maxAge": 1, "startDate": _stamp(day), "filerName": name, "filerRelation": "Chief Executive Officer",
        "filerUrl": "", "moneyText": "", "transactionText": text, "ownership": "D",
        **({} if shares is None else {"shares": shares}), **told,
    }  # fmt: skip


def rating(year: int, month: int, **told: Any) -> dict[str, Any]:
    """The module esgScores."""
    return {
        "maxAge": 86400, "totalEsg": 17.22, "environmentScore": 0.46, "socialScore": 7.39, "governanceScore": 9.37,
        "ratingYear": year, "ratingMonth": month, "highestControversy": 3, "peerCount": 55, "percentile": 15.4,
        "esgPerformance": "UNDER_PERF", "peerGroup": "Technology Hardware",
        "relatedControversy": ["Customer Incidents"], "adult": False, **told,
    }  # fmt: skip
