"""Clean bars: on the calendar, adjusted for splits and dividends, with every doubt flagged and nothing hidden."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from quant_assets.cleaned.adjust import adjust, place
from quant_assets.cleaned.align import align
from quant_assets.cleaned.rules import FINDING_SCHEMA, checks, finding, suspicions
from resources.calendars import UTC_MICROS
from resources.config import CleaningSettings

CLEANED_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "session": pl.Date(),
        "known_at": UTC_MICROS,
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "split": pl.Float64(),
        "dividend": pl.Float64(),
        "split_factor": pl.Float64(),
        "dividend_factor": pl.Float64(),
        "adj_open": pl.Float64(),
        "adj_high": pl.Float64(),
        "adj_low": pl.Float64(),
        "adj_close": pl.Float64(),
        "adj_volume": pl.Float64(),
        "flags": pl.List(pl.String()),
    }
)
"""Cleaned bars: one row for every session between a symbol's first bar and its last, sorted by symbol and ts.

Raw prices and volume; split (new shares per old) and dividend (cash per share) as applied this session; their
factors, cumulative from 1.0 at the first bar; adj_* prices = raw * split_factor * dividend_factor, adj_volume =
volume / split_factor; flags: the rules (quant_assets/cleaned/rules.py) with a finding on this row.
"""


@dataclass(frozen=True, slots=True)
class CleanResult:
    """Cleaned bars (CLEANED_SCHEMA), and what was noticed on the way (FINDING_SCHEMA, sorted by symbol and ts)."""

    bars: pl.LazyFrame
    findings: pl.DataFrame


def clean(
    bars: pl.LazyFrame,
    actions: pl.LazyFrame,
    instruments: pl.DataFrame | pl.LazyFrame,
    settings: CleaningSettings | None = None,
) -> CleanResult:
    """Align bars to their calendars, adjust them, and flag what looks wrong.

    `bars` (BAR_SCHEMA) is the history of each symbol from its first bar; `actions` in ACTION_SCHEMA; `instruments`
    needs symbol and calendar. A row depends on its own and earlier bars only, so that cleaning a longer history
    never changes it. Actions that the prices contradict are not applied; the findings say which.

    Raises BarSchemaError, naming symbol, date and mend, on rows that are not market data.

    Example: `clean(provider.bars(...), provider.corporate_actions(...), provider.instruments(...)).bars.collect()`
    """
    settings = settings or CleaningSettings()
    rows, excluded = align(bars, instruments.lazy().collect(), settings)
    effective, misplaced = place(actions.collect(), rows)
    judged = suspicions(adjust(rows, effective))
    found = [
        judged.filter(check.when).select(finding(check.rule, check.field, check.old, check.new))
        for check in checks(settings)
    ]
    findings = pl.concat([FINDING_SCHEMA.to_frame(), excluded, misplaced, *found])
    findings = findings.sort("symbol", "ts", "rule", "field", "old")
    flags = findings.lazy().group_by("symbol", "ts").agg(flags=pl.col("rule").unique().sort())
    cleaned = (
        judged.lazy()
        .join(flags, on=["symbol", "ts"], how="left", maintain_order="left")
        .with_columns(pl.col("flags").fill_null([]))
        .select(CLEANED_SCHEMA.names())
    )
    return CleanResult(bars=cleaned, findings=findings)
