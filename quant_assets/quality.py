"""Questions about data that no single row answers: is it complete, is it current, did it see the future?

Each function is pure and returns a Verdict. None of them knows Dagster; quant_assets.checks turns verdicts into checks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import polars.selectors as cs

from resources.calendars import last_closed_session, sessions

Fact = str | int | float | bool | None

FINDING_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "field": pl.String(),
        "problem": pl.String(),
        "value": pl.String(),
    }
)
"""One row for each thing that is wrong. symbol or session are null where the problem has none."""

KEYS = ("symbol", "ts", "session", "known_at")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the data passed, the figures behind it, and every finding (FINDING_SCHEMA, by symbol and session).

    `picture` may show it, as a PNG.
    """

    passed: bool
    facts: Mapping[str, Fact]
    findings: pl.DataFrame
    picture: bytes | None = None


def coverage(
    bars: pl.LazyFrame, instruments: pl.DataFrame, calendar: str, start: date, end: date, *, minimum: float = 0.995
) -> Verdict:
    """Share of the sessions between each symbol's first and last bar that have a bar; at least `minimum` passes.

    `bars` needs symbol and ts (the session's open), or session; `instruments` symbol, listed and delisted. An
    instrument without a single bar fails, unless it was listed after `end` or delisted before `start`.

    >>> from resources.market_data.sample import Sample
    >>> day, sample = date(2013, 3, 1), Sample()
    >>> coverage(sample.bars(["IBM"], day, day), sample.instruments(["IBM"]), "XNYS", day, day).facts["share"]
    1.0
    """
    days = sessions(calendar, start, end).with_row_index("number")
    held = _sessions_held(bars, days).filter(pl.col("session").is_between(start, end))
    held = held.join(days.lazy().select("session", "number"), on="session").unique(["symbol", "session"])
    spans = held.group_by("symbol").agg(
        first=pl.col("number").min(), last=pl.col("number").max(), present=pl.len()
    ).with_columns(expected=pl.col("last") - pl.col("first") + 1).collect()  # fmt: skip
    gaps = spans.filter(pl.col("present") < pl.col("expected"))
    missing = (
        gaps.lazy()
        .select("symbol", number=pl.int_ranges(pl.col("first"), pl.col("last") + 1).cast(pl.List(pl.UInt32)))
        .explode("number")
        .join(held.select("symbol", "number"), on=["symbol", "number"], how="anti")
        .join(days.lazy().select("number", "session"), on="number")
        .collect()
    )
    trading = ~(pl.col("listed").fill_null(start) > end) & ~(pl.col("delisted").fill_null(end) < start)
    absent = instruments.filter(trading).join(spans, on="symbol", how="anti")
    findings = _findings(missing, "bar", "no bar in this session"), _findings(absent, "bar", "no bar at all")
    expected, present = int(spans["expected"].sum()), int(spans["present"].sum())
    share = present / expected if expected else 0.0
    worst = gaps.sort(pl.col("present") / pl.col("expected"), "symbol").head(1)["symbol"].to_list()
    facts: dict[str, Fact] = {
        "share": share, "minimum": minimum, "expected": expected, "missing": missing.height, "symbols": spans.height,
        "symbols_without_bars": absent.height, "symbol_with_most_missing": worst[0] if worst else None,
    }  # fmt: skip
    return _verdict(facts, *findings, passed=share >= minimum and absent.is_empty())


def latest_session_present(
    held: Collection[date], calendar: str, *, now: datetime | None = None, end: date | None = None
) -> Verdict:
    """Whether the latest session that should be there is: the last one closed by `now`, and not after `end`.

    `held` are the sessions with data. Findings are the sessions that are missing at the end.
    """
    if now is None and end is None:
        raise ValueError("latest_session_present: give now, end or both")
    closed = last_closed_session(calendar, now) if now is not None else None
    limit = min(day for day in (closed, end) if day is not None)
    expected = sessions(calendar, limit - timedelta(days=15), limit)["session"][-1]
    latest = max(held, default=None)
    behind = [] if latest is None else sessions(calendar, latest, expected)["session"].to_list()[1:]
    findings = pl.DataFrame({"session": behind or [expected]}, schema={"session": pl.Date})
    passed = latest is not None and latest >= expected
    facts: dict[str, Fact] = {
        "expected": str(expected), "latest": str(latest) if latest else None, "sessions_behind": len(behind)
    }  # fmt: skip
    return _verdict(facts, _findings(findings.clear() if passed else findings, "session", "no data"), passed=passed)


