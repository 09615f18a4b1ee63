"""The EDGAR source at its loopback venue: what it asks for, what it makes of it, and what goes wrong on the way."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl
import pytest

from resources.alternative.base import as_of, merge, schema
from resources.alternative.edgar import client
from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    MissingSecretError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.pacing import TokenBucket
from tests.resources.alternative.edgar.edgar_desk import APPLE, END, NOW, START, WHO, Desk, a_company, deals, desk
from tests.venues.edgar import FAULTS, GREENWICH, NEW_YORK, THRESHOLD, UNDECLARED, Company, Deal, Fact
from tests.venues.market import Fault, instant

FIRST, RESTATED = instant(2024, 5, 2, 20, 31, 7), instant(2024, 8, 2, 10)  # the second after half past five: at six
TRIES = 5


@pytest.fixture(params=[GREENWICH, NEW_YORK], ids=["utc", "new york"])
def apple(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with desk(a_company(request.param)) as made:
        yield made


@pytest.fixture
def busy() -> Iterator[Desk]:
    """A company of which both clocks and two form 4s are told."""
    company = a_company(GREENWICH)
    deals(company, instant(2024, 5, 3, 22, 30), Deal("S", 1000), Deal("S", 500))
    deals(company, instant(2024, 5, 9, 22, 30), Deal("S", 1001), form="4/A", original=date(2024, 5, 3))
    with desk(company) as made:
        yield made


def said(frame: pl.LazyFrame, *columns: str) -> list[tuple[object, ...]]:
    return frame.select(columns).collect().rows()


def test_a_restated_figure_is_what_was_known_at_each_instant(apple: Desk) -> None:
    found = apple.edgar().fundamentals(["AAPL"], START, END)
    assert found.collect_schema() == schema("fundamentals")
    assert said(found, "period_end", "value", "known_at", "state") == [
        (date(2024, 3, 30), 337.4e9, FIRST, "new"),
        (date(2024, 3, 30), 337.0e9, RESTATED, "corrected"),
        (date(2024, 6, 29), 331.6e9, RESTATED, "new"),
    ]
    moments = [FIRST - timedelta(seconds=1), FIRST, RESTATED - timedelta(seconds=1), RESTATED]
    held = [[value for (value,) in said(as_of(found, moment), "value")] for moment in moments]
    assert held == [[], [337.4e9], [337.4e9], [337.0e9, 331.6e9]]


def test_what_is_fetched_again_adds_nothing(busy: Desk) -> None:
    edgar = busy.edgar()
    for kind in ("fundamentals", "insider"):
        first = getattr(edgar, kind)(["AAPL"], START, END).collect()
        busy.market.clock.advance(86_400)
        again = getattr(edgar, kind)(["AAPL"], START, END).collect()
        assert merge(merge(first.clear(), first), again).height == first.height > 0


def test_periods_outside_the_window_are_left_out(apple: Desk) -> None:
    found = apple.edgar().fundamentals(["AAPL"], instant(2024, 3, 30), instant(2024, 6, 29))
    assert set(said(found, "period_end")) == {(date(2024, 3, 30),)}


def test_insiders_rows_are_known_from_their_forms_and_corrected_by_amendments(busy: Desk) -> None:
    found = busy.edgar().insider(["AAPL"], START, END)
    assert found.collect_schema() == schema("insider")
    assert said(found, "shares", "known_at", "state", "filed") == [
        (1000.0, instant(2024, 5, 3, 22, 30), "new", date(2024, 5, 3)),
        (1001.0, instant(2024, 5, 9, 22, 30), "corrected", date(2024, 5, 9)),
        (500.0, instant(2024, 5, 3, 22, 30), "new", date(2024, 5, 3)),
    ]
    assert busy.venue.asked("/Archives/")[0].endswith("/wk-form4_1714775400.xml")
    assert "xsl" not in " ".join(busy.venue.asked("/Archives/"))
    assert sum(shares for (shares,) in said(as_of(found, NOW), "shares")) == 1501.0


def test_only_forms_that_may_tell_of_the_window_are_fetched(busy: Desk) -> None:
    """An amendment may amend any form before it, and says which one in itself alone."""
    assert busy.edgar().insider(["AAPL"], instant(2024, 5, 10), END).collect().is_empty()
    assert busy.venue.asked("/Archives/") == []
    assert busy.edgar().insider(["AAPL"], START, instant(2024, 4, 30)).collect().is_empty()
    (asked,) = busy.venue.asked("/Archives/")
    assert busy.venue.companies[APPLE].filings[-1].accession.replace("-", "") in asked


def test_forms_of_which_the_company_is_the_insider_and_those_in_text_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    company = a_company(GREENWICH)
    other = deals(company, instant(2024, 5, 3, 22, 30), Deal())
    company.filings[-1] = type(other)(
        **vars(other) | {"content": other.content.replace(f"{APPLE:010d}".encode(), b"0000000009")}
    )
    company.file("4", instant(2024, 5, 4, 1), report=date(2024, 5, 3), document="form4.txt")
    with desk(company) as made, caplog.at_level(logging.WARNING):
        assert made.edgar().insider(["AAPL"], START, END).collect().is_empty()
    assert "AAPL: 1 ownership forms have no XML" in caplog.text


def test_older_pages_are_read_where_the_window_needs_them() -> None:
    company = a_company(GREENWICH)
    for year in range(2010, 2020):
        fact = Fact("us-gaap:Assets", year * 1e6, date(year, 3, 30))
        company.file("10-Q", instant(year, 5, 2, 20, 31), report=date(year, 3, 30), facts=[fact])
    with desk(company, recent=5) as made:
        assert made.edgar().fundamentals(["AAPL"], START, END).collect().height == 3
        assert made.venue.asked("-submissions-") == []
        wide = made.edgar().fundamentals(["AAPL"], instant(2012, 1, 1), END)
        assert [path[-8:-5] for path in made.venue.asked("-submissions-")] == ["001", "002"]
    stamps = dict(said(wide.filter(pl.col("state") == "new"), "period_end", "known_at"))
    assert stamps[date(2012, 3, 30)] == instant(2012, 5, 2, 20, 31)
    assert min(stamps) == date(2012, 3, 30)  # type: ignore[type-var]


def test_two_tickers_of_a_company_have_its_records_each() -> None:
    with desk(a_company(GREENWICH, tickers=("BRK-A", "BRK-B"))) as made:
        found = made.edgar().fundamentals(["BRK.A", "BRK-B"], START, END).collect()
    assert found.group_by("symbol").len().sort("symbol").rows() == [("BRK-B", 3), ("BRK.A", 3)]
    assert found["record_id"].n_unique() == 2


def test_symbols_are_those_of_todays_list_or_told(apple: Desk) -> None:
    with pytest.raises(UnknownSymbolError, match=r"no GONE, SPY among today's tickers"):
        apple.edgar().fundamentals(["AAPL", "GONE", "SPY"], START, END)
    told = apple.edgar(ciks={"GONE": APPLE}).fundamentals(["GONE"], START, END)
    assert set(said(told, "symbol")) == {("GONE",)}
    assert len(apple.venue.asked("company_tickers")) == 1  # of the first, which needed it


def test_a_company_without_facts_has_no_rows() -> None:
    with desk(Company(1, "Trust", ("TRST",))) as made:
        found = made.edgar().fundamentals(["TRST"], START, END).collect()
    assert found.schema == schema("fundamentals")
    assert found.is_empty()


def test_names_now_and_before() -> None:
    former = (("APPLE COMPUTER INC", "1994-01-26T05:00:00.000Z", "2007-01-04T05:00:00.000Z"),)
    with desk(Company(APPLE, "Apple Inc.", ("AAPL",), former=former)) as made:
        found = made.edgar().names(["AAPL"]).drop("symbol").rows()
    changed = instant(2007, 1, 4, 5)
    assert found == [
        ("320193", "cik", None, None, None),
        ("Apple Inc.", "legal", changed, None, changed),
        ("APPLE COMPUTER INC", "legal", instant(1994, 1, 26, 5), changed, instant(1994, 1, 26, 5)),
    ]


def test_a_time_of_publication_taken_for_later_than_the_fetch_is_the_fetch() -> None:
    company = Company(1, "New", ("NEW",), GREENWICH)  # one filing at noon: its clock is not told
    company.file("10-Q", instant(2024, 5, 2, 16), facts=[Fact("us-gaap:Assets", 1.0, date(2024, 3, 30))])
    with desk(company) as made:
        made.market.clock.truth = instant(2024, 5, 2, 16, 5)
        assert said(made.edgar().fundamentals(["NEW"], START, END), "known_at") == [(instant(2024, 5, 2, 16, 5),)]
        made.market.clock.advance(86_400)
        assert said(made.edgar().fundamentals(["NEW"], START, END), "known_at") == [(instant(2024, 5, 2, 20),)]


ERRORS = [  # the fault, the error, what the message says
    ("429", RateLimitedError, r"CIK 320193.*refuses more requests \(429\) for 1 s"),
    ("500", BadAnswerError, "EDGAR answered 500"),
    ("503 html", BadAnswerError, "EDGAR answered 503.*DOCTYPE"),
    ("html", BadAnswerError, "else than its documented format.*DOCTYPE"),
    ("truncated", BadAnswerError, "broke off|else than its documented format"),
    ("cut off", BadAnswerError, "broke off"),
    ("nothing", BadAnswerError, "else than its documented format"),
    ("hung up", BadAnswerError, "broke off"),
    ("null", BadAnswerError, "else than its documented format"),
    ("other", BadAnswerError, "else than its documented format.*accessionNumber"),
    ("slow", ProviderTimeoutError, r"within 0\.2 s.*timeout_seconds"),
]


@pytest.mark.parametrize(("name", "error", "says"), ERRORS, ids=[name for name, _, _ in ERRORS])
def test_a_lasting_fault_is_an_error_of_its_kind_and_a_passing_one_costs_nothing(
    busy: Desk, name: str, error: type[ProviderError], says: str
) -> None:
    edgar = busy.edgar(timeout_seconds=0.2 if name == "slow" else 5.0)
    good = edgar.insider(["AAPL"], START, END).collect()
    for part in ("/files/", "/submissions/", "/Archives/"):
        busy.market.faults.add(part, FAULTS[name], times=TRIES - 1 if name != "slow" else 1)
    assert edgar.insider(["AAPL"], START, END).collect().equals(good)
    asked = len(busy.venue.requests)
    busy.market.faults.add("/submissions/", FAULTS[name], times=None)
    with pytest.raises(error, match=says):
        edgar.insider(["AAPL"], START, END)
    assert len(busy.venue.requests) == asked + 1 + TRIES


def test_facts_cut_short_are_asked_for_again(apple: Desk) -> None:
    for name in ("truncated", "cut off", "html"):
        apple.market.faults.add("/companyfacts/", FAULTS[name])
    assert apple.edgar().fundamentals(["AAPL"], START, END).collect().height == 3
    assert [kind for _, kind in apple.market.faults.fired] == ["truncated", "cut off", "html"]


REFUSALS = [
    (Fault("status", status=403, body=UNDECLARED), AccessDeniedError, "SEC_USER_AGENT", 2),
    (Fault("status", status=403, body=THRESHOLD), RateLimitedError, r"\(403\) for 600 s.*10 a second", 2),
    (Fault("status", status=429, body=THRESHOLD), RateLimitedError, r"\(429\) for 600 s", 2),
    (Fault("status", status=400, body="no"), ProviderError, "answered 400: 'no'", 2),
]


@pytest.mark.parametrize(("fault", "error", "says", "requests"), REFUSALS)
def test_a_refusal_that_stays_is_not_asked_again(
    apple: Desk, fault: Fault, error: type[ProviderError], says: str, requests: int
) -> None:
    apple.market.faults.add("/submissions/", fault, times=None)
    with pytest.raises(error, match=says):
        apple.edgar().fundamentals(["AAPL"], START, END)
    assert len(apple.venue.requests) == requests
    assert apple.pauses == []


def test_the_asker_is_named_and_answers_come_packed(apple: Desk) -> None:
    apple.edgar().fundamentals(["AAPL"], START, END)
    assert {each.headers["user-agent"] for each in apple.venue.requests} == {WHO}
    assert {each.headers["accept-encoding"] for each in apple.venue.requests} == {"gzip, deflate"}


@pytest.mark.parametrize("told", ["", "  ", "Somebody", "So\nme body@example.com", "Jörg joerg@example.com"])
def test_who_does_not_say_a_name_and_an_address_is_told_so(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("SEC_USER_AGENT", told)
    with pytest.raises(MissingSecretError, match=r"SEC_USER_AGENT.*e-mail address"):
        client.Client()


def test_no_more_than_ten_requests_go_out_within_any_second() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    bucket = TokenBucket(client.REQUESTS_PER_SECOND, client.AT_ONCE, clock=lambda: now[0], sleep=sleep)
    went = []
    for _ in range(60):
        bucket.take()
        went.append(now[0])
    assert max(sum(at <= other < at + 1.0 for other in went) for at in went) <= 10
    assert went[-1] < 7.5  # and not many fewer
