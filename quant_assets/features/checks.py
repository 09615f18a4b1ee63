"""Whether stored features are whole, in their documented ranges, as they were, and what the past alone gives."""

from collections.abc import Callable, Collection, Iterator

import dagster as dg
import polars as pl

from quant_assets.checks import Question, pure_check, pure_checks, run_partitions, run_rows, suite_check
from quant_assets.cleaned.sessions import session_bars
from quant_assets.expectation_runs import Severity
from quant_assets.features import catalog, compute
from quant_assets.features.alternative.said import with_records
from quant_assets.features.definition import FeatureSet
from quant_assets.features.health import (
    CURRENT,
    MOST_NULLS,
    TRAILING,
    ages,
    counted,
    few_nulls,
    health,
    little_drift,
    no_infinities,
    recent_drift,
    same_rows,
)
from quant_assets.features.panel import members, rank_bounds
from quant_assets.features.sets import configured
from quant_assets.features.stored import ACROSS, kinds_read, knows_instruments
from quant_assets.partitions import HISTORY, HISTORY_KEY, PARTITIONS, SESSIONS, SETTINGS, windows_before
from quant_assets.plots import health_picture
from quant_assets.quality import Verdict, point_in_time
from resources.lake_io import BATCH_SYMBOLS, partition_of

BARS, INSTRUMENTS, SENTIMENT = ("cleaned", "bars"), ("market_data", "instruments"), ("alternative", "sentiment")
SAMPLE, SAMPLE_ACROSS = 20, 3
"""Rows computed again from the bars known at their session alone; few where each takes every symbol's bars."""

BATCH_SESSIONS = 250
"""Sessions read at once of a table with a file a session."""

SESSION = pl.col("session").dt.strftime("%Y-%m-%d")
WINDOW = pl.col("session").dt.strftime(PARTITIONS.grain_format)
"""A row's date partition, of tables cut by session, and by date and symbol."""

QUESTIONS = [
    Question("infinities", "No feature has an infinite value.", blocking=True),
    Question("coverage", "There is a row for every cleaned bar, by symbol and date, and for nothing else."),
    Question(
        "nulls_after_warmup",
        f"No feature is null in more than {MOST_NULLS:.0%} of the rows that have its look-back behind them.",
        Severity.WARN,
    ),
    Question(
        "drift",
        f"The last {CURRENT} sessions are distributed as the {TRAILING} before: stability index within 0.25 of chance.",
        Severity.WARN,
    ),
]
"""A warning is for a person to look at: halts make nulls and crises make drift without anything being wrong."""


def _asked(context: dg.AssetCheckExecutionContext, name: str) -> list[dict[str, str]]:
    """The partitions of features/<name> that the run is about; all that were written in a run without."""
    definition = _definition(name)
    asked = [partition_of(definition, key) for key in run_partitions(context, definition)]
    return asked or context.resources.lake.partitions(("features", name))


def _definition(name: str) -> dg.PartitionsDefinition:
    return SESSIONS if name == ACROSS else HISTORY


def _bars(context: dg.AssetCheckExecutionContext, symbols: Collection[str] | None, across: bool) -> pl.LazyFrame:
    """Session bars of these symbols (of all: None), for features across symbols those of the universe of each date."""
    lake = context.resources.lake
    held = [part for part in lake.partitions(BARS) if symbols is None or part["symbol"] in symbols]
    bars = session_bars(lake.scan(BARS, held), SETTINGS.timeframe)
    if not across:
        return bars
    instruments = lake.scan(INSTRUMENTS, [{}])
    return members(bars.join(instruments.select("symbol"), on="symbol", how="semi", maintain_order="left"), instruments)


def _judged(held: FeatureSet) -> Callable[[dg.AssetCheckExecutionContext], dict[str, Verdict]]:
    """What the checks of QUESTIONS say, from one look at the run's rows."""
    asset, across = ("features", held.name), held.name == ACROSS

    def evaluate(context: dg.AssetCheckExecutionContext) -> dict[str, Verdict]:
        lake, asked = context.resources.lake, _asked(context, held.name)
        symbols = None if across else {part["symbol"] for part in asked}
        bars = _bars(context, symbols, across).select("symbol", "ts", "session").collect()
        aged = ages(bars.lazy()).collect()
        counts = [counted(lake.scan(asset, batch).collect(), held, aged) for batch in _batches(asked)]
        near = lake.scan(asset, _recent(asked, lake.partitions(asset), across)).collect()
        found = health(counts, recent_drift(near, held))
        dates = sorted({part["date"] for part in asked})
        mine = bars.lazy().filter((SESSION if across else WINDOW).is_in(dates))
        picture = health_picture(found)
        return {
            "infinities": no_infinities(found),
            "coverage": same_rows(lake.scan(asset, asked), mine),
            "nulls_after_warmup": few_nulls(found, picture),
            "drift": little_drift(found, picture),
        }

    return evaluate


