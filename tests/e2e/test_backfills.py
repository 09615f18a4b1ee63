"""Backfills through GraphQL, as the UI starts them: in one run, killed and gone on with; a new symbol by the daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resources.config import PROJECT
from tests.e2e.conftest import Platform
from tests.e2e.processes import Dagster, Place, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]

HISTORY = ["market_data/bars", "market_data/corporate_actions", "cleaned/bars", "features/technical"]
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

LAUNCH_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
LAUNCH_RUN = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
REEXECUTE = """mutation($params: ReexecutionParams!) { launchPipelineReexecution(reexecutionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename
    ... on PartitionBackfill { status } } }"""


def backfill(running: Dagster, partitions: list[str], assets: list[str] = HISTORY) -> str:
    params = {"assetSelection": [{"path": asset.split("/")} for asset in assets], "partitionNames": partitions}
    answer = running.graphql(LAUNCH_BACKFILL, params=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def backfill_status(running: Dagster, backfill_id: str) -> str:
    return str(running.graphql(BACKFILL, id=backfill_id)["partitionBackfillOrError"]["status"])


def runs_of(running: Dagster, backfill_id: str) -> list[dict[str, Any]]:
    return running.runs(tags=[{"key": "dagster/backfill", "value": backfill_id}])


def more(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """How often each partition was materialized between two looks."""
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}


def counts(running: Dagster) -> dict[str, dict[str, int]]:
    return {asset: running.materializations(asset) for asset in HISTORY}


@pytest.fixture(autouse=True)
def never_held(platform: Platform, new_symbol: str) -> None:
    platform.hold.unlink(missing_ok=True)
    platform.reached.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def new_symbol(platform: Platform) -> str:
    """The run that the daemon's universe sensor started for the symbol that the installation lacked."""
    running = platform.dagster

    def look() -> str | None:
        found = [
            run for run in running.runs(pipelineName="history") if run["tags"].get("dagster/sensor_name") == "universe"
        ]
        return found[0]["runId"] if found else None

    run_id = wait_for(look, "the universe sensor's run")
    assert running.finished(run_id) == "SUCCESS"
    return run_id


def test_a_new_symbol_in_the_universes_file_is_added_and_its_history_filled(
    platform: Platform, new_symbol: str
) -> None:
    running = platform.dagster
    found = [run for run in running.runs() if run["tags"].get("dagster/sensor_name") == "universe"]
    assert sorted(run["jobName"] for run in found) == ["alternative", "history", "instruments"], (
        "one run each, and never again"
    )
    [run] = running.runs(runIds=[new_symbol])
    assert (run["tags"][START], run["tags"][END]) == ("2010|GOOG", "2012|GOOG")
    for asset in HISTORY:
        goog = {key: count for key, count in running.materializations(asset).items() if key.endswith("GOOG")}
        assert goog == {f"{year}|GOOG": 1 for year in (2010, 2011, 2012)}, asset


ONE_RUN = [  # a tier is one run where what its assets read from earlier years is part of the range
    ("all symbols of a year", HISTORY[:1], ["2011|AAPL", "2011|IBM", "2011|MSFT"], "2011|AAPL", "2011|MSFT"),
    ("all years of a symbol", HISTORY, ["2010|IBM", "2011|IBM", "2012|IBM"], "2010|IBM", "2012|IBM"),
]


@pytest.mark.parametrize(
    ("assets", "keys", "first", "last"), [case[1:] for case in ONE_RUN], ids=[case[0] for case in ONE_RUN]
)
def test_a_backfill_of_a_range_is_one_run(
    platform: Platform, assets: list[str], keys: list[str], first: str, last: str
) -> None:
    running = platform.dagster
    before = counts(running)
    started = backfill(running, keys, assets)
    status = wait_for(
        lambda: (found := backfill_status(running, started)) != "REQUESTED" and found, "the backfill's end"
    )
    assert status in ("COMPLETED_SUCCESS", "COMPLETED")
    [run] = runs_of(running, started)
    assert (run["status"], run["tags"][START], run["tags"][END]) == ("SUCCESS", first, last)
    for asset in HISTORY:
        made = dict.fromkeys(keys, 1) if asset in assets else {}
        assert more(before[asset], running.materializations(asset)) == made, asset


