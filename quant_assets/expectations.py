"""Expectation suites: what a table must look like, one readable YAML file each, judged by Great Expectations.

`load_suite` turns configs/expectations/<name>.yaml into a typed suite or refuses it naming the field; `run` judges a
frame. Great Expectations reads pandas only and takes three seconds to import, so it is imported where it is used and
sees no more than one batch of rows, and of them the columns that its expectations name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from quant_assets.expectation_runs import Rule, Scope, Severity, SuiteResult, judge
from resources.config import PROJECT
from resources.errors import ConfigError

FOLDER = PROJECT / "configs" / "expectations"


_Bound = float | int | datetime | date
_KWARGS: dict[str, tuple[Any, str]] = {  # name: type, example
    "column": (str, "close"),
    "column_A": (str, "high"),
    "column_B": (str, "low"),
    "column_list": (Annotated[list[str], Field(min_length=1)], "[symbol, ts]"),
    "type_": (str, "float64"),
    "min_value": (_Bound, "0"),
    "max_value": (_Bound, "1"),
    "strict_min": (bool, "true"),
    "strict_max": (bool, "true"),
    "or_equal": (bool, "true"),
    "value_set": (Annotated[list[str | int | float | bool], Field(min_length=1)], "[buy, sell, hold]"),
    "regex": (str, "'^[A-Z]+$'"),
    "ignore_row_if": (str, "either_value_is_missing"),
    "mostly": (Annotated[float, Field(gt=0, le=1)], "0.99"),
}
_RANGE = "min_value max_value strict_min strict_max"
_IGNORE = "ignore_row_if"


@dataclass(frozen=True)
class _Kind:
    """An expectation of the library: what it must see, and the kwargs of it that suites may use."""

    scope: Scope
    required: tuple[str, ...]
    model: type[BaseModel]


def _kind(scope: Scope, required: str = "", optional: str = "") -> _Kind:
    given = f"{optional} mostly" if scope is Scope.ROWS else optional
    fields: dict[str, Any] = {key: (_KWARGS[key][0], ...) for key in required.split()}
    fields |= {key: (_KWARGS[key][0] | None, None) for key in given.split()}
    model = create_model("Kwargs", __config__=ConfigDict(extra="forbid", strict=True), **fields)
    return _Kind(scope, tuple(required.split()), model)


EXPECTATIONS: dict[str, _Kind] = {
    "expect_column_to_exist": _kind(Scope.SCHEMA, "column"),
    "expect_column_type_to_be": _kind(Scope.SCHEMA, "column type_"),
    "expect_column_values_to_not_be_null": _kind(Scope.ROWS, "column"),
    "expect_column_values_to_be_null": _kind(Scope.ROWS, "column"),
    "expect_column_values_to_be_between": _kind(Scope.ROWS, "column", _RANGE),
    "expect_column_values_to_be_in_set": _kind(Scope.ROWS, "column value_set"),
    "expect_column_values_to_not_be_in_set": _kind(Scope.ROWS, "column value_set"),
    "expect_column_values_to_match_regex": _kind(Scope.ROWS, "column regex"),
    "expect_column_pair_values_a_to_be_greater_than_b": _kind(Scope.ROWS, "column_A column_B", f"or_equal {_IGNORE}"),
    "expect_column_pair_values_to_be_equal": _kind(Scope.ROWS, "column_A column_B", _IGNORE),
    "expect_column_values_to_be_unique": _kind(Scope.WHOLE, "column"),
    "expect_compound_columns_to_be_unique": _kind(Scope.WHOLE, "column_list", _IGNORE),
    "expect_column_min_to_be_between": _kind(Scope.WHOLE, "column", _RANGE),
    "expect_column_max_to_be_between": _kind(Scope.WHOLE, "column", _RANGE),
    "expect_column_mean_to_be_between": _kind(Scope.WHOLE, "column", _RANGE),
    "expect_column_sum_to_be_between": _kind(Scope.WHOLE, "column", _RANGE),
    "expect_column_unique_value_count_to_be_between": _kind(Scope.WHOLE, "column", _RANGE),
    "expect_table_row_count_to_be_between": _kind(Scope.WHOLE, "", _RANGE),
}
"""The part of the library's vocabulary that suites may use: names and kwargs are its own."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Expectation(_Model):
    """An expectation by the library's own name and kwargs, with the reason in plain words.

    `each` repeats it, putting every listed column in turn into the column kwarg that is left open.
    """

    expectation: str = Field(examples=["expect_column_values_to_not_be_null"])
    kwargs: dict[str, Any] = Field(default_factory=dict, examples=["{column: close, min_value: 0}"])
    each: tuple[str, ...] = Field(default=(), examples=["[open, high, low, close]"])
    severity: Severity | None = Field(default=None, examples=["warn"])
    why: str = Field(min_length=10, examples=["a price of zero or less is a broken feed"])

    @field_validator("expectation")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in EXPECTATIONS:
            near = difflib.get_close_matches(name, EXPECTATIONS, n=1, cutoff=0)[0]
            raise ValueError(f"{name!r} is not one of the expectations that suites may use; perhaps {near}")
        return name

    @model_validator(mode="after")
    def _kwargs_fit(self) -> Expectation:
        for kwargs in self._expanded():
            try:
                EXPECTATIONS[self.expectation].model.model_validate(kwargs)
            except ValidationError as error:
                raise ValueError(self._explain(error)) from None
        return self

    def _expanded(self) -> list[dict[str, Any]]:
        if not self.each:
            return [self.kwargs]
        kind = EXPECTATIONS[self.expectation]
        free = [key for key in kind.required if key in ("column", "column_A", "column_B") and key not in self.kwargs]
        if len(free) != 1:
            raise ValueError(f"each: {self.expectation} leaves {free or 'no column'} open; each needs exactly one")
        return [{**self.kwargs, free[0]: column} for column in self.each]

    def _explain(self, error: ValidationError) -> str:
        fault = error.errors()[0]
        key = str(fault["loc"][0])
        takes = ", ".join(EXPECTATIONS[self.expectation].model.model_fields)
        what = f"{self.expectation} takes {takes}" if fault["type"] == "extra_forbidden" else fault["msg"]
        example = f"; for example {key}: {_KWARGS[key][1]}" if key in _KWARGS else ""
        return f"kwargs.{key}: {what}{example}"

    def rules(self, suite: Severity) -> Iterator[Rule]:
        """The rules that this entry stands for."""
        scope = EXPECTATIONS[self.expectation].scope
        for kwargs in self._expanded():
            yield Rule(self.expectation, kwargs, scope, self.severity or suite, self.why)


