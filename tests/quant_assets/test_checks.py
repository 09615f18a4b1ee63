"""Suites and verdicts in Dagster runs: with no partition, one, or a range; what blocks and what is remembered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets import checks
from quant_assets.checks import pure_check, run_partitions, suite_check
from quant_assets.expectation_runs import Severity
from quant_assets.quality import FINDING_SCHEMA, Verdict
from resources.calendars import UTC_MICROS

ASSET = dg.AssetKey(["market_data", "bars"])
SYMBOLS = ["A", "B", "C"]
HISTORY = dg.MultiPartitionsDefinition(
    {
        "date": dg.TimeWindowPartitionsDefinition(cron_schedule="0 0 1 1 *", fmt="%Y", start="2012", end="2014"),
        "symbol": dg.DynamicPartitionsDefinition(name="check_symbols"),
    }
)
KEYS = [f"{year}|{symbol}" for year in (2012, 2013) for symbol in SYMBOLS]
BY_ROW = pl.format("{}|{}", pl.col("ts").dt.year(), "symbol")
BY_FINDING = pl.format("{}|{}", pl.col("session").dt.year(), "symbol")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as held:
        held.add_dynamic_partitions("check_symbols", SYMBOLS)
        yield held


def bars(spoilt: str | None = None, **changes: Any) -> pl.DataFrame:
    """A good bar in each partition, but for the changes in one of them."""
    rows = []
    for key in KEYS:
        year, symbol = key.split("|")
        start, end = datetime(int(year), 3, 1, 14, 30), datetime(int(year), 3, 1, 21)
        row = {"symbol": symbol, "ts": start, "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.0, "volume": 5.0}
        rows.append({**row, "provider": "t", "fetched_at": end, "known_at": end, **(changes if key == spoilt else {})})
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(["ts", "fetched_at", "known_at"], UTC_MICROS))


def job_of(check: dg.AssetChecksDefinition, partitions_def: dg.PartitionsDefinition | None) -> dg.Definitions:
    options: dict[str, Any] = {"partitions_def": partitions_def, "backfill_policy": dg.BackfillPolicy.single_run()}
    options = options if partitions_def else {}

    @dg.asset(key=ASSET, **options)
    def made() -> None: ...

    @dg.asset(deps=[made], **options)
    def downstream() -> None: ...

    everything = dg.define_asset_job("everything", dg.AssetSelection.all())
    alone = dg.define_asset_job("alone", dg.AssetSelection.checks(check))
    return dg.Definitions(assets=[made, downstream], asset_checks=[check], jobs=[everything, alone])


def execute(
    instance: dg.DagsterInstance,
    check: dg.AssetChecksDefinition,
    keys: list[str] | None = None,
    job: str = "everything",
    partitions_def: dg.PartitionsDefinition | None = HISTORY,
) -> dg.ExecuteInProcessResult:
    tags = {}
    if keys is not None:
        first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
        tags = {first: keys[0], last: keys[-1]} if len(keys) > 1 else {"dagster/partition": keys[0]}
    definition = job_of(check, partitions_def if keys is not None else None).resolve_job_def(job)
    return definition.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def verdicts(run: dg.ExecuteInProcessResult) -> dict[str | None, str]:
    """What the run logged, by partition (None: the whole): ok, or the severity of the failure."""
    return {
        evaluation.partition: "ok" if evaluation.passed else evaluation.severity.value
        for evaluation in run.get_asset_check_evaluations()
    }


def shown(instance: dg.DagsterInstance, check: dg.AssetChecksDefinition) -> str:
    """The state that Dagster shows for the check, and that automation conditions read."""
    [record] = instance.event_log_storage.get_latest_asset_check_execution_by_key([check.check_key]).values()
    evaluation = record.evaluation
    assert evaluation is not None
    return "ok" if evaluation.passed else evaluation.severity.value


def ran_downstream(run: dg.ExecuteInProcessResult) -> bool:
    return any(event.is_step_success and event.step_key == "downstream" for event in run.all_events)


def bars_check(frame: pl.DataFrame, **options: Any) -> dg.AssetChecksDefinition:
    options = {"partitions_def": HISTORY, "partition": BY_ROW, **options}

    def load(context: dg.AssetCheckExecutionContext) -> pl.LazyFrame:
        keys = run_partitions(context, options["partitions_def"])
        return frame.lazy().filter(BY_ROW.is_in(keys)) if keys else frame.lazy()

    return suite_check("bars", load, **options)


# A suite as a check


@pytest.mark.parametrize(
    ("keys", "logged"),
    [(None, []), (KEYS[:1], KEYS[:1]), (KEYS, KEYS)],
    ids=["no partitions", "one partition", "a range"],
)
def test_every_partition_of_a_run_gets_a_word(
    instance: dg.DagsterInstance, keys: list[str] | None, logged: list[str]
) -> None:
    check = bars_check(bars(), **({"partitions_def": None} if keys is None else {}))
    run = execute(instance, check, keys)
    assert run.success
    assert verdicts(run) == dict.fromkeys([*logged, None], "ok")
    assert shown(instance, check) == "ok"


@pytest.mark.parametrize(
    ("changes", "word", "downstream"),
    [
        ({"close": -1.0}, "ERROR", False),
        ({"volume": 0.0}, "WARN", True),
        ({}, "ok", True),
    ],
    ids=["error", "warning", "good"],
)
@pytest.mark.parametrize("keys", [["2013|A"], KEYS], ids=["one partition", "a range"])
def test_an_error_stops_what_comes_after_and_a_warning_does_not(
    instance: dg.DagsterInstance, changes: dict[str, Any], word: str, downstream: bool, keys: list[str]
) -> None:
    check = bars_check(bars("2013|A", **changes))
    run = execute(instance, check, keys)
    assert verdicts(run) == {**dict.fromkeys(keys, "ok"), "2013|A": word, None: word}
    assert shown(instance, check) == word
    assert ran_downstream(run) is downstream
    assert run.success is downstream


def test_a_check_that_does_not_block_lets_the_run_go_on(instance: dg.DagsterInstance) -> None:
    run = execute(instance, bars_check(bars("2013|A", close=-1.0), blocking=False), ["2013|A"])
    assert verdicts(run) == {"2013|A": "ERROR", None: "ERROR"}
    assert ran_downstream(run)


def test_what_is_wrong_with_the_table_is_wrong_with_every_partition(instance: dg.DagsterInstance) -> None:
    run = execute(instance, bars_check(bars().drop("provider")), KEYS)
    assert verdicts(run) == dict.fromkeys([*KEYS, None], "ERROR")


def test_rows_of_no_partition_of_the_run_are_everyones_fault(instance: dg.DagsterInstance) -> None:
    check = suite_check("bars", lambda context: bars("2013|A", ts=None), partitions_def=HISTORY, partition=BY_ROW)
    assert verdicts(execute(instance, check, KEYS[:2])) == dict.fromkeys([*KEYS[:2], None], "ERROR")
    assert shown(instance, check) == "ERROR"


def test_without_a_key_for_rows_only_the_whole_is_judged(instance: dg.DagsterInstance) -> None:
    run = execute(instance, bars_check(bars("2013|A", close=-1.0), partition=None), KEYS)
    assert verdicts(run) == {None: "ERROR"}


@pytest.mark.parametrize("keys", [["2013|A"], KEYS], ids=["one partition", "a range"])
def test_a_check_can_run_alone(instance: dg.DagsterInstance, keys: list[str]) -> None:
    run = execute(instance, bars_check(bars("2013|A", close=-1.0)), keys, job="alone")
    assert verdicts(run) == {**dict.fromkeys(keys, "ok"), "2013|A": "ERROR", None: "ERROR"}


def test_metadata_says_what_broke_where_and_why(instance: dg.DagsterInstance) -> None:
    run = execute(instance, bars_check(bars("2013|A", close=-1.0)), KEYS)
    by_partition = {evaluation.partition: evaluation.metadata for evaluation in run.get_asset_check_evaluations()}
    whole = {name: value.value for name, value in by_partition[None].items()}
    assert (whole["rows"], whole["partitions"], whole["failing partitions"]) == (6, 6, 1)
    broken = str(whole["result"]).splitlines()[2]
    assert "| **error** | expect_column_" in broken
    assert "a broken feed" in str(whole["result"])
    failing: Any = by_partition[None]["failing rows"]
    records = [record.data for record in failing.records]
    assert {(row["symbol"], row["ts"][:4], row["value"]) for row in records} == {
        ("A", "2013", "close=-1.0"), ("A", "2013", "close=-1.0 low=9.0")
    }  # fmt: skip
    assert by_partition["2013|A"]["unexpected"].value == 2
    assert by_partition["2012|A"] == {}


# Very many partitions


def verdict_check(failing: dict[str, str | None], **options: Any) -> dg.AssetChecksDefinition:
    """A check by hand, failing for these partitions; its verdict can be changed between runs."""

    def evaluate(context: dg.AssetCheckExecutionContext) -> Verdict:
        rows = [
            {"symbol": key.split("|")[1], "session": f"{key[:4]}-03-01", "field": "x", "problem": "bad", "value": None}
            for key in failing
        ]
        frame = pl.DataFrame(rows, schema={**FINDING_SCHEMA, "session": pl.String})
        return Verdict(
            not failing, {"share": 0.5, "nothing": None}, frame.with_columns(pl.col("session").str.to_date())
        )

    options = {"partitions_def": HISTORY, "partition": BY_FINDING, **options}
    return pure_check(ASSET.path, "by_hand", evaluate, description="By hand.", **options)


def test_a_long_range_logs_failures_only_and_at_most_so_many(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "INDIVIDUALLY", 2)
    assert verdicts(execute(instance, verdict_check({}), KEYS)) == {None: "ok"}
    one = verdict_check({"2013|B": None})
    assert verdicts(execute(instance, one, KEYS)) == {"2013|B": "ERROR", None: "ERROR"}
    assert shown(instance, one) == "ERROR"
    run = execute(instance, verdict_check(dict.fromkeys(KEYS[:4])), KEYS)
    failed = {key for key, word in verdicts(run).items() if key and word == "ERROR"}
    assert len(failed) == 2
    assert failed < set(KEYS[:4])
    [whole] = [found for found in run.get_asset_check_evaluations() if found.partition is None]
    assert whole.metadata["failing partitions"].value == 4


def test_a_long_range_takes_back_what_failed_before(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "INDIVIDUALLY", 2)
    execute(instance, verdict_check({"2013|B": None, "2012|A": None}), KEYS)
    better = verdict_check({"2012|A": None})
    assert verdicts(execute(instance, better, KEYS)) == {"2013|B": "ok", "2012|A": "ERROR", None: "ERROR"}
    assert shown(instance, better) == "ERROR"
    good = verdict_check({})
    assert verdicts(execute(instance, good, KEYS)) == {"2012|A": "ok", None: "ok"}
    assert verdicts(execute(instance, good, KEYS)) == {None: "ok"}
    assert shown(instance, good) == "ok"


def test_errors_are_logged_after_warnings(instance: dg.DagsterInstance) -> None:
    frame = pl.concat([bars("2012|A", close=-1.0)[:1], bars("2013|C", volume=0.0)[1:]])
    check = bars_check(frame)
    run = execute(instance, check, KEYS)
    assert verdicts(run) == {**dict.fromkeys(KEYS, "ok"), "2012|A": "ERROR", "2013|C": "WARN", None: "ERROR"}
    assert shown(instance, check) == "ERROR"


# A verdict as a check


@pytest.mark.parametrize(
    ("severity", "blocking", "downstream"),
    [(Severity.ERROR, True, False), (Severity.WARN, True, True), (Severity.ERROR, False, True)],
)
def test_a_verdict_blocks_only_as_a_blocking_error(
    instance: dg.DagsterInstance, severity: Severity, blocking: bool, downstream: bool
) -> None:
    check = verdict_check({"2013|B": None}, severity=severity, blocking=blocking)
    run = execute(instance, check, KEYS)
    assert verdicts(run)["2013|B"] == severity.value.upper()
    assert ran_downstream(run) is downstream


def test_facts_and_findings_become_metadata(instance: dg.DagsterInstance) -> None:
    run = execute(instance, verdict_check({"2013|B": None}, partitions_def=None), None)
    [evaluation] = run.get_asset_check_evaluations()
    assert evaluation.metadata["share"].value == 0.5
    assert evaluation.metadata["nothing"].value is None
    findings: Any = evaluation.metadata["findings"]
    assert findings.records[0].data["symbol"] == "B"


def test_a_check_waits_for_the_other_assets_it_reads(instance: dg.DagsterInstance) -> None:
    order: list[str] = []

    @dg.asset(key=ASSET)
    def made() -> None: ...

    @dg.asset(key=["cleaned", "bars"], deps=[made])
    def other() -> None:
        order.append("other")

    def evaluate(context: dg.AssetCheckExecutionContext) -> Verdict:
        order.append("check")
        return Verdict(True, {}, FINDING_SCHEMA.to_frame())

    check = pure_check(ASSET.path, "waits", evaluate, description="Waits.", additional_deps=[["cleaned", "bars"]])
    defs = dg.Definitions(assets=[made, other], asset_checks=[check])
    assert defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success
    assert order == ["other", "check"]


def test_a_check_is_given_the_resources_it_asks_for(instance: dg.DagsterInstance) -> None:
    def evaluate(context: dg.AssetCheckExecutionContext) -> Verdict:
        return Verdict(context.resources.answer == 42, {}, FINDING_SCHEMA.to_frame())

    check = pure_check(ASSET.path, "asks", evaluate, description="Asks.", required_resource_keys={"answer"})

    @dg.asset(key=ASSET)
    def made() -> None: ...

    defs = dg.Definitions(
        assets=[made], asset_checks=[check], resources={"answer": dg.ResourceDefinition.hardcoded_resource(42)}
    )
    run = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    assert verdicts(run) == {None: "ok"}


@pytest.mark.parametrize("make", [lambda: bars_check(bars()), lambda: verdict_check({})], ids=["suite", "verdict"])
def test_checks_plan_one_event_whatever_the_range(
    instance: dg.DagsterInstance, make: Callable[[], dg.AssetChecksDefinition]
) -> None:
    """A check with partitions of its own would plan a row for each, holding the names of all."""
    [spec] = make().check_specs
    assert spec.partitions_def is None
    assert spec.description


def test_definitions_load_without_the_library() -> None:
    script = (
        "import sys, polars as pl; from quant_assets.checks import suite_check;"
        "suite_check('bars', lambda context: pl.LazyFrame());"
        "print([name for name in ('great_expectations', 'pandas', 'talib', 'torch') if name in sys.modules])"
    )
    project = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=project)
    assert done.stdout.strip() == "[]"
