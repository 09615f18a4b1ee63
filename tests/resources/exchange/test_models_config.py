"""Models in a configuration: named, or a class of one's own; written down and read back; refused with a reason."""

from __future__ import annotations

import re
from typing import Any, ClassVar, get_args

import pytest
from pydantic import BaseModel, ValidationError

from resources.config import BacktestSettings
from resources.config_backtest import OLD_FIELDS, AssetClass
from resources.exchange.models import commission, presets
from resources.exchange.models.base import PRICE, Commission, Slippage, Spread
from resources.exchange.models.choose import KINDS, create, spelled
from resources.market_data.base import ASSET_CLASSES


class PennySpread(Spread):
    """A cent, whatever the price: a user's own model."""

    reads_volatility: ClassVar[bool] = False

    cents: float = 1.0

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        return float(p[0] / 100 / x[PRICE])


class Costless(Commission):
    """Forgot its cost."""


class Wordy(Slippage):
    """Has more parameters than fit."""

    a: float = 0
    b: float = 0
    c: float = 0
    d: float = 0
    e: float = 0
    f: float = 0
    g: float = 0
    h: float = 0
    i: float = 0

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        return 0.0


HERE = __name__
TIERED = {"name": "tiered", "rates": [1.0, 2.0], "limits": [5.0]}


def given(name: str) -> object:
    return TIERED if name == "tiered" else name


def test_a_beginner_pays_the_costs_that_the_manual_says() -> None:
    models = BacktestSettings().models_for("equity", "AAPL")
    assert [spelled(getattr(models, kind)) for kind in ("spread", "slippage", "commission", "borrow", "margin")] == [
        {"name": "fixed", "half_bps": 1.0},
        {"name": "fixed", "bps": 2.0},
        {"name": "per_share", "per_share": 0.005, "minimum": 1.0, "maximum_share": 1.0},
        {"name": "fixed", "bps_per_year": 50.0},
        {"name": "cash"},
    ]
    assert BacktestSettings().latency.seconds(["a"]).tolist() == [0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_of_a_kind_has_a_name_of_its_own_and_words(kind: str) -> None:
    family, ours = KINDS[kind]
    assert len({model.name for model in ours}) == len(ours)
    for model in ours:
        made = create(kind, given(model.name))
        assert type(made) is model
        assert isinstance(made, family)
        assert model.__name__ not in made.words()
        assert model.__doc__


def test_no_model_is_forgotten() -> None:
    written = {
        value
        for module in (commission, presets)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Commission) and value is not Commission
    }
    assert written == set(KINDS["commission"][1])


@pytest.mark.parametrize(("kind", "name"), [(kind, model.name) for kind, (_, ours) in KINDS.items() for model in ours])
def test_settings_survive_json(kind: str, name: str) -> None:
    settings = BacktestSettings.model_validate({kind: given(name)})
    again = BacktestSettings.model_validate_json(settings.model_dump_json())
    assert again == settings
    assert type(getattr(again, kind)) is type(getattr(settings, kind))
    assert again.model_dump_json() == settings.model_dump_json()


def test_a_class_of_ones_own_survives_json_too() -> None:
    settings = BacktestSettings.model_validate({"spread": {"name": f"{HERE}:PennySpread", "cents": 2}})
    assert settings.spread == PennySpread(cents=2)
    assert BacktestSettings.model_validate_json(settings.model_dump_json()) == settings
    assert BacktestSettings(spread=PennySpread(cents=2)) == settings


def test_the_code_of_the_models_in_use_is_known() -> None:
    own = BacktestSettings.model_validate({"by_class": {"forex": {"spread": {"name": f"{HERE}:PennySpread"}}}})
    assert HERE in [module.__name__ for module in own.code()]
    assert HERE not in [module.__name__ for module in BacktestSettings().code()]
    assert "resources.exchange.models.spread" in [module.__name__ for module in BacktestSettings().code()]


