"""A station that publishes to Kafka and keeps a cache in Redis: lake, topic and cache hold what the venue told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.streams import caching, wiring
from quant_assets.streams.station import Feed, Station, Task
from quant_assets.streams.wiring import wire
from resources.config_streams import KafkaSettings, RedisSettings
from resources.lake import Lake
from resources.streams.base import Event, Line, Lost, Trade
from resources.streams.cache import Cache, CacheError, CacheSettings
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import CarrierError, Topic
from resources.streams.clock import SECOND
from resources.streams.owed import Sessions
from resources.streams.patience import Patience
from resources.streams.recording import open_gaps, recorded
from tests.quant_assets.streams.replays import BEGINS, SYMBOLS, settings
from tests.quant_assets.streams.stations import NOW, Site, binance, crypto
from tests.resources.streams.gateways import ManualClock, micros, played, provider_bars
from tests.venues.kafka import KafkaCluster
from tests.venues.market import Fault
from tests.venues.redis import RedisServer, is_installed

pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")
pytest.importorskip("redis", reason="the redis extra is not installed")
if not is_installed():
    pytest.skip("there is no redis-server on this machine", allow_module_level=True)

BTC = Line("BTCUSDT", "trade")
TOPIC = "btcusdt@aggTrade"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster() as made:
        made.create("t", 3)
        yield made


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path)
    made.begin()
    yield made
    made.end()


def carriers(cluster: KafkaCluster, redis: RedisServer | None = None, **more: Any) -> dict[str, Any]:
    """What a Task needs for these."""
    kafka = KafkaSettings(servers=cluster.servers, name="t", connect_seconds=5)
    options: dict[str, Any] = {"topic": lambda clock: wiring.topic(kafka, clock)}
    if redis is not None:
        kept = RedisSettings(url=redis.url, connect_seconds=5, **more)
        options["cache"] = lambda clock: wiring.cache(kept, clock)
    return options


def kept_in(redis: RedisServer) -> CacheSettings:
    return CacheSettings(url=redis.url)


async def topic_told(cluster: KafkaCluster) -> Sequence[Event]:
    """All that the topic holds, as a reader of another process is told."""
    other = Kafka(Topic(cluster.servers, "t", connect=5.0))
    reader = other.subscribe(since="earliest")
    await other.publish([])  # the place is taken
    await other.close()
    return [event async for batch in reader for event in batch.events]


async def in_topic(cluster: KafkaCluster) -> list[int]:
    """The numbers of the trades in the topic."""
    return sorted(event.sequence for event in await topic_told(cluster) if isinstance(event, Trade))


@played
async def test_lake_topic_and_cache_hold_what_the_venue_told_whoever_died(
    cluster: KafkaCluster, redis: RedisServer, lake: Lake
) -> None:
    async with binance(crypto("BTCUSDT"), lake) as at:
        cache = Cache(kept_in(redis), clock=at.clock)
        await at.start(BTC, **carriers(cluster, redis))
        await at.listening(TOPIC)
        await at.tell(70)
        await at.holds("BTCUSDT", at.told("BTCUSDT"))
        await at.strike(Fault("dropped"))
        await at.listening(TOPIC)
        await at.tell(20)
        await at.die()  # the topic may have more than the lake, and what was missed is not repaired
        await at.tell(20)
        await at.start(BTC, **carriers(cluster, redis))
        await at.listening(TOPIC)
        await at.tell(10)
        await at.mended()
        await at.holds("BTCUSDT", at.told("BTCUSDT"))
        held = await cache.trades(["BTCUSDT"])
        session = await cache.session()
        assert session is not None
        assert held["BTCUSDT"].sequence == at.told("BTCUSDT")[-1]
        assert session.current(held["BTCUSDT"])
        await at.stop()
        await cache.close()
        assert await in_topic(cluster) == at.told("BTCUSDT")
        bars = provider_bars(recorded(lake, "bars").filter(pl.col("complete")))
        assert at.provider is not None
        theirs = provider_bars(at.provider.bars(["BTCUSDT"], NOW.date(), NOW.date(), "1m"))
        assert {key: bars[key] for key in list(theirs)[:2]} == {key: theirs[key] for key in list(theirs)[:2]}


@played
async def test_a_topic_that_is_behind_the_lake_is_brought_up_to_it(cluster: KafkaCluster, lake: Lake) -> None:
    """A run without the topic had gone on: the next asks from where the topic stopped, and the lake doubles nothing."""
    async with binance(crypto("BTCUSDT"), lake) as at:
        for options in (carriers(cluster), {}, carriers(cluster)):
            await at.start(BTC, **options)
            await at.listening(TOPIC)
            await at.tell(40)
            await at.mended()
            await at.holds("BTCUSDT", at.told("BTCUSDT"))
            await at.stop()
        assert await in_topic(cluster) == at.told("BTCUSDT")
        volumes = recorded(lake, "bars").filter(pl.col("complete")).collect()["volume"].to_list()
        assert at.provider is not None
        theirs = provider_bars(at.provider.bars(["BTCUSDT"], NOW.date(), NOW.date(), "1m"))
        assert volumes == pytest.approx([row[4] for row in theirs.values()][: len(volumes)])
        assert volumes


@pytest.mark.parametrize("asked", [True, False], ids=["asked for before it died", "not asked for"])
@played
async def test_what_a_session_missed_is_in_the_topic_once_whoever_died_before_it_was_stored(
    cluster: KafkaCluster, lake: Lake, asked: bool
) -> None:
    begins, ends = (micros(NOW) + at * SECOND for at in (180, 400))
    before = [(micros(NOW), micros(NOW) + 120 * SECOND)]
    first = {"sessions": Sessions(before[0][1], lambda since: ())}
    later = {"owed": begins, "sessions": Sessions(ends, lambda since: before)}
    late = {"patience": Patience(silence=1e9, connect=1e9, repair_delay=2 if asked else 1e6)}

    async def die(at: Site) -> None:
        """The topic has what came since, and the lake has not."""
        at.station._recorder.store = lambda events: 0  # type: ignore[union-attr, method-assign]
        if asked:
            await at.mended()
        await at.tell(5)
        async with asyncio.timeout(10):
            while at.told("BTCUSDT")[-1] not in await in_topic(cluster):
                pass
        await at.die()
        await at.tell(115)

    async with binance(crypto("BTCUSDT"), lake) as at:
        await at.start(BTC, **carriers(cluster), **first)
        await at.listening(TOPIC)
        await at.tell(60)
        await at.holds("BTCUSDT", at.told("BTCUSDT"))
        await die(at)
        await at.start(BTC, **carriers(cluster), **later, **late)
        await at.listening(TOPIC)
        await at.until(lambda: open_gaps(lake).height, "what was missed, told")
        await die(at)
        await at.start(BTC, **carriers(cluster), **later)
        await at.listening(TOPIC)
        await at.mended()
        owed = [*range(1, 120), *range(180, at.told("BTCUSDT")[-1] + 1)]
        await at.holds("BTCUSDT", owed)
        await at.stop()
        assert await in_topic(cluster) == owed
        assert set(open_gaps(lake)["state"]) == {"repaired"}


@played
async def test_a_run_before_its_window_begins_goes_on_from_now(cluster: KafkaCluster, lake: Lake) -> None:
    """The topic knows the line, and nothing is owed before a time that has not come yet."""
    async with binance(crypto("BTCUSDT"), lake) as at:
        for owed in (micros(NOW), micros(NOW + timedelta(minutes=25))):
            await at.start(BTC, **carriers(cluster), owed=owed)
            await at.listening(TOPIC)
            await at.tell(10)
            await at.mended()
            await at.holds("BTCUSDT", at.told("BTCUSDT"))
            await at.stop()
        assert await in_topic(cluster) == at.told("BTCUSDT")


@played
async def test_the_topic_is_asked_from_as_early_as_the_recorder_says(cluster: KafkaCluster, lake: Lake) -> None:
    """A gap may have begun before the window did."""
    asked, begins = micros(NOW) - 2, micros(NOW)
    async with binance(crypto("BTCUSDT"), lake) as at:
        station = Station(Task("test", (BTC,), begins, lambda newest: Feed(at.source, at.clock, None),
                               Patience(), **carriers(cluster)), lake)  # fmt: skip
        at.station = station
        async with AsyncExitStack() as held:
            _, since = await station._carrier(at.clock, {BTC: asked}, held)
        assert since == {BTC: asked}


@played
async def test_brokers_that_stay_away_end_the_run_and_the_next_one_lacks_nothing(
    cluster: KafkaCluster, lake: Lake
) -> None:
    async with binance(crypto("BTCUSDT"), lake) as at:
        kafka = KafkaSettings(servers=cluster.servers, name="t", connect_seconds=5, outage_seconds=2)
        await at.start(BTC, topic=lambda clock: wiring.topic(kafka, clock))
        await at.listening(TOPIC)
        await at.tell(10)
        await at.holds("BTCUSDT", at.told("BTCUSDT"))
        cluster.down()
        await at.tell(10)
        with pytest.raises(CarrierError, match="no Kafka broker at"):
            await at.over()
        assert at.held("BTCUSDT")[:10] == at.told("BTCUSDT")[:10]
        cluster.up()
        await at.start(BTC, **carriers(cluster))
        await at.listening(TOPIC)
        await at.tell(10)
        await at.mended()
        await at.holds("BTCUSDT", at.told("BTCUSDT"))
        await at.stop()
        assert await in_topic(cluster) == at.told("BTCUSDT")


@played
async def test_a_redis_that_is_not_there_is_told_before_anything_is_stored(redis: RedisServer, lake: Lake) -> None:
    redis.end()
    async with binance(crypto("BTCUSDT"), lake) as at:
        await at.start(BTC, cache=lambda clock: wiring.cache(RedisSettings(url=redis.url), clock))
        with pytest.raises(CacheError, match=r"does not answer: .*; start it, or mend"):
            await at.over()
    assert recorded(lake, "findings").collect().is_empty()


@played
async def test_a_redis_that_goes_away_does_not_end_the_run(
    cluster: KafkaCluster, redis: RedisServer, lake: Lake
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caching, "PAUSE_SECONDS", 0.05)
        async with binance(crypto("BTCUSDT"), lake) as at:
            cache = Cache(kept_in(redis), clock=at.clock)
            await at.start(BTC, **carriers(cluster, redis, outage_seconds=0.1))
            await at.listening(TOPIC)
            await at.tell(10)
            await at.holds("BTCUSDT", at.told("BTCUSDT"))
            redis.end()
            await at.tell(10)
            await at.holds("BTCUSDT", at.told("BTCUSDT"))
            redis.begin()

            async def kept() -> int:
                await at.tell(1)
                return max((trade.sequence for trade in (await cache.trades()).values()), default=0)

            async with asyncio.timeout(10):
                while await kept() <= 20:
                    pass
            await cache.close()


def test_a_run_of_a_configuration_publishes_and_keeps_the_newest(
    cluster: KafkaCluster, redis: RedisServer, lake: Lake
) -> None:
    asked = settings(
        hours=0.2,
        kafka={"servers": cluster.servers, "name": "t", "compression": "zstd"},
        cache={"url": redis.url, "name": "us"},
    )
    world = wire(asked, lake, lambda: SYMBOLS)
    for _ in range(2):  # the second finds all told, and adds nothing
        station = Station(world.task(world.window(datetime.now(UTC))), lake)
        station.start()
        while not station.wait(0.1):
            pass
        station.stop()
    told = asyncio.run(topic_told(cluster))
    for name, kind in (("trades", "trade"), ("quotes", "quote")):
        held = recorded(lake, name).collect()
        mine = [event for event in told if type(event).__name__.lower() == kind]
        assert held.height == len(mine) > 100
        assert set(held["ts"].to_physical()) == {event.ts for event in mine}
    sizes = recorded(lake, "trades").group_by("symbol").agg(pl.col("size").sum()).collect().rows()
    volumes = recorded(lake, "bars").group_by("symbol").agg(pl.col("volume").sum()).collect().rows()
    assert dict(volumes) == pytest.approx(dict(sizes))
    assert not [event for event in told if isinstance(event, Lost) and event.ts < micros(BEGINS)]

    async def newest() -> dict[str, Trade]:
        cache = wiring.cache(asked.streams.cache, ManualClock(BEGINS))  # type: ignore[union-attr, arg-type]
        rows = await cache.trades()
        await cache.close()
        return rows

    last = recorded(lake, "trades").group_by("symbol").agg(pl.col("ts").max().to_physical()).collect().rows()
    assert {symbol: trade.ts for symbol, trade in asyncio.run(newest()).items()} == dict(last)
