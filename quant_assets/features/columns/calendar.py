"""Columns of the instrument's own calendar: where a bar stands in its session, week, month and year.

They are worked out for every date of whole years and then looked up, so that they do not depend on which bars there
are. Exchanges publish their calendars in advance: to look at the sessions ahead is to know nothing of the future, but
for the closures that nobody planned (UNFORESEEN), which count as sessions until they are over.

The calendar is the instrument's, else that of the context. A date without session (a bar of another venue's) has
what dates have, and neither opening nor close.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl

from quant_assets.features.context import Context, Derived
from resources.calendars import sessions
from resources.errors import ConfigError

NEW_YORK = ("XNYS", "NYSE", "NASDAQ", "BATS", "XNAS", "ARCX", "OOTC", "XASE")

UNFORESEEN = (
    date(1994, 4, 27), date(2001, 9, 11), date(2001, 9, 12), date(2001, 9, 13), date(2001, 9, 14), date(2004, 6, 11),
    date(2007, 1, 2), date(2012, 10, 29), date(2012, 10, 30), date(2018, 12, 5), date(2025, 1, 9),
)  # fmt: skip
"""New York's closures decided upon days before or on the day: mourning, terror, storms. Source: NYSE, special closings.

Those of other venues are in their calendars as if they had been planned.
"""

SHORT = 0.9
"""A session shorter than this part of the year's usual one is a half day."""

KEPT = 64
"""Calendars, each for a range of years, that are kept at hand."""

_MINUTE = 60e6
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """Every date of some years, from `first` on (days since 1970), on one calendar."""

    first: int
    columns: Mapping[str, np.ndarray]
    """By name, a value a date."""
    open: np.ndarray
    """Microseconds since 1970; NaN without a session."""
    close: np.ndarray


_held: dict[tuple[str, int, int], Days] = {}


def days(calendar: str, first: int, last: int) -> Days:
    """All dates of the years `first` to `last`, worked out once. Raises ConfigError if the calendar is unknown."""
    # Not lru_cache: the code version of a feature follows functions, and does not see through that.
    found = _held.get((calendar, first, last))
    if found is None:
        if len(_held) >= KEPT:
            _held.clear()
        found = _held[calendar, first, last] = _worked_out(calendar, first, last)
    return found


def _worked_out(calendar: str, first: int, last: int) -> Days:
    held = _around(calendar, first, last)
    traded = held["session"].to_physical().to_numpy().astype(np.int64)
    special = [_number(day) for day in (UNFORESEEN if calendar in NEW_YORK else ())]
    planned = np.union1d(traded, [day for day in special if traded[0] < day < traded[-1]]).astype(np.int64)
    dates = pl.date_range(date(first, 1, 1), date(last, 12, 31), eager=True).alias("date")
    day = dates.to_physical().to_numpy().astype(np.int64)
    opened, closed, short = (np.full(day.size, np.nan) for _ in range(3))
    inside = (traded >= day[0]) & (traded <= day[-1])
    at = traded[inside] - day[0]
    opened[at] = held["open"].dt.epoch("us").to_numpy()[inside]
    closed[at] = held["close"].dt.epoch("us").to_numpy()[inside]
    short[at] = _short(held)[inside]
    columns = {
        **_date_parts(dates),
        **_periods(dates, day, traded, planned),
        **_holidays(day, traded, planned),
        "half_day": short,
        "session_minutes": (closed - opened) / _MINUTE,
    }
    return Days(int(day[0]), columns, opened, closed)


def _around(calendar: str, first: int, last: int) -> pl.DataFrame:
    """The sessions of the years, of the year before and of the one after, as far as the calendar is known."""
    for before, after in ((1, 1), (1, 0), (0, 1)):
        try:
            return sessions(calendar, date(first - before, 1, 1), date(last + after, 12, 31))
        except ConfigError:  # an unknown calendar raises again below
            continue
    return sessions(calendar, date(first, 1, 1), date(last, 12, 31))


def _number(day: date) -> int:
    return (day - _EPOCH).days


