"""Bars that research may trust, and everything that was noticed on the way to them."""

import tempfile
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.cleaned import (
    CLEANED_SCHEMA,
    FINDING_SCHEMA,
    CleanResult,
    adjust,
    aggregate,
    align,
    clean,
    glossary,
    intraday,
    prints,
    quality_grid,
    quality_page,
    quality_pictures,
    rows,
    rules,
    slots,
    ticks,
    units,
    verdicts,
)
from quant_assets.market_data.fetch import groups
from quant_assets.metadata import columns, picture, preview, show, watched
from quant_assets.partitions import HISTORY, SETTINGS, in_partitions, since_start
from quant_assets.plots import price_picture
from quant_assets.versions import code_version
from resources.calendars import session_date
from resources.lake_io import Bundle, Frames, Table
from resources.market_data.base import BAR_SCHEMA

# The adjustment factors accumulate from a symbol's first bar.
_ALL_BEFORE = since_start()

QUALITY_PAGE = "quality.html"
"""Beside the rows of cleaned/quality in the lake."""

_COUNTED = ("rule", "severity", "symbol")

BARS, FINDINGS = dg.AssetKey(["cleaned", "bars"]), dg.AssetKey(["cleaned", "findings"])

_OUT: dict[str, Any] = {
    "is_required": False,
    "key_prefix": "cleaned",
    "group_name": "cleaned",
    "owners": ["team:data"],
    "kinds": {"polars", "parquet"},
    "tags": {"calendar": SETTINGS.calendar.lower().replace("/", "-")},
    "code_version": code_version(
        *(clean, adjust, align, intraday, prints, rows, rules, slots, units),
        SETTINGS.cleaning,
        SETTINGS.calendar,
        SETTINGS.timeframe,
    ),
}


@dg.multi_asset(
    name="cleaned",
    can_subset=True,
    partitions_def=HISTORY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={
        "bars": dg.AssetIn(["market_data", "bars"], partition_mapping=_ALL_BEFORE),
        "actions": dg.AssetIn(["market_data", "corporate_actions"], partition_mapping=_ALL_BEFORE),
    },
    outs={
        "bars": dg.AssetOut(
            **_OUT,
            description="Bars on the exchange's calendar, adjusted for splits and dividends, with every doubt flagged "
            "and none hidden.",
            metadata=columns(
                CLEANED_SCHEMA,
                {
                    "split_factor": "cumulative since the first bar, forward: a later split never rewrites history",
                    "dividend_factor": "cumulative since the first bar, forward",
                    "adj_close": "close x split_factor x dividend_factor",
                    "flags": "rules that the row met, such as missing_session, stale or jump",
                },
            ),
        ),
        "findings": dg.AssetOut(
            **_OUT,
            description="What cleaning noticed: rule, time, field, the value given and the value used.",
            metadata=columns(
                {**FINDING_SCHEMA, "session": pl.Date},
                {"old": "the value given", "new": "the value used: equal where nothing was changed, null: left out"},
            ),
        ),
    },
)
def cleaned(context: dg.AssetExecutionContext, bars: Table, actions: Table) -> Iterator[dg.Output[Frames]]:
    with tempfile.TemporaryDirectory(prefix="findings-") as folder:
        # Findings wait on disk, so that memory follows one group of symbols here, too.
        waiting: list[Path] = []

        counts = [FINDING_SCHEMA.to_frame().select(_COUNTED).group_by(_COUNTED).len("count")]
        last = SETTINGS.dates.end or datetime.now(UTC).date()

        def parts() -> Iterator[pl.LazyFrame]:
            for group in groups(bars.symbols, SETTINGS.dates.start, last, SETTINGS.timeframe):
                calendars = pl.LazyFrame({"symbol": group}).with_columns(calendar=pl.lit(SETTINGS.calendar))
                result = clean(bars.scan(group), actions.scan(group), calendars, SETTINGS.cleaning, SETTINGS.timeframe)
                found = _dated(result).filter(in_partitions(context))
                waiting.append(Path(folder) / f"{len(waiting)}.parquet")
                found.write_parquet(waiting[-1])
                counts.append(found.group_by(_COUNTED).len("count"))
                yield result.bars.filter(in_partitions(context))
                context.log.info(f"cleaned up to {group[-1]}")

        asked = context.op_execution_context.selected_output_names
        if "bars" in asked:
            yield dg.Output(watched(context, parts(), _describe_bars, asset=BARS), "bars")
        if "findings" not in asked:
            return
        if "bars" not in asked:
            deque(parts(), maxlen=0)
        held = (pl.scan_parquet(file) for file in waiting)
        told = watched(context, held, lambda _, rows: _describe_findings(pl.concat(counts), rows), asset=FINDINGS)
        yield dg.Output(told, "findings")


