"""Facts and their versions, of EDGAR's companyfacts."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from resources.alternative.edgar.facts import COMMON_CONCEPTS, facts
from resources.alternative.edgar.filings import Filing
from tests.venues.market import instant

PAYABLE = "us-gaap:AccountsPayableCurrent"
# As the SEC's page on its programming interfaces shows Apple's accounts payable: the balance of September 2008, told
# first in July 2009 and again in October.
DOCUMENTED = [
    {"end": "2008-09-27", "val": 5520000000, "accn": "0001193125-09-153165", "fy": 2009, "fp": "Q3", "form": "10-Q",
     "filed": "2009-07-22"},
    {"end": "2008-09-27", "val": 5520000000, "accn": "0001193125-09-214859", "fy": 2009, "fp": "FY", "form": "10-K",
     "filed": "2009-10-27", "frame": "CY2008Q3I"},
    {"end": "2009-06-27", "val": 4854000000, "accn": "0001193125-09-153165", "fy": 2009, "fp": "Q3", "form": "10-Q",
     "filed": "2009-07-22", "frame": "CY2009Q2I"},
]  # fmt: skip
KNOWN = {
    accession: Filing(accession, "10-Q", date(2009, 7, 22), None, "", known_at)
    for accession, known_at in (
        ("0001193125-09-153165", instant(2009, 7, 22, 20, 32)),
        ("0001193125-09-214859", instant(2009, 10, 27, 20, 19)),
    )
}


def content(told: list[dict[str, Any]], concept: str = PAYABLE, unit: str = "USD") -> dict[str, Any]:
    taxonomy, _, name = concept.partition(":")
    return {"cik": 320193, "entityName": "Apple Inc.", "facts": {taxonomy: {name: {"units": {unit: told}}}}}


def said(told: list[dict[str, Any]], known: dict[str, Filing] = KNOWN) -> list[tuple[Any, ...]]:
    rows = facts(content(told), 320193, known, None)
    return [(row["period_end"], row["value"], row["known_at"], row["state"], row["accession"]) for row in rows]


def test_a_figure_that_a_later_report_repeats_is_known_since_the_first() -> None:
    assert said(DOCUMENTED) == [
        (date(2008, 9, 27), 5.52e9, instant(2009, 7, 22, 20, 32), "new", "0001193125-09-153165"),
        (date(2009, 6, 27), 4.854e9, instant(2009, 7, 22, 20, 32), "new", "0001193125-09-153165"),
    ]
    assert said(DOCUMENTED[::-1]) == said(DOCUMENTED)[::-1]


def test_a_figure_restated_and_restated_back_has_three_versions() -> None:
    back = DOCUMENTED[0] | {"accn": "0001193125-10-000001", "filed": "2010-01-25"}
    told = [DOCUMENTED[0], DOCUMENTED[1] | {"val": 5500000000}, back]
    assert [(value, state, known_at) for _, value, known_at, state, _ in said(told)] == [
        (5.52e9, "new", instant(2009, 7, 22, 20, 32)),
        (5.5e9, "corrected", instant(2009, 10, 27, 20, 19)),
        (5.52e9, "corrected", instant(2010, 1, 26, 5)),  # of no listed filing: the end of its day in New York
    ]


def test_periods_units_and_what_the_filing_says_of_itself() -> None:
    told = [{"start": "2008-09-28", "end": "2009-06-27", "val": 5.4, "accn": "x", "fy": None, "fp": None, "form": "8-K",
             "filed": "2009-07-22"}]  # fmt: skip
    (row,) = facts(content(told, "us-gaap:EarningsPerShareDiluted", "USD/shares"), 320193, {}, COMMON_CONCEPTS)
    assert row["record_id"] == "320193:us-gaap:EarningsPerShareDiluted:USD/shares:2008-09-28:2009-06-27"
    assert (row["period_start"], row["period_end"]) == (date(2008, 9, 28), date(2009, 6, 27))
    assert (row["unit"], row["fiscal_year"], row["fiscal_period"]) == ("USD/shares", None, None)
    assert row["ts"] == instant(2009, 6, 27)


def test_concepts_are_those_asked_for() -> None:
    assert facts(content(DOCUMENTED), 320193, KNOWN, ["us-gaap:Assets"]) == []
    assert len(facts(content(DOCUMENTED), 320193, KNOWN, [PAYABLE])) == 2


ODD = [
    (content(DOCUMENTED) | {"cik": 789019}, "facts of CIK 789019"),
    (content([{"end": "2008-09-27"}]), "accn"),
    (content([DOCUMENTED[0] | {"val": "much"}]), "much"),
    ({"cik": 320193}, "facts"),
]


@pytest.mark.parametrize(("told", "says"), ODD)
def test_what_is_not_laid_out_as_facts_are_is_refused(told: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, LookupError), match=says):
        facts(told, 320193, KNOWN, None)
