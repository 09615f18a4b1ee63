"""Judging a frame by rules with Great Expectations, in batches: verdicts, the rows at fault, and their partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import polars as pl
import polars.selectors as cs

from quant_assets.expectation_witnesses import together, witnesses
from resources.calendars import UTC_MICROS

if TYPE_CHECKING:
    import pandas as pd

MAX_FINDINGS = 10_000
"""Rows kept for each broken expectation; counts and partitions are always those of all rows."""

EXAMPLES = 3

RESULT_SCHEMA = pl.Schema(
    {
        "expectation": pl.String(),
        "column": pl.String(),
        "severity": pl.String(),
        "passed": pl.Boolean(),
        "observed": pl.String(),
        "unexpected_count": pl.Int64(),
        "examples": pl.List(pl.String()),
        "why": pl.String(),
    }
)
FINDING_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "expectation": pl.String(),
        "column": pl.String(),
        "severity": pl.String(),
        "value": pl.String(),
        "why": pl.String(),
    }
)
PARTITION_SCHEMA = pl.Schema(
    {"partition": pl.String(), "severity": pl.String(), "unexpected_count": pl.Int64(), "failed": pl.List(pl.String())}
)

NO_PARTITION = "no partition"
"""Where rows are counted whose partition key is null, for example because their time is."""

_PARTITION = "__partition"
_KEYS = ("symbol", "ts", _PARTITION)
_COLUMNS_AT_ONCE = 4  # the library copies the whole frame for each expectation


class Severity(StrEnum):
    """What a broken expectation means: an error may block what comes after, a warning is only shown."""

    WARN = "warn"
    ERROR = "error"


class Scope(StrEnum):
    """How much of a frame an expectation must see at once."""

    SCHEMA = "schema"  # names and types: no rows at all
    ROWS = "rows"  # each row by itself: any batch of rows
    WHOLE = "whole"  # rows against each other: its columns, all rows


@dataclass(frozen=True)
class Rule:
    """One expectation on named columns, ready to be judged."""

    expectation: str
    kwargs: Mapping[str, Any]
    scope: Scope
    severity: Severity
    why: str

    @property
    def columns(self) -> tuple[str, ...]:
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return (*named, *self.kwargs.get("column_list", ()))

    @property
    def label(self) -> str:
        return ", ".join(self.columns) or "table"

    @property
    def mostly(self) -> float:
        """The share of values that must be as expected."""
        return float(self.kwargs.get("mostly") or 1.0)

    def counted(self) -> pl.Expr:
        """Which rows the library counts when it works out that share: for most expectations those with a value."""
        if self.expectation in ("expect_column_values_to_not_be_null", "expect_column_values_to_be_null"):
            return pl.col(self.columns[0]).is_null().is_not_null()  # every row
        present = [pl.col(name).is_not_null() for name in self.columns]
        one_is_enough = self.kwargs.get("ignore_row_if") != "either_value_is_missing"
        return pl.any_horizontal(present) if one_is_enough else pl.all_horizontal(present)


@dataclass(frozen=True)
class SuiteResult:
    """What a suite says about a frame.

    `results` has a row for each rule (RESULT_SCHEMA), `findings` the rows at fault of the broken ones
    (FINDING_SCHEMA), `partitions` the partitions that fail (PARTITION_SCHEMA; empty where none were asked for).
    `everywhere` is the severity of the broken rules that speak of the table and not of rows, so that no partition
    is better than another: null without such.
    """

    suite: str
    rows: int
    results: pl.DataFrame
    findings: pl.DataFrame
    partitions: pl.DataFrame
    everywhere: Severity | None

    @property
    def passed(self) -> bool:
        return bool(self.results["passed"].all())

    @property
    def severity(self) -> Severity | None:
        """The worst of the broken expectations; None where all hold."""
        return worst(Severity(value) for value in self.results.filter(~pl.col("passed"))["severity"])


def worst(severities: Iterator[Severity]) -> Severity | None:
    """ERROR if any is, else WARN if any is, else None."""
    return max(severities, key=list(Severity).index, default=None)


@dataclass
class _Tally:
    """What has been seen of one rule so far, batch by batch."""

    rule: Rule
    held: bool = True
    counted: int = 0
    unexpected: int = 0
    observed: str = ""
    rows: list[pl.DataFrame] = field(default_factory=list)
    kept: int = 0
    bad_in: Counter[str] = field(default_factory=Counter)
    counted_in: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Mapping[str, Any], batch: pl.DataFrame) -> None:
        """Add the library's verdict on the batch whose row numbers its index lists hold."""
        if verdict["error"]:
            self.held, self.observed = False, f"cannot be judged: {verdict['error']}"
            return
        result = verdict["result"]
        elements = result.get("element_count")
        if elements is None:
            self.held, self.observed = verdict["success"], str(result.get("observed_value", ""))
            return
        self.counted += elements - (result.get("missing_count") or 0)
        self.unexpected += result["unexpected_count"]
        indexes = result.get("unexpected_index_list") or []
        if indexes:
            wanted = [name for name in batch.columns if name in (*_KEYS, *self.rule.columns)]
            self._keep(batch.select(wanted)[indexes])
        self._count_in_partitions(batch)

    def count(self, counted: int, batch: pl.DataFrame) -> None:
        """Add a batch of which no row is at fault."""
        self.counted += counted
        self._count_in_partitions(batch)

    def forget(self) -> None:
        """Begin anew."""
        vars(self).update(vars(_Tally(self.rule)))

    def _count_in_partitions(self, batch: pl.DataFrame) -> None:
        if _PARTITION in batch.columns and self.rule.mostly < 1:
            seen = batch.filter(self.rule.counted())[_PARTITION].value_counts()
            self.counted_in.update(dict(seen.iter_rows()))

    def _keep(self, bad: pl.DataFrame) -> None:
        if _PARTITION in bad.columns:
            self.bad_in.update(dict(bad[_PARTITION].value_counts().iter_rows()))
        if self.kept < MAX_FINDINGS:
            self.rows.append(bad.head(MAX_FINDINGS - self.kept))
            self.kept += self.rows[-1].height

    def findings(self) -> pl.DataFrame:
        """Rows at fault: none where the rule holds, and none of partitions within which it does."""
        if self.passed() or not self.rows:
            return FINDING_SCHEMA.to_frame()
        bad = pl.concat(self.rows)
        within = pl.col(_PARTITION).is_in(list(self.failed_in())) if self.bad_in else True
        return _findings(self.rule, bad.filter(within))

    def failed_in(self) -> dict[str, int]:
        """Rows at fault of each partition that fails."""
        most = self.rule.mostly
        seen = self.counted_in
        return {key: bad for key, bad in self.bad_in.items() if most == 1 or (seen[key] - bad) / seen[key] < most}

    def passed(self) -> bool:
        within = not self.counted or (self.counted - self.unexpected) / self.counted >= self.rule.mostly
        return self.held and within and not self.failed_in()

    def row(self) -> tuple[Any, ...]:
        """This rule's row of RESULT_SCHEMA."""
        share = f" ({self.unexpected / self.counted:.4%})" if self.counted else ""
        observed = self.observed or f"{self.unexpected:,} of {self.counted:,} unexpected{share}"
        rule, shown = self.rule, _examples(self.findings())
        return rule.expectation, rule.label, rule.severity, self.passed(), observed, self.unexpected, shown, rule.why


