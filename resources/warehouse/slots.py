"""Which bar a tick belongs to, as SQL: slots of a fixed length by the exchange's clock, or sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl

from resources.calendars import UTC_MICROS, sessions, timezone
from resources.errors import BarSchemaError, ConfigError
from resources.market_data.timeframes import INTRADAY
from resources.warehouse.questions import Dialect, Plan

MOST_SESSIONS = 2_000
"""In one question: their opens and closes stand in its text, which a server takes up to 256 KiB long."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

HOUR = timedelta(hours=1) // MICROSECOND
"""By which clocks change: bars so long, or shorter, are as long as ever."""

_SECOND_DAY = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
_LAST_BUT_ONE = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Part:
    """One question: the ticks of these symbols with start <= ts < end, cut by `plan`. No bar lies in two parts."""

    symbols: list[str]
    start: datetime
    end: datetime
    plan: Plan


def parts(
    symbols: Sequence[str], timeframe: str, start: datetime, end: datetime, calendars: pl.DataFrame | None
) -> Iterator[Part]:
    """The questions for the bars of some symbols, those of one clock together.

    Raises BarSchemaError on a symbol without the calendar that 1d needs.
    """
    calendar_of = dict(calendars.select("symbol", "calendar").iter_rows()) if calendars is not None else {}
    groups: dict[str, list[str]] = {}
    for symbol in symbols:
        name = calendar_of.get(symbol)
        if timeframe == "1d" and name is None:
            raise BarSchemaError(
                f"{symbol}: bars of 1d are sessions, and no calendar is known. Give the symbol a row with a calendar, "
                "such as XNYS, in `calendars`."
            )
        clock = name if timeframe == "1d" else timezone(name) if name is not None else "UTC"
        groups.setdefault(str(clock), []).append(symbol)
    for clock, group in groups.items():
        if timeframe == "1d":
            yield from _of_sessions(group, clock, start, end)
        else:
            yield Part(group, start, end, Fixed.of(INTRADAY[timeframe], clock, start, end))


def _of_sessions(symbols: list[str], calendar: str, start: datetime, end: datetime) -> Iterator[Part]:
    try:
        held = sessions(calendar, start.date() - timedelta(days=4), end.date() + timedelta(days=1))
    except (OverflowError, ValueError) as error:
        raise ConfigError(f"dates: no sessions of {calendar} from {start} to {end} ({error}); choose others") from error
    held = held.filter((pl.col("close") >= start) & (pl.col("open") < end)).select("open", "close")
    for first in range(0, held.height, MOST_SESSIONS):
        part, after = held.slice(first, MOST_SESSIONS), held.slice(first + MOST_SESSIONS, 1)
        # A tick at the close counts, but where sessions follow one another without a break it is the next one's open.
        ends = min([part["close"][-1] + timedelta(microseconds=1), *after["open"], end])
        yield Part(symbols, max(start, part["open"][0]), ends, Sessions(part))


@dataclass(frozen=True, slots=True)
class Fixed:
    """Bars of `step` microseconds that begin on a multiple of it by a wall clock.

    offsets: (from when, microseconds that the clock is ahead of UTC), the first from before the range.
    seams: of bars in which the clock changes (when it does, where the bar ends, where it began).
    """

    step: int
    offsets: tuple[tuple[int, int], ...]
    seams: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, step: timedelta, zone: str, start: datetime, end: datetime) -> Fixed:
        length = step // MICROSECOND
        # The bar of the first tick may have begun before it, by another clock.
        offsets = _offsets(ZoneInfo(zone), max(start, _SECOND_DAY) - step, end, length)
        seams = []
        for (_, before), (since, ahead) in pairwise(offsets):
            ends = since + -(since + ahead) % length
            if ends > since:
                seams.append((since, ends, ends - length + ahead - before))
        return cls(length, offsets, tuple(seams))

    def placed(self, dialect: Dialect, ticks: str) -> str:
        offset = str(self.offsets[0][1])
        for since, ahead in self.offsets[1:]:
            offset = f"CASE WHEN us >= {since} THEN {ahead} ELSE {offset} END"
        # What is left over of a negative number, before 1970, is negative or zero.
        over = f"((us + {offset}) % {self.step} + {self.step}) % {self.step}"
        slot = f"us - {over}"
        for since, ends, began in self.seams:
            slot = f"CASE WHEN us >= {since} AND us < {ends} THEN {began} ELSE {slot} END"
        return f"SELECT *, {slot} AS slot FROM ({ticks}) AS ticks"

    def finish(self, frame: pl.DataFrame) -> pl.DataFrame:
        known = pl.col("slot") + self.step
        for _, ends, began in self.seams if self.step > HOUR else ():
            known = pl.when(pl.col("slot") == began).then(ends).otherwise(known)
        return frame.with_columns(ts=pl.col("slot").cast(UTC_MICROS), known_at=known.cast(UTC_MICROS))


@dataclass(frozen=True, slots=True)
class Sessions:
    """Bars of these sessions (open, close), the close included; ticks outside them lie in no bar."""

    held: pl.DataFrame

    def placed(self, dialect: Dialect, ticks: str) -> str:
        pairs = self.held.select(pl.all().dt.epoch("us")).rows()
        return f"""
            SELECT t.*, s.opens AS slot
            FROM (SELECT *, 1 AS one FROM ({ticks}) AS ticks) AS t
            ASOF JOIN (SELECT opens, closes, 1 AS one FROM {dialect.pairs(pairs)}) AS s
            ON t.one = s.one AND t.us >= s.opens
            WHERE t.us <= s.closes
        """

    def finish(self, frame: pl.DataFrame) -> pl.DataFrame:
        ends = self.held.rename({"open": "ts", "close": "known_at"})
        return frame.with_columns(ts=pl.col("slot").cast(UTC_MICROS)).join(ends, on="ts", how="left")


def _offsets(zone: ZoneInfo, start: datetime, end: datetime, step: int) -> tuple[tuple[int, int], ...]:
    """How far the clock is ahead of UTC, as far as it shifts multiples of `step`, and from when on."""
    found = [(0, _ahead(zone, start))]
    if zone.key == "UTC":
        return tuple(found)
    at = start
    while at < end:
        then = at + min(timedelta(days=1), end - at)
        if _ahead(zone, at) != _ahead(zone, then):
            changed = _change(zone, at, then)
            ahead = _ahead(zone, changed)
            if (ahead - found[-1][1]) % step:
                found.append(((changed - EPOCH) // MICROSECOND, ahead))
        at = then
    return tuple(found)


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The first second at which the clock is set as at `high`, where it changes once in between."""
    low, high = low.replace(microsecond=0), (high + timedelta(seconds=1)).replace(microsecond=0)
    new = _ahead(zone, high)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        low, high = (low, middle) if _ahead(zone, middle) == new else (middle, high)
    return high


def _ahead(zone: ZoneInfo, at: datetime) -> int:
    # The first and the last day that there are may lie outside of them by another clock.
    inside = min(max(at, _SECOND_DAY), _LAST_BUT_ONE)
    return (inside.astimezone(zone).utcoffset() or timedelta(0)) // MICROSECOND
