"""One row for every slot of every session between a symbol's first bar and its last: bars shorter than a session.

A slot is a step of the timeframe on a grid in the exchange's local time. Where in the hour the grid begins differs by
source: hourly bars of New York start at :00 or at :30. The symbol's own first bar says which: where it lies near the
clock's grid or that of the session's open it is taken to be on it, so that a wrong stamp of that bar alone does not
move the grid; elsewhere it says so to a quarter of an hour. A slot belongs to a session that it overlaps: the first
may begin before the open, the last end after the close. One that overlaps two sessions belongs to the earlier.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

import polars as pl

from quant_assets.cleaned.align import (
    calendars_of,
    exclude,
    filled_prices,
    given_bars,
    possible,
    refuse_untimed,
    told_values,
)
from quant_assets.cleaned.rows import known, one_a_session, sound, whole
from quant_assets.cleaned.rules import finding
from resources.calendars import UTC_MICROS, breaks, sessions, timezone
from resources.config import CleaningSettings
from resources.market_data.base import PRICES
from resources.market_data.timeframes import INTRADAY

ANCHOR = timedelta(minutes=15)
"""Grids begin on a multiple of this: sources anchor their bars at the hour, the half, or the session's open."""

NEAR = 3
"""A first bar within a timeframe / NEAR of the clock's grid or the open's is on it; ANCHOR away it tells its own."""

EARLY = 20
"""A bar stamped less than a timeframe / EARLY before a slot belongs to that slot, not to the one that is ending."""

MARGIN = timedelta(days=15)
"""Sessions are looked at this far around the bars: more than the longest holidays, so that there is one."""

MICROS = timedelta(microseconds=1)

Frames = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


def align_slots(bars: pl.LazyFrame, instruments: pl.DataFrame, settings: CleaningSettings, timeframe: str) -> Frames:
    """Bars on the slots of their calendar; findings; the rows as given, where asked: `align.align` for intraday bars.

    A slot without a bar has the previous close as its four prices, and volume 0; in a daily break (lunch, or the hour
    before a venue that trades round the clock begins its next day) there is a row only where there is a bar. ts is
    the slot's start and known_at its full end, also where the session's close cuts it short: its source finishes it
    only then, and a bar of New York's last half hour may hold what was traded after hours. A bar known later by its
    own word is known then, and one stamped after its slot's start not before a full timeframe from its stamp.

    Findings: out_of_session (left out), clock_error (off the grid inside a session: moved to its slot), duplicate (a
    moved bar whose slot has one), and those of `rows` as for sessions. Raises BarSchemaError as `align.align` does.
    """
    step = INTRADAY[timeframe]
    raw = given_bars(bars)
    timed, impossible = possible(raw)
    anchored = _anchored(timed, calendars_of(raw, instruments), step)
    grid = _grid(anchored, step)
    stayed, excluded = exclude(_in_slots(anchored, grid, step), settings)
    refuse_untimed(stayed)
    on_clock, strays = _placed(stayed)
    timely, unknown = known(on_clock)
    finished, half_built = whole(timely.with_columns(known_at=_end_or_later(step)), settings)
    unique, duplicates = one_a_session(finished)
    kept, wrong, declined = sound(unique, settings)
    filled = _filled(kept, grid, step)
    mended = told_values(wrong, filled)
    return filled, pl.concat([impossible, excluded, strays, unknown, half_built, duplicates, mended]), declined


def first_bars(rows: pl.DataFrame) -> pl.DataFrame:
    """symbol, session, ts: of each session with a bar, the first row that is one. `rows` as `align_slots` returns."""
    real = rows.lazy().filter(~pl.col("missing")).select("symbol", "session", "ts")
    return real.group_by("symbol", "session", maintain_order=True).agg(pl.col("ts").first()).collect()


def _micros(length: timedelta) -> int:
    return length // MICROS


def _instant(micros: pl.Expr) -> pl.Expr:
    return micros.cast(UTC_MICROS)


def _time_of_day(instant: str, zone: str) -> pl.Expr:
    """Microseconds since local midnight by the clock on the wall."""
    local = pl.col(instant).dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return local.dt.epoch("us") % _micros(timedelta(days=1))


