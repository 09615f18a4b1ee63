"""From a configuration's words to a model, and back.

`{name: fixed, half_bps: 2}` is a model of ours, `{name: mine.costs:Auction, …}` a class of the user's own.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

from pydantic import PlainSerializer, ValidationError
from pydantic.functional_validators import BeforeValidator

from resources.exchange.models.base import PARAMETERS, Commission, Model, Named, Slippage, Spread
from resources.exchange.models.carrying import (
    Borrow,
    BorrowBySymbol,
    ColumnFunding,
    FixedBorrow,
    FixedFunding,
    Funding,
    NoFunding,
)
from resources.exchange.models.commission import Bps, MakerTaker, NoCommission, PerContract, PerOrder, PerShare, Tiered
from resources.exchange.models.latency import FixedLatency, JitterLatency, Latency
from resources.exchange.models.margin import (
    CashMargin,
    FuturesMargin,
    LeverageMargin,
    Margin,
    OptionShort,
    RegulationT,
)
from resources.exchange.models.presets import (
    Alpaca,
    AlpacaCrypto,
    BinanceFutures,
    BinanceSpot,
    IbFixed,
    IbForex,
    IbFutures,
    IbOptions,
    IbTiered,
)
from resources.exchange.models.slippage import FixedSlippage, NoSlippage, SquareRootSlippage, VolumeShareSlippage
from resources.exchange.models.spread import FixedSpread, QuotedSpread

KINDS: dict[str, tuple[type[Named], tuple[type[Named], ...]]] = {
    "spread": (Spread, (FixedSpread, QuotedSpread)),
    "slippage": (Slippage, (NoSlippage, FixedSlippage, VolumeShareSlippage, SquareRootSlippage)),
    "commission": (
        Commission,
        (
            *(NoCommission, PerShare, PerOrder, PerContract, Bps, MakerTaker, Tiered),
            *(Alpaca, AlpacaCrypto, IbFixed, IbTiered, IbFutures, IbOptions, IbForex, BinanceSpot, BinanceFutures),
        ),
    ),
    "borrow": (Borrow, (FixedBorrow, BorrowBySymbol)),
    "funding": (Funding, (NoFunding, ColumnFunding, FixedFunding)),
    "margin": (Margin, (CashMargin, RegulationT, FuturesMargin, LeverageMargin, OptionShort)),
    "latency": (Latency, (FixedLatency, JitterLatency)),
}
"""Of each kind of model: what every one of them is, and those that have a name."""


def create(kind: str, given: object) -> Named:
    """The model that a configuration describes: an instance, a name, or a mapping of name and parameters.

    Raises ValueError naming the model, the parameter, what is wrong with it and what there is.
    """
    family, ours = KINDS[kind]
    if isinstance(given, family):
        return _usable(given, kind)
    if isinstance(given, str):
        given = {"name": given}
    known = ", ".join(model.name for model in ours)
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise ValueError(f"{given!r} names no {kind} model; for example {kind}: {{name: {ours[0].name}}} (of {known})")
    name, parameters = given["name"], {key: value for key, value in given.items() if key != "name"}
    found = next((model for model in ours if model.name == name), None)
    if found is None and ":" not in name:
        raise ValueError(
            f"there is no {kind} model {name!r}, only {known}; a class of your own is written package.module:Class, "
            f"for example {kind}: {{name: my_costs:My{kind.capitalize()}}}"
        )
    chosen = found or _imported(name, kind, family)
    try:
        return _usable(chosen(**parameters), kind)
    except ValidationError as error:
        raise ValueError(_explained(name, chosen, error)) from None


def spelled(model: Named) -> dict[str, Any]:
    """The mapping that `create` makes an equal model of."""
    return {"name": title(model), **model.model_dump(mode="json")}


def title(model: Named) -> str:
    """What a configuration calls the model's class."""
    kind = type(model)
    if any(kind in ours for _, ours in KINDS.values()):
        return kind.name
    return f"{kind.__module__}:{kind.__qualname__}"


def _imported(name: str, kind: str, family: type[Named]) -> type[Named]:
    module_name, _, path = name.partition(":")
    try:
        found: Any = sys.modules.get(module_name) or importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{kind} model {name!r} cannot be imported: {error}; write package.module:Class") from error
    if not (isinstance(found, type) and issubclass(found, family)):
        raise ValueError(
            f"{name} is no {kind} model: it must be a subclass of {family.__module__}.{family.__qualname__}"
        )
    return found


def _usable(model: Named, kind: str) -> Named:
    """The model, if the exchange can call it; a user's class may have forgotten something."""
    if isinstance(model, Model):
        if type(model).cost is Model.cost:
            raise ValueError(f"{title(model)} has no cost; give it a static method cost(p, x)")
        if model.parameters.shape != (PARAMETERS,):
            raise ValueError(
                f"{title(model)} has {model.parameters.size} parameters, and a {kind} model {PARAMETERS} at most; "
                "keep constants in the module"
            )
    return model


def _explained(name: str, model: type[Named], error: ValidationError) -> str:
    fields = ", ".join(
        field if info.is_required() else f"{field} ({info.get_default(call_default_factory=True)!r})"
        for field, info in model.model_fields.items()
    )
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "no such parameter"
        faults.append(f"{where}: {message}" if where else message)
    return f"{name}: {' | '.join(faults)}; {name} takes {fields or 'no parameters'}"


def _field(kind: str) -> tuple[BeforeValidator, PlainSerializer]:
    return BeforeValidator(lambda given: create(kind, given)), PlainSerializer(spelled, return_type=dict[str, Any])


AnySpread = Annotated[Spread, *_field("spread")]
AnySlippage = Annotated[Slippage, *_field("slippage")]
AnyCommission = Annotated[Commission, *_field("commission")]
AnyBorrow = Annotated[Borrow, *_field("borrow")]
AnyFunding = Annotated[Funding, *_field("funding")]
AnyMargin = Annotated[Margin, *_field("margin")]
AnyLatency = Annotated[Latency, *_field("latency")]
"""Fields of a configuration: an instance, a name, or a mapping."""
