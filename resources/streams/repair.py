"""What a stream missed, asked for over REST: rows of a provider as events, and which gaps are asked for together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from resources.errors import AccessDeniedError, NoDataError, NotOfferedError, QuantError, UnknownSymbolError
from resources.market_data.base import Provider
from resources.streams.base import Bar, Event, Kind, Line, Lost, MarketEvent, Quote, Repaired, Status, Trade
from resources.streams.clock import SECOND, Clock
from resources.streams.track import NEVER, Gap

HOPELESS = (AccessDeniedError, NotOfferedError, UnknownSymbolError)
"""Errors that another try does not mend."""

SYMBOLS = 100
"""At most so many symbols in one request."""

STRETCH = 600 * SECOND
"""A request is for the rows of so long at first; doubled while few came, halved where many did."""

FEW, MANY = 50_000, 500_000
"""So many rows are few, or many, for one request."""

CHUNK = 2_000
"""So many rows are looked at, and handed on, at once: what is live gets its turn in between."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(ts: int) -> datetime:
    """UTC microseconds as an aware datetime."""
    return EPOCH + timedelta(microseconds=ts)


def together(mends: Sequence[Mend]) -> list[list[Mend]]:
    """In groups of one kind whose intervals overlap, so that one request serves many symbols."""
    groups: list[list[Mend]] = []
    until = 0
    for mend in sorted(mends, key=lambda mend: (mend.gap.line.kind, mend.gap.since)):
        gap, last = mend.gap, groups[-1] if groups else []
        if last and last[0].gap.line.kind == gap.line.kind and gap.since <= until and len(last) < SYMBOLS:
            last.append(mend)
            until = max(until, gap.closed())
        else:
            groups.append([mend])
            until = gap.closed()
    return groups


@dataclass(eq=False, slots=True)
class Mend:
    """A gap, and who lacks what is in it.

    lacks: whether a row is missing there; asked once a row, which then counts as delivered. tell: hands events on.
    done: the gap is over. asked: what is before it was asked for, and came.
    """

    gap: Gap
    lacks: Callable[[MarketEvent], bool]
    tell: Callable[[Sequence[Event]], Awaitable[None]]
    done: Callable[[], None]
    asked: int = 0


