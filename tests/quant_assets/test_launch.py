"""Runs started by a program: a partition, a range, the whole graph, and how a failure is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets import jobs, launch
from quant_assets.definitions import LAKE
from quant_assets.evidence.trials import Trials
from quant_assets.launch import LaunchError
from quant_assets.partitions import SETTINGS, SYMBOLS
from resources.instance import BusyError, at_work
from resources.instance import instance as open_instance

pytestmark = pytest.mark.xdist_group("installation")


@pytest.fixture
def instance(installation: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(SETTINGS) as made:
        yield made


def runs(instance: dg.DagsterInstance) -> list[str]:
    return [run.run_id for run in instance.get_runs()]


def test_everything_materializes_every_partition_in_few_runs(instance: dg.DagsterInstance) -> None:
    for tier in launch.tiers(instance):
        graph = launch.defs.resolve_asset_graph()
        for asset in tier.selection.resolve(graph):
            if tier.partitions_def is None:
                assert instance.get_latest_materialization_event(asset) is not None
                continue
            missing = set(map(str, tier.keys)) - instance.get_materialized_partitions(asset)
            assert not missing, f"{asset.to_user_string()}: {sorted(missing)[:3]}"
    tags = [run.tags[launch.TIER_TAG] for run in instance.get_runs() if launch.TIER_TAG in run.tags]
    assert len(tags) == 7 + 1 + len(SETTINGS.strategies), "one range run a tier, one run a sweep and a report"


def test_what_is_fresh_is_left_alone(instance: dg.DagsterInstance) -> None:
    before, lines = runs(instance), []
    launch.everything(progress=lines.append)
    assert [line.split()[0] for line in lines] == ["fresh"] * 9
    assert runs(instance) == before


def test_the_report_of_a_swept_strategy_is_judged_by_its_sweep(instance: dg.DagsterInstance) -> None:
    held = {"strategy": "moving_average_cross", "as_of": "2012-03"}
    tests = pl.read_parquet(LAKE.path(("backtests", "report"), held, "tests.parquet"))
    of_sweep = tests.filter(pl.col("name").is_in(["overfitting", "superiority", "surface"]))
    assert of_sweep["passed"].is_not_null().all(), of_sweep["words"].to_list()
    runs = LAKE.read(("backtests", "sweep"), held)
    counted = Trials.of(SETTINGS).counted("moving_average_cross")
    assert (runs.height, counted.trials, counted.with_result) == (5, 5, 5), "the report is one of the sweep's trials"
    assert counted.sharpe_variance == pytest.approx(runs["sharpe"].var()), "and its ratio is a session's, as theirs"


def test_a_partition(instance: dg.DagsterInstance) -> None:
    result = launch.partition("features/panel", "2011-09-15")
    [event] = result.get_asset_materialization_events()
    assert (event.asset_key, event.partition) == (dg.AssetKey(["features", "panel"]), "2011-09-15")
    assert result.run_id in runs(instance), "it stands in the UI's own instance"


def test_a_partition_of_date_and_symbol(instance: dg.DagsterInstance) -> None:
    result = launch.partition(["market_data/bars", "cleaned/bars"], {"date": "2011", "symbol": "IBM"})
    assert [event.partition for event in result.get_asset_materialization_events()] == ["2011|IBM"] * 2


def test_an_asset_without_partitions(instance: dg.DagsterInstance) -> None:
    assert launch.partition("market_data/instruments").success


def test_a_range_of_sessions_is_one_run(instance: dg.DagsterInstance) -> None:
    before = len(runs(instance))
    result = launch.sessions(["features/panel", "features/labels"], "2011-11-23", "2011-11-28")
    keys = [event.partition for event in result.get_asset_materialization_events()]
    assert sorted(keys) == sorted(["2011-11-23", "2011-11-25", "2011-11-28"] * 2), "Thanksgiving is no partition"
    assert len(runs(instance)) == before + 1


def test_a_range_of_history_is_one_run_over_all_its_assets(instance: dg.DagsterInstance) -> None:
    before = len(runs(instance))
    result = launch.history("2010", "2011", ["IBM", "AAPL"])
    events = result.get_asset_materialization_events()
    assert len(events) == len(jobs.HISTORY_TIER.resolve(launch.defs.resolve_asset_graph())) * 4 >= 6 * 4
    assert {event.partition for event in events} == {"2010|AAPL", "2011|AAPL", "2010|IBM", "2011|IBM"}
    assert len(runs(instance)) == before + 1


def test_symbols_with_a_gap_between_them_are_refused(instance: dg.DagsterInstance) -> None:
    before = runs(instance)
    with pytest.raises(LaunchError, match=r"\['AAPL', 'MSFT'\] are not neighbours"):
        launch.history("2010", "2010", ["AAPL", "MSFT"])
    assert runs(instance) == before


def test_a_symbol_outside_the_universe_is_named(instance: dg.DagsterInstance) -> None:
    before = runs(instance)
    with pytest.raises(LaunchError, match=r"symbols \['TSLA'\] are not in the universe; add them"):
        launch.history("2010", "2010", ["AAPL", "TSLA"])
    assert runs(instance) == before


def test_symbols_are_registered_once(instance: dg.DagsterInstance) -> None:
    assert launch.register_symbols(instance) == ["AAPL", "IBM", "MSFT"]
    assert launch.register_symbols(instance) == list(instance.get_dynamic_partitions(SYMBOLS))


def test_a_failed_run_names_run_step_and_cause(instance: dg.DagsterInstance) -> None:
    path = Path(LAKE.path(["cleaned", "bars"], {"symbol": "IBM", "date": "2011"}))
    good = path.read_bytes()
    path.write_bytes(good[:100])
    try:
        with pytest.raises(LaunchError) as failure:
            launch.partition("features/panel", "2011-09-15")
    finally:
        path.write_bytes(good)
    run_id = runs(instance)[0]
    assert str(failure.value).startswith(f"run {run_id} failed. features__panel: ")
    assert "cleaned/bars/symbol=IBM/date=2011/part.parquet is not readable Parquet" in str(failure.value)
    assert str(failure.value).count("failed") == 1
    assert "Traceback" not in str(failure.value)


PANEL, BARS, NONE = "features/panel", "cleaned/bars", "market_data/instruments"
WRONG = [  # call, what the message says
    (
        lambda: launch.partition("features/pannel", "2011-09-15"),
        r"^assets: no asset 'features/pannel'; there are ",
    ),
    (lambda: launch.partition([], "2011-09-15"), r"^assets: none named; .*for example"),
    (lambda: launch.partition([PANEL, BARS], "2011-09-15"), r"^assets: features/panel and cleaned/bars .*one by one"),
    (lambda: launch.partition(PANEL), r"^key: features/panel has partitions 2010-06-01 to 2012-03-30.*for example"),
    (lambda: launch.partition(NONE, "2011"), r"^key: market_data/instruments has no partitions; leave it out"),
    (lambda: launch.partition(PANEL, "2011-11-24"), r"^key: '2011-11-24' .*features/panel.* 2010-06-01 to 2012-03-30"),
    (lambda: launch.partition(PANEL, {"date": "2011"}), r"^key: .* is no partition of features/panel"),
    (lambda: launch.partition(BARS, "2011"), r"^key: '2011' .*date 2010 to 2012.*symbol AAPL, IBM, MSFT.*for example"),
    (lambda: launch.partition(BARS, {"date": "2011"}), r"^key: .*'2011'.* is no partition of cleaned/bars"),
    (lambda: launch.partition(BARS, {"date": "1990", "symbol": "IBM"}), r"^key: .*1990.*date 2010 to 2012"),
    (lambda: launch.partition(BARS, {"date": "2011", "symbol": "TSLA"}), r"^key: .*TSLA.*symbol AAPL, IBM, MSFT"),
    (lambda: launch.sessions(PANEL, "2011-09-15", "2011-09-14"), r"^first: 2011-09-15 is later than last 2011-09-14;"),
    (lambda: launch.sessions(PANEL, "2011-11-24", "2011-11-28"), r"^first: '2011-11-24' .*2010-06-01 to 2012-03-30"),
    (lambda: launch.sessions(PANEL, "2011-11-23", "2031-11-28"), r"^last: '2031-11-28' is no partition"),
    (lambda: launch.sessions(BARS, "2011", "2012"), r"^assets: cleaned/bars .*launch\.history"),
    (lambda: launch.sessions(NONE, "2011", "2012"), r"^assets: market_data/instruments has no partitions"),
    (lambda: launch.history("2011", "2010", ["IBM"]), r"^first: 2011 is later than last 2010; swap them"),
    (lambda: launch.history("1990", "2010", ["IBM"]), r"^first: '1990' is no partition.*2010 to 2012"),
    (lambda: launch.history("2010", "2013", ["IBM"]), r"^last: '2013' is no partition"),
    (lambda: launch.history("2010", "2011", []), r"^symbols: none named; there are AAPL, IBM, MSFT.*for example"),
    (lambda: launch.history("2010", "2011", ["IBM"], PANEL), r"^assets: features/panel .*launch\.sessions"),
    (lambda: launch.history("2010", "2011", ["IBM"], []), r"^assets: none named"),
    (
        lambda: launch.sweep("momentum"),
        r"^strategy: 'momentum' is not configured; there are moving_average_cross, model",
    ),
    (lambda: launch.sweep("model_score"), r"^strategy: model_score has no grid .*one there are: moving_average_cross;"),
    (lambda: launch.sweep("moving_average_cross", "2009-01"), r"^key: .*2009-01.* as_of 2011-07 to 2012-03"),
]


@pytest.mark.parametrize(("call", "says"), WRONG, ids=[says for _, says in WRONG])
def test_what_there_is_not_is_refused_before_a_run(
    instance: dg.DagsterInstance, call: Callable[[], object], says: str
) -> None:
    before = runs(instance)
    with pytest.raises(LaunchError, match=says):
        call()
    assert runs(instance) == before


def test_one_symbol_may_be_plain_text_or_stand_there_twice(instance: dg.DagsterInstance) -> None:
    for symbols in ("IBM", ["IBM", "IBM"]):
        result = launch.history("2011", "2011", symbols, "cleaned/bars")
        assert [event.partition for event in result.get_asset_materialization_events()] == ["2011|IBM"]


def test_everything_beside_another_is_refused(installation: Path) -> None:
    with at_work(SETTINGS, "make demo"):  # as in another program: a thread holds nothing of its starter
        with ThreadPoolExecutor(1) as other, pytest.raises(BusyError, match=rf"make demo \(process {os.getpid()}\)"):
            other.submit(launch.everything).result()
        launch.everything(progress=lambda line: None)  # and the holder itself may go on


def test_a_blocking_check_says_what_is_broken() -> None:
    """Not only that a check failed: which expectation, of what, with an example and the reason."""
    markdown = (
        "| | expectation | columns | found | why |\n|---|---|---|---|---|\n"
        "| **error** | in_set | without_currency | 1 of 1 (ES=1) | name it in the list |\n"
        "| ok | unique | symbol | | one |"
    )

    @dg.asset
    def priced() -> None: ...

    @dg.asset_check(asset=priced, blocking=True)
    def suite() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, metadata={"result": dg.MetadataValue.md(markdown)})

    job = dg.Definitions([priced], asset_checks=[suite], jobs=[dg.define_asset_job("all")]).resolve_job_def("all")
    result = job.execute_in_process(raise_on_error=False)
    assert launch._broken_checks(result) == ["priced: in_set | without_currency | 1 of 1 (ES=1) | name it in the list"]
    assert str(launch._failure(result)).endswith("(ES=1) | name it in the list")
