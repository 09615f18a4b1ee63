"""Bars that research may trust."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from quant_assets.cleaned import CLEANED_SCHEMA, adjust, align, clean, prints, rows, rules, units
from quant_assets.metadata import columns, picture, preview, show, watched
from quant_assets.partitions import HISTORY, SETTINGS, in_partitions, since_start
from quant_assets.plots import price_picture
from quant_assets.versions import code_version
from resources.lake_io import Frames, Table

# The adjustment factors accumulate from a symbol's first bar.
_ALL_BEFORE = since_start()


@dg.asset(
    name="bars",
    key_prefix="cleaned",
    group_name="cleaned",
    owners=["team:data"],
    kinds={"polars", "parquet"},
    tags={"calendar": SETTINGS.calendar.lower().replace("/", "-")},
    partitions_def=HISTORY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={
        "bars": dg.AssetIn(["market_data", "bars"], partition_mapping=_ALL_BEFORE),
        "actions": dg.AssetIn(["market_data", "corporate_actions"], partition_mapping=_ALL_BEFORE),
    },
    code_version=code_version(
        *(clean, adjust, align, prints, rows, rules, units), SETTINGS.cleaning, SETTINGS.calendar
    ),
    metadata=columns(
        CLEANED_SCHEMA,
        {
            "split_factor": "cumulative since the first bar, forward: a later split never rewrites history",
            "dividend_factor": "cumulative since the first bar, forward",
            "adj_close": "close x split_factor x dividend_factor",
            "flags": "rules that the row met, such as missing_session, stale or jump",
        },
    ),
)
def cleaned_bars(context: dg.AssetExecutionContext, bars: Table, actions: Table) -> Frames:
    """Bars on the exchange's calendar, adjusted for splits and dividends, with every doubt flagged and none hidden."""
    findings: list[pl.DataFrame] = []

    def parts() -> Iterator[pl.LazyFrame]:
        for group in bars.symbol_groups():
            calendars = pl.LazyFrame({"symbol": group}).with_columns(calendar=pl.lit(SETTINGS.calendar))
            result = clean(bars.scan(group), actions.scan(group), calendars, SETTINGS.cleaning)
            findings.append(result.findings)
            yield result.bars.filter(in_partitions(context))
            context.log.info(f"cleaned up to {group[-1]}")
        show(context, _describe_findings(pl.concat(findings)))

    return watched(
        context,
        parts(),
        lambda last, rows: {
            "rows": rows,
            "flagged rows (last batch)": last.filter(pl.col("flags").list.len() > 0).height,
            "prices": picture(price_picture(last), "adjusted closing prices"),
            "preview": preview(
                last.select("symbol", "session", "close", "adj_close", "volume", "split", "dividend", "flags")
            ),
        },
    )


def _describe_findings(findings: pl.DataFrame) -> dict[str, object]:
    counts = findings.group_by("rule", "severity").len("count").sort("count", descending=True)
    serious = findings.filter(pl.col("severity") == "error")
    return {
        "findings": preview(counts, 30),
        "contradictions in the source": preview(serious.select("rule", "symbol", "ts", "field", "old", "new"), 20),
    }
