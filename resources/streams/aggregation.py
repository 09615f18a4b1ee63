"""Bars made of trades as they come: each trade changes its bar at once, and one that comes late changes what was told.

    bars = BarMaker("1m")
    async for batch in gateway.events():
        for bar in bars.add(batch.events):
            ...

The result is that of `quant_assets.cleaned.aggregate.bars_of_trades` on the same trades: first, highest, lowest and
last price, sizes summed. The order in which repaired trades come does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from resources.errors import ConfigError
from resources.market_data.timeframes import INTRADAY
from resources.streams.base import Bar, Event, Lost, Repaired, Trade
from resources.streams.clock import SECOND

_FIRST, _LAST = (2**63, 0), (-1, 0)


class _Bar:
    """A bar in the making. Sizes are summed with what rounding takes away kept beside (Neumaier 1974), so that the
    sum does not depend on their order."""

    __slots__ = ("carry", "close", "complete", "first", "high", "last", "low", "open", "told", "trades", "volume")

    def __init__(self) -> None:
        self.first, self.last = _FIRST, _LAST
        self.open = self.close = 0.0
        self.high, self.low = float("-inf"), float("inf")
        self.volume = self.carry = 0.0
        self.trades = self.told = 0
        self.complete = True

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
    """The bars of one symbol by their start, the start of the newest, and the intervals known to be missing."""

    __slots__ = ("bars", "changed", "kept_from", "lost", "newest", "waiting")

    def __init__(self) -> None:
        self.bars: dict[int, _Bar] = {}
        self.waiting: list[int] = []  # starts of bars not told yet, of which only the last is not over
        self.changed: set[int] = set()  # starts of bars told, or over, that are to be told (again)
        self.newest = self.kept_from = -1
        self.lost: list[tuple[int, int, bool]] = []  # since, until, whether it may still be repaired


class BarMaker:
    """Finished bars of a timeframe (1m to 1h, on multiples of it in UTC) from the events of any number of symbols.

    A bar is told when a trade of its symbol comes that is past its end, or when `until` says so. It is told again, as
    its next revision, when a trade of its time comes later, and when what is known to be missing of it changes
    (`complete`). keep_seconds: how long after its end a bar can still change; `too_late` counts the trades by symbol
    that came after that.
    """

    def __init__(self, timeframe: str = "1m", *, keep_seconds: float = 7200.0) -> None:
        if timeframe not in INTRADAY or timeframe == "4h":
            raise ConfigError(f"timeframe: no bars of {timeframe!r} from a stream; use 1m, 5m, 15m, 30m or 1h")
        self.timeframe = timeframe
        self.too_late: Counter[str] = Counter()
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
                    bar = self._begin(event.symbol, state, start)
                    touched[event.symbol] = state
                    if bar is None:
                        continue
                elif bar.told:
                    state.changed.add(start)
                    touched[event.symbol] = state
                bar.add(event)
            elif isinstance(event, Lost | Repaired) and event.kind == "trade":
                touched[event.symbol] = state = symbols.setdefault(event.symbol, _Symbol())
                self._known(state, event)
        return [bar for symbol, state in touched.items() for bar in self._tell(symbol, state)]

    def until(self, ts: int) -> list[Bar]:
        """It is `ts` (UTC microseconds): bars that end by then are over, whether or not another trade comes."""
        told: list[Bar] = []
        for symbol, state in self._symbols.items():
            if state.bars and state.newest + self._step <= ts:
                state.newest = ts - ts % self._step
                told += self._tell(symbol, state)
        return told

    def _begin(self, symbol: str, state: _Symbol, start: int) -> _Bar | None:
        """A bar for the first trade of its time; None where it is too late for it."""
        if start < state.kept_from:
            self.too_late[symbol] += 1
            return None
        if start > state.newest:
            state.newest = start
            state.waiting.append(start)
        elif start == state.newest:  # by `until` its time has begun
            state.waiting.append(start)
        else:
            state.changed.add(start)
        bar = state.bars[start] = _Bar()
        return bar

    def _known(self, state: _Symbol, event: Lost | Repaired) -> None:
        """What is known to be missing, and the bars that this makes complete or not."""
        if isinstance(event, Lost):
            state.lost.append((event.ts, event.until, True))
            return
        # A gap may have been told several times, as it grew.
        state.lost = [one for one in state.lost if not (one[2] and one[0] >= event.ts and one[1] <= event.until)]
        if event.error:
            state.lost.append((event.ts, event.until, False))
        for start, bar in state.bars.items():
            if bar.told and bar.complete == self._hit(state, start):
                state.changed.add(start)

    def _hit(self, state: _Symbol, start: int, *, repairable: bool = False) -> bool:
        """Whether something of the bar is missing, or, of that, may still be repaired."""
        end = start + self._step
        return any(since < end and until >= start and (open_ or not repairable) for since, until, open_ in state.lost)

    def _tell(self, symbol: str, state: _Symbol) -> list[Bar]:
        """The bars that are over and not told, and those that changed and for which nothing more is to be repaired."""
        over = [start for start in state.waiting if start < state.newest]
        again = [start for start in state.changed if not self._hit(state, start, repairable=True)]
        state.waiting = [start for start in state.waiting if start >= state.newest]
        state.changed.difference_update(again)
        told = [self._told(symbol, state, start) for start in sorted({*over, *again})]
        self._forget(state)
        return told

    def _told(self, symbol: str, state: _Symbol, start: int) -> Bar:
        bar = state.bars[start]
        bar.complete = not self._hit(state, start)
        revision, bar.told = bar.told, bar.told + 1
        return Bar(
            symbol, start, bar.open, bar.high, bar.low, bar.close, bar.volume + bar.carry, self.timeframe, bar.trades,
            revision, bar.complete, repaired=revision > 0,
        )  # fmt: skip

    def _forget(self, state: _Symbol) -> None:
        """Let go of bars that nothing can change any more."""
        oldest = min([state.newest - self._keep, *(since for since, _, open_ in state.lost if open_)])
        state.kept_from = max(state.kept_from, oldest - oldest % self._step)
        for start in [start for start in state.bars if start < state.kept_from]:
            del state.bars[start]
            state.changed.discard(start)
        state.lost = [one for one in state.lost if one[1] >= state.kept_from]


def bars_of(events: Sequence[Event], timeframe: str = "1m") -> list[Bar]:
    """The bars of these events alone, each in its last revision, by symbol and time.

    >>> bars_of([Trade("AAPL", 60_000_000, 10.0, 5.0), Trade("AAPL", 61_000_000, 11.0, 1.0)])[0].close
    11.0
    """
    maker = BarMaker(timeframe)
    told = maker.add(events)
    told += maker.until(2**62)
    return sorted({(bar.symbol, bar.ts): bar for bar in told}.values())
