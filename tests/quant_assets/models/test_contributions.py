"""Our quick SHAP values are LightGBM's own."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from quant_assets.models.contributions import contributions


def train(leaves: int, holes: bool, trees: int = 12) -> tuple[lightgbm.Booster, np.ndarray]:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(800, 5))
    rows[:, 3] = rng.integers(0, 3, size=800)
    target = rows[:, 0] + rows[:, 1] * rows[:, 2] + (rows[:, 3] == 1) + rng.normal(size=800)
    if holes:
        rows[rng.random(rows.shape) < 0.1] = np.nan
    parameters = {"num_leaves": leaves, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1, "seed": 1}
    return lightgbm.train(parameters, lightgbm.Dataset(rows, target), trees), rows


@pytest.mark.parametrize("leaves", [2, 15, 100])
@pytest.mark.parametrize("holes_in_training", [False, True])
@pytest.mark.parametrize("holes_later", [False, True])
def test_they_are_the_values_of_pred_contrib(leaves: int, holes_in_training: bool, holes_later: bool) -> None:
    booster, rows = train(leaves, holes_in_training)
    asked = np.nan_to_num(rows, nan=0.3)
    if holes_later:
        asked[np.random.default_rng(4).random(rows.shape) < 0.2] = np.nan
    expected = booster.predict(asked, pred_contrib=True)[:, :-1]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(contributions(booster, asked), expected, rtol=0, atol=1e-12)


def test_a_model_that_learned_nothing_has_no_contributions() -> None:
    rows = np.zeros((50, 2))
    booster = lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(rows, np.arange(50.0)), 3)
    assert not contributions(booster, rows).any()
