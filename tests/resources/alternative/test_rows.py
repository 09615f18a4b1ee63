"""Rows of a payload made a frame: what fits its column is taken, and what does not is named."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from resources.alternative.base import Kind, schema, versions
from resources.alternative.rows import framed
from resources.errors import BadAnswerError, BarSchemaError
from tests.venues.market import instant

T = instant(2024, 5, 1)
FACT = {
    "record_id": "1",
    "symbol": "IBM",
    "ts": T,
    "value": 2**63,
    "fiscal_year": 2024,
    "period_end": date(2024, 3, 30),
}

WRONG: list[tuple[Kind, str, Any, str]] = [
    ("fundamentals", "value", float("nan"), "a finite number"),
    ("fundamentals", "value", float("-inf"), "a finite number"),
    ("fundamentals", "value", 10**400, "a finite number"),
    ("fundamentals", "value", "12", "a finite number"),
    ("fundamentals", "value", True, "a finite number"),
    ("fundamentals", "fiscal_year", 2**31, "a whole number below 2^31"),
    ("fundamentals", "fiscal_year", 2024.0, "a whole number below 2^31"),
    ("fundamentals", "period_end", datetime(2024, 3, 30), "a day"),
    ("fundamentals", "form", ["10-K"], "text"),
    ("fundamentals", "ts", datetime(2024, 3, 30), "an instant with its zone"),
    ("social", "likes", 2**63, "a whole number below 2^63"),
    ("social", "symbols_told", "AAPL", "a list of texts"),
    ("social", "symbols_told", ["AAPL", None], "a list of texts"),
    ("insider", "derivative", 1, "true or false"),
]


def test_rows_have_the_types_of_their_kind() -> None:
    found = framed("fundamentals", "wire", [FACT, {"record_id": "2", "ts": T, "form": "a\ud83d"}])
    assert found.schema.items() <= schema("fundamentals").items()
    assert found.select("record_id", "value", "form").rows() == [("1", 2.0**63, None), ("2", None, "a\ufffd")]
    assert framed("news", "wire", []).columns == ["record_id", "ts"]


@pytest.mark.parametrize(("kind", "name", "value", "needed"), WRONG)
def test_what_does_not_fit_is_named(kind: Kind, name: str, value: Any, needed: str) -> None:
    with pytest.raises(BadAnswerError) as told:
        framed(kind, "wire", [{"record_id": "1", "symbol": "IBM", "ts": T, name: value}])
    said = str(told.value)
    assert said.startswith(f"{kind} of wire: record 1 of IBM: {name} is ")
    assert f"it must be {needed}. Try later" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_source_of_ones_own_gives_finite_numbers_too(value: float) -> None:
    rows = pl.DataFrame([{"record_id": "1", "ts": T, "value": value}])
    with pytest.raises(BarSchemaError, match=r"record 1 of wire.*value is no finite number; null stands for"):
        versions("fundamentals", rows, "wire", T)
    with pytest.raises(BarSchemaError, match="fundamentals of wire: its rows are not of the kind's types"):
        versions("fundamentals", pl.DataFrame([{"record_id": "1", "ts": T, "value": "a"}]), "wire", T)
