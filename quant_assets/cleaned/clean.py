"""Clean bars: on the calendar, adjusted for splits and dividends, with every doubt flagged and nothing hidden."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from quant_assets.cleaned.adjust import adjust, overdue, place
from quant_assets.cleaned.align import align
from quant_assets.cleaned.intraday import at_first_bars, intraday_checks, judge, restored
from quant_assets.cleaned.prints import excursions, mend_prints
from quant_assets.cleaned.rules import FINDING_SCHEMA, PRINT_SIGMAS, checks, finding, suspicions
from quant_assets.cleaned.slots import align_slots, first_bars
from quant_assets.cleaned.units import levels
from resources.calendars import UTC_MICROS
from resources.config import CleaningSettings
from resources.errors import ConfigError
from resources.market_data.base import PRICES
from resources.market_data.timeframes import INTRADAY

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
"""Cleaned bars: one row for every session (intraday: every slot of it) between a symbol's first bar and its last.

Sorted by symbol and ts. session is the session's date, ts the bar's start, known_at its end. Raw prices and volume;
split (new shares per old) and dividend (cash per share) as applied on this row, a session's first with a bar; their
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
    timeframe: str = "1d",
) -> CleanResult:
    """Align bars to their calendars, adjust them, and flag what looks wrong.

    `bars` (BAR_SCHEMA) is the history of each symbol from its first bar; `actions` in ACTION_SCHEMA; `instruments`
    needs symbol and calendar. `timeframe` is that of the bars: 1d, or one of resources.market_data.timeframes.INTRADAY
    (`slots` says what their rows are, `intraday` which rules look at them). A row depends on its own and earlier bars
    only, so that cleaning a longer history never changes it. Actions that the prices contradict are not applied; the
    findings say which.

    Market data that cannot be (zero and negative prices, duplicates, half-built bars, wrong stamps) becomes findings,
    one for each value or row that was changed, moved or left out; `settings.repair` names the rules whose finding
    also changes the row. `old` is what was given, `new` what stands in the result.

    Raises BarSchemaError, naming the symbol and the mend, on rows that cannot be placed: without symbol, time or
    calendar; and on columns that are not BAR_SCHEMA. Raises ConfigError on an unknown timeframe.

    Example: `clean(provider.bars(...), provider.corporate_actions(...), provider.instruments(...)).bars.collect()`
    """
    settings, listed, acted = settings or CleaningSettings(), instruments.lazy().collect(), actions.collect()
    daily = timeframe == "1d"
    if daily:
        aligned, misfits, as_given = align(bars, listed, settings)
    elif timeframe in INTRADAY:
        aligned, misfits, as_given = align_slots(bars, listed, settings, timeframe)
        acted = at_first_bars(acted, listed, first_bars(aligned))
    else:
        raise ConfigError(f"timeframe: {timeframe!r} cannot be cleaned; for example 1d, {', '.join(INTRADAY)}")
    effective, misplaced = place(acted, aligned)
    rows, units = levels(aligned, effective)
    adjusted = adjust(rows, effective)
    if daily:
        judged, looked_for = mend_prints(excursions(suspicions(adjusted), PRINT_SIGMAS), settings), checks(settings)
    else:
        judged, looked_for = judge(adjusted, settings), intraday_checks(settings)
    found = [
        judged.filter(check.when).select(finding(check.rule, check.field, check.old, check.new)) for check in looked_for
    ]
    if "unit_error" not in settings.repair:
        units = units.with_columns(new="old")
    findings = pl.concat([FINDING_SCHEMA.to_frame(), misfits, misplaced, overdue(adjusted), units, *found])
    findings = findings.sort("symbol", "ts", "rule", "field", "old")
    flags = findings.lazy().group_by("symbol", "ts").agg(flags=pl.col("rule").unique().sort())
    cleaned = (
        declined(judged if daily else restored(judged), as_given, settings)
        .join(flags, on=["symbol", "ts"], how="left", maintain_order="left")
        .with_columns(pl.col("flags").fill_null([]))
        .select(CLEANED_SCHEMA.names())
    )
    return CleanResult(bars=cleaned, findings=findings)


def declined(judged: pl.DataFrame, as_given: pl.DataFrame, settings: CleaningSettings) -> pl.LazyFrame:
    """The rows with what the settings want left as given, put back after the rules have been judged without it."""
    rows = judged.lazy()
    if "unit_error" not in settings.repair:
        rows = rows.with_columns(pl.col(prefix + name) * pl.col("unit") for prefix in ("", "adj_") for name in PRICES)
    if as_given.is_empty():
        return rows
    given = as_given.lazy().with_columns(given=pl.lit(True)).unique(["symbol", "ts"])
    joined = rows.join(given, on=["symbol", "ts"], how="left", maintain_order="left", suffix="_given")
    factor = pl.col("split_factor") * pl.col("dividend_factor")
    kept = pl.col("given").is_not_null()
    raw = [(name, pl.col(f"{name}_given")) for name in (*PRICES, "volume")]
    adjusted = [(f"adj_{name}", pl.col(f"{name}_given") * factor) for name in PRICES]
    volume = ("adj_volume", pl.col("volume_given") / pl.col("split_factor"))
    return joined.with_columns(
        pl.when(kept).then(value).otherwise(name).alias(name) for name, value in [*raw, *adjusted, volume]
    )