def point_in_time(
    features: pl.LazyFrame,
    bars: pl.LazyFrame,
    recompute: Callable[[pl.LazyFrame], pl.LazyFrame],
    *,
    sample: int = 20,
    seed: int = 7,
    tolerance: float = 1e-6,
    cross_sectional: bool = False,
) -> Verdict:
    """Whether features use only what was known: by their time stamps, and by computing some of them again.

    No row of `features` may be known before it starts or before the bar of its session is. Then, for a random
    `sample` of its rows, `recompute` gets the bars known at the row's session and nothing later (of that symbol
    alone, or of all where `cross_sectional`), and must give the stored values again, to the relative `tolerance`.

    `features` and what `recompute` returns have symbol, session and any columns to compare; `features` also ts and
    known_at; `bars` symbol, ts, known_at and what `recompute` needs.
    """
    stamps = features.select(KEYS).join(
        bars.select("symbol", "ts", bar_known_at="known_at"), on=["symbol", "ts"], how="left"
    ).collect()  # fmt: skip
    known = pl.col("known_at")
    problems = {
        "known before its own start, or never": known.is_null() | (known < pl.col("ts")),
        "known before the bar of its session": known < pl.col("bar_known_at"),
        "there is no bar of its session": pl.col("bar_known_at").is_null(),
    }
    early = [_findings(stamps.filter(when), "known_at", problem, known) for problem, when in problems.items()]
    chosen = stamps.drop_nulls().select(KEYS)
    chosen = chosen.sample(min(sample, chosen.height), seed=seed).sort("symbol", "ts")
    again = [
        _compare(features, past.filter(pl.col("known_at") <= row["known_at"]), recompute, row, tolerance)
        for row in chosen.iter_rows(named=True)
        for past in [bars if cross_sectional else bars.filter(pl.col("symbol") == row["symbol"])]
    ]
    facts: dict[str, Fact] = {
        "rows": stamps.height, "rows_out_of_time": sum(frame.height for frame in early),
        "rows_recomputed": chosen.height, "values_compared": sum(count for count, _ in again),
        "values_not_reproduced": sum(frame.height for _, frame in again),
    }  # fmt: skip
    return _verdict(facts, *early, *(frame for _, frame in again))


def no_future(predictions: pl.LazyFrame) -> Verdict:
    """Whether every prediction's model was trained on the past: cutoff is at or before its session.

    `predictions` needs symbol, ts, session, known_at and cutoff. A missing cutoff or time counts as the future.
    """
    rows = predictions.select(*KEYS, "cutoff").collect()
    cutoff, known = pl.col("cutoff"), pl.col("known_at")
    late = rows.filter((cutoff > pl.col("session")).fill_null(True))
    early = rows.filter((known < pl.col("ts")).fill_null(True))
    facts: dict[str, Fact] = {
        "rows": rows.height, "latest_cutoff": str(rows["cutoff"].max()), "trained_on_the_future": late.height
    }  # fmt: skip
    return _verdict(
        facts,
        _findings(late, "cutoff", "the model was trained on later sessions, or nobody knows on which", cutoff),
        _findings(early, "known_at", "known before its own start, or never", known),
    )


def _compare(
    features: pl.LazyFrame,
    past: pl.LazyFrame,
    recompute: Callable[[pl.LazyFrame], pl.LazyFrame],
    row: Mapping[str, Any],
    tolerance: float,
) -> tuple[int, pl.DataFrame]:
    """How many values of one row were compared, and a finding for each that came out differently."""
    mine = (pl.col("symbol") == row["symbol"]) & (pl.col("session") == row["session"])
    stored, fresh = features.filter(mine).collect(), recompute(past).filter(mine).collect()
    names = [name for name in stored.select(cs.numeric() | cs.boolean()).columns if name in fresh.columns]
    if fresh.height != 1 or not names:
        problem = f"recomputing gave {fresh.height} rows with {len(names)} of its columns"
        return 0, _findings(stored, "row", problem)
    pairs = pl.DataFrame(
        {
            "field": names,
            "stored": stored.select(names).cast(pl.Float64).row(0),
            "fresh": fresh.select(names).cast(pl.Float64).row(0),
        },
        schema={"field": pl.String, "stored": pl.Float64, "fresh": pl.Float64},
    )
    close = (pl.col("stored") - pl.col("fresh")).abs() <= tolerance * (1 + pl.col("fresh").abs())
    same = close.fill_null(pl.col("stored").is_null() & pl.col("fresh").is_null())
    wrong = pairs.filter(~same).with_columns(symbol=pl.lit(row["symbol"]), session=pl.lit(row["session"]))
    value = pl.format("stored {}, from the past alone {}", *(_text(pl.col(name)) for name in ("stored", "fresh")))
    return len(names), _findings(wrong, pl.col("field"), "differs when computed from the past alone", value)


def _sessions_held(bars: pl.LazyFrame, days: pl.DataFrame) -> pl.LazyFrame:
    if "session" in bars.collect_schema():
        return bars.select("symbol", "session")
    opens = days.lazy().select("session", ts="open")
    return bars.select("symbol", "ts").join(opens, on="ts").select("symbol", "session")


def _text(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.String).fill_null("null")


def _findings(rows: pl.DataFrame, field: str | pl.Expr, problem: str, value: pl.Expr | None = None) -> pl.DataFrame:
    return rows.select(
        symbol=pl.col("symbol") if "symbol" in rows.columns else pl.lit(None, pl.String),
        session=pl.col("session") if "session" in rows.columns else pl.lit(None, pl.Date),
        field=pl.lit(field) if isinstance(field, str) else field,
        problem=pl.lit(problem),
        value=pl.lit(None, pl.String) if value is None else _text(value),
    )


def _verdict(facts: Mapping[str, Fact], *findings: pl.DataFrame, passed: bool | None = None) -> Verdict:
    """A verdict that passes without findings, unless `passed` says otherwise."""
    found = pl.concat([FINDING_SCHEMA.to_frame(), *findings]).sort("symbol", "session", "field", nulls_last=True)
    return Verdict(found.is_empty() if passed is None else passed, facts, found)
