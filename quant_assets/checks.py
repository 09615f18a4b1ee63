"""Expectation suites and verdicts as Dagster checks, with a word about each partition of the run.

The checks themselves are declared without partitions. For each partition of a run a partitioned check writes a planned
event that lists all of them: measured, 5,000 partitions are 340 MB and 31 s for one check, growing with the square.
Instead a run logs one evaluation a partition (about 10 ms each on SQLite), and then returns the verdict on the whole,
which alone decides whether a blocking check stops the run.

A run of more than INDIVIDUALLY partitions logs only those that fail (at most INDIVIDUALLY of them, errors first) and
those that failed before and pass now. Failures are logged last, because Dagster shows the latest evaluation as the
state of the check, and that must not be better than the whole.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
import polars as pl
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from quant_assets.expectation_runs import Severity, SuiteResult
from quant_assets.expectations import load_suite, run
from quant_assets.quality import Verdict
from resources.errors import ConfigError
from resources.lake_io import partition_of

INDIVIDUALLY = 200
SHOWN_ROWS = 20

Load = Callable[[dg.AssetCheckExecutionContext], pl.LazyFrame | pl.DataFrame]
Rows = Callable[[dg.AssetCheckExecutionContext], pl.LazyFrame]
Evaluate = Callable[[dg.AssetCheckExecutionContext], Verdict]

_SEVERITY = {Severity.WARN: dg.AssetCheckSeverity.WARN, Severity.ERROR: dg.AssetCheckSeverity.ERROR}


@dataclass(frozen=True)
class Failure:
    """What is wrong with the whole, or with one partition."""

    severity: Severity
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a check found: `whole` is None where it passes, `partitions` holds the failing ones.

    `everywhere` fails every partition of the run: what is wrong there concerns no row in particular.
    """

    whole: Failure | None
    metadata: Mapping[str, Any]
    partitions: Mapping[str, Failure]
    everywhere: Failure | None

    def of(self, key: str) -> Failure | None:
        """What is wrong with one partition, the worse of its own and what is wrong everywhere."""
        own, common = self.partitions.get(key), self.everywhere
        if own is None or common is None:
            return own or common
        return own if own.severity is Severity.ERROR else common

    def within(self, keys: Sequence[str]) -> "Outcome":
        """The same for a run of these partitions: rows at fault that belong to none of them are everyone's fault."""
        known = set(keys)
        strays = [failure for key, failure in self.partitions.items() if key not in known]
        common = [failure for failure in (self.everywhere, *strays) if failure is not None]
        worst = next((failure for failure in common if failure.severity is Severity.ERROR), None)
        return replace(self, everywhere=worst or next(iter(common), None))


def suite_check(
    suite: str,
    load: Load,
    *,
    blocking: bool | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
    partition: pl.Expr | None = None,
    required_resource_keys: Iterable[str] = (),
    asset: Sequence[str] | None = None,
    catalogue: Callable[[], pl.DataFrame] | None = None,
) -> dg.AssetChecksDefinition:
    """The check that runs configs/expectations/<suite>.yaml on the suite's asset.

    `load` gives the rows of the run's partitions (all rows in a run without); `run_partitions` tells it which they
    are. `partition` gives a row's partition key as text; without it, only the whole is judged. `blocking` overrides
    the suite's own word. A suite of several assets (features/*) needs to be told which `asset`, and `catalogue` says
    which features it holds.

    Raises ConfigError on a suite that is not one, or not of that asset.
    """
    loaded = load_suite(suite)
    named = loaded.asset if asset is None else "/".join(asset)
    if "*" in named or not fnmatchcase(named, loaded.asset):
        raise ConfigError(f"{suite}.yaml: asset is {loaded.asset}, which {named} is not")

    def evaluate(context: dg.AssetCheckExecutionContext) -> Outcome:
        keyed = partition if run_partitions(context, partitions_def) else None
        known = None if catalogue is None else catalogue()
        return _of_suite(run(loaded, load(context), partition=keyed, catalogue=known))

    return _check(
        named.split("/"),
        f"{suite}_expectations",
        evaluate,
        description=loaded.description,
        blocking=loaded.blocking if blocking is None else blocking,
        partitions_def=partitions_def,
        per_partition=partition is not None,
        required_resource_keys=set(required_resource_keys),
    )