def _nearest(micros: pl.Expr, unit: int) -> pl.Expr:
    return (micros + unit // 2) // unit * unit


def _anchored(timed: pl.DataFrame, calendars: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    """The bars with their calendar and anchor: where the symbol's grid begins, microseconds after a multiple of step.

    The anchor is that of the symbol's first bar, so a longer history never changes it.
    """
    firsts = timed.group_by("symbol").agg(pl.col("ts").min()).join(calendars, on="symbol")
    starts = firsts.select("calendar", "ts").unique().drop_nulls().sort("calendar", "ts")
    usual = pl.DataFrame(
        [(name, ts, _usual_open(name, ts)) for name, ts in starts.iter_rows()],
        schema={**starts.schema, "usual": pl.Int64},
        orient="row",
    )
    known_opens = firsts.join(usual, on=["calendar", "ts"], how="left")
    anchors = pl.concat(
        part.select("symbol", "calendar", anchor=_anchor(_time_of_day("ts", timezone(str(name))), _micros(step)))
        for (name,), part in known_opens.group_by("calendar")
    )
    return timed.join(anchors, on="symbol", how="left", maintain_order="left")


def _usual_open(calendar: str, around: datetime) -> int:
    """The time of day at which most sessions around an instant open, microseconds since local midnight."""
    near = sessions(calendar, (around - MARGIN).date(), (around + MARGIN).date())
    return cast(int, near.select(_time_of_day("open", timezone(calendar)).mode().min()).item())


def _anchor(first: pl.Expr, step: int) -> pl.Expr:
    """Where the grid begins, from the time of day of a symbol's first bar and `usual`, that of its sessions' open."""
    quarter = _micros(ANCHOR)
    on_clock, on_open = pl.lit(0, pl.Int64), pl.col("usual") % step
    from_clock, from_open = (
        pl.min_horizontal((first - grid) % step, (grid - first) % step) for grid in (on_clock, on_open)
    )
    nearer = pl.when(from_open < from_clock).then(on_open).otherwise(on_clock)
    away = pl.min_horizontal(from_clock, from_open)
    # A source may well have a grid of its own, which lies at another quarter of an hour.
    near = (away <= step // NEAR) & (away < quarter)
    told = _nearest(first, min(step, quarter)) % step
    return pl.when(near).then(nearer).otherwise(told).fill_null(0)


def _grid(rows: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    """Every session around the bars, for each calendar and anchor.

    calendar, anchor, position (from 0), session, session_close, first (start of its first slot, microseconds since
    1970), count (of its slots), break_start and break_end (null where it has no break).
    """
    first, last = cast(datetime, rows["ts"].min()), cast(datetime, rows["ts"].max())
    start, end = (first - MARGIN).date(), (last + MARGIN).date()
    used = rows.select("calendar", "anchor").unique().sort("calendar", "anchor")
    return pl.concat(
        _sessions_in_slots(
            sessions(name, start, end).join(breaks(name, start, end), on="session", how="left", maintain_order="left"),
            timezone(name),
            anchor,
            _micros(step),
        ).select(pl.lit(name).alias("calendar"), pl.lit(anchor, pl.Int64).alias("anchor"), pl.all())
        for name, anchor in used.iter_rows()
    )


def _sessions_in_slots(table: pl.DataFrame, zone: str, anchor: int, step: int) -> pl.DataFrame:
    """What `_grid` has, of one calendar.

    Slots are counted in true time from the session's first: where the clock changes within a session they stay apart.
    """
    opens, closes = pl.col("open").dt.epoch("us"), pl.col("close").dt.epoch("us")
    first = opens - (_time_of_day("open", zone) - anchor) % step
    ends = first + (closes - first + step - 1) // step * step
    counted = table.with_columns(first=first, ends=ends).with_columns(
        first=pl.col("first") + pl.when(pl.col("first") < pl.col("ends").shift()).then(step).otherwise(0)
    )
    return counted.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("position"),
        "session",
        session_close="close",
        first="first",
        count=(pl.col("ends") - pl.col("first")) // step,
        break_start="break_start",
        break_end="break_end",
    )


def _in_slots(rows: pl.DataFrame, grid: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    """The bars with session, position, number (of the slot in its session), slot and session_close; null outside."""
    parts, micros = [], _micros(step)
    for (name, anchor), part in rows.group_by("calendar", "anchor", maintain_order=True):
        table = grid.filter((pl.col("calendar") == name) & (pl.col("anchor") == anchor))
        stamps = part["ts"].dt.epoch("us")
        look = stamps + micros // EARLY
        # A search in the few sessions, in the rows' own order: an asof join would sort the rows first.
        at = table["first"].search_sorted(look.fill_null(0), side="right").cast(pl.Int64) - 1
        session = table[at.clip(lower_bound=0)].select("session", "position", "first", "count", "session_close")
        found = pl.concat([part, session], how="horizontal").with_columns(stamp=stamps, look=look, early=at < 0)
        inside = ~pl.col("early") & (pl.col("stamp") < pl.col("first") + pl.col("count") * micros)
        number = ((pl.col("look") - pl.col("first")) // micros).clip(upper_bound=pl.col("count") - 1)
        slot = _instant(pl.col("first") + number * micros)
        homes = {name: pl.col(name) for name in ("session", "position", "session_close")}
        parts.append(
            found.with_columns(
                pl.when(inside).then(value).alias(name)
                for name, value in (homes | {"number": number, "slot": slot}).items()
            ).drop("first", "count", "stamp", "look", "early")
        )
    return pl.concat(parts)


def _placed(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The bars of sessions at their slot; a finding for each that was stamped elsewhere.

    The bars have `moved` (Boolean) and `stamped`, the start that they were given with.
    """
    seconds = pl.col("ts").dt.epoch("us") / 1e6
    outside = pl.col("slot").is_null()
    moved = pl.col("slot") != pl.col("ts")
    homeless = rows.filter(outside).select(finding("out_of_session", "ts", seconds, pl.lit(None)))
    clock = rows.filter(moved).with_columns(given=seconds, ts="slot")
    told = clock.select(finding("clock_error", "ts", pl.col("given"), pl.col("slot").dt.epoch("us") / 1e6))
    inside = rows.filter(~outside).with_columns(ts="slot", moved=moved, stamped="ts").drop("slot")
    return inside, pl.concat([homeless, told])


def _end_or_later(step: timedelta) -> pl.Expr:
    """When a bar is over at the earliest (a timeframe from its stamp, or the session's close), or later by its word.

    Not before its slot's end either: of two stamps the later one counts, so that no bar is known before it happened.
    """
    return pl.max_horizontal("known_at", pl.min_horizontal(_full_end(step), "session_close"))


def _full_end(step: timedelta) -> pl.Expr:
    """A timeframe from the slot's start or, where that is later, from the stamp that the bar was given with."""
    return pl.max_horizontal("ts", "stamped") + step


def _filled(kept: pl.DataFrame, grid: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    """The rows as `align.align` returns them: symbol, ts, session, known_at, prices, volume, missing."""
    ended = pl.max_horizontal("known_at", _full_end(step)).alias("known_at")
    given = kept.select("symbol", "ts", ended, *PRICES, "volume", real=pl.lit(True))
    every = _every_slot(kept, grid, step)
    rows = every.join(given, on=["symbol", "ts"], how="left", maintain_order="left")
    rows = rows.filter(pl.col("real") | ~pl.col("resting"))
    # The first row of a symbol has a close, so filling forward cannot reach into the symbol above.
    previous = pl.col("close").forward_fill()
    return rows.select(
        "symbol",
        "ts",
        "session",
        pl.max_horizontal("known_at", pl.col("ts") + step).alias("known_at"),
        *filled_prices(previous),
        pl.col("volume").fill_null(0.0),
        pl.col("real").is_null().alias("missing"),
    )


def _every_slot(kept: pl.DataFrame, grid: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    """symbol, session, ts, resting (wholly in a daily break): every slot from each symbol's first bar to its last."""
    ends = kept.group_by("symbol", maintain_order=True).agg(
        pl.col("calendar", "anchor").first(),
        *[pl.col(name).first().alias(f"{name}_from") for name in ("position", "number")],
        *[pl.col(name).last().alias(f"{name}_to") for name in ("position", "number")],
        position=pl.int_range(pl.col("position").first(), pl.col("position").last() + 1, dtype=pl.Int64),
    )
    days = ends.explode("position").join(
        grid.select("calendar", "anchor", "position", "session", "first", "count", "break_start", "break_end"),
        on=["calendar", "anchor", "position"],
        how="left",
        maintain_order="left",
    )
    begin = pl.when(pl.col("position") == pl.col("position_from")).then("number_from").otherwise(0)
    end = pl.when(pl.col("position") == pl.col("position_to")).then(pl.col("number_to") + 1).otherwise("count")
    numbered = days.select(
        "symbol", "session", "first", "break_start", "break_end", number=pl.int_ranges(begin, end, dtype=pl.Int64)
    )
    # A session within the last slot of the one before has none of its own.
    numbered = numbered.explode("number").drop_nulls("number")
    slot = _instant(pl.col("first") + pl.col("number") * _micros(step))
    resting = (slot >= pl.col("break_start")) & (slot + step <= pl.col("break_end"))
    return numbered.select("symbol", "session", ts=slot, resting=resting.fill_null(False))
