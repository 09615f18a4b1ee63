"""A recorded market as a stream: what happened then happens again, by a clock that may run faster.

A tape holds each row once, and rows that are alike in one instant are several trades or quotes: where they have no
number or id of their own, each gets its place within its instant as `sequence`, in the stream as in the history
(`Numbered`), so that a repair neither doubles nor loses one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

import numpy as np
import polars as pl

from resources.errors import ConfigError
from resources.market_data.base import Partial, Provider
from resources.streams.base import Kind, Line, MarketEvent, Sequencing, StreamEndedError
from resources.streams.clock import SECOND, Clock
from resources.streams.repair import quotes_of, trades_of, venue_number

MOST = 10_000
"""At most so many rows of a kind come in one message."""


class Recorded:
    """Source of trades and quotes in TRADE_SCHEMA and QUOTE_SCHEMA (a provider's, or the lake's), of any symbols.

    Each row comes when `clock` has reached its time; what is due together comes as one message. The first connection
    begins with the first row; what is due while there is none has been missed, as with a venue. `over` is set when
    the last row was given.

    Raises ConfigError where there are neither trades nor quotes.

    Example: `clock = FastClock(start, speed=60)`, then `Gateway(Recorded(clock, trades=rows), clock=clock)`; what is
    missed of them is to be had by `provider=Numbered(provider)` of whoever gave the rows.
    """

    name = "recorded"
    sequences: Mapping[Kind, Sequencing] = {}

    def __init__(self, clock: Clock, *, trades: pl.LazyFrame | None = None, quotes: pl.LazyFrame | None = None) -> None:
        if trades is None and quotes is None:
            raise ConfigError("recorded: there is nothing to play; give trades, quotes or both")
        self.over = asyncio.Event()
        self._clock = clock
        given: dict[Kind, pl.LazyFrame | None] = {"trade": trades, "quote": quotes}
        self._tapes = [_Tape(kind, rows) for kind, rows in given.items() if rows is not None]
        self._lines: set[Line] = set()
        self._connected = False

    async def connect(self, lines: Collection[Line]) -> None:
        self._lines, self._connected = set(lines), True
        for tape in self._tapes:
            tape.at = 0 if tape.at is None else tape.place(self._clock.now())

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None:
        self._lines = (self._lines | set(add)) - set(remove)

    async def receive(self) -> Sequence[MarketEvent]:
        while self._connected:
            due = min((tape.due() for tape in self._tapes), default=None, key=lambda due: (due is None, due))
            if due is None:
                self.over.set()
                await asyncio.get_running_loop().create_future()  # nothing comes any more
                continue
            if due > self._clock.now():
                await self._clock.wait((due - self._clock.now()) / SECOND)
                continue
            now = self._clock.now()
            events = [event for tape in self._tapes for event in tape.take(now, self._lines)]
            if events:
                return events
        raise StreamEndedError("recorded: there is no connection")

    async def close(self) -> None:
        self._connected = False


class _Tape:
    """The rows of a kind in order of time, and the place of the next."""

    def __init__(self, kind: Kind, rows: pl.LazyFrame) -> None:
        self.kind: Kind = kind
        self.rows = numbered(kind, rows).sort("ts", maintain_order=True).collect()
        self.stamps = self.rows["ts"].to_physical().to_numpy()
        self.at: int | None = None
        self._made: list[MarketEvent] = []  # events of the rows from `_made_from` on
        self._made_from = 0

    def place(self, now: int) -> int:
        """The number of the first row that is later than `now`."""
        return int(np.searchsorted(self.stamps, now, side="right"))

    def due(self) -> int | None:
        """The time of the next row, None after the last."""
        return None if self.at is None or self.at >= len(self.stamps) else int(self.stamps[self.at])

    def take(self, now: int, lines: Collection[Line]) -> list[MarketEvent]:
        """The rows up to `now`, of those lines, as events of the stream."""
        begin = self.at or 0
        self.at = min(self.place(now), begin + MOST)
        symbols = {line.symbol for line in lines if line.kind == self.kind}
        made = self._events(begin, self.at)
        return [event._replace(received=now, repaired=False) for event in made if event[0] in symbols]

    def _events(self, begin: int, end: int) -> list[MarketEvent]:
        """The events of these rows, made many at once: a frame of each message would cost more than all the rest."""
        if begin < self._made_from or end > self._made_from + len(self._made):
            rows = self.rows[begin : begin + MOST].lazy()
            self._made, self._made_from = trades_of(rows) if self.kind == "trade" else quotes_of(rows), begin
        return self._made[begin - self._made_from : end - self._made_from]


class Numbered(Partial):
    """A provider whose trades and quotes have the numbers that `Recorded` gives them: for what is missed of a tape."""

    offers = "trades and quotes"

    def __init__(self, provider: Provider) -> None:
        self.name, self._provider = provider.name, provider

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """As the provider's; column sequence is added."""
        return numbered("trade", self._provider.trades(symbols, start, end))

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """As `trades`."""
        return numbered("quote", self._provider.quotes(symbols, start, end))

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        raise self.not_offered("bars")

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        raise self.not_offered("splits and dividends")

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        raise self.not_offered("instruments")


def numbered(kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with a `sequence`: the one that they have, a trade's id where that is a number, and of rows without an
    id their place, from 0 on, among those of their symbol and instant. So `rows` hold all of an instant, or nothing."""
    if "sequence" in rows.collect_schema():
        return rows
    place = pl.int_range(pl.len(), dtype=pl.Int64).over("symbol", "ts")
    if kind == "quote":
        return rows.with_columns(sequence=place)
    nameless = pl.col("trade_id").fill_null("") == ""
    return rows.with_columns(sequence=pl.when(nameless).then(place).otherwise(venue_number()))