def pure_check(
    asset: Sequence[str],
    name: str,
    evaluate: Evaluate,
    *,
    description: str,
    severity: Severity = Severity.ERROR,
    blocking: bool = False,
    partitions_def: dg.PartitionsDefinition | None = None,
    partition: pl.Expr | None = None,
    required_resource_keys: Iterable[str] = (),
    additional_deps: Iterable[Sequence[str]] = (),
) -> dg.AssetChecksDefinition:
    """The check that says what a function of quant_assets.quality says.

    `partition` gives the partition key of a finding (quality.FINDING_SCHEMA) as text. `additional_deps` are assets
    beside `asset` that `evaluate` reads, so that in the same run it waits for them.
    """

    def judge(context: dg.AssetCheckExecutionContext) -> Outcome:
        return _of_verdict(evaluate(context), severity, partition if run_partitions(context, partitions_def) else None)

    return _check(
        asset,
        name,
        judge,
        description=description,
        blocking=blocking,
        partitions_def=partitions_def,
        per_partition=partition is not None,
        required_resource_keys=set(required_resource_keys),
        additional_deps=[dg.AssetKey(list(key)) for key in additional_deps],
    )


@dataclass(frozen=True)
class Question:
    """One of several checks that a single look at an asset answers."""

    name: str
    description: str
    severity: Severity = Severity.ERROR
    blocking: bool = False


def pure_checks(
    asset: Sequence[str],
    questions: Sequence[Question],
    evaluate: Callable[[dg.AssetCheckExecutionContext], Mapping[str, Verdict]],
    *,
    required_resource_keys: Iterable[str] = (),
    additional_deps: Iterable[Sequence[str]] = (),
) -> dg.AssetChecksDefinition:
    """Checks of one asset that read it once: `evaluate` gives the verdict on each question, by its name.

    Of the whole run only, without a word about each partition.
    """
    key = dg.AssetKey(list(asset))
    asked = {question.name: question for question in questions}
    deps = [dg.AssetKey(list(other)) for other in additional_deps]
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=of.description, blocking=of.blocking, additional_deps=deps)
        for name, of in asked.items()
    ]

    @dg.multi_asset_check(
        name=f"{'__'.join(asset)}_health", specs=specs, required_resource_keys=set(required_resource_keys)
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        for name, verdict in evaluate(context).items():
            outcome = _of_verdict(verdict, asked[name].severity, None)
            yield dg.AssetCheckResult(
                check_name=name,
                asset_key=key,
                passed=outcome.whole is None,
                severity=_SEVERITY[asked[name].severity],
                metadata=dict(outcome.metadata),
            )

    return check


def run_rows(asset: Sequence[str], partitions_def: dg.PartitionsDefinition | None) -> Rows:
    """Rows of the asset in the run's partitions, from the lake; all there are in a run without partitions."""

    def load(context: dg.AssetCheckExecutionContext) -> pl.LazyFrame:
        lake = context.resources.lake
        keys = run_partitions(context, partitions_def)
        held = [partition_of(partitions_def, key) for key in keys] or lake.partitions(asset)
        frame: pl.LazyFrame = lake.scan(asset, held)
        return frame

    return load


def run_partitions(context: dg.AssetCheckExecutionContext, partitions_def: dg.PartitionsDefinition | None) -> list[str]:
    """The partitions of the check's asset that this run is about; none in a run without partitions.

    Unlike `context.partition_keys` it also works where the run holds the check alone.
    """
    if partitions_def is None:
        return []
    if context.has_partition_key:
        return [context.partition_key]
    if context.has_partition_key_range:
        held = _KEYS.setdefault(context, {})
        if partitions_def not in held:
            with partition_loading_context(dynamic_partitions_store=context.instance):
                held[partitions_def] = list(partitions_def.get_partition_keys_in_range(context.partition_key_range))
        return held[partitions_def]
    return []


_KEYS: WeakKeyDictionary[dg.AssetCheckExecutionContext, dict[dg.PartitionsDefinition, list[str]]] = WeakKeyDictionary()
"""What `run_partitions` found: a check asks several times, and 10,000 partitions are a second each time."""


def _check(
    asset: Sequence[str],
    name: str,
    evaluate: Callable[[dg.AssetCheckExecutionContext], Outcome],
    *,
    partitions_def: dg.PartitionsDefinition | None,
    per_partition: bool,
    **options: Any,
) -> dg.AssetChecksDefinition:
    key = dg.AssetCheckKey(dg.AssetKey(list(asset)), name)

    @dg.asset_check(asset=key.asset_key, name=name, **options)
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        keys = run_partitions(context, partitions_def)
        outcome = evaluate(context).within(keys)
        if per_partition:
            _log_partitions(context, key, outcome, keys)
        failing = sum(outcome.of(partition) is not None for partition in keys) if per_partition else 0
        counts = {"partitions": len(keys), "failing partitions": failing} if keys and per_partition else {}
        severity = _SEVERITY[outcome.whole.severity if outcome.whole else Severity.ERROR]
        return dg.AssetCheckResult(
            passed=outcome.whole is None, severity=severity, metadata={**counts, **outcome.metadata}
        )

    return check


def _log_partitions(
    context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey, outcome: Outcome, keys: Sequence[str]
) -> None:
    """Log an evaluation of each partition, or of those that matter in a run of very many; failures come last."""
    failures = {partition: failure for partition in keys if (failure := outcome.of(partition)) is not None}
    passing = [partition for partition in keys if partition not in failures]
    if len(keys) > INDIVIDUALLY:
        passing = sorted(_failed_before(context, key).intersection(passing))
    worst_last = sorted(failures, key=lambda partition: failures[partition].severity is Severity.ERROR)
    for partition in [*passing, *worst_last[-INDIVIDUALLY:]]:
        failure = failures.get(partition)
        evaluation = dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=failure is None,
            severity=_SEVERITY[failure.severity if failure else Severity.ERROR],
            metadata=failure.metadata if failure else {},
            partition=partition,
        )
        context.op_execution_context.log_event(evaluation)  # type: ignore[arg-type]  # it takes these, its type does not say so


