"""Bars as a live feed gives them, and the market of one step that the kernel takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from resources.errors import BarSchemaError
from resources.exchange.layout import EXTRA, ROW, Market, market_of
from resources.exchange.orders import micros
from resources.exchange.words import FIRST, LAST


@dataclass(frozen=True, slots=True)
class Bar:
    """A raw bar, with the split (new shares per old), dividend (cash a share) and funding that take effect at its open.

    A halted, stale or missing bar has volume 0 and fills nothing (rule 11). `first` and `last` say whether it is the
    first or last bar of its session. `bid` and `ask` are the last quote, known as the bar ends. `ends` is when it does:
    without it, whatever is submitted from the bar's open on is sized with its close.
    """

    open: float
    high: float
    low: float
    close: float
    volume: float
    split: float = 1.0
    dividend: float = 0.0
    first: bool = True
    last: bool = True
    bid: float | None = None
    ask: float | None = None
    funding: float = 0.0
    ends: datetime | None = None


def market_at(ts: datetime, numbers: list[int], bars: list[Bar]) -> Market:
    """One step's bars as the kernel takes them."""
    rows, extras = np.zeros(len(bars), ROW), np.zeros(len(bars), EXTRA)
    for place, (row, number, bar) in enumerate(zip(rows, numbers, bars, strict=True)):
        for name in ("open", "high", "low", "close", "volume"):
            row[name] = getattr(bar, name)
        half = (bar.ask - bar.bid) / 2.0 if bar.bid is not None and bar.ask is not None else np.nan
        extras[place] = (bar.split, bar.dividend, bar.funding, half, np.inf)
        row["extra"] = place
        row["until"] = micros(ts if bar.ends is None else bar.ends)
        row["symbol"], row["flags"] = number, FIRST * bar.first | LAST * bar.last
    return market_of(rows, extras, np.array([micros(ts)]), np.array([0, len(bars)]), np.array([True]))


def check_bar(symbol: str, ts: datetime, bar: Bar) -> None:
    """Raise BarSchemaError, naming symbol and instant, on what cannot be a bar."""
    prices = (bar.open, bar.high, bar.low, bar.close)
    possible = (
        all(0.0 < price < np.inf for price in prices)
        and bar.low <= min(prices)
        and bar.high >= max(prices)
        and 0.0 <= bar.volume < np.inf
        and 0.0 < bar.split < np.inf
        and np.isfinite(bar.dividend)
        and np.isfinite(bar.funding)
        and (bar.bid is None or bar.ask is None or 0.0 < bar.bid <= bar.ask < np.inf)
        and (bar.ends is None or (bar.ends.tzinfo is not None and bar.ends >= ts))
    )
    if not possible:
        raise BarSchemaError(
            f"{symbol} {ts}: {bar} is not a bar; prices and split must be positive, high and low bound the others, "
            "volume be zero or more. Fix the feed, or leave the symbol out."
        )
