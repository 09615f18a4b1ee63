"""How a set of features is computed for one symbol: what shares a pass, in which order, and how values are finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
import polars as pl

from quant_assets.features.definition import Across, Feature
from quant_assets.features.kernels import Kernel
from quant_assets.features.talib import DIGITS, TaLib

ROUNDING = 1e-9
"""How far beyond a bound, relative to it, arithmetic may put a value that lies on the bound."""

NOTHING = 1e-9
"""A movement below this fraction of the price is rounding."""

PRICES = ("adj_open", "adj_high", "adj_low", "adj_close")


class Plan:
    """Features of one symbol's bars, with those that one kernel gives at once computed together."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.features = [feature for feature in features if not isinstance(feature.build, Across)]
        self.kernels: dict[tuple[Any, ...], tuple[Kernel, np.ndarray, list[tuple[int, int]]]] = {}
        self.indicators: list[tuple[int, TaLib, dict[str, Any]]] = []
        self.expressions: list[tuple[int, pl.Expr]] = []
        for place, feature in enumerate(self.features):
            self._add(place, feature)

    def _add(self, place: int, feature: Feature) -> None:
        build = feature.build
        if isinstance(build, Kernel):
            parameters = build.vector(feature.parameters)
            key = (build, *parameters)
            found = self.kernels.setdefault(key, (build, parameters, []))
            found[2].append((build.outputs.index(feature.output), place))
        elif isinstance(build, TaLib):
            self.indicators.append((place, build, dict(feature.parameters)))
        else:
            assert not isinstance(build, Across)
            self.expressions.append((place, build(**feature.parameters).cast(pl.Float64).alias(feature.name)))

    def table(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A Float64 column a feature over one symbol's bars, null where there is no value.

        A bar whose prices are not all numbers is a gap: it has no features, and the others do not see it.
        """
        held = [name for name in PRICES if name in frame.columns]
        real = np.ones(frame.height, dtype=bool)
        for name in held:
            real &= np.isfinite(frame[name].to_numpy())
        if real.all():
            values = self.values(frame)
        else:
            values = np.full((len(self.features), frame.height), np.nan)
            values[:, real] = self.values(frame.filter(pl.Series(real)))
        return pl.DataFrame(
            [pl.Series(each.name, row, nan_to_null=True) for each, row in zip(self.features, values, strict=True)]
        )

    def values(self, frame: pl.DataFrame) -> np.ndarray:
        """One row a feature, one column a bar; NaN where there is no value."""
        columns = {name: frame[name].to_numpy() for name in frame.columns if frame[name].dtype == pl.Float64}
        out = np.full((len(self.features), frame.height), np.nan)
        if not frame.height:
            return out
        for built, parameters, wanted in self.kernels.values():
            x = np.stack([columns[name] for name in built.inputs])
            found = np.full((len(built.outputs), frame.height), np.nan)
            built.compiled(x, parameters, found)
            for row, place in wanted:
                out[place] = found[row]
        self._talib(columns, out)
        if self.expressions:
            found_frame = frame.select(expression for _, expression in self.expressions)
            for at, (place, _) in enumerate(self.expressions):
                out[place] = found_frame.to_series(at).to_numpy()
        self._finish(columns, out)
        return out

    def _talib(self, columns: Mapping[str, np.ndarray], out: np.ndarray) -> None:
        rounded: dict[str, np.ndarray] = {}
        for place, built, parameters in self.indicators:
            for name in built.reads:
                if name not in rounded:
                    rounded[name] = significant(columns[name], DIGITS)
            out[place] = built.values(rounded, parameters)

    def _finish(self, columns: Mapping[str, np.ndarray], out: np.ndarray) -> None:
        for place, feature in enumerate(self.features):
            if feature.still:
                hold_still(out[place], columns["adj_high"], columns["adj_low"], columns["adj_close"], feature.still)
            finish(out[place], feature.lookback, *feature.bounds)


@numba.njit(cache=True, nogil=True)
def finish(values: np.ndarray, lookback: int, lower: float, upper: float) -> None:
    """Make NaN of what is infinite and of the warm-up.

    What is beyond a bound by rounding is put on it; what is further beyond is a mistake, and stays to be seen.
    """
    values[:lookback] = np.nan
    least, most = lower - ROUNDING * max(1.0, -lower), upper + ROUNDING * max(1.0, upper)
    for i in range(lookback, values.size):
        value = values[i]
        if not np.isfinite(value):
            values[i] = np.nan
        elif value < lower and value >= least:
            values[i] = lower
        elif value > upper and value <= most:
            values[i] = upper


@numba.njit(cache=True, nogil=True)
def hold_still(values: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, window: int) -> None:
    """Make NaN of the values of bars within whose last `window` there was one price only."""
    for i in range(values.size):
        first = max(0, i - window + 1)
        if high[first : i + 1].max() - low[first : i + 1].min() <= NOTHING * abs(close[i]):
            values[i] = np.nan


@numba.njit(cache=True, nogil=True)
def significant(values: np.ndarray, digits: int) -> np.ndarray:
    """The values to so many significant digits."""
    out = np.empty_like(values)
    for i in range(values.size):
        value = values[i]
        if value == 0.0 or not np.isfinite(value):
            out[i] = value
        else:
            shift = digits - 1 - np.floor(np.log10(abs(value)))
            # A power of ten beyond 1e22 is not exact; such prices are scaled twice.
            scale = 10.0**shift
            out[i] = np.rint(value * scale) / scale
    return out
