"""What a feature is: a named, documented expression over one symbol's cleaned bars, with its look-back stated."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import polars as pl

from quant_assets.versions import code_version
from resources.errors import ConfigError

KEYS = ("symbol", "ts", "session", "known_at")

UNBOUNDED = (-math.inf, math.inf)

ROUNDING = 1e-9
"""How far beyond a bound, relative to it, arithmetic may put a value that lies on the bound."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature table.

    `build(**parameters)` gives an expression over the bars of ONE symbol, in order; it may look at the current bar
    and earlier ones. Where it is not a finite number, the feature is null.

    Example: `Feature("return_5", "returns", "Return over 5 sessions", simple_return, {"window": 5}, lookback=5)`
    """

    name: str
    group: str
    description: str
    build: Callable[..., pl.Expr]
    parameters: Mapping[str, int | float] = field(default_factory=dict)
    lookback: int = field(kw_only=True)
    """Bars BEFORE the current one that its value needs; null until there are as many. With more, nothing changes."""
    bounds: tuple[float, float] = field(default=UNBOUNDED, kw_only=True)
    """The smallest and largest value possible."""
    source: str = field(default="", kw_only=True)
    """Where the formula comes from."""

    def __post_init__(self) -> None:
        if not inspect.isfunction(self.build) or self.build.__name__ == "<lambda>":
            raise TypeError(f"feature {self.name}: build must be a function with a name; its code is what is versioned")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns of the cleaned bars that it reads."""
        return tuple(sorted(set(self.build(**self.parameters).meta.root_names())))

    @property
    def raw(self) -> pl.Expr:
        """What the builder says, over the bars of one symbol."""
        return self.build(**self.parameters).cast(pl.Float64).alias(self.name)

    @property
    def finished(self) -> pl.Expr:
        """The column made of the raw one of the same name: null during warm-up, never NaN or infinite.

        What is beyond a bound by rounding is put on it; what is further beyond is a mistake, and stays to be seen.
        """
        value, (lower, upper) = pl.col(self.name), self.bounds
        near = value.is_between(lower - ROUNDING * max(1.0, -lower), upper + ROUNDING * max(1.0, upper))
        known = (pl.int_range(pl.len()) >= self.lookback) & value.is_finite()
        return pl.when(known & near).then(value.clip(lower, upper)).when(known).then(value)

    @property
    def code_version(self) -> str:
        """Changes with the parameters, the look-back and the code of the builder and what it calls; not with prose."""
        what = (self.name, sorted(self.parameters.items()), self.lookback, self.bounds)
        return code_version(*what, *_sources(self.build))


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features that are computed and stored together, by unique names."""

    name: str
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"features of {self.name}: {twice} defined more than once; give each its own name")

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def lookback(self) -> int:
        """Sessions before the first wanted one that the bars must reach back."""
        return max(feature.lookback for feature in self.features)

    @property
    def code_version(self) -> str:
        """Changes when a feature is added, removed or defined differently."""
        return code_version(*sorted(feature.code_version for feature in self), *_sources(evaluate), Feature)

    def pick(self, names: Iterable[str]) -> FeatureSet:
        """The named features, in the order asked for.

        Raises ConfigError on an unknown name, with the names most like it.
        """
        known = {feature.name: feature for feature in self}
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else "catalog() lists them all."
                raise ConfigError(f"feature {name!r} is unknown; {hint}")
        return FeatureSet(self.name, tuple(known[name] for name in wanted))


def evaluate(features: FeatureSet, bars: pl.LazyFrame) -> pl.LazyFrame:
    """symbol, ts, session, known_at and a Float64 column a feature, for every row of the cleaned bars.

    One pass over contiguous slices, a symbol at a time: no symbol can see another, and memory follows the largest.
    """
    raw, finished = [feature.raw for feature in features], [feature.finished for feature in features]
    inputs = sorted({name for feature in features for name in feature.inputs})

    def each_symbol(frame: pl.DataFrame) -> pl.DataFrame:
        ordered = frame.sort("symbol", "ts")
        ends = ordered["symbol"].rle().struct.field("len").cum_sum().to_list()
        parts = [
            ordered.slice(start, end - start).select(*KEYS, *raw).with_columns(finished)
            for start, end in zip([0, *ends], ends, strict=False)
        ]
        return pl.concat(parts) if parts else pl.DataFrame(schema=schema)

    wanted = bars.select(*KEYS, *inputs)
    held = wanted.collect_schema()
    schema = {name: held[name] for name in KEYS} | dict.fromkeys(features.names, pl.Float64())
    # A filter on the result must not reach the bars: the rows before it are what the features look back on.
    return wanted.map_batches(
        each_symbol, schema=schema, predicate_pushdown=False, projection_pushdown=False, slice_pushdown=False
    )


def _sources(function: Callable[..., Any]) -> list[Any]:
    """The function, then the functions and constants of its package that it refers to, and theirs, in a fixed order."""
    package = function.__module__.split(".")[0]
    found: dict[str, Any] = {}

    def visit(name: str, value: Any) -> None:
        if name in found:
            return
        if inspect.isfunction(value) and value.__module__.split(".")[0] == package:
            found[name] = value
            for inner in sorted(_names(value.__code__) & value.__globals__.keys()):
                visit(f"{value.__module__}.{inner}", value.__globals__[inner])
        elif isinstance(value, pl.Expr):
            found[name] = f"{name}={value}"
        elif isinstance(value, int | float | str | tuple):
            found[name] = f"{name}={value!r}"

    visit(function.__name__, function)
    return list(found.values())


def _names(code: CodeType) -> set[str]:
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)
