"""A report's evidence as checks: each says what its test found, for each report and for the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.backtests.checks import QUESTIONS, REPORT, SWEEP, evidence, passes, swept
from quant_assets.backtests.verdict.assess import TESTS, TITLES
from quant_assets.backtests.verdict.questions import Test
from quant_assets.partitions import REPORTS, SETTINGS
from resources.lake import Lake
from resources.lake_io import partition_of

STRATEGY = SETTINGS.strategies[0].name
KEYS = [str(dg.MultiPartitionKey({"as_of": month, "strategy": STRATEGY})) for month in ("2012-01", "2012-02")]
OTHER = [
    str(dg.MultiPartitionKey({"as_of": month, "strategy": SETTINGS.strategies[1].name}))
    for month in ("2012-01", "2012-02")
]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as held:
        yield held


def all_passed_but(**passed: bool | None) -> pl.DataFrame:
    """Every test passed, but for those that are named."""
    tests = [
        Test(name, passed.get(name, True), None if passed.get(name, True) is None else 0.4, 0.95, f"{name} said so.")
        for name in TITLES
    ]
    return pl.DataFrame([[getattr(test, name) for name in TESTS] for test in tests], TESTS, orient="row")


def judged(
    instance: dg.DagsterInstance, folder: Path, reports: dict[str, pl.DataFrame], key: str | None
) -> dict[tuple[str, str | None], dg.AssetCheckEvaluation]:
    """The evaluations of a run of the checks alone, by check and partition."""
    lake = Lake(str(folder / "lake"))
    with lake.writing(tuple(REPORT.path)) as staging:
        for held, frame in reports.items():
            staging.write_extra(partition_of(REPORTS, held), "tests", frame)
            staging.write([(partition_of(REPORTS, held), pl.DataFrame({"session": []}, {"session": pl.Date}))])

    @dg.asset(key=REPORT, partitions_def=REPORTS)
    def made() -> None: ...

    job = dg.define_asset_job("alone", dg.AssetSelection.checks(evidence))
    defs = dg.Definitions(assets=[made], asset_checks=[evidence], jobs=[job], resources={"lake": lake})
    tags = {"dagster/partition": key} if key else {}
    run = defs.resolve_job_def("alone").execute_in_process(instance=instance, tags=tags)
    return {(found.check_name, found.partition): found for found in run.get_asset_check_evaluations()}


def test_a_failed_check_says_which_test_failed_and_why(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    reports = {KEYS[0]: all_passed_but(cost_stress=False, overfitting=None)}
    found = judged(instance, tmp_path, reports, KEYS[0])
    assert {name for name, partition in found if partition == KEYS[0]} == set(TITLES)
    assert {name for name, partition in found if partition is None} == set(TITLES)
    assert {name for (name, _), one in found.items() if not one.passed} == {"cost_stress"}
    for partition in (KEYS[0], None):
        failed = found["cost_stress", partition]
        assert failed.description == "cost_stress said so."
        assert failed.severity is dg.AssetCheckSeverity.WARN
        told = {name: value.value for name, value in failed.metadata.items()}
        assert told == {"essential": True, "says": "cost_stress said so.", "value": 0.4, "threshold": 0.95}
        assert found["overfitting", partition].description == "Not judged: overfitting said so."


def test_a_run_without_partitions_judges_every_report(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    reports = {KEYS[0]: all_passed_but(), KEYS[1]: all_passed_but(deflated_sharpe=None)}
    found = judged(instance, tmp_path, reports, None)
    assert {partition for _, partition in found} == {None}
    whole = found["deflated_sharpe", None]
    assert not whole.passed
    assert whole.description == f"{KEYS[1]}: Not judged: deflated_sharpe said so."
    assert (whole.metadata["reports"].value, whole.metadata["failing"].value) == (2, KEYS[1])


def test_a_strategys_failure_is_not_hidden_by_the_next_ones_pass(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """A check has one newest verdict: that of each strategy's newest report, besides those of the run."""
    passed = all_passed_but()
    reports = {KEYS[0]: passed, KEYS[1]: all_passed_but(alpha=False), OTHER[0]: all_passed_but(sample=False)}
    found = judged(instance, tmp_path, {**reports, OTHER[1]: passed}, OTHER[1])
    assert all(found[name, OTHER[1]].passed for name in TITLES)
    assert {name for name in TITLES if not found[name, None].passed} == {"alpha"}
    assert found["alpha", None].description == f"{KEYS[1]}: alpha said so."
    assert found["alpha", None].metadata["failing"].value == KEYS[1]


PASSES = [
    ("cost_stress", True, True),
    ("cost_stress", False, False),
    ("cost_stress", None, True),
    ("deflated_sharpe", None, False),
    ("bootstrap_interval", None, False),
    ("benchmark", False, False),
]


@pytest.mark.parametrize(("name", "passed", "expected"), PASSES)
def test_without_the_required_ones_nothing_passes(name: str, passed: bool | None, expected: bool) -> None:
    assert passes({"name": name, "passed": passed}) is expected


def test_every_test_is_asked() -> None:
    assert list(QUESTIONS) == list(TITLES)


# ---- of a sweep

RUNS = [  # fills of the runs, failures (stage, reason): ended, traded
    ([3, 5], [("parameters", "fast 50 must be smaller")], "1 looked at.", "1 looked at."),
    (
        [3, 5],
        [("parameters", "no"), ("run", "order 7: no such symbol")],
        "{key}: 1 of 3 runs were refused by the exchange; run 3: order 7: no such symbol",
        "1 looked at.",
    ),
    ([3, 0], [], "1 looked at.", "{key}: 1 of 2 runs never traded, for example run 1; they make the choice among"),
]


@pytest.mark.parametrize(("fills", "failures", "ended", "traded"), RUNS)
def test_a_sweep_says_which_runs_are_no_evidence(
    instance: dg.DagsterInstance,
    tmp_path: Path,
    fills: list[int],
    failures: list[tuple[str, str]],
    ended: str,
    traded: str,
) -> None:
    lake, partition = Lake(str(tmp_path / "lake")), partition_of(REPORTS, KEYS[0])
    with lake.writing(tuple(SWEEP.path)) as staging:
        failed = [(len(fills) + place, stage, reason) for place, (stage, reason) in enumerate(failures)]
        schema = {"run": pl.Int64, "stage": pl.String, "reason": pl.String}
        staging.write_extra(partition, "failed", pl.DataFrame(failed, schema, orient="row"))
        staging.write([(partition, pl.DataFrame({"run": range(len(fills)), "fills": fills}))])

    @dg.asset(key=SWEEP, partitions_def=REPORTS)
    def made() -> None: ...

    job = dg.define_asset_job("alone", dg.AssetSelection.checks(swept))
    defs = dg.Definitions(assets=[made], asset_checks=[swept], jobs=[job], resources={"lake": lake})
    run = defs.resolve_job_def("alone").execute_in_process(instance=instance)
    found = {one.check_name: one for one in run.get_asset_check_evaluations()}
    for name, says in (("ended", ended), ("traded", traded)):
        assert str(found[name].description).startswith(says.format(key=KEYS[0]))
        assert found[name].passed == (says == "1 looked at.")
