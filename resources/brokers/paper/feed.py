"""A session's recorded bars as the day goes by.

A daily bar says where prices opened and closed and how far they went, not when. All that fills, fills when the
day opens, by the rules of the exchange; between open and close the prices only mark the account, along a path
made up from the bar: open, the extreme nearer to the open, the other extreme, close.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from resources.errors import BarSchemaError
from resources.exchange import Bar

STEPS = 12
"""Marks between open and close, so that equity moves while a session is replayed."""

NUMBERS = ("open", "high", "low", "close", "volume", "split", "dividend")
OPTIONAL = ("bid", "ask", "funding")
NEEDED = ("symbol", "ts", "known_at", *NUMBERS)

LOOK_SECONDS = 20.0
"""How often the feed asks for bars that are not recorded yet."""


@dataclass(frozen=True, slots=True)
class Day:
    """One session's raw bars by symbol, with its open and close (UTC)."""

    opens: datetime
    closes: datetime
    bars: dict[str, Bar]

    def time(self, step: int) -> datetime:
        """The venue's time at a step: 0 at the open, STEPS at the close."""
        return self.opens + (self.closes - self.opens) * (step / STEPS)

    def price(self, symbol: str, step: int) -> float | None:
        """What the symbol is marked at; None without a bar."""
        bar = self.bars.get(symbol)
        return None if bar is None else price_at(bar, step / STEPS)


def price_at(bar: Bar, fraction: float) -> float:
    """The made-up price at a fraction of the session: 0.0 is the open, 1.0 the close."""
    low_first = bar.open - bar.low <= bar.high - bar.open
    path = (bar.open, bar.low, bar.high, bar.close) if low_first else (bar.open, bar.high, bar.low, bar.close)
    leg = min(int(fraction * 3), 2)
    part = fraction * 3 - leg
    # Weighted this way round, both ends of a leg are met exactly.
    return path[leg] * (1.0 - part) + path[leg + 1] * part


def day_of(frame: pl.DataFrame) -> Day:
    """A session's cleaned bars (one row a symbol) as a Day.

    Raises BarSchemaError where a column is missing, or the rows are of more than one session.
    """
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise BarSchemaError(f"bars for the paper venue lack {missing}; give cleaned bars")
    if frame["ts"].n_unique() != 1 or frame["symbol"].n_unique() != frame.height:
        raise BarSchemaError(f"bars for the paper venue: {frame.height} rows; give one session, one row a symbol")
    names = [*NUMBERS, *(name for name in OPTIONAL if name in frame.columns)]
    rows = frame.select("symbol", *names).iter_rows()
    closes: datetime = frame["known_at"].max()  # type: ignore[assignment]  # polars types max loosely
    bars = {symbol: bar_of(dict(zip(names, numbers, strict=True)), closes) for symbol, *numbers in rows}
    return Day(frame["ts"][0], closes, bars)


def bar_of(numbers: Mapping[str, float | None], ends: datetime) -> Bar:
    """A session's bar; what is unknown (null) is as if it had not been given."""
    return Bar(**{name: value for name, value in numbers.items() if value is not None}, ends=ends)  # type: ignore[arg-type]


def numbers_of(bar: Bar) -> dict[str, float]:
    """A bar's numbers as JSON can hold them: the same floats come back, and `bar_of` makes the same bar."""
    held = {name: getattr(bar, name) for name in (*NUMBERS, *OPTIONAL)}
    return {name: value for name, value in held.items() if value is not None}


class Feed:
    """Recorded bars by session, played in `seconds` of wall time from open to close.

    `bars(session)` returns cleaned bars, without rows until the session is recorded: in a replay it always is,
    with a growing history the feed asks again every LOOK_SECONDS.
    """

    def __init__(
        self, bars: Callable[[date], pl.DataFrame], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bars = bars
        self._seconds = seconds
        self._clock = clock
        self._day: tuple[date, Day] | None = None
        self._looked: tuple[date, float] | None = None
        self._started: tuple[float, int] | None = None

    def day(self, session: date) -> Day | None:
        """The session's bars; None while they are not recorded."""
        if self._day is not None and self._day[0] == session:
            return self._day[1]
        if self._looked is not None and self._looked[0] == session and self._clock() - self._looked[1] < LOOK_SECONDS:
            return None
        self._looked = (session, self._clock())
        frame = self._bars(session)
        if frame.is_empty():
            return None
        day = day_of(frame)
        self._day = (session, day)
        return day

    def start(self, step: int) -> None:
        """Let the venue's clock run, from a step of the session that has been reached before."""
        self._started = (self._clock(), step)

    @property
    def running(self) -> bool:
        return self._started is not None

    def step(self) -> int:
        """The step that the venue's clock has reached."""
        if self._started is None:
            return 0
        since, first = self._started
        return min(first + int((self._clock() - since) / self._seconds * STEPS), STEPS)
