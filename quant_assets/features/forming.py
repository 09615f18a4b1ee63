"""Coarse bars as they form in a stream: what `timeframes` makes of whole histories, bar by bar."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import polars as pl

from quant_assets.features.context import Context
from quant_assets.features.definition import Coarse, Feature, FeatureSet
from quant_assets.features.timeframes import AVERAGED, SUMMED, Timeframe, calendars, coarsened, timeframe, times

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_DAY = date(1970, 1, 1)
MICRO = timedelta(microseconds=1)

REPLAYED = 3
"""Coarse bars of a history whose values are kept: a fine bar may know its coarse one late."""


class Inner(Protocol):
    """The stream of the coarse bars."""

    def start(self, history: pl.DataFrame) -> None: ...

    def update(self, bar: Mapping[str, Any]) -> dict[str, float | None]: ...


@dataclass(slots=True)
class _Bar:
    key: float
    start: float
    end: float
    known: int
    session: date
    rows: list[np.ndarray] = field(default_factory=list)
    done: bool = False


@dataclass(slots=True)
class _State:
    """Where one symbol stands."""

    calendar: str
    first: int
    """Its first period, which may have been cut."""
    day: int = -1
    before: float = -math.inf
    """Start of the bar before."""
    step: int = 0
    anchor: float = math.nan
    closed: float = math.nan
    over: float = math.nan
    bar: _Bar | None = None
    values: list[tuple[int, dict[str, float | None]]] = field(default_factory=list)
    """Of the last coarse bars, with the instant from which on they are known; the oldest first."""


@lru_cache(maxsize=4096)
def _times(wanted: Timeframe, calendar: str | None, day: int) -> tuple[float, float, float, int]:
    opened, closed, over = times(wanted, calendar, np.array([day]))
    return float(opened[0]), float(closed[0]), float(over[0]), int(wanted.period(np.array([day]))[0])


class Forming:
    """The features of one timeframe: the bar that forms, and the values of the last one that closed."""

    def __init__(self, features: Sequence[Feature], inner: Inner, numbers: Sequence[str], context: Context) -> None:
        builds = [feature.build for feature in features if isinstance(feature.build, Coarse)]
        self.wanted = timeframe(builds[0].timeframe)
        self.reads = sorted({name for build in builds for name in build.reads})
        self._places = [list(numbers).index(name) for name in self.reads]
        self._names = [(feature.name, build.feature.name) for feature, build in zip(features, builds, strict=True)]
        self._inner = inner
        self._context = context
        self._symbols: dict[str, _State] = {}

    def start(self, frame: pl.DataFrame, dated: bool) -> None:
        """Take the history: bars as `inputs.prepared` gives them. Raises ConfigError as `coarsened` does."""
        prices = [name for name in ("adj_open", "adj_high", "adj_low", "adj_close") if name in frame.columns]
        rows = frame.filter(pl.all_horizontal(pl.col(name).is_finite() for name in prices))
        if rows.is_empty():
            self._inner.start(coarsened(rows, self.reads, self.wanted, self._context, dated).bars)
            return
        dates = pl.col("session").fill_null(pl.col("ts").dt.date()) if dated else pl.col("ts").dt.date()
        rows = rows.with_columns(day=dates.to_physical().cast(pl.Int64))
        rows = rows.with_columns(period=pl.Series(self.wanted.period(rows["day"].to_numpy())))
        bars = coarsened(rows, self.reads, self.wanted, self._context, dated).bars
        ends = rows.group_by("symbol", maintain_order=True).agg(
            first=pl.col("period").first(), last=pl.col("period").last()
        )
        session = bars["session"].to_physical().cast(pl.Int64).to_numpy()
        over = bars.with_columns(period=pl.Series(self.wanted.period(session))).join(ends, on="symbol", how="left")
        over = over.filter(pl.col("period") < pl.col("last")).sort("symbol", "ts")
        recent = pl.int_range(pl.len(), 0, -1).over("symbol") <= REPLAYED
        self._inner.start(over.filter(~recent).select(bars.columns))
        for bar in over.filter(recent).select(bars.columns).iter_rows(named=True):
            state = self._state(bar["symbol"], int(ends.filter(symbol=bar["symbol"])["first"][0]))
            state.values.append((_micros(bar["known_at"]), self._inner.update(bar)))
        for (symbol,), own in rows.group_by("symbol", maintain_order=True):
            self._replay(str(symbol), own, dated)

    def _replay(self, symbol: str, own: pl.DataFrame, dated: bool) -> None:
        """The last period, bar by bar."""
        state = self._state(symbol, int(own["period"][0]))
        ts = own["ts"].dt.epoch("us")
        within = ts.diff().filter(own["day"] == own["day"].shift())
        state.step = int(within.min() or 0)  # type: ignore[arg-type]
        last = own["period"] == own["period"][-1]
        if not last.all():
            state.before = float(ts.filter(~last)[-1])
        for row in own.filter(last).iter_rows(named=True):
            values = np.array([math.nan if row[name] is None else row[name] for name in self.reads], dtype=float)
            self._add(state, symbol, row, values, dated)

    def update(self, bar: Mapping[str, Any], row: np.ndarray) -> dict[str, float | None]:
        """The features as the bar knows them, by name. `row` holds its numbers, as the stream names them."""
        dated = "session" in bar
        state = self._symbols.get(bar["symbol"])
        if state is None:
            state = self._state(bar["symbol"], _times(self.wanted, None, _day(bar, dated))[3])
        known = self._add(state, bar["symbol"], bar, row[self._places], dated)
        held: dict[str, float | None] = {}
        for at in range(len(state.values) - 1, -1, -1):
            if state.values[at][0] <= known:
                held = state.values[at][1]
                del state.values[:at]
                break
        return {name: held.get(base) for name, base in self._names}

    def _state(self, symbol: str, first: int) -> _State:
        if symbol not in self._symbols:
            self._symbols[symbol] = _State(calendars([symbol], self._context)[0], first)
        return self._symbols[symbol]

    def _add(self, state: _State, symbol: str, bar: Mapping[str, Any], values: np.ndarray, dated: bool) -> int:
        """Take a bar; the instant at which it is known."""
        ts, day = _micros(bar["ts"]), _day(bar, dated)
        known = ts if bar.get("known_at") is None else _micros(bar["known_at"])
        opened, closed, over, period = _times(self.wanted, state.calendar if dated else None, day)
        if day != state.day:
            state.day, state.closed, state.over = day, closed, over
            state.anchor = opened if not dated or state.before < opened < ts else float(ts)
        else:
            state.step = min(state.step or ts, ts - int(state.before))
        state.before = float(ts)
        key, start, end, kept = self._place(state, ts, period)
        forming = state.bar
        if forming is not None and not forming.done and forming.key != key:
            self._close(state, symbol)
        if kept and period != state.first:
            if forming is None or forming.key != key:
                forming = state.bar = _Bar(key, start, end, known, FIRST_DAY)
            forming.rows.append(values)
            forming.known, forming.session = max(forming.known, known), FIRST_DAY + timedelta(days=day)
        ends = ts + state.step if state.step else closed
        if forming is not None and not forming.done and ends >= forming.end:
            self._close(state, symbol)
        return known

    def _place(self, state: _State, ts: int, period: int) -> tuple[float, float, float, bool]:
        """Key, start and end of the coarse bar that a bar lies in, and whether it is part of it."""
        late = ts >= state.closed
        if self.wanted.kind != "step":
            return float(period), state.anchor, math.inf if math.isnan(state.over) else state.over, not late
        step = self.wanted.step
        start = state.anchor + (ts - state.anchor) // step * step
        if late:
            return max(start, state.closed), max(start, state.closed), start + step, True
        return start, start, start + step if math.isnan(state.closed) else min(start + step, state.closed), True

    def _close(self, state: _State, symbol: str) -> None:
        bar = state.bar
        assert bar is not None
        bar.done = True
        known = max(int(bar.end), bar.known) if math.isfinite(bar.end) else bar.known
        columns = dict(zip(self.reads, _aggregated(self.reads, np.array(bar.rows)), strict=True))
        keys = {"symbol": symbol, "ts": _instant(int(bar.start)), "session": bar.session, "known_at": _instant(known)}
        state.values.append((known, self._inner.update({**columns, **keys})))
        bar.rows.clear()


def _aggregated(names: Sequence[str], rows: np.ndarray) -> list[float]:
    """The coarse bar's columns from those of its fine ones, by the rules of `timeframes`."""
    place = {name: at for at, name in enumerate(names)}
    return [
        _rule(name, rows[:, at], rows[:, place["adj_volume"]] if name == "vwap" else None) for name, at in place.items()
    ]


