"""docs/programs.md: every block of code on the page runs, and does what the page says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from resources.config import PROJECT
from tests.e2e.conftest import Platform
from tests.e2e.processes import Dagster

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]

PAGE = PROJECT / "docs" / "programs.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
NAMES = ["a partition", "a range", "everything", "client: a partition", "client: a range", "client: the whole graph"]
SMALL = {  # the page's keys, which fit the sample, as the small installation has them
    "2000|AAPL": "2010|AAPL",
    "2013|MSFT": "2012|MSFT",
    "2000-03-01": "2010-06-01",
    "2013-03-01": "2012-03-30",
    "2005-01-01 2013-01-01": "2011-07-01 2012-01-01",
    "2013-03|": "2012-03|",
    '"cross_sectional_momentum", ': "",
}


@dataclass
class Outcome:
    output: str
    runs: list[dict[str, object]]


def program(running: Dagster, name: str) -> Outcome:
    """Run a block of the page as a program of its own; the runs that it started have ended."""
    code = BLOCKS[NAMES.index(name)].replace("port_number=3000", f"port_number={running.port}")
    for there, here in SMALL.items():
        code = code.replace(there, here)
    before = {run["runId"] for run in running.runs()}
    done = running.place.python(code)
    assert done.returncode == 0, done.stderr[-3000:]
    # The daemon's sensors start runs of their own meanwhile.
    new = [run for run in running.runs() if run["runId"] not in before and "dagster/sensor_name" not in run["tags"]]
    started = [run["runId"] for run in new]
    assert {running.finished(run_id) for run_id in started} <= {"SUCCESS"}
    return Outcome(done.stdout, [run for run in running.runs() if run["runId"] in started])


def ranges(outcome: Outcome) -> list[tuple[str, str]]:
    tags = [run["tags"] for run in outcome.runs]
    return [
        (tag["dagster/asset_partition_range_start"], tag["dagster/asset_partition_range_end"])  # type: ignore[index]
        for tag in tags
        if "dagster/asset_partition_range_start" in tag  # type: ignore[operator]
    ]


def test_the_page_has_the_blocks_that_are_tested_here_and_each_is_short() -> None:
    assert len(BLOCKS) == len(NAMES)
    for name, block in zip(NAMES, BLOCKS, strict=True):
        assert len([line for line in block.splitlines() if line.strip()]) <= 14, name
    text = "".join(BLOCKS)
    assert [key for key in SMALL if key not in text] == []


def test_python_launches_a_partition(platform: Platform) -> None:
    outcome = program(platform.dagster, "a partition")
    assert [run["tags"].get("dagster/partition") for run in outcome.runs] == ["2011|IBM", "2012-02-29"]  # type: ignore[attr-defined]


def test_python_launches_a_range(platform: Platform) -> None:
    outcome = program(platform.dagster, "a range")
    assert ranges(outcome) == [("2012-02-01", "2012-02-29"), ("2010|IBM", "2011|MSFT")]


def test_python_launches_the_whole_graph(platform: Platform) -> None:
    outcome = program(platform.dagster, "everything")
    assert len(re.findall(r"^  (?:fresh|running) ", outcome.output, re.MULTILINE)) == 9, outcome.output


def test_the_client_launches_a_partition(platform: Platform) -> None:
    [run] = program(platform.dagster, "client: a partition").runs
    assert (run["jobName"], run["status"]) == ("session", "SUCCESS")
    assert run["tags"]["dagster/partition"] == "2012-02-29"  # type: ignore[index]


def test_the_client_launches_a_year_of_a_symbol_by_its_key_alone(platform: Platform) -> None:
    code = f"""
from dagster_graphql import DagsterGraphQLClient
client = DagsterGraphQLClient("127.0.0.1", port_number={platform.dagster.port})
print(client.submit_job_execution("history", tags={{"dagster/partition": "2011|IBM"}}))
"""
    before = platform.dagster.materializations("features/technical").get("2011|IBM", 0)
    done = platform.dagster.place.python(code)
    assert platform.dagster.finished(done.stdout.strip()) == "SUCCESS"
    assert platform.dagster.materializations("features/technical")["2011|IBM"] == before + 1


def test_the_client_launches_a_range_as_one_run(platform: Platform) -> None:
    before = platform.dagster.materializations("features/technical")
    outcome = program(platform.dagster, "client: a range")
    assert ranges(outcome) == [("2010|IBM", "2011|MSFT")]
    after = platform.dagster.materializations("features/technical")
    new = {key for key, count in after.items() if count > before.get(key, 0)}
    assert new == {f"{year}|{symbol}" for year in (2010, 2011) for symbol in ("IBM", "MSFT")}


def test_the_client_launches_the_whole_graph(platform: Platform) -> None:
    outcome = program(platform.dagster, "client: the whole graph")
    told = [line.split() for line in outcome.output.splitlines()]
    assert told == [[job, "SUCCESS"] for job in ("instruments", "history", "panel", "models", "signals")]
    reports = [run["tags"]["dagster/partition"] for run in outcome.runs if run["jobName"] == "reports"]  # type: ignore[index]
    assert sorted(reports) == ["2012-03|model_score", "2012-03|moving_average_cross"]
    assert len(outcome.runs) == 7


def test_the_page_names_no_machine() -> None:
    assert not re.search(r"/(root|tmp|home|work)/", PAGE.read_text(encoding="utf-8"))
    assert Path(PAGE).is_file()