def _failed_before(context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey) -> set[str]:
    """Partitions about which the last word was a failure."""
    known = context.instance.event_log_storage.get_asset_check_partition_info([key])
    failed = AssetCheckExecutionRecordStatus.FAILED
    return {info.partition_key for info in known if info.partition_key and info.latest_execution_status is failed}


def _of_suite(result: SuiteResult) -> Outcome:
    broken = result.results.filter(~pl.col("passed"))
    metadata = {
        "rows": result.rows,
        "expectations": result.results.height,
        "broken expectations": broken.height,
        "result": dg.MetadataValue.md(_markdown(result.results)),
        **({"failing rows": _table(result.findings)} if result.findings.height else {}),
    }
    partitions = {
        partition: Failure(Severity(severity), {"unexpected": count, "broken expectations": ", ".join(failed)})
        for partition, severity, count, failed in result.partitions.iter_rows()
    }
    whole = Failure(result.severity) if result.severity else None
    everywhere = Failure(result.everywhere) if result.everywhere else None
    return Outcome(whole, metadata, partitions, everywhere)


def _of_verdict(verdict: Verdict, severity: Severity, partition: pl.Expr | None) -> Outcome:
    shown = {"findings": _table(verdict.findings)} if verdict.findings.height else {}
    drawn = _picture(verdict.picture) if verdict.picture else {}
    metadata = {**verdict.facts, "problems": verdict.findings.height, **shown, **drawn}
    if verdict.passed:
        return Outcome(None, metadata, {}, None)
    whole = Failure(severity)
    if partition is None:
        return Outcome(whole, metadata, {}, whole)
    counts = verdict.findings.group_by(partition.cast(pl.String).alias("partition")).len()
    failing = {key: Failure(severity, {"problems": count}) for key, count in counts.iter_rows() if key is not None}
    return Outcome(whole, metadata, failing, None if failing else whole)


def _picture(png: bytes) -> dict[str, dg.MarkdownMetadataValue]:
    from quant_assets.metadata import picture  # it loads the installation's calendar, which the checks do without

    return {"picture": picture(png, "what was judged")}


def _markdown(results: pl.DataFrame) -> str:
    """Broken expectations first; columns that share an expectation and its reason share a line."""
    lines = (
        results.group_by("expectation", "why", "severity", "passed", maintain_order=True)
        .agg(
            pl.col("column").str.join(", "),
            pl.col("observed").first(),
            pl.col("examples").list.first().drop_nulls().first(),
        )
        .sort("passed", maintain_order=True)
    )
    body = [
        f"| {'ok' if passed else '**' + severity + '**'} | {expectation} | {column} "
        f"| {'' if passed else observed} {f'({example})' if example else ''} | {why} |"
        for expectation, why, severity, passed, column, observed, example in lines.iter_rows()
    ]
    return "\n".join(["| | expectation | columns | found | why |", "|---|---|---|---|---|", *body])


def _table(rows: pl.DataFrame) -> dg.TableMetadataValue:
    """The first rows, with every value as text."""
    shown = rows.head(SHOWN_ROWS).select(pl.all().cast(pl.String).fill_null(""))
    columns = [dg.TableColumn(name, "string") for name in shown.columns]
    records = [dg.TableRecord(row) for row in shown.iter_rows(named=True)]
    return dg.MetadataValue.table(records=records, schema=dg.TableSchema(columns=columns))
