"""What a grid may be, and in which order its sets come."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.backtests.sweeps import SweepError, sample
from quant_assets.backtests.sweeps.grid import candidates, parameter_sets
from tests.quant_assets.backtests.sweeps.world import Cross

SETS = [{"fast": 2, "slow": 5}, {"fast": 2, "slow": 8}, {"fast": 3, "slow": 5}, {"fast": 3, "slow": 8}]
FORMS = {
    "values by parameter": {"fast": [2, 3], "slow": (5, 8)},
    "ranges": {"fast": range(2, 4), "slow": range(5, 9, 3)},
    "a list of sets": SETS,
    "a frame": pl.DataFrame(SETS),
    "arrays": {"fast": np.arange(2, 4), "slow": np.array([5, 8])},
    "numbers of numpy's": {"fast": list(np.arange(2, 4)), "slow": [np.int64(5), 8]},
}


@pytest.mark.parametrize("grid", FORMS.values(), ids=FORMS)
def test_every_form_of_a_grid_gives_the_same_sets_in_the_same_order(grid):
    assert parameter_sets(grid) == SETS


REFUSED = [  # what, grid, words of the message
    ("nothing", {}, "no parameter sets"),
    ("no values", {"fast": []}, "no parameter sets"),
    ("a single value", {"fast": 5}, "give a list of values"),
    ("a text", {"mode": "long"}, "give a list of values"),
    ("twice the same", [{"fast": 2}, {"fast": 3}, {"fast": 2}], "sets 0 and 2 are both"),
    ("other names", [{"fast": 2}, {"slow": 3}], "set 1 has"),
    ("a list as a value", {"fast": [[1, 2]]}, "use finite numbers"),
    ("an array of arrays", {"fast": np.ones((1, 2))}, "use finite numbers"),
    ("no grid", None, "a NoneType; give values by name"),
    ("a list of numbers", [1, 2], "a list; give values by name"),
    ("a name that is no text", {5: [1]}, "5 is the name of a parameter"),
    ("not a number", {"fast": [float("nan")]}, "use finite numbers"),
]


@pytest.mark.parametrize(("what", "grid", "words"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_grid_that_cannot_be_swept_is_refused(what, grid, words):
    with pytest.raises(SweepError, match=words):
        parameter_sets(grid)


def test_numbers_of_numpys_become_pythons_own():
    (one,) = parameter_sets({"fast": np.arange(2, 3), "share": np.array([0.5]), "flag": np.array([True])})
    assert [type(value) for value in one.values()] == [int, float, bool]


def test_true_and_one_are_two_parameters():
    assert len(parameter_sets({"flag": [True, 1]})) == 2


@given(st.integers(1, 12), st.integers(0, 5))
def test_a_sample_is_a_part_of_the_grid_in_its_order(count, seed):
    grid = {"a": [1, 2, 3], "b": ["x", "y"], "c": [0.5, 1.5]}
    whole = parameter_sets(grid)
    chosen = sample(grid, count, seed)
    assert chosen == [one for one in whole if one in chosen]
    assert len(chosen) == count
    assert chosen == sample(grid, count, seed)


def test_a_sample_of_billions_builds_only_what_is_chosen():
    grid = {name: range(10_000) for name in "abc"}
    assert len(parameter_sets(sample(grid, 100))) == 100
    with pytest.raises(SweepError, match="the grid has 4 combinations"):
        sample({"a": [1, 2], "b": [3, 4]}, 5)


def test_what_a_strategy_refuses_is_told_in_its_words_and_the_others_keep_their_numbers():
    found, failed = candidates(Cross, parameter_sets({"fast": [0, 5, 3], "slow": [5]}))
    assert [(one.number, one.strategy.fast) for one in found] == [(2, 3)]
    told = {failure.number: failure.reason for failure in failed}
    assert told[0].startswith("fast: Input should be greater than or equal to 1")
    assert told[1] == "fast 5 must be smaller than slow 5"


@pytest.mark.parametrize("names", [("x",), ("fast", "x"), ()], ids=str)
def test_a_function_that_has_no_such_parameter_is_named(names):
    def crossing(fast):
        return fast

    with pytest.raises(SweepError, match="crossing cannot be called with"):
        candidates(crossing, [dict.fromkeys(names, 1)])
