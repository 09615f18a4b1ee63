"""Where a symbol's feature stands among all symbols of the instant, and among those of its sector.

Who takes part: every symbol with a bar at the instant and a value of the feature there; a bar without volume too (the
panel ranks among the symbols that could be traded). Values are compared to nine decimals: what is equal but for
rounding is a tie, and ties share their mean place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from quant_assets.features.definition import UNBOUNDED, Across, Feature, FeatureSet
from quant_assets.features.kernels import loop
from quant_assets.features.microstructure import MICROSTRUCTURE
from quant_assets.features.statistical import STATISTICAL
from quant_assets.features.technical import TECHNICAL

DECIMALS = 9

RANKED = (
    "return_5", "return_21", "return_126", "return_252_21", "sma_ratio_200", "rsi_14", "volatility_63",
    "volume_ratio_5_63", "amihud_21",
)  # fmt: skip
"""The features that are compared."""

BASES = FeatureSet("bases", (*TECHNICAL, *STATISTICAL, *MICROSTRUCTURE)).pick(RANKED)


def market_rank(name: str) -> Callable[[], pl.Expr]:
    """Rank of the feature `name` among all symbols of the instant."""

    def rank() -> pl.Expr:
        """(place - 1) / (symbols - 1) among all symbols of the instant; ties share their mean place, alone 0.5."""
        return _grouped(name, "instant", ranks)

    return rank


def sector_rank(name: str) -> Callable[[], pl.Expr]:
    """Rank of the feature `name` in the sector; null without one."""

    def rank() -> pl.Expr:
        """(place - 1) / (symbols - 1) among the sector's symbols of the instant; ties share their mean, alone 0.5."""
        return _grouped(name, "sector_instant", ranks)

    return rank


def market_zscore(name: str) -> Callable[[], pl.Expr]:
    """Distance of the feature `name` from the mean of all symbols, in their sample standard deviations."""

    def zscore() -> pl.Expr:
        """(value - mean) / standard deviation of all symbols of the instant; null where all are alike."""
        return _grouped(name, "instant", zscores)

    return zscore


def sector_neutral(name: str) -> Callable[[], pl.Expr]:
    """The feature `name` less the mean of the sector; null without one."""

    def neutral() -> pl.Expr:
        """Value less the mean of the sector's symbols of the instant, itself included; null without a sector."""
        return _grouped(name, "sector_instant", less_mean)

    return neutral


def _grouped(name: str, group: str, function: Callable[..., None]) -> pl.Expr:
    def run(columns: Sequence[pl.Series]) -> pl.Series:
        values, group_of = (column.to_numpy() for column in columns)
        out = np.full(values.size, np.nan)
        order, ends = _order(values, group_of)
        function(values, order, ends, out)
        return pl.Series(out, nan_to_null=True)

    return pl.map_batches([name, group], run, return_dtype=pl.Float64)


@loop()
def _order(values: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of the values that are known, group by group and each in the rows' order; and where groups end."""
    ends = np.zeros(group.max() + 2 if group.size else 1, dtype=np.int64)
    for i in range(values.size):
        if group[i] >= 0 and not np.isnan(values[i]):
            ends[group[i] + 1] += 1
    ends = np.cumsum(ends)
    following, order = ends.copy(), np.empty(ends[-1], dtype=np.int64)
    for i in range(values.size):
        if group[i] >= 0 and not np.isnan(values[i]):
            order[following[group[i]]] = i
            following[group[i]] += 1
    return order, ends


@loop()
def ranks(values: np.ndarray, order: np.ndarray, ends: np.ndarray, out: np.ndarray) -> None:
    """(Place - 1) / (members - 1) in its group; ties, to DECIMALS, share their mean place; alone 0.5."""
    for g in range(ends.size - 1):
        members = order[ends[g] : ends[g + 1]]
        rounded = np.rint(values[members] * 10.0**DECIMALS)
        sorted_ = np.argsort(rounded)
        first = 0
        while first < members.size:
            last = first
            while last + 1 < members.size and rounded[sorted_[last + 1]] == rounded[sorted_[first]]:
                last += 1
            for k in range(first, last + 1):
                out[members[sorted_[k]]] = 0.5 * (first + last) / (members.size - 1) if members.size > 1 else 0.5
            first = last + 1


@loop()
def zscores(values: np.ndarray, order: np.ndarray, ends: np.ndarray, out: np.ndarray) -> None:
    """(Value - mean) / sample standard deviation of its group; NaN where that is nothing to DECIMALS."""
    for g in range(ends.size - 1):
        members = order[ends[g] : ends[g + 1]]
        held = values[members]
        if members.size > 1:
            mean = held.mean()
            deviation = np.sqrt(((held - mean) ** 2).sum() / (members.size - 1))
            if deviation > 10.0**-DECIMALS:
                for k in range(members.size):
                    out[members[k]] = (held[k] - mean) / deviation


@loop()
def less_mean(values: np.ndarray, order: np.ndarray, ends: np.ndarray, out: np.ndarray) -> None:
    """Value less the mean of its group."""
    for g in range(ends.size - 1):
        members = order[ends[g] : ends[g + 1]]
        held = values[members]
        mean = held.sum() / max(members.size, 1)
        for k in range(members.size):
            out[members[k]] = held[k] - mean


_FORMS = (
    (market_rank, "rank among all symbols", ("instant",), (0.0, 1.0)),
    (market_zscore, "standard deviations from the mean of all symbols", ("instant",), UNBOUNDED),
    (sector_rank, "rank in its sector", ("sector_instant",), (0.0, 1.0)),
    (sector_neutral, "less its sector's mean", ("sector_instant",), UNBOUNDED),
)


def _of(base: Feature, form: Callable[[str], Callable[[], pl.Expr]], what: str, inputs: tuple[str, ...]) -> Feature:
    bounds = next(bounds for each, _, _, bounds in _FORMS if each is form)
    return Feature(
        f"{form.__name__}_{base.name}",
        form.__name__,
        f"{base.description}: {what}",
        Across(form(base.name), (base,), inputs),
        lookback=base.lookback,
        bounds=bounds,
    )


COMPARED = tuple(_of(base, form, what, inputs) for form, what, inputs, _ in _FORMS for base in BASES)
"""Every form of every base."""