@dg.asset(
    name="tick_bars",
    key_prefix="cleaned",
    group_name="cleaned",
    owners=["team:data"],
    kinds={"polars", "parquet"},
    partitions_def=HISTORY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={"trades": dg.AssetIn(["market_data", "trades"])},
    code_version=code_version(aggregate, ticks, SETTINGS.calendar, SETTINGS.timeframe),
    metadata=columns(BAR_SCHEMA, {"volume": "the sizes of the trades, summed"}),
)
def tick_bars(context: dg.AssetExecutionContext, trades: Table) -> Frames:
    """Bars of the configuration's timeframe made of trades, to hold a provider's own bars against. On demand.

    Trades that cannot be, or cannot be at their time, are left out; the check of market_data/trades counts them.
    """

    def parts() -> Iterator[pl.LazyFrame]:
        for symbol in trades.symbols:
            calendars = pl.DataFrame({"symbol": [symbol], "calendar": [SETTINGS.calendar]})
            for window in trades.dates:
                rows = trades.scan([symbol], [window])
                sound = ticks.without(rows, ticks.faults(rows, calendars))
                yield aggregate.bars_of_trades(sound, SETTINGS.timeframe, calendars)

    return watched(context, parts(), lambda last, rows: {"bars": rows, "preview": preview(last)})


@dg.asset(
    name="quality",
    key_prefix="cleaned",
    group_name="cleaned",
    owners=["team:data"],
    kinds={"polars", "html"},
    ins={
        "bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=dg.AllPartitionMapping()),
        "findings": dg.AssetIn(["cleaned", "findings"], partition_mapping=dg.AllPartitionMapping()),
        "instruments": dg.AssetIn(["market_data", "instruments"]),
    },
    code_version=code_version(glossary, quality_grid, quality_page, quality_pictures, verdicts, SETTINGS.calendar),
    metadata=columns({"rule": pl.String, "severity": pl.String, "findings": pl.UInt32, "symbols": pl.UInt32}),
)
def quality(context: dg.AssetExecutionContext, bars: Table, findings: Table, instruments: pl.LazyFrame) -> Bundle:
    """Where the data has holes and doubts: a page with coverage and findings by symbol and date."""
    members = instruments.select("symbol")
    rows = bars.scan().join(members, on="symbol", how="semi")
    held = rows.select("symbol", "session", "flags").collect().lazy()
    # That nobody traded in a minute is no doubt about the data.
    noticed = findings.scan().join(members, on="symbol", how="semi").filter(pl.col("rule") != "missing_bar").collect()
    note = f"provider {SETTINGS.provider.name}, configuration {SETTINGS.name}"
    barless = members.collect().join(held.select("symbol").unique().collect(), on="symbol", how="anti")
    page = quality_page.quality_page(
        held, noticed, SETTINGS.calendar, "Data quality", note=note, without_bars=barless["symbol"].sort().to_list()
    )
    counts = noticed.group_by("rule", "severity").agg(findings=pl.len(), symbols=pl.col("symbol").n_unique())
    ordered = counts.sort("findings", "rule", descending=[True, False])
    drawn = quality_pictures.quality_picture(held, noticed, SETTINGS.calendar)
    show(context, {"heatmap": picture(drawn, "coverage and findings"), "by rule": preview(ordered, 30)})
    return Bundle(ordered, files={QUALITY_PAGE: page.encode()})


def _dated(result: CleanResult) -> pl.DataFrame:
    """The findings with the session of their row; of those left out, the one that their time falls into."""
    by_time = session_date(pl.col("ts"), SETTINGS.calendar)
    if SETTINGS.timeframe == "1d":
        return result.findings.with_columns(session=by_time)
    # A slot that begins before an evening opening is of the session that it reaches into.
    rows = result.bars.select("symbol", "ts", "session")
    found = result.findings.lazy().join(rows, on=["symbol", "ts"], how="left", maintain_order="left").collect()
    return found.with_columns(session=pl.coalesce("session", by_time))


def _describe_bars(last: pl.DataFrame, rows: int) -> dict[str, object]:
    return {
        "rows": rows,
        "flagged rows (last batch)": last.filter(pl.col("flags").list.len() > 0).height,
        "prices": picture(price_picture(last), "adjusted closing prices"),
        "preview": preview(
            last.select("symbol", "session", "close", "adj_close", "volume", "split", "dividend", "flags")
        ),
    }


def _describe_findings(counts: pl.DataFrame, rows: int) -> dict[str, object]:
    by_rule = counts.group_by("rule", "severity").agg(pl.col("count").sum(), symbols=pl.col("symbol").n_unique())
    errors = counts.filter(pl.col("severity") == "error").sort("rule", "symbol")
    return {
        "findings": rows,
        "by rule": preview(by_rule.sort("count", descending=True), 30),
        "contradictions in the source": preview(errors, 20),
    }
