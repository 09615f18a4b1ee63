"""Bars that the tests of this group share."""

from __future__ import annotations

import numpy as np
import polars as pl

from quant_assets.features.example import example_bars

PRICES = ("open", "high", "low", "close")


def untied_bars() -> pl.DataFrame:
    """1,000 example bars, each price moved by up to a thousandth: no tie is left for the last bit to decide."""
    bars = example_bars(seed=5, sessions=1000, symbols=("ONE",))
    random = np.random.default_rng(1)
    moved = {name: 1 + 1e-3 * random.random(bars.height) for name in PRICES}
    apart = bars.with_columns((pl.col(f"adj_{name}") * pl.Series(moved[name])).alias(f"adj_{name}") for name in PRICES)
    return apart.with_columns(
        adj_high=pl.max_horizontal(f"adj_{name}" for name in PRICES),
        adj_low=pl.min_horizontal(f"adj_{name}" for name in PRICES),
        adj_volume=pl.max_horizontal("adj_volume", pl.lit(1000.0)),
    )


def agree(found, expected, tolerance):
    """The values are null or as expected, to a tolerance beside their usual size, and not null at the end."""
    known = ~np.isnan(found) & ~np.isnan(expected)
    assert known[-300:].all()
    usual = np.median(np.abs(found[known]))
    np.testing.assert_allclose(found[known], expected[known], rtol=tolerance, atol=tolerance * usual)
