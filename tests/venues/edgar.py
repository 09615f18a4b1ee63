"""EDGAR on loopback: company_tickers.json, submissions and their older pages, companyfacts, and filings' documents.

    company = Company(320193, "Apple Inc.", ("AAPL",), clock=NEW_YORK)
    company.file("10-Q", instant(2024, 5, 2, 22, 4), facts=[Fact("us-gaap:Assets", 337e9, date(2024, 3, 30))])
    with EdgarVenue(Market(), company) as venue:
        source = Edgar("Tester tester@example.com", data_url=venue.address, files_url=venue.address)

What was filed says its true instant; the venue dates it by the SEC's rule, and tells the instant in the company's own
`clock`, with a Z behind it whatever it is, as EDGAR does. `Filed.public` is when the public could read it. As EDGAR
does, the venue refuses who does not say a name and an address, and answers packed (gzip).

Formats: https://www.sec.gov/search-filings/edgar-application-programming-interfaces, and EDGAR's Ownership XML
Technical Specification. Names of requests for fault rules: "GET /submissions/CIK0000320193.json".
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from tests.venues.market import Fault, Market
from tests.venues.server import Answer, HttpVenue, Request

NEW_YORK, GREENWICH = ZoneInfo("America/New_York"), ZoneInfo("UTC")
EVENING = ("3", "4", "5", "3/A", "4/A", "5/A", "144", "SC 13G")
UNDECLARED = "<html><title>SEC.gov | Your Request Originates from an Undeclared Automated Tool</title></html>"
THRESHOLD = "<html><title>SEC.gov | Request Rate Threshold Exceeded</title></html>"
FAULTS = {
    "429": Fault("status", status=429, retry_after=1.0),
    "500": Fault("status", status=500),
    "503 html": Fault("html", status=503),
    "html": Fault("html"),
    "truncated": Fault("truncated"),
    "cut off": Fault("cut off"),
    "nothing": Fault("empty"),
    "hung up": Fault("drop"),
    "null": Fault("status", status=200, body="null"),
    "other": Fault("status", status=200, body='{"cik": "1", "filings": {"recent": {"form": ["4"]}, "files": []}}'),
    "slow": Fault("slow"),
}
"""What may come in place of a good answer, by name."""


@dataclass(frozen=True)
class Fact:
    """A figure of a filing; `start` is None where it is a balance."""

    concept: str
    value: float
    end: date
    start: date | None = None
    unit: str = "USD"
    year: int = 2024
    period: str = "Q2"


@dataclass(frozen=True)
class Filed:
    accession: str
    form: str
    accepted: datetime
    filed: date
    report: date | None
    document: str
    content: bytes
    facts: tuple[Fact, ...]

    @property
    def public(self) -> datetime:
        """When anyone could read it: at once, or from six o'clock on of the day that it is dated."""
        opens = datetime.combine(self.filed, time(6), NEW_YORK)
        return self.accepted if self.filed == self.accepted.astimezone(NEW_YORK).date() else opens.astimezone(UTC)


def dated(form: str, accepted: datetime) -> date:
    """The filing date: the day in New York, or the next weekday after half past five (ownership forms: after ten)."""
    local = accepted.astimezone(NEW_YORK)
    day = local.date()
    if local.time() <= (time(22) if form in EVENING else time(17, 30)):
        return day
    day += timedelta(days=1)
    while day.weekday() > 4:
        day += timedelta(days=1)
    return day


@dataclass
class Company:
    cik: int
    name: str
    tickers: tuple[str, ...]
    clock: ZoneInfo = GREENWICH
    former: tuple[tuple[str, str, str], ...] = ()
    filings: list[Filed] = field(default_factory=list)

    def file(
        self,
        form: str,
        accepted: datetime,
        *,
        report: date | None = None,
        facts: Iterable[Fact] = (),
        document: str = "report.htm",
        content: bytes = b"",
        filed: date | None = None,
    ) -> Filed:
        accession = f"{self.cik:010d}-{accepted:%y}-{len(self.filings) + 1:06d}"
        each = Filed(
            accession, form, accepted, filed or dated(form, accepted), report, document, content, tuple(facts)
        )  # fmt: skip
        self.filings.append(each)
        return each

    def stamp(self, each: Filed) -> str:
        return f"{each.accepted.astimezone(self.clock):%Y-%m-%dT%H:%M:%S}.000Z"