def _upto(marks: np.ndarray, day: np.ndarray) -> np.ndarray:
    """How many of the marks are not later than each day."""
    return np.searchsorted(marks, day, side="right")


def _short(held: pl.DataFrame) -> np.ndarray:
    length = pl.col("close") - pl.col("open")
    usual = length.median().over(pl.col("session").dt.year())
    return held.select((length < SHORT * usual).cast(pl.Float64)).to_series().to_numpy()


def _date_parts(dates: pl.Series) -> dict[str, np.ndarray]:
    weekday, month = dates.dt.weekday().to_numpy() - 1.0, dates.dt.month().to_numpy().astype(float)
    year_part = (dates.dt.ordinal_day().to_numpy() - 1.0) / np.where(dates.dt.is_leap_year().to_numpy(), 366, 365)
    parts = {
        "day_of_week": weekday,
        "day_of_month": dates.dt.day().to_numpy().astype(float),
        "month": month,
        "week_of_year": dates.dt.week().to_numpy().astype(float),
    }
    for name, turn in (("day_of_week", weekday / 7), ("day_of_year", year_part)):
        parts[f"{name}_sin"], parts[f"{name}_cos"] = np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)
    return parts


def _periods(dates: pl.Series, day: np.ndarray, traded: np.ndarray, planned: np.ndarray) -> dict[str, np.ndarray]:
    """Sessions since the first and until the last one of the month, the quarter and the year; 0 on that one itself."""

    def since(every: str) -> np.ndarray:
        begin = dates.dt.truncate(every).to_physical().to_numpy().astype(np.int64)
        return (_upto(traded, day - 1) - _upto(traded, begin - 1)).astype(float)

    def until(every: str) -> np.ndarray:
        end = dates.dt.truncate(every).dt.offset_by(every).to_physical().to_numpy().astype(np.int64) - 1
        return (_upto(planned, end) - _upto(planned, day)).astype(float)

    to_end, from_start = until("1mo"), since("1mo")
    return {
        "sessions_since_month_start": from_start,
        "sessions_to_month_end": to_end,
        "sessions_to_quarter_end": until("1q"),
        "sessions_to_year_end": until("1y"),
        "session_of_year": since("1y") + 1.0,
        "turn_of_month": ((to_end == 0) | (from_start <= 2)).astype(float),
    }


def _holidays(day: np.ndarray, traded: np.ndarray, planned: np.ndarray) -> dict[str, np.ndarray]:
    """A holiday is a date without session on a weekday that usually has one; a weekend is none."""
    every = np.arange(traded[0], traded[-1] + 1)
    usual = np.isin(every, _usual_weekdays(every, traded))
    past, ahead = every[usual & ~np.isin(every, traded)], every[usual & ~np.isin(every, planned)]
    last, following = np.searchsorted(past, day) - 1, np.searchsorted(ahead, day, side="right")
    since, to = np.full(day.size, np.nan), np.full(day.size, np.nan)
    known = last >= 0
    since[known] = _upto(traded, day[known] - 1) - _upto(traded, past[last[known]])
    known = following < ahead.size
    to[known] = _upto(planned, ahead[following[known]]) - _upto(planned, day[known])
    before, after = np.full(day.size, np.nan), np.full(day.size, np.nan)
    place = _upto(traded, day - 1) - 1
    before[place >= 0] = day[place >= 0] - traded[place[place >= 0]]
    place = _upto(planned, day)
    known = place < planned.size
    after[known] = planned[place[known]] - day[known]
    return {
        "sessions_since_holiday": since,
        "sessions_to_holiday": to,
        "days_since_session": before,
        "days_to_session": after,
    }


def _usual_weekdays(every: np.ndarray, traded: np.ndarray) -> np.ndarray:
    """The dates whose weekday has a session in most weeks of their year: weeks differ by venue, and have changed."""

    def kind(day: np.ndarray) -> np.ndarray:
        year: np.ndarray = day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)
        return (year - year_first) * 7 + (day + 3) % 7

    year_first = int(every[:1].astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)[0])
    all_of, with_session = np.bincount(kind(every)), np.bincount(kind(traded), minlength=kind(every).max() + 1)
    found: np.ndarray = every[with_session[kind(every)] > all_of[kind(every)] / 2]
    return found


