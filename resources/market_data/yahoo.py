"""Daily bars, splits and dividends of Yahoo Finance, through yfinance.

Of yfinance this uses the connection (`YfData`: browser-like session, cookie, crumb, consent page), and asks the
chart endpoint itself. `Ticker.history` cannot do the job honestly: it looks the time zone up first and takes every
failure there, a server error as well as an HTML page, for a symbol without a time zone; and it serves answers of
the past, broken ones included, from a cache for as long as the process lives.

What Yahoo calls raw is not. Its open, high, low, close and its dividends are divided, and its volumes multiplied,
by all splits up to today. They are restated here to what was traded and paid:

    raw price = price * f,  raw volume = volume / f,  cash dividend = dividend * f,
    f = the product of the ratios of all splits with an ex-date after the day

So each request runs from its start to today, whatever its end: the splits after the end are needed, and must come
from the same answer as the prices that they adjust. Yahoo sends 32-bit prices, so restated ones are rounded to 7
significant digits, volumes to whole shares, and dividends to 4 decimals. Where Yahoo misses a split, or has booked
one twice, the prices before it are off by its ratio; `cleaned/bars` flags such jumps.

Bars are given of closed sessions only: a last row that is still trading is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import polars as pl

from resources.calendars import sessions
from resources.config import ExcludedRow
from resources.errors import (
    BadAnswerError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.base import (
    INSTRUMENT_SCHEMA,
    Clock,
    Partial,
    asked,
    daily_actions,
    daily_bars,
    exclude_rows,
    no_rows,
    utc_now,
)
from resources.market_data.yahoo_chart import Chart, empty, parse

CHART = "https://query2.finance.yahoo.com/v8/finance/chart/"
PAUSES = (2.0, 8.0, 32.0)
"""Seconds waited before each further try after a refusal, a time-out or a broken answer."""


class Yahoo(Partial):
    """Provider of Yahoo Finance. Symbols are Yahoo's own: BRK-B, VOD.L, ^GSPC.

    `timeout_seconds`: how long one request for data may take (yfinance gives its cookie 30 s).
    `session`: a curl_cffi or requests session in place of yfinance's own; yfinance shares it within the process.
    `exclude`: rows to leave out.

    >>> from datetime import date
    >>> Yahoo().bars(["AAPL"], date(2024, 1, 2), date(2024, 1, 31)).collect()  # doctest: +SKIP
    """

    name = "yahoo"
    offers = "daily bars, splits, dividends and instruments"

    def __init__(
        self,
        timeout_seconds: float = 30.0,
        session: Any = None,
        *,
        exclude: Sequence[ExcludedRow] = (),
        calendar: str = "XNYS",
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._timeout = timeout_seconds
        self._session = session
        self._exclude = tuple(exclude)
        self._calendar = calendar
        self._clock = clock
        self._sleep = sleep

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Raw bars of closed sessions in BAR_SCHEMA.

        Raises UnknownSymbolError; NoDataError if no symbol has a row in the range; RateLimitedError,
        ProviderTimeoutError and BadAnswerError after the last try; BarSchemaError on rows that are not market data.
        """
        names = asked(self.name, symbols, symbols, timeframe)
        now = self._clock()
        closed = sessions(self._calendar, start, end).filter(pl.col("close") <= now)["session"]
        charts = self._charts(names, start, now)
        # A date that is no session is kept, so that it is refused by name; one that is still trading is not.
        last = closed[-1] if closed.len() else start - timedelta(days=1)
        rows = pl.concat(chart.bars for chart in charts).lazy().filter(pl.col("session").is_between(start, last))
        found = exclude_rows(rows, self._exclude).collect()
        if found.is_empty():
            raise no_rows(self.name, names, start, end)
        return daily_bars(
            found.lazy(), calendar=self._calendar, start=start, end=end, provider=self.name, fetched_at=now,
            source="Yahoo Finance",
        )  # fmt: skip

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Splits and dividends in ACTION_SCHEMA. Raises as `bars` does, but for NoDataError."""
        now = self._clock()
        charts = self._charts(asked(self.name, symbols, symbols), start, now)
        rows = pl.concat(chart.actions for chart in charts).filter(pl.col("session").is_between(start, end))
        return daily_actions(
            rows.lazy(), calendar=self._calendar, start=start, end=end, provider=self.name, fetched_at=now,
            source="Yahoo Finance",
        )  # fmt: skip

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA, from what the chart says of it; Yahoo's charts know no sector."""
        now = self._clock()
        names = sorted(asked(self.name, symbols, symbols))
        charts = self._charts(names, now.date() - timedelta(days=7), now)
        rows = [chart.instrument(self._calendar) for chart in charts]
        return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA)

    def _charts(self, symbols: Sequence[str], start: date, now: datetime) -> list[Chart]:
        return [self._ask(symbol, start, now) for symbol in symbols]

    def _ask(self, symbol: str, start: date, now: datetime) -> Chart:
        """The chart of one symbol from `start` to `now`, with a bounded number of further tries."""
        for pause in PAUSES:
            try:
                return self._ask_once(symbol, start, now)
            except (RateLimitedError, ProviderTimeoutError, BadAnswerError):
                self._sleep(pause)
        return self._ask_once(symbol, start, now)

    def _ask_once(self, symbol: str, start: date, now: datetime) -> Chart:
        from yfinance.data import YfData
        from yfinance.exceptions import YFRateLimitError

        midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
        params = {
            "period1": int((midnight - timedelta(days=1)).timestamp()),  # east of UTC the session opens a day earlier
            "period2": int(now.timestamp()),
            "interval": "1d",
            "events": "div,splits",
        }
        try:
            answer = YfData(session=self._session).get(CHART + quote(symbol), params=params, timeout=self._timeout)
        except YFRateLimitError as error:
            raise RateLimitedError(f"{symbol}: Yahoo refuses more requests (429). Try later.") from error
        except OSError as error:  # curl_cffi's and requests' errors alike
            raise _connection_error(symbol, error, self._timeout) from error
        return _chart(symbol, answer)


