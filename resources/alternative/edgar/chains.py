"""Which forms must be read to know what a window's transactions were said to be, and when. Pure.

A form that is amended and its amendments are a chain: to tell any version of its transactions all of it is read, for an
amendment may move a transaction out of the window or into it. EDGAR's list tells of a form its kind, the day it was
filed and its report date, which for a form 4 is the day of its earliest transaction, and for a form 5 the end of the
fiscal year that it is about. What an amendment amends stands in the form alone: so every amendment filed since the
window began is read, and every form 5 (both are few), and of other forms those that belong to a chain of the window.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time

from resources.alternative.edgar.filings import Filing
from resources.alternative.edgar.ownership import Form

ANNUAL = ("5", "5/A")
INSIDER_FORMS = ("4", "4/A", *ANNUAL)
AMENDED = "/A"

Origin = tuple[str, date]
"""The kind (4, 5) and the day of the form that a chain begins with."""


def may_tell(each: Filing, start: date, end: date) -> bool:
    """Whether it is an ownership form that may tell of days from start to end, or amend one that does."""
    if each.form not in INSIDER_FORMS:
        return False
    days = each.filed, each.report or each.filed  # a mistyped day may lie after the form
    if max(days) < start:
        return False
    return min(days) <= end or each.form in ANNUAL or each.form.endswith(AMENDED)


def origin(form: Form) -> Origin:
    """Where the chain of a form begins: with what it amends, else with itself."""
    return form.filing.form.removesuffix(AMENDED), form.original or form.filing.filed


def origins(forms: Iterable[Form], start: datetime, end: datetime) -> set[Origin]:
    """Where the chains begin of which a form tells of [start, end)."""
    return {
        origin(form)
        for form in forms
        if any(start <= datetime.combine(each.day, time(), UTC) < end for each in form.transactions)
    }


def belongs(each: Filing, found: Collection[Origin], forms: Collection[Form]) -> bool:
    """Whether it may belong to a chain of `found`: as what a form of `forms` amends, or as an amendment."""
    if each.form in INSIDER_FORMS and each.form.endswith(AMENDED):
        return any(day <= each.filed for _, day in found)
    kind = each.form, each.filed
    return kind in found and any(form.original and origin(form) == kind for form in forms)
