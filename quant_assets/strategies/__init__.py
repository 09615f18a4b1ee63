"""The strategies on offer, by the names used in the configuration. A new one is a module and a line below."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType

from pydantic import ValidationError

from quant_assets.risk import bounds, estimates, optimisers, sizing
from quant_assets.strategies import base, cointegration, pairs_cointegration, windows
from quant_assets.strategies.asset_rotation import AssetRotation
from quant_assets.strategies.base import INTENT_SCHEMA, Strategy
from quant_assets.strategies.cross_sectional_momentum import CrossSectionalMomentum
from quant_assets.strategies.donchian_breakout import DonchianBreakout
from quant_assets.strategies.model_score import ModelScore
from quant_assets.strategies.moving_average_cross import MovingAverageCross
from quant_assets.strategies.news_sentiment import NewsSentiment
from quant_assets.strategies.optimised_portfolio import OptimisedPortfolio
from quant_assets.strategies.orders import orders
from quant_assets.strategies.pairs_cointegration import PairsCointegration
from quant_assets.strategies.risk_parity import RiskParity
from quant_assets.strategies.rsi_reversion import RsiReversion
from quant_assets.strategies.short_term_reversal import ShortTermReversal
from quant_assets.strategies.triple_screen import TripleScreen
from resources.config import StrategySettings
from resources.errors import ConfigError

__all__ = ["INTENT_SCHEMA", "STRATEGIES", "Strategy", "check_panel", "code", "create", "orders"]

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind
    for kind in (
        MovingAverageCross,
        DonchianBreakout,
        RsiReversion,
        CrossSectionalMomentum,
        ShortTermReversal,
        PairsCointegration,
        RiskParity,
        OptimisedPortfolio,
        TripleScreen,
        AssetRotation,
        NewsSentiment,
        ModelScore,
    )
}


HELPERS: dict[type[Strategy], list[ModuleType]] = {
    PairsCointegration: [cointegration],
    OptimisedPortfolio: [pairs_cointegration, bounds, estimates, optimisers, sizing],
}
"""Modules beside its own that decide what a strategy does."""


def code(strategy: Strategy) -> list[ModuleType]:
    """The modules that decide what a strategy does: what a code version hashes."""
    own = sys.modules[type(strategy).__module__]
    return [base, windows, sys.modules[orders.__module__], own, *HELPERS.get(type(strategy), [])]


def create(settings: StrategySettings) -> Strategy:
    """The strategy that the configuration asks for.

    Raises ConfigError naming the field, what is wrong and an example: an unknown strategy, an unknown parameter, a
    value out of bounds, or a window that the feature catalogue does not hold.
    """
    kind = STRATEGIES.get(settings.name)
    if kind is None:
        raise ConfigError(
            f"strategies: {settings.name!r} is not a strategy; use one of {sorted(STRATEGIES)}, "
            "for example {name: moving_average_cross, parameters: {fast: 50, slow: 200}}"
        )
    try:
        return kind(**settings.parameters)
    except ValidationError as error:
        raise ConfigError(" | ".join(_explain(kind, fault["loc"], fault["msg"]) for fault in error.errors())) from error


def check_panel(strategy: Strategy, columns: Iterable[str]) -> None:
    """Raise ConfigError naming what the strategy reads and the panel, with these columns, does not hold."""
    held = {*columns, *(("score", "confidence") if strategy.needs_predictions else ())}
    missing = [name for name in strategy.required_features if name not in held]
    if missing:
        raise ConfigError(
            f"strategies.{strategy.name}: reads {missing}, which features/panel does not hold; name a feature set that "
            "has them (configs/features) in the configuration, for example features: [core, strategies]"
        )


def _explain(kind: type[Strategy], location: tuple[int | str, ...], message: str) -> str:
    parameter = str(location[0]) if location else None
    where = f"strategies.{kind.name}.parameters" + (f".{parameter}" if parameter else "")
    field = kind.model_fields.get(parameter or "")
    if parameter and field is None:
        offered = ", ".join(f"{name}: {known.default}" for name, known in kind.model_fields.items())
        return f"{where}: not a parameter of {kind.name}; it takes {{{offered}}}"
    example = f"; for example {parameter}: {field.examples[0]}" if field is not None and field.examples else ""
    return f"{where}: {message.removeprefix('Value error, ')}{example}"