def _connection_error(symbol: str, error: OSError, timeout: float) -> ProviderError:
    kind = type(error).__name__
    if "Timeout" in kind:
        return ProviderTimeoutError(
            f"{symbol}: Yahoo did not answer within {timeout:g} s. Try later, or raise provider.timeout_seconds."
        )
    if kind in ("IncompleteRead", "ChunkedEncodingError", "ContentDecodingError"):
        return BadAnswerError(f"{symbol}: Yahoo's answer broke off. Try later.")
    return ProviderError(f"{symbol}: Yahoo cannot be reached ({error}). Check the network and its proxy settings.")


def _chart(symbol: str, answer: Any) -> Chart:
    """The chart in an HTTP answer (empty for a known symbol without rows), or the error that says what it is."""
    status = answer.status_code
    try:
        chart = answer.json()["chart"]
        error, results = chart["error"], chart["result"]
    except (ValueError, KeyError, TypeError) as broken:
        raise BadAnswerError(
            f"{symbol}: Yahoo answered {status} with something that is not a chart: {answer.text[:60]!r}. Try later."
        ) from broken
    if error:
        reason = str(error.get("description") if isinstance(error, dict) else error)
        if "Data doesn't exist" in reason:
            return empty(symbol)
        if status == 404:
            raise UnknownSymbolError(f"yahoo has no {symbol}: {reason}. Look the symbol up on finance.yahoo.com.")
        raise BadAnswerError(f"{symbol}: Yahoo answered {status}: {reason}. Try later.")
    if status != 200 or not results:
        raise BadAnswerError(f"{symbol}: Yahoo answered {status} without a chart. Try later.")
    return parse(symbol, results[0])