def judge(
    suite: str,
    rules: Sequence[Rule],
    frame: pl.LazyFrame,
    *,
    derive: Mapping[str, str],
    partition: pl.Expr | None,
    rows: int,
) -> SuiteResult:
    """Judge every rule of the suite; see quant_assets.expectations.run."""
    schema = frame.collect_schema()
    derived = {name: pl.sql_expr(sql) for name, sql in derive.items()}
    derived = {name: expr for name, expr in derived.items() if set(expr.meta.root_names()) <= schema.keys()}
    frame = frame.with_columns(**derived)
    keys = [name for name in ("symbol", "ts") if name in schema] or schema.names()[:1]
    if partition is not None:
        frame = frame.with_columns(partition.cast(pl.String).fill_null(NO_PARTITION).alias(_PARTITION))
        keys.append(_PARTITION)
    library = _library()
    tallies = [_Tally(rule) for rule in rules]
    able = []
    for tally in tallies:
        missing = [name for name in tally.rule.columns if name not in schema and name not in derived]
        if missing:
            tally.held, tally.observed = False, f"no column {', '.join(missing)}"
        else:
            able.append(tally)
    scoped = {scope: [tally for tally in able if tally.rule.scope is scope] for scope in Scope}

    _add(library, scoped[Scope.SCHEMA], pl.DataFrame(schema=frame.collect_schema()), plain=True)
    for tally in scoped[Scope.WHOLE]:
        _add(library, [tally], frame.select(_names(keys, [tally])).collect(engine="streaming"))
    judged = 0
    by_row, seen = scoped[Scope.ROWS], _Seen(scoped[Scope.ROWS])
    for batch in _batches(frame, keys, by_row, rows):
        judged += batch.height
        _add(library, seen.undecided(batch), batch)
    if doubted := seen.doubted(library):
        for batch in _batches(frame, keys, doubted, rows):
            _add(library, doubted, batch)
    return _result(suite, judged, tallies)


