"""From when on a filing was public: never before the truth, whichever clock a company's stamps are told in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.alternative.edgar.filings import Stamp, clock, filings, older_pages, stamps
from tests.venues.edgar import GREENWICH, NEW_YORK, Company
from tests.venues.market import instant


def stamp(told: str | None, filed: str, form: str = "10-Q", accession: str = "1") -> Stamp:
    accepted = datetime.fromisoformat(told) if told else None
    return Stamp(accession, form, date.fromisoformat(filed), None, accepted, "a.htm")


class Case(NamedTuple):
    name: str
    form: str
    told: str | None
    filed: str
    known_at: datetime


# A company of which 7:30 in New York is told as 07:30Z, and one of which 16:05 is told as 20:05Z.
NEW_YORKER = [stamp("2024-03-05T07:30:00", "2024-03-05", "8-K", "beside")]
UTC_TELLER = [stamp(f"2024-07-{day:02d}T20:05:00", f"2024-07-{day:02d}", "10-Q", f"beside {day}") for day in (1, 2, 3)]

BY_NEW_YORK = [
    Case("at once", "10-Q", "2024-05-02T16:31:07", "2024-05-02", instant(2024, 5, 2, 20, 31, 7)),
    Case("in winter", "10-K", "2024-02-02T16:31:07", "2024-02-02", instant(2024, 2, 2, 21, 31, 7)),
    Case("dated the day after: from six", "10-K", "2024-02-02T18:05:00", "2024-02-05", instant(2024, 2, 5, 11)),
    Case("an insider's, of the evening", "4", "2024-05-02T21:30:00", "2024-05-02", instant(2024, 5, 3, 1, 30)),
    Case("no time of day: the day's end", "10-K", "1997-12-19T00:00:00", "1997-12-19", instant(1997, 12, 20, 5)),
    Case("no stamp at all", "10-K", None, "2024-05-02", instant(2024, 5, 3, 4)),
]
BY_UTC = [
    Case("at once", "10-Q", "2024-05-02T20:31:07", "2024-05-02", instant(2024, 5, 2, 20, 31, 7)),
    Case("dated the day after: from six", "8-K", "2024-02-02T23:05:00", "2024-02-05", instant(2024, 2, 5, 11)),
    Case("an insider's, of the evening", "4", "2024-05-03T01:30:00", "2024-05-02", instant(2024, 5, 3, 1, 30)),
]


@pytest.mark.parametrize(
    ("zone", "beside", "case"),
    [("NY", NEW_YORKER, case) for case in BY_NEW_YORK] + [("UTC", UTC_TELLER, case) for case in BY_UTC],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
def test_when_a_filing_was_public(zone: str, beside: list[Stamp], case: Case) -> None:
    found = filings([stamp(case.told, case.filed, case.form, "mine"), *beside])
    assert found["mine"].known_at == case.known_at


PUBLISHED = [  # what EDGAR's list says, its filing date, and the acceptance in the filing's own header, New York's time
    # github.com/theOGognf/finagg/issues/64 and github.com/dgunning/edgartools/issues/557
    ("U.S. Steel", "2025-05-01T16:21:59", "2025-05-01", "2025-05-01T16:21:59", True),
    ("Hess", "2025-04-30T07:30:32", "2025-04-30", "2025-04-30T07:30:32", True),
    ("VMAR", "2025-12-19T22:14:45", "2025-12-19", "2025-12-19T17:14:45", False),
]


@pytest.mark.parametrize(("name", "told", "filed", "header", "by_new_york"), PUBLISHED)
def test_published_stamps_are_read_by_the_clock_that_they_were_told_in(
    name: str, told: str, filed: str, header: str, by_new_york: bool
) -> None:
    beside = NEW_YORKER if by_new_york else UTC_TELLER
    found = filings([stamp(told, filed, "8-K", name), *beside])[name]
    truth = datetime.fromisoformat(header).replace(tzinfo=NEW_YORK).astimezone(UTC)
    assert found.known_at == truth
    assert filings([stamp(told, filed, "8-K", name)])[name].known_at >= truth  # alone it may be taken for later


def test_a_company_whose_stamps_fit_both_clocks_is_read_by_the_later_one() -> None:
    noon = stamp("2024-05-02T14:00:00", "2024-05-02")
    assert clock([noon]) == NEW_YORK
    assert filings([noon])["1"].known_at == instant(2024, 5, 2, 18)


def test_a_few_odd_filings_do_not_turn_a_company_to_the_other_clock() -> None:
    true = [stamp(f"2024-07-{day:02d}T20:05:00", f"2024-07-{day:02d}") for day in range(1, 22)]
    odd = stamp("2024-07-23T07:00:00", "2024-07-23")  # by UTC three in the morning
    assert clock([*true, odd]) == GREENWICH
    assert clock([*true[:10], odd]) == NEW_YORK


def test_stamps_without_a_time_of_day_tell_nothing_of_the_clock() -> None:
    days = [f"1997-12-{day:02d}" for day in range(1, 31)]
    for hour in ("00", "05"):  # midnight, and New York's midnight in UTC
        old = [stamp(f"{day}T{hour}:00:00", day) for day in days]
        assert clock([*old, *UTC_TELLER]) == GREENWICH
        assert clock([*old, *NEW_YORKER]) == NEW_YORK


def test_fewer_than_three_filings_do_not_speak_for_utc() -> None:
    assert clock(UTC_TELLER[:2]) == NEW_YORK
    assert clock(UTC_TELLER) == GREENWICH


DAYS = st.dates(date(2010, 1, 1), date(2024, 12, 31)).filter(lambda day: day.weekday() < 5)
TIMES = st.integers(0, 16 * 3600 - 1)
FORMS = st.sampled_from(["10-K", "10-Q", "8-K", "4", "4/A", "424B5", "SC 13G"])


@given(st.lists(st.tuples(DAYS, TIMES, FORMS), min_size=1, max_size=30), st.sampled_from([GREENWICH, NEW_YORK]))
def test_no_filing_is_known_before_it_was_public(filed: list[tuple[date, int, str]], zone: ZoneInfo) -> None:
    company = Company(1, "Any", ("ANY",), zone)
    for day, seconds, form in filed:
        local = datetime(day.year, day.month, day.day, 6, tzinfo=NEW_YORK) + timedelta(seconds=seconds)
        company.file(form, local.astimezone(UTC))
    told = [
        stamp(company.stamp(each)[:19], each.filed.isoformat(), each.form, each.accession) for each in company.filings
    ]
    found = filings(told)
    for each in company.filings:
        assert found[each.accession].known_at >= each.public
    if clock(told) == zone:
        assert [found[each.accession].known_at for each in company.filings] == [each.public for each in company.filings]


def test_columns_become_stamps_and_odd_ones_are_refused() -> None:
    columns = {
        "accessionNumber": ["a", "b"], "form": ["4", "SC 13G"], "filingDate": ["2024-05-02", "2024-05-03"],
        "reportDate": ["2024-05-01", ""], "acceptanceDateTime": ["2024-05-02T16:31:07.000Z", ""],
        "primaryDocument": ["xslF345X05/a.xml", ""], "size": [1, 2],
    }  # fmt: skip
    first, second = stamps(columns)
    assert first == Stamp(
        "a", "4", date(2024, 5, 2), date(2024, 5, 1), datetime(2024, 5, 2, 16, 31, 7), "xslF345X05/a.xml"
    )
    assert (second.report, second.accepted) == (None, None)
    with pytest.raises(ValueError, match="shorter"):
        stamps(columns | {"form": ["4"]})
    with pytest.raises(LookupError):
        stamps({"form": ["4"]})


def test_only_older_pages_that_reach_the_day_are_wanted() -> None:
    files = [{"name": "one", "filingTo": "2015-06-30"}, {"name": "two", "filingTo": "2012-01-31"}]
    assert older_pages(files, date(2015, 6, 30)) == ["one"]
    assert older_pages(files, date(2010, 1, 1)) == ["one", "two"]
    assert older_pages(files, date(2015, 7, 1)) == []
