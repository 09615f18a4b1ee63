"""The connection to Alpaca: alpaca-py's clients, asked page by page at our pace; what is downloaded at once.

Of alpaca-py this uses the clients with their addresses, keys and connection, and asks page by page itself:

- its own paging keeps every page as dictionaries until the last has come, and a fault on the way loses them all;
  here a page becomes columns as it arrives, and a fault asks for that one page again, by its token;
- its retries (429 and 504, three times, three seconds apart, whatever Retry-After says) are switched off, a time-out,
  of which it has none, is put on its connection, and the pace is kept by a token bucket of ours;
- answers are handed on as text and decoded by polars, where alpaca-py would make a dictionary or a model of each row.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import polars as pl

from resources.errors import (
    BadAnswerError,
    MissingSecretError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
)
from resources.market_data.alpaca import translate
from resources.market_data.base import Clock
from resources.market_data.pacing import TokenBucket, retried
from resources.market_data.progress import Progress

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""A longer Retry-After is not waited for: it is a matter for the user."""

JOB_ROWS = 200_000
"""Rows that one chain of pages may have, by count of its days."""
GROUP = 100
"""Symbols that one request may name."""

Job = tuple[tuple[str, ...], datetime, datetime]
"""Symbols, and the window of time, its end excluded, of one chain of pages."""


class NotFoundError(ProviderError):
    """404 of a single asset."""


