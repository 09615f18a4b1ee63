"""Yahoo's statements, insiders and ratings: what it says today, known since it was fetched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from resources.alternative.base import as_of, merge, schema
from resources.alternative.yahoo import Yahoo
from resources.alternative.yahoo.read import ratings, statements, transactions
from resources.errors import (
    BadAnswerError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.pacing import TokenBucket
from tests.venues.market import Market, VenueClock, instant
from tests.venues.yahoo import FAULTS
from tests.venues.yahoo_reports import SUMMARY, TIMESERIES, Figure, YahooReports, rating, transaction

NOW, LATER = instant(2024, 5, 6, 12), instant(2024, 8, 6, 12)
START, END = instant(2020, 1, 1), instant(2025, 1, 1)
TRIES = 5


class Desk:
    """A venue that knows AAPL, and sources that do not wait."""

    def __init__(self, venue: YahooReports) -> None:
        self.venue, self.market, self.pauses = venue, venue.market, list[float]()
        venue.figures["AAPL"] = {
            "annualTotalRevenue": [
                Figure(date(2022, 9, 30), 394_328e6, "12M"), Figure(date(2023, 9, 30), 383_285e6, "12M"),
            ],
            "quarterlyTotalRevenue": [None, Figure(date(2024, 3, 31), 90_753e6, "3M")],
        }  # fmt: skip
        venue.summaries["AAPL"] = {
            "esgScores": rating(2023, 9),
            "insiderTransactions": {"maxAge": 1, "transactions": [
                transaction(date(2024, 4, 2), "COOK TIMOTHY D", 196_410, "Sale at price 170.03 per share.", value=33e6),
                transaction(date(2024, 4, 1), "COOK TIMOTHY D", 511_000, ""),
            ]},
        }  # fmt: skip
        venue.summaries["SPY"] = {}

    def yahoo(self, now: datetime = NOW, timeout: float = 5.0) -> Yahoo:
        self.market.clock.truth = now
        return Yahoo(
            timeout, self.venue.session(), concepts=("TotalRevenue",), clock=self.market.clock.now,
            sleep=self.pauses.append, chance=lambda: 1.0,
            bucket=TokenBucket(1e3, 1e3, clock=lambda: 0.0, sleep=lambda _: None),
        )  # fmt: skip


@pytest.fixture
def desk() -> Iterator[Desk]:
    with YahooReports(Market(VenueClock(NOW))) as venue:
        yield Desk(venue)


def said(frame: pl.LazyFrame, *columns: str) -> list[tuple[object, ...]]:
    return frame.select(columns).collect().rows()


def test_figures_are_known_since_they_were_fetched_whatever_period_they_are_of(desk: Desk) -> None:
    found = desk.yahoo().fundamentals(["AAPL"], START, END)
    assert found.collect_schema() == schema("fundamentals")
    assert said(found, "concept", "fiscal_period", "period_end", "value", "unit", "known_at") == [
        ("TotalRevenue", "12M", date(2022, 9, 30), 394_328e6, "USD", NOW),
        ("TotalRevenue", "12M", date(2023, 9, 30), 383_285e6, "USD", NOW),
        ("TotalRevenue", "3M", date(2024, 3, 31), 90_753e6, "USD", NOW),
    ]
    assert as_of(found, instant(2024, 5, 6, 11)).collect().is_empty()


def test_a_figure_that_yahoo_restates_is_a_version_since_the_fetch_that_found_it(desk: Desk) -> None:
    log = desk.yahoo().fundamentals(["AAPL"], START, END).collect()
    desk.venue.figures["AAPL"]["annualTotalRevenue"][1] = Figure(date(2023, 9, 30), 383_000e6, "12M")
    log = merge(log, desk.yahoo(LATER).fundamentals(["AAPL"], START, END).collect())
    year = pl.col("period_end") == date(2023, 9, 30)
    assert log.filter(year).select("value", "known_at", "state").rows() == [
        (383_285e6, NOW, "new"),
        (383_000e6, LATER, "corrected"),
    ]
    assert log.height == 4
    assert as_of(log.lazy(), NOW).filter(year).collect()["value"].to_list() == [383_285e6]


def test_periods_that_end_outside_the_window_are_left_out(desk: Desk) -> None:
    found = desk.yahoo().fundamentals(["AAPL"], instant(2022, 9, 30), instant(2023, 9, 30))
    assert said(found, "period_end") == [(date(2022, 9, 30),)]
    assert desk.yahoo().fundamentals(["NOBODY"], START, END).collect().schema == schema("fundamentals")


@pytest.mark.parametrize("formatted", [False, True])
def test_insiders_say_which_way_and_at_what_price_where_yahoo_does(desk: Desk, formatted: bool) -> None:
    desk.venue.formatted = formatted
    found = desk.yahoo().insider(["AAPL"], START, END)
    assert found.collect_schema() == schema("insider")
    assert said(found, "ts", "insider", "shares", "price", "acquired_disposed", "transaction_code", "known_at") == [
        (instant(2024, 4, 1), "COOK TIMOTHY D", 511_000.0, None, None, None, NOW),
        (instant(2024, 4, 2), "COOK TIMOTHY D", 196_410.0, 170.03, "D", None, NOW),
    ]


TEXTS = [
    ("Sale at price 170.03 per share.", "D", 170.03),
    ("Sale at price 1,170.03 per share.", "D", 1170.03),
    ("Sale at price 169.00 - 171.50 per share.", "D", None),
    ("Purchase at price 12 per share.", "A", 12.0),
    ("Stock Award(Grant) at price 0.00 per share.", "A", 0.0),
    ("Stock Gift at price 0.00 per share.", None, 0.0),
    ("Conversion of Exercise of derivative security at price 3.14 per share.", None, 3.14),
    ("", None, None),
]


@pytest.mark.parametrize(("text", "way", "price"), TEXTS)
def test_what_a_text_says_of_a_transaction(text: str, way: str | None, price: float | None) -> None:
    told = [{"insiderTransactions": {"transactions": [transaction(date(2024, 4, 2), "A", 1, text)]}}]
    (row,) = transactions("AAPL", told)
    assert (row["acquired_disposed"], row["price"], row["note"]) == (way, price, text or None)


def test_two_like_transactions_of_a_day_are_two_records() -> None:
    one = transaction(date(2024, 4, 2), "A", 100, "Sale at price 5 per share.")
    rows = transactions("AAPL", [{"insiderTransactions": {"transactions": [one, one, one | {"ownership": "I"}]}}])
    assert len({row["record_id"] for row in rows}) == 3


def test_a_rating_is_of_its_month_and_known_since_it_was_fetched(desk: Desk) -> None:
    found = desk.yahoo().esg(["AAPL", "SPY", "NOBODY"], START, END)
    assert found.collect_schema() == schema("esg")
    columns = ("symbol", "ts", "known_at", "total", "environment", "social", "governance", "controversy", "percentile")
    assert said(found, *columns) == [("AAPL", instant(2023, 9, 1), NOW, 17.22, 0.46, 7.39, 9.37, 3.0, 15.4)]
    assert said(found, "peer_group") == [("Technology Hardware",)]
    assert desk.yahoo().esg(["AAPL"], instant(2023, 9, 2), END).collect().is_empty()


def test_a_rating_without_a_total_or_a_month_is_none() -> None:
    assert ratings("AAPL", [{"esgScores": rating(2023, 9, totalEsg=None)}, {"esgScores": {}}, {}]) == []
    (row,) = ratings("AAPL", [{"esgScores": rating(2023, 9, environmentScore={}, percentile=None)}])
    assert (row["environment"], row["percentile"], row["total"]) == (None, None, 17.22)


def test_an_unknown_symbol_and_one_without_insiders(desk: Desk) -> None:
    assert desk.yahoo().insider(["SPY"], START, END).collect().is_empty()
    with pytest.raises(UnknownSymbolError, match="yahoo has no NOBODY: Quote not found"):
        desk.yahoo().insider(["NOBODY"], START, END)


ERRORS = [
    ("429", RateLimitedError, r"AAPL.*\(429\)"),
    ("500", BadAnswerError, "AAPL.*answered 500"),
    ("html", BadAnswerError, "not its (quoteSummary|timeseries)"),
    ("truncated", BadAnswerError, "not its (quoteSummary|timeseries)"),
    ("cut off", BadAnswerError, "AAPL.*(broke off|hung up)"),
    ("hung up", BadAnswerError, "AAPL.*hung up"),
    ("nothing", BadAnswerError, "not its (quoteSummary|timeseries)"),
    ("slow", ProviderTimeoutError, r"within 0\.3 s"),
]


@pytest.mark.parametrize("path", [TIMESERIES, SUMMARY])
@pytest.mark.parametrize(("name", "error", "says"), ERRORS, ids=[name for name, _, _ in ERRORS])
def test_a_lasting_fault_is_an_error_and_a_passing_one_costs_nothing(
    desk: Desk, path: str, name: str, error: type[ProviderError], says: str
) -> None:
    kind = "fundamentals" if path == TIMESERIES else "insider"
    source = desk.yahoo(timeout=0.3 if name == "slow" else 5.0)
    good = getattr(source, kind)(["AAPL"], START, END).collect()
    desk.market.faults.add(path, FAULTS[name], times=1 if name == "slow" else 2)
    assert getattr(source, kind)(["AAPL"], START, END).collect().equals(good)
    if name == "slow":
        return
    desk.market.faults.add(path, FAULTS[name], times=None)
    pauses = len(desk.pauses)
    with pytest.raises(error, match=says):
        getattr(source, kind)(["AAPL"], START, END)
    assert len(desk.pauses) == pauses + TRIES - 1


ODD: list[tuple[Any, list[Any], str]] = [
    (statements, [{"meta": {"symbol": ["MSFT"], "type": ["annualEBITDA"]}}], "statements of MSFT"),
    (statements, [{"meta": {"symbol": ["AAPL"], "type": ["EBITDA"]}}], "not laid out"),
    (
        statements,
        [{"meta": {"symbol": ["AAPL"], "type": ["annualX"]}, "annualX": [{"asOfDate": "soon"}]}],
        "not laid out",
    ),
    (transactions, [{"insiderTransactions": {"transactions": [{"shares": 1}]}}], "insiders' transactions are not"),
    (ratings, [{"esgScores": rating(2023, 13)}], "ESG rating are not"),
    (ratings, ["x"], "ESG rating are not"),
]


@pytest.mark.parametrize(("read", "told", "says"), ODD)
def test_anything_else_is_refused(read: Any, told: list[Any], says: str) -> None:
    with pytest.raises(BadAnswerError, match=says):
        read("AAPL", told)
