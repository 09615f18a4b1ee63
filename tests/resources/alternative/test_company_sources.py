"""EDGAR, Yahoo and satellites as a configuration names them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from resources.alternative.edgar import Edgar
from resources.alternative.satellite import Satellite
from resources.alternative.sources import create
from resources.alternative.yahoo import Yahoo
from resources.config import load
from resources.errors import ConfigError, MissingSecretError
from tests.conftest import SMALL

AREAS = "area,symbol,west,south,east,north\nplant,IBM,10,50,10.1,50.1\n"


def written(folder: Path, *sources: dict[str, object]) -> Path:
    told = yaml.safe_load(SMALL.read_text()) | {"alternative": {"sources": list(sources)}}
    (folder / "areas.csv").write_text(AREAS)
    (folder / "config.yaml").write_text(yaml.safe_dump(told))
    return folder / "config.yaml"


def test_each_source_is_made_for_its_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEC_USER_AGENT", "Tester tester@example.com")
    areas = str(tmp_path / "areas.csv")
    settings = load(
        written(
            tmp_path,
            {"name": "edgar", "ciks": {"IBM": 51143}, "all_concepts": True},
            {"name": "yahoo"},
            {"name": "satellite", "url": "https://stac.example.com", "areas": areas, "index": "night_lights"},
        )
    )
    made = create(settings)
    assert {kind: [type(source) for source in sources] for kind, sources in made.items()} == {
        "fundamentals": [Edgar, Yahoo], "insider": [Edgar, Yahoo], "esg": [Yahoo], "activity": [Satellite],
    }  # fmt: skip
    for told, source in zip(settings.alternative.sources, (*made["fundamentals"], *made["activity"]), strict=True):
        assert (told.name, told.has, told.begins) == (source.name, source.kinds, source.begins)


REFUSED = [
    ({"name": "satellite"}, ConfigError, "url"),
    ({"name": "satellite", "url": "https://a", "areas": "a.csv", "index": "noise"}, ConfigError, "vegetation"),
    ({"name": "edgar", "ciks": {"IBM": "none"}}, ConfigError, "ciks"),
]


@pytest.mark.parametrize(("source", "error", "says"), REFUSED)
def test_a_source_that_is_told_wrongly_is_refused(
    tmp_path: Path, source: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        load(written(tmp_path, source))


def test_what_a_source_needs_is_asked_for_when_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEC_USER_AGENT", raising=False)
    with pytest.raises(MissingSecretError, match="SEC_USER_AGENT"):
        create(load(written(tmp_path, {"name": "edgar"})))
    with pytest.raises(ConfigError, match="no such file of areas"):
        create(load(written(tmp_path, {"name": "satellite", "url": "https://a", "areas": "nowhere.csv"})))
