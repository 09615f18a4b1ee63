"""The population stability index: a worked example, what it is of no change, and what chance makes of it."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from quant_assets.features.drift import LEAST_ROWS, by_chance, drift, stability_index


def test_a_worked_example() -> None:
    """Two bins about the median 2.5: shares 0.5 and 0.5 before, 0.25 and 0.75 now."""
    before, now = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 3.0, 9.0])
    expected = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
    assert expected == pytest.approx(0.27465307)
    assert stability_index(before, now, bins=2) == pytest.approx(expected)


def test_an_empty_bin_counts_as_half_a_value() -> None:
    before, now = np.array([1.0, 2.0, 3.0, 4.0]), np.array([8.0, 9.0])
    expected = (0.25 - 0.5) * math.log(0.25 / 0.5) + (1.0 - 0.5) * math.log(1.0 / 0.5)
    assert stability_index(before, now, bins=2) == pytest.approx(expected)


def test_the_same_distribution_has_an_index_of_nothing() -> None:
    values = np.random.default_rng(1).normal(size=5000)
    assert stability_index(values, values) == 0.0
    assert stability_index(values, values[::-1].copy()) == 0.0


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_the_unit_does_not_matter(factor: float) -> None:
    noise = np.random.default_rng(2)
    before, now = noise.normal(size=3000), noise.normal(0.5, 1.3, size=900)
    assert stability_index(factor * before, factor * now) == pytest.approx(stability_index(before, now))


def test_values_of_a_few_kinds_are_told_apart() -> None:
    """A candlestick pattern is 0 nearly always: its deciles are all the same, its shares are not."""
    before, now = np.array([0.0] * 950 + [100.0] * 50), np.array([0.0] * 500 + [100.0] * 500)
    assert stability_index(before, before) == 0.0
    expected = (0.5 - 0.95) * math.log(0.5 / 0.95) + (0.5 - 0.05) * math.log(0.5 / 0.05)
    assert stability_index(before, now) == pytest.approx(expected)


def test_what_chance_makes_of_it_is_what_samples_of_one_distribution_show() -> None:
    noise = np.random.default_rng(3)
    found = [stability_index(noise.normal(size=2000), noise.normal(size=500)) for _ in range(1000)]
    assert np.quantile(found, 0.99) == pytest.approx(by_chance(2000, 500), rel=0.1)


def test_a_feature_with_too_few_values_is_not_judged() -> None:
    many, few = [float(number) for number in range(LEAST_ROWS)], [1.0] * (LEAST_ROWS - 1) + [None]
    frame = pl.DataFrame({"many": many, "few": few, "odd": [math.nan] + [math.inf] * (LEAST_ROWS - 1)})
    assert drift(frame, frame, ["many", "few", "odd"]).rows() == [("many", 0.0), ("few", None), ("odd", None)]