def _in_session(ts: np.ndarray, known_at: np.ndarray, opened: np.ndarray, closed: np.ndarray) -> dict[str, np.ndarray]:
    """Where bars from `ts` to `known_at` stand between opening and close; microseconds since 1970, NaN for unknown."""
    part = (ts - opened) / (closed - opened)
    begins = np.where(np.isnan(known_at), ts == opened, (ts <= opened) & (known_at > opened))
    ends = (ts < closed) & (known_at >= closed)
    return {
        "minutes_since_open": (ts - opened) / _MINUTE,
        "minutes_to_close": (closed - ts) / _MINUTE,
        "session_fraction": np.where((part >= 0) & (part <= 1), part, np.nan),
        "first_bar": np.where(np.isnan(opened), np.nan, begins),
        "last_bar": np.where(np.isnan(opened + known_at), np.nan, ends),
    }


SESSION = (
    "day_of_week", "day_of_month", "month", "week_of_year", "day_of_week_sin", "day_of_week_cos", "day_of_year_sin",
    "day_of_year_cos", "sessions_since_month_start", "sessions_to_month_end", "sessions_to_quarter_end",
    "sessions_to_year_end", "session_of_year", "turn_of_month", "sessions_since_holiday", "sessions_to_holiday",
    "days_since_session", "days_to_session", "half_day", "session_minutes",
)  # fmt: skip
"""Columns of a session, the same for all its bars."""

CLOCK = ("minutes_since_open", "minutes_to_close", "session_fraction", "first_bar", "last_bar")
"""Columns of a bar within its session."""


def _of_symbols(bars: pl.DataFrame, context: Context, column: str) -> pl.DataFrame:
    """One row a symbol, in order: value (of the instrument), len (rows)."""
    symbols = bars["symbol"].rle().struct.unnest().rename({"value": "symbol"})
    known = context.instruments
    if known is None or column not in known.columns:
        return symbols.with_columns(value=None)
    return symbols.join(
        known.unique("symbol").select("symbol", value=column), on="symbol", how="left", maintain_order="left"
    )


def _looked_up(bars: pl.DataFrame, context: Context, take: Callable[[Days, np.ndarray], np.ndarray]) -> np.ndarray:
    """`take` of the calendar's days and the places of the rows' sessions in them; NaN for a row without session."""
    each = _of_symbols(bars, context, "calendar")
    calendars = each["value"].cast(pl.String).fill_null(context.calendar)
    number = bars["session"].to_physical().to_numpy().astype(float)
    names = calendars.unique(maintain_order=True).to_list()
    code = np.repeat([names.index(name) for name in calendars], each["len"].to_numpy())
    out = np.full(bars.height, np.nan)
    for at, name in enumerate(names):
        rows = np.flatnonzero((code == at) & ~np.isnan(number))
        if rows.size:
            day = number[rows].astype(np.int64)
            years = day[[day.argmin(), day.argmax()]].astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
            table = days(name, int(years[0]), int(years[1]))
            out[rows] = take(table, day - table.first)
    return out


def _of_session(name: str) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    def make(bars: pl.DataFrame, context: Context) -> pl.DataFrame:
        found = _looked_up(bars, context, lambda table, at: table.columns[name][at])
        return bars.with_columns(pl.Series(name, found, nan_to_null=True))

    return make


def clock(bars: pl.DataFrame, context: Context) -> pl.DataFrame:
    """The columns of CLOCK. Without known_at the bar's end is not known: then no bar is the last one."""
    opened = _looked_up(bars, context, lambda table, at: table.open[at])
    closed = _looked_up(bars, context, lambda table, at: table.close[at])
    ends = bars["known_at"] if "known_at" in bars.columns else pl.Series([None], dtype=bars["ts"].dtype)
    ts, known_at = (each.dt.epoch("us").cast(pl.Float64).to_numpy() for each in (bars["ts"], ends))
    found = _in_session(ts, np.broadcast_to(known_at, ts.shape), opened, closed)
    return bars.with_columns(pl.Series(name, values, nan_to_null=True) for name, values in found.items())


