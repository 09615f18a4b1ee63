"""EDGAR's companyfacts as versions of facts: what each filing said of a concept and period, and since when. Pure.

A fact is a concept, a unit and a period (or an instant). Filings repeat it: the quarter of a year ago stands in this
year's report beside the new one. What a later filing says alike is no version, for nothing became known by it; what it
says otherwise is one (a restatement), known from that filing's own acceptance on.

`fiscal_year`, `fiscal_period` and `form` are those of the filing that said it, as EDGAR gives them, not of the period:
a comparative figure of 2008 in a report on 2009 has fiscal_year 2009. Tell periods by period_start and period_end.

Source of the format: https://www.sec.gov/search-filings/edgar-application-programming-interfaces.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from resources.alternative.edgar.filings import Filing, end_of_day
from resources.alternative.web import ODD

COMMON_CONCEPTS = (
    "dei:EntityCommonStockSharesOutstanding",
    *(
        f"us-gaap:{name}"
        for name in (
            "Revenues", "RevenueFromContractWithCustomerExcludingAssessedTax", "SalesRevenueNet", "CostOfRevenue",
            "GrossProfit", "ResearchAndDevelopmentExpense", "OperatingIncomeLoss", "InterestExpense",
            "IncomeTaxExpenseBenefit", "NetIncomeLoss", "EarningsPerShareBasic", "EarningsPerShareDiluted",
            "WeightedAverageNumberOfDilutedSharesOutstanding", "Assets", "AssetsCurrent",
            "CashAndCashEquivalentsAtCarryingValue", "InventoryNet", "Goodwill", "Liabilities", "LiabilitiesCurrent",
            "LongTermDebtNoncurrent", "StockholdersEquity", "NetCashProvidedByUsedInOperatingActivities",
            "NetCashProvidedByUsedInInvestingActivities", "NetCashProvidedByUsedInFinancingActivities",
            "PaymentsToAcquirePropertyPlantAndEquipment", "DepreciationDepletionAndAmortization",
            "ShareBasedCompensation", "PaymentsOfDividends", "PaymentsForRepurchaseOfCommonStock",
            "CommonStockDividendsPerShareDeclared",
        )
    ),
)  # fmt: skip
"""Of the hundreds that a company reports, those of the three statements that most analyses begin with."""

Row = dict[str, Any]


def facts(
    content: Mapping[str, Any], cik: int, filings: Mapping[str, Filing], concepts: Collection[str] | None
) -> list[Row]:
    """All versions of a company's facts, as rows of kind fundamentals; `concepts` None for every one.

    `known_at` is when the filing became public; where `filings` does not hold it, the end of its date in New York.

    Raises ValueError, LookupError or TypeError on what is not laid out as companyfacts are, or is another company's.
    """
    if int(content["cik"]) != cik:
        raise ValueError(f"these are the facts of CIK {content['cik']}")
    found: list[Row] = []
    for taxonomy, named in content["facts"].items():
        for name, told in named.items():
            concept = f"{taxonomy}:{name}"
            if concepts is None or concept in concepts:
                for unit, each in told["units"].items():
                    found += _versions(f"{cik}:{concept}:{unit}", concept, unit, each, filings)
    return found


def _versions(
    key: str, concept: str, unit: str, told: Iterable[Mapping[str, Any]], filings: Mapping[str, Filing]
) -> list[Row]:
    """The versions of one concept in one unit, by period and in the order in which they became known."""
    reports: dict[tuple[str, str], list[tuple[datetime, str, Mapping[str, Any]]]] = {}
    for each in told:
        try:
            filing = filings.get(each["accn"])
            known_at = filing.known_at if filing else end_of_day(date.fromisoformat(each["filed"]))
            for day in (each["end"], each.get("start") or each["end"]):
                date.fromisoformat(day)
            reports.setdefault((each.get("start") or "", each["end"]), []).append((known_at, each["accn"], _read(each)))
        except ODD as error:
            raise ValueError(f"{concept} in {unit}: {str(each)[:100]} is no fact: {error}") from error
    rows: list[Row] = []
    for (start, end), said in reports.items():
        value: float | None = None
        for known_at, accession, each in sorted(said, key=lambda one: one[:2]):
            if value == each["val"]:
                continue
            period_end = date.fromisoformat(end)
            rows.append({
                "record_id": f"{key}:{start}:{end}", "ts": datetime.combine(period_end, time(), UTC),
                "known_at": known_at, "state": "new" if value is None else "corrected",
                "concept": concept, "unit": unit, "value": each["val"],
                "period_start": date.fromisoformat(start) if start else None, "period_end": period_end,
                "fiscal_year": each.get("fy"), "fiscal_period": each.get("fp"), "form": each["form"],
                "accession": accession,
            })  # fmt: skip
            value = each["val"]
    return rows


def _read(each: Mapping[str, Any]) -> Mapping[str, Any]:
    """A fact with its number checked. Raises LookupError, TypeError, ValueError or OverflowError where it is none."""
    value = each["val"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"val is {str(value)[:40]!r}, and no finite number")
    return {**each, "val": float(value), "form": each["form"]}
