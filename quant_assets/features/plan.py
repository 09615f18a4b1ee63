"""How a set of features is computed for one symbol: what shares a pass, in which order, and how values are finished."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from quant_assets.features.definition import Across, Coarse, Feature
from quant_assets.features.kernels import Kernel, loop
from quant_assets.features.precision import NOTHING
from quant_assets.features.talib import BITS, TaLib

ROUNDING = 1e-9
"""How far beyond a bound, relative to it, arithmetic may put a value that lies on the bound."""

PRICES = ("adj_open", "adj_high", "adj_low", "adj_close")

Run = Callable[[Callable[[Callable[[], None]], None], Iterable[Callable[[], None]]], Iterable[None]]
"""`map`, or that of a pool of threads."""


class Plan:
    """Features of one symbol's bars, with those that one kernel gives at once computed together."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.features = [feature for feature in features if not isinstance(feature.build, Across)]
        self.kernels: dict[tuple[Any, ...], tuple[Kernel, np.ndarray, list[tuple[int, int]]]] = {}
        self.indicators: dict[tuple[Any, ...], tuple[dict[str, Any], list[tuple[TaLib, int]]]] = {}
        self.expressions: list[tuple[int, pl.Expr]] = []
        for place, feature in enumerate(self.features):
            self._add(place, feature)
        calls = [built for _, wanted in self.indicators.values() for built, _ in wanted]
        self._rounded = sorted({name for built in calls for name in built.reads})
        # Those of coarser bars know themselves when they have enough: it depends on how many fine ones there are.
        lookbacks = [0 if isinstance(feature.build, Coarse) else feature.lookback for feature in self.features]
        self._lookbacks = np.array(lookbacks, dtype=np.int64)
        self._bounds = np.array([feature.bounds for feature in self.features], dtype=np.float64).reshape(-1, 2)

    def _add(self, place: int, feature: Feature) -> None:
        build = feature.build
        if isinstance(build, Kernel):
            parameters = build.vector(feature.parameters)
            key = (build, *parameters)
            found = self.kernels.setdefault(key, (build, parameters, []))
            found[2].append((build.outputs.index(feature.output), place))
        elif isinstance(build, TaLib):
            call = (build.function, build.inputs, *sorted(feature.parameters.items()))
            self.indicators.setdefault(call, (dict(feature.parameters), []))[1].append((build, place))
        elif isinstance(build, Coarse):  # a column that is there already
            self.expressions.append((place, pl.col(feature.name)))
        else:
            assert not isinstance(build, Across)
            self.expressions.append((place, build(**feature.parameters).cast(pl.Float64).alias(feature.name)))

    def values(self, frame: pl.DataFrame, ends: Sequence[int], run: Run = map) -> np.ndarray:
        """A row a feature, a column a bar of some symbols; NaN where there is no value.

        `ends` are the rows at which each symbol's bars end. A bar whose prices are not all numbers is a gap: it has no
        features, and the others do not see it. `run` maps a function over the passes of one symbol.
        """
        columns = {each.name: each.to_numpy() for each in frame if each.dtype == pl.Float64}
        real = np.ones(frame.height, dtype=bool)
        for name in PRICES:
            if name in columns:
                real &= np.isfinite(columns[name])
        out = np.empty((len(self.features), frame.height))
        for start, end in pairwise([0, *ends]):
            there = real[start:end]
            own = {name: values[start:end] for name, values in columns.items()}
            if there.all():
                self._fill(own, frame.slice(start, end - start), out, start, run)
                continue
            kept = np.empty((len(self.features), int(there.sum())))
            filtered = {name: values[there] for name, values in own.items()}
            self._fill(filtered, frame.slice(start, end - start).filter(pl.Series(there)), kept, 0, run)
            out[:, start:end] = np.nan
            out[:, start:end][:, there] = kept
        return out

    def table(self, values: np.ndarray) -> pl.DataFrame:
        """The same as Float64 columns, null where there is no value."""
        # A copy: frames that share numpy's memory keep all of it while any part of any column made of them lives.
        rows = zip(self.features, values, strict=True)
        return pl.DataFrame([pl.Series(each.name, row, nan_to_null=True) for each, row in rows])

    def _fill(
        self, columns: Mapping[str, np.ndarray], bars: pl.DataFrame, out: np.ndarray, start: int, run: Run
    ) -> None:
        """One row a feature, one column a bar of one symbol, from column `start` on; NaN where there is no value."""
        if not bars.height:
            return
        rounded = {name: significant(columns[name]) for name in self._rounded}
        passes = [
            *(partial(self._kernel, *each, columns, out, start) for each in self.kernels.values()),
            *(partial(self._talib, *each, columns, rounded, out, start) for each in self.indicators.values()),
        ]
        if self.expressions:
            passes.append(partial(self._expressions, columns, bars, out, start))
        for _ in run(_call, passes):
            pass

    def _kernel(
        self, built: Kernel, parameters: np.ndarray, wanted: Sequence[tuple[int, int]],
        columns: Mapping[str, np.ndarray], out: np.ndarray, start: int,
    ) -> None:  # fmt: skip
        bars = columns[built.inputs[0]].size
        x, found = _spare(len(built.inputs), bars, "inputs"), _spare(len(built.outputs), bars, "outputs")
        np.stack([columns[name] for name in built.inputs], out=x)
        found.fill(np.nan)
        built.compiled(x, parameters, found)
        self._finish(found, wanted, columns, out, start)

    def _talib(
        self, parameters: Mapping[str, Any], wanted: Sequence[tuple[TaLib, int]], columns: Mapping[str, np.ndarray],
        rounded: Mapping[str, np.ndarray], out: np.ndarray, start: int,
    ) -> None:  # fmt: skip
        results = wanted[0][0].call(rounded, parameters)
        found = np.stack([built.values(results, rounded) for built, _ in wanted])
        self._finish(found, [(row, place) for row, (_, place) in enumerate(wanted)], columns, out, start)

    def _expressions(self, columns: Mapping[str, np.ndarray], bars: pl.DataFrame, out: np.ndarray, start: int) -> None:
        values = bars.select(expression for _, expression in self.expressions)
        found = np.stack([each.to_numpy() for each in values])
        self._finish(found, [(row, place) for row, (place, _) in enumerate(self.expressions)], columns, out, start)

    def _finish(
        self, found: np.ndarray, wanted: Sequence[tuple[int, int]], columns: Mapping[str, np.ndarray],
        out: np.ndarray, start: int,
    ) -> None:  # fmt: skip
        for row, place in wanted:
            still = self.features[place].still
            if still:
                high, low = self.features[place].span
                hold_still(found[row], columns[high], columns[low], columns["adj_close"], still)
        take(found, np.array(wanted), self._lookbacks, self._bounds, out, start)


