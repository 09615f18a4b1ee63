"""Ownership forms: their rows, and which of them an amendment corrects."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from resources.alternative.edgar.filings import Filing
from resources.alternative.edgar.ownership import Form, amended, read, rows
from tests.venues.edgar import Deal, ownership
from tests.venues.market import instant

MAY = date(2024, 5, 3)
START, END = instant(2024, 1, 1), instant(2025, 1, 1)
UNIT = "Restricted Stock Unit"


def filing(accession: str = "a-1", form: str = "4", filed: date = MAY) -> Filing:
    return Filing(accession, form, filed, None, "form4.xml", instant(filed.year, filed.month, filed.day, 22, 30))


def form(accession: str, *deals: Deal, of: date | None = None, filed: date = MAY, **options: Any) -> Form:
    kind = "4/A" if of else "4"
    content = ownership(320193, deals, form=kind, original=of, **options)
    return read(filing(accession, kind, filed), content)


def test_a_vesting_and_what_was_withheld_for_taxes() -> None:
    notes = {"F1": "Each unit is one\n    share.", "F2": "Withheld for taxes."}
    content = ownership(
        320193,
        [
            Deal("M", 511_000, None, "A", day=date(2024, 4, 1), after=3_791_000, notes=("F1",)),
            Deal("F", 270_000, 170.03, "D", day=date(2024, 4, 1), after=3_521_000, notes=("F2", "F1", "F2")),
            Deal("M", 511_000, None, "D", day=date(2024, 4, 1), after=0, security=UNIT, derivative=True),
        ],
        footnotes=notes,
    )
    found = rows([read(filing(), content)], START, END)
    said = [(row["transaction_code"], row["shares"], row["price"], row["acquired_disposed"], row["owned_after"],
             row["security"], row["derivative"], row["note"]) for row in found]  # fmt: skip
    assert said == [
        ("M", 511_000, None, "A", 3_791_000, "Common Stock", False, "Each unit is one share."),
        ("F", 270_000, 170.03, "D", 3_521_000, "Common Stock", False, "Withheld for taxes. Each unit is one share."),
        ("M", 511_000, None, "D", 0, UNIT, True, None),
    ]
    assert {(row["insider"], row["role"]) for row in found} == {
        ("COOK TIMOTHY D", "director, officer: Chief Executive Officer")
    }
    assert {row["ts"] for row in found} == {instant(2024, 4, 1)}
    assert {row["known_at"] for row in found} == {instant(2024, 5, 3, 22, 30)}
    assert [row["record_id"] for row in found] == ["a-1:I1", "a-1:I2", "a-1:II1"]


def test_owners_who_report_together_are_one_row() -> None:
    two = ((2, "FUND LP", ""), (1, "PARTNER PAT", ""))
    (row,) = rows([form("a-1", Deal(), owners=two)], START, END)
    assert (row["insider"], row["role"]) == ("FUND LP; PARTNER PAT", "director; director")


def test_a_price_in_a_footnote_alone_is_no_price() -> None:
    (row,) = rows([form("a-1", Deal(price=None, notes=("F1",)), footnotes={"F1": "From $1 to $2."})], START, END)
    assert (row["price"], row["note"]) == (None, "From $1 to $2.")


def test_days_outside_the_window_are_left_out() -> None:
    told = form("a-1", Deal(day=date(2024, 5, 1)), Deal(day=date(2024, 5, 2)))
    days = [row["ts"] for row in rows([told], instant(2024, 5, 1), instant(2024, 5, 2))]
    assert days == [instant(2024, 5, 1)]


FIRST = (Deal("S", 100, 10.0), Deal("S", 200, 11.0), Deal("M", 300, None, "A"))
AMENDED = [  # the amendment's rows, and the rows of the original that they are versions of (None: none)
    ("a number of one, told alone", (Deal("M", 333, None, "A"),), ["a-1:I3"]),
    ("all told again", (Deal("S", 100, 10.5), Deal("S", 200, 11.0), FIRST[2]), ["a-1:I1", "a-1:I2", "a-1:I3"]),
    ("in another order", (FIRST[2], *FIRST[:2]), ["a-1:I3", "a-1:I1", "a-1:I2"]),
    ("another day of the last", (*FIRST[:2], Deal("M", 300, None, "A", day=date(2024, 4, 30))),
     ["a-1:I1", "a-1:I2", "a-1:I3"]),
    ("one forgotten", (*FIRST, Deal("G", 5, None)), ["a-1:I1", "a-1:I2", "a-1:I3", None]),
    ("a derivative forgotten", (Deal("M", 300, None, "D", derivative=True),), [None]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "deals", "of"), AMENDED, ids=[name for name, _, _ in AMENDED])
def test_which_rows_an_amendment_corrects(name: str, deals: tuple[Deal, ...], of: list[str | None]) -> None:
    later = form("b-2", *deals, of=MAY, filed=date(2024, 5, 20))
    _, found = amended([later, form("a-1", *FIRST)])
    own = [each.record_id for each in later.transactions]
    assert [each.record_id for each in found.transactions] == [one or mine for one, mine in zip(of, own, strict=True)]
    told = rows(amended([later, form("a-1", *FIRST)]), START, END)[3:]
    changed = [
        ("corrected" if one else "new", deal.shares)
        for one, deal in zip(of, deals, strict=True)
        if deal not in FIRST  # what is told again is no row
    ]
    assert [(row["state"], row["shares"]) for row in told] == changed


def test_an_amendment_of_an_amendment_corrects_the_same_rows() -> None:
    first = form("a-1", Deal("S", 100))
    told = [first, form("b-2", Deal("S", 101), of=MAY, filed=date(2024, 5, 6)),
            form("c-3", Deal("S", 102), of=MAY, filed=date(2024, 5, 7))]  # fmt: skip
    found = rows(amended(told), START, END)
    assert [(row["record_id"], row["shares"]) for row in found] == [("a-1:I1", 100), ("a-1:I1", 101), ("a-1:I1", 102)]


def test_a_day_amended_out_of_the_window_and_back_is_told_however_the_years_are_asked_for() -> None:
    there, away = date(2023, 12, 29), date(2024, 1, 2)
    first, second, third = date(2024, 1, 3), date(2024, 1, 5), date(2024, 1, 9)
    forms = amended([
        form("a-1", Deal(day=there), filed=first),
        form("b-2", Deal(day=away), of=first, filed=second),
        form("c-3", Deal(day=there), of=first, filed=third),
    ])  # fmt: skip
    border, begin, end = instant(2024, 1, 1), instant(2023, 1, 1), instant(2025, 1, 1)
    whole = [(row["accession"], row["state"]) for row in rows(forms, begin, end)]
    assert whole == [("a-1", "new"), ("b-2", "corrected"), ("c-3", "corrected")]
    for window in ((begin, border), (border, end)):
        assert [(row["accession"], row["state"]) for row in rows(forms, *window)] == whole
    assert rows(forms, begin, instant(2023, 12, 29)) == []


OTHERS = [
    ("of another day", {"filed": date(2024, 5, 2)}, {}),
    ("of another owner", {}, {"owners": ((7, "OTHER ONE", ""),)}),
]


@pytest.mark.parametrize(("name", "first", "second"), OTHERS, ids=[name for name, _, _ in OTHERS])
def test_an_amendment_whose_original_is_not_found_is_a_record_of_its_own(
    name: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    told = [form("a-1", Deal(), **first), form("b-2", Deal(), of=MAY, filed=date(2024, 5, 20), **second)]
    assert [row["record_id"] for row in rows(amended(told), START, END)] == ["a-1:I1", "b-2:I1"]


def test_of_two_forms_of_a_day_the_amended_one_is_of_the_same_period() -> None:
    told = [form("a-1", Deal(day=date(2024, 5, 1))), form("a-2", Deal(day=date(2024, 5, 2))),
            form("b-3", Deal("S", 999, day=date(2024, 5, 2)), of=MAY, filed=date(2024, 5, 20))]  # fmt: skip
    assert [row["record_id"] for row in rows(amended(told), START, END)] == ["a-1:I1", "a-2:I1", "a-2:I1"]
    twice = [form("a-1", Deal()), form("a-2", Deal()), form("b-3", Deal(), of=MAY, filed=date(2024, 5, 20))]
    assert [row["record_id"] for row in rows(amended(twice), START, END)] == ["a-1:I1", "a-2:I1", "b-3:I1"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"<html><body>Busy", "not XML"), (b"<informationTable/>", "informationTable"), (b"", "not XML"),
     (ownership(1, [Deal()]).replace(b"<value>2024-05-01</value>", b""), "without its date"),
     (ownership(1, [Deal(shares=7)]).replace(b"<value>7</value>\n", b"<value>many</value>"), "many")],
)  # fmt: skip
def test_anything_else_is_refused(content: bytes, says: str) -> None:
    if says == "many":
        content = ownership(1, [Deal(shares=12345)]).replace(b"12345", b"many")
    with pytest.raises(ValueError, match=says):
        read(filing(), content)
