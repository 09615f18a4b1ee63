"""The connection to Yahoo: yfinance's, with a pace, retries, and errors that say what happened.

yfinance brings what a browser has (TLS like Chrome's, cookie, crumb, consent page). It asks once more by another
cookie where an answer is 400 or worse, and of a 429 keeps no word: how long Yahoo asks us to wait is noted on the way.
Yahoo publishes no limits. What is one request too many it tells with 429, and then every thread of a provider waits.
All requests are reads, so what may pass (refusals, time-outs, broken answers) is asked again; an answer is read and
checked within its try.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote

from resources.errors import (
    BadAnswerError,
    NotOfferedError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.pacing import TokenBucket, retried

T = TypeVar("T")

CHART = "https://query2.finance.yahoo.com/v8/finance/chart/"
OPTIONS = "https://query2.finance.yahoo.com/v7/finance/options/"
TRIES = 5
FIRST_PAUSE_SECONDS = 2.0
REFUSED_SECONDS = 5.0
"""How long nobody asks after a 429 that does not say."""
PATIENCE_SECONDS = 120.0
"""A longer Retry-After is not waited for: it is a ban, and a matter for the user."""
HUNG_UP = (8, 52, 55, 56)  # libcurl's codes of a connection that broke before the answer came


class Client:
    """Asks Yahoo, at a pace, several times if need be. Safe for threads."""

    def __init__(
        self,
        timeout_seconds: float,
        session: Any,
        bucket: TokenBucket,
        sleep: Callable[[float], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._timeout, self._session, self._bucket = timeout_seconds, session, bucket
        self._sleep, self._chance = sleep, chance
        self._made: Any = None
        self._making = threading.Lock()

    def chart(
        self,
        symbol: str,
        start: datetime,
        end: datetime,
        interval: str,
        read: Callable[[Mapping[str, Any], datetime | None], T],
    ) -> T | None:
        """What `read` makes of the chart's one result and of when Yahoo answered by its own clock (None: not told).

        None for a known symbol without rows.

        Raises UnknownSymbolError, NotOfferedError where Yahoo says that the range is too old for the interval;
        RateLimitedError, ProviderTimeoutError and BadAnswerError after the last try; ProviderError where Yahoo cannot
        be reached.
        """
        params = {
            "period1": int(start.timestamp()), "period2": int(end.timestamp()), "interval": interval,
            "events": "div,splits",
        }  # fmt: skip

        def once(answer: Any) -> T | None:
            result = _chart(symbol, answer)
            return None if result is None else read(result, _answered(answer))

        return self._retried(symbol, CHART + quote(symbol), params, once)

    def options(self, symbol: str, expiry: int | None, read: Callable[[Mapping[str, Any]], T]) -> T | None:
        """What `read` makes of the options of one expiry, by Yahoo's stamp of it; None where there are none.

        Without an expiry it is the next one. Raises as `chart` does.
        """
        params = {} if expiry is None else {"date": expiry}
        url = OPTIONS + quote(symbol)
        return self.results(symbol, url, params, "optionChain", lambda result: read(result[0]) if result else None)

    def results(self, symbol: str, url: str, params: dict[str, Any], what: str, read: Callable[[list[Any]], T]) -> T:
        """What `read` makes of the results of any answer that has result and error under `what`.

        Raises as `chart` does; `read` raises BadAnswerError on what is not laid out as expected.
        """
        return self._retried(symbol, url, params, lambda answer: read(_result(symbol, answer, what) or []))

    def _retried(self, symbol: str, url: str, params: dict[str, Any], read: Callable[[Any], T]) -> T:
        def once() -> T | RateLimitedError:
            try:
                return read(self._send(symbol, url, params))
            except RateLimitedError as error:
                if error.retry_after > PATIENCE_SECONDS:
                    return error  # past `retried`, which would wait for it
                self._bucket.drain(error.retry_after or REFUSED_SECONDS)
                raise

        answer = retried(
            once, tries=TRIES, first_pause=FIRST_PAUSE_SECONDS, sleep=self._sleep, chance=self._chance
        )  # fmt: skip
        if isinstance(answer, RateLimitedError):
            raise answer
        return answer

    def _send(self, symbol: str, url: str, params: dict[str, Any]) -> Any:
        connection = self._connection()
        # Loaded with the connection, by one thread: of two that load parts of a library one may find them half made.
        from yfinance.exceptions import YFRateLimitError

        self._bucket.take()
        try:
            return connection.get(url, params=params, timeout=self._timeout)
        except YFRateLimitError as error:
            wait = connection.asked_to_wait()
            more = f" for {wait:g} s" if wait else ""
            raise RateLimitedError(f"{symbol}: Yahoo refuses more requests (429){more}. Try later.", wait) from error
        except OSError as error:  # curl_cffi's and requests' errors alike
            raise _unreached(symbol, error, self._timeout) from error

    def _connection(self) -> Any:
        with self._making:
            if self._made is None:
                # yfinance makes one for the whole process, whose session anybody may change; this one is ours.
                self._made = type.__call__(_connection_class(), session=self._session)
            return self._made


@lru_cache(maxsize=1)
def _connection_class() -> Any:
    from yfinance.data import YfData

    class Connection(YfData):
        """yfinance's connection, which besides notes what a refusal says of when to come back."""

        def __init__(self, session: Any = None) -> None:
            super().__init__(session=session)
            self._noted = threading.local()

        def asked_to_wait(self) -> float:
            """Seconds that the last answer in this thread asked to wait; 0 if it did not."""
            return float(getattr(self._noted, "seconds", 0.0))

        def _make_request(self, url: str, request_method: Callable[..., Any], **options: Any) -> Any:
            def noting(**request: Any) -> Any:
                answer = request_method(**request)
                wait = str(answer.headers.get("Retry-After") or "")
                self._noted.seconds = float(wait) if wait.replace(".", "", 1).isdigit() else 0.0
                return answer

            return super()._make_request(url, noting, **options)

    return Connection


