"""The evidence of each report as checks: one a test, so that a failed check says which test failed and why.

And of each sweep, whether its runs are worth being judged by.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.backtests.sweeps.kept import FAILED
from quant_assets.backtests.verdict.assess import REQUIRED, TESTS, TITLES
from quant_assets.checks import run_partitions
from quant_assets.partitions import REPORTS
from resources.lake import Lake
from resources.lake_io import partition_of

REPORT = dg.AssetKey(["backtests", "report"])
SWEEP = dg.AssetKey(["backtests", "sweep"])

QUESTIONS = {
    "survival": "There was something left of the account all the time.",
    "deflated_sharpe": "The Sharpe ratio is more than the luck of having tried so often.",
    "minimum_track_record": "The history is long enough for a Sharpe ratio of this size.",
    "bootstrap_interval": "The Sharpe ratio stays above zero when the history is drawn again from its own blocks.",
    "alpha": "There is more to it than having been invested while the benchmark rose.",
    "cost_stress": "It still earns something where trading costs twice as much as assumed.",
    "ambiguous_fills": "It earns something whichever way prices went inside the bars that leave two.",
    "overfitting": "The best parameters of one half of the history are above the median in the other half.",
    "superiority": "The best run of the sweep is better than cash by more than the search explains.",
    "surface": "Neighbouring parameters do nearly as well.",
    "point_in_time": "Names that failed or left are in the universe of their time.",
    "sample": "There are years and fills enough.",
    "benchmark": "It earned more than holding the benchmark.",
}
"""What each check asks, by the names of the tests."""


def passes(test: Mapping[str, Any]) -> bool:
    """Whether a row of assess.TESTS passes: a test that could not be judged does, unless nothing is proven without."""
    return test["passed"] is not False and not (test["passed"] is None and test["name"] in REQUIRED)


@dg.multi_asset_check(
    name="backtests__report__evidence",
    specs=[dg.AssetCheckSpec(name, asset=REPORT, description=QUESTIONS[name]) for name in TITLES],
    required_resource_keys={"lake"},
)
def evidence(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """What the tests said of each report of the run and of all that stand; of every one in a run without partitions."""
    lake: Lake = context.resources.lake
    asked = run_partitions(context, REPORTS)
    tests = {key: _tests(lake, key) for key in _standing(lake, REPORT, asked)}
    for name in TITLES:
        rows = {key: of[name] for key, of in tests.items()}
        for key in asked:
            row = rows[key]
            evaluation = dg.AssetCheckEvaluation(
                asset_key=REPORT, check_name=name, passed=passes(row), severity=dg.AssetCheckSeverity.WARN,
                description=_said(row), metadata=_figures(row), partition=key,
            )  # fmt: skip
            context.op_execution_context.log_event(evaluation)  # type: ignore[arg-type]  # as in quant_assets.checks
        yield _whole(name, rows)


def _standing(lake: Lake, asset: dg.AssetKey, asked: Sequence[str]) -> list[str]:
    """Those that were asked for, and each strategy's newest; without partitions asked for, all that there are.

    A check has one newest verdict: were it of the run's alone, the next strategy's pass would hide this one's failure.
    """
    held = sorted(lake.partitions(asset.path), key=lambda partition: partition["as_of"])
    chosen = {part["strategy"]: part for part in held}.values() if asked else held
    return list(dict.fromkeys([*asked, *(str(dg.MultiPartitionKey(part)) for part in chosen)]))


def _whole(name: str, rows: Mapping[str, Mapping[str, Any]]) -> dg.AssetCheckResult:
    """The verdict on all reports: the words of the first that fails."""
    failing = {key: row for key, row in rows.items() if not passes(row)}
    key, row = next(iter((failing or rows).items()), ("", None))
    said = "There is no report." if row is None else _said(row)
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=REPORT,
        passed=not failing,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{key}: {said}" if len(rows) > 1 else said,
        metadata=(_figures(row) if row is not None and len(rows) == 1 else {})
        | ({"reports": len(rows), "failing": ", ".join(failing)} if len(rows) > 1 else {}),
    )


def _tests(lake: Lake, key: str) -> dict[str, dict[str, Any]]:
    stored = lake.read_bytes(REPORT.path, partition_of(REPORTS, key), "tests.parquet")
    return {row["name"]: row for row in pl.read_parquet(io.BytesIO(stored), columns=list(TESTS)).iter_rows(named=True)}


def _said(row: Mapping[str, Any]) -> str:
    return f"Not judged: {row['words']}" if row["passed"] is None else str(row["words"])


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {"says": row["words"], "value": row["value"], "threshold": row["threshold"]}
    return {"essential": bool(row["essential"])} | {name: given for name, given in found.items() if given is not None}


@dg.multi_asset_check(
    name="backtests__sweep__runs",
    specs=[
        dg.AssetCheckSpec("ended", asset=SWEEP, description="The exchange took the orders of every parameter set."),
        dg.AssetCheckSpec("traded", asset=SWEEP, description="Every run of the sweep traded at all."),
    ],
    required_resource_keys={"lake"},
)
def swept(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Of each sweep of the run and of all that stand; of every sweep in a run without partitions."""
    lake: Lake = context.resources.lake
    found = {key: _runs(lake, key) for key in _standing(lake, SWEEP, run_partitions(context, REPORTS))}
    for name in ("ended", "traded"):
        wrong = {key: of[name] for key, of in found.items() if of[name]}
        key, told = next(iter(wrong.items()), ("", ""))
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key=SWEEP,
            passed=not wrong,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{key}: {told}" if wrong else f"{len(found)} looked at.",
        )


def _runs(lake: Lake, key: str) -> dict[str, str]:
    """What is wrong with the runs of a sweep, by check; nothing where it is well."""
    partition = partition_of(REPORTS, key)
    failed = pl.read_parquet(io.BytesIO(lake.read_bytes(SWEEP.path, partition, f"{FAILED}.parquet")))
    broken = failed.filter(pl.col("stage") == "run")
    results = lake.read(SWEEP.path, partition)
    idle = results.filter(pl.col("fills") == 0)
    count = results.height + broken.height
    return {
        "ended": f"{broken.height} of {count} runs were refused by the exchange; run {broken['run'][0]}: "
        f"{broken['reason'][0]}"
        if broken.height
        else "",
        "traded": f"{idle.height} of {results.height} runs never traded, for example run {idle['run'][0]}; they make "
        "the choice among the others look smaller than it was"
        if idle.height
        else "",
    }


checks = [evidence, swept]
