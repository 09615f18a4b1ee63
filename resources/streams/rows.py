"""Events as rows of the lake: their tables, what is the same row twice, and what became of each gap. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import LakeError
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from resources.market_data.timeframes import INTRADAY
from resources.streams.aggregation import Made
from resources.streams.base import ENDED, Bar, Event, Kind, Lost, Quote, Repaired, Status, Trade
from resources.streams.clock import SECOND
from resources.streams.track import DISCONNECTED

_NUMBERED = {"sequence": pl.Int64(), "repaired": pl.Boolean()}
TRADES = pl.Schema({**TRADE_SCHEMA, "conditions": pl.String(), **_NUMBERED})
"""TRADE_SCHEMA; the venue's letters joined, its running number (0: none), and whether it was missed and came later."""

QUOTES = pl.Schema({**QUOTE_SCHEMA, **_NUMBERED})
"""QUOTE_SCHEMA, and as of TRADES."""

BARS = pl.Schema(
    {**BAR_SCHEMA, "timeframe": pl.String(), "trades": pl.Int64(), "revision": pl.Int64(), "complete": pl.Boolean()}
)
"""BAR_SCHEMA, and as of `Bar`: the last that was told of each."""

FINDINGS = pl.Schema(
    {
        "symbol": pl.String(),
        "kind": pl.String(),
        "ts": UTC_MICROS,
        "until": UTC_MICROS,
        "what": pl.String(),
        "events": pl.Int64(),
        "left": pl.Int64(),
        "detail": pl.String(),
        "told_at": UTC_MICROS,
    }
)
"""What was told of gaps and connections. what: lost, repaired, given up, the state of a Status (its ts is when), or
what a Mark says."""

GAPS = pl.Schema(
    {
        "symbol": pl.String(),
        "kind": pl.String(),
        "ts": UTC_MICROS,
        "until": UTC_MICROS,
        "state": pl.String(),
        "events": pl.Int64(),
        "left": pl.Int64(),
        "detail": pl.String(),
    }
)
"""An interval that was not delivered in its time. state: repaired, given up, open (nothing was told of it since)."""

LOST, REPAIRED, GIVEN_UP, OPEN = "lost", "repaired", "given up", "open"
FOLLOWING, FOLLOWED, UNFOLLOWED = "following", "followed", "not followed"


class Mark(NamedTuple):
    """What a run says of its own work. what: following (a line, from `ts` until its session ends, at `until`),
    followed (symbol "": all that was being followed has ended in good order, at `ts`), or not followed (a line, from
    `ts` to `until`, of a bar that was followed before or after that)."""

    symbol: str
    ts: int
    kind: Kind | None
    until: int
    what: str


class Table(NamedTuple):
    """schema; key: what is the same in a row that comes twice; newest: of these the last counts, not the first."""

    schema: pl.Schema
    key: tuple[str, ...]
    order: tuple[str, ...]
    newest: bool = False


_ORDER = ("symbol", "ts", "sequence")
TABLES = {
    "trades": Table(TRADES, ("symbol", "ts", "price", "size", "side", "trade_id", "sequence"), _ORDER),
    "quotes": Table(QUOTES, ("symbol", "ts", "bid", "bid_size", "ask", "ask_size", "sequence"), _ORDER),
    "bars": Table(BARS, ("symbol", "ts", "timeframe"), ("symbol", "ts"), newest=True),
    "findings": Table(FINDINGS, tuple(FINDINGS), ("told_at",)),
}

IDENTITY: dict[str, tuple[str, ...]] = {
    "trades": ("ts", "price", "size", "side", "trade_id", "sequence"),
    "quotes": ("ts", "bid", "bid_size", "ask", "ask_size", "sequence"),
}
"""Columns that are the fields 1 to 6 of an event, by which a gateway knows it again (`track.identity`)."""


