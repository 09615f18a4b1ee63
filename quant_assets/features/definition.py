"""What a feature is: a named, documented function of bars known so far, with its look-back stated."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Literal

import polars as pl

from quant_assets.features.derived import DERIVED
from quant_assets.features.inputs import KEYS, needed
from quant_assets.features.kernels import Kernel
from quant_assets.features.talib import TaLib
from quant_assets.features.timeframes import Timeframe, coarsened, timeframe
from quant_assets.versions import code_version
from resources.errors import ConfigError

UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Across:
    """A feature of all symbols of an instant: an expression over the columns of other features and of the bars.

    `function(**parameters)` gives the expression; it sees every symbol's rows and says `.over("ts")` itself. `of` are
    the features whose columns it reads, `inputs` the columns of the bars.
    """

    function: Callable[..., pl.Expr]
    of: tuple[Feature, ...] = ()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coarse:
    """A feature of coarser bars, as each bar knows it (quant_assets.features.timeframes says how)."""

    feature: Feature
    timeframe: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the bars that make the coarse ones."""
        found = {*needed(self.feature.inputs), "adj_close"} - {*KEYS}
        return tuple(sorted(found | ({"adj_volume"} if "vwap" in found else set())))


Build = Callable[..., pl.Expr] | Kernel | TaLib | Across | Coarse


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature table. It may look at the current bar of its symbol and at earlier ones.

    `build` is one of

    - a function: `build(**parameters)` gives a polars expression over the bars of ONE symbol, in order;
    - a `Kernel`: a compiled loop over the bars of one symbol (quant_assets.features.kernels);
    - a `TaLib` function;
    - an `Across`: an expression over all symbols of an instant.

    Where it is not a finite number, and before there are `lookback` bars, the feature is null.

    Example: `Feature("return_5", "returns", "Return over 5 bars", simple_return, {"window": 5}, lookback=5)`
    """

    name: str
    family: str
    description: str
    build: Build
    parameters: Mapping[str, int | float] = field(default_factory=dict)
    lookback: int = field(kw_only=True)
    """Bars BEFORE the current one that its value needs; null until there are as many. With more, nothing changes."""
    bounds: tuple[float, float] = field(default=UNBOUNDED, kw_only=True)
    """The smallest and largest value possible."""
    output: str = field(default="value", kw_only=True)
    """Which of a kernel's outputs it is."""
    still: int = field(default=0, kw_only=True)
    """Null where no price that it reads moved within this many bars (0: never): all that is left is rounding."""
    source: str = field(default="", kw_only=True)
    """Where the formula comes from."""

    def __post_init__(self) -> None:
        if isinstance(self.build, Kernel | TaLib | Across | Coarse):
            return
        if not inspect.isfunction(self.build) or self.build.__name__ == "<lambda>":
            raise TypeError(f"feature {self.name}: build must be a function with a name; its code is what is versioned")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns of the bars that it reads, in a fixed order."""
        if isinstance(self.build, Coarse):
            return self.build.reads
        if isinstance(self.build, Kernel):
            found = {*self.build.inputs}
        elif isinstance(self.build, TaLib):
            found = {*self.build.reads}
        elif isinstance(self.build, Across):
            found = {*self.build.inputs, *(name for feature in self.build.of for name in feature.inputs)}
        else:
            found = set(self.build(**self.parameters).meta.root_names())
        return tuple(
            sorted(found | ({"adj_high", "adj_low", "adj_close"} if self.still and found != {"adj_close"} else set()))
        )

    @property
    def span(self) -> tuple[str, str]:
        """The prices that `still` looks at: highest and lowest, or closes alone for what reads nothing but closes."""
        return ("adj_close", "adj_close") if self.inputs == ("adj_close",) else ("adj_high", "adj_low")

    @property
    def scope(self) -> Literal["symbol", "universe"]:
        """Whether its value depends on the other symbols present."""
        if isinstance(self.build, Coarse):
            return self.build.feature.scope
        across = isinstance(self.build, Across) or any(
            DERIVED[name].universe for name in self.inputs if name in DERIVED
        )
        return "universe" if across else "symbol"

    @property
    def streaming(self) -> str:
        """How a stream computes it, or "none: " and why it cannot."""
        if isinstance(self.build, Coarse):
            return self.build.feature.streaming
        if self.scope == "universe":
            return "none: it needs every symbol's bar of the instant"
        derived = [name for name in self.inputs if name in DERIVED and not DERIVED[name].streams]
        if derived:
            return f"none: {derived[0]} is worked out of whole frames"
        if isinstance(self.build, Kernel | TaLib):
            return "compiled"
        keys = [name for name in self.inputs if name in KEYS]
        return f"none: it reads the bars' {keys[0]}" if keys else "expression"

    @property
    def formula(self) -> str:
        """How it is computed, in words: what the builder's docstring says."""
        build = self.build
        if isinstance(build, Coarse):
            return build.feature.formula
        if isinstance(build, TaLib):
            return f"{build.words}."
        function = build.function if isinstance(build, Kernel | Across) else build
        return " ".join((inspect.getdoc(function) or "").replace("`", "").split())

    @property
    def code_version(self) -> str:
        """Changes with the parameters, the look-back and the code of the builder and what it calls; not with prose."""
        what = (self.name, sorted(self.parameters.items()), self.lookback, self.bounds, self.output, self.still)
        made = [version for name in self.inputs if name in DERIVED for version in sources(DERIVED[name].make)]
        return code_version(*what, *_built(self.build), *made)