def days_to_expiry(bars: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Days from the session to the instrument's last trading day; null without one and after it."""
    each = _of_symbols(bars, context, "expiry")
    last = each["value"].cast(pl.Date).to_physical().to_numpy().astype(float)
    left = np.repeat(last, each["len"].to_numpy()) - bars["session"].to_physical().to_numpy()
    return bars.with_columns(days_to_expiry=pl.Series(np.where(left >= 0, left, np.nan), nan_to_null=True))


COLUMNS = {
    **{name: Derived(_of_session(name), ("session",), streams=True) for name in SESSION},
    **{name: Derived(clock, ("session", "ts", "known_at"), streams=True) for name in CLOCK},
    "days_to_expiry": Derived(days_to_expiry, ("session",), streams=True),
}
"""Derived columns of the calendar, by name."""


class BarCalendar:
    """The same columns for one bar at a time, in microseconds: what a stream asks.

    Example: `BarCalendar(context).values(bar, ["day_of_week", "minutes_to_close"])`
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._calendars: dict[str, str] = {}
        self._expiries: dict[str, date] = {}
        if context.instruments is not None:
            for row in context.instruments.unique("symbol").iter_rows(named=True):
                if row.get("calendar") is not None:
                    self._calendars[row["symbol"]] = row["calendar"]
                if row.get("expiry") is not None:
                    self._expiries[row["symbol"]] = row["expiry"]
        self._last: dict[str, tuple[date, dict[str, float], float, float]] = {}

    def values(self, bar: Mapping[str, Any], names: Sequence[str]) -> list[float]:
        """The named columns of the bar (symbol, ts, and session and known_at if it has them); NaN for null."""
        session = bar["session"] if "session" in bar else _aware(bar["ts"]).astimezone(UTC).date()
        if session is None:
            return [math.nan] * len(names)
        symbol = bar["symbol"]
        calendar = self._calendars.get(symbol, self.context.calendar)
        held = self._last.get(calendar)
        if held is None or held[0] != session:
            held = self._last[calendar] = _one_day(calendar, session)
        _, known, opened, closed = held
        if not known.keys() >= set(names):
            known = {**known, **self._of_bar(bar, session, opened, closed)}
        return [known[name] for name in names]

    def _of_bar(self, bar: Mapping[str, Any], session: date, opened: float, closed: float) -> dict[str, float]:
        ts, known_at = _microseconds(bar["ts"]), _microseconds(bar.get("known_at"))
        part = (ts - opened) / (closed - opened)
        ends = math.isnan(known_at)
        begins = ts == opened if ends else ts <= opened < known_at
        left = _number(self._expiries[bar["symbol"]]) - _number(session) if bar["symbol"] in self._expiries else -1
        return {
            "minutes_since_open": (ts - opened) / _MINUTE,
            "minutes_to_close": (closed - ts) / _MINUTE,
            "session_fraction": part if 0 <= part <= 1 else math.nan,
            "first_bar": math.nan if math.isnan(opened) else float(begins),
            "last_bar": math.nan if math.isnan(opened + known_at) else float(ts < closed <= known_at),
            "days_to_expiry": float(left) if left >= 0 else math.nan,
        }


def _one_day(calendar: str, session: date) -> tuple[date, dict[str, float], float, float]:
    table = days(calendar, session.year, session.year)
    at = _number(session) - table.first
    known = {name: float(values[at]) for name, values in table.columns.items()}
    return session, known, float(table.open[at]), float(table.close[at])


def _aware(instant: datetime) -> datetime:
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _microseconds(instant: datetime | None) -> float:
    return math.nan if instant is None else float(round(_aware(instant).timestamp() * 1e6))