def _batches(frame: pl.LazyFrame, keys: Sequence[str], tallies: Sequence[_Tally], rows: int) -> Iterator[pl.DataFrame]:
    chosen = frame.select(_names(keys, tallies))
    for chunks in chosen.collect_batches(chunk_size=rows, maintain_order=True):
        yield chunks.rechunk()  # thousands of small files are as many chunks, and each step would go through them all


def _result(suite: str, rows: int, tallies: list[_Tally]) -> SuiteResult:
    broken = [tally for tally in tallies if not tally.passed()]
    failed: dict[str, tuple[list[Severity], list[int], list[str]]] = {}
    for tally in broken:
        for key, bad in tally.failed_in().items():
            severities, counts, labels = failed.setdefault(key, ([], [], []))
            severities.append(tally.rule.severity)
            counts.append(bad)
            labels.append(f"{tally.rule.expectation}({tally.rule.label})")
    partitions = [(key, worst(iter(of)), sum(counts), labels) for key, (of, counts, labels) in sorted(failed.items())]
    return SuiteResult(
        suite=suite,
        rows=rows,
        results=pl.DataFrame([tally.row() for tally in tallies], schema=RESULT_SCHEMA, orient="row"),
        findings=pl.concat([FINDING_SCHEMA.to_frame(), *(tally.findings() for tally in broken)]),
        partitions=pl.DataFrame(partitions, schema=PARTITION_SCHEMA, orient="row"),
        everywhere=worst(tally.rule.severity for tally in broken if not tally.bad_in),
    )


def _findings(rule: Rule, bad: pl.DataFrame) -> pl.DataFrame:
    values = [pl.format(f"{name}={{}}", pl.col(name).cast(pl.String).fill_null("null")) for name in rule.columns]
    has = bad.columns
    return bad.select(
        symbol=(pl.col("symbol") if "symbol" in has else pl.lit(None)).cast(pl.String),
        ts=(pl.col("ts") if "ts" in has else pl.lit(None)).cast(UTC_MICROS, strict=False),
        expectation=pl.lit(rule.expectation),
        column=pl.lit(rule.label),
        severity=pl.lit(rule.severity.value),
        value=pl.concat_str(values, separator=" "),
        why=pl.lit(rule.why),
    )


def _examples(findings: pl.DataFrame) -> list[str]:
    shown = findings.head(EXAMPLES).select(
        pl.concat_str("symbol", pl.col("ts").dt.strftime("%Y-%m-%d"), "value", separator=" ", ignore_nulls=True)
    )
    return shown.to_series().to_list()


_Library = Callable[["pd.DataFrame", Sequence[Rule]], list[dict[str, Any]]]


