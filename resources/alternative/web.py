"""Reads over HTTP for sources that have no client of their own: a pace, retries, and errors that say what happened."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    NoDataError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
)
from resources.market_data.pacing import TokenBucket, retried

T = TypeVar("T")

ODD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer raises that is not laid out as it should be."""
TRIES = 5
PATIENCE_SECONDS = 120.0
"""A longer Retry-After is not waited for: it is a ban, and a matter for the user."""


class Web:
    """A session of requests that asks at the pace of `bucket`, several times where it fails in passing.

    `name` is what messages call the venue. Safe for threads; every answer is read and checked within its try.
    `sleep` and `chance` are for tests.
    """

    def __init__(
        self,
        name: str,
        bucket: TokenBucket,
        *,
        timeout_seconds: float = 30.0,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._bucket, self._timeout, self._headers = bucket, timeout_seconds, dict(headers or {})
        self._sleep, self._chance = sleep, chance
        self._held = threading.local()

    def read(
        self,
        what: str,
        url: str,
        read: Callable[[bytes], T],
        *,
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        partial: bool = False,
    ) -> T:
        """What `read` makes of an answer's bytes, unpacked; `what` is what a message calls the thing asked for.

        `read` raises one of ODD on what is not the documented format. `body` is sent as JSON. `partial`: a part was
        asked for (Range); the whole in its place is no answer.

        Raises NoDataError on 404, AccessDeniedError on 401 and 403, ProviderError on other refusals and where the venue
        cannot be reached; RateLimitedError, ProviderTimeoutError and BadAnswerError after the last try.
        """

        def once() -> T | RateLimitedError:
            try:
                asked = {"params": params, "json": body, "headers": headers, "stream": partial}
                content = self._ask(what, method, url, asked, 206 if partial else 200)
            except RateLimitedError as error:
                if error.retry_after > PATIENCE_SECONDS:
                    return error  # past `retried`, which would wait for it
                self._bucket.drain(error.retry_after)
                raise
            try:
                return read(content)
            except ODD as broken:
                raise BadAnswerError(
                    f"{what}: {self.name} answered with something else than its documented format "
                    f"({type(broken).__name__}: {str(broken)[:160]}; it begins {content[:60]!r}). Try later."
                ) from broken

        answer = retried(once, tries=TRIES, sleep=self._sleep, chance=self._chance)
        if isinstance(answer, RateLimitedError):
            raise answer
        return answer

    def refusal(self, what: str, status: int, text: str, retry_after: float) -> ProviderError:
        """The error that a status stands for; a venue that has its own words overrides this."""
        if status == 404:
            return NoDataError(f"{what}: {self.name} has none (404).")
        if status in (401, 403):
            return AccessDeniedError(
                f"{what}: {self.name} refused ({status}: {text[:120]!r}). Check the keys it needs."
            )
        if status == 429:
            told = f" for {retry_after:g} s" if retry_after else ""
            return RateLimitedError(f"{what}: {self.name} refuses more requests (429){told}. Try later.", retry_after)
        if status >= 500:
            return BadAnswerError(f"{what}: {self.name} answered {status}: {text[:80]!r}. Try later.")
        return ProviderError(f"{what}: {self.name} answered {status}: {text[:120]!r}.")

    def _ask(self, what: str, method: str, url: str, asked: Mapping[str, Any], good: int) -> bytes:
        import requests

        session = self._session()
        self._bucket.take()
        try:
            with session.request(method, url, timeout=self._timeout, **asked) as answer:
                if answer.status_code == good:
                    return bytes(answer.content)
                if answer.ok:  # not read: it may be a whole file where a part of it was asked for
                    raise BadAnswerError(
                        f"{what}: {self.name} answered {answer.status_code} and not {good}. Try later; an address that "
                        "is to be read in parts must serve them (Range)."
                    )
                wait = _pause(answer.headers.get("Retry-After"))
                raise self.refusal(what, answer.status_code, answer.text[:500], wait)
        except requests.Timeout as error:
            raise ProviderTimeoutError(
                f"{what}: {self.name} did not answer within {self._timeout:g} s. Try later, or raise timeout_seconds."
            ) from error
        except requests.RequestException as error:
            raise self._broken(what, error) from error

    def _broken(self, what: str, error: Exception) -> ProviderError:
        from requests import ConnectionError as RequestsConnectionError
        from urllib3.exceptions import MaxRetryError

        if isinstance(error, RequestsConnectionError) and error.args and isinstance(error.args[0], MaxRetryError):
            return ProviderError(f"{what}: {self.name} cannot be reached ({error}). Check the network and its proxy.")
        return BadAnswerError(f"{what}: {self.name}'s answer broke off ({str(error)[:120]}). Try later.")

    def _session(self) -> Any:
        """One session a thread: requests does not promise that one may be shared."""
        import requests

        if not hasattr(self._held, "session"):
            self._held.session = requests.Session()
            self._held.session.headers.update(self._headers)
        return self._held.session


def _pause(told: str | None) -> float:
    """Seconds that Retry-After asks for; 0 where it is missing or a date."""
    try:
        seconds = float(told or "")
    except ValueError:
        return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
