"""Forms 4 and 5, the ownership documents of insiders, as rows of kind insider. Pure.

A row is a transaction, of shares (table I) or of derivatives (table II); holdings without a transaction are none. An
amendment (4/A) names the day of the form that it amends and its owners, not the form's number, nor which of its rows it
amends. `amended` pairs them: a row of the amendment is a version of the row of the original that has the same security,
day, code and direction; then, where both have as many left, of the row in the same place. What pairs with nothing is a
record of its own; what the amendment leaves out stays as it was, for it need not repeat what it does not change.

Sources: EDGAR Ownership XML Technical Specification; 17 CFR 240.16a-3.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any

from resources.alternative.edgar.filings import Filing

TABLES = (("nonDerivativeTable/nonDerivativeTransaction", False), ("derivativeTable/derivativeTransaction", True))
ROLES = (("isDirector", "director"), ("isOfficer", "officer"), ("isTenPercentOwner", "10% owner"), ("isOther", "other"))
TRUE = ("1", "true")


@dataclass(frozen=True, slots=True)
class Transaction:
    """A row of a form. `derivative`: of table II; `at` counts the rows of its table from 1."""

    derivative: bool
    at: int
    security: str
    day: date
    code: str
    acquired_disposed: str
    holding: str
    shares: float | None
    price: float | None
    owned_after: float | None
    note: str | None
    record_id: str = ""

    def alike(self) -> tuple[object, ...]:
        """What an amendment leaves as it is where it corrects a number."""
        return self.derivative, self.security, self.day, self.code, self.acquired_disposed, self.holding


@dataclass(frozen=True, slots=True)
class Form:
    """An ownership document. `original` is the date of the form that an amendment amends."""

    filing: Filing
    issuer: int
    owners: tuple[int, ...]
    insider: str
    role: str
    period: date | None
    original: date | None
    transactions: tuple[Transaction, ...]


def read(filing: Filing, content: bytes) -> Form:
    """A form from its XML. Raises ValueError on anything else."""
    try:
        root = ET.fromstring(content)
    except ET.ParseError as error:
        raise ValueError(f"not XML: {error}") from error
    if root.tag != "ownershipDocument":
        raise ValueError(f"an {root.tag}, not an ownershipDocument")
    notes = {each.get("id", ""): " ".join((each.text or "").split()) for each in root.findall("footnotes/footnote")}
    owners = root.findall("reportingOwner")
    rows = [
        _transaction(each, derivative, at, notes, filing.accession)
        for path, derivative in TABLES
        for at, each in enumerate(root.findall(path), 1)
    ]
    return Form(
        filing,
        issuer=int(_text(root, "issuer/issuerCik") or 0),
        owners=tuple(sorted(int(_text(each, "reportingOwnerId/rptOwnerCik") or 0) for each in owners)),
        insider="; ".join(_text(each, "reportingOwnerId/rptOwnerName") for each in owners),
        role="; ".join(_role(each) for each in owners),
        period=_date(_text(root, "periodOfReport")),
        original=_date(_text(root, "dateOfOriginalSubmission")),
        transactions=tuple(rows),
    )


def amended(forms: Iterable[Form]) -> list[Form]:
    """The forms in order of their publication; rows of amendments have the record_id of what they amend.

    An amendment whose original is not among the forms, or may be any of several, keeps record_ids of its own.
    """
    ordered = sorted(forms, key=lambda form: (form.filing.known_at, form.filing.accession))
    held: list[Form] = []
    for form in ordered:
        original = _original(form, held) if form.original else None
        held.append(replace(form, transactions=_paired(form.transactions, original.transactions)) if original else form)
    return held


def rows(forms: Iterable[Form], start: datetime, end: datetime) -> list[dict[str, Any]]:
    """The transactions of days in [start, end), as rows of kind insider; what a form says again is no row.

    All versions are told of a transaction that any form says to be of these days: an amendment may move it out of them,
    and back.
    """
    last: dict[str, tuple[Any, ...]] = {}
    found, inside = [], set()
    for form in forms:
        for each in form.transactions:
            ts = datetime.combine(each.day, time(), UTC)
            said, before = (form.insider, form.role, replace(each, at=0)), last.get(each.record_id)
            last[each.record_id] = said
            if said == before:
                continue
            if start <= ts < end:
                inside.add(each.record_id)
            found.append({
                "record_id": each.record_id, "ts": ts, "known_at": form.filing.known_at,
                "state": "corrected" if before else "new",
                "insider": form.insider, "role": form.role, "security": each.security, "derivative": each.derivative,
                "transaction_code": each.code, "shares": each.shares, "price": each.price,
                "owned_after": each.owned_after, "acquired_disposed": each.acquired_disposed,
                "accession": form.filing.accession, "filed": form.filing.filed, "note": each.note,
            })  # fmt: skip
    return [row for row in found if row["record_id"] in inside]


def _original(form: Form, held: Sequence[Form]) -> Form | None:
    kind = form.filing.form.removesuffix("/A")
    found = [
        each
        for each in held
        if (each.filing.form, each.filing.filed, each.owners) == (kind, form.original, form.owners)
    ]
    if len(found) > 1:
        found = [each for each in found if each.period == form.period]
    return found[0] if len(found) == 1 else None


def _paired(mine: Sequence[Transaction], theirs: Sequence[Transaction]) -> tuple[Transaction, ...]:
    """My rows with the record_ids of theirs: first of those alike, then, of as many left, of those in order."""
    free = list(theirs)
    given: dict[tuple[bool, int], str] = {}
    for each in mine:
        match = next((other for other in free if other.alike() == each.alike()), None)
        if match is not None:
            free.remove(match)
            given[each.derivative, each.at] = match.record_id
    for derivative in (False, True):
        left = [each for each in mine if each.derivative == derivative and (derivative, each.at) not in given]
        others = [other for other in free if other.derivative == derivative]
        if len(left) == len(others):
            given |= {(derivative, each.at): other.record_id for each, other in zip(left, others, strict=True)}
    return tuple(replace(each, record_id=given.get((each.derivative, each.at), each.record_id)) for each in mine)


def _transaction(row: ET.Element, derivative: bool, at: int, notes: dict[str, str], accession: str) -> Transaction:
    said = dict.fromkeys(each.get("id", "") for each in row.iter("footnoteId"))  # each once, in order
    day = _date(_text(row, "transactionDate/value"))
    if day is None:
        raise ValueError(f"{accession}: a transaction without its date")
    return Transaction(
        derivative=derivative,
        at=at,
        security=_text(row, "securityTitle/value"),
        day=day,
        code=_text(row, "transactionCoding/transactionCode"),
        acquired_disposed=_text(row, "transactionAmounts/transactionAcquiredDisposedCode/value"),
        holding=_text(row, "ownershipNature/directOrIndirectOwnership/value"),
        shares=_number(_text(row, "transactionAmounts/transactionShares/value")),
        price=_number(_text(row, "transactionAmounts/transactionPricePerShare/value")),
        owned_after=_number(_text(row, "postTransactionAmounts/sharesOwnedFollowingTransaction/value")),
        note=" ".join(notes[name] for name in said if notes.get(name)) or None,
        record_id=f"{accession}:{'II' if derivative else 'I'}{at}",
    )


def _role(owner: ET.Element) -> str:
    relation = "reportingOwnerRelationship/"
    told = [name for tag, name in ROLES if _text(owner, relation + tag).lower() in TRUE]
    title = _text(owner, relation + "officerTitle") or _text(owner, relation + "otherText")
    return ", ".join(told) + (f": {title}" if title else "")


def _text(node: ET.Element, path: str) -> str:
    return " ".join((node.findtext(path) or "").split())


def _date(text: str) -> date | None:
    """A day; some forms put an offset behind it (2024-05-02-05:00), which a day has none of."""
    return date.fromisoformat(text[:10]) if text else None


def _number(text: str) -> float | None:
    if not text:
        return None
    number = float(text.replace(",", ""))
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number
