"""A few rows decide as the whole batch would: verdicts, counts, rows at fault and partitions are the same."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from quant_assets import expectation_runs
from quant_assets.expectation_witnesses import MOST_VALUES, witnesses
from quant_assets.expectations import Suite, run

BETWEEN = "expect_column_values_to_be_between"
PAIR = "expect_column_pair_values_a_to_be_greater_than_b"
RULES: list[dict[str, Any]] = [
    {"expectation": BETWEEN, "kwargs": {"column": "x", "min_value": 0, "strict_min": True, "max_value": 10}},
    {"expectation": BETWEEN, "kwargs": {"column": "y", "min_value": 0, "mostly": 0.7}},
    {"expectation": "expect_column_values_to_not_be_null", "kwargs": {"column": "x"}},
    {"expectation": "expect_column_values_to_be_null", "kwargs": {"column": "word"}},
    {"expectation": PAIR, "kwargs": {"column_A": "y", "column_B": "x", "or_equal": True}},
    {"expectation": PAIR, "kwargs": {"column_A": "y", "column_B": "x"}},
    {"expectation": "expect_column_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["buy", "sell"]}},
    {"expectation": "expect_column_values_to_not_be_in_set", "kwargs": {"column": "word", "value_set": ["hold"]}},
    {"expectation": "expect_column_values_to_match_regex", "kwargs": {"column": "word", "regex": "^[a-z]+$"}},
]
SUITE = Suite.model_validate(
    {
        "name": "witnesses",
        "asset": "a/b",
        "description": "every expectation that has witnesses, and one that has none",
        "expectations": [rule | {"why": "because the test says so"} for rule in RULES],
    }
)
NUMBERS = [None, math.nan, math.inf, -math.inf, -1.0, 0.0, 1.0, 5.0, 10.0]
SCHEMA = {"symbol": pl.String, "x": pl.Float64, "y": pl.Float64, "word": pl.String}


@pytest.fixture(scope="module")
def library() -> Iterator[expectation_runs._Library]:
    """One Great Expectations for all cases: to make it takes longer than to judge a few rows."""
    made = expectation_runs._library()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expectation_runs, "_library", lambda: made)
        yield made


def rows_of(seed: int) -> pl.DataFrame:
    """Up to twelve rows, good and bad, with all the values that compare in odd ways."""
    chance = random.Random(seed)
    good = seed % 3 == 0
    numbers, words = (NUMBERS[-3:], ["buy"]) if good else (NUMBERS, [None, "buy", "hold", "B"])
    columns = {"symbol": ["A", "B"], "x": numbers, "y": numbers, "word": words}
    rows = [{name: chance.choice(values) for name, values in columns.items()} for _ in range(chance.randint(1, 12))]
    return pl.DataFrame(rows, schema=SCHEMA)


@pytest.mark.parametrize("seed", range(12))
def test_witnesses_change_nothing(seed: int, library: object, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = rows_of(seed)
    quick = run(SUITE, frame, partition=pl.col("symbol"), rows_per_batch=7)
    monkeypatch.setattr(expectation_runs, "witnesses", lambda *_: None)
    whole = run(SUITE, frame, partition=pl.col("symbol"), rows_per_batch=7)
    assert quick.results.rows() == whole.results.rows()
    assert quick.findings.rows() == whole.findings.rows()
    assert quick.partitions.rows() == whole.partitions.rows()
    assert quick.everywhere == whole.everywhere


def test_good_rows_are_judged_by_a_few_of_them(
    library: expectation_runs._Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        expectation_runs, "_library", lambda: lambda frame, rules: (seen.append(len(frame)), library(frame, rules))[1]
    )
    rows = 5_000
    frame = pl.DataFrame({"symbol": "A", "x": range(1, rows + 1)}).with_columns(x=pl.col("x") / rows)
    suite = SUITE.model_copy(update={"expectations": SUITE.expectations[:1]})
    result = run(suite, frame)
    assert result.passed
    assert max(seen) <= 2
    assert result.results["observed"][0] == "0 of 5,000 unexpected (0.0000%)"


def test_where_few_rows_cannot_tell_the_batch_is_judged_whole() -> None:
    words = pl.DataFrame({"word": [str(number) for number in range(MOST_VALUES + 1)]})
    assert witnesses("expect_column_values_to_be_in_set", {"column": "word"}, words) is None
    assert witnesses("expect_column_values_to_match_regex", {"column": "word"}, words) is None
    assert witnesses(BETWEEN, {"column": "word"}, words) is None
    mixed = pl.DataFrame({"a": [1.0], "b": ["text"]})
    assert witnesses(PAIR, {"column_A": "a", "column_B": "b"}, mixed) is None
