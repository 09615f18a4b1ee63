"""The runs that a configured grid asks for, and the grids that are refused when the configuration is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from quant_assets.backtests.sweeps.configured import check_grid, planned
from quant_assets.backtests.sweeps.grid import SweepError
from resources.config import StrategySettings
from resources.errors import ConfigError

PANEL = [f"sma_ratio_{window}" for window in (10, 20, 50)]


def asked(grid: dict[str, list[Any]] | None, **parameters: Any) -> StrategySettings:
    return StrategySettings(name="moving_average_cross", parameters=parameters, grid=grid)


OWN = [  # parameters, grid: every set, the number of the configured one, and how many are of the grid
    (
        {"fast": 10, "slow": 50},
        {"fast": [10, 20], "slow": [50, 100]},
        [(10, 50), (10, 100), (20, 50), (20, 100)],
        0,
        4,
    ),
    ({"fast": 50, "slow": 100}, {"fast": [10, 20]}, [(10, 100), (20, 100), (50, 100)], 2, 2),
    ({"slow": 100}, {"fast": [50, 20]}, [(50, 100), (20, 100)], 0, 2),
    ({}, {"slow": [50, 100], "fast": [10]}, [(10, 50), (10, 100), (50, 200)], 2, 2),
]


@pytest.mark.parametrize(("parameters", "grid", "sets", "own", "of_grid"), OWN)
def test_the_configured_parameters_are_among_the_runs(
    parameters: dict[str, int], grid: dict[str, list[Any]], sets: list[tuple[int, int]], own: int, of_grid: int
) -> None:
    plan = planned(asked(grid, **parameters))
    assert [(one.get("fast"), one.get("slow")) for one in plan.sets] == sets
    assert (plan.own, plan.of_grid) == (own, of_grid)
    made = plan.kind(**plan.sets[plan.own])
    assert made == plan.strategy


def test_the_axes_are_the_parameters_with_a_choice() -> None:
    assert planned(asked({"fast": [10, 20], "slow": [100]})).axes == ("fast",)


def test_features_are_read_for_every_run_that_the_strategy_takes() -> None:
    plan = planned(asked({"fast": [10, 20, 50], "slow": [50]}, fast=10, slow=100))
    read = [reader.required_features for reader in plan.readers]
    assert read[0] == ("sma_ratio_10", "sma_ratio_100"), "the configured one"
    assert read[1:] == [(f"sma_ratio_{fast}", "sma_ratio_50") for fast in (10, 20)] + [read[0]]


def test_without_a_grid_there_is_no_sweep() -> None:
    says = (
        r"^strategies\.moving_average_cross: it has no grid to sweep; .*for example grid: \{fast: \[50, \.\.\.\], slow"
    )
    with pytest.raises(SweepError, match=says):
        planned(asked(None))


REFUSED = [
    ({"quick": [10, 20]}, r"\.grid\.quick: not a parameter of moving_average_cross; .*grid: \{fast: \[50, \.\.\.\]"),
    ({"fast": [10, 12]}, r"\.grid\.fast: 12 is refused in every combination: fast 12: the feature catalogue has no"),
    (
        {"fast": [10, "20"]},
        r"\.grid\.fast: '20' is refused in every combination: fast: Input should be a valid integer",
    ),
    ({"fast": [10, 50], "slow": [20, 50]}, r"\.grid\.fast: 50 is refused in every combination: .*smaller than slow"),
    ({"fast": [10, 20], "slow": [10, 50]}, r"\.grid\.slow: 10 is refused in every combination"),
    ({"fast": [10, 20], "slow": [100, 50]}, r"moving_average_cross: reads \['sma_ratio_100'\], which features/panel"),
]


@pytest.mark.parametrize(("grid", "says"), REFUSED)
def test_a_grid_that_cannot_be_meant_is_refused_at_load(grid: dict[str, list[Any]], says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^strategies\.(moving_average_cross)?.*{says}"):
        check_grid(asked(grid), PANEL)


def test_a_value_that_goes_with_some_of_the_others_is_a_grids_everyday() -> None:
    check_grid(asked({"fast": [10, 20], "slow": [20, 50]}), PANEL)
    check_grid(asked(None), PANEL)
