"""What a configuration says of alternative data: typed, refused by name, and made without asking anybody."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from resources.alternative.base import KINDS
from resources.alternative.sources import create
from resources.config import PROJECT, load
from resources.config_alternative import AlternativeSettings, AnySource
from resources.errors import ConfigError, MissingSecretError

SMALL = yaml.safe_load((PROJECT / "tests" / "small.yaml").read_text())
KEYS = {
    "ALPACA_API_KEY": "key", "ALPACA_SECRET_KEY": "secret", "BLUESKY_IDENTIFIER": "me", "BLUESKY_APP_PASSWORD": "word",
    "SEC_USER_AGENT": "Me me@example.com",
}  # fmt: skip


def written(folder: Path, alternative: object, **more: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "alternative": alternative, **more}))
    return path


def all_sources(folder: Path) -> list[dict[str, Any]]:
    areas = folder / "areas.csv"
    areas.write_text("area,symbol,west,south,east,north\nplant,IBM,-1,50,0,51\n")
    names = [get_args(kind.model_fields["name"].annotation)[0] for kind in get_args(AnySource)]
    needed = {"satellite": {"areas": str(areas), "url": "https://stac.example.com"}}
    return [{"name": name} | needed.get(name, {}) for name in names]


def test_every_source_is_made_and_has_what_its_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    settings = load(written(tmp_path, {"sources": all_sources(tmp_path)}))
    assert settings.alternative.kinds == KINDS
    made = create(settings)
    assert list(made) == list(KINDS)
    for source in settings.alternative.sources:
        (client,) = {id(each): each for held in made.values() for each in held if each.name == source.name}.values()
        assert tuple(client.kinds) == source.has
        assert client.begins == source.begins
        assert all(callable(getattr(client, kind)) for kind in source.has)


@pytest.mark.parametrize("source", [kind for kind in get_args(AnySource) if "environment" in (kind.__doc__ or "")])
def test_without_its_keys_a_source_is_refused_by_name(
    source: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    name = get_args(source.model_fields["name"].annotation)[0]
    if name == "satellite":
        pytest.skip("not every catalogue wants a key")
    with pytest.raises(MissingSecretError, match=r"[A-Z]+_[A-Z]+"):
        create(load(written(tmp_path, {"sources": [{"name": name}]})))


def test_without_sources_there_is_nothing(tmp_path: Path) -> None:
    settings = load(written(tmp_path, {}))
    assert settings.alternative.kinds == ()
    assert create(settings) == {}


MISTAKES: list[tuple[str, object, str]] = [
    ("an unknown source", {"sources": [{"name": "reuters"}]}, "sources: 'reuters' is no source; there are synthetic"),
    ("a source without a name", {"sources": [{"seed": 1}]}, "sources: None is no source"),
    ("a source twice", {"sources": [{"name": "synthetic"}, {"name": "synthetic"}]}, "each source once"),
    ("an unknown field", {"sources": [{"name": "synthetic", "sed": 1}]}, r"sources\.0\.sed: no such field here"),
    ("out of bounds", {"sources": [{"name": "bluesky", "timeout_seconds": 0}]}, "for example timeout_seconds: 30"),
    (
        "satellites that look nowhere",
        {"sources": [{"name": "satellite", "url": "u"}]},
        "areas: Field required; for example",
    ),
    ("an unknown part", {"feeds": []}, r"alternative\.feeds: no such field here; there are sources, entities"),
]


@pytest.mark.parametrize(("alternative", "says"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_mistake_is_named(tmp_path: Path, alternative: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(written(tmp_path, alternative))


def test_made_up_records_do_not_stand_beside_real_prices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the records of synthetic are made up; provider yahoo has real prices"):
        load(written(tmp_path, {"sources": [{"name": "synthetic"}]}, provider={"name": "yahoo"}))


def test_a_feature_whose_records_no_source_brings_is_refused(tmp_path: Path) -> None:
    from quant_assets.features.sets import configured

    with pytest.raises(ConfigError, match=r"news_sentiment_7d of the set news reads news, which no source brings"):
        configured(load(written(tmp_path, {})))
    stored = configured(load(written(tmp_path, {}, features=["core"]))).stored
    assert "alternative" not in stored
    assert "alternative" in configured(load(written(tmp_path, SMALL["alternative"], features=["core"]))).stored


def test_a_feed_begins_with_the_history_or_with_its_source() -> None:
    several = AlternativeSettings.model_validate({"sources": [{"name": "alpaca_news"}, {"name": "bluesky"}]})
    assert several.since(date(2010, 1, 4)) == {
        "news": datetime(2015, 1, 1, tzinfo=UTC), "social": datetime(2023, 7, 1, tzinfo=UTC),
    }  # fmt: skip
    assert several.since(date(2020, 1, 2))["news"] == datetime(2020, 1, 2, tzinfo=UTC)
    both = AlternativeSettings.model_validate({"sources": [{"name": "edgar"}, {"name": "yahoo"}]})
    assert both.since(date(2000, 1, 3))["insider"] == datetime(2000, 1, 3, tzinfo=UTC)


def test_a_users_names_are_found_from_the_projects_folder(tmp_path: Path) -> None:
    settings = load(written(tmp_path, {"entities": "configs/names.csv"}, features=["core"]))
    assert settings.alternative.entities == PROJECT / "configs" / "names.csv"
