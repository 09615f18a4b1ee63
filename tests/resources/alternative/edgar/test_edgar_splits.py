"""Insiders' transactions of years that are asked for apart are those of the whole, however forms were amended."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.resources.alternative.edgar.edgar_desk import APPLE, Desk, desk
from tests.venues.edgar import GREENWICH, Company, Deal, ownership
from tests.venues.market import instant

YEARS = [instant(year, 1, 1) for year in (2021, 2022, 2023, 2024)]
DAY = timedelta(days=1)
SAID = ["record_id", "ts", "known_at", "state", "shares", "accession"]


class Filed(NamedTuple):
    """A form: of which kind, filed on which day, of a transaction of which day; and of an amendment, what it amends."""

    form: str
    filed: date
    day: date
    shares: float
    original: date | None = None
    owner: int = 1


def a_company(*forms: Filed) -> Company:
    company = Company(APPLE, "Apple Inc.", ("AAPL",), GREENWICH)
    for number, each in enumerate(forms):
        content = ownership(
            APPLE, [Deal("S", each.shares, day=each.day)], form=each.form, original=each.original,
            owners=((each.owner, f"OWNER {each.owner}", ""),),
        )  # fmt: skip
        # A form 5 is about a fiscal year, which ends in September here.
        ends = date(each.day.year + (each.day.month > 9), 9, 30)
        at = instant(each.filed.year, each.filed.month, each.filed.day, 16) + timedelta(seconds=number)
        company.file(
            each.form, at, report=ends if each.form.startswith("5") else each.day, content=content,
            document="xslF345X05/form.xml",
        )  # fmt: skip
    return company


def told(made: Desk, *window: Any) -> set[tuple[Any, ...]]:
    return set(made.edgar().insider(["AAPL"], *window).collect().select(SAID).rows())


def apart(made: Desk, *borders: Any) -> set[tuple[Any, ...]]:
    return {row for window in pairwise(borders) for row in told(made, *window)}


CASES: list[tuple[str, list[Filed], int]] = [
    (
        "a day amended into the next year",
        [Filed("4", date(2021, 12, 30), date(2021, 12, 28), 1),
         Filed("4/A", date(2022, 1, 20), date(2022, 1, 5), 2, date(2021, 12, 30))],
        2,
    ),
    (
        "a day amended into the year before, long after",
        [Filed("4", date(2022, 1, 20), date(2022, 1, 18), 1),
         Filed("4/A", date(2023, 6, 1), date(2021, 1, 18), 2, date(2022, 1, 20))],
        2,
    ),
    (
        "a year mistyped ahead, and mended",
        [Filed("4", date(2021, 1, 6), date(2022, 1, 4), 1),
         Filed("4/A", date(2021, 2, 1), date(2021, 1, 4), 2, date(2021, 1, 6))],
        2,
    ),
    (
        "amended twice, out of the year and on",
        [Filed("4", date(2021, 3, 5), date(2021, 3, 3), 1),
         Filed("4/A", date(2021, 4, 5), date(2022, 3, 3), 2, date(2021, 3, 5)),
         Filed("4/A", date(2023, 4, 5), date(2023, 3, 3), 3, date(2021, 3, 5))],
        3,
    ),
    (
        "two forms of one day, of two years, of which one is amended",
        [Filed("4", date(2022, 1, 3), date(2021, 12, 30), 1), Filed("4", date(2022, 1, 3), date(2022, 1, 2), 2),
         Filed("4/A", date(2022, 2, 3), date(2022, 1, 2), 3, date(2022, 1, 3))],
        3,
    ),
    ("an annual form on a fiscal year that ends in the next one", [Filed("5", date(2022, 11, 9), date(2021, 11, 1), 1)],
     1),
]  # fmt: skip


@pytest.mark.parametrize(("forms", "versions"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_years_apart_are_the_whole(forms: list[Filed], versions: int) -> None:
    with desk(a_company(*forms)) as made:
        whole = told(made, YEARS[0], YEARS[-1])
        assert len(whole) == versions
        assert apart(made, *YEARS) == whole


days = st.dates(date(2021, 1, 1), date(2023, 12, 31))
chains = st.tuples(
    st.sampled_from(["4", "4", "5"]), days, st.sampled_from([1, 3, 40, -200]), st.sampled_from([1, 2]),
    st.lists(st.tuples(st.sampled_from([0, 9, 400]), st.sampled_from([0, 1, 30, 300, -200])), max_size=3),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(chains, min_size=1, max_size=3), st.lists(days, max_size=3, unique=True))
def test_any_split_is_the_whole(plan: list[Any], cuts: list[date]) -> None:
    forms = []
    for form, filed, before, owner, amendments in plan:
        forms.append(Filed(form, filed, filed - before * DAY, 1, owner=owner))
        forms += [
            Filed(f"{form}/A", filed + after * DAY, filed - (before + back) * DAY, number, filed, owner)
            for number, (after, back) in enumerate(amendments, 2)
        ]
    borders = [YEARS[0], *sorted(instant(cut.year, cut.month, cut.day) for cut in cuts), YEARS[-1]]
    with desk(a_company(*forms)) as made:
        made.market.clock.truth = instant(2027, 1, 1)
        assert apart(made, *borders) == told(made, YEARS[0], YEARS[-1])


def test_how_many_requests_a_year_costs() -> None:
    """One for the list of filings, one a form of the year, one an amendment since, and one a form that it amends."""
    forms = [
        Filed("4", date(year, month, 9), date(year, month, 7), 1) for year in (2021, 2022) for month in range(1, 13)
    ]
    forms += [Filed("4/A", date(2022, 7, 9), date(2022, 6, 7), 2, date(2022, 6, 9))]
    with desk(a_company(*forms)) as made:
        asked = []
        for window in pairwise(YEARS):
            told(made, *window)
            asked.append(len(made.venue.requests))
    assert [after - before for before, after in pairwise([0, *asked])] == [1 + 1 + 12 + 1, 1 + 1 + 12 + 1, 1 + 1]


def test_a_split_in_the_log_is_the_whole() -> None:
    """The frames differ in when they were fetched alone."""
    with desk(a_company(*CASES[3][1])) as made:
        frames = [made.edgar().insider(["AAPL"], *window).collect() for window in pairwise(YEARS)]
        whole = made.edgar().insider(["AAPL"], YEARS[0], YEARS[-1]).collect()
    for frame in frames:
        assert frame.drop("fetched_at").equals(whole.drop("fetched_at"))
    assert whole.select(pl.col("known_at").is_sorted()).item()