def _built(build: Build) -> list[Any]:
    if isinstance(build, Coarse):
        return [build.feature.code_version, build.timeframe, Timeframe, *sources(coarsened)]
    if isinstance(build, Kernel):
        return [build.inputs, build.parameters, build.outputs, *sources(build.function)]
    if isinstance(build, TaLib):
        return [build, *sources(TaLib.values)]
    if isinstance(build, Across):
        return [build.inputs, *(feature.code_version for feature in build.of), *sources(build.function)]
    return sources(build)


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
        """Bars before the first wanted one that the bars must reach back."""
        return max((feature.lookback for feature in self.features), default=0)

    @property
    def code_version(self) -> str:
        """Changes when a feature is added, removed or defined differently."""
        return code_version(*sorted(feature.code_version for feature in self))

    def pick(self, names: Iterable[str]) -> FeatureSet:
        """The named features, in the order asked for; `rsi_14@1h` is rsi_14 of the bars of an hour that have closed.

        Raises ConfigError on an unknown name, with the names most like it, and on an unknown timeframe.
        """
        known = {feature.name: feature for feature in self}
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            base, mark, timeframe_name = name.rpartition("@")
            if mark and name not in known:
                known[name] = coarse(self.pick([base]).features[0], timeframe_name)
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else "catalog() lists them all."
                raise ConfigError(f"feature {name!r} is unknown; {hint}")
        return FeatureSet(self.name, tuple(known[name] for name in wanted))


def coarse(feature: Feature, timeframe_name: str, minutes: float = 1.0, hours: float = 24.0) -> Feature:
    """A feature of coarser bars, on fine ones: of those that have closed. Its name is `feature@timeframe`.

    Its look-back in fine bars depends on how many there are: it is stated for bars of `minutes` in sessions of `hours`,
    by default as many as there can be (a session of daily bars has minutes = hours * 60). It is enough to have the
    value; where fewer bars hold the coarse ones that the feature needs, it has it sooner.

    Raises ConfigError on an unknown timeframe, and on a feature that is one of coarser bars already.

    Example: `coarse(ALL.pick(["rsi_14"]).features[0], "1h", minutes=5, hours=6.5)`
    """
    if isinstance(feature.build, Coarse):
        raise ConfigError(f"feature {feature.name!r} is one of coarser bars already; take its first part @ a timeframe")
    inside, period = timeframe(timeframe_name).bars(minutes, hours)
    return Feature(
        f"{feature.name}@{timeframe_name}",
        feature.family,
        f"{feature.description}; of bars of {timeframe_name} that have closed",
        Coarse(feature, timeframe_name),
        feature.parameters,
        # The bars it looks back on, the last of them, the one that is forming, and a first session that may be cut.
        lookback=(feature.lookback + 2) * inside + period,
        bounds=feature.bounds,
        source=feature.source,
    )


def sources(function: Callable[..., Any]) -> list[Any]:
    """The function, then the functions and constants of its package that it refers to, and theirs, in a fixed order."""
    package = function.__module__.split(".")[0]
    found: dict[str, Any] = {}

    def visit(name: str, value: Any) -> None:
        value = getattr(value, "py_func", value)  # of what numba compiles
        if name in found:
            return
        if inspect.isfunction(value) and value.__module__.split(".")[0] == package:
            found[name] = value
            for each in sorted(_names(value.__code__) & value.__globals__.keys()):
                visit(f"{value.__module__}.{each}", value.__globals__[each])
        elif isinstance(value, pl.Expr):
            found[name] = f"{name}={value}"
        elif isinstance(value, int | float | str | tuple):
            found[name] = f"{name}={value!r}"

    visit(function.__name__, function)
    return list(found.values())


def _names(code: CodeType) -> set[str]:
    nested = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*nested)
