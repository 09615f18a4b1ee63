"""Stamps of files and the sessions they belong to.

A daily bar's `ts` is the session's open, or midnight at the beginning of its day: in the zone that the row names
(source_tz, else exchange_tz), in the calendar's zone, or in UTC. It is the day in the first of these in which it is
midnight. Every other stamp is refused.

Round-the-clock markets (forex, futures, crypto) have daily bars of 24 hours from their midnight, which end after the
calendar's session does: such a bar is known only then. Those on a day that is no session (Sunday evening) belong to
the next session's bar: its open is the first, its close the last, high and low those of all, volumes are added.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from resources.calendars import UTC_MICROS, session_date, sessions, timezone
from resources.errors import BarSchemaError
from resources.market_data.base import MEND
from resources.market_data.files.tables import ZONES

CLOSED = timedelta(days=5)
"""The most days without a session before which trading counts to the next one, and what a stamp may be off its date."""

DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)
OFFSET = re.compile(r"UTC([+-])(\d{1,2})(?::?00)?")


def dated(rows: pl.DataFrame, calendar: str, start: date, end: date) -> pl.DataFrame:
    """Daily rows (symbol, ts, file, maybe ZONES) with `session`, and `midnight` where the stamp is one, else null.

    Raises BarSchemaError at the first stamp from `start` to `end` that is neither, and at a zone that is none.
    """
    known = sessions(calendar, start - CLOSED, end + CLOSED).select(session="session", opening="open")
    opened = rows.join(known, left_on="ts", right_on="opening", how="left", maintain_order="left")
    zones = [name for name in ZONES if name in rows.columns]
    parts = []
    for given, part in opened.with_columns(order=pl.int_range(pl.len())).group_by(zones) if zones else [((), opened)]:
        told = [_zone(str(name), part) for name in given if name is not None]
        days = [_midnight(zone) for zone in dict.fromkeys([*told, timezone(calendar), "UTC"])]
        day = pl.when(pl.col("session").is_null()).then(pl.coalesce(days))
        parts.append(
            part.with_columns(
                session=pl.coalesce("session", day), midnight=pl.when(day.is_not_null()).then("ts")
            )
        )  # fmt: skip
    placed = pl.concat(parts)
    if zones:
        placed = placed.sort("order").drop("order")
    _refuse_off(placed, calendar, start, end)
    return placed


def fold(rows: pl.DataFrame, calendar: str, start: date, end: date) -> pl.DataFrame:
    """Daily rows of round-the-clock markets with those on days without a session put into the next session's row.

    `rows` has symbol, session, midnight, prices and volume, in time order by symbol. Rows of one symbol and day are
    left as they are, to be refused.
    """
    known = sessions(calendar, start - CLOSED, end + CLOSED).select("session")
    if rows.join(known, on="session", how="anti").is_empty():
        return rows
    ahead = known.with_columns(home="session")
    twice = pl.struct("symbol", "session").is_duplicated()
    homes = rows.sort("session").join_asof(
        ahead, on="session", strategy="forward", tolerance=CLOSED, check_sortedness=False
    )
    again = homes.filter(twice)
    return pl.concat(
        [
            again.drop("home"),
            homes.filter(~twice)
            .with_columns(session=pl.coalesce("home", "session"))
            .group_by("symbol", "session", maintain_order=True)
            .agg(
                pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
                pl.col("volume").sum(), pl.col("midnight").max(),
            )
            .select(again.drop("home").columns),
        ]
    )  # fmt: skip


def window(calendar: str, start: date, end: date) -> tuple[datetime, datetime]:
    """The instants from which and before which the intraday bars of these dates begin, by `session_date`."""
    return _begin(calendar, start), _begin(calendar, end + DAY)


def _begin(calendar: str, day: date) -> datetime:
    """When a date begins: at midnight of the exchange, or on the evening before, if its sessions open then."""
    midnight = datetime.combine(day, time(), ZoneInfo(timezone(calendar))).astimezone(UTC)
    before = pl.DataFrame({"ts": [midnight - QUARTER * at for at in range(DAY // QUARTER)]}, schema={"ts": UTC_MICROS})
    first: datetime = before.filter(session_date(pl.col("ts"), calendar) == day)["ts"][-1]
    return first


def _midnight(zone: str) -> pl.Expr:
    """The date in a zone of a stamp that is midnight there, else null."""
    there = pl.col("ts").dt.convert_time_zone(zone)
    return pl.when(there.dt.time() == time()).then(there.dt.date())


def _zone(name: str, rows: pl.DataFrame) -> str:
    if offset := OFFSET.fullmatch(name):
        sign, hours = offset.groups()
        return f"Etc/GMT{'-' if sign == '+' else '+'}{int(hours)}" if int(hours) else "UTC"  # POSIX counts westwards
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, OSError) as error:
        raise BarSchemaError(
            f"{rows['symbol'][0]}: {name!r} is no time zone ({Path(rows['file'][0]).name}); write it as "
            "America/New_York, UTC or UTC-05."
        ) from error


def _refuse_off(rows: pl.DataFrame, calendar: str, start: date, end: date) -> None:
    """Raise BarSchemaError at the first row from `start` to `end` that has no session."""
    zone = timezone(calendar)
    there = pl.col("ts").dt.convert_time_zone(zone).dt.date()
    off = rows.filter(pl.col("session").is_null() & pl.col("ts").is_not_null()).with_columns(session=there)
    off = off.filter(pl.col("session").is_between(start, end)).head(1)
    if off.height:
        row = off.row(0, named=True)
        opens = sessions(calendar, row["session"], row["session"])["open"]
        wanted = f"the session's open, {opens[0]}, or " if len(opens) else ""
        raise BarSchemaError(
            f"{row['symbol']} {row['session']}: ts is {row['ts']}; of a daily bar it must be {wanted}midnight in "
            f"{zone} or UTC ({Path(row['file']).name}). Give that, or a column date instead."
        )


def refuse_undated(rows: pl.DataFrame, column: str = "session") -> None:
    """Raise BarSchemaError at a row without a date."""
    undated = rows.filter(pl.col(column).is_null()).head(1)
    if undated.height:
        row = undated.row(0, named=True)
        raise BarSchemaError(f"{row['symbol']}: a row has no date ({Path(row['file']).name}). {MEND}")
