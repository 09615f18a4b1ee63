"""What the catalog asks, as SQL. One text serves both engines; a Dialect has the few words in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

import polars as pl

from resources.errors import BarSchemaError

_PLACES = 2**32
"""More rows than one symbol and instant can have: ts and place together make one number."""

_LIMB = 2**31
_MOST = 2**63


@dataclass(frozen=True, slots=True)
class Dialect:
    """An engine's own words and ways.

    micros: from an instant to microseconds since 1970; wide: a signed 128-bit number; values: pairs of numbers as a
    relation; in_order: rows come as they lie in the files, which is in order most often; backslash: it escapes what
    follows it in a text.
    """

    micros: str
    wide: str
    values: str
    in_order: bool
    backslash: bool

    def us(self, instant: str) -> str:
        return self.micros.format(instant)

    def key(self, place: str = "place") -> str:
        """A number that orders rows of a symbol by ts, then place."""
        return f"CAST({self.us('ts')} AS {self.wide}) * {_PLACES} + {place}"

    def quoted(self, *names: str) -> str:
        """Column names, each in double quotes."""
        escaped = (name.replace("\\", "\\\\") if self.backslash else name for name in names)
        return ", ".join('"' + name.replace('"', '""') + '"' for name in escaped)

    def pairs(self, rows: Sequence[tuple[int, int]]) -> str:
        """A relation of pairs of whole numbers, opens and closes."""
        return self.values.format(", ".join(f"({first}, {second})" for first, second in rows))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a table's rows are for one question: a relation and a condition of SQL, and their parameters."""

    relation: str
    where: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Plan(Protocol):
    """How ticks are cut into bars."""

    def placed(self, dialect: Dialect, ticks: str) -> str:
        """The ticks (symbol, us and others) that lie in a bar, with `slot`, where it begins."""
        ...

    def finish(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`slot` as ts, and known_at, the bar's end."""
        ...


def sql_name(table: str) -> str:
    """A table's name in SQL: its path with _ for /."""
    return table.replace("/", "_")


def counts(source: Source) -> str:
    """How many rows of each symbol there are."""
    return f"SELECT symbol, count(*) AS held FROM {source.relation} WHERE {source.where} GROUP BY symbol"


def rows(dialect: Dialect, source: Source, columns: Sequence[str]) -> str:
    """The columns and `place` of the source's rows; in order but for engines that read them in order anyway."""
    names = list(dict.fromkeys(["symbol", "ts", *columns]))
    order = "" if dialect.in_order else "ORDER BY symbol, ts, place"
    return f"SELECT {dialect.quoted(*names)}, place FROM {source.relation} WHERE {source.where} {order}"


def last(dialect: Dialect, source: Source, columns: Sequence[str]) -> str:
    """The last row of each symbol by ts and place."""
    key, origin = dialect.key(), f"FROM {source.relation} WHERE {source.where}"
    return f"""
        SELECT {dialect.quoted(*columns)} {origin}
        AND (symbol, {key}) IN (SELECT symbol, max({key}) {origin} GROUP BY symbol)
    """


def quoted(dialect: Dialect, trades: Source, quotes: Source, columns: Sequence[str]) -> str:
    """Each trade with the last quote at or before its ts: `quoted_at` and both sides, null where there is none."""
    told = "".join(f"t.{name} AS {name}, " for name in map(dialect.quoted, columns))
    return f"""
        SELECT {told} t.place AS place, q.quoted_at AS quoted_at,
            q.bid AS bid, q.bid_size AS bid_size, q.ask AS ask, q.ask_size AS ask_size
        FROM (
            SELECT {dialect.quoted(*columns)}, place, {dialect.key(str(_PLACES - 1))} AS k
            FROM {trades.relation} WHERE {trades.where}
        ) AS t
        ASOF LEFT JOIN (
            SELECT symbol, ts AS quoted_at, bid, bid_size, ask, ask_size, {dialect.key()} AS k
            FROM {quotes.relation} WHERE {quotes.where}
        ) AS q
        ON t.symbol = q.symbol AND t.k >= q.k
        ORDER BY symbol, ts, place
    """


def bars(dialect: Dialect, source: Source, plan: Plan, of: Literal["trades", "quotes"]) -> str:
    """One row a symbol and slot: `slot` (its begin, microseconds), first, highest, lowest and last price.

    The sum of the sizes comes in three whole numbers, which `volumes` puts together: of whole units, and of two limbs
    of 31 bits of what is left. Whole numbers add up to the same in any order, floating-point numbers do not. A size
    counts to 2^-62 of a unit. `faulty` is the first instant (microseconds) of a tick that makes no bar, and `whole` is
    null where it is 2^63 or more: see `bars_of_answer`.
    """
    price, size, which = (
        ("price", "size", "")
        if of == "trades"
        # No price is null, and is left out; no number is kept, to be told.
        else ("(bid + ask) / 2", "0.0", "AND NOT (bid <= 0 OR ask <= 0)")
    )
    ticks = f"""
        SELECT symbol, {dialect.us("ts")} AS us, {price} + 0.0 AS price, {size} AS size, provider,
            fetched_at AS fetched, {dialect.key()} AS k
        FROM {source.relation} WHERE {source.where} {which}
    """
    return f"""
        SELECT symbol, slot, argMin(price, k) AS first, max(price) AS highest, min(price) AS lowest,
            argMax(price, k) AS last, argMin(provider, k) AS told_by, max(fetched) AS fetched_last,
            min(CASE WHEN fit THEN NULL ELSE us END) AS faulty,
            CASE WHEN abs(sum(units)) < {_MOST} THEN CAST(sum(units) AS BIGINT) END AS whole,
            CAST(sum(CAST(floor(rest) AS BIGINT)) AS BIGINT) AS upper,
            CAST(sum(CAST(floor((rest - floor(rest)) * {_LIMB}) AS BIGINT)) AS BIGINT) AS lower
        FROM (
            SELECT symbol, slot, us, fit, price, provider, fetched, k,
                CAST(CAST(floor(counted) AS BIGINT) AS {dialect.wide}) AS units,
                (counted - floor(counted)) * {_LIMB} AS rest
            FROM (
                SELECT *, CASE WHEN fit THEN size ELSE 0.0 END AS counted
                FROM (
                    SELECT *, coalesce(isFinite(price) AND abs(size) < {_MOST}.0, false) AS fit
                    FROM ({plan.placed(dialect, ticks)}) AS placed
                ) AS judged
            ) AS sized
        ) AS split
        GROUP BY symbol, slot
    """


def bars_of_answer(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The answer to `bars` with its columns named, and the volume: the exact sum of the sizes, rounded once.

    Raises BarSchemaError naming symbol and instant of the first tick that makes no bar, and the first bar of too much.
    """
    for symbol, us in frame.filter(pl.col("faulty").is_not_null()).select("symbol", "faulty").sort(pl.all()).rows()[:1]:
        raise BarSchemaError(
            f"{table}: {symbol} {_instant(us)}: its price or size is no number, or its size 2^63 or more; "
            "materialize that partition again from a source without it, or ask for bars around it"
        )
    for symbol, us in frame.filter(pl.col("whole").is_null()).select("symbol", "slot").sort(pl.all()).rows()[:1]:
        raise BarSchemaError(
            f"{table}: {symbol} {_instant(us)}: the sizes in this bar come to 2^63 or more; ask for shorter bars, or "
            "materialize that partition again in larger units"
        )
    upper = pl.col("upper") + pl.col("lower") // _LIMB
    whole = pl.col("whole") + upper // _LIMB
    rest = (upper % _LIMB) * _LIMB + pl.col("lower") % _LIMB
    return frame.with_columns(volume=whole.cast(pl.Float64) + rest.cast(pl.Float64) / float(_LIMB**2)).rename(
        {"first": "open", "highest": "high", "lowest": "low", "last": "close", "told_by": "provider"}
        | {"fetched_last": "fetched_at"}
    )


def _instant(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
