"""Made-up records of every kind, so that the graph has some without a key: seeded, the same on every machine.

Nothing in them is about the companies whose symbols they bear. Each row says so by its source, "synthetic", and each
text by its first word. As real ones do, records come late, are corrected and are withdrawn; all versions are given.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import polars as pl

from resources.alternative.base import KINDS, Kind, versions
from resources.alternative.entities import ENTITY_SCHEMA
from resources.calendars import UTC_MICROS
from resources.market_data.base import Clock, utc_now

SOURCE = "synthetic"

GOOD = (
    "gains on strong demand",
    "reports an improved outlook and better margins",
    "wins a profitable contract, an exceptional achievement",
    "delivers its highest efficiency and is optimistic",
)
BAD = (
    "warns of losses after a recall",
    "faces litigation over alleged fraud",
    "cuts its outlook amid a severe decline",
    "reports a shortfall, delays and closures",
)
PLAIN = ("holds its annual meeting", "names a new director", "moves its offices", "presents at a conference")

Row = dict[str, Any]
Make = Callable[[Random, str, int], list[Row]]


class Synthetic:
    """Source of made-up records of all kinds, as far as they are known by now. `seed` says which.

    >>> from datetime import UTC, datetime
    >>> year = datetime(2012, 1, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC)
    >>> Synthetic().esg(["IBM"], *year).select("source", "symbol").collect().unique().rows()
    [('synthetic', 'IBM')]
    """

    name = SOURCE
    kinds: tuple[Kind, ...] = KINDS
    begins: datetime | None = None

    def __init__(self, seed: int = 7, *, clock: Clock = utc_now) -> None:
        self._seed, self._clock = seed, clock

    def names(self, symbols: Sequence[str]) -> pl.DataFrame:
        """The names by which the made-up texts call the symbols."""
        return pl.DataFrame(
            {"name": [company(symbol) for symbol in symbols], "symbol": symbols, "kind": "legal"},
            schema_overrides={"symbol": pl.String},
        ).select(
            *("name", "symbol", "kind"),
            *(pl.lit(None, dtype).alias(name) for name, dtype in list(ENTITY_SCHEMA.items())[3:]),
        )

    def news(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        return self._made("news", _news, symbols, start, end)

    def social(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        return self._made("social", _social, symbols, start, end)

    def fundamentals(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        return self._made("fundamentals", _fundamentals, symbols, start, end)

    def insider(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        return self._made("insider", _insider, symbols, start, end)

    def esg(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        return self._made("esg", _esg, symbols, start, end)

    def activity(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        return self._made("activity", _activity, symbols, start, end)

    def _made(self, kind: Kind, make: Make, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        now = self._clock()
        rows = [
            row
            for symbol in dict.fromkeys(symbols)
            for year in range(start.year, end.year + 1)
            for row in make(Random(f"{self._seed} {kind} {symbol} {year}"), symbol, year)
            if start <= row["ts"] < end and row["known_at"] <= now
        ]
        stamps = dict.fromkeys(("ts", "known_at", "fetched_at"), UTC_MICROS)
        frame = pl.DataFrame(rows, schema_overrides=stamps, infer_schema_length=None)
        if not rows:
            frame = pl.DataFrame(schema={"record_id": pl.String, "ts": UTC_MICROS})
        return versions(kind, frame, SOURCE, end).lazy()


def company(symbol: str) -> str:
    """What the made-up texts call the company behind a symbol."""
    return f"Synthetic {symbol} Incorporated"


def _at(random: Random, year: int) -> datetime:
    minutes = (366 if calendar.isleap(year) else 365) * 24 * 60
    return datetime(year, 1, 1, tzinfo=UTC) + timedelta(minutes=random.randrange(minutes))


def _told(row: Row, known_at: datetime, **changed: Any) -> Row:
    """A version of a record; it was fetched as soon as it was known."""
    return {**row, "known_at": known_at, "fetched_at": known_at, **changed}


def _mood(random: Random, month: int, phase: float) -> tuple[str, ...]:
    """Words of a text: moods last for some months."""
    leaning = 0.5 + 0.3 * math.sin(month * math.pi / 4 + phase)
    drawn = random.random()
    return PLAIN if drawn < 0.25 else GOOD if random.random() < leaning else BAD


def _news(random: Random, symbol: str, year: int) -> list[Row]:
    rows, phase = [], random.uniform(0, 2 * math.pi)
    for number in range(random.randint(160, 220)):
        ts = _at(random, year)
        name, words = company(symbol), random.choice(_mood(random, ts.month, phase))
        late = random.random() < 0.15
        known = ts + (timedelta(hours=random.randint(2, 72)) if late else timedelta(seconds=random.randint(1, 120)))
        row: Row = {
            "record_id": f"{symbol}-{year}-{number}", "ts": ts, "headline": f"{name} {words}", "summary": "",
            "author": "synthetic", "url": None, "symbols_told": [] if random.random() < 0.1 else [symbol],
        }  # fmt: skip
        rows.append(_told(row, known))
        fate = random.random()
        later = known + timedelta(hours=random.randint(1, 120))
        if fate < 0.10:
            corrected = f"{name} {random.choice(_mood(random, ts.month, phase))} (corrected)"
            rows.append(_told(row, later, headline=corrected, state="corrected"))
        elif fate < 0.13:
            rows.append(_told(row, later, state="withdrawn"))
    return rows


def _social(random: Random, symbol: str, year: int) -> list[Row]:
    rows, phase = [], random.uniform(0, 2 * math.pi)
    for number in range(random.randint(100, 200)):
        ts = _at(random, year)
        words = random.choice(_mood(random, ts.month, phase))
        row: Row = {
            "record_id": f"{symbol}-{year}-{number}", "ts": ts, "text": f"synthetic: ${symbol} {words}",
            "author": f"synthetic{random.randrange(50)}", "url": None, "followers": random.randrange(5000),
            "likes": random.randrange(100), "symbols_told": [symbol],
        }  # fmt: skip
        known = ts + timedelta(seconds=random.randint(0, 5))
        rows.append(_told(row, known))
        if random.random() < 0.02:
            rows.append(_told(row, known + timedelta(hours=random.randint(1, 48)), state="withdrawn"))
    return rows


def _fundamentals(random: Random, symbol: str, year: int) -> list[Row]:
    rows = []
    size, growth = Random(f"size {symbol}").uniform(1e9, 2e10), Random(f"growth {symbol}").uniform(0.0, 0.03)
    for quarter in range(1, 5):
        first = date(year, 3 * quarter - 2, 1)
        last = date(year, 3 * quarter, calendar.monthrange(year, 3 * quarter)[1])
        filed = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(
            days=random.randint(25, 44), hours=21, minutes=random.randrange(60)
        )
        revenue = size * (1 + growth) ** ((year - 2000) * 4 + quarter) * random.uniform(0.9, 1.1)
        told = {
            "Revenues": ("USD", revenue),
            "NetIncomeLoss": ("USD", revenue * random.uniform(-0.02, 0.2)),
            "StockholdersEquity": ("USD", revenue * random.uniform(1.5, 2.5)),
            "CommonStockSharesOutstanding": ("shares", size / 20),
        }
        for concept, (unit, value) in told.items():
            balance = concept in ("StockholdersEquity", "CommonStockSharesOutstanding")
            row: Row = {
                "record_id": f"{symbol}-{year}Q{quarter}-{concept}", "symbol": symbol,
                "ts": datetime(last.year, last.month, last.day, tzinfo=UTC), "concept": concept, "unit": unit,
                "value": round(value), "period_start": None if balance else first, "period_end": last,
                "fiscal_year": year, "fiscal_period": f"Q{quarter}", "form": "10-Q",
                "accession": f"synthetic-{symbol}-{year}-{quarter}",
            }  # fmt: skip
            rows.append(_told(row, filed))
            if random.random() < 0.05:
                restated = {"value": round(value * random.uniform(0.9, 1.0)), "form": "10-Q/A", "state": "corrected"}
                rows.append(_told(row, filed + timedelta(days=random.randint(20, 90)), **restated))
    return rows


def _insider(random: Random, symbol: str, year: int) -> list[Row]:
    rows = []
    for number in range(random.randint(3, 12)):
        ts = _at(random, year).replace(hour=0, minute=0)
        known = ts + timedelta(days=random.randint(1, 2), hours=random.randint(20, 23))
        bought = random.random() < 0.3
        row: Row = {
            "record_id": f"{symbol}-{year}-{number}", "symbol": symbol, "ts": ts,
            "insider": f"synthetic insider {random.randrange(9)}", "role": random.choice(("director", "officer")),
            "security": "common stock",
            "derivative": False, "transaction_code": "P" if bought else "S",
            "shares": float(random.randint(1, 200) * 100), "price": None,
            "owned_after": float(random.randint(200, 2000) * 100),
            "acquired_disposed": "A" if bought else "D", "accession": f"synthetic-{symbol}-{year}-{number}",
            "filed": known.date(),
        }  # fmt: skip
        rows.append(_told(row, known))
    return rows


def _esg(random: Random, symbol: str, year: int) -> list[Row]:
    middle, rows = Random(f"esg {symbol}").uniform(30, 70), []
    for month in range(1, 13):
        parts = [min(100.0, max(0.0, middle + random.gauss(0, 6))) for _ in range(3)]
        row: Row = {
            "record_id": f"{symbol}-{year}-{month:02d}", "symbol": symbol, "ts": datetime(year, month, 1, tzinfo=UTC),
            "total": round(sum(parts) / 3, 2), "environment": round(parts[0], 2), "social": round(parts[1], 2),
            "governance": round(parts[2], 2), "controversy": float(random.randint(0, 5)),
            "percentile": round(random.uniform(0, 100), 1), "peer_group": "synthetic",
        }  # fmt: skip
        rows.append(_told(row, datetime(year, month, 1, 9, tzinfo=UTC)))
    return rows


def _activity(random: Random, symbol: str, year: int) -> list[Row]:
    level, rows = Random(f"activity {symbol}").uniform(20, 60), []
    for month in range(1, 13):
        ts = datetime(year, month, random.randint(1, 28), random.randrange(24), tzinfo=UTC)
        item = f"synthetic-{symbol}-{year}-{month:02d}"
        row: Row = {
            "record_id": f"{item}-night_lights", "symbol": symbol, "ts": ts, "area": f"synthetic site of {symbol}",
            "index": "night_lights", "value": round(level * (1 + 0.1 * math.sin(month / 2)) + random.gauss(0, 2), 3),
            "cloud_cover": round(random.uniform(0, 60), 1), "item_id": item, "collection": "synthetic",
        }  # fmt: skip
        rows.append(_told(row, ts + timedelta(hours=random.randint(6, 72))))
    return rows