class EdgarVenue(HttpVenue):
    """EDGAR, a context manager. `recent`: how many filings the first page holds, and each older one."""

    def __init__(self, market: Market, *companies: Company, recent: int = 1000) -> None:
        super().__init__(market)
        self.companies = {each.cik: each for each in companies}
        self.recent = recent

    def asked(self, part: str) -> list[str]:
        """The paths asked for that hold `part`, in their order."""
        return [each.path for each in self.requests if part in each.path]

    def answer(self, request: Request) -> Answer:
        if "@" not in request.headers.get("user-agent", ""):
            return Answer(403, UNDECLARED.encode(), {"Content-Type": "text/html"})
        match request.path.strip("/").split("/"):
            case ["files", "company_tickers.json"]:
                return packed(tickers(self.companies.values()))
            case ["submissions", name] if name.endswith(".json"):
                return self._submissions(int(name[3:13]), name)
            case ["api", "xbrl", "companyfacts", name]:
                return self._facts(int(name[3:13]))
            case ["Archives", "edgar", "data", cik, accession, name]:
                return self._document(int(cik), accession, name)
        return missing()

    def _submissions(self, cik: int, name: str) -> Answer:
        if cik not in self.companies:
            return missing()
        company = self.companies[cik]
        newest = sorted(company.filings, key=lambda each: each.accepted, reverse=True)
        pages = [newest[at : at + self.recent] for at in range(0, max(1, len(newest)), self.recent)]
        if "-submissions-" in name:
            return packed(_columns(company, pages[int(name[-8:-5])]))
        files = [
            {
                "name": f"CIK{cik:010d}-submissions-{at:03d}.json", "filingCount": len(page),
                "filingFrom": min(each.filed for each in page).isoformat(),
                "filingTo": max(each.filed for each in page).isoformat(),
            }
            for at, page in enumerate(pages) if at
        ]  # fmt: skip
        return packed({
            "cik": f"{cik:010d}", "entityType": "operating", "sic": "3571", "name": company.name,
            "tickers": list(company.tickers), "exchanges": ["Nasdaq"] * len(company.tickers), "fiscalYearEnd": "0928",
            "formerNames": [{"name": name, "from": since, "to": until} for name, since, until in company.former],
            "filings": {"recent": _columns(company, pages[0]), "files": files},
        })  # fmt: skip

    def _facts(self, cik: int) -> Answer:
        company = self.companies.get(cik)
        reported = [(each, fact) for each in company.filings for fact in each.facts] if company else []
        if company is None or not reported:
            return missing()
        found: dict[str, dict[str, Any]] = {}
        for each, fact in sorted(reported, key=lambda one: one[0].filed):
            taxonomy, _, name = fact.concept.partition(":")
            told = found.setdefault(taxonomy, {}).setdefault(name, {"label": name, "description": "", "units": {}})
            told["units"].setdefault(fact.unit, []).append({
                **({"start": fact.start.isoformat()} if fact.start else {}), "end": fact.end.isoformat(),
                "val": fact.value, "accn": each.accession, "fy": fact.year, "fp": fact.period, "form": each.form,
                "filed": each.filed.isoformat(),
            })  # fmt: skip
        return packed({"cik": cik, "entityName": company.name, "facts": found})

    def _document(self, cik: int, accession: str, name: str) -> Answer:
        company = self.companies.get(cik)
        for each in company.filings if company else ():
            # The XML lies at the root of the filing's folder; under xsl... lies the page made of it.
            if each.accession.replace("-", "") == accession and each.document.rpartition("/")[2] == name:
                return Answer(200, each.content, {"Content-Type": "text/xml"})
        return missing()

    def fault_answer(self, fault: Fault) -> Answer:
        return Answer(fault.status, fault.body.encode(), {"Content-Type": "text/html"})


def _columns(company: Company, filings: Iterable[Filed]) -> dict[str, list[Any]]:
    rows = [
        {
            "accessionNumber": each.accession, "filingDate": each.filed.isoformat(),
            "reportDate": each.report.isoformat() if each.report else "", "acceptanceDateTime": company.stamp(each),
            "act": "34", "form": each.form, "fileNumber": "001-36743", "filmNumber": "", "items": "",
            "size": len(each.content), "isXBRL": int(bool(each.facts)), "isInlineXBRL": int(bool(each.facts)),
            "primaryDocument": each.document, "primaryDocDescription": each.form,
        }
        for each in filings
    ]  # fmt: skip
    names = rows[0] if rows else ("accessionNumber", "filingDate", "reportDate", "acceptanceDateTime", "form",
                                  "primaryDocument")  # fmt: skip
    return {name: [row[name] for row in rows] for name in names}


def tickers(companies: Iterable[Company]) -> dict[str, Any]:
    listed = [
        {"cik_str": each.cik, "ticker": ticker, "title": each.name} for each in companies for ticker in each.tickers
    ]
    return {str(at): row for at, row in enumerate(listed)}


def packed(content: Any) -> Answer:
    body = gzip.compress(json.dumps(content).encode(), mtime=0)
    return Answer(200, body, {"Content-Type": "application/json", "Content-Encoding": "gzip"})


