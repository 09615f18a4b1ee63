"""EDGAR's lists of filings, and from when on the public could read each of them. Pure.

A filing has a date (`filed`) and an instant of acceptance. The latter is told as if in UTC (2024-05-02T20:31:07.000Z)
and is not always: for part of the companies (181 of 808 in one count) it is New York's clock with a Z behind it, four
or five hours before the truth, and nothing in the string tells which. EDGAR's hours tell: it accepts from 6:00 to
22:00 in New York; what arrives after 17:30 bears the next business day's date, ownership forms excepted, and is shown
from 6:00 of that day on. So both readings of all of a company's stamps are held against these rules. UTC is taken where
New York's clock is refuted and UTC is not; else New York's clock, which is the later: at worst a filing counts as known
five hours late, never early.

Sources: EDGAR Filer Manual II, 3.2 and 7.2 (hours and filing dates; 17 CFR 232.13); the count of stamps:
https://github.com/theOGognf/finagg/issues/64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
OPENS, CLOSES = time(6), time(22)
MIDNIGHT = time()
"""What old filings say where only their day was kept."""
SAME_DAY_UNTIL = time(17, 30)
SLACK_UNTIL = time(18, 30)
"""A large filing begun by 17:30 is accepted later, and still dated that day."""
EVENING_FORMS = ("3", "4", "5", "144")
EVENING_BEGINS, EVENING_ENDS = ("SC 13", "SCHEDULE 13"), ("MEF", "462B")
"""Forms, and how the names of further ones begin or end, that are dated the same day until 22:00."""
REFUTING, REFUTED_SHARE = 3, 0.05
"""UTC stands where so many stamps refute New York's clock (no single odd filing does), and no more than this share of
their number refutes UTC."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A filing as listed. `accepted` is the clock that the list tells, without a zone; None where it tells none."""

    accession: str
    form: str
    filed: date
    report: date | None
    accepted: datetime | None
    document: str


@dataclass(frozen=True, slots=True)
class Filing:
    """A filing, and the instant from which on the public could read it. `report` is the period or day it is about."""

    accession: str
    form: str
    filed: date
    report: date | None
    document: str
    known_at: datetime


def stamps(columns: Mapping[str, Sequence[Any]]) -> list[Stamp]:
    """A page of filings, a column each as EDGAR's JSON has them. Raises ValueError, LookupError or TypeError."""
    told = ("accessionNumber", "form", "filingDate", "reportDate", "acceptanceDateTime", "primaryDocument")
    rows = zip(*(columns[name] for name in told), strict=True)
    return [
        Stamp(
            str(accession), str(form), date.fromisoformat(filed), date.fromisoformat(report) if report else None,
            datetime.fromisoformat(accepted).replace(tzinfo=None) if accepted else None, str(document),
        )
        for accession, form, filed, report, accepted, document in rows
    ]  # fmt: skip


def older_pages(files: Iterable[Mapping[str, Any]], since: date) -> list[str]:
    """The names of the pages that hold filings of `since` or later."""
    return [str(each["name"]) for each in files if date.fromisoformat(each["filingTo"]) >= since]


def filings(listed: Iterable[Stamp]) -> dict[str, Filing]:
    """A company's filings by their accession number, with the zone judged by all of them."""
    held = {each.accession: each for each in listed}
    zone = clock(held.values())
    return {
        each.accession: Filing(
            each.accession, each.form, each.filed, each.report, each.document, _known_at(each, zone)
        )
        for each in held.values()
    }  # fmt: skip


def clock(listed: Iterable[Stamp]) -> ZoneInfo:
    """The zone that a company's stamps are told in, by EDGAR's hours; New York's where they leave it open."""
    against_utc = against_new_york = 0
    for each in listed:
        if each.accepted is None or each.accepted.time() == MIDNIGHT:
            continue
        utc, new_york = (_possible(_local(each.accepted, zone), each) for zone in (ZoneInfo("UTC"), NEW_YORK))
        if utc or new_york:  # else it is no time of day at all
            against_utc += not utc
            against_new_york += not new_york
    if against_new_york >= REFUTING and against_utc <= REFUTED_SHARE * against_new_york:
        return ZoneInfo("UTC")
    return NEW_YORK


def end_of_day(day: date) -> datetime:
    """The end of a day in New York: by then what was filed on it was to be read."""
    return datetime.combine(day + timedelta(days=1), time(), NEW_YORK).astimezone(UTC)


def _known_at(each: Stamp, zone: ZoneInfo) -> datetime:
    if each.accepted is None or each.accepted.time() == MIDNIGHT:
        return end_of_day(each.filed)
    local = _local(each.accepted, zone)
    if not OPENS <= local.time() <= CLOSES:
        return max(end_of_day(each.filed), local.astimezone(UTC))
    if each.filed > local.date():
        return datetime.combine(each.filed, OPENS, NEW_YORK).astimezone(UTC)
    return local.astimezone(UTC)


def _local(told: datetime, zone: ZoneInfo) -> datetime:
    return told.replace(tzinfo=zone).astimezone(NEW_YORK)


def _possible(local: datetime, each: Stamp) -> bool:
    """Whether EDGAR can have accepted it at this time in New York and dated it as it did."""
    if not OPENS <= local.time() <= CLOSES or local.date() > each.filed:
        return False
    if local.date() < each.filed:
        return local.time() >= SAME_DAY_UNTIL
    form = each.form.removesuffix("/A")
    evening = form in EVENING_FORMS or form.startswith(EVENING_BEGINS) or form.endswith(EVENING_ENDS)
    return evening or local.time() <= SLACK_UNTIL