def _rule(name: str, column: np.ndarray, volume: np.ndarray | None) -> float:
    known = column[~np.isnan(column)]
    if volume is not None:
        volume = volume[~np.isnan(column)]
        return float(np.dot(known, volume) / volume.sum()) if volume.sum() > 0 else math.nan
    if name in SUMMED or name in AVERAGED or name in ("adj_high", "adj_low"):
        if not known.size:
            return math.nan
        if name in ("adj_high", "adj_low"):
            return float(known.max() if name == "adj_high" else known.min())
        return float(known.sum() if name in SUMMED else known.mean())
    return float(column[0] if name == "adj_open" else column[-1])


def _micros(instant: datetime) -> int:
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICRO


def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def _day(bar: Mapping[str, Any], dated: bool) -> int:
    session = bar["session"] if dated else None
    return _micros(bar["ts"]) // 86_400_000_000 if session is None else (session - FIRST_DAY).days


def forming(
    features: FeatureSet, make: Callable[[FeatureSet], Inner], numbers: Sequence[str], context: Context
) -> list[Forming]:
    """One for each timeframe among the features; `make` makes the stream of its coarse bars."""
    found = []
    for name in sorted({feature.build.timeframe for feature in features if isinstance(feature.build, Coarse)}):
        own = [each for each in features if isinstance(each.build, Coarse) and each.build.timeframe == name]
        bases = {each.build.feature.name: each.build.feature for each in own if isinstance(each.build, Coarse)}
        found.append(Forming(own, make(FeatureSet(f"{features.name}@{name}", tuple(bases.values()))), numbers, context))
    return found