def frames(
    events: Iterable[Event | Mark], provider: str, now: int, told_at: int | None = None
) -> dict[str, pl.DataFrame]:
    """The events as rows of their tables, in their order; tables without any are left out. now: of UTC microseconds.

    told_at (or now): of the first finding; each is told a microsecond after the one before. So two that say the same
    are two, and one that is stored twice is one.
    """
    apart: dict[type[Any], list[Any]] = {}
    told: list[tuple[Any, ...]] = []
    for event in events:
        if isinstance(event, Lost | Repaired | Status | Mark):
            told.append(_finding(event, (now if told_at is None else told_at) + len(told)))
        else:
            apart.setdefault(event.__class__, []).append(event)
    found: dict[str, pl.DataFrame] = {}
    for name, kind in (("trades", Trade), ("quotes", Quote), ("bars", Bar)):
        if kind in apart:
            found[name] = _market_rows(name, apart[kind], provider, now)
    if told:
        found["findings"] = pl.DataFrame(told, schema=FINDINGS, orient="row")
    return found


def _market_rows(name: str, events: Sequence[Any], provider: str, now: int) -> pl.DataFrame:
    fields = dict(zip(events[0]._fields, zip(*events, strict=True), strict=True))
    schema = TABLES[name].schema
    if name == "bars":
        steps = {told: int(INTRADAY[told].total_seconds() * SECOND) for told in set(fields["timeframe"])}
        ends = [ts + steps[told] for ts, told in zip(fields["ts"], fields["timeframe"], strict=True)]
        fields |= {"known_at": ends}
    else:
        fields |= {"known_at": fields["ts"]}
        if not -(2**63) <= min(fields["sequence"]) <= max(fields["sequence"]) < 2**63:
            raise _no_number(name, events)
    # What is made here, as a bar of trades, was not received.
    fields["fetched_at"] = [received or now for received in fields["received"]]
    columns = {column: fields.get(column) for column in schema if column != "provider"}
    frame = pl.DataFrame({column: pl.Series(column, list(values)) for column, values in columns.items() if values})
    empty = [pl.col(column).replace("", None) for column in ("side", "trade_id") if column in frame.columns]
    return frame.with_columns(*empty, provider=pl.lit(provider)).select(schema.names()).cast(dict(schema))  # type: ignore[arg-type]


def _no_number(name: str, events: Sequence[Any]) -> LakeError:
    odd = next(event for event in events if not -(2**63) <= event.sequence < 2**63)
    what = f"{odd.symbol}, {name} at {odd.ts}: sequence is {odd.sequence}"
    return LakeError(f"{what}; the lake keeps numbers of 64 bits: mend the source that gave it")


def _finding(event: Lost | Repaired | Status | Mark, now: int) -> tuple[Any, ...]:
    row: tuple[Any, ...]
    match event:
        case Lost():
            row = (event.until, LOST, event.events, None, event.reason)
        case Repaired():
            row = (event.until, GIVEN_UP if event.error else REPAIRED, event.events, event.left, event.error)
        case Status():
            row = (event.ts, event.state, None, None, event.detail)
        case Mark():
            row = (event.until, event.what, None, None, "")
    return (event.symbol, event.kind, event.ts, *row, now)


