"""The whole pipeline in one command: materialize the graph, trade a session on paper, print what came of it.

    python -m quant_assets demo        (make demo)

A second run reuses what is fresh.
"""

from __future__ import annotations

import time

import dagster as dg
import polars as pl
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from quant_assets import launch
from quant_assets.cleaned.assets import QUALITY_PAGE
from quant_assets.definitions import LAKE, defs
from quant_assets.live.heartbeat import last_beat
from quant_assets.partitions import SETTINGS
from resources.alternative.base import as_of
from resources.calendars import sessions
from resources.instance import instance as open_instance
from sensors.supervisor import IN_PROGRESS, SLACK_SECONDS

FIGURES = ("cagr", "sharpe", "max_drawdown", "turnover", "probabilistic_sharpe")


def main() -> None:
    began = time.perf_counter()
    print(f"Configuration {SETTINGS.name}: data in {SETTINGS.home}\n\nThe graph")
    launch.everything()
    print_checks()
    print_records()
    print("\nPaper trading")
    trade_on_paper()
    print_signals()
    print_reports()
    print(
        f"\nDone in {time.perf_counter() - began:.0f} s. Open the graph with `make ui` (http://127.0.0.1:3000), "
        "the models with `make mlflow`."
    )


def trade_on_paper() -> None:
    """Replay the last recorded session at the paper broker, unless it was traded before."""
    from quant_assets.live.world import SESSION_TAG
    from quant_assets.live_definitions import WORLD, live_trading

    with open_instance(SETTINGS) as instance:
        turn = WORLD.turn(launch.utc_now())
        if not turn.replay:
            print("  the history grows with the market: the supervisor sensor trades the next session (make ui)")
            return
        session = turn.session.isoformat()
        traded = instance.get_runs(
            dg.RunsFilter(
                job_name=live_trading.name, tags={SESSION_TAG: session}, statuses=[dg.DagsterRunStatus.SUCCESS]
            ),
            limit=1,
        )
        if traded:
            print(f"  {session} was traded before")
        else:
            end_dead_runs(instance, live_trading.name)
            print(f"  {session}, on the signals of {turn.signals}: replayed in {SETTINGS.live.replay_seconds:g} s")
            launch.run_job(instance, live_trading, tags={SESSION_TAG: session})
    fills = LAKE.read(("live", "executions"), {"date": session})
    equity = LAKE.read(("live", "equity"), {"date": session}).tail(1)
    with pl.Config(tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_rows=20):
        print(fills.select("symbol", "side", "quantity", "price", "commission", "reason"))
    print(f"  {fills.height} fills; cash {equity['cash'][0]:,.2f}, equity {equity['equity'][0]:,.2f}")


def end_dead_runs(instance: dg.DagsterInstance, job: str) -> None:
    """Mark live runs failed whose process was killed, as the supervisor does, and free the broker for a new one.

    A run that still gives signs of life is waited for: two traders must not meet.
    """
    alive_for = 3 * SETTINGS.live.heartbeat_seconds + SLACK_SECONDS
    told = False
    while True:
        runs = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=list(IN_PROGRESS)))
        for record in runs:
            run_id = record.dagster_run.run_id
            sign = last_beat(instance, run_id) or record.update_timestamp
            if (launch.utc_now() - sign).total_seconds() > alive_for:
                instance.report_run_failed(record.dagster_run, "its process is gone: no heartbeat")
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        if not runs:
            return
        if not told:
            print(f"  another live run has not ended; waiting for it, or {alive_for:.0f} s after its last sign of life")
            told = True
        time.sleep(1)


def print_checks() -> None:
    """What the data-quality checks said last; those that failed by name, with their figures."""
    keys = sorted(defs.resolve_asset_graph().asset_check_keys, key=lambda key: key.to_user_string())
    with open_instance(SETTINGS) as instance:
        known = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    failed = {key: record for key, record in known.items() if record.status is AssetCheckExecutionRecordStatus.FAILED}
    print(f"\nChecks: {len(known) - len(failed)} passed, {len(failed)} failed")
    print(f"  data quality, by symbol and date: {LAKE.path(('cleaned', 'quality'), None, QUALITY_PAGE)}")
    for key, record in failed.items():
        evaluation = record.evaluation
        told = {name: entry.value for name, entry in evaluation.metadata.items()} if evaluation else {}
        figures = ", ".join(f"{name} {value}" for name, value in told.items() if _is_figure(value))
        print(f"  {key.to_user_string()}: {figures[:300]}")


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float | str) and not str(value).startswith("![")  # which is a picture


def print_records() -> None:
    """What alternative data there are, by kind: versions, and how many records stand as of the last session."""
    if not SETTINGS.alternative.kinds:
        return
    last = launch.last_session()
    now = sessions(SETTINGS.calendar, last, last)["close"][0]
    names = ", ".join(source.name for source in SETTINGS.alternative.sources)
    print(f"\nAlternative data ({names}), as known at the close of {last}")
    for kind in SETTINGS.alternative.kinds:
        asset = ("alternative", kind)
        log = LAKE.scan(asset, LAKE.partitions(asset))
        versions = log.select(pl.len()).collect().item()
        known = as_of(log, now).collect()
        line = f"  {kind}: {known.height:,} records in {versions:,} versions"
        for symbol, ts, known_at in known.sort("known_at").tail(1).select("symbol", "ts", "known_at").iter_rows():
            line += f"; the newest is of {symbol}, {ts:%Y-%m-%d %H:%M}, known {known_at:%Y-%m-%d %H:%M}"
        print(line)


def print_signals() -> None:
    """The latest session's signals. The lake may hold later ones, of a configuration that ended later."""
    last = launch.last_session().isoformat()
    newest = max(
        (held for held in LAKE.partitions(("signals", "daily")) if held["date"] <= last), key=lambda held: held["date"]
    )
    signals = LAKE.read(("signals", "daily"), newest)
    table = signals.select(
        "strategy",
        "symbol",
        pl.col("score").round(4),
        pl.col("confidence").round(2),
        pl.col("target_weight").round(3).alias("target"),
        pl.col("order_intent").alias("order"),
        pl.col("reasons").list.first().alias("first reason"),
    )
    model = str(signals["model_version"].drop_nulls().first())
    print(f"\nSignals of {newest['date']}, for the next open (model {model})")
    with pl.Config(
        tbl_rows=40,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        fmt_str_lengths=60,
        tbl_width_chars=140,
    ):
        print(table.head(40))


def print_reports() -> None:
    """Key figures and caveats of each configured strategy's latest report, and where its page lies."""
    month = f"{launch.last_session():%Y-%m}"
    print(f"\nBacktests as of {month}, after costs")
    for report in ({"strategy": strategy.name, "as_of": month} for strategy in SETTINGS.strategies):
        rows = pl.read_parquet(LAKE.path(("backtests", "report"), report, "metrics.parquet"))
        values = dict(rows.iter_rows())
        figures = "  ".join(f"{name} {values[name]:.2f}" for name in FIGURES if values.get(name) is not None)
        print(f"\n  {report['strategy']}: {figures}")
        for line in LAKE.read_bytes(("backtests", "report"), report, "caveats.txt").decode().splitlines():
            print(f"    - {line}")
        print(f"    page: {LAKE.path(('backtests', 'report'), report, 'report.html')}")
