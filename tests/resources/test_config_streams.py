"""The stream job's Kafka and Redis in a configuration: what is refused, in which words, and what becomes of secrets."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from quant_assets.streams import wiring
from quant_assets.streams.windows import followed
from resources.config import PROJECT, load
from resources.config_streams import StreamSettings
from resources.errors import ConfigError
from tests.quant_assets.streams.replays import settings
from tests.resources.streams.gateways import ManualClock
from tests.venues.market import instant


def written(folder: Path, **streams: Any) -> Path:
    made = settings(**streams)
    raw = made.model_dump(mode="json", exclude_unset=True)
    file = folder / "streams.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def refused(folder: Path, part: str, **fields: Any) -> str:
    """The whole of what is printed, causes included."""
    file = written(folder)
    raw = yaml.safe_load(file.read_text())
    raw["streams"][part] = fields
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError) as caught:
        load(file)
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("part", "fields", "said"),
    [
        ("kafka", {"servers": ""}, "streams.kafka.servers: String should have at least 1 character"),
        ("kafka", {"name": "a b"}, "streams.kafka.name: String should match pattern"),
        ("kafka", {"security": "tls"}, "streams.kafka.security: Input should be 'plaintext', 'ssl'"),
        ("kafka", {"outage_seconds": 0}, "streams.kafka.outage_seconds: Input should be greater than 0"),
        ("kafka", {"password": "x"}, "streams.kafka.password: no such field here; there are servers, name"),
        (
            "cache",
            {"url": "localhost:6379"},
            "streams.cache.url: is 'localhost:6379'; it must be like redis://localhost:6379/0",
        ),
        ("cache", {"alive_seconds": 1e9}, "streams.cache.alive_seconds: Input should be less than or equal to 86400"),
        ("cache", {"name": ""}, "streams.cache.name: String should have at least 1 character"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(tmp_path: Path, part: str, fields: dict[str, Any], said: str) -> None:
    assert said in refused(tmp_path, part, **fields)


@pytest.mark.parametrize("symbols", [[""], [" AAPL "], ["AAPL", "MSFT", "AAPL"]])
def test_a_symbol_is_a_name_and_stands_once(symbols: list[str]) -> None:
    with pytest.raises(ValueError, match="is empty, has spaces around it or stands twice"):
        StreamSettings.model_validate({"symbols": symbols})


@pytest.mark.parametrize(
    ("part", "fields", "names"),
    [
        ("kafka", {"servers": "me:geheim@broker:9092"}, "servers: .*KAFKA_USERNAME and KAFKA_PASSWORD"),
        ("cache", {"url": "redis://me:geheim@host/0"}, "url: .*REDIS_USERNAME and REDIS_PASSWORD"),
        ("cache", {"url": "redis://:geheim@host/0"}, "url: .*REDIS_USERNAME and REDIS_PASSWORD"),
        ("cache", {"url": "redis://host/0?password=geheim"}, "url: .*REDIS_USERNAME and REDIS_PASSWORD"),
        ("cache", {"url": "http://me:geheim@host/0"}, "url: .*REDIS_USERNAME and REDIS_PASSWORD"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_printed(
    tmp_path: Path, part: str, fields: dict[str, Any], names: str
) -> None:
    said = refused(tmp_path, part, **fields)
    assert "geheim" not in said
    with pytest.raises(ConfigError, match=names):
        raise ConfigError(said)


def test_each_field_reaches_the_carrier_and_the_cache(tmp_path: Path) -> None:
    asked = load(
        written(
            tmp_path,
            kafka={
                "servers": "b:1", "name": "n", "security": "sasl_ssl", "mechanism": "PLAIN",
                "ca_file": "configs/ca.pem",
                "compression": "zstd", "connect_seconds": 3, "outage_seconds": 4,
            },
            cache={
                "url": "rediss://r:2/1", "name": "m", "alive_seconds": 5, "connect_seconds": 6, "outage_seconds": 7,
            },
        )
    )  # fmt: skip
    streams, clock = followed(asked), ManualClock(instant(2024, 3, 8))
    assert streams.kafka is not None
    assert streams.cache is not None
    topic = wiring.topic(streams.kafka, clock).topic
    ours = "b:1", "n", "sasl_ssl", "PLAIN", str(PROJECT / "configs/ca.pem"), "zstd", 3, 4
    assert tuple(getattr(topic, field) for field in topic.__slots__) == ours
    kept = wiring.cache(streams.cache, clock).settings
    assert tuple(getattr(kept, field) for field in kept.__slots__) == ("rediss://r:2/1", "m", 5, 6, 7)


def test_without_them_all_stays_in_the_process() -> None:
    streams = followed(settings())
    assert (streams.kafka, streams.cache) == (None, None)


def test_the_block_of_the_docs_is_one_that_loads() -> None:
    job = (PROJECT / "docs" / "streams.md").read_text().partition("## Job")[2]
    block = yaml.safe_load(job.partition("```yaml")[2].partition("```")[0])
    made = StreamSettings.model_validate(block["streams"])
    assert made.kafka is not None
    assert made.cache is not None
    assert (made.kafka.name, made.cache.name) == ("us-trades", "us")
