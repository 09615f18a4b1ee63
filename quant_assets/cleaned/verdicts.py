"""Findings of cleaning as verdicts: does the source contradict itself, and are its defects more than usual?

Pure: quant_assets/cleaned/checks.py turns the verdicts into checks. A single finding is no reason to distrust a source
of a million rows, and a source without findings is rare: what counts is the share of rows, against what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from quant_assets.cleaned.glossary import MEANINGS
from quant_assets.quality import FINDING_SCHEMA, Fact, Verdict


class Limit(NamedTuple):
    """The largest usual share of rows with a finding of a rule, and why it is that."""

    share: float
    why: str


_LOADING = "comes of loading, not of markets: one row in a thousand means that part of a feed was loaded wrongly"
_REFUSED = "a handful in the whole history of 505 stocks; one row in two thousand is a list of actions gone wrong"

LIMITS: dict[str, Limit] = {
    "duplicate": Limit(0.001, _LOADING),
    "clock_error": Limit(0.001, _LOADING),
    "out_of_session": Limit(0.001, _LOADING),
    "half_built": Limit(0.001, _LOADING),
    "invalid_value": Limit(0.001, _LOADING),
    "inconsistent": Limit(0.001, _LOADING),
    "unit_error": Limit(0.001, _LOADING),
    "bad_print": Limit(0.001, "3 in 100,000 rows of a good source, 15 in its worst year"),
    "bad_close": Limit(0.001, "none in 2.4 million rows of a good source: the next bar tells, so few are false alarms"),
    "missing_session": Limit(0.005, "the coverage that is asked for is 99.5 % of the sessions"),
    "zero_volume": Limit(0.005, "8 in 100,000 rows of a good source, 101 in its worst year"),
    "stale": Limit(0.002, "2 in 100,000 rows of a good source, 44 in its worst year"),
    "jump": Limit(0.02, "real crashes jump: on 16 March 2020 one stock in four, by then 1.1 % of that year's rows"),
    "unapplied_split": Limit(0.0005, _REFUSED),
    "split_unconfirmed": Limit(0.0005, _REFUSED),
    "dividend_unconfirmed": Limit(0.0005, _REFUSED),
    "dividend_exceeds_price": Limit(0.0005, _REFUSED),
    "dividend_overdue": Limit(0.001, "4 in 100,000 rows; 25 in 2020, when many companies stopped paying"),
    "action_invalid": Limit(0.0005, _REFUSED),
    "action_duplicated": Limit(0.0005, _REFUSED),
    "action_known_late": Limit(0.0005, _REFUSED),
    "action_moved": Limit(0.0005, "an ex-date is a session, so the bar of that date is there, but for a halt"),
    "action_before_history": Limit(0.001, "at most one a symbol, on its first bar"),
}
"""Bars and actions. Measured on 505 stocks, 1999 to 2021, 2.4 million rows: every year passes, and every year up to
each of its sessions."""

UNLIMITED: dict[str, str] = {
    "excluded": "the configuration asked for it",
    "missing_bar": "in most slots of a quiet listing nobody trades",
    "action_without_bar": "every dividend announced for a coming session is one",
    "crossed": "a fault of ticks, judged by TICK_LIMITS",
}
"""Rules without a limit, and why."""

TICK_LIMITS: dict[str, Limit] = {
    "crossed": Limit(0.01, "fast markets cross for moments; none in 235,000 quotes of one stock over two days"),
    "out_of_session": Limit(0.10, "the hours before and after are 1 to 3 % of ticks; a zone an hour off is over 10 %"),
    "clock_error": Limit(0.001, "a venue's clock may run milliseconds ahead of ours, for the last ticks only"),
    "invalid_value": Limit(0.001, "prices that are none come of translation, not of markets"),
    "duplicate": Limit(0.001, "an id comes once; a page of a download that came twice is more than one in a thousand"),
    "bad_print": Limit(0.001, "a few trades a day are told late or with a slipped digit, not one in a thousand"),
}
"""Quotes and trades, of one symbol and session."""

FEW_TICKS = 10
"""So many ticks at fault in a session prove nothing."""


def contradictions(findings: pl.DataFrame) -> Verdict:
    """Whether the source nowhere contradicts itself: no finding has the severity error.

    `findings` in quant_assets.cleaned.FINDING_SCHEMA, with or without `session` (the date of ts stands in for it).
    """
    serious = findings.filter(pl.col("severity") == "error")
    value = pl.format("{} given, {} used", *(_number(pl.col(name)) for name in ("old", "new")))
    means = pl.col("rule").replace_strict(MEANINGS, default="", return_dtype=pl.String)
    rows = serious.select(
        "symbol",
        session=_day(findings),
        field="field",
        problem=pl.format("{}: {}", pl.col("rule"), means),
        value=value,
    )
    facts: dict[str, Fact] = {
        "findings": findings.height,
        "contradictions": serious.height,
        "symbols": serious["symbol"].n_unique(),
        **dict(serious.group_by("rule").len().sort("rule").iter_rows()),
    }
    return Verdict(serious.is_empty(), facts, rows.cast(dict(FINDING_SCHEMA)).sort("symbol", "session"))  # type: ignore[arg-type]


def defect_rates(findings: pl.DataFrame, rows: int, limits: Mapping[str, Limit] = LIMITS) -> Verdict:
    """Whether no rule has findings in more of the rows than is usual.

    `rows` is how many cleaned rows the findings are about. The facts hold count and share of every rule that has
    findings; a finding of the verdict is a rule above its limit, with the reason for the limit. Few rows are given
    the benefit of chance (see `allowed`).
    """
    counts = dict(findings.group_by("rule").len().sort("rule").iter_rows())
    found = [
        (None, None, rule, _above(count, rows, limits[rule], "rows"), f"{count:,} of {rows:,}")
        for rule, count in counts.items()
        if rule in limits and count > allowed(limits[rule].share, rows)
    ]
    facts: dict[str, Fact] = {"rows": rows, "findings": findings.height}
    facts |= {rule: _share(count, rows) for rule, count in counts.items()}
    return Verdict(not found, facts, pl.DataFrame(found, schema=FINDING_SCHEMA, orient="row"))


def tick_faults(counts: pl.DataFrame, ticks: pl.DataFrame, limits: Mapping[str, Limit] = TICK_LIMITS) -> Verdict:
    """Whether no symbol's ticks of a session are crossed, out of session or impossible more than is usual.

    `counts` has symbol, session, rule and count, of the findings of quant_assets.cleaned.ticks.faults; `ticks` symbol,
    session and ticks. Each symbol and session is judged by itself: a broken one must not hide among sound ones. The
    facts are sums.
    """
    judged = counts.join(ticks, on=["symbol", "session"], how="left").sort("symbol", "session", "rule")
    found = [
        (symbol, session, rule, _above(count, rows, limits[rule], "ticks"), f"{count:,} of {rows:,}")
        for symbol, session, rule, count, rows in judged.select(
            "symbol", "session", "rule", "count", pl.col("ticks").fill_null(0)
        ).iter_rows()
        if rule in limits and count > allowed(limits[rule].share, rows, FEW_TICKS)
    ]
    total = int(ticks["ticks"].sum())
    facts: dict[str, Fact] = {"ticks": total, "sessions": ticks.height}
    sums = counts.group_by("rule").agg(pl.col("count").sum()).sort("rule")
    facts |= {rule: _share(count, total) for rule, count in sums.iter_rows()}
    return Verdict(not found, facts, pl.DataFrame(found, schema=FINDING_SCHEMA, orient="row"))


def allowed(share: float, rows: int, least: int = 1) -> float:
    """How many findings a usual share may make of so many rows: with chance (three sigmas), and always `least`.

    >>> allowed(0.001, 1), round(allowed(0.001, 1_000_000))
    (1.0, 1095)
    """
    expected = share * rows
    return max(float(least), expected + 3 * math.sqrt(expected))


def _day(findings: pl.DataFrame) -> pl.Expr:
    """The session of a finding: as it says, else the date of its stamp."""
    return pl.col("session") if "session" in findings.columns else pl.col("ts").dt.date()


def _above(count: int, rows: int, limit: Limit, unit: str) -> str:
    return f"in {count / max(rows, 1):.3%} of {unit}; usual is at most {limit.share:.3%}: {limit.why}"


def _share(count: int, rows: int) -> str:
    return f"{count:,} ({count / max(rows, 1):.4%})"


def _number(value: pl.Expr) -> pl.Expr:
    """A number as short text; nothing is called nothing."""
    return value.round_sig_figs(6).cast(pl.String).fill_null("nothing")
