"""What would have become of each strategy, told with its caveats."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl

from quant_assets import evidence as statistics
from quant_assets import strategies
from quant_assets.backtests import engine, market, metrics, report, simulation, trades
from quant_assets.backtests import verdict as judgement
from quant_assets.backtests.engine import BacktestResult
from quant_assets.backtests.market.history import History, history
from quant_assets.backtests.simulation.tables import EQUITY_SCHEMA
from quant_assets.backtests.verdict.assess import Evidence, assess
from quant_assets.backtests.verdict.caveats import BY_PATH, Provenance, caveats, verdict
from quant_assets.backtests.verdict.stress import stress
from quant_assets.cleaned.sessions import MISSING, session_bars
from quant_assets.evidence.trials import Trial, Trials
from quant_assets.metadata import columns, picture, show
from quant_assets.partitions import REPORTS, SETTINGS
from quant_assets.strategies import orders
from quant_assets.versions import code_version, modules_of
from resources import exchange
from resources.config import StrategySettings
from resources.errors import ConfigError
from resources.lake import content_version
from resources.lake_io import Bundle, Table, partition_of
from resources.tracking import Tracking

REPORT = "backtests/report"

ROOMS = (market, simulation, trades, metrics, report, judgement, statistics, exchange)
"""Where the code is that makes a report: a change in any of it makes reports stale."""

METRICS = pl.Schema({"metric": pl.String(), "value": pl.Float64()})
INTERVALS = pl.Schema({"figure": pl.String(), **dict.fromkeys(("low", "high", "estimate", "block"), pl.Float64())})

_STRATEGIES = {settings.name: settings for settings in SETTINGS.strategies}


def _features(strategy: strategies.Strategy, panel: Table, predictions: Table, last: date) -> pl.LazyFrame:
    held = [key for key in panel.dates if key <= last.isoformat()]
    wanted = [name for name in strategy.required_features if name not in ("score", "confidence")]
    features = panel.scan(dates=held).select("symbol", "ts", "session", "known_at", "tradable", *wanted)
    if not strategy.needs_predictions:
        return features
    scores = predictions.scan(dates=held).select("symbol", "session", "score", "confidence")
    return features.join(scores, on=["symbol", "session"], how="left")


def _traded(bars: Table, panel: Table, first: date, last: date) -> pl.DataFrame:
    """Cleaned bars of the panel's symbols: one that left the universe stays in the lake, and out of every result."""
    held = [key for key in panel.dates if first.isoformat() <= key <= last.isoformat()]
    members = panel.scan(dates=held).select("symbol").unique()
    within = bars.scan().filter(pl.col("session").is_between(first, last))
    rows = session_bars(within, SETTINGS.timeframe)
    return rows.join(members, on="symbol", how="semi", maintain_order="left").collect()


def _finer(bars: Table, traded: pl.DataFrame, timeframe: str) -> pl.LazyFrame | None:
    """The lake's bars, where they are shorter than a session: they decide inside it. Slots without a trade left out.

    None where the configuration does not ask for them. Raises ConfigError where it asks for others than there are.
    """
    wanted = SETTINGS.backtest.intrabar_timeframe
    if wanted is None:
        return None
    if timeframe == "1d" or wanted != timeframe:
        raise ConfigError(
            f"backtest.intrabar_timeframe is {wanted}, and the bars of this installation are {timeframe}; "
            + (
                "leave it out, or set timeframe to it"
                if timeframe == "1d"
                else f"set it to {timeframe}, or leave it out"
            )
        )
    days = traded.lazy().select("symbol", "session").unique()
    real = bars.scan().filter(~pl.col("flags").list.contains(MISSING))
    return real.join(days, on=["symbol", "session"], how="semi", maintain_order="left")


def _results(
    past: History, sent: pl.LazyFrame, benchmark: pl.DataFrame, trial: Trial | None = None
) -> tuple[BacktestResult, BacktestResult | None]:
    """The result by the configured path, and that by the other one; None where no fill hangs on the path."""
    result = engine.run(past, sent, SETTINGS.backtest, benchmark=benchmark, trial=trial)
    if not result.fills["ambiguous"].any():
        return result, None
    other = "better" if SETTINGS.backtest.ambiguous == "worse" else "worse"
    return result, engine.run(
        past, sent, SETTINGS.backtest.model_copy(update={"ambiguous": other}), benchmark=benchmark
    )


