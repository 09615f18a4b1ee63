"""What would have become of each strategy, told with its caveats."""

from dataclasses import replace
from datetime import UTC, date, datetime

import dagster as dg
import polars as pl

from quant_assets import evidence as statistics
from quant_assets import strategies
from quant_assets.backtests import as_of, engine, market, metrics, report, simulation, trades
from quant_assets.backtests import verdict as judgement
from quant_assets.backtests.engine import BacktestResult
from quant_assets.backtests.market.history import History
from quant_assets.backtests.simulation.tables import EQUITY_SCHEMA
from quant_assets.backtests.sweeps import kept
from quant_assets.backtests.sweeps.assets import INPUTS, STRATEGIES, SWEEP, parameters_beside
from quant_assets.backtests.sweeps.configured import Plan, planned
from quant_assets.backtests.sweeps.kept import Kept
from quant_assets.backtests.verdict.assess import Evidence, assess
from quant_assets.backtests.verdict.caveats import BY_PATH, Provenance, caveats, verdict
from quant_assets.backtests.verdict.stress import stress
from quant_assets.evidence.surface import Surface
from quant_assets.evidence.trials import Trial, Trials
from quant_assets.metadata import columns, picture, show
from quant_assets.partitions import REPORTS, SETTINGS
from quant_assets.strategies import orders
from quant_assets.versions import code_version, modules_of
from resources import exchange
from resources.config import StrategySettings
from resources.lake import Lake, content_version
from resources.lake_io import Bundle, Table, partition_of
from resources.tracking import Tracking

REPORT = "backtests/report"

ROOMS = (market, simulation, trades, metrics, report, judgement, statistics, exchange)
"""Where the code is that makes a report: a change in any of it makes reports stale."""

METRICS = pl.Schema({"metric": pl.String(), "value": pl.Float64()})
INTERVALS = pl.Schema({"figure": pl.String(), **dict.fromkeys(("low", "high", "estimate", "block"), pl.Float64())})


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


@dg.asset(
    name="report",
    key_prefix="backtests",
    group_name="backtests",
    owners=["team:research"],
    kinds={"numba", "html"},
    partitions_def=REPORTS,
    # A report is a run of its own: each has its page, its picture and its place in the list of trials.
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    # The sweep of the same strategy and month, where there is one.
    ins={**INPUTS, "swept": dg.AssetIn(SWEEP)},
    code_version=code_version(
        *(engine, as_of, kept),
        *(module for room in ROOMS for module in modules_of(room)),
        *(_results, _follows_members, SETTINGS.benchmark, *(settings.grid for settings in SETTINGS.strategies)),
        *(module for settings in SETTINGS.strategies for module in strategies.code(strategies.create(settings))),
        *(SETTINGS.backtest, *SETTINGS.backtest.code(), *SETTINGS.strategies),
    ),
    metadata=columns(
        EQUITY_SCHEMA,
        {
            "session": "the trading day",
            "ts": "the bar's start",
            "cash": "in the account's currency, at the bar's end",
            "positions_value": "signed worth of what is held and paid in full, at the close",
            "equity": "cash and what is held",
            "gross_exposure": "absolute worth held, as a multiple of equity",
            "net_exposure": "signed worth held, as a multiple of equity",
            "margin": "money that the positions tie up",
            "return": "of equity since the close before, after all costs",
            "dividends": "received; paid on shorts where negative",
            "borrow_cost": "paid for shares sold short",
            "funding": "paid on perpetual contracts; received where negative",
            "interest": "paid on borrowed cash; received where negative",
        },
    ),
)
def report_asset(
    context: dg.AssetExecutionContext,
    bars: Table,
    panel: Table,
    predictions: Table,
    instruments: pl.LazyFrame,
    swept: Table,
    tracking: dg.ResourceParam[Tracking],
    lake: dg.ResourceParam[Lake],
) -> Bundle:
    """A strategy's history on the simulated exchange, after costs: figures, fills, and one page to read it on."""
    keys = partition_of(REPORTS, context.partition_key)
    settings = STRATEGIES[keys["strategy"]]
    strategy = strategies.create(settings)
    plan = planned(settings) if settings.grid else None
    readers = plan.readers if plan else [strategy]
    world = as_of.world(SETTINGS, keys["as_of"], readers, bars, panel, predictions, instruments)
    traded, benchmark, past = world.traded, world.benchmark, world.past
    intents = strategy.intents(world.features.lazy()).filter(pl.col("session") >= world.first)
    trials = Trials(tracking)
    trial = Trial(trials, settings.name, _parameters(strategy), f"{REPORT} {context.partition_key}", type(strategy))
    sent = orders(intents, tag=strategy.name).collect()
    result, other = _results(past, sent.lazy(), benchmark, trial)
    sweep, surface, sweep_note = _sweep(lake, keys, world, plan, result)
    # Those configured beside it are candidates even before their own first report.
    evidence = assess(
        result,
        trials.counted(settings.name, STRATEGIES),
        settings=SETTINGS.backtest,
        benchmark=benchmark,
        sweep_returns=None if sweep is None else sweep.returns,
        surface=surface,
        sweep_note=sweep_note,
        stress=stress(past, sent, SETTINGS.backtest, benchmark, known=result),
        other_path=None if other is None else other.metrics,
        point_in_time=_follows_members(traded, instruments),
    )
    source = _provenance(context, settings, traded, evidence)
    if strategy.needs_predictions:
        source = replace(source, model_version=_newest_model(predictions, world.last))
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


def _sweep(
    lake: Lake, keys: dict[str, str], world: as_of.World, plan: Plan | None, result: BacktestResult
) -> tuple[Kept | None, Surface | None, str]:
    """The sweep of what is reported, its surface, and what to know of it: why there is none, or how this one did."""
    name, month = keys["strategy"], keys["as_of"]
    untested = "the choice of its parameters was not tested"
    if plan is None:
        why = (
            f"{name} has no grid in the configuration (strategies), so {untested}: give it one, and run the job sweep."
        )
        return None, None, why
    how = f"run the job sweep, or quant_assets.launch.sweep('{name}', '{month}')"
    found = Kept.read(lake, SWEEP, keys)
    if found is None:
        return None, None, f"No sweep of {name} as of {month} was run, so {untested}: {how}."
    returns = engine.by_session(result.equity, SETTINGS.backtest.cash)
    unlike = found.unlike(kept.made_from(world, plan, SETTINGS.backtest), returns, plan)
    if unlike:
        made = f"The sweep of {name} as of {month} was made from {unlike}"
        return None, None, f"{made}, so it was not used and {untested}: {how}."
    surface, place = found.surface(plan), found.place(plan)
    if surface is None:
        return found, None, "No run of the sweep has a Sharpe ratio."
    stands = (
        "have no Sharpe ratio" if place is None else f"are in place {place} of {found.results.height} by Sharpe ratio"
    )
    return found, surface, f"The parameters of this report {stands}."


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
    return strategy.model_dump() | parameters_beside(strategy)


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