def test_an_asset_class_may_have_models_of_its_own() -> None:
    settings = BacktestSettings.model_validate(
        {
            "commission": "ib_fixed",
            "margin": "reg_t",
            "by_class": {"crypto": {"commission": "binance_spot", "borrow": {"name": "fixed", "bps_per_year": 900}}},
        }
    )
    coin, share, unknown = (settings.models_for(kind, "X") for kind in ("crypto", "equity", None))
    assert (coin.commission, coin.borrow.rate("X")) == (presets.BinanceSpot(), pytest.approx(0.09))
    assert coin.margin == share.margin == settings.margin
    assert share.commission == unknown.commission == presets.IbFixed()
    assert BacktestSettings.model_validate_json(settings.model_dump_json()) == settings


def test_the_asset_classes_are_those_of_the_instruments() -> None:
    assert get_args(AssetClass) == ASSET_CLASSES


MISTAKES = [  # settings, what the message says
    ({"spread": "fixd"}, r"there is no spread model 'fixd', only fixed, quoted; .* package\.module:Class"),
    ({"spread": None}, r"None names no spread model; for example spread: \{name: fixed\} \(of fixed, quoted\)"),
    ({"spread": {"half_bps": 1}}, r"names no spread model"),
    ({"spread": presets.IbFixed()}, r"names no spread model"),
    ({"spread": {"name": "fixed", "bps": 1}}, r"fixed: bps: no such parameter; fixed takes half_bps \(1\.0\)"),
    ({"spread": {"name": "fixed", "half_bps": -1}}, r"half_bps: Input should be greater than or equal to 0"),
    ({"commission": {"name": "bps", "bps": "much"}}, r"bps: Input should be a valid number"),
    ({"commission": "tiered"}, r"rates: Field required; tiered takes by \('units'\), rates, limits"),
    ({"commission": {**TIERED, "limits": []}}, r"2 rates need 1 limits, got \[\]"),
    ({"commission": {**TIERED, "rates": [1, 2, 3], "limits": [5, 4]}}, r"limits must be above zero and rise"),
    ({"slippage": {"name": "square_root", "volatility": float("nan")}}, r"volatility: Input should be a finite number"),
    (
        {"slippage": {"name": "nowhere.costs:Mine"}},
        r"slippage model 'nowhere\.costs:Mine' cannot be imported: No module",
    ),
    ({"slippage": {"name": f"{HERE}:Absent"}}, r"cannot be imported: .*Absent"),
    (
        {"slippage": {"name": f"{HERE}:PennySpread"}},
        r"is no slippage model: .*resources\.exchange\.models\.base\.Slippage",
    ),
    ({"slippage": {"name": f"{HERE}:Wordy"}}, r"Wordy has 9 parameters, and a slippage model 8 at most"),
    ({"commission": {"name": f"{HERE}:Costless"}}, r"Costless has no cost; give it a static method cost\(p, x\)"),
    ({"by_class": {"coins": {}}}, r"Input should be 'equity', 'option', 'future', 'crypto', 'forex' or 'index'"),
    ({"by_class": {"crypto": {"margin": {"name": "leverage", "leverage": 0}}}}, r"leverage takes leverage \(2\.0\)"),
    ({"by_class": {"crypto": {"latency": "fixed"}}}, r"Extra inputs are not permitted"),
    ({"currency": "dollars"}, r"String should match pattern"),
    ({"intrabar_timeframe": "7m"}, r"Input should be '1m'"),
    ({"ambiguous": "best"}, r"Input should be 'worse' or 'better'"),
]


@pytest.mark.parametrize(("settings", "says"), MISTAKES)
def test_mistakes_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        BacktestSettings.model_validate(settings)


@pytest.mark.parametrize("field", OLD_FIELDS)
def test_flat_costs_of_earlier_versions_are_refused_with_their_new_spelling(field: str) -> None:
    import yaml

    with pytest.raises(ValidationError, match=f"{field} is now ") as refused:
        BacktestSettings.model_validate({field: 3})
    spelling = re.search(rf"{field} is now (.*?\}})", str(refused.value))
    assert spelling is not None
    mended: dict[str, Any] = yaml.safe_load(spelling[1])
    (kind,) = mended
    assert 3.0 in spelled(getattr(BacktestSettings.model_validate(mended), kind)).values()


def test_models_cannot_be_changed() -> None:
    settings = BacktestSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.spread.half_bps = 0.0  # type: ignore[attr-defined]
    assert isinstance(settings.spread, BaseModel)
