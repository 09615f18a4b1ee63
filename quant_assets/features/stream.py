"""Features bar by bar: the live trader's source, by the same code as the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numba import types
from numba.typed import List

from quant_assets.features.columns.calendar import BarCalendar
from quant_assets.features.context import Context
from quant_assets.features.definition import Coarse, FeatureSet
from quant_assets.features.derived import DERIVED, OPTIONAL
from quant_assets.features.forming import forming
from quant_assets.features.inputs import NUMBERS, PLAIN, prepared
from quant_assets.features.kernels import FIRST, SIGNATURE, loop
from quant_assets.features.plan import PRICES, Plan, finish, significant, unmoved
from resources.errors import BarSchemaError, ConfigError

_POINTERS = types.FunctionType(SIGNATURE)


class Stream:
    """Features of each new bar, equal to the batch's value for that bar.

    It keeps as many bars a symbol as the longest look-back asks for and computes each feature from its own look-back:
    the look-back is proven to be enough, so the value is the batch's (to 1e-9), and nothing drifts or grows.
    """

    def __init__(self, features: FeatureSet, context: Context | None = None) -> None:
        self.features = features
        self.context = context or Context()
        for feature in features:
            if feature.streaming.startswith("none"):
                raise ConfigError(f"feature {feature.name} has no streaming form, {feature.streaming}; take it out")
        self._inputs = sorted({name for feature in features for name in feature.inputs} | {"adj_close"})
        self._numbers = [name for name in self._inputs if name not in ("session", "symbol", "ts", "known_at")]
        own = FeatureSet(features.name, tuple(each for each in features if not isinstance(each.build, Coarse)))
        self._own = own
        self._plan = _Compiled(own, self._numbers)
        self._names = self._own.names
        self._forming = forming(features, lambda bases: Stream(bases, self.context), self._numbers, self.context)
        self._symbols: dict[str, _Window] = {}
        self._derived = [name for name in self._numbers if name in DERIVED]
        self._derived_at = [self._numbers.index(name) for name in self._derived]
        smallest = math.ulp(0.0)
        self._checked = [
            (at, name, 0.0 if name.endswith("volume") else smallest)
            for at, name in enumerate(self._numbers)
            if name in NUMBERS
        ]
        self._calendar = BarCalendar(self.context)
        given = [(at, name) for at, name in enumerate(self._numbers) if name not in DERIVED]
        self._given = [(at, name, PLAIN.get(name, name)) for at, name in given]

    def start(self, history: pl.DataFrame | pl.LazyFrame) -> None:
        """Take the bars before the first update. Raises BarSchemaError as `compute` does."""
        frame = prepared(history.lazy(), self._inputs, self.context)
        for each in self._forming:
            each.start(frame, "session" in history.collect_schema())
        for (symbol,), bars in frame.group_by("symbol", maintain_order=True):
            window = self._opened(str(symbol))
            rows = np.stack([bars[name].cast(pl.Float64).to_numpy() for name in self._numbers])
            real = _real(rows, self._numbers)
            window.extend(rows[:, real], bars["ts"][-1])

    def update(self, bar: Mapping[str, Any]) -> dict[str, float | None]:
        """The features of the bar, by name; None where there is no value yet.

        `bar` maps symbol, ts and the columns the features read to their values. Raises BarSchemaError where one is
        missing and on a bar that is not later than the symbol's last one.
        """
        try:
            symbol, ts = bar["symbol"], bar["ts"]
        except KeyError as missing:
            raise BarSchemaError(f"bar has no {missing.args[0]}; each needs symbol and ts") from None
        window = self._symbols.get(symbol)
        if window is None:
            window = self._opened(symbol)
        try:
            late = window.last is not None and ts <= window.last
        except TypeError:
            raise BarSchemaError(f"{symbol} {ts!r}: ts must be an instant like the last one, {window.last}") from None
        if late:
            raise BarSchemaError(f"{symbol} {ts}: bar is not later than the last one, {window.last}; sort by ts")
        row = self._row(bar)
        self._check(bar, row)
        window.last = ts
        if not self._plan.real(row):
            return dict.fromkeys(self.features.names)
        window.add(row)
        values = self._plan.last(window)
        found = {
            name: None if math.isnan(value) else value for name, value in zip(self._names, values.tolist(), strict=True)
        }
        if not self._forming:
            return found
        for each in self._forming:
            found |= each.update(bar, row)
        return {name: found[name] for name in self.features.names}

    def _check(self, bar: Mapping[str, Any], row: np.ndarray) -> None:
        for at, name, least in self._checked:
            if row[at] < least or row[at] == math.inf:
                what = "zero or more" if name.endswith("volume") else "above zero"
                raise BarSchemaError(
                    f"{bar['symbol']} {bar['ts']}: {name.removeprefix('adj_')} is {row[at]}; it must be {what}, or null"
                )

    def _opened(self, symbol: str) -> _Window:
        window = self._symbols[symbol] = _Window(len(self._numbers), self._own.lookback + 1, self._plan.rounded)
        return window

    def _row(self, bar: Mapping[str, Any]) -> np.ndarray:
        row = np.empty(len(self._numbers))
        if self._derived:
            row[self._derived_at] = self._calendar.values(bar, self._derived)
        for at, name, plain in self._given:
            value = bar.get(name)
            if value is None:
                value = bar.get(plain)
            if value is None:
                if name not in bar and plain not in bar and name not in OPTIONAL:
                    raise BarSchemaError(f"{bar['symbol']} {bar['ts']}: bar has no {plain}")
                value = np.nan
            row[at] = value
        return row


def _real(rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    prices = [at for at, name in enumerate(names) if name in PRICES]
    return np.isfinite(rows[prices]).all(axis=0)


class _Window:
    """The last `size` bars of one symbol, always in one piece: twice as long, and moved back when it is full.

    Below the inputs stand those that TA-Lib reads once more, rounded as it is given them.
    """

    def __init__(self, inputs: int, size: int, rounded: np.ndarray) -> None:
        self.size = size
        self.rounded = rounded
        self.values = np.empty((inputs + rounded.size, 2 * size + 2))
        self.end = 0
        self.count = 0
        self.last: datetime | None = None

    def extend(self, rows: np.ndarray, last: datetime) -> None:
        kept = rows[:, -self.size :]
        self.values[: len(kept), : kept.shape[1]] = kept
        for at, source in enumerate(self.rounded, len(kept)):
            self.values[at, : kept.shape[1]] = significant(kept[source])
        self.end = kept.shape[1]
        self.count = rows.shape[1]
        self.last = last

    def add(self, row: np.ndarray) -> None:
        if self.end == self.values.shape[1]:
            self.values[:, : self.size] = self.values[:, self.end - self.size : self.end]
            self.end = self.size
        self.values[: row.size, self.end] = row
        if self.rounded.size:
            self.values[row.size :, self.end] = significant(row[self.rounded])
        self.end += 1
        self.count += 1


class _Compiled:
    """A plan laid out for one call of machine code a bar."""

    def __init__(self, features: FeatureSet, names: Sequence[str]) -> None:
        self.names = list(names)
        self.prices = [at for at, name in enumerate(names) if name in PRICES]
        self.plan = Plan(list(features))
        self.functions = List.empty_list(_POINTERS)
        place = {name: at for at, name in enumerate(names)}
        inputs, parameters, shape, wanted = [], [], [], []
        for at, (built, vector, outputs) in enumerate(self.plan.kernels.values()):
            self.functions.append(built.pointer)
            depth = max(self.plan.features[spot].lookback for _, spot in outputs) + 1
            first = built.parameters.index(FIRST) if FIRST in built.parameters else -1
            shape.append((len(built.inputs), len(built.outputs), vector.size, depth, first))
            inputs.append([place[name] for name in built.inputs])
            parameters.append(vector)
            wanted += [(at, row, spot) for row, spot in outputs]
        self.shape = np.array(shape, dtype=np.int64).reshape(len(shape), 5)
        self.inputs, self.parameters = _padded(inputs, np.int64), _padded(parameters, np.float64)
        self.wanted = np.array(wanted, dtype=np.int64).reshape(len(wanted), 3)
        widest = max((depth * (ins + outs) for ins, outs, _, depth, _ in shape), default=1)
        self.scratch = np.empty(widest)
        self.lookbacks = np.array([feature.lookback for feature in features], dtype=np.int64)
        self.bounds = np.array([feature.bounds for feature in features], dtype=np.float64).reshape(-1, 2)
        # By the prices that are looked at: the longest window, and each feature with its own.
        self.still: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for at, feature in enumerate(features):
            if feature.still:
                high, low = (place[name] for name in feature.span)
                self.still.setdefault((high, low), []).append((at, feature.still))
        self.last_close = place["adj_close"]
        called = {name for call in self.plan.indicators.values() for built, _ in call[1] for name in built.reads}
        self.rounded = np.array([place[name] for name in sorted(called)], dtype=np.int64)
        rounded = {name: len(self.names) + at for at, name in enumerate(sorted(called))}
        self.close = rounded.get("adj_close", 0)
        self.indicators = [
            (
                wanted[0][0],
                call,
                [(name, rounded[name]) for name in wanted[0][0].inputs],
                max(self.plan.features[spot].lookback for _, spot in wanted) + 1,
                wanted,
            )
            for call, wanted in self.plan.indicators.values()
        ]

    def real(self, row: np.ndarray) -> bool:
        return all(math.isfinite(row[at]) for at in self.prices)

    def last(self, window: _Window) -> np.ndarray:
        """The value of each feature on the window's last bar."""
        out = np.full(self.lookbacks.size, np.nan)
        held = min(window.count, window.size)
        if self.shape.size:
            _run(self.functions, window.values, window.end, held, self.shape, self.inputs, self.parameters,
                 self.wanted, self.scratch, out)  # fmt: skip
        self._talib(window, held, out)
        if self.plan.expressions:
            self._expressions(window, held, out)
        for span, features in self.still.items():
            high, low, close = (window.values[at, window.end - held : window.end] for at in (*span, self.last_close))
            quiet = unmoved(high, low, close, held - 1, max(still for _, still in features))
            for spot, still in features:
                if quiet >= min(still, held):
                    out[spot] = np.nan
        _finish_all(out, self.lookbacks, self.bounds, window.count)
        return out

    def _talib(self, window: _Window, held: int, out: np.ndarray) -> None:
        values, end = window.values, window.end
        now = {"adj_close": values[self.close, end - 1 : end]}
        for function, parameters, inputs, depth, wanted in self.indicators:
            first = end - min(held, depth)
            results = function.call({name: values[at, first:end] for name, at in inputs}, parameters)
            last = [each[-1:] for each in results]
            for built, spot in wanted:
                out[spot] = built.values(last, now)[0]

    def _expressions(self, window: _Window, held: int, out: np.ndarray) -> None:
        rows = window.values[: len(self.names), window.end - held : window.end]
        frame = pl.DataFrame(
            [pl.Series(name, row, nan_to_null=True) for name, row in zip(self.names, rows, strict=True)]
        )
        for spot, expression in self.plan.expressions:
            depth = self.plan.features[spot].lookback + 1
            found = frame.tail(depth).select(expression).to_series()[-1]
            out[spot] = np.nan if found is None else found