def _batches(asked: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """The partitions some at a time, so that memory follows the batch: those of 50 symbols, or of 250 sessions."""
    by = sorted(asked, key=lambda part: (part.get("symbol", ""), part["date"]))
    groups = sorted({part.get("symbol") or part["date"] for part in by})
    size = BATCH_SYMBOLS if by and "symbol" in by[0] else BATCH_SESSIONS
    for first in range(0, len(groups), size):
        some = set(groups[first : first + size])
        yield [part for part in by if (part.get("symbol") or part["date"]) in some]


def _recent(asked: list[dict[str, str]], there: list[dict[str, str]], across: bool) -> list[dict[str, str]]:
    """Partitions that hold the sessions up to the run's last one that drift is judged by, of the run's symbols."""
    last, wanted = max(part["date"] for part in asked), CURRENT + TRAILING
    dates = sorted({part["date"] for part in there if part["date"] <= last})
    near = set(dates[-(wanted if across else windows_before(wanted) + 1) :])
    symbols = {part.get("symbol") for part in asked}
    return [part for part in there if part["date"] in near and part.get("symbol") in symbols]


def _point_in_time(held: FeatureSet) -> Callable[[dg.AssetCheckExecutionContext], Verdict]:
    asset, across = ("features", held.name), held.name == ACROSS

    def evaluate(context: dg.AssetCheckExecutionContext) -> Verdict:
        lake, partitions = context.resources.lake, _asked(context, held.name)
        # Most groups are made without the table of instruments, and may be there before it is.
        instruments = lake.scan(INSTRUMENTS, [{}]).collect() if knows_instruments(held) else None
        if across:
            dates = [part["date"] for part in partitions]
            chosen = set(dates[:: max(1, len(dates) // SAMPLE_ACROSS)])
            mine, symbols = [part for part in partitions if part["date"] in chosen], None
        else:
            every = sorted({part["symbol"] for part in partitions})
            symbols = set(every[:: max(1, len(every) // SAMPLE)])
            mine = [part for part in partitions if part["symbol"] in symbols]
        bars = _bars(context, symbols, across).collect().lazy()
        said = _said(context, held, symbols)

        def recompute(past: pl.LazyFrame) -> pl.LazyFrame:
            near = past.filter(pl.int_range(pl.len()).reverse().over("symbol") <= held.lookback)
            if said is not None:
                now = past.select(pl.col("known_at").max()).collect().item()
                known = said.filter(pl.col("known_at") <= now)
                near = with_records(near.collect(), known, SETTINGS.alternative.since(SETTINGS.dates.start)).lazy()
            return compute(
                near, held, instruments=instruments, calendar=SETTINGS.calendar, benchmark=SETTINGS.benchmark
            )

        sample = SAMPLE_ACROSS if across else SAMPLE
        stored = lake.scan(asset, mine).collect().lazy()
        return point_in_time(stored, bars, recompute, sample=sample, cross_sectional=across)

    return evaluate


def _said(
    context: dg.AssetCheckExecutionContext, held: FeatureSet, symbols: Collection[str] | None
) -> pl.DataFrame | None:
    """The sentiment of the records of these symbols, for features that read it."""
    if not any(map(kinds_read, held)):
        return None
    lake = context.resources.lake
    there = [part for part in lake.partitions(SENTIMENT) if symbols is None or part["symbol"] in symbols]
    said: pl.DataFrame = lake.scan(SENTIMENT, there).collect()
    return said


def _checks_of(held: FeatureSet) -> list[dg.AssetChecksDefinition]:
    """The checks of an asset that holds features."""
    asset, definition, across = ("features", held.name), _definition(held.name), held.name == ACROSS
    return [
        suite_check(
            "features",
            run_rows(asset, definition),
            asset=asset,
            catalogue=lambda: catalog().filter(pl.col("name").is_in(held.names)),
            partitions_def=definition,
            partition=SESSION if across else HISTORY_KEY,
            required_resource_keys=["lake"],
        ),
        pure_checks(asset, QUESTIONS, _judged(held), required_resource_keys=["lake"], additional_deps=[BARS]),
        pure_check(
            asset,
            "point_in_time",
            _point_in_time(held),
            description="Some stored rows come out the same, computed again from nothing later than their session.",
            partitions_def=definition,
            required_resource_keys=["lake"],
            additional_deps=[BARS],
        ),
    ]


_SETS = configured(SETTINGS)

checks = [
    *(check for held in _SETS.stored.values() for check in _checks_of(held)),
    suite_check(
        "panel",
        run_rows(("features", "panel"), SESSIONS),
        catalogue=lambda: rank_bounds(_SETS.panel.names),
        partitions_def=SESSIONS,
        partition=SESSION,
        required_resource_keys=["lake"],
    ),
]
