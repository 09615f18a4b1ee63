"""The sweep that the configuration asks for: the runs of a strategy's grid, its configured parameters among them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from quant_assets.backtests.sweeps.grid import Parameters, SweepError, candidates, reason
from quant_assets.strategies import STRATEGIES, Strategy, check_panel, create
from resources.config import StrategySettings
from resources.errors import ConfigError, QuantError


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameter sets of a configured sweep."""

    strategy: Strategy
    """With the parameters that are configured, which are traded and reported."""
    sets: tuple[Parameters, ...]
    """Every combination of the grid, with the configured value of each parameter that it leaves alone; the configured
    set as the last one where it is no combination of the grid."""
    own: int
    """Number of the configured set."""
    of_grid: int
    """How many sets are combinations of the grid, from the first on."""
    axes: tuple[str, ...]
    """The parameters of which the grid has more than one value."""

    @property
    def kind(self) -> type[Strategy]:
        return type(self.strategy)

    @property
    def readers(self) -> list[Strategy]:
        """The configured strategy, and those of all sets that the strategy itself does not refuse."""
        found, _ = candidates(self.kind, self.sets)
        return [self.strategy, *(one.strategy for one in found if one.strategy is not None)]


def planned(settings: StrategySettings) -> Plan:
    """The sweep of a strategy's grid. Raises SweepError where it has none, ConfigError as `strategies.create` does."""
    strategy = create(settings)
    if settings.grid is None:
        raise SweepError(f"strategies.{settings.name}: it has no grid to sweep; {_example(strategy)}")
    whole = strategy.model_dump()
    combined = [dict(zip(settings.grid, values, strict=True)) for values in itertools.product(*settings.grid.values())]
    sets = [settings.parameters | one for one in combined]
    mine = {name: whole[name] for name in settings.grid}
    own = next((number for number, one in enumerate(combined) if one == mine), None)
    if own is None:
        own = len(sets)
        sets.append(settings.parameters | mine)
    axes = tuple(name for name, values in settings.grid.items() if len(values) > 1)
    return Plan(strategy, tuple(sets), own, len(combined), axes)


def check_grid(settings: StrategySettings, columns: Iterable[str]) -> None:
    """Refuse a grid that cannot be meant, when the configuration is loaded.

    Raises ConfigError naming strategy, parameter, value and mend: for a parameter that the strategy has not, a value
    with which it refuses every combination (one that it takes with some values of the others is a grid's everyday),
    and a value for which the panel, with these columns, lacks features.
    """
    if settings.grid is None:
        return
    strategy = create(settings)
    offered = {name: field.default for name, field in STRATEGIES[settings.name].model_fields.items()}
    for name in settings.grid:
        if name not in offered:
            raise ConfigError(
                f"strategies.{settings.name}.grid.{name}: not a parameter of {settings.name}; {_example(strategy)}"
            )
    held, made, taken = tuple(columns), list[Strategy](), set[tuple[str, str]]()
    for name, values in settings.grid.items():
        for value in values:
            if (name, repr(value)) not in taken:
                made.append(_taking(settings, name, value))
                taken |= {(other, repr(getattr(made[-1], other))) for other in settings.grid}
    for one in made:
        check_panel(one, held)


def _taking(settings: StrategySettings, name: str, value: Any) -> Strategy:
    """A combination of the grid with this value that the strategy takes."""
    refusal = ""
    for others in _others(settings, name):
        try:
            return STRATEGIES[settings.name](**settings.parameters | others | {name: value})
        except (ValueError, QuantError) as error:
            refusal = refusal or reason(error)
    raise ConfigError(
        f"strategies.{settings.name}.grid.{name}: {value!r} is refused in every combination: {refusal}. Leave it out, "
        "or give the other parameters values that go with it"
    )


def _others(settings: StrategySettings, name: str) -> Iterator[Parameters]:
    """Every combination of the other parameters, shuffled: of the ordered ones the first half is often refused."""
    assert settings.grid is not None
    rest = {other: values for other, values in settings.grid.items() if other != name}
    draw = random.Random(0)
    shuffled = [draw.sample(values, len(values)) for values in rest.values()]
    return (dict(zip(rest, values, strict=True)) for values in itertools.product(*shuffled))


def _example(strategy: Strategy) -> str:
    numbers = {name: value for name, value in strategy.model_dump().items() if type(value) in (int, float)}
    values = ", ".join(f"{name}: [{value}, ...]" for name, value in list(numbers.items())[:2])
    return f"give it values of its parameters, for example grid: {{{values}}}"