def _call(work: Callable[[], None]) -> None:
    work()


_SPARES = threading.local()


def _spare(rows: int, columns: int, which: str) -> np.ndarray:
    """Memory of this thread that is used again for the next symbol, so that it stays in the cache."""
    held: np.ndarray | None = getattr(_SPARES, which, None)
    if held is None or held.size < rows * columns:
        held = np.empty(rows * columns)
        setattr(_SPARES, which, held)
    return held[: rows * columns].reshape(rows, columns)


@loop()
def finish(values: np.ndarray, lookback: int, lower: float, upper: float) -> None:
    """Make NaN of what is infinite and of the warm-up.

    What is beyond a bound by rounding is put on it; what is further beyond is a mistake, and stays to be seen.
    """
    values[:lookback] = np.nan
    least, most = lower - ROUNDING * max(1.0, -lower), upper + ROUNDING * max(1.0, upper)
    for i in range(lookback, values.size):
        value = values[i]
        value = lower if (value < lower) & (value >= least) else value
        value = upper if (value > upper) & (value <= most) else value
        values[i] = value if abs(value) < np.inf else np.nan


@loop()
def take(
    found: np.ndarray, wanted: np.ndarray, lookbacks: np.ndarray, bounds: np.ndarray, out: np.ndarray, start: int
) -> None:
    """Finish the wanted rows (row, place) and put each in its place, from column `start` on."""
    for k in range(wanted.shape[0]):
        row, place = wanted[k, 0], wanted[k, 1]
        target = out[place, start : start + found.shape[1]]
        target[:] = found[row]
        finish(target, lookbacks[place], bounds[place, 0], bounds[place, 1])


@loop()
def hold_still(values: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, window: int) -> None:
    """Make NaN of the values of bars within whose last `window` there was one price only."""
    for i in range(values.size):
        if unmoved(high, low, close, i, window) == min(window, i + 1):
            values[i] = np.nan


@loop()
def unmoved(high: np.ndarray, low: np.ndarray, close: np.ndarray, i: int, most: int) -> int:
    """For how many bars up to bar i, and at most `most`, there was one price only."""
    top, bottom, nothing = high[i], low[i], NOTHING * abs(close[i])
    # Backwards, because nearly every bar moved itself.
    for bars in range(min(most, i + 1)):
        top, bottom = max(top, high[i - bars]), min(bottom, low[i - bars])
        if top - bottom > nothing:
            return bars
    return min(most, i + 1)


@loop()
def significant(values: np.ndarray) -> np.ndarray:
    """The values to BITS significant bits. Source: Veltkamp (1968), the splitting of a float in two."""
    out = np.empty_like(values)
    for i in range(values.size):
        high = values[i] * (2.0 ** (53 - BITS) + 1.0)
        out[i] = high - (high - values[i])
    return out