def _follows_members(traded: pl.DataFrame, instruments: pl.LazyFrame) -> bool:
    """Whether the universe is that of its time: each symbol says since when it is listed, and some have left since."""
    names = traded.lazy().select("symbol").unique()
    held = names.join(instruments, on="symbol", how="left", maintain_order="left")
    if not {"listed", "delisted"} <= set(held.collect_schema()):
        return False
    left = (pl.col("delisted") <= traded["session"].max()).any()
    return bool(held.select(pl.col("listed").is_not_null().all() & left.fill_null(False)).collect().item())


def _benchmark(bars: pl.DataFrame) -> pl.DataFrame:
    """Daily returns (session, return) of the configured symbol, or of all symbols in equal weights, without costs.

    Raises ConfigError where there are no bars of that symbol.
    """
    change = (pl.col("adj_close") / pl.col("adj_close").shift() - 1).over("symbol", order_by="session")
    held = bars if SETTINGS.benchmark is None else bars.filter(pl.col("symbol") == SETTINGS.benchmark)
    if held.is_empty():
        raise ConfigError(
            f"benchmark: there are no bars of {SETTINGS.benchmark} in this period; add it to the universe, or leave "
            "benchmark out to compare with all symbols in equal weights"
        )
    return (
        held.with_columns(**{"return": change})
        .group_by("session")
        .agg(pl.col("return").mean().fill_null(0.0))
        .sort("session")
    )


@dg.asset(
    name="report",
    key_prefix="backtests",
    group_name="backtests",
    owners=["team:research"],
    kinds={"numba", "html"},
    partitions_def=REPORTS,
    # A report is a run of its own: each has its page, its picture and its place in the list of trials.
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    ins={
        "bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=dg.AllPartitionMapping()),
        "panel": dg.AssetIn(["features", "panel"], partition_mapping=dg.AllPartitionMapping()),
        "predictions": dg.AssetIn(["models", "predictions"], partition_mapping=dg.AllPartitionMapping()),
        "instruments": dg.AssetIn(["market_data", "instruments"]),
    },
    code_version=code_version(
        engine,
        *(module for room in ROOMS for module in modules_of(room)),
        *(_features, _traded, _finer, _results, _follows_members, _benchmark, SETTINGS.benchmark),
        *(module for settings in SETTINGS.strategies for module in strategies.code(strategies.create(settings))),
        *(SETTINGS.backtest, *SETTINGS.backtest.code(), *SETTINGS.strategies),
    ),
    metadata=columns(
        EQUITY_SCHEMA,
        {
            "positions_value": "signed worth of what is held, at the close",
            "gross_exposure": "absolute worth held, as a multiple of equity",
            "return": "of equity since the close before, after all costs",
        },
    ),
)
def report_asset(
    context: dg.AssetExecutionContext,
    bars: Table,
    panel: Table,
    predictions: Table,
    instruments: pl.LazyFrame,
    tracking: dg.ResourceParam[Tracking],
) -> Bundle:
    """A strategy's history on the simulated exchange, after costs: figures, fills, and one page to read it on."""
    keys = partition_of(REPORTS, context.partition_key)
    settings = _STRATEGIES[keys["strategy"]]
    strategy = strategies.create(settings)
    first, last = SETTINGS.backtest.start or SETTINGS.dates.start, _last_day(keys["as_of"])
    intents = strategy.intents(_features(strategy, panel, predictions, last)).filter(pl.col("session") >= first)
    traded = _traded(bars, panel, first, last)
    benchmark = _benchmark(traded)
    finer = _finer(bars, traded, SETTINGS.timeframe)
    past = history(traded, instruments, SETTINGS.backtest.currency, finer)
    trials = Trials(tracking)
    trial = Trial(trials, settings.name, _parameters(strategy), f"{REPORT} {context.partition_key}")
    sent = orders(intents, tag=strategy.name).collect()
    result, other = _results(past, sent.lazy(), benchmark, trial)
    # Those configured beside it are candidates even before their own first report. What a sweep of the family holds
    # (returns of all runs, surface) is to be given here too, once reports know their sweep's folder.
    evidence = assess(
        result,
        trials.counted(settings.name, _STRATEGIES),
        settings=SETTINGS.backtest,
        benchmark=benchmark,
        stress=stress(past, sent, SETTINGS.backtest, benchmark, known=result),
        other_path=None if other is None else other.metrics,
        point_in_time=_follows_members(traded, instruments),
    )
    source = _provenance(context, settings, traded, evidence)
    if strategy.needs_predictions:
        source = replace(source, model_version=_newest_model(predictions, last))
    show(
        context,
        {
            "verdict": verdict(result, source).text,
            "proven": evidence.proven,
            "trials": evidence.trials.tried,
            "equity": picture(report.picture(result, benchmark, source), f"equity of {strategy.name}"),
            "tests": dg.MetadataValue.md(_tests(evidence)),
            "caveats": dg.MetadataValue.md("\n".join(f"- {line}" for line in caveats(result, source))),
            **{test.name: test.value for test in evidence.tests if test.name == "deflated_sharpe" and test.value},
            **{name: value for name, value in result.metrics.items() if value is not None},
            **_by_path(other),
        },
    )
    return Bundle(
        result.equity,
        frames={
            "fills": result.fills,
            "positions": result.positions,
            "orders": result.orders,
            "metrics": pl.DataFrame(list(result.metrics.items()), METRICS, orient="row"),
            **_evidence_frames(evidence),
        },
        files={
            "report.html": report.page(result, benchmark, source, traded).encode(),
            "caveats.txt": "\n".join([verdict(result, source).text, *caveats(result, source)]).encode(),
        },
    )


