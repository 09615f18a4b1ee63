"""A station whose Redis is away, or never answers: it ends, or fails, as one without a cache."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_assets.streams import caching, wiring
from resources.config_streams import KafkaSettings, RedisSettings
from resources.errors import AccessDeniedError
from resources.lake import Lake
from resources.streams.base import Batch, Event, Line, Status
from resources.streams.cache import Cache, CacheSettings
from resources.streams.carriers.kafka_client import CarrierError
from resources.streams.carriers.memory import SlowReaderError
from resources.streams.clock import SECOND
from resources.streams.owed import Sessions
from resources.streams.recording import open_gaps
from tests.quant_assets.streams.stations import NOW, Site, binance, crypto
from tests.resources.streams.caches import until
from tests.resources.streams.gateways import ManualClock, micros, played
from tests.venues.kafka import KafkaCluster
from tests.venues.market import Fault
from tests.venues.redis import RedisServer, is_installed

RedisTimeoutError = pytest.importorskip("redis", reason="the redis extra is not installed").TimeoutError
if not is_installed():
    pytest.skip("there is no redis-server on this machine", allow_module_level=True)

BTC = Line("BTCUSDT", "trade")
TOPIC = "btcusdt@aggTrade"
AWAY = ["is killed", "never answers"]
SOON = 5.0
"""A run that does not wait for Redis ends long before, one that does long after, in seconds."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path)
    made.begin()
    yield made
    made.end()


def caching_in(redis: RedisServer, **more: Any) -> dict[str, Any]:
    kept_ = RedisSettings(url=redis.url, connect_seconds=60, **more)
    return {"cache": lambda clock: wiring.cache(kept_, clock)}


def leave(redis: RedisServer, how: str) -> None:
    """One that is stopped accepts connections still, and what is sent to it."""
    redis.end() if how == "is killed" else redis.signal(signal.SIGSTOP)


async def following(at: Site, redis: RedisServer) -> None:
    """The venue tells of ten seconds, and Redis holds the newest."""
    cache = Cache(CacheSettings(url=redis.url), clock=at.clock)
    await at.listening(TOPIC)
    await at.tell(10)
    await at.holds("BTCUSDT", at.told("BTCUSDT"))
    async with asyncio.timeout(10):
        while "BTCUSDT" not in await cache.trades():
            pass
    await cache.close()


@pytest.mark.parametrize("outage", [0.1, 600], ids=["given up by then", "tried again"])
@pytest.mark.parametrize("how", AWAY)
@played
async def test_a_run_whose_redis_is_away_ends_as_any_other(
    redis: RedisServer, lake: Lake, how: str, outage: float
) -> None:
    async with binance(crypto("BTCUSDT"), lake) as at:
        ends = Sessions(micros(NOW) + 120 * SECOND, lambda since: ())
        await at.start(BTC, sessions=ends, **caching_in(redis, outage_seconds=outage))
        await following(at, redis)
        leave(redis, how)
        await at.tell(10)
        await at.holds("BTCUSDT", at.told("BTCUSDT"))
        async with asyncio.timeout(SOON):
            await at.stop()
        later = Sessions(micros(NOW) + 300 * SECOND, lambda since: ())
        await at.start(BTC, owed=micros(NOW) + 120 * SECOND, sessions=later)
        await at.listening(TOPIC)
        await at.stop()
        assert open_gaps(lake).is_empty(), "it ended in good order"


@pytest.mark.parametrize("how", AWAY)
@played
async def test_a_run_whose_redis_is_away_fails_as_any_other(redis: RedisServer, lake: Lake, how: str) -> None:
    async with binance(crypto("BTCUSDT"), lake) as at:
        await at.start(BTC, **caching_in(redis))
        await following(at, redis)
        leave(redis, how)
        assert at.station is not None
        at.source.connect = refused  # type: ignore[method-assign]
        await at.strike(Fault("dropped"))
        with pytest.raises(AccessDeniedError, match="the key was withdrawn"):
            async with asyncio.timeout(SOON):
                await at.over()
        assert at.held("BTCUSDT")[:10] == at.told("BTCUSDT")[:10]


async def refused(lines: Collection[Line]) -> None:
    raise AccessDeniedError("the key was withdrawn")


@played
async def test_brokers_that_are_away_for_too_long_end_a_run_whose_redis_is_away_too(
    redis: RedisServer, lake: Lake
) -> None:
    pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")
    with KafkaCluster() as cluster:
        cluster.create("t", 1)
        kafka = KafkaSettings(servers=cluster.servers, name="t", connect_seconds=5, outage_seconds=2)
        async with binance(crypto("BTCUSDT"), lake) as at:
            await at.start(BTC, topic=lambda clock: wiring.topic(kafka, clock), **caching_in(redis))
            await following(at, redis)
            leave(redis, "is killed")
            cluster.down()
            await at.tell(10)
            with pytest.raises(CarrierError, match="no Kafka broker at"):
                await at.over()


async def told(*events: Event, raises: Exception | None = None) -> AsyncGenerator[Batch, None]:
    yield Batch(events, {0: len(events)})
    if raises is not None:
        raise raises


@played
async def test_a_follower_that_was_too_slow_begins_anew(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "PAUSE_SECONDS", 0.0)
    begun = 0

    def events() -> AsyncGenerator[Batch, None]:
        nonlocal begun
        begun += 1
        error = SlowReaderError("a reader has missed very many") if begun < 3 else None
        return told(Status("", 1, "connected"), raises=error)

    cache = Cache(CacheSettings(url=redis.url), clock=ManualClock(NOW))
    async with caching.kept(cache, events):
        await until(lambda: begun == 3)
    await cache.close()


@pytest.mark.parametrize("error", [AccessDeniedError("no"), TypeError("a mistake of ours")], ids=["gateway", "bug"])
@played
async def test_whatever_ends_the_follower_is_logged_and_does_not_end_the_run(
    redis: RedisServer, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(CacheSettings(url=redis.url), clock=ManualClock(NOW))
    async with caching.kept(cache, lambda: told(Status("", 1, "connected"), raises=error)):
        await until(lambda: caplog.records)
    assert f"is not kept by this run any more: {error}" in caplog.text
    await cache.close()


@played
async def test_without_a_cache_nothing_is_kept() -> None:
    async with caching.kept(None, told):
        pass


class Parting:
    """A client whose connection does not end as it should: with TLS, the other side has a say in it."""

    def __init__(self, raises: Exception | None) -> None:
        self.raises = raises

    async def aclose(self) -> None:
        if self.raises is not None:
            raise self.raises
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("raises", [None, RedisTimeoutError("closing"), ConnectionResetError()], ids=repr)
@played
async def test_a_connection_that_does_not_end_is_left_alone(
    raises: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.streams.cache.CLOSE_SECONDS", 0.01)
    cache = Cache()
    cache._client = Parting(raises)
    await cache.close()
    assert cache._client is None
