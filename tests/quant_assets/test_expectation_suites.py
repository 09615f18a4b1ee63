"""A suite's file: a wrong one is refused with field and example, and its words are the library's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from quant_assets.expectations import EXPECTATIONS, FOLDER, load_suite
from resources.errors import ConfigError


def test_the_vocabulary_is_the_librarys_own() -> None:
    import great_expectations.expectations as library

    from quant_assets.expectation_runs import _class_name

    for name, kind in EXPECTATIONS.items():
        fields = getattr(library, _class_name(name)).__fields__
        assert set(kind.model.model_fields) <= set(fields), name
        assert {field for field, of in fields.items() if of.required} <= set(kind.required), name


def _write(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    raw = yaml.safe_load((FOLDER / "bars.yaml").read_text())
    change(raw)
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def _first(raw: dict[str, Any], **entry: Any) -> None:
    raw["expectations"][0] = {"why": "because the test says so", **entry}


BETWEEN = "expect_column_values_to_be_between"
MISTAKES: list[tuple[str, Callable[[dict[str, Any]], Any], list[str]]] = [
    ("unknown field", lambda raw: raw.update(blokking=True), ["blokking", "Extra inputs are not permitted"]),
    ("field missing", lambda raw: raw.pop("asset"), ["asset: Field required", "for example asset: market_data/bars"]),
    ("unknown severity", lambda raw: raw.update(severity="fatal"), ["severity", "for example severity: error"]),
    ("no expectations", lambda raw: raw.update(expectations=[]), ["expectations: ", "for example"]),
    (
        "unknown expectation",
        lambda raw: _first(raw, expectation="expect_column_values_to_be_betwen", kwargs={"column": "x"}),
        ["expectations.0.expectation: 'expect_column_values_to_be_betwen'", f"perhaps {BETWEEN}", "for example"],
    ),
    (
        "unknown kwarg",
        lambda raw: _first(raw, expectation=BETWEEN, kwargs={"column": "x", "minimum": 0}),
        ["expectations.0: kwargs.minimum", "takes column, min_value, max_value"],
    ),
    (
        "kwarg of the wrong type",
        lambda raw: _first(raw, expectation=BETWEEN, kwargs={"column": "x", "strict_min": "yes"}),
        ["kwargs.strict_min", "for example strict_min: true"],
    ),
    (
        "share above one",
        lambda raw: _first(raw, expectation=BETWEEN, kwargs={"column": "x", "mostly": 95}),
        ["kwargs.mostly", "less than or equal to 1", "for example mostly: 0.99"],
    ),
    (
        "column forgotten",
        lambda raw: _first(raw, expectation=BETWEEN, kwargs={"min_value": 0}),
        ["kwargs.column: Field required", "for example column: close"],
    ),
    (
        "each without an open column",
        lambda raw: _first(raw, expectation=BETWEEN, kwargs={"column": "x"}, each=["y"]),
        ["expectations.0: each", "leaves no column open"],
    ),
    ("no reason", lambda raw: raw["expectations"][0].pop("why"), ["expectations.0.why: Field required", "for example"]),
    (
        "unknown catalogue",
        lambda raw: _first(raw, from_catalogue="means"),
        ["expectations.0.from_catalogue", "for example from_catalogue: bounds"],
    ),
    (
        "SQL that is none",
        lambda raw: raw.update(derive={"g": "SUM(("}),
        ["derive: g", "is not SQL", "for example derive"],
    ),
]


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_a_wrong_suite_is_refused_with_field_and_example(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_suite(_write(tmp_path, change))
    message = str(refused.value)
    assert message.startswith("own.yaml: ")
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(
    ("text", "words"),
    [("name: [", "not readable as YAML"), ("- a list", "expected fields"), (None, "cannot be read")],
)
def test_a_file_that_is_no_suite_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "own.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_suite(path)


def test_suites_are_loaded_without_the_library() -> None:
    script = (
        "import sys; from quant_assets.expectations import load_suite; load_suite('features');"
        "print([name for name in ('great_expectations', 'pandas', 'talib', 'dagster') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=FOLDER.parents[1]
    )
    assert done.stdout.strip() == "[]"