def _tests(evidence: Evidence) -> str:
    """The tests as a table in Markdown."""
    told = {True: "passed", False: "**failed**", None: "not judged"}
    rows = [f"| {told[test.passed]} | {test.title} | {test.words} |" for test in evidence.tests]
    return "\n".join(["| | test | what it says |", "|---|---|---|", *rows])


def _evidence_frames(evidence: Evidence) -> dict[str, pl.DataFrame]:
    """What stands beside the report: tests, intervals, and the costs stressed."""
    spans = [(name, of.low, of.high, of.estimate, of.block) for name, of in evidence.intervals.items()]
    frames = {"tests": evidence.frame(), "intervals": pl.DataFrame(spans, INTERVALS, orient="row")}
    return frames | ({} if evidence.stress is None else {"stress": evidence.stress})


def _by_path(other: BacktestResult | None) -> dict[str, float]:
    """The figures that show how much hangs on the path inside bars: of the path that the result did not take."""
    if other is None:
        return {}
    taken = "better" if SETTINGS.backtest.ambiguous == "worse" else "worse"
    figures = {f"{name}, {taken} path": other.metrics.get(name) for name in BY_PATH}
    return {name: value for name, value in figures.items() if value is not None}


def _parameters(strategy: strategies.Strategy) -> dict[str, object]:
    """What makes one trial different from another: every parameter and, where it trades a model, the model's."""
    model = {"model": SETTINGS.model} if strategy.needs_predictions else {}
    return strategy.model_dump() | model


def _provenance(
    context: dg.AssetExecutionContext, settings: StrategySettings, traded: pl.DataFrame, evidence: Evidence
) -> Provenance:
    return Provenance(
        strategy=settings.name,
        parameters=settings.parameters,
        config_name=SETTINGS.name,
        data_version=content_version(traded),
        code_version=context.assets_def.code_versions_by_key[context.asset_key] or "",
        trials=evidence.trials.tried,
        settings=SETTINGS.backtest,
        symbols=sorted(traded["symbol"].unique()),
        benchmark=SETTINGS.benchmark or "all symbols, equal weights",
        created_at=datetime.now(UTC),
        point_in_time=evidence.universe_point_in_time,
        other_path=evidence.other_path,
        evidence=evidence,
    )


def _newest_model(predictions: Table, last: date) -> str | None:
    """The model behind the last prediction up to a date; those of earlier sessions are in models/predictions."""
    held = [key for key in predictions.dates if key <= last.isoformat()][-1:]
    versions = predictions.scan(dates=held).select("model_version").collect()["model_version"]
    return versions[-1] if len(versions) else None


def _last_day(month: str) -> date:
    first = datetime.strptime(month, "%Y-%m").date()
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