def _library() -> _Library:
    """Great Expectations over pandas frames: nothing written to disk, no progress bars, no telemetry."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    frames = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    batches = frames.add_batch_definition_whole_dataframe("all")
    # Which rows, by number; not their values, nor a query for them.
    wanted = {"result_format": "COMPLETE", "return_unexpected_index_query": False, "exclude_unexpected_values": True}

    def validate(frame: pd.DataFrame, rules: Sequence[Rule]) -> list[dict[str, Any]]:
        expectations = [
            getattr(gx.expectations, _class_name(rule.expectation))(**rule.kwargs, meta={"rule": number})
            for number, rule in enumerate(rules)
        ]
        suite = gx.ExpectationSuite(name="suite", expectations=expectations)
        report = batches.get_batch(batch_parameters={"dataframe": frame}).validate(suite, result_format=wanted)
        verdicts: list[dict[str, Any]] = [{}] * len(rules)
        for answer in report.results:  # in an order of the library's own
            verdict = {"success": answer.success, "result": answer.result, "error": _error(answer.exception_info)}
            verdicts[cast(Any, answer.expectation_config).meta["rule"]] = verdict
        return verdicts

    return validate


def _add(library: _Library, tallies: Sequence[_Tally], batch: pl.DataFrame, plain: bool = False) -> None:
    for group in _narrow(tallies):
        names = _names([], group)
        shown = batch.select(names) if plain else _for_pandas(batch.select(names))
        frame = shown.to_pandas()
        if not names:
            frame.index = range(batch.height)
        for tally, verdict in zip(group, library(frame, [tally.rule for tally in group]), strict=True):
            tally.add(verdict, batch)


class _Seen:
    """Rules of which a few rows of each batch, its witnesses, say whether they hold on all of it.

    The library is asked about the witnesses of all batches at once: for each rule it builds a graph of its own, which
    takes far longer than the few rows.
    """

    def __init__(self, tallies: Sequence[_Tally]) -> None:
        self._tallies = tallies
        self._rows: list[pl.DataFrame] = []
        self._witnessed: set[int] = set()

    def undecided(self, batch: pl.DataFrame) -> list[_Tally]:
        """The rules that no few rows of the batch can tell of; the others count it as without fault."""
        if batch.is_empty():
            return list(self._tallies)
        shown = _for_pandas(batch.select(_names([], self._tallies)))
        found = {
            number: rows
            for number, tally in enumerate(self._tallies)
            if (rows := witnesses(tally.rule.expectation, tally.rule.kwargs, shown)) is not None
        }
        if not found:
            return list(self._tallies)
        counts = batch.select(self._tallies[number].rule.counted().sum().alias(str(number)) for number in found)
        for number in found:
            self._tallies[number].count(counts[str(number)].item(), batch)
        self._rows.append(shown[together([[0], *found.values()])])
        self._witnessed |= found.keys()
        return [tally for number, tally in enumerate(self._tallies) if number not in found]

    def doubted(self, library: _Library) -> list[_Tally]:
        """The rules that the witnesses do not show to hold; what was counted of them is forgotten."""
        asked = [self._tallies[number] for number in sorted(self._witnessed)]
        if not asked:
            return []
        verdicts = library(pl.concat(self._rows).to_pandas(), [tally.rule for tally in asked])
        found = [tally for tally, verdict in zip(asked, verdicts, strict=True) if not _faultless(verdict)]
        for tally in found:
            tally.forget()
        return found


def _faultless(verdict: Mapping[str, Any]) -> bool:
    return not verdict["error"] and verdict["success"] and verdict["result"].get("unexpected_count") == 0


def _narrow(tallies: Sequence[_Tally]) -> Iterator[list[_Tally]]:
    """The tallies in groups that need few columns together."""
    group: list[_Tally] = []
    for tally in sorted(tallies, key=lambda tally: tally.rule.columns):
        if group and len(_names([], [*group, tally])) > _COLUMNS_AT_ONCE:
            yield group
            group = []
        group.append(tally)
    if group:
        yield group


def _names(keys: Sequence[str], tallies: Sequence[_Tally]) -> list[str]:
    return list(dict.fromkeys([*keys, *(name for tally in tallies for name in tally.rule.columns)]))


def _for_pandas(batch: pl.DataFrame) -> pl.DataFrame:
    """What pandas can judge without lying or waste.

    pandas can't tell NaN from null, so a NaN is shown as infinity: a bound catches it, "not null" does not. Strings
    become categories, which are a hundred times cheaper than objects. Of a list only its presence is shown.
    """
    return batch.with_columns(
        cs.float().fill_nan(float("inf")),
        cs.string().cast(pl.Categorical),
        pl.when(cs.nested().is_not_null()).then(1.0).name.keep(),
    )


def _class_name(expectation: str) -> str:
    return "".join(part.capitalize() for part in expectation.split("_"))


def _error(info: Mapping[str, Any]) -> str:
    """What the library could not do, or nothing: it reports one failure plainly and several by metric."""
    found = [info] if "raised_exception" in info else list(info.values())
    return next((str(one["exception_message"]) for one in found if one["raised_exception"]), "")
