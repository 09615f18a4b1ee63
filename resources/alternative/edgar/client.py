"""The connection to EDGAR: the SEC's rules of access (who asks, at most 10 requests a second), its paths and refusals.

https://www.sec.gov/os/accessing-edgar-data asks for a User-Agent that names who asks, with an e-mail address, and for
no more than 10 requests a second; whoever exceeds it is refused for about ten minutes.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from resources.alternative.web import Web
from resources.errors import AccessDeniedError, MissingSecretError, ProviderError, RateLimitedError
from resources.market_data.pacing import TokenBucket

T = TypeVar("T")

DATA, FILES = "https://data.sec.gov", "https://www.sec.gov"
REQUESTS_PER_SECOND = 8.0
AT_ONCE = 2.0
"""Eight a second and two at once are never more than ten within any second."""
BANNED_SECONDS = 600.0
"""How long the SEC refuses whoever went over its limit."""


class Client(Web):
    """EDGAR's documents by what they are. `data_url` and `files_url` are for tests.

    Every method raises as `Web.read` does; AccessDeniedError where the SEC does not accept the User-Agent.
    """

    def __init__(
        self,
        user_agent: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        data_url: str = DATA,
        files_url: str = FILES,
        bucket: TokenBucket | None = None,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(
            "EDGAR",
            bucket or TokenBucket(REQUESTS_PER_SECOND, AT_ONCE, sleep=sleep),
            timeout_seconds=timeout_seconds,
            headers={"User-Agent": _who(user_agent), "Accept-Encoding": "gzip, deflate"},
            sleep=sleep,
            chance=chance,
        )
        self._data, self._files = data_url, files_url

    def tickers(self, read: Callable[[Any], T]) -> T:
        """Today's ticker, name and CIK of every company that has a ticker."""
        return self.read("company_tickers.json", f"{self._files}/files/company_tickers.json", _json(read))

    def submissions(self, cik: int, read: Callable[[Any], T]) -> T:
        """A company's names and its latest filings (at least a year, or a thousand)."""
        return self.page(cik, f"CIK{cik:010d}.json", read)

    def page(self, cik: int, name: str, read: Callable[[Any], T]) -> T:
        """A page of a company's filings by its name: older ones, that `submissions` lists."""
        return self.read(f"CIK {cik}: {name}", f"{self._data}/submissions/{name}", _json(read))

    def facts(self, cik: int, read: Callable[[Any], T]) -> T:
        """All facts that a company has reported in XBRL. Raises NoDataError for one that has reported none."""
        url = f"{self._data}/api/xbrl/companyfacts/CIK{cik:010d}.json"
        return self.read(f"CIK {cik}: companyfacts", url, _json(read))

    def document(self, cik: int, accession: str, name: str, read: Callable[[bytes], T]) -> T:
        """A filing's document by its name."""
        folder = f"{self._files}/Archives/edgar/data/{cik}/{accession.replace('-', '')}"
        return self.read(f"{accession} {name}", f"{folder}/{name}", read)

    def refusal(self, what: str, status: int, text: str, retry_after: float) -> ProviderError:
        """The SEC tells both too many requests and an unknown asker by 403 and a page of HTML."""
        if status in (403, 429) and "threshold" in text.lower():
            wait = retry_after or BANNED_SECONDS
            return RateLimitedError(
                f"{what}: EDGAR refuses more requests ({status}) for {wait:g} s. It allows 10 a second to all programs "
                "of an address together: run fewer at once.",
                wait,
            )
        if status == 403:
            return AccessDeniedError(
                f"{what}: EDGAR refused (403). It wants SEC_USER_AGENT in the environment to name who asks: "
                "Name name@example.com."
            )
        return super().refusal(what, status, text, retry_after)


def _who(told: str | None) -> str:
    who = (told if told is not None else os.environ.get("SEC_USER_AGENT", "")).strip()
    if "@" not in who or not who.isascii() or not who.isprintable():
        raise MissingSecretError(
            f"edgar: SEC_USER_AGENT is {who!r}; the SEC demands a name and an e-mail address of whoever asks. "
            "Set it in the environment: SEC_USER_AGENT='Name name@example.com'. No key is needed."
        )
    return who


def _json(read: Callable[[Any], T]) -> Callable[[bytes], T]:
    return lambda content: read(json.loads(content))