def _unreached(symbol: str, error: OSError, timeout: float) -> ProviderError:
    kind = type(error).__name__
    if "Timeout" in kind:
        return ProviderTimeoutError(
            f"{symbol}: Yahoo did not answer within {timeout:g} s. Try later, or raise provider.timeout_seconds."
        )
    if kind in ("IncompleteRead", "ChunkedEncodingError", "ContentDecodingError"):
        return BadAnswerError(f"{symbol}: Yahoo's answer broke off. Try later.")
    if getattr(error, "code", 0) in HUNG_UP or "Connection aborted" in str(error):
        return BadAnswerError(f"{symbol}: Yahoo hung up without an answer. Try later.")
    return ProviderError(f"{symbol}: Yahoo cannot be reached ({error}). Check the network and its proxy settings.")


def _answered(answer: Any) -> datetime | None:
    """The HTTP Date of an answer, in whole seconds; None where it has none that can be read.

    The chart itself tells no clock: its regularMarketTime is the last trade's, which may come well before the close.
    """
    try:
        return parsedate_to_datetime(answer.headers.get("Date") or "").astimezone(UTC)
    except ValueError:
        return None


def _chart(symbol: str, answer: Any) -> Mapping[str, Any] | None:
    """`chart.result[0]`; None for a known symbol that has no rows."""
    results = _result(symbol, answer, "chart")
    if results is None:
        return None
    if not results:
        raise BadAnswerError(f"{symbol}: Yahoo answered {answer.status_code} without a chart. Try later.")
    found: Mapping[str, Any] = results[0]
    return found


def _result(symbol: str, answer: Any, what: str) -> list[Any] | None:
    """The results in an HTTP answer, or the error that says what it is; None where Yahoo says it has no data."""
    status = answer.status_code
    try:
        body = answer.json()[what]
        error, results = body["error"], body["result"]
    except (ValueError, KeyError, TypeError) as broken:
        raise BadAnswerError(
            f"{symbol}: Yahoo answered {status} with something that is not its {what}: {answer.text[:60]!r}. Try later."
        ) from broken
    if error:
        reason = str(error.get("description") if isinstance(error, dict) else error)
        if "Data doesn't exist" in reason:
            return None
        if "data not available for startTime" in reason:
            raise NotOfferedError(f"{symbol}: yahoo has no such bars: {reason} Choose later dates or 1d.")
        if status == 404:
            raise UnknownSymbolError(f"yahoo has no {symbol}: {reason}. Look the symbol up on finance.yahoo.com.")
        raise BadAnswerError(f"{symbol}: Yahoo answered {status}: {reason}. Try later.")
    if status != 200:
        raise BadAnswerError(f"{symbol}: Yahoo answered {status} without its {what}. Try later.")
    return list(results or [])
