"""Statements, insiders' transactions and ESG ratings of Yahoo Finance: what it says today, known since it was fetched.

Yahoo does not tell when it came to say something, and restates in place: what a fetch brings is known from that fetch
on, and the years before the first fetch are no history that a backtest may use. A log that grows from fetch to fetch
(`resources.alternative.base.merge`) is one. For a past that is known point in time there is EDGAR.

Of yfinance this uses the connection (cookie, crumb, TLS like a browser's) and asks Yahoo's endpoints itself: Ticker's
properties take an error for an empty answer, and serve answers of the past from a cache while the process lives.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

import polars as pl

from resources.alternative.base import Kind, versions
from resources.alternative.rows import framed
from resources.alternative.yahoo.read import Row, ratings, statements, transactions
from resources.errors import UnknownSymbolError
from resources.market_data.base import Clock, utc_now
from resources.market_data.pacing import TokenBucket
from resources.market_data.progress import Progress
from resources.market_data.yahoo.client import Client

LOG = logging.getLogger(__name__)

TIMESERIES = "https://query2.finance.yahoo.com/ws/fundamentals-timeseries/v1/finance/timeseries/"
SUMMARY = "https://query2.finance.yahoo.com/v10/finance/quoteSummary/"
FREQUENCIES = ("annual", "quarterly")
COMMON_CONCEPTS = (
    "TotalRevenue", "CostOfRevenue", "GrossProfit", "OperatingIncome", "InterestExpense", "TaxProvision", "NetIncome",
    "EBITDA", "BasicEPS", "DilutedEPS", "DilutedAverageShares", "TotalAssets", "CurrentAssets",
    "CashAndCashEquivalents", "Inventory", "CurrentLiabilities", "LongTermDebt", "TotalDebt", "StockholdersEquity",
    "OrdinarySharesNumber", "OperatingCashFlow", "InvestingCashFlow", "FinancingCashFlow", "CapitalExpenditure",
    "FreeCashFlow", "CashDividendsPaid", "RepurchaseOfCapitalStock",
)  # fmt: skip


class Yahoo:
    """Source of Yahoo Finance. No key. Symbols are Yahoo's own: BRK-B, VOD.L.

    `concepts`: which figures, by Yahoo's names (yfinance's const.fundamentals_keys lists them). `session`: a curl_cffi
    or requests session in place of one of our own. The rest is for tests.

    >>> from datetime import UTC, datetime
    >>> Yahoo().esg(["AAPL"], datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)).collect()
    ... # doctest: +SKIP
    """

    name = "yahoo"
    kinds: ClassVar[tuple[Kind, ...]] = ("fundamentals", "insider", "esg")
    begins: datetime | None = None

    def __init__(
        self,
        timeout_seconds: float = 30.0,
        session: Any = None,
        *,
        concepts: Sequence[str] = COMMON_CONCEPTS,
        bucket: TokenBucket | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        pace = bucket or TokenBucket(per_second=2.0, burst=20, sleep=sleep)
        self._client = Client(timeout_seconds, session, pace, sleep, chance)
        self._concepts, self._clock = tuple(concepts), clock

    def fundamentals(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Figures of years and quarters that ended in [start, end); `ts` is the last day, at midnight UTC.

        Yahoo has four years and five quarters. Of what it does not know it says nothing: no rows. Raises
        RateLimitedError, ProviderTimeoutError and BadAnswerError after the last try, ProviderError where Yahoo cannot
        be reached.
        """
        return self._each("fundamentals", symbols, partial(self._statements, start, end), start, end)

    def insider(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Insiders' transactions of days in [start, end), of about the last two years.

        Raises UnknownSymbolError, and as `fundamentals` does.
        """
        ask = partial(self._summary, "insiderTransactions", transactions)
        return self._each("insider", symbols, ask, start, end)

    def esg(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """The present ESG rating of each company that has one, if its month begins in [start, end).

        A symbol that Yahoo does not know is not told from one without a rating, as Yahoo tells neither from the other.
        Raises as `fundamentals` does.
        """
        return self._each("esg", symbols, self._rating, start, end)

    def _statements(self, start: datetime, end: datetime, symbol: str) -> list[Row]:
        found: list[Row] = []
        for frequency in FREQUENCIES:
            params = {
                "symbol": symbol, "type": ",".join(f"{frequency}{each}" for each in self._concepts),
                "period1": int(start.timestamp()), "period2": int((end + timedelta(days=1)).timestamp()),
            }  # fmt: skip
            read = partial(statements, symbol)
            found += self._client.results(symbol, TIMESERIES + quote(symbol), params, "timeseries", read)
        return found

    def _rating(self, symbol: str) -> list[Row]:
        try:
            return self._summary("esgScores", ratings, symbol)
        except UnknownSymbolError as error:
            LOG.info("%s: no ESG rating: %s", symbol, error)
            return []

    def _summary(self, module: str, read: Callable[[str, list[Any]], list[Row]], symbol: str) -> list[Row]:
        params = {"modules": module, "corsDomain": "finance.yahoo.com", "formatted": "false"}
        return self._client.results(symbol, SUMMARY + quote(symbol), params, "quoteSummary", partial(read, symbol))

    def _each(
        self, kind: Kind, symbols: Sequence[str], ask: Callable[[str], list[Row]], start: datetime, end: datetime
    ) -> pl.LazyFrame:
        """What `ask` gives of each symbol within [start, end), as versions."""
        found: list[Row] = []
        with Progress(f"{self.name} {kind}", len(symbols)) as progress:
            for symbol in symbols:
                rows = [row for row in ask(symbol) if start <= row["ts"] < end]
                found += rows
                progress.done(len(rows))
        return versions(kind, framed(kind, self.name, found), self.name, self._clock()).lazy()
