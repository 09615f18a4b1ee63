"""Bars made of trades as they come: each trade changes its bar at once, and one that comes late changes what was told.

    bars = BarMaker("1m")
    async for batch in gateway.events():
        for bar in bars.add(batch.events):
            ...

The result is that of `quant_assets.cleaned.aggregate.bars_of_trades` on the same trades: first, highest, lowest and
last price, sizes summed. The order in which repaired trades come does not matter. Who goes on after another gives the
maker what is stored (`resume`), so that it goes on with the bars of then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from resources.errors import ConfigError
from resources.market_data.timeframes import INTRADAY
from resources.streams.base import Bar, Event, Lost, Repaired, Trade
from resources.streams.clock import SECOND
from resources.streams.intervals import Interval, without
from resources.streams.track import DISCONNECTED

_FIRST, _LAST = (2**63, 0), (-1, 0)
_DAY = 86_400 * SECOND


class Made(NamedTuple):
    """A bar of the trades that are stored. carry: what rounding took away from the volume; first, last: time and number
    of the trades at its ends.

    told: how often it was told; as it was told last: `stored`, of how many trades, and whether it was `complete`.
    One that was told, and of which no trade is stored (any more), has told and stored alone.
    """

    ts: int
    open: float = 0.0
    high: float = float("-inf")
    low: float = float("inf")
    close: float = 0.0
    volume: float = 0.0
    carry: float = 0.0
    trades: int = 0
    first: tuple[int, int] = _FIRST
    last: tuple[int, int] = _LAST
    told: int = 0
    stored: int = 0
    complete: bool = True


class Before(NamedTuple):
    """What is stored of a symbol: its bars from `since` on, a multiple of the timeframe; older ones are not in memory.

    newest: of its trades, not later than it came; -1 without any. lost: what is missing of them: since, until, and
    whether it is asked for again. unfollowed: what of these bars nobody followed, as of `BarMaker.unfollowed`; fresh:
    what of that is not stored yet. ended: until when the symbol was followed before, -1 where nobody knows.
    """

    since: int
    newest: int
    bars: Sequence[Made]
    lost: Sequence[tuple[int, int, bool]]
    unfollowed: Sequence[Interval] = ()
    fresh: Sequence[Interval] = ()
    ended: int = -1


class _Missing(NamedTuple):
    """An interval of which something is missing. open: it may be repaired. whole: all of it was missed, so that it
    may grow and what repairs more repairs it as well; else some in it were, and only what is said of just it counts."""

    since: int
    until: int
    open: bool
    whole: bool


class _Bar:
    """A bar in the making. Sizes are summed with what rounding takes away kept beside (Neumaier 1974), so that the
    sum does not depend on their order. least: it is not told with fewer trades than it was told with before."""

    __slots__ = (
        "carry", "close", "complete", "first", "high", "last", "least", "low", "open", "told", "trades", "volume",
    )  # fmt: skip

    def __init__(self) -> None:
        self.first, self.last = _FIRST, _LAST
        self.open = self.close = 0.0
        self.high, self.low = float("-inf"), float("inf")
        self.volume = self.carry = 0.0
        self.trades = self.told = self.least = 0
        self.complete = True

    def take(self, made: Made) -> None:
        """Be this one, as it is stored."""
        self.open, self.high, self.low, self.close, self.volume, self.carry = made[1:7]
        self.trades, self.first, self.last, self.told, self.least, self.complete = made[7:]

    def add(self, trade: Trade) -> None:
        price, size, at = trade.price, trade.size, (trade.ts, trade.sequence)
        if at >= self.last:
            self.last, self.close = at, price
        if at < self.first:
            self.first, self.open = at, price
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        total = self.volume + size
        self.carry += (self.volume - total) + size if self.volume >= size else (size - total) + self.volume
        self.volume = total
        self.trades += 1


class _Symbol:
    """The bars of one symbol by their start, the start of the newest, and the intervals known to be missing, or that
    nobody followed."""

    __slots__ = ("bars", "changed", "kept_from", "lost", "newest", "unfollowed", "waiting")

    def __init__(self) -> None:
        self.bars: dict[int, _Bar] = {}
        self.waiting: list[int] = []  # starts of bars not told yet, of which only the last is not over
        self.changed: set[int] = set()  # starts of bars told, or over, that are to be told (again)
        self.newest = self.kept_from = -1
        self.lost: list[_Missing] = []
        self.unfollowed: list[Interval] = []


class BarMaker:
    """Finished bars of a timeframe (1m to 1h, on multiples of it in UTC) from the events of any number of symbols.

    A bar is told when a trade of its symbol comes that is past its end, or when `until` says so. It is told again, as
    its next revision, when a trade of its time comes later, and when what is known to be missing of it changes
    (`complete`). keep_seconds: how long after its end a bar can still change; `too_late` counts the trades by symbol
    that came after that. `past`: which bars (symbol, start) those belong to, for whoever has all trades to make these
    bars again; who takes them empties it.
    """

    def __init__(self, timeframe: str = "1m", *, keep_seconds: float = 7200.0) -> None:
        if timeframe not in INTRADAY or timeframe == "4h":
            raise ConfigError(f"timeframe: no bars of {timeframe!r} from a stream; use 1m, 5m, 15m, 30m or 1h")
        self.timeframe = timeframe
        self.too_late: Counter[str] = Counter()
        self.past: set[tuple[str, int]] = set()
        self._step = int(INTRADAY[timeframe].total_seconds() * SECOND)
        self._keep = int(keep_seconds * SECOND)
        self._symbols: dict[str, _Symbol] = {}

    def add(self, events: Iterable[Event]) -> list[Bar]:
        """Bars that are to be told after these, by symbol in order of their time."""
        touched: dict[str, _Symbol] = {}
        step, symbols = self._step, self._symbols
        for event in events:
            if event.__class__ is Trade:
                state = symbols.get(event.symbol)
                if state is None:
                    state = symbols[event.symbol] = _Symbol()
                start = event.ts - event.ts % step
                bar = state.bars.get(start)
                if bar is None:
                    bar = self._begin(event, state, start)
                    touched[event.symbol] = state
                    if bar is None:
                        continue
                elif bar.told:
                    state.changed.add(start)
                    touched[event.symbol] = state
                bar.add(event)
            elif isinstance(event, Lost | Repaired) and event.kind == "trade":
                touched[event.symbol] = state = symbols.setdefault(event.symbol, _Symbol())
                self._known(event.symbol, state, event)
        return [bar for symbol, state in touched.items() for bar in self._tell(symbol, state)]

    def resume(self, symbol: str, before: Before) -> list[Bar]:
        """Go on where another was, before the symbol's first event; the bars of then that are to be told."""
        state = self._symbols[symbol] = _Symbol()
        state.kept_from, state.newest = before.since, before.newest - before.newest % self._step
        state.lost = [_Missing(*one, whole=True) for one in before.lost]
        state.unfollowed = list(before.unfollowed)
        for made in before.bars:
            bar = state.bars[made.ts] = _Bar()
            bar.take(made)
            if not made.told:
                state.waiting.append(made.ts)
                continue
            if made.ts == state.newest:  # its time was over by the clock
                state.newest += self._step
            if made.trades != made.stored or made.complete == self._hit(state, made.ts):
                state.changed.add(made.ts)
        return self._tell(symbol, state)

    def unfollowed(self, symbol: str, since: int, until: int) -> list[Bar]:
        """Nobody followed the symbol from `since` to `until`, both included: bars of that time are not complete, unless
        it is told as lost later, and repaired. The bars that are to be told."""
        state = self._symbols.setdefault(symbol, _Symbol())
        state.unfollowed.append((since, until))
        self._change(state)
        return self._tell(symbol, state)

    def until(self, ts: int) -> list[Bar]:
        """It is `ts` (UTC microseconds): bars that end by then are over, whether or not another trade comes."""
        told: list[Bar] = []
        for symbol, state in self._symbols.items():
            if state.bars and state.newest + self._step <= ts:
                state.newest = ts - ts % self._step
                told += self._tell(symbol, state)
        return told

    def _begin(self, trade: Trade, state: _Symbol, start: int) -> _Bar | None:
        """A bar for the first trade of its time; None where it is too late for it."""
        if start < state.kept_from:
            self.too_late[trade.symbol] += 1
            self.past.add((trade.symbol, start))
            return None
        if start >= state.newest:
            state.waiting.append(start)
            # Not later than it came: one stamp of the future would end the bars of all trades from here to there.
            came = trade.received or start
            state.newest = max(state.newest, min(start, came - came % self._step))
        else:
            state.changed.add(start)
        bar = state.bars[start] = _Bar()
        return bar

    def _known(self, symbol: str, state: _Symbol, event: Lost | Repaired) -> None:
        """What is known to be missing, and the bars that this makes complete or not."""
        if isinstance(event, Lost):
            whole = event.reason == DISCONNECTED
            if whole:  # what was told of it before it grew
                state.lost = [one for one in state.lost if not (one.open and one.whole and one.since >= event.ts)]
                state.unfollowed = without(state.unfollowed, [(event.ts, event.until)])
            state.lost.append(_Missing(event.ts, event.until, True, whole))
            return
        just = _Missing(event.ts, event.until, True, False)
        if just in state.lost:
            state.lost.remove(just)
        state.lost = [
            one
            for one in state.lost
            if not (one.open and one.whole and one.since >= event.ts and one.until <= event.until)
        ]
        if event.error:  # whole bars, each once: a venue may say much that is given up
            last = event.until - event.until % self._step + self._step - 1
            missing = _Missing(event.ts - event.ts % self._step, last, False, True)
            if missing not in state.lost:
                state.lost.append(missing)
        ends = min(event.until + 1, state.kept_from)
        begins = max(event.ts, ends - _DAY)
        begins -= begins % self._step
        self.past.update((symbol, at) for at in range(begins, ends, self._step))
        self._change(state)

    def _change(self, state: _Symbol) -> None:
        """Bars that were told as complete and are not, or the other way round, are to be told again."""
        told = [start for start, bar in state.bars.items() if bar.told and bar.complete == self._hit(state, start)]
        state.changed.update(told)

    def _hit(self, state: _Symbol, start: int, *, repairable: bool = False) -> bool:
        """Whether something of the bar is missing, or, of that, may still be repaired."""
        end = start + self._step
        if not repairable and any(since < end and until >= start for since, until in state.unfollowed):
            return True
        return any(one.since < end and one.until >= start and (one.open or not repairable) for one in state.lost)

    def _tell(self, symbol: str, state: _Symbol) -> list[Bar]:
        """The bars that are over and not told, and those that changed and for which nothing more is to be repaired."""
        over = [start for start in state.waiting if start < state.newest]
        again = [start for start in state.changed if not self._hit(state, start, repairable=True)]
        state.waiting = [start for start in state.waiting if start >= state.newest]
        state.changed.difference_update(again)
        due = [start for start in sorted({*over, *again}) if state.bars[start].trades >= state.bars[start].least]
        told = [self._told(symbol, state, start) for start in due]
        self._forget(state)
        return told

    def _told(self, symbol: str, state: _Symbol, start: int) -> Bar:
        bar = state.bars[start]
        bar.complete = not self._hit(state, start)
        revision, bar.told, bar.least = bar.told, bar.told + 1, bar.trades
        return Bar(
            symbol, start, bar.open, bar.high, bar.low, bar.close, bar.volume + bar.carry, self.timeframe, bar.trades,
            revision, bar.complete, repaired=revision > 0,
        )  # fmt: skip

    def _forget(self, state: _Symbol) -> None:
        """Let go of bars that nothing can change any more."""
        oldest = min([state.newest - self._keep, *(one.since for one in state.lost if one.open)])
        state.kept_from = max(state.kept_from, oldest - oldest % self._step)
        for start in [start for start in state.bars if start < state.kept_from]:
            del state.bars[start]
            state.changed.discard(start)
        state.lost = [one for one in state.lost if one.until >= state.kept_from]
        state.unfollowed = [one for one in state.unfollowed if one[1] >= state.kept_from]


def bars_of(events: Sequence[Event], timeframe: str = "1m") -> list[Bar]:
    """The bars of these events alone, each in its last revision, by symbol and time.

    >>> bars_of([Trade("AAPL", 60_000_000, 10.0, 5.0), Trade("AAPL", 61_000_000, 11.0, 1.0)])[0].close
    11.0
    """
    maker = BarMaker(timeframe)
    told = maker.add(events)
    told += maker.until(2**62)
    return sorted({(bar.symbol, bar.ts): bar for bar in told}.values())