def settled(name: str, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of a table in its order, each once: by symbol, time and number, of one instant as they came; findings
    as they were told.

    `rows` are in the order in which they were stored; a row that was repaired finds its place here.
    """
    table = TABLES[name]
    once = rows.unique(subset=list(table.key), keep="last" if table.newest else "first", maintain_order=True)
    return once.select(table.schema.names()).sort(table.order, maintain_order=True)


def gaps(findings: pl.DataFrame) -> pl.DataFrame:
    """What became of each interval that was told as lost, in GAPS, by symbol, kind and time.

    A gap of a broken connection may grow, and is one, with its last end; others are each for themselves, also those of
    one instant. What was said of just this interval counts; where nothing was, or the gateway ended before it, what was
    said last of a whole interval that holds it and was missed later.
    """
    line = ["symbol", "kind"]
    said = findings.sort("told_at", maintain_order=True).with_row_index("at")
    lost = said.filter(pl.col("what") == LOST).with_columns(whole=pl.col("detail") == DISCONNECTED)
    single = lost.with_columns(end=pl.when(~pl.col("whole")).then("until"))
    found = (
        single.group_by(*line, "ts", "whole", "end", maintain_order=True)
        .agg(pl.col("until").max(), pl.col("at", "events", "detail").last(), times=pl.len())
        .with_columns(times=pl.when("whole").then(1).otherwise("times"))
        .with_row_index("gap")
    )
    over = found.join(_verdicts(said, lost), on=line, suffix="_over").filter(
        pl.col("ts_over") <= pl.col("ts"), pl.col("until_over") >= pl.col("until")
    )
    own = (pl.col("ts_over") == pl.col("ts")) & (pl.col("until_over") == pl.col("until"))
    ended = (pl.col("what") == GIVEN_UP) & (pl.col("error") == ENDED)
    # What one connection missed says nothing of numbers that are missing at its very beginning.
    later = pl.col("missed").is_null() | (pl.col("missed") > pl.col("at"))
    holds = (
        pl.col("whole_over")
        & later
        & (pl.col("whole") | (pl.col("ts_over") < pl.col("ts")) | (pl.col("until") > pl.col("ts")))
    )
    said_of = ["what", "left", "error"]
    mine = (
        over.filter(own & ~ended)
        .sort(~pl.col("whole") & (pl.col("what") == GIVEN_UP), "at_over")
        .group_by("gap")
        .agg(pl.col(said_of).last(), settled=pl.len())
    )
    held = over.filter((own & ended) | (~own & holds)).sort(~own, "at_over").group_by("gap").agg(pl.col(said_of).last())
    joined = found.join(mine, on="gap", how="left").join(held, on="gap", how="left", suffix="_held")
    settled = (pl.col("settled") >= pl.col("times")).fill_null(False)
    given_up = (pl.col("what") == GIVEN_UP) & (pl.col("what_held") == REPAIRED)
    told = [
        pl.when(settled | given_up.fill_null(False)).then(name).otherwise(f"{name}_held").alias(name)
        for name in said_of
    ]
    states = joined.with_columns(told).with_columns(
        state=pl.col("what").fill_null(OPEN), detail=pl.coalesce(pl.col("error").replace("", None), "detail")
    )
    return states.select(GAPS.names()).cast(dict(GAPS)).sort(*line, "ts", "until")  # type: ignore[arg-type]


def _verdicts(said: pl.DataFrame, lost: pl.DataFrame) -> pl.DataFrame:
    """What was said of intervals: whether all of each was missed (`whole_over`), and where that was told (`missed`)."""
    interval = ["symbol", "kind", "ts", "until"]
    missed = lost.group_by(interval).agg(
        whole_over=pl.col("whole").any(), missed=pl.col("at").filter(pl.col("whole")).min()
    )
    told = said.filter(pl.col("what").is_in([REPAIRED, GIVEN_UP])).select(
        *interval, "at", "what", "left", error="detail"
    )
    return told.join(missed, on=interval, how="left").with_columns(pl.col("whole_over").fill_null(True))


def made(trades: pl.LazyFrame, step: int) -> dict[str, list[Made]]:
    """Bars of so many microseconds of rows of the trades' table, which stand in its order; by symbol and time."""
    at, price, number = pl.col("ts").to_physical(), pl.col("price"), pl.col("sequence")
    bars = trades.group_by("symbol", start=at - at % step, maintain_order=True).agg(
        open=price.first(), high=price.max(), low=price.min(), close=price.last(), size=pl.col("size"), trades=pl.len(),
        first=at.first(), first_number=number.first(), last=at.last(), last_number=number.last(),
    ).collect()  # fmt: skip
    found: dict[str, list[Made]] = {}
    for symbol, start, open_, high, low, close, sizes, count, first, number_, last, last_number in bars.iter_rows():
        volume = math.fsum(sizes)
        carry = math.fsum([*sizes, -volume])
        ends = (first, number_), (last, last_number)
        bar = Made(start, open_, high, low, close, volume, carry, count, *ends)
        found.setdefault(symbol, []).append(bar)
    return found


def identities(name: str, rows: pl.LazyFrame) -> list[tuple[str, int]]:
    """Symbol and identity of each row of trades or quotes, as `track.identity` has it of its event."""
    found = _events(rows, ("symbol", *IDENTITY[name]))
    return [(row[0], hash(row[1:])) for row in found.iter_rows()]


def _events(rows: pl.LazyFrame, fields: Sequence[str]) -> pl.DataFrame:
    texts = pl.col("^(side|trade_id)$").fill_null("")
    stamped = rows.with_columns(texts, pl.col("ts").to_physical(), received=pl.col("fetched_at").to_physical())
    return stamped.select(fields).collect()