@loop()
def _run(functions, values, end, held, shape, inputs, parameters, wanted, scratch, out):  # type: ignore[no-untyped-def]
    at = 0
    for k in range(len(functions)):
        ins, outs, count, depth, first = shape[k]
        bars = min(depth, held)
        x = scratch[: ins * bars].reshape(ins, bars)
        for i in range(ins):
            x[i] = values[inputs[k, i], end - bars : end]
        result = scratch[ins * bars : (ins + outs) * bars].reshape(outs, bars)
        result[:, bars - 1] = np.nan
        if first >= 0:
            parameters[k, first] = bars - 1
        functions[k](x, parameters[k, :count], result)
        while at < wanted.shape[0] and wanted[at, 0] == k:
            out[wanted[at, 2]] = result[wanted[at, 1], bars - 1]
            at += 1


@loop()
def _finish_all(out, lookbacks, bounds, count):  # type: ignore[no-untyped-def]
    for k in range(out.size):
        if count <= lookbacks[k]:
            out[k] = np.nan
        finish(out[k : k + 1], 0, bounds[k, 0], bounds[k, 1])


def _padded(rows: Sequence[Any], dtype: Any) -> np.ndarray:
    width = max((len(row) for row in rows), default=1)
    table = np.zeros((len(rows), max(width, 1)), dtype=dtype)
    for at, row in enumerate(rows):
        table[at, : len(row)] = row
    return table
