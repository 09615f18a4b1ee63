"""Fundamentals, insiders' transactions and company names from EDGAR, each known from its filing's publication on."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import polars as pl

from resources.alternative.base import Kind, versions
from resources.alternative.edgar import chains, companies, ownership
from resources.alternative.edgar.client import DATA, FILES, Client
from resources.alternative.edgar.facts import COMMON_CONCEPTS, facts
from resources.alternative.edgar.filings import Filing, filings, older_pages, stamps
from resources.alternative.entities import ENTITY_SCHEMA
from resources.alternative.rows import framed
from resources.errors import BadAnswerError, NoDataError
from resources.market_data.base import Clock, utc_now
from resources.market_data.pacing import TokenBucket
from resources.market_data.progress import Progress

LOG = logging.getLogger(__name__)


class Edgar:
    """Source of the SEC's EDGAR. No key; SEC_USER_AGENT in the environment names who asks, as the SEC demands.

    `user_agent`: in place of the environment's. `ciks`: of symbols that today's list of tickers lacks or gives to
    another. `concepts`: those of interest, as taxonomy:name; None for all that a company reports. `workers`: how many
    forms are fetched at once. The rest is for tests.

    >>> from datetime import UTC, datetime
    >>> Edgar().fundamentals(["AAPL"], datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)).collect()
    ... # doctest: +SKIP
    """

    name = "edgar"
    kinds: ClassVar[tuple[Kind, ...]] = ("fundamentals", "insider")
    begins: datetime | None = datetime(2003, 6, 30, tzinfo=UTC)
    """Ownership forms are XML from this day on; facts are from 2009 on."""

    def __init__(
        self,
        user_agent: str | None = None,
        *,
        ciks: Mapping[str, int] | None = None,
        concepts: Collection[str] | None = COMMON_CONCEPTS,
        timeout_seconds: float = 30.0,
        workers: int = 4,
        data_url: str = DATA,
        files_url: str = FILES,
        bucket: TokenBucket | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._client = Client(
            user_agent, timeout_seconds=timeout_seconds, data_url=data_url, files_url=files_url, bucket=bucket,
            sleep=sleep, chance=chance,
        )  # fmt: skip
        self._ciks, self._workers, self._clock = dict(ciks or {}), workers, clock
        self._concepts = None if concepts is None else frozenset(concepts)

    def fundamentals(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Facts of periods that end in [start, end), all their versions; `ts` is the last day, at midnight UTC.

        Of a company without XBRL facts there are none. Raises UnknownSymbolError, and as `Client` does.
        """
        return self._each(
            "fundamentals",
            symbols,
            lambda symbol, cik: [row for row in self._facts(symbol, cik, start.date()) if start <= row["ts"] < end],
        )

    def insider(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Transactions of insiders on days in [start, end); `ts` is the day, at midnight UTC.

        All versions are told, those of days outside as well: an amendment may move a transaction.
        Forms on paper and in plain text (before July 2003) are left out, and logged. Raises as `fundamentals` does.
        """
        return self._each("insider", symbols, lambda symbol, cik: self._deals(symbol, cik, start, end))

    def names(self, symbols: Sequence[str]) -> pl.DataFrame:
        """The CIK and the names of companies, now and before, in ENTITY_SCHEMA. Raises as `fundamentals` does."""
        rows: list[dict[str, Any]] = []
        for symbol, cik in self._found(symbols).items():
            rows += self._client.submissions(cik, lambda content, symbol=symbol: companies.names(symbol, content))  # type: ignore[misc]
        return pl.DataFrame(rows, ENTITY_SCHEMA)

    def _found(self, symbols: Sequence[str]) -> dict[str, int]:
        today = {} if set(symbols) <= self._ciks.keys() else self._client.tickers(companies.ticker_ciks)
        return companies.chosen(symbols, today, self._ciks)

    def _each(
        self, kind: Kind, symbols: Sequence[str], ask: Callable[[str, int], list[dict[str, Any]]]
    ) -> pl.LazyFrame:
        """What `ask` gives of each symbol and its CIK, as versions.

        What was fetched was known: a time of publication that was taken for later than the fetch is the fetch's.
        """
        found: list[dict[str, Any]] = []
        ciks = self._found(symbols)
        with Progress(f"{self.name} {kind}", len(ciks)) as progress:
            for symbol, cik in ciks.items():
                rows = ask(symbol, cik)
                found += [{"symbol": symbol, **row} for row in rows]
                progress.done(len(rows))
        fetched_at = self._clock()
        capped = [{**row, "known_at": min(row["known_at"], fetched_at)} for row in found]
        return versions(kind, framed(kind, self.name, capped), self.name, fetched_at).lazy()

    def _facts(self, symbol: str, cik: int, since: date) -> list[dict[str, Any]]:
        listed = self._filings(cik, since)
        try:
            return self._client.facts(cik, lambda content: facts(content, cik, listed, self._concepts))
        except NoDataError:  # funds and trusts report nothing in XBRL
            LOG.info("%s: EDGAR has no XBRL facts of CIK %d", symbol, cik)
            return []

    def _deals(self, symbol: str, cik: int, start: datetime, end: datetime) -> list[dict[str, Any]]:
        since = start.date()
        listed = self._filings(cik, since)
        wanted = [each for each in listed.values() if chains.may_tell(each, since, end.date())]
        forms: dict[str, ownership.Form] = {}
        without: set[str] = set()
        while wanted:
            without |= {each.accession for each in wanted if not each.document.endswith(".xml")}
            forms |= self._forms(cik, [each for each in wanted if each.accession not in without])
            # A company's list holds the forms that it files itself, as an insider of others, as well.
            own = [form for form in forms.values() if form.issuer == cik]
            found = chains.origins(own, start, end)
            first = min((day for _, day in found), default=since)
            if first < since:
                since, listed = first, self._filings(cik, first)
            read = forms.keys() | without
            rest = [each for each in listed.values() if each.accession not in read]
            wanted = [each for each in rest if chains.belongs(each, found, own)]
        if without:
            LOG.warning("%s: %d ownership forms have no XML and are left out", symbol, len(without))
        return ownership.rows(ownership.amended(form for form in forms.values() if form.issuer == cik), start, end)

    def _forms(self, cik: int, listed: Sequence[Filing]) -> dict[str, ownership.Form]:
        """Forms by their accession number."""
        with ThreadPoolExecutor(self._workers, thread_name_prefix="edgar") as pool:
            found = pool.map(lambda each: self._form(cik, each), listed)
            return {form.filing.accession: form for form in found}

    def _filings(self, cik: int, since: date) -> dict[str, Filing]:
        """The filings since a day, and some before."""

        def first(content: Any) -> tuple[list[Any], list[str]]:
            held = content["filings"]
            return stamps(held["recent"]), older_pages(held["files"], since)

        listed, pages = self._client.submissions(cik, first)
        for page in pages:
            listed += self._client.page(cik, page, stamps)
        try:
            return filings(listed)
        except OverflowError as error:
            raise BadAnswerError(
                f"edgar: CIK {cik}: a filing's time is none that there is ({error}). Try later."
            ) from error

    def _form(self, cik: int, filing: Filing) -> ownership.Form:
        # The list names the form as a page for people (xslF345X05/form4.xml); the XML itself lies beside that folder.
        name = filing.document.rpartition("/")[2]
        return self._client.document(cik, filing.accession, name, lambda content: ownership.read(filing, content))