class FromCatalogue(_Model):
    """Expectations read off the feature catalogue instead of being written by hand.

    `bounds`: every column of the catalogue (the features of the asset, or the panel's ranks) lies within its documented
    range, and is a finite number where the catalogue gives none. A null (warm-up) passes; a NaN does not.
    """

    from_catalogue: Literal["bounds"] = Field(examples=["bounds"])
    severity: Severity | None = Field(default=None, examples=["warn"])
    why: str = Field(min_length=10, examples=["outside its documented range a feature is a computation gone wrong"])

    def rules(self, suite: Severity, catalogue: pl.DataFrame) -> Iterator[Rule]:
        """One rule a feature: `catalogue` as quant_assets.features.catalog() gives it, with name, lower, upper."""
        for name, lower, upper in catalogue.select("name", "lower", "upper").iter_rows():
            kwargs = {
                "column": name,
                "min_value": max(lower - _ROUNDING * abs(lower), -_LARGEST),
                "max_value": min(upper + _ROUNDING * abs(upper), _LARGEST),
            }
            yield Rule("expect_column_values_to_be_between", kwargs, Scope.ROWS, self.severity or suite, self.why)


_ROUNDING = 1e-9
_LARGEST = 1.7e308  # stands for "no bound": infinity, and NaN shown as infinity, still lie outside