class Repairer:
    """Asks a provider for what the stream missed; without one every gap is given up, which is told.

    delay_seconds: how long after it happened the provider surely has an event (960 for Alpaca's sip on the free plan).
    pauses: seconds before each further try where an answer failed or was not complete; then a gap is given up.
    """

    def __init__(
        self,
        provider: Provider | None,
        *,
        delay_seconds: float = 2.0,
        pauses: Sequence[float] = (2, 10, 30, 120, 600),
    ) -> None:
        self._provider, self._pauses = provider, tuple(pauses)
        self._delay = int(delay_seconds * SECOND)
        self.open: list[Mend] = []

    def add(self, mend: Mend) -> None:
        """To be repaired as soon as the provider can have it all."""
        mend.gap.due = self._due(mend.gap)
        self.open.append(mend)

    def hold(self, until: int) -> None:
        """What is not to be asked for before a connection is there (`Gap.after`) is so from then on; NEVER: not yet."""
        for mend in self.open:
            if mend.gap.after and not (mend.gap.attempts or mend.asked):
                mend.gap.after = until
                mend.gap.due = self._due(mend.gap)

    async def give_up(self, why: str, lines: Collection[Line] | None = None) -> None:
        """The gaps of these lines (None: all) are not repaired any more."""
        for mend in [mend for mend in self.open if lines is None or mend.gap.line in lines]:
            await self._over(mend, why)

    def due(self) -> int | None:
        """When the next try is due."""
        return min((mend.gap.due for mend in self.open if mend.gap.due < NEVER), default=None)

    async def mend(self, clock: Clock) -> None:
        """Try all that is due by now."""
        now = clock.now()
        for mend in self.open:  # a gap may have grown since it was found
            mend.gap.due = max(mend.gap.due, self._due(mend.gap))
        for group in together([mend for mend in self.open if mend.gap.due <= now]):
            await self._try(group, clock)

    async def _try(self, group: list[Mend], clock: Clock) -> None:
        """Ask for all that these lack, a stretch of time after the other, so that a long gap of many symbols is never
        in memory as a whole; one that fails goes on there the next time."""
        kind = group[0].gap.line.kind
        symbols = sorted({mend.gap.line.symbol for mend in group})
        since, until = min(max(mend.gap.since, mend.asked) for mend in group), max(mend.gap.closed() for mend in group)
        stretch = STRETCH if kind != "bar" else until - since + 1  # of bars there are few
        while since <= until:
            end = min(until, since + stretch - 1)
            try:
                rows = await asyncio.to_thread(self._by_symbol, kind, symbols, since, end)
            except NoDataError:
                rows = {}
            except QuantError as error:
                if len(group) > 1 and isinstance(error, HOPELESS):  # it may be one of them alone
                    for mend in group:
                        await self._try([mend], clock)
                    return
                for mend in group:
                    await self._end(mend, clock, str(error), asked=until, again=not isinstance(error, HOPELESS))
                return
            for mend in group:
                if mend in self.open:  # not unsubscribed meanwhile
                    await self._deliver(mend, rows.get(mend.gap.line.symbol, ()), clock)
                    mend.asked = max(mend.asked, end + 1)
            count, since = sum(map(len, rows.values())), end + 1
            stretch = 2 * stretch if count < FEW else stretch // 2 if count > MANY else stretch
        for mend in group:
            if mend in self.open:
                await self._end(mend, clock, "", asked=until, again=True)

    async def _deliver(self, mend: Mend, rows: Sequence[MarketEvent], clock: Clock) -> None:
        for at in range(0, len(rows), CHUNK):
            now = clock.now()
            new = [row for row in rows[at : at + CHUNK] if row[1] >= mend.asked and mend.lacks(row)]
            await mend.tell([row._replace(received=now) for row in new])

    async def _end(self, mend: Mend, clock: Clock, error: str, *, asked: int, again: bool) -> None:
        """The gap is over, unless another try may bring more. asked: up to which time its rows were asked for."""
        gap, left = mend.gap, mend.gap.left()
        all_of_it = gap.delivered + (left or 0)
        if not error:
            mend.asked = 0  # another try looks at all of it again
        if again and gap.closed() > asked:  # it has grown meanwhile
            gap.due = self._due(gap)
            return
        if left and not error and gap.before > gap.closed():  # the venue's clock is further ahead than was thought
            gap.until = gap.before
            row = (gap.line.symbol, gap.since, gap.line.kind, gap.until, gap.events, gap.reason)
            await mend.tell([Lost._make(row)])
            gap.due = self._due(gap)
            return
        if error or left:
            if again and gap.attempts < len(self._pauses):
                pause = self._pauses[gap.attempts]
                gap.due = clock.now() + int(pause * SECOND)
                gap.attempts += 1
                why = f"tried again in {pause:g} s: {error or f'{left} of {all_of_it} are missing'}"
                await mend.tell([Status(gap.line.symbol, clock.now(), "repairing", why, gap.line.kind)])
                return
            error = error or f"{left} of {all_of_it} are not to be had over REST"
        await self._over(mend, error)

    async def _over(self, mend: Mend, error: str) -> None:
        if mend in self.open:
            self.open.remove(mend)
            mend.done()
            gap = mend.gap
            row = (gap.line.symbol, gap.since, gap.line.kind, gap.closed(), gap.delivered, gap.left(), error)
            await mend.tell([Repaired._make(row)])

    def _due(self, gap: Gap) -> int:
        return max(gap.closed(), gap.after) + self._delay

    def _by_symbol(
        self, kind: Kind, symbols: Sequence[str], since: int, until: int
    ) -> dict[str, Sequence[MarketEvent]]:
        rows = sorted(self.rows(kind, symbols, since, until), key=lambda row: row.symbol)
        return {symbol: list(each) for symbol, each in itertools.groupby(rows, key=lambda row: row.symbol)}

    def rows(self, kind: Kind, symbols: Sequence[str], since: int, until: int) -> list[MarketEvent]:
        """The provider's rows from `since` to `until`, both included, as events marked repaired."""
        if self._provider is None:
            raise NotOfferedError("there is no provider to ask for what the stream missed; give the gateway one")
        start, end = instant(since), instant(until + 1)
        if kind == "trade":
            return trades_of(self._provider.trades(symbols, start, end))
        if kind == "quote":
            return quotes_of(self._provider.quotes(symbols, start, end))
        bars = self._provider.bars(symbols, start.date(), instant(until).date(), "1m")
        return bars_of(bars.filter(pl.col("ts").is_between(start, instant(until))))


def trades_of(frame: pl.LazyFrame) -> list[MarketEvent]:
    """A provider's trades as events marked repaired; their numbers are in `sequence`, or else their ids."""
    number = pl.col("sequence") if "sequence" in frame.collect_schema() else venue_number()
    rows = frame.select(
        "symbol",
        pl.col("ts").to_physical(),
        "price",
        "size",
        pl.col("side", "trade_id").fill_null(""),
        sequence=number,
    )
    return [Trade._make((*row, "", 0, True)) for row in rows.collect().iter_rows()]


def venue_number() -> pl.Expr:
    """A trade's id as its number; 0 where it is none."""
    return pl.col("trade_id").cast(pl.Int64, strict=False).fill_null(0)


def quotes_of(frame: pl.LazyFrame) -> list[MarketEvent]:
    """A provider's quotes as events marked repaired; their numbers are in `sequence`, where it gives any."""
    number = pl.col("sequence") if "sequence" in frame.collect_schema() else pl.lit(0)
    rows = frame.select("symbol", pl.col("ts").to_physical(), "bid", "bid_size", "ask", "ask_size", sequence=number)
    return [Quote._make((*row, 0, True)) for row in rows.collect().iter_rows()]


def bars_of(frame: pl.LazyFrame) -> list[MarketEvent]:
    """A provider's bars of a minute as events marked repaired."""
    rows = frame.select("symbol", pl.col("ts").to_physical(), "open", "high", "low", "close", "volume")
    return [Bar._make((*row, "1m", 0, 0, True, 0, True)) for row in rows.collect().iter_rows()]
