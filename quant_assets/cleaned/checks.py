"""Whether cleaned bars keep their promises, what was found on the way to them, and whether ticks can be trusted."""

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from quant_assets.checks import Evaluate, pure_check, run_partitions, run_rows, suite_check
from quant_assets.cleaned.ticks import faults
from quant_assets.cleaned.verdicts import contradictions, defect_rates, tick_faults
from quant_assets.expectation_runs import Severity
from quant_assets.partitions import HISTORY, HISTORY_KEY, SETTINGS
from quant_assets.plots import coverage_picture
from quant_assets.quality import Verdict, coverage
from resources.calendars import last_closed_session, session_date
from resources.lake_io import partition_of

BARS, FINDINGS = ("cleaned", "bars"), ("cleaned", "findings")
TICKS = ("quotes", "trades")

FILLED = ("missing_session", "missing_bar")
"""Flags of rows that stand where the source had none."""

BATCH = 1_000_000
"""Ticks judged at once: a partition may hold a year of them."""


def _coverage(context: dg.AssetCheckExecutionContext) -> Verdict:
    given = ~pl.any_horizontal(pl.col("flags").list.contains(rule) for rule in FILLED)
    real = run_rows(BARS, HISTORY)(context).filter(given).select("symbol", "session").unique().collect().lazy()
    end = min(SETTINGS.dates.end or datetime.max.date(), last_closed_session(SETTINGS.calendar, datetime.now(UTC)))
    present = real.select("symbol").unique().collect()["symbol"].to_list()
    expected = pl.DataFrame({"symbol": [*present, *_barless(context, set(present))]}, schema={"symbol": pl.String})
    listed = expected.with_columns(listed=pl.lit(None, pl.Date), delisted=pl.lit(None, pl.Date))
    verdict = coverage(real, listed, SETTINGS.calendar, SETTINGS.dates.start, end)
    return replace(verdict, picture=coverage_picture(real))


def _barless(context: dg.AssetCheckExecutionContext, present: set[str]) -> list[str]:
    """The run's symbols without a bar in it or in any other partition: one may be listed after the run's dates."""
    lake = context.resources.lake
    held = lake.partitions(BARS)
    asked = [partition_of(HISTORY, key) for key in run_partitions(context, HISTORY)] or held
    found = []
    for symbol in sorted({part["symbol"] for part in asked} - present):
        mine = [part for part in held if part["symbol"] == symbol]
        if not mine or lake.scan(BARS, mine).head(1).collect().is_empty():
            found.append(symbol)
    return found


def _contradictions(context: dg.AssetCheckExecutionContext) -> Verdict:
    return contradictions(run_rows(FINDINGS, HISTORY)(context).collect())


def _defect_rates(context: dg.AssetCheckExecutionContext) -> Verdict:
    rows = run_rows(BARS, HISTORY)(context).select(pl.len()).collect().item()
    return defect_rates(run_rows(FINDINGS, HISTORY)(context).collect(), rows)


def _tick_faults(kind: str) -> Evaluate:
    """The verdict on the ticks of the run's partitions, read a batch at a time."""
    asset = ("market_data", kind)
    place = ["symbol", "session"]

    def evaluate(context: dg.AssetCheckExecutionContext) -> Verdict:
        lake = context.resources.lake
        asked = [partition_of(HISTORY, key) for key in run_partitions(context, HISTORY)]
        session = session_date(pl.col("ts"), SETTINGS.calendar).alias("session")
        counts = [pl.DataFrame(schema={"symbol": pl.String, "session": pl.Date, "rule": pl.String, "count": pl.UInt32})]
        ticks = [pl.DataFrame(schema={"symbol": pl.String, "session": pl.Date, "ticks": pl.UInt32})]
        for partition in asked or lake.partitions(asset):
            calendars = pl.DataFrame({"symbol": partition["symbol"], "calendar": SETTINGS.calendar})
            for batch in lake.scan(asset, [partition]).collect_batches(chunk_size=BATCH):
                found = faults(batch.lazy(), calendars).with_columns(session)
                counts.append(found.group_by(*place, "rule").len("count"))
                ticks.append(batch.with_columns(session).group_by(place).len("ticks"))
        return tick_faults(
            pl.concat(counts).group_by(*place, "rule").agg(pl.col("count").sum()),
            pl.concat(ticks).group_by(place).agg(pl.col("ticks").sum()),
        )

    return evaluate


checks = [
    suite_check(
        "cleaned_bars",
        run_rows(BARS, HISTORY),
        partitions_def=HISTORY,
        partition=HISTORY_KEY,
        required_resource_keys=["lake"],
    ),
    pure_check(
        BARS,
        "coverage",
        _coverage,
        description="Sessions between each symbol's first and last bar that the source had a bar for.",
        partitions_def=HISTORY,
        required_resource_keys=["lake"],
    ),
    # Of the whole run only: a word on each partition is 10 ms, and what breaks here is the code and not a symbol.
    suite_check("findings", run_rows(FINDINGS, HISTORY), partitions_def=HISTORY, required_resource_keys=["lake"]),
    # A warning: the prices are used without the action that they contradict, and somebody should look at the source.
    pure_check(
        FINDINGS,
        "contradictions",
        _contradictions,
        description="The source nowhere contradicts itself: no finding is of severity error.",
        severity=Severity.WARN,
        partitions_def=HISTORY,
        partition=HISTORY_KEY,
        required_resource_keys=["lake"],
    ),
    pure_check(
        FINDINGS,
        "defect_rates",
        _defect_rates,
        description="No rule has findings in more of the rows than is usual of a good source.",
        severity=Severity.WARN,
        partitions_def=HISTORY,
        required_resource_keys=["lake"],
        additional_deps=[BARS],
    ),
    *(
        pure_check(
            ("market_data", kind),
            "tick_faults",
            _tick_faults(kind),
            description="No symbol's session has more crossed, mistimed or impossible ticks than is usual.",
            severity=Severity.WARN,
            partitions_def=HISTORY,
            partition=HISTORY_KEY,
            required_resource_keys=["lake"],
        )
        for kind in TICKS
    ),
]
