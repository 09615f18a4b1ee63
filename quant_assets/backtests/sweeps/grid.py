"""The parameter sets of a sweep, in one order whatever form they come in, and the strategies that they make."""

from __future__ import annotations

import inspect
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import polars as pl

from resources.errors import QuantError

if TYPE_CHECKING:
    from quant_assets.strategies.base import Strategy

Parameters = dict[str, Any]
Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | pl.DataFrame
Maker = Callable[..., Union["Strategy", pl.LazyFrame, pl.DataFrame]]

SCALARS = (bool, int, float, str, type(None))


class SweepError(QuantError):
    """A sweep that cannot be run as it was asked for."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One parameter set of a sweep. `strategy` is None where the maker gives orders, which are made as it runs."""

    number: int
    """Its place in the grid."""
    parameters: Parameters
    strategy: Strategy | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A parameter set that gave no result, and why."""

    number: int
    parameters: Parameters
    stage: str
    """`parameters` where no strategy could be made of it, `run` where its orders could not be traded."""
    reason: str


def parameter_sets(grid: Grid) -> list[Parameters]:
    """Every combination of a mapping's values, the last name's fastest; or the sets of a list, or rows of a frame.

    Numbers of numpy's are taken as Python's own.

    Raises SweepError, naming the parameter, on an empty grid, a set that occurs twice, sets with other names than the
    first, and values that are no numbers, texts or booleans.
    """
    sets = _listed(grid)
    if not sets or not sets[0]:
        raise SweepError("grid: no parameter sets; give names and values, for example {'fast': [10, 20]}")
    seen: dict[tuple[Any, ...], int] = {}
    for number, one in enumerate(sets):
        if list(one) != list(sets[0]):
            raise SweepError(f"grid: set {number} has {list(one)}, set 0 {list(sets[0])}; give each the same names")
        one.update({name: value.item() for name, value in one.items() if isinstance(value, np.generic)})
        for name, value in one.items():
            if not isinstance(name, str):
                raise SweepError(f"grid: {name!r} is the name of a parameter; give it as a text")
            if not isinstance(value, SCALARS) or (isinstance(value, float) and not math.isfinite(value)):
                raise SweepError(f"grid: {name} is {value!r} in set {number}; use finite numbers, texts or booleans")
        # True equals 1 and 1 equals 1.0 to Python, and not to a strict parameter.
        key = tuple((type(value).__name__, value) for value in one.values())
        if key in seen:
            raise SweepError(f"grid: sets {seen[key]} and {number} are both {one}; give each once")
        seen[key] = number
    return sets


def _listed(grid: Grid) -> list[Parameters]:
    """The sets of a grid in any of its forms, not checked yet."""
    if isinstance(grid, pl.DataFrame):
        return grid.to_dicts()
    if isinstance(grid, Mapping):
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Sequence | range | pl.Series | np.ndarray):
                raise SweepError(f"grid: {name} is {values!r}; give a list of values, for example [{values!r}]")
        return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if isinstance(grid, Sequence) and all(isinstance(one, Mapping) for one in grid):
        return [dict(one) for one in grid]
    raise SweepError(
        f"grid: a {type(grid).__name__}; give values by name, for example {{'fast': [10, 20]}}, or a list of such "
        "sets, or a frame of them"
    )


def sample(grid: Mapping[str, Sequence[Any]], count: int, seed: int = 0) -> list[Parameters]:
    """A random choice of so many combinations of a mapping's values, each once, in the grid's order.

    Nothing is built but what is chosen, so that the grid may have billions. Raises SweepError if it has too few.

    Example: `sweep(bars, DonchianBreakout, sample({"entry": range(5, 500), "exit": range(2, 250)}, 1_000))`
    """
    whole = math.prod(len(values) for values in grid.values())
    if not 0 < count <= whole:
        raise SweepError(f"count is {count}; the grid has {whole} combinations")
    chosen = []
    for number in sorted(random.Random(seed).sample(range(whole), count)):
        one, rest = {}, number
        for name, values in reversed(list(grid.items())):
            rest, place = divmod(rest, len(values))
            one[name] = values[place]
        chosen.append({name: one[name] for name in grid})
    return chosen


def candidates(maker: Maker, sets: Sequence[Parameters]) -> tuple[list[Candidate], list[Failure]]:
    """The sets that make a strategy, and those that the strategy itself refuses or fails to make.

    What a function gives for the first set says what it gives: a strategy, which is made of every set at once because
    their features are computed together, or orders, which are made one set at a time.
    """
    from quant_assets.strategies.base import Strategy

    _takes(maker, sets[0])
    found: list[Candidate] = []
    failed: list[Failure] = []
    gives_orders = False
    for number, parameters in enumerate(sets):
        try:
            made = None if gives_orders else maker(**parameters)
            if not gives_orders and not isinstance(made, Strategy | pl.LazyFrame | pl.DataFrame):
                kind = type(made).__name__
                raise SweepError(f"{name_of(maker)} gives a {kind}; a Strategy or a frame of orders is needed")
        except Exception as error:  # of the user's code it may be any; it is told as that of its set
            failed.append(Failure(number, parameters, "parameters", reason(error)))
            continue
        gives_orders = gives_orders or not isinstance(made, Strategy)
        found.append(Candidate(number, parameters, made if isinstance(made, Strategy) else None))
    return found, failed


def _takes(maker: Maker, parameters: Parameters) -> None:
    """Raise SweepError where a function has no such parameters; a strategy says so itself, for each set."""
    if is_strategy(maker):
        return
    try:
        inspect.signature(maker).bind(**parameters)
    except TypeError as error:
        raise SweepError(f"grid: {name_of(maker)} cannot be called with {list(parameters)}: {error}") from error


def reason(error: Exception) -> str:
    """What went wrong, in one line; with the kind of an error that is not told in words of its own."""
    faults = getattr(error, "errors", None)
    if callable(faults):  # pydantic lists every field's
        told = [(".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")) for fault in faults()]
        return "; ".join(f"{field}: {message}" if field else message for field, message in told)
    kind = type(error).__name__
    if isinstance(error, ValueError | QuantError):
        return str(error) or kind
    return f"{kind}: {error}" if str(error) else kind


def name_of(maker: Maker) -> str:
    """What the strategy's family is called: the strategy's own name, else that of the function."""
    own = getattr(maker, "name", None)
    return own if isinstance(own, str) else str(getattr(maker, "__name__", type(maker).__name__)).strip("<>")


def is_strategy(maker: object) -> bool:
    from quant_assets.strategies.base import Strategy

    return inspect.isclass(maker) and issubclass(maker, Strategy)
