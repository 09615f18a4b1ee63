"""Coarser bars out of finer ones, and what each fine bar may know of them: `rsi_14@1h` on bars of a minute.

Which coarse bars there are:

- `15m`, `1h`, … (minutes or hours, less than a day): steps from the session's start on. The session is the bars' own
  `session`; it starts with the calendar's open, or with its first bar where that is earlier, so that hours in New York
  run 9:30 to 10:30. The calendar's close ends a bar: the last of a session may be short, and what is traded after hours
  has bars of its own.
- `1d`: the session, without what is traded after its close. `1w` and `1mo`: the sessions of an ISO week, of a month.
- Bars without `session` have days in UTC, from midnight to midnight, and no calendar.

A coarse bar is closed at its end, at the session's close if that is earlier; a week or month at the close of its last
session. Exchanges publish calendars in advance, so that is known beforehand; a session closed by surprise counts as one
that is still to come. Where the calendar does not know (no such session in it), a bar is closed when its successor has
begun. A fine bar sees the coarse bars that are closed, and whose fine bars are all known, at its own `known_at`; bars
without `known_at` count as known at their start.

The first session (week, month) of a history may have been cut, and is left out: with more history nothing changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal

import numpy as np
import polars as pl

from quant_assets.features.columns import ticks
from quant_assets.features.columns.calendar import NEW_YORK, UNFORESEEN, days
from quant_assets.features.context import Context
from resources.calendars import UTC_MICROS
from resources.errors import ConfigError

MINUTE, DAY = 60_000_000, 86_400_000_000
"""In microseconds."""

PRICES = ("adj_open", "adj_high", "adj_low", "adj_close")

SUMMED = ("adj_volume", "volume", "tick_count", "quote_traffic")
"""Columns that add up; prices are the first, highest, lowest and last; vwap is weighted by volume."""

AVERAGED = tuple(name for name in ticks.EXTRAS if name not in SUMMED)
"""Columns whose mean is taken, of the bars that have one. Of all others the last is taken."""


@dataclass(frozen=True, slots=True)
class Timeframe:
    """The size of coarse bars."""

    name: str
    kind: Literal["step", "session", "week", "month"]
    step: int = 0
    """Microseconds, of a step within the session."""

    def period(self, day: np.ndarray) -> np.ndarray:
        """The number of the session, week or month of days since 1970: what a bar never reaches beyond."""
        if self.kind == "week":
            return (day + 3) // 7
        return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) if self.kind == "month" else day

    def end(self, day: np.ndarray) -> np.ndarray:
        """The day after the last of the period."""
        if self.kind == "week":
            return (day + 3) // 7 * 7 + 4
        if self.kind == "month":
            return (day.astype("datetime64[D]").astype("datetime64[M]") + 1).astype("datetime64[D]").astype(np.int64)
        return day + 1

    def fits(self, step: int, apart: int) -> bool:
        """Whether it is coarser than bars `step` apart within a session (0: one a session), and `apart` at least."""
        if step:
            return self.kind != "step" or self.step > step
        longest = {"step": 0, "session": 0, "week": 5 * DAY, "month": 25 * DAY}[self.kind]
        return apart < longest

    def bars(self, minutes: float, hours: float) -> tuple[int, int]:
        """How many bars of `minutes`, in sessions of `hours`, are in a coarse bar, and in its period, at most."""
        session = max(1, math.ceil(hours * 60 / minutes))
        open_days = {"week": 7 if hours >= 24 else 5, "month": 31 if hours >= 24 else 23}.get(self.kind, 1)
        inside = min(session, math.ceil(self.step / MINUTE / minutes)) if self.kind == "step" else session * open_days
        return inside, session * open_days


@lru_cache(maxsize=256)
def timeframe(name: str) -> Timeframe:
    """The timeframe of this name. Raises ConfigError if there is none."""
    kinds: dict[str, Literal["session", "week", "month"]] = {"1d": "session", "1w": "week", "1mo": "month"}
    if name in kinds:
        return Timeframe(name, kinds[name])
    found = re.fullmatch(r"([1-9]\d*)(m|h)", name)
    step = int(found[1]) * (60 if found[2] == "h" else 1) * MINUTE if found else DAY
    if step >= DAY:
        raise ConfigError(
            f"timeframe {name!r} is unknown; use minutes or hours of less than a day, such as 15m or 1h, or 1d, 1w, 1mo"
        )
    return Timeframe(name, "step", step)


def _schedule(calendar: str, first: int, last: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The first day of the years, and for each day: open and close (NaN without), and whether a session was planned."""
    try:
        table = days(calendar, first, last + 1)  # a week may end in the next year
    except ConfigError:
        table = days(calendar, first, last)
    planned = ~np.isnan(table.open)
    for day in UNFORESEEN if calendar in NEW_YORK else ():
        at = (day - date(1970, 1, 1)).days - table.first
        if 0 <= at < planned.size:
            planned[at] = True
    return table.first, table.open, table.close, planned


