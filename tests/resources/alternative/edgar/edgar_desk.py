"""What the tests of EDGAR share: a company, a venue over it, and a source that does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

from resources.alternative.edgar import Edgar
from resources.market_data.pacing import TokenBucket
from tests.venues.edgar import Company, Deal, EdgarVenue, Fact, ownership
from tests.venues.market import Market, instant

WHO = "Tester tester@example.com"
NOW = instant(2024, 9, 1)
START, END = instant(2023, 1, 1), instant(2024, 9, 1)
APPLE = 320193


def a_company(clock: Any, cik: int = APPLE, name: str = "Apple Inc.", tickers: tuple[str, ...] = ("AAPL",)) -> Company:
    """Two quarters, the second of which restates the first, and evenings enough to tell the company's clock."""
    company = Company(cik, name, tickers, clock)
    first, second = date(2024, 3, 30), date(2024, 6, 29)
    assets = "us-gaap:Assets"
    company.file("10-Q", instant(2024, 5, 2, 20, 31, 7), report=first, facts=[Fact(assets, 337.4e9, first)])
    company.file("8-K", instant(2024, 5, 3, 11, 0, 9), report=date(2024, 5, 2))  # 7:00 in New York
    company.file("8-K", instant(2024, 6, 10, 22, 5), report=date(2024, 6, 10))  # 18:05: dated the day after
    company.file(
        "10-Q", instant(2024, 8, 1, 22, 3, 35), report=second,
        facts=[Fact(assets, 331.6e9, second), Fact(assets, 337.0e9, first)],
    )  # fmt: skip
    return company


def deals(company: Company, accepted: datetime, *rows: Deal, **options: Any) -> Any:
    """File a form 4 of these rows, as EDGAR lists it: by the page for people that is made of its XML."""
    content = ownership(company.cik, rows, **options)
    return company.file(
        options.get("form", "4"), accepted, report=min(each.day for each in rows), content=content,
        document="xslF345X05/wk-form4_1714775400.xml",
    )  # fmt: skip


class Desk:
    def __init__(self, *companies: Company, **options: Any) -> None:
        self.market = Market()
        self.market.clock.truth = NOW
        self.venue = EdgarVenue(self.market, *companies, **options)
        self.pauses: list[float] = []

    def edgar(self, **options: Any) -> Edgar:
        settings: dict[str, Any] = {
            "user_agent": WHO, "data_url": self.venue.address, "files_url": self.venue.address, "timeout_seconds": 5.0,
            "clock": self.market.clock.now, "sleep": self.pauses.append, "chance": lambda: 1.0,
            "bucket": TokenBucket(1e3, 1e3, clock=lambda: 0.0, sleep=lambda _: None), **options,
        }  # fmt: skip
        return Edgar(**settings)


@contextmanager
def desk(*companies: Company, **options: Any) -> Iterator[Desk]:
    made = Desk(*companies, **options)
    with made.venue:
        yield made
