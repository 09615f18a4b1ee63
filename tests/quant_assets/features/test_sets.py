"""Feature sets: what a file stands for, what its version follows, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from quant_assets.features.definition import FeatureSet
from quant_assets.features.groups import ALL, GROUPS
from quant_assets.features.sets import FOLDER, NamedSet, configured, load_set
from quant_assets.features.stored import HOLDER, STORED
from quant_assets.versions import code_version
from resources.config import ModelSettings, load
from resources.errors import ConfigError


def written(tmp_path: Path, features: str, name: str = "mine", more: str = "") -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: {name}\ndescription: For the tests alone.\nfeatures: {features}\n{more}")
    return path


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_set_is_readable(path: Path) -> None:
    held = load_set(path.stem)
    assert held.name == path.stem
    assert len(held.names) == len(set(held.names)) > 0
    assert {name for names in held.by_asset().values() for name in names} == set(held.names)


def test_core_is_what_the_shipped_model_was_always_trained_on() -> None:
    """The 52 features of the first release, in their order: trees see a feature by its place."""
    names = load_set("core").names
    assert len(names) == 52
    assert (names[0], names[1], names[-1]) == ("return_1", "return_5", "untraded_63")
    assert code_version(names) == "c7b78a85095b"


def test_patterns_stand_for_what_they_match_in_the_order_of_the_file(tmp_path: Path) -> None:
    held = load_set(written(tmp_path, "[rsi_2, 'rsi_*', statistical/volatility_*, technical/gap]")).names
    assert held[0] == "rsi_2"
    assert held[1].startswith("rsi_")
    assert held.count("rsi_2") == held.count("rsi_14") == 1
    assert held[-1] == "gap"
    expected = [name for name in GROUPS["statistical"].names if name.startswith("volatility_") and name in HOLDER]
    assert [name for name in held if name.startswith("volatility_")] == expected
    assert len(expected) >= 3


REFUSED = [
    ("unknown name", "[rsi_41]", "", r"mine.yaml: feature 'rsi_41' is unknown; did you mean .*rsi_14"),
    ("unknown in its group", "[statistical/rsi_14]", "", r"mine.yaml: feature 'rsi_14' is unknown"),
    ("unknown group", "[technicals/rsi_14]", "", r"names the group 'technicals'; did you mean technical\?"),
    ("pattern of nothing", "[technical/xyz_*]", "", r"no feature that is stored matches 'technical/xyz_\*'"),
    ("twice", "[rsi_14, rsi_14]", "", "rsi_14 stands there twice; keep one"),
    ("empty", "[]", "", r"features: .*at least 1 item.*for example features: \[rsi_14"),
    ("no list", "rsi_14", "", "features: Input should be a valid list"),
    ("unknown field", "[rsi_14]", "horizon: 5", "horizon: no such field here; there are name, description, features"),
]


@pytest.mark.parametrize(
    ("features", "more", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_a_set_cannot_be(tmp_path: Path, features: str, more: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_set(written(tmp_path, features, more=more))


def test_a_set_is_called_by_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name is other; a set is called by its file, so name it mine"):
        load_set(written(tmp_path, "[rsi_14]", name="other"))
    with pytest.raises(ConfigError, match=r"nothing.yaml: cannot be read .*configs/features has .*core"):
        load_set("nothing")
    (tmp_path / "mine.yaml").write_text("[")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        load_set(tmp_path / "mine.yaml")


def test_a_feature_that_nothing_brings_a_column_for_is_refused_by_name_and_left_out_of_patterns(tmp_path: Path) -> None:
    sourceless = [feature for feature in ALL if feature.name not in HOLDER]
    if not sourceless:
        pytest.skip("every feature of the catalogue has its columns in cleaned/bars")
    with pytest.raises(ConfigError, match=f"nothing brings .* which {sourceless[0].name} reads; leave it out"):
        load_set(written(tmp_path, f"[{sourceless[0].name}]"))
    everything = load_set(written(tmp_path, "['*']"))
    assert set(everything.names) == set(HOLDER)


def of(*features) -> NamedSet:
    return NamedSet("one", "For the tests.", FeatureSet("one", features))


def test_the_version_follows_the_definitions_and_not_the_words() -> None:
    first, second = ALL.pick(["rsi_14", "gap"])
    same = of(replace(first, description="other words", source="elsewhere"), second)
    assert same.version == NamedSet("two", "Another name.", FeatureSet("two", (first, second))).version
    changed = [
        of(second, first),
        of(first),
        of(replace(first, lookback=first.lookback + 1), second),
        of(replace(first, parameters={"window": 15}), second),
        of(replace(first, name="rsi_15"), second),
    ]
    assert len({each.version for each in [same, *changed]}) == 6


def test_the_panel_holds_the_models_set_and_those_for_strategies() -> None:
    settings = load()
    assert configured(settings).model.name == "core"
    others = (*load_set("core").names, *load_set("news").names)
    assert configured(settings).panel.names == others
    other = settings.model_copy(update={"model": settings.model.model_copy(update={"features": "alpha158"})})
    asked = configured(other)
    assert asked.model.names == load_set("alpha158").names
    assert asked.panel.names == (*load_set("alpha158").names, *others)
    assert asked.assets == [name for name in STORED if name in ("alpha158", *configured(settings).assets)]
    alone = configured(other.model_copy(update={"features": ()}))
    assert alone.panel.names == asked.model.names
    assert alone.panel.version == asked.model.version


def test_assets_hold_what_is_asked_for_of_their_group_or_all_of_it() -> None:
    settings = load()
    some = configured(settings)
    asked = some.panel.by_asset()
    assert {name: list(held.names) for name, held in some.stored.items() if name in asked} == asked
    assert {name: held for name, held in some.stored.items() if name not in asked} == {
        name: held for name, held in STORED.items() if name not in asked
    }
    assert configured(settings.model_copy(update={"store": "all"})).stored == STORED


def test_the_models_set_has_a_default_and_is_a_name() -> None:
    assert ModelSettings(start=date(2005, 1, 1)).features == "core"
    with pytest.raises(ValueError, match="features"):
        ModelSettings(start=date(2005, 1, 1), features="../core")