def times(frame: Timeframe, calendar: str | None, day: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of sessions (days since 1970): open, close, and the close of their period; NaN where the calendar has none.

    Microseconds since 1970. Without a calendar, days and periods in UTC. Raises ConfigError if it is unknown.
    """
    if calendar is None:
        return day * float(DAY), (day + 1) * float(DAY), frame.end(day) * float(DAY)
    years = np.array([day.min(), day.max()]).astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
    first, opened, closed, planned = _schedule(calendar, int(years[0]), int(years[1]))
    own, end = day - first, np.minimum(frame.end(day) - first, planned.size)
    # The last planned session before the period's end; it is that of an earlier period where this one has none.
    marks = np.flatnonzero(planned)
    last = marks[np.maximum(np.searchsorted(marks, end) - 1, 0)]
    inside = frame.period(last + first) == frame.period(day)
    return opened[own], closed[own], np.where(inside, closed[last], np.nan)


@dataclass(frozen=True, slots=True)
class Coarsened:
    """The coarse bars of all symbols, and what each fine bar sees of them."""

    bars: pl.DataFrame
    """symbol, ts (start), session, known_at and the columns asked for; the last ones may not be closed yet."""
    seen: np.ndarray
    """A fine bar's last closed coarse bar, its row in `bars`; -1 without one, and for bars without prices."""


def calendars(symbols: Sequence[str], context: Context) -> list[str]:
    """The calendar of each symbol."""
    known: dict[str, str] = {}
    if context.instruments is not None and "calendar" in context.instruments.columns:
        known = dict(context.instruments.select("symbol", "calendar").drop_nulls().iter_rows())
    return [known.get(symbol, context.calendar) for symbol in symbols]


def coarsened(
    frame: pl.DataFrame, names: Sequence[str], wanted: Timeframe, context: Context, dated: bool, universe: bool = False
) -> Coarsened:
    """Coarse bars of `frame` (symbol, ts, session if `dated`, known_at if any, and the columns; in order).

    `universe`: a coarse bar is seen when those of all symbols that begin with it are closed.

    Raises ConfigError where the timeframe is not coarser than the bars.
    """
    real = np.ones(frame.height, dtype=bool)
    for name in PRICES:
        if name in frame.columns:
            real &= np.isfinite(frame[name].to_numpy())
    rows = frame.filter(pl.Series(real))
    fine = _fine(rows, wanted, context, dated)
    placed = _placed(fine, wanted)
    bars = _aggregated(rows, fine.known, placed, names)
    available = bars["known_at"]
    if universe:
        available = bars.select(pl.col("known_at").max().over("ts")).to_series()
    seen = np.full(frame.height, -1, dtype=np.int64)
    seen[real] = _seen(fine, placed, available.dt.epoch("us").to_numpy().astype(np.int64))
    return Coarsened(bars, seen)


@dataclass(frozen=True, slots=True)
class _Fine:
    """What is known of fine bars before they are put together. Arrays with a value a fine bar; microseconds."""

    ts: np.ndarray
    known: np.ndarray
    symbol: np.ndarray
    period: np.ndarray
    step: np.ndarray
    """How far apart the symbol's bars are within a session; 0 where there is one a session."""
    anchor: np.ndarray
    """Where the session starts."""
    closed: np.ndarray
    over: np.ndarray
    """Where the period ends; NaN where that is not known in advance."""


def _fine(rows: pl.DataFrame, wanted: Timeframe, context: Context, dated: bool) -> _Fine:
    ts = rows["ts"].dt.epoch("us").to_numpy().astype(np.int64)
    symbol = rows["symbol"].rle_id().to_numpy().astype(np.int64)
    date_of = rows["ts"].dt.date()
    day = (rows["session"].fill_null(date_of) if dated else date_of).to_physical().to_numpy().astype(np.int64)
    known = ts if "known_at" not in rows.columns else _known(rows["known_at"], ts)
    fresh = _differs(symbol)
    begins = fresh | _differs(day)
    opened, closed, over = (np.full(ts.size, np.nan) for _ in range(3))
    names = rows["symbol"].gather(np.flatnonzero(fresh)).to_list()
    zones: list[str | None] = [*calendars(names, context)] if dated else [None] * len(names)
    for calendar in set(zones):
        own = np.array([each == calendar for each in zones], dtype=bool)[symbol]
        opened[own], closed[own], over[own] = times(wanted, calendar, day[own])
    before = np.where(fresh, -np.inf, np.roll(ts, 1))
    # An open before the symbol's last bar is not this session's: the calendar is not the bars' own.
    anchor = np.where((opened > before) & (opened < ts), opened, ts)[_last_true(begins)] if dated else opened
    return _Fine(ts, known, symbol, wanted.period(day), _steps(ts, symbol, begins, wanted), anchor, closed, over)


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where fine bars lie in coarse ones. Arrays with a value a fine bar."""

    bar: np.ndarray
    """Number of the coarse bar, the last one that has begun; -1 before any."""
    kept: np.ndarray
    """Whether it is part of that one."""
    start: np.ndarray
    end: np.ndarray
    """Of the coarse bar; infinite where it is not known in advance."""
    closes: np.ndarray
    """Whether none of that coarse bar is still to come."""


def _placed(fine: _Fine, wanted: Timeframe) -> _Placed:
    late = fine.ts >= fine.closed
    if wanted.kind == "step":
        start = fine.anchor + (fine.ts - fine.anchor) // wanted.step * wanted.step
        end = np.where(late, start + wanted.step, np.fmin(start + wanted.step, fine.closed))
        start = key = np.where(late, np.maximum(start, fine.closed), start)
        kept = np.ones(late.size, dtype=bool)
    else:
        start, key, kept = fine.anchor, fine.period.astype(float), ~late
        end = np.where(np.isnan(fine.over), np.inf, fine.over)
    kept &= fine.period != fine.period[_last_true(_differs(fine.symbol))]
    places = np.flatnonzero(kept)
    begins = np.zeros(late.size, dtype=bool)
    begins[places] = _differs(fine.symbol[places]) | _differs(key[places])
    latest = np.maximum.accumulate(np.where(kept, np.arange(late.size), -1))
    moved = (latest < 0) | (key != key[latest]) | (fine.symbol != fine.symbol[latest])
    # Where there is one bar a session, it ends with the session.
    ends = np.where(fine.step > 0, fine.ts + fine.step, np.where(np.isnan(fine.closed), -np.inf, fine.closed))
    return _Placed(np.cumsum(begins) - 1, kept, start, end, moved | (ends >= end[latest]))


def _aggregated(rows: pl.DataFrame, known: np.ndarray, placed: _Placed, names: Sequence[str]) -> pl.DataFrame:
    keys = ["symbol", "session"] if "session" in rows.columns else ["symbol"]
    kept = rows.select(*keys, *names).with_columns(
        pl.Series("bar", placed.bar),
        pl.Series("start", placed.start),
        pl.Series("end", placed.end),
        pl.Series("known", known),
    )
    made = (
        kept.lazy()
        .filter(pl.Series(placed.kept))
        .group_by("bar", maintain_order=True)
        .agg(
            pl.col("symbol").first(),
            *[_rule(name, names) for name in names],
            ts=pl.col("start").first().cast(pl.Int64).cast(UTC_MICROS),
            session=pl.col("session").last() if "session" in keys else pl.lit(None, dtype=pl.Date),
            known_at=pl.max_horizontal(
                pl.when(pl.col("end").first().is_finite()).then(pl.col("end").first()).cast(pl.Int64),
                pl.col("known").max(),
            ).cast(UTC_MICROS),
        )
    )
    dates = pl.col("ts").dt.date()
    return made.with_columns(session=pl.col("session").fill_null(dates)).drop("bar").collect()


def _rule(name: str, names: Sequence[str]) -> pl.Expr:
    column = pl.col(name)
    if name in ("adj_open", "adj_high", "adj_low"):
        return {"adj_open": column.first(), "adj_high": column.max(), "adj_low": column.min()}[name]
    if name in SUMMED:
        return pl.when(column.is_not_null().any()).then(column.sum()).alias(name)
    if name in AVERAGED:
        return column.mean()
    if name == "vwap":
        volume = pl.when(column.is_not_null()).then("adj_volume")
        return pl.when(volume.sum() > 0).then((column * volume).sum() / volume.sum()).alias(name)
    return column.last()


def _seen(fine: _Fine, placed: _Placed, available: np.ndarray) -> np.ndarray:
    """The last coarse bar that is closed and known, of each fine bar."""
    if not available.size:
        return np.full(placed.bar.size, -1, dtype=np.int64)
    seen = np.where(placed.closes, placed.bar, placed.bar - 1)
    # The first coarse bar of each fine bar's symbol: none is seen before it.
    owner = fine.symbol[placed.kept][_differs(placed.bar[placed.kept])]
    first = np.searchsorted(owner, np.arange(int(fine.symbol[-1]) + 1))[fine.symbol]
    while True:
        waits = (seen >= first) & (available[np.maximum(seen, 0)] > fine.known)
        if not waits.any():
            return np.where(seen >= first, seen, -1)
        seen[waits] -= 1


def _known(known_at: pl.Series, ts: np.ndarray) -> np.ndarray:
    return known_at.dt.epoch("us").fill_null(pl.Series(ts)).to_numpy().astype(np.int64)


def _differs(values: np.ndarray) -> np.ndarray:
    """Whether each is another than the one before; the first is."""
    found = np.ones(values.size, dtype=bool)
    found[1:] = values[1:] != values[:-1]
    return found


def _last_true(marks: np.ndarray) -> np.ndarray:
    """The place of the last mark up to each place; the first place is marked."""
    return np.maximum.accumulate(np.where(marks, np.arange(marks.size), 0))


def _steps(ts: np.ndarray, symbol: np.ndarray, begins: np.ndarray, wanted: Timeframe) -> np.ndarray:
    """How far apart the bars of each row's symbol are within sessions; 0 where there is one a session."""
    if not ts.size:
        return ts
    gap = np.diff(ts, prepend=ts[0])
    same = ~_differs(symbol)
    inside = np.full(int(symbol[-1]) + 1, np.iinfo(np.int64).max)
    np.minimum.at(inside, symbol[~begins], gap[~begins])
    step = np.where(inside == np.iinfo(np.int64).max, 0, inside)
    if same.any():
        refuse(wanted, int(inside.min()) if step.any() else 0, int(gap[same].min()))
    return step[symbol]


def refuse(wanted: Timeframe, step: int, apart: int) -> None:
    """Raises ConfigError where bars `step` apart within a session (0: one a session) are no finer."""
    if not wanted.fits(step, apart):
        size = f"{step / MINUTE:g} minutes" if step else "one a session" if apart < 5 * DAY else "longer than a session"
        raise ConfigError(
            f"timeframe {wanted.name!r} is not coarser than the bars, {size}; give finer bars, or a longer timeframe"
        )


Compute = Callable[[Sequence[str], pl.DataFrame], pl.DataFrame]
"""The base features of these names, of coarse bars, a row a bar."""


def columns(
    frame: pl.DataFrame,
    asked: Sequence[tuple[str, str, tuple[str, ...], bool]],
    context: Context,
    dated: bool,
    compute: Compute,
) -> list[pl.Series]:
    """A column for each feature asked for: base name, timeframe, columns it needs, whether it is of the universe."""
    found: dict[tuple[str, str], pl.Series] = {}
    for name, universe in sorted({(each[1], each[3]) for each in asked}):
        group = [each for each in asked if each[1] == name and each[3] == universe]
        reads = sorted({column for each in group for column in each[2]})
        coarse = coarsened(frame, reads, timeframe(name), context, dated, universe)
        values = compute([each[0] for each in group], coarse.bars)
        seen = pl.Series(coarse.seen)
        place = pl.select(pl.when(seen >= 0).then(seen)).to_series()
        for base in {each[0] for each in group}:
            found[base, name] = values[base].gather(place).alias(f"{base}@{name}")
    return [found[each[0], each[1]] for each in asked]