def missing() -> Answer:
    body = (
        "<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
    )
    return Answer(404, body.encode(), {"Content-Type": "application/xml"})


@dataclass(frozen=True)
class Deal:
    """A row of an ownership form; `notes` are the ids of its footnotes."""

    code: str = "S"
    shares: float | None = 1000
    price: float | None = 200.0
    side: str = "D"
    day: date = date(2024, 5, 1)
    security: str = "Common Stock"
    after: float | None = 50_000
    derivative: bool = False
    notes: tuple[str, ...] = ()
    holding: str = "D"


def ownership(
    issuer: int,
    deals: Iterable[Deal],
    *,
    form: str = "4",
    owners: Iterable[tuple[int, str, str]] = ((1214156, "COOK TIMOTHY D", "Chief Executive Officer"),),
    footnotes: dict[str, str] | None = None,
    original: date | None = None,
) -> bytes:
    """An ownershipDocument, in the layout of EDGAR's schema X0508."""
    deals = list(deals)
    tables = {
        False: "".join(_row(each) for each in deals if not each.derivative),
        True: "".join(_row(each) for each in deals if each.derivative),
    }
    notes = "".join(f'<footnote id="{name}">{escape(text)}</footnote>' for name, text in (footnotes or {}).items())
    amends = f"<dateOfOriginalSubmission>{original}</dateOfOriginalSubmission>" if original else ""
    return f"""<?xml version="1.0"?>
<ownershipDocument>
  <schemaVersion>X0508</schemaVersion>
  <documentType>{form}</documentType>
  <periodOfReport>{min(each.day for each in deals)}</periodOfReport>
  {amends}<notSubjectToSection16>0</notSubjectToSection16>
  <issuer><issuerCik>{issuer:010d}</issuerCik><issuerName>Apple Inc.</issuerName>
    <issuerTradingSymbol>AAPL</issuerTradingSymbol></issuer>
  {"".join(_owner(*owner) for owner in owners)}
  <aff10b5One>0</aff10b5One>
  <nonDerivativeTable>{tables[False]}
    <nonDerivativeHolding><securityTitle><value>Common Stock</value></securityTitle>
      <postTransactionAmounts><sharesOwnedFollowingTransaction><value>7</value></sharesOwnedFollowingTransaction>
      </postTransactionAmounts></nonDerivativeHolding></nonDerivativeTable>
  <derivativeTable>{tables[True]}</derivativeTable>
  <footnotes>{notes}</footnotes>
  <ownerSignature><signatureName>by hand</signatureName><signatureDate>2024-05-03</signatureDate></ownerSignature>
</ownershipDocument>""".encode()


def _owner(cik: int, name: str, title: str) -> str:
    return f"""<reportingOwner>
    <reportingOwnerId><rptOwnerCik>{cik:010d}</rptOwnerCik><rptOwnerName>{escape(name)}</rptOwnerName></reportingOwnerId>
    <reportingOwnerRelationship><isDirector>true</isDirector><isOfficer>{int(bool(title))}</isOfficer>
      <isTenPercentOwner>0</isTenPercentOwner><isOther>0</isOther><officerTitle>{escape(title)}</officerTitle>
    </reportingOwnerRelationship></reportingOwner>"""


def _row(deal: Deal) -> str:
    tag = "derivativeTransaction" if deal.derivative else "nonDerivativeTransaction"
    marks = "".join(f'<footnoteId id="{name}"/>' for name in deal.notes)
    price = "" if deal.price is None else f"<value>{deal.price}</value>"
    shares = "" if deal.shares is None else f"<transactionShares><value>{deal.shares}</value></transactionShares>"
    after = "" if deal.after is None else f"<value>{deal.after}</value>"
    strike = "<conversionOrExercisePrice><value>0</value></conversionOrExercisePrice>" if deal.derivative else ""
    return f"""<{tag}>
    <securityTitle><value>{escape(deal.security)}</value></securityTitle>{strike}
    <transactionDate><value>{deal.day}</value></transactionDate>
    <transactionCoding><transactionFormType>4</transactionFormType><transactionCode>{deal.code}</transactionCode>
      <equitySwapInvolved>0</equitySwapInvolved></transactionCoding>
    <transactionAmounts>{shares}
      <transactionPricePerShare>{price}{marks}</transactionPricePerShare>
      <transactionAcquiredDisposedCode><value>{deal.side}</value></transactionAcquiredDisposedCode></transactionAmounts>
    <postTransactionAmounts><sharesOwnedFollowingTransaction>{after}</sharesOwnedFollowingTransaction>
    </postTransactionAmounts>
    <ownershipNature><directOrIndirectOwnership><value>{deal.holding}</value></directOrIndirectOwnership>
    </ownershipNature></{tag}>"""
