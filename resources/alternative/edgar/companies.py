"""Companies as EDGAR names them: symbols to CIKs, and the names that a company has borne. Pure.

company_tickers.json is today's list: who is delisted is not on it, and a ticker that has changed hands belongs to its
present holder alone. It is no history: a backtest that needs those gone names their CIKs itself (`Edgar(ciks=...)`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from resources.alternative.rows import text
from resources.errors import UnknownSymbolError


def ticker_ciks(content: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Ticker to CIK, of company_tickers.json. Raises ValueError, LookupError or TypeError on anything else."""
    return {_plain(str(each["ticker"])): int(each["cik_str"]) for each in content.values()}


def chosen(symbols: Sequence[str], today: Mapping[str, int], told: Mapping[str, int]) -> dict[str, int]:
    """The CIK of each symbol: as the user told it, else by today's tickers. Raises UnknownSymbolError."""
    mine = {_plain(symbol): cik for symbol, cik in told.items()}
    found = {symbol: mine.get(_plain(symbol), today.get(_plain(symbol))) for symbol in symbols}
    missing = [symbol for symbol, cik in found.items() if cik is None]
    if missing:
        raise UnknownSymbolError(
            f"edgar has no {', '.join(missing)} among today's tickers; funds, foreign and delisted companies may lack "
            "one. Leave them out, or give their CIK (ciks), which www.sec.gov/edgar/searchedgar/companysearch finds."
        )
    return {symbol: cik for symbol, cik in found.items() if cik is not None}


def names(symbol: str, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The names of a company, of its submissions: its CIK, its name now and those before, each with its span.

    Rows: name, symbol, kind (cik, legal), valid_from, valid_until (instants, null where open), known_at. EDGAR knows
    the first and last filing under a former name; the present one holds since the last of those. known_at is
    valid_from: a name is public when it is first filed under. It is null for the CIK, and for a name that has always
    been the same.
    """
    former = [(text(each["name"]), _instant(each["from"]), _instant(each["to"])) for each in content["formerNames"]]
    since = max((until for _, _, until in former if until), default=None)
    spans = [
        (str(int(content["cik"])), "cik", None, None),
        (text(content["name"]), "legal", since, None),
        *((name, "legal", begins, until) for name, begins, until in former),
    ]
    return [
        {"name": name, "symbol": symbol, "kind": kind, "valid_from": begins, "valid_until": until, "known_at": begins}
        for name, kind, begins, until in spans
    ]


def _plain(symbol: str) -> str:
    """BRK.B, BRK/B and BRK-B are one."""
    return symbol.upper().replace(".", "-").replace("/", "-")


def _instant(told: str | None) -> datetime | None:
    if not told:
        return None
    at = datetime.fromisoformat(told)
    if at.tzinfo is None:
        raise ValueError(f"the time {told} has no zone")
    return at.astimezone(UTC)
