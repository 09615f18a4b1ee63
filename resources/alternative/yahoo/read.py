"""Yahoo's fundamentals timeseries and quote summaries, translated to rows of our kinds. Pure.

None of these answers says since when it was so: the rows have no known_at. Yahoo restates figures without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from resources.alternative.web import ODD
from resources.errors import BadAnswerError

Row = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRICE = re.compile(r"at price ([\d,]+(?:\.\d+)?) per share")
DIRECTIONS = (
    ("sale", "D"), ("purchase", "A"), ("stock award", "A"), ("acquisition", "A"), ("disposition", "D"),
)  # fmt: skip
"""How Yahoo's text of a transaction begins, and which way its shares went; of others (gifts, exercises) it says too
little."""


def statements(symbol: str, results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The figures of `timeseries.result`, as rows of kind fundamentals.

    `fiscal_period` is the length that Yahoo tells (3M, 12M, of a balance as well), `period_end` its asOfDate; where a
    period begins it does not tell. Raises BadAnswerError.
    """
    found: list[Row] = []
    try:
        for each in results:
            asked = each["meta"]["symbol"][0]
            if asked.upper() != symbol.upper():
                raise BadAnswerError(f"{symbol}: Yahoo answered with the statements of {asked}. Try later.")
            for name in each["meta"]["type"]:
                frequency = next(word for word in ("annual", "quarterly", "trailing") if name.startswith(word))
                for told in each.get(name) or ():
                    if told is not None:  # a period in which it was not reported
                        found.append(_figure(symbol, frequency, name.removeprefix(frequency), told))
    except (*ODD, StopIteration) as error:
        raise _odd(symbol, "statements", error) from error
    return found


def transactions(symbol: str, results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The insiders' transactions of `quoteSummary.result`, as rows of kind insider.

    Yahoo tells neither the form nor the SEC's code, and gives a row no number: its record_id is made of what it says,
    so that a row which Yahoo corrects is another record beside the old one. Use EDGAR where that matters.

    Raises BadAnswerError.
    """
    try:
        told = [each for part in results for each in (part.get("insiderTransactions") or {}).get("transactions") or ()]
        rows = [_transaction(symbol, each) for each in told]
    except ODD as error:
        raise _odd(symbol, "insiders' transactions", error) from error
    seen: dict[str, int] = {}
    for row in rows:  # two sales of as many shares on one day are two
        seen[row["record_id"]] = seen.get(row["record_id"], 0) + 1
        row["record_id"] += f":{seen[row['record_id']]}"
    return rows


def ratings(symbol: str, results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The ESG rating of `quoteSummary.result`, as rows of kind esg: none or one; `ts` is the month that it is of.

    The scores are Sustainalytics' of risk: the higher, the worse. Raises BadAnswerError.
    """
    rows: list[Row] = []
    try:
        for part in results:
            told = part.get("esgScores") or {}
            if told.get("ratingYear") is None or told.get("totalEsg") is None:
                continue
            month = datetime(int(_raw(told["ratingYear"])), int(_raw(told["ratingMonth"])), 1, tzinfo=UTC)
            rows.append({
                "record_id": f"{symbol}:{month:%Y-%m}", "symbol": symbol, "ts": month,
                "total": _number(told.get("totalEsg")), "environment": _number(told.get("environmentScore")),
                "social": _number(told.get("socialScore")), "governance": _number(told.get("governanceScore")),
                "controversy": _number(told.get("highestControversy")), "percentile": _number(told.get("percentile")),
                "peer_group": told.get("peerGroup"),
            })  # fmt: skip
    except ODD as error:
        raise _odd(symbol, "ESG rating", error) from error
    return rows


def _figure(symbol: str, frequency: str, concept: str, told: Mapping[str, Any]) -> Row:
    ended = date.fromisoformat(told["asOfDate"])
    return {
        "record_id": f"{symbol}:{frequency}:{concept}:{ended}", "symbol": symbol,
        "ts": datetime.combine(ended, time(), UTC), "concept": concept, "unit": told.get("currencyCode"),
        "value": _number(told["reportedValue"]), "period_end": ended, "fiscal_period": told["periodType"],
    }  # fmt: skip


def _transaction(symbol: str, told: Mapping[str, Any]) -> Row:
    text, shares = str(told.get("transactionText") or ""), _number(told.get("shares"))
    when = EPOCH + timedelta(seconds=int(_raw(told["startDate"])))
    price = PRICE.search(text)
    words = text.lower()
    return {
        "record_id": f"{symbol}:{told['filerName']}:{when:%Y-%m-%d}:{told.get('ownership')}:{shares}:{text}",
        "symbol": symbol, "ts": when, "insider": str(told["filerName"]), "role": told.get("filerRelation"),
        "shares": shares, "price": float(price[1].replace(",", "")) if price else None,
        "acquired_disposed": next((way for begins, way in DIRECTIONS if words.startswith(begins)), None),
        "note": text or None,
    }  # fmt: skip


def _raw(told: Any) -> Any:
    """A number as Yahoo sends it: plain, or with its formatted text beside it."""
    return told["raw"] if isinstance(told, dict) else told


def _number(told: Any) -> float | None:
    """A number, None where there is none: Yahoo sends null or an empty object."""
    if told is None or told == {}:
        return None
    number = _raw(told)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(f"{str(number)[:40]!r} is no finite number")
    return float(number)


def _odd(symbol: str, what: str, error: Exception) -> BadAnswerError:
    return BadAnswerError(f"{symbol}: Yahoo's {what} are not laid out as expected ({error!r}). Try later.")