def test_a_range_over_dates_and_symbols_is_one_run(platform: Platform) -> None:
    """Dagster's backfill page makes a run for each key of the shorter dimension; the range's tags make it one."""
    running = platform.dagster
    before = counts(running)
    tags = [{"key": START, "value": "2010|AAPL"}, {"key": END, "value": "2011|IBM"}]
    answer = running.graphql(
        LAUNCH_RUN,
        params={
            "selector": {
                "pipelineName": "history",
                "repositoryName": "__repository__",
                "repositoryLocationName": "quant",
            },
            "mode": "default",
            "executionMetadata": {"tags": tags},
        },
    )["launchPipelineExecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    assert running.finished(answer["run"]["runId"]) == "SUCCESS"
    rectangle = {f"{year}|{symbol}": 1 for year in (2010, 2011) for symbol in ("AAPL", "IBM")}
    for asset in HISTORY:
        assert more(before[asset], running.materializations(asset)) == rectangle, asset


def test_a_killed_backfill_goes_on_without_redoing_or_losing_a_partition(platform: Platform) -> None:
    running, keys = platform.dagster, ["2010|MSFT", "2011|MSFT", "2012|MSFT"]
    before = counts(running)
    platform.hold.touch()
    started = backfill(running, keys)
    worker = int(wait_for(lambda: platform.reached.exists() and platform.reached.read_text(), "the run's second step"))
    [run] = runs_of(running, started)
    assert run["status"] == "STARTED"
    done = {asset: more(before[asset], running.materializations(asset)) for asset in HISTORY}
    assert done["market_data/bars"] == dict.fromkeys(keys, 1), "its first step is done"
    assert not any(done[asset] for asset in HISTORY[1:])

    os.kill(worker, signal.SIGKILL)
    assert running.finished(run["runId"]) == "FAILURE"
    platform.hold.unlink()
    again = running.graphql(REEXECUTE, params={"parentRunId": run["runId"], "strategy": "FROM_FAILURE"})
    answer = again["launchPipelineReexecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    assert running.finished(answer["run"]["runId"]) == "SUCCESS"
    for asset in HISTORY:
        assert more(before[asset], running.materializations(asset)) == dict.fromkeys(keys, 1), asset
    [child] = running.runs(runIds=[answer["run"]["runId"]])
    assert "market_data__bars" not in child["stepKeysToExecute"]
    assert (child["tags"][START], child["tags"][END]) == ("2010|MSFT", "2012|MSFT")


HISTORY_ONLY = """
import sys
from quant_assets import launch
tiers = launch.tiers
launch.tiers = lambda instance: tiers(instance)[:2]
"""
HELD = """
import pathlib, time
from resources.market_data.sample import Sample
def wait(self, *asked):
    pathlib.Path({reached!r}).touch()
    time.sleep(600)
Sample.corporate_actions = wait
"""
COUNT = """
import collections, json
import dagster as dg
from quant_assets.partitions import SETTINGS
from resources.instance import instance
with instance(SETTINGS) as held:
    found = {}
    for path in ("market_data/bars", "market_data/corporate_actions", "cleaned/bars", "features/technical"):
        events = held.fetch_materializations(dg.AssetKey(path.split("/")), limit=1000).records
        found[path] = collections.Counter(event.partition_key for event in events)
    print("COUNTS" + json.dumps([found, [run.status.value for run in held.get_runs()]]))
"""


def test_a_killed_program_goes_on_where_it_stood(empty_place: Place, tmp_path: Path) -> None:
    reached = tmp_path / "reached"
    program = subprocess.Popen(
        [sys.executable, "-c", HISTORY_ONLY + HELD.format(reached=str(reached)) + "launch.everything()"],
        cwd=PROJECT, env=empty_place.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(reached.exists, "the program's second step")
    finally:
        program.kill()
        program.wait(10)
    done = empty_place.python(HISTORY_ONLY + "launch.everything()\n" + COUNT)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "fresh   instruments" in lines
    assert any(line.startswith("running history: 9 partitions are missing") for line in lines), lines
    found, statuses = json.loads(next(line for line in lines if line.startswith("COUNTS")).removeprefix("COUNTS"))
    every = {f"{year}|{symbol}": 1 for year in (2010, 2011, 2012) for symbol in ("AAPL", "IBM", "MSFT")}
    assert found == dict.fromkeys(HISTORY, every)
    assert statuses.count("SUCCESS") == 2