def _entry_kind(entry: Any) -> str:
    catalogue = isinstance(entry, FromCatalogue) or (isinstance(entry, dict) and "from_catalogue" in entry)
    return "catalogue" if catalogue else "written"


_Entry = Annotated[
    Annotated[Expectation, Tag("written")] | Annotated[FromCatalogue, Tag("catalogue")], Discriminator(_entry_kind)
]


class Suite(_Model):
    """A named list of expectations of one asset, or (features/*) of each asset of a folder.

    A suite is one check of an asset: it blocks, or it does not.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["bars"])
    asset: str = Field(pattern=r"^[a-z0-9_]+(/[a-z0-9_]+)*(/\*)?$", examples=["market_data/bars"])
    description: str = Field(min_length=10, examples=["Bars as the provider gave them are market data."])
    severity: Severity = Field(default=Severity.ERROR, examples=["error"])
    blocking: bool = Field(default=True, examples=["true"])
    derive: dict[str, str] = Field(
        default_factory=dict,
        description="columns that only the check needs, in SQL",
        examples=["{gross: SUM(ABS(target_weight)) OVER (PARTITION BY session)}"],
    )
    expectations: tuple[_Entry, ...] = Field(min_length=1, examples=["[{expectation: expect_column_to_exist, ...}]"])

    @field_validator("derive")
    @classmethod
    def _is_sql(cls, derive: dict[str, str]) -> dict[str, str]:
        for name, sql in derive.items():
            try:
                pl.sql_expr(sql)
            except pl.exceptions.PolarsError as error:
                raise ValueError(f"{name}: {sql!r} is not SQL that polars reads ({error})") from None
        return derive

    def rules(self, catalogue: pl.DataFrame | None = None) -> list[Rule]:
        """Every rule of the suite, the catalogue's included (by default that of quant_assets.features)."""
        rules: list[Rule] = []
        for entry in self.expectations:
            if isinstance(entry, FromCatalogue):
                rules += entry.rules(self.severity, _catalogue() if catalogue is None else catalogue)
            else:
                rules += entry.rules(self.severity)
        return rules


def load_suite(suite: str | Path) -> Suite:
    """Read a suite: configs/expectations/<suite>.yaml, or any file.

    Raises ConfigError naming the file, the field, what is wrong and an example.
    """
    path = FOLDER / f"{suite}.yaml" if isinstance(suite, str) else suite
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        mend = "suites are files of configs/expectations, for example bars"
        raise ConfigError(f"{path.name}: cannot be read ({error.strerror}); {mend}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not readable as YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name}: expected fields such as name, asset and expectations; for example name: bars")
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path.name}: " + " | ".join(_explain(fault) for fault in error.errors())) from error


def run(
    suite: Suite,
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    partition: pl.Expr | None = None,
    catalogue: pl.DataFrame | None = None,
    rows_per_batch: int = 500_000,
) -> SuiteResult:
    """Judge a frame by a suite.

    `partition` gives the partition key of each row; with it the result also names the partitions that fail, and
    `mostly` must hold within each of them, so that a run over a range says what runs of its partitions would say.
    `rows_per_batch` bounds the memory; it does not change the result.

    A column that is missing, or that an expectation cannot judge, fails that expectation.

    >>> run(load_suite("bars"), bars).results.filter(~pl.col("passed"))  # doctest: +SKIP
    """
    return judge(
        suite.name, suite.rules(catalogue), frame.lazy(), derive=suite.derive, partition=partition, rows=rows_per_batch
    )


def _catalogue() -> pl.DataFrame:
    from quant_assets.features import catalog

    return catalog()


def _explain(fault: Any) -> str:
    parts = [str(part) for part in fault["loc"] if part not in ("written", "catalogue")]
    fields = FromCatalogue.model_fields | Expectation.model_fields | Suite.model_fields
    known = fields.get(parts[-1]) if parts else None
    message = fault["msg"].removeprefix("Value error, ")
    example = f"; for example {parts[-1]}: {known.examples[0]}" if known is not None and known.examples else ""
    return f"{'.'.join(parts) or 'suite'}: {message}{example}"
