"""How far a feature's distribution has moved from what it was: the population stability index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

MOVED, SHIFTED = 0.1, 0.25
"""By custom: below the first the distribution is as it was, from the second on it is another."""

LEAST_ROWS = 100
"""Fewer values than this in either sample say nothing about ten bins."""

BINS = 10

_CHI_SQUARED_99 = 21.666
"""The 99 % quantile for 9 degrees of freedom."""

DRIFT = pl.Schema({"feature": pl.String(), "psi": pl.Float64()})


def stability_index(reference: NDArray[np.float64], current: NDArray[np.float64], bins: int = BINS) -> float:
    """Sum over bins of (share now - share before) x ln(share now / share before); 0.0 for equal shares.

    The bins hold equal shares of `reference` (fewer bins where values repeat), the outermost are open. A bin without a
    value counts as half of one, so that a share of nothing has a logarithm. Finite values only, at least one of each.

    Source: Siddiqi (2006), "Credit Risk Scorecards", chapter 10; Kullback and Leibler's symmetric divergence.

    Example: `stability_index(np.arange(100.0), np.arange(100.0))` is 0.0.
    """
    edges = np.unique(np.quantile(reference, np.arange(1, bins) / bins))
    before, now = (_shares(sample, edges) for sample in (reference, current))
    return float(((now - before) * np.log(now / before)).sum())


def _shares(sample: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the values in each bin: up to and including its upper edge, above the one before."""
    counts = np.bincount(np.searchsorted(edges, sample, side="left"), minlength=edges.size + 1)
    return np.maximum(counts, 0.5) / sample.size


def by_chance(reference: float, current: float) -> float:
    """What the index of two samples of so many independent values of one distribution stays below, 99 times of 100.

    Of one distribution it is (1 / reference + 1 / current) x chi-squared with BINS - 1 degrees of freedom.

    Source: Yurdakul (2018), "Statistical Properties of Population Stability Index".
    """
    return _CHI_SQUARED_99 * (1 / reference + 1 / current)


def drift(reference: pl.DataFrame, current: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """The index of each feature in DRIFT; null where either sample has fewer than LEAST_ROWS values of it."""
    found = []
    for name in features:
        before, now = (_finite(frame[name]) for frame in (reference, current))
        enough = min(before.size, now.size) >= LEAST_ROWS
        found.append((name, stability_index(before, now) if enough else None))
    return pl.DataFrame(found, schema=DRIFT, orient="row")


def _finite(values: pl.Series) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = values.drop_nulls().to_numpy()
    return numbers[np.isfinite(numbers)]