class Connection:
    """Alpaca's REST services: stocks, crypto, actions, news (on `data_url`) and trading; for reads only.

    The keys are read from the environment; MissingSecretError without them. Every method raises AccessDeniedError,
    UnknownSymbolError and ProviderError at once; RateLimitedError, ProviderTimeoutError and BadAnswerError after the
    last try. No error shows the keys.
    """

    def __init__(
        self,
        *,
        paper: bool,
        timeout_seconds: float,
        requests_per_minute: float,
        workers: int,
        page_rows: int,
        data_url: str | None,
        trading_url: str | None,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._keys = _keys()
        self._paper, self._timeout, self._workers, self._page_rows = paper, timeout_seconds, workers, page_rows
        self._urls = {"data": data_url, "trading": trading_url}
        self._clock, self._sleep = clock, sleep
        # At most a minute's requests within any minute: what may go at once is taken off the pace.
        burst = max(1.0, requests_per_minute / 20)
        self._bucket = TokenBucket(max(requests_per_minute - burst, 1.0) / 60, burst, sleep=sleep)
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()

    def document(self, client: str, path: str, params: dict[str, Any], *keys: str) -> Any:
        """One small answer, an object that has `keys`. Raises NotFoundError where an asset does not exist."""
        return self._retried(client, path, params, lambda body: translate.document(body, *keys))

    def documents(self, client: str, path: str, params: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
        """The pages of a request whose answers are small: objects that have `key`."""
        token: str | None = None
        seen: set[int] = set()
        asks = {"limit": self._page_rows} | params
        while True:
            asks |= {"page_token": token} if token else {}
            content = self._retried(client, path, asks, lambda body: translate.document(body, key))
            yield content
            token = _next(seen, content.get("next_page_token"), path)
            if token is None:
                return

    def download(
        self, kind: str, crypto: bool, jobs: Sequence[Job], params: Callable[[Job], dict[str, Any]]
    ) -> pl.DataFrame:
        """The bars, quotes or trades of all jobs, some jobs at a time, in no order.

        `params` gives a job's request. The first error stops the other jobs before their next page.
        """
        stop = threading.Event()

        def run(job: Job) -> list[pl.DataFrame]:
            pages: list[pl.DataFrame] = []
            try:
                for page in self._pages(kind, crypto, params(job), job[0], stop):
                    # Alpaca includes the end, and where one job ends the next begins.
                    pages.append(page.filter(pl.col("ts") < job[2]))
            except BaseException:
                stop.set()
                raise
            return pages

        if not jobs:
            return translate.no_rows(kind)
        found = []
        with (
            ThreadPoolExecutor(min(self._workers, len(jobs)), thread_name_prefix="alpaca") as pool,
            Progress(f"alpaca {kind}", len(jobs)) as progress,
        ):
            try:
                for pages in pool.map(run, jobs):
                    found += pages
                    progress.done(sum(page.height for page in pages))
            finally:
                stop.set()  # also when the user interrupts
        return pl.concat(found)

    def _pages(
        self, kind: str, crypto: bool, params: dict[str, Any], names: Sequence[str], stop: threading.Event
    ) -> Iterator[pl.DataFrame]:
        """The pages of a request, until `stop`; each is asked for again by its own token where it fails."""
        client, path = ("crypto", f"/crypto/us/{kind}") if crypto else ("stocks", f"/stocks/{kind}")
        token: str | None = None
        seen: set[int] = set()
        before: pl.DataFrame | None = None
        while not stop.is_set():
            asks = params | {"limit": self._page_rows} | ({"page_token": token} if token else {})
            page = self._retried(client, path, asks, lambda body: translate.page(body, kind, names))
            if before is not None and page.rows.height and page.rows.equals(before):
                raise BadAnswerError(f"{path}: Alpaca gave the same rows twice. Try later.")
            before = page.rows
            yield page.rows
            token = _next(seen, page.token, path)
            if token is None:
                return

    def _retried(self, client: str, path: str, params: dict[str, Any], read: Callable[[str], T]) -> T:
        """What `read` makes of the answer. A read may be repeated, so what may pass is asked for again."""
        what = str(params.get("symbols") or path)[:80]

        def once() -> T | RateLimitedError:
            try:
                body = self._ask(client, path, params)
            except RateLimitedError as error:
                if error.retry_after > PATIENCE_SECONDS:
                    return error  # past `retried`, which would wait for it
                raise
            try:
                return read(body)
            except BadAnswerError as error:
                told = str(error)
                raise BadAnswerError(told if told.startswith(what) else f"{what}: {told}") from None

        answer = retried(once, sleep=self._sleep)
        if isinstance(answer, RateLimitedError):
            raise answer
        return answer

    def _ask(self, client: str, path: str, params: dict[str, Any]) -> str:
        """The text of an answer, or the error that says what came instead. None of them shows the keys."""
        handle = self._client(client)
        # Loaded with the client, by one thread: of two that load parts of a library one may find them half made.
        import requests
        from alpaca.common.exceptions import APIError

        what = str(params.get("symbols") or path)[:80]
        self._bucket.take()
        try:
            body = handle.get(path, dict(params))
        except APIError as error:
            if error.status_code == 404 and path.startswith("/assets/"):
                raise NotFoundError(f"alpaca has no {path}") from None
            headers = getattr(error.response, "headers", {})
            problem = translate.refusal(what, error.status_code, self._hide(str(error)), headers, self._clock())
            if isinstance(problem, RateLimitedError) and problem.retry_after <= PATIENCE_SECONDS:
                self._bucket.drain(problem.retry_after)
            raise problem from None  # alpaca-py's error carries the request, and with it the keys
        except requests.Timeout:
            raise ProviderTimeoutError(
                f"{what}: Alpaca did not answer within {self._timeout:g} s. Try later, or raise "
                "provider.timeout_seconds."
            ) from None
        except requests.RequestException as error:
            raise _connection_error(what, error, self._hide(str(error))) from None
        if body is None:
            raise BadAnswerError(f"{what}: Alpaca's answer was empty. Try later.")
        return self._hide(body)

    def _hide(self, text: str) -> str:
        for key in self._keys:
            text = text.replace(key, "***")
            if "\\" in text:  # JSON may write any character escaped; pages of rows have none
                text = re.sub("".join(_escaped(letter) for letter in key), "***", text)
        return text

    def _client(self, which: str) -> Any:
        with self._making:
            if which not in self._clients:
                self._clients[which] = self._connect(which)
            return self._clients[which]

    def _connect(self, which: str) -> Any:
        """A client of alpaca-py without its retries, with a time-out, that hands answers on as text."""
        from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
        from alpaca.data.historical.corporate_actions import CorporateActionsClient
        from alpaca.data.historical.news import NewsClient
        from alpaca.trading.client import TradingClient

        key, secret = self._keys
        if which == "trading":
            client: Any = TradingClient(key, secret, paper=self._paper, url_override=self._urls["trading"])
        else:
            made = {
                "stocks": StockHistoricalDataClient,
                "crypto": CryptoHistoricalDataClient,
                "actions": CorporateActionsClient,
                "news": NewsClient,
            }[which]
            client = made(key, secret, raw_data=True, url_override=self._urls["data"])
        client._retry = 0  # its constructor cannot switch them off
        _wire(client._session, self._timeout, self._workers)
        return client


def _wire(session: Any, timeout: float, connections: int) -> None:
    """Put a time-out on each request of the session, and hand answers on unparsed."""
    from requests.adapters import HTTPAdapter

    class Impatient(HTTPAdapter):
        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
            return super().send(request, **options | {"timeout": timeout})

    def unparsed(response: Any, **_: Any) -> None:
        response.encoding = "utf-8"  # else requests guesses, by reading all of it
        response.json = lambda: response.text

    for scheme in ("https://", "http://"):
        session.mount(scheme, Impatient(pool_maxsize=connections))
    session.hooks["response"].append(unparsed)


def _connection_error(what: str, error: Exception, reason: str) -> ProviderError:
    from requests import ConnectionError as RequestsConnectionError
    from urllib3.exceptions import MaxRetryError

    if isinstance(error, RequestsConnectionError) and error.args and isinstance(error.args[0], MaxRetryError):
        return ProviderError(f"{what}: Alpaca cannot be reached ({reason}). Check the network and its proxy settings.")
    return BadAnswerError(f"{what}: Alpaca's answer broke off ({reason[:120]}). Try later.")


def _escaped(letter: str) -> str:
    """The pattern of a character as JSON may write it."""
    return rf"(?:\\?{re.escape(letter)}|\\u(?i:{ord(letter):04x}))"


def _keys() -> tuple[str, str]:
    held = tuple(os.environ.get(name, "").strip() for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"))
    if not all(held):
        raise MissingSecretError(
            "alpaca: ALPACA_API_KEY and ALPACA_SECRET_KEY must both be set in the environment; make a pair on "
            "app.alpaca.markets, or use provider: {name: sample}, which needs none."
        )
    return held[0], held[1]


def chunks(names: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(names[at : at + size]) for at in range(0, len(names), size)]


def jobs(names: Sequence[str], start: datetime, end: datetime, rows_a_day: int) -> list[Job]:
    """Groups of symbols by windows of time, none with more than about JOB_ROWS rows; none at all if start is not
    before end."""
    if not names or start >= end:
        return []
    days = max(1, JOB_ROWS // rows_a_day)
    whole = -(-(end - start) // timedelta(days=1))
    group = max(1, min(GROUP, days // whole)) if whole else 1
    cuts = [start + timedelta(days=days) * at for at in range(-(-whole // days))] + [end]
    return [(chunk, first, last) for chunk in chunks(names, group) for first, last in itertools.pairwise(cuts)]


def _next(seen: set[int], token: str | None, path: str) -> str | None:
    """The token of the next page, None after the last; `seen` holds the hashes of those that came before."""
    if token and hash(token) in seen:
        raise BadAnswerError(f"{path}: Alpaca gave the same page twice. Try later.")
    seen.add(hash(token))
    return token or None
