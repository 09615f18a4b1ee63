"""The connection to Binance: python-binance's client with a pace, retries, and errors that say what happened.

python-binance sends a request and hands out the answer; it neither waits nor asks again. Binance counts weights by
address, 6000 a minute of spot and 2400 of futures. Nine tenths of that are used here, and nothing is sent for ten
seconds where Binance's own count (X-MBX-USED-WEIGHT-1M) says that others have used up the rest. A 429 or 418 stops
every thread for as long as its Retry-After says. All requests are reads, so what may pass (refusals, time-outs,
broken answers) is asked again; an answer is read and checked within its try.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from resources.errors import BadAnswerError, ProviderError, ProviderTimeoutError, RateLimitedError
from resources.market_data.binance import translate
from resources.market_data.binance.translate import FUTURES, SPOT, ClockApartError
from resources.market_data.pacing import TokenBucket, retried

T = TypeVar("T")

LIMITS = {SPOT: 6000.0, FUTURES: 2400.0}
"""Weights a minute."""
PATIENCE_SECONDS = 120.0
"""A longer Retry-After is not waited for: it is a ban, and a matter for the user."""
FULL, FULL_PAUSE_SECONDS = 0.95, 10.0
"""The part of the weights at which Binance's own count makes us pause, and for how long at a time."""


class Call(NamedTuple):
    """A method of python-binance's client, the bucket that it draws on, and its weight there."""

    method: str
    bucket: str
    weight: float


INFO = {SPOT: Call("get_exchange_info", SPOT, 20), FUTURES: Call("futures_exchange_info", FUTURES, 1)}
KLINES = {SPOT: Call("get_klines", SPOT, 2), FUTURES: Call("futures_klines", FUTURES, 5)}
TRADES = {SPOT: Call("get_aggregate_trades", SPOT, 4), FUTURES: Call("futures_aggregate_trades", FUTURES, 20)}
TIME = Call("get_server_time", SPOT, 1)
FUNDING = Call("futures_funding_rate", "funding", 1)


def buckets() -> dict[str, TokenBucket]:
    """The pace of one address; funding rates have 500 requests in 5 minutes to themselves."""
    return {
        SPOT: TokenBucket(per_second=0.9 * LIMITS[SPOT] / 60, burst=200),
        FUTURES: TokenBucket(per_second=0.9 * LIMITS[FUTURES] / 60, burst=100),
        "funding": TokenBucket(per_second=1.5, burst=10),
    }


class Venue:
    """The connection: one client for all threads, made at the first request, with its pace, retries and errors."""

    def __init__(
        self,
        client: Callable[..., Any] | None,
        timeout: float,
        paces: Mapping[str, TokenBucket],
        sleep: Callable[[float], None],
    ) -> None:
        self._make = client
        self._timeout = timeout
        self._paces = paces
        self._sleep = sleep
        self._client: Any = None
        self._connecting = threading.Lock()
        names = ("BINANCE_API_KEY", "BINANCE_API_SECRET")
        self._keys = [os.environ.get(name, "").strip() or None for name in names]

    def now(self) -> datetime:
        """The time by Binance's clock; rather a moment early, by the answer's way here, than late."""
        return self.ask(TIME, "time", translate.server_time)

    def ask(self, call: Call, who: str, read: Callable[[Any], T], **params: Any) -> T:
        """What `read` makes of the answer, with a bounded number of further tries where that fails in passing."""

        def once() -> T | RateLimitedError:
            try:
                return read(self._send(call, who, params))
            except RateLimitedError as error:
                if error.retry_after > PATIENCE_SECONDS:
                    return error  # past `retried`, which would wait for it
                raise

        answer = retried(once, sleep=self._sleep)
        if isinstance(answer, RateLimitedError):
            raise answer
        return answer

    def _send(self, call: Call, who: str, params: dict[str, Any]) -> Any:
        client = self._connect()

        def send() -> Any:
            self._paces[call.bucket].take(call.weight)
            return self._checked(who, call.bucket, lambda: getattr(client, call.method)(**params))

        try:
            return send()
        except ClockApartError:
            self._set_clock(client)
        return send()

    def _connect(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = self._checked("ping", SPOT, self._client_of_its_own)
            return self._client

    def _client_of_its_own(self) -> Any:
        from binance.client import Client

        key, secret = self._keys
        client = (self._make or Client)(key, secret, requests_params={"timeout": self._timeout})  # this sends a ping
        client.session.hooks["response"].append(self._watch)
        return client

    def _set_clock(self, client: Any) -> None:
        """Stamp what follows by Binance's clock."""
        self._paces[SPOT].take(TIME.weight)
        venue = translate.server_time(self._checked("time", SPOT, client.get_server_time))
        client.timestamp_offset = int(venue.timestamp() * 1000 - time.time() * 1000)

    def _watch(self, answer: Any, *_: Any, **__: Any) -> None:
        """Pause where the address has used up its weights, be it by other programs; called with every answer."""
        used = answer.headers.get("X-MBX-USED-WEIGHT-1M", "")
        market = FUTURES if "/fapi/" in answer.url else SPOT
        if used.isdigit() and int(used) >= FULL * LIMITS[market]:
            self._paces[market].drain(FULL_PAUSE_SECONDS)

    def _checked(self, who: str, bucket: str, send: Callable[[], T]) -> T:
        """The client's answer, or its failure as the error that says what it is.

        The client's own errors are not chained: they carry whole answers, in which a proxy may repeat the key.
        """
        from binance.exceptions import BinanceAPIException, BinanceRequestException

        try:
            return send()
        except BinanceAPIException as error:
            wait = error.response.headers.get("Retry-After", "")
            seconds = float(wait) if wait.replace(".", "", 1).isdigit() else 0.0
            refused = translate.refusal(who, error.status_code, error.code, self._hide(error.message), seconds)
            if isinstance(refused, RateLimitedError) and 0 < seconds <= PATIENCE_SECONDS:
                self._paces[bucket].drain(seconds)
            raise refused from None
        except BinanceRequestException as error:
            raise BadAnswerError(f"{who}: Binance sent no JSON ({self._hide(error.message)}). Try later.") from None
        except AttributeError:  # the client cannot make its error from a refusal whose JSON is not an object
            raise BadAnswerError(f"{who}: Binance sent a refusal that says nothing. Try later.") from None
        except OSError as error:
            raise self._unreached(who, error) from None

    def _unreached(self, who: str, error: OSError) -> ProviderError:
        cause = error.args[0] if error.args else error
        kinds = type(error).__name__, type(cause).__name__
        if any("Timeout" in kind for kind in kinds):
            return ProviderTimeoutError(
                f"{who}: Binance did not answer within {self._timeout:g} s. Try later, or raise "
                "provider.timeout_seconds."
            )
        if {"ChunkedEncodingError", "ContentDecodingError", "ProtocolError"} & set(kinds):
            return BadAnswerError(f"{who}: Binance's answer broke off. Try later.")
        reason = self._hide(str(getattr(cause, "reason", error)))
        return ProviderError(f"{who}: Binance cannot be reached ({reason}). Check the network and its proxy settings.")

    def _hide(self, text: object, most: int = 160) -> str:
        """The beginning of a foreign text, without the keys."""
        shown = str(text)
        for key in filter(None, self._keys):
            shown = shown.replace(key, "***")
        return shown[:most]
