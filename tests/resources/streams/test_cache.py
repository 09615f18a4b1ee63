"""The cache in Redis, on a real server: what is kept, who may write, and what holds while Redis is away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from resources.errors import ConfigError
from resources.streams.base import Bar, Batch, Lost, Repaired
from resources.streams.cache import Cache, CacheError, CacheSettings
from resources.streams.carriers.memory import Memory
from resources.streams.clock import SECOND
from tests.resources.streams.caches import Clock, cache, quote, told, trade, until
from tests.resources.streams.gateways import played
from tests.venues.redis import RedisServer, is_installed

pytest.importorskip("redis", reason="the redis extra is not installed")
if not is_installed():
    pytest.skip("there is no redis-server on this machine", allow_module_level=True)


# what is kept


@played
async def test_the_newest_of_each_symbol_is_there_for_another_process(server: RedisServer) -> None:
    one, other = cache(server), cache(server)
    await one.follow(
        told(
            [quote("A", 1), quote("B/C", 5), trade("A", 2), Bar("A", 9, 1, 1, 1, 1, 1)],
            [quote("A", 3, 2.0), quote("A", 3, 3.0)],  # of one instant the last
        )
    )
    assert await other.quotes() == {"A": quote("A", 3, 3.0), "B/C": quote("B/C", 5)}
    assert await other.quotes(["A", "X"]) == {"A": quote("A", 3, 3.0)}
    assert await other.quotes([]) == {}
    assert await other.trades(["A"]) == {"A": trade("A", 2)}
    assert one.counts["events"] == 6
    await one.close()
    await other.close()


@played
async def test_what_comes_late_takes_no_newer_ones_place(server: RedisServer) -> None:
    for at, events in enumerate(([quote("A", 5)], [quote("A", 4, repaired=True)], [quote("B", 1), quote("B", 0)])):
        each = cache(server, now=at)
        await each.follow(told(events))
        await each.close()
    last = cache(server)
    assert await last.quotes() == {"A": quote("A", 5), "B": quote("B", 1)}
    await last.close()


@played
async def test_a_stamp_of_the_future_keeps_its_place_in_no_process(server: RedisServer) -> None:
    minute = 60 * SECOND
    wild = quote("A", 11 * minute, 2.0)._replace(received=minute)
    one, other = cache(server), cache(server)
    await one.follow(told([quote("A", minute - 1)], [wild]))
    assert await other.quotes() == {"A": wild}
    await other.follow(told([quote("A", minute + 1, 3.0)]))
    assert await one.quotes() == {"A": quote("A", minute + 1, 3.0)}
    for each in (one, other):
        await each.close()


@played
async def test_instants_are_told_apart_to_the_microsecond(server: RedisServer) -> None:
    now = 1_765_206_000_000_001
    one = cache(server)
    await one.follow(told([quote("A", now)]))
    again = cache(server, now=1001)
    await again.follow(told([quote("A", now - 1)]))
    assert await again.quotes() == {"A": quote("A", now)}
    await again.follow(told([quote("A", now + 1)]), after=await again.session())
    assert await again.quotes() == {"A": quote("A", now + 1)}
    await one.close()
    await again.close()


@played
async def test_where_nothing_was_followed_there_is_nothing(server: RedisServer) -> None:
    one = cache(server)
    assert await one.session() is None
    assert await one.quotes() == {}
    assert await one.trades(["A"]) == {}
    await one.close()


@played
async def test_another_goes_on_where_one_stopped(server: RedisServer) -> None:
    carrier, one, other = Memory(), cache(server), cache(server, now=500)  # its clock is behind
    lost = Lost("A", 1, "quote", 2, None, "x")
    await carrier.publish([quote("A", 1), lost])
    following = asyncio.create_task(one.follow(carrier.subscribe(since="earliest")))
    await until(lambda: one.counts["written"])
    following.cancel()
    await asyncio.wait([following])
    await carrier.publish([quote("A", 3), Repaired("A", 1, "quote", 2, 1, 0)])
    await carrier.close()
    before = await other.session()
    assert before is not None
    assert (before.lost, before.offset) == ((lost,), {0: 2})
    await other.follow(carrier.subscribe(since=before.offset), after=before)
    after = await other.session()
    assert after is not None
    assert (after.lost, after.offset, after.by) == ((), {0: 4}, 1001)
    assert await other.quotes() == {"A": quote("A", 3)}
    await one.close()
    await other.close()


# who may write, and who is alive


@played
async def test_a_follower_who_was_followed_by_another_is_refused(server: RedisServer) -> None:
    old, new = cache(server), cache(server, now=2000)
    carrier = Memory()
    following = asyncio.create_task(old.follow(carrier.subscribe()))
    await until(lambda: following.done() or old._client is not None)
    await new.follow(told([quote("A", 1)]))
    await carrier.publish([quote("A", 2)])
    with pytest.raises(CacheError, match=r"another follower, begun at 2000, writes to 'market' in Redis at 127.0.0.1"):
        await following
    assert await new.quotes() == {"A": quote("A", 1)}
    await new.follow(told([quote("B", 2)]), after=await new.session())
    for each in (old, new):
        await each.close()


@played
async def test_a_session_of_which_nothing_is_heard_is_dead(server: RedisServer) -> None:
    one = cache(server, alive=0.3)
    carrier = Memory()
    following = asyncio.create_task(one.follow(carrier.subscribe()))
    await carrier.publish([quote("A", 1)])
    await until(lambda: one.counts["written"])
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 0.6:  # longer than `alive`, without an event
        session = await one.session()
        assert session is not None
        assert session.current(quote("A", 1))
    following.cancel()
    await asyncio.wait([following])

    async def dead() -> bool:
        session = await one.session()
        assert session is not None
        assert session.connected  # so it was told, but nobody says so any more
        return not session.alive and not session.current(quote("A", 1))

    async with asyncio.timeout(5):
        while not await dead():
            pass
    await one.close()


# while Redis is away


@played
async def test_while_redis_is_away_the_newest_waits_and_all_is_written_then(server: RedisServer) -> None:
    one, carrier = cache(server), Memory()
    following = asyncio.create_task(one.follow(carrier.subscribe()))
    await carrier.publish([quote("A", 1), quote("B", 1)])
    await until(lambda: one.counts["written"] == 2)
    server.end()
    for ts in range(2, 50):
        await carrier.publish([quote("A", ts)])
    await until(lambda: one.counts["failed"] >= 2)
    other = cache(server)
    with pytest.raises(CacheError, match=rf"Redis at 127.0.0.1:{server.port} does not answer: .*start it, or mend"):
        await other.quotes()
    server.begin()  # it has lost all that it had
    await until(lambda: one.counts["written"] >= 4)
    assert await other.quotes() == {"A": quote("A", 49), "B": quote("B", 1)}
    await carrier.close()
    await following
    for each in (one, other):
        await each.close()


@played
async def test_redis_that_comes_back_with_an_older_state_is_found_out(server: RedisServer) -> None:
    """From a snapshot, or a replica that was behind: what it held of our rows is older than what we wrote."""
    from redis.asyncio import Redis

    one, carrier, client = cache(server), Memory(), Redis.from_url(server.url)
    following = asyncio.create_task(one.follow(carrier.subscribe()))
    lost = Lost("A", 4, "quote", 9, None, "disconnected")
    await carrier.publish([quote("A", 1), lost, Repaired("A", 4, "quote", 9, 0, None, "REST refuses")])
    await until(lambda: one.counts["written"] == 1)
    before = {key: await client.dump(key) for key in ("market:session", "market:quotes")}
    await carrier.publish([quote("A", 2)])
    await until(lambda: one.counts["written"] == 2)
    for key, held in before.items():
        await client.restore(key, 0, held, replace=True)
    assert await one.quotes() == {"A": quote("A", 1)}
    await carrier.publish([quote("B", 1)])
    await until(lambda: one.counts["written"] >= 5)
    assert await one.quotes() == {"A": quote("A", 2), "B": quote("B", 1)}
    await client.flushall()
    await carrier.publish([quote("B", 2)])
    await until(lambda: one.counts["written"] >= 8)
    assert await one.quotes() == {"A": quote("A", 2), "B": quote("B", 2)}
    session = await one.session()
    assert session is not None
    assert not session.current(quote("A", 2))
    assert session.current(quote("B", 2))
    await carrier.close()
    await following
    await client.aclose()
    await one.close()


@played
async def test_what_redis_did_not_answer_for_is_written_again(server: RedisServer) -> None:
    one, carrier = Cache(CacheSettings(url=server.url, connect=0.1), clock=Clock(1000)), Memory()
    following = asyncio.create_task(one.follow(carrier.subscribe()))
    await carrier.publish([quote("A", 1)])
    await until(lambda: one.counts["written"] == 1)
    server.signal(signal.SIGSTOP)
    try:
        await carrier.publish([quote("A", 2), quote("B", 2)])
        await until(lambda: one.counts["failed"])
        await carrier.publish([quote("A", 3)])
    finally:
        server.signal(signal.SIGCONT)
    await until(lambda: one.counts["written"] >= 3)
    await carrier.close()
    await following
    assert await one.quotes() == {"A": quote("A", 3), "B": quote("B", 2)}
    await one.close()


@played
async def test_redis_that_stays_away_is_no_secret(server: RedisServer) -> None:
    one, carrier = cache(server, outage=0.2), Memory()
    following = asyncio.create_task(one.follow(carrier.subscribe()))
    await carrier.publish([quote("A", 1)])
    await until(lambda: one.counts["written"])
    server.end()
    await carrier.publish([quote("A", 2)])
    with pytest.raises(CacheError, match="does not answer"):
        await following
    await one.close()


@played
async def test_what_could_not_be_written_at_the_end_is_no_secret(server: RedisServer) -> None:
    one = cache(server)
    server.end()
    with pytest.raises(CacheError, match="does not answer"):
        await one.follow(told([quote("A", 1)]))
    await one.close()


class GoneError(Exception):
    """What ends a stream."""


@played
async def test_what_ends_the_stream_is_raised_and_what_came_before_is_kept(server: RedisServer) -> None:
    async def broken() -> AsyncGenerator[Batch, None]:
        yield Batch([quote("A", 1)], {0: 1})
        raise GoneError

    one = cache(server)
    with pytest.raises(GoneError):
        await one.follow(broken())
    assert await one.quotes() == {"A": quote("A", 1)}
    await one.close()


class Deaf(Cache):
    """Its client swallows a cancellation, as redis-py sometimes does on Python 3.11."""

    async def _write(self, told: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()


@played
async def test_a_follower_that_is_cancelled_ends_whatever_its_client_does() -> None:
    following = asyncio.create_task(Deaf().follow(Memory().subscribe()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


# settings


@played
async def test_the_password_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = RedisServer(tmp_path, "--requirepass", "secret")
    server.begin()
    try:
        one = cache(server)
        with pytest.raises(CacheError, match="set REDIS_USERNAME and REDIS_PASSWORD in the environment"):
            await one.quotes()
        await one.close()
        monkeypatch.setenv("REDIS_PASSWORD", "secret")
        two = cache(server)
        await two.follow(told([quote("A", 1)]))
        assert await two.quotes() == {"A": quote("A", 1)}
        await two.close()
    finally:
        server.end()


@played
async def test_without_the_package_it_is_told_how_to_get_it() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(CacheError, match=r"pip install 'quant-assets\[redis\]'"):
            await Cache().quotes()


@played
async def test_another_type_of_key_is_no_secret(server: RedisServer) -> None:
    from redis.asyncio import Redis

    client = Redis.from_url(server.url)
    await client.set("market:quotes", "not ours")
    await client.aclose()
    one = cache(server)
    with pytest.raises(CacheError, match=r"answers: .*wrong kind of value"):
        await one.quotes()
    await one.close()


@played
async def test_what_another_version_wrote_is_told_and_a_follower_writes_it_anew(server: RedisServer) -> None:
    import msgpack
    from redis.asyncio import Redis

    one, client = cache(server), Redis.from_url(server.url)
    await client.hset("market:session", mapping={"by": 5000, "state": msgpack.packb([1, True, True, "", [], {}])})
    await one.reach()
    with pytest.raises(CacheError, match=r"'market:session' in Redis at .* was written by another version; begin"):
        await one.session()
    await one.follow(told([quote("A", 1)]))  # though its clock is behind
    session = await one.session()
    assert session is not None
    assert session.by == 5001
    assert session.current(quote("A", 1))
    await client.aclose()
    await one.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "localhost:6379"}, "must be like redis://localhost:6379/0"),
        ({"url": "redis://me:secret@host/0"}, "put them into REDIS_USERNAME and REDIS_PASSWORD"),
        ({"url": "http://me:secret@host/0"}, "put them into REDIS_USERNAME and REDIS_PASSWORD"),
        ({"url": "redis://host/0?password=secret"}, "put them into REDIS_USERNAME and REDIS_PASSWORD"),
        ({"url": "redis://host:99999/0"}, "must be like redis://localhost:6379/0: Port out of range"),
        ({"url": "redis://host:port/0"}, "must be like redis://localhost:6379/0: Port could not be cast"),
        ({"url": "redis://host/abc"}, "must be like redis://localhost:6379/0: a database is a number"),
        ({"name": ""}, "CacheSettings.name is empty"),
        ({"alive": 0.0}, "CacheSettings.alive is 0.0; it must be above 0"),
        ({"outage": 1e9}, "CacheSettings.outage is 1000000000.0; it must be above 0, at most 86400"),
    ],
)
def test_settings_out_of_bounds_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        CacheSettings(**given)
    assert "secret" not in str(caught.value)
