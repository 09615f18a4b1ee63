"""Which model serves: the newest unless clearly worse, decided with what was known."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.models.champion import CHAMPIONS, champions


def scores(*means: float | None) -> pl.DataFrame:
    """Two folds a cut-off whose mean is as given; cut-offs are the years from 2005 on."""
    rows = [
        {"cutoff": date(2005 + number, 1, 1), "ic": None if mean is None else mean + shift}
        for number, mean in enumerate(means)
        for shift in (-0.01, 0.01)
    ]
    return pl.DataFrame(rows, schema={"cutoff": pl.Date, "ic": pl.Float64})


class Case(NamedTuple):
    name: str
    means: tuple[float | None, ...]
    serving: tuple[int, ...]


CASES = [
    Case("the first is promoted", (0.03,), (2005,)),
    Case("even a bad first", (-0.10,), (2005,)),
    Case("even one without a figure", (None, None, 0.01), (2005, 2005, 2007)),
    Case("a better one takes over", (0.03, 0.05), (2005, 2006)),
    Case("so does a slightly worse one", (0.03, 0.015), (2005, 2006)),
    Case("a clearly worse one does not", (0.05, 0.02), (2005, 2005)),
    Case("nor one without a figure", (0.05, None), (2005, 2005)),
    Case("the champion met counts, not the last challenger", (0.06, 0.01, 0.03, 0.05), (2005, 2005, 2005, 2008)),
    Case("the years count from its own promotion", (0.03, 0.09, 0.01, 0.01, 0.01), (2005, 2006, 2006, 2006, 2009)),
    Case("after three cut-offs anything replaces it", (0.09, 0.01, 0.01, -0.05, -0.04), (2005, 2005, 2005, 2008, 2009)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_serves(case: Case) -> None:
    chosen = champions(scores(*case.means))
    assert chosen.schema == CHAMPIONS
    assert [day.year for day in chosen["champion_cutoff"]] == list(case.serving)
    assert chosen["promoted"].equals(chosen["cutoff"] == chosen["champion_cutoff"])


@pytest.mark.parametrize(
    ("means", "reason"),
    [
        ((0.05,), "first model"),
        ((0.05, 0.02), "IC 0.0200 is worse than the champion's 0.0500 by more than 0.02"),
        ((0.05, 0.04), "IC 0.0400 is not worse than the champion's 0.0500 by more than 0.02"),
        ((0.05, None), "the challenger has no validation IC"),
        ((None, 0.05), "the champion has no validation IC"),
        ((0.9, 0.0, 0.0, 0.0), "the champion has served 3 cut-offs"),
    ],
)
def test_the_reason_is_told(means: tuple[float | None, ...], reason: str) -> None:
    assert champions(scores(*means))["reason"][-1] == reason


@given(st.lists(st.one_of(st.none(), st.floats(-0.2, 0.2)), max_size=15), st.integers(0, 15))
def test_a_choice_never_changes_with_what_comes_later(means: list[float | None], kept: int) -> None:
    everything = champions(scores(*means))
    assert champions(scores(*means[:kept])).equals(everything.head(kept))
    assert (everything["champion_cutoff"] <= everything["cutoff"]).all()


@pytest.mark.parametrize(("tolerance", "max_age"), [(-0.01, 3), (0.02, 0)])
def test_senseless_rules_are_refused(tolerance: float, max_age: int) -> None:
    with pytest.raises(ValueError, match="tolerance must be 0 or more"):
        champions(scores(0.1), tolerance=tolerance, max_age=max_age)
