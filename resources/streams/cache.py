"""What was told last, in Redis: the newest quote and trade of each symbol, and how its session stands, for any process.

    cache = Cache(CacheSettings(url="redis://localhost:6379/0"))
    await cache.follow(gateway.events())                  # in one process
    quotes = await cache.quotes(["AAPL", "MSFT"])         # in any other

It is a copy that can be lost: nothing is kept here alone. While Redis is away only the newest of each symbol waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from resources.errors import ConfigError, QuantError
from resources.streams.base import Batch, MarketEvent, Quote, Trade
from resources.streams.clock import SECOND, Clock, SystemClock
from resources.streams.redis_url import PASSWORD, USER, check_url
from resources.streams.standing import Session, Told

T = TypeVar("T", Quote, Trade)

DIGITS = 20
"""An event is kept behind its place in time, written with so many digits, so that Redis itself tells which is newer."""

WRITE = f"""
local by, writes = tonumber(redis.call('HGET', KEYS[1], 'by') or '-1'), redis.call('HGET', KEYS[1], 'writes')
if by > tonumber(ARGV[1]) then return by end
redis.call('HSET', KEYS[1], 'by', ARGV[1], 'state', ARGV[2], 'writes', ARGV[4] + 1)
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
for at = 5, #ARGV, 3 do
  local key, symbol, row = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local held = redis.call('HGET', key, symbol)
  if not held or tonumber(string.sub(held, 1, {DIGITS})) <= tonumber(string.sub(row, 1, {DIGITS})) then
    redis.call('HSET', key, symbol, row)
  end
end
if by == tonumber(ARGV[1]) and writes == ARGV[4] then return 0 end
return -1
"""
"""Events, and how their session stands, come to be at once or not at all. Returns 0, -1 where Redis does not hold what
this follower wrote last (it is the first write, or Redis lost some or all), or which later follower writes too.
Microseconds are exact in Lua's numbers until the year 2255."""


CLOSE_SECONDS = 1.0
"""So long a connection may take to end."""


class CacheError(QuantError):
    """Redis cannot be reached, refuses, or holds what is not ours; the message says which."""


class FollowedError(CacheError):
    """A later follower writes to the same cache."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Which Redis, and how long one waits for it.

    url: "redis://host:port/number", or rediss:// with TLS; name and password are REDIS_USERNAME and REDIS_PASSWORD of
    the environment, where Redis asks for them. name: begins all keys. alive: after so many seconds without a word a
    session counts as dead. connect: seconds for an answer. outage: seconds for which `follow` goes on without Redis.

    Raises ConfigError.
    """

    url: str = "redis://localhost:6379/0"
    name: str = "market"
    alive: float = 15.0
    connect: float = 5.0
    outage: float = 600.0

    def __post_init__(self) -> None:
        try:
            check_url(self.url)
        except ValueError as error:
            raise ConfigError(f"CacheSettings.url {error}") from None
        if not self.name:
            raise ConfigError("CacheSettings.name is empty; give it a value, such as 'market'")
        for field in ("alive", "connect", "outage"):
            if not 0 < getattr(self, field) <= 86_400:
                raise ConfigError(f"CacheSettings.{field} is {getattr(self, field)}; it must be above 0, at most 86400")

    @property
    def address(self) -> str:
        """Where Redis is."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or 6379}"


class Cache:
    """`counts`: events that were offered, rows that were written, writes that failed and were tried again."""

    def __init__(self, settings: CacheSettings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings or CacheSettings()
        self.counts: Counter[str] = Counter()
        self._clock: Clock = SystemClock() if clock is None else clock
        name = self.settings.name
        self._session, self._alive = f"{name}:session", f"{name}:alive"
        self._keys: dict[type[MarketEvent], str] = {Quote: f"{name}:quotes", Trade: f"{name}:trades"}
        self._client: Any = None

    async def quotes(self, symbols: Collection[str] | None = None) -> dict[str, Quote]:
        """The newest quote of each of these (None: of all); those of which none is known are left out.

        Its age is for the caller to judge: see `Session.current`. Raises CacheError.
        """
        return await self._last(Quote, symbols)

    async def trades(self, symbols: Collection[str] | None = None) -> dict[str, Trade]:
        """The newest trade of each, as `quotes`."""
        return await self._last(Trade, symbols)

    async def session(self) -> Session | None:
        """How the session stands that is, or was, followed; None where none ever was. Raises CacheError."""
        async with self._errors():
            pipe = self._redis().pipeline(transaction=True)
            (by, state), alive = await pipe.hmget(self._session, "by", "state").get(self._alive).execute()
        if by is None:
            return None
        import msgpack

        try:
            return Session.of(int(by), alive == by, msgpack.unpackb(state, strict_map_key=False))
        except ValueError as error:
            raise CacheError(
                f"{self._session!r} in Redis at {self.settings.address} was written by another version; "
                "begin its follower again with this one"
            ) from error

    async def reach(self) -> None:
        """Raises CacheError where Redis does not answer, or refuses."""
        async with self._errors():
            await self._redis().ping()

    async def follow(self, batches: AsyncGenerator[Batch, None], after: Session | None = None) -> None:
        """Keep what these tell, until they end. One follower at a time: an older one that still writes is refused.

        after: the session that this goes on with, where `batches` begin at its offset.

        Raises CacheError, where Redis is away for longer than `outage`, or refuses; FollowedError where another
        follows; and whatever ends `batches`.
        """
        by = max(self._clock.now(), await self._former() + 1)
        told = Told(by, after, int(self.settings.alive * SECOND))
        more, ended = asyncio.Event(), asyncio.Event()
        reading = asyncio.create_task(self._read(batches, told, more))
        writing = asyncio.create_task(self._write_for_ever(told, more, ended))
        try:
            await asyncio.wait([reading, writing], return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                ended.set()
                more.set()
            await writing
            await reading
        finally:
            told.given_up = True  # on Python 3.11 the client may swallow a cancellation, by asyncio.wait_for
            more.set()
            for task in (reading, writing):
                task.cancel()
            await asyncio.wait([reading, writing])

    async def close(self) -> None:
        """Nothing of Redis's is raised; what it does not take is not waited for."""
        if self._client is not None:
            from redis import exceptions

            client, self._client = self._client, None
            with contextlib.suppress(exceptions.RedisError, OSError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await client.aclose()

    async def _former(self) -> int:
        """Which follower wrote last; -1 where none did, or nobody can say."""
        with contextlib.suppress(_AwayError):
            async with self._errors():
                return int(await self._redis().hget(self._session, "by") or -1)
        return -1

    async def _read(self, batches: AsyncGenerator[Batch, None], told: Told, more: asyncio.Event) -> None:
        async with contextlib.aclosing(batches):
            async for batch in batches:
                self.counts["events"] += len(batch.events)
                told.add(batch, self._clock.now())
                more.set()

    async def _write_for_ever(self, told: Told, more: asyncio.Event, ended: asyncio.Event) -> None:
        """Write what is new, and at least a sign of life; without Redis, try again."""
        since, pause = 0.0, 0.05
        while not told.given_up:
            last = ended.is_set()
            more.clear()
            try:
                await self._write(told)
                since, pause = 0.0, 0.05
            except _AwayError as error:
                self.counts["failed"] += 1
                since = since or time.monotonic()
                if last or time.monotonic() - since > self.settings.outage:
                    raise CacheError(str(error)) from error
                await asyncio.sleep(pause)
                pause = min(1.0, 2 * pause)
                continue
            if last and not told.rows:
                return
            if told.rows or told.given_up:
                continue
            with contextlib.suppress(TimeoutError):  # then it is time for a sign of life
                async with asyncio.timeout(self.settings.alive / 3):
                    await more.wait()

    async def _write(self, told: Told) -> None:
        """Raises _AwayError; then all that was to be written still is."""
        import msgpack

        keys = [self._session, self._alive, *self._keys.values()]
        rows, told.rows = told.rows, {}
        sent: list[Any] = []
        for (kind, symbol), event in rows.items():
            sent += [
                keys.index(self._keys[kind]) + 1,
                symbol,
                b"%0*d" % (DIGITS, told.place(event)) + msgpack.packb(event),
            ]
        state = told.by, msgpack.packb(told.state()), int(self.settings.alive * 1000), told.writes
        try:
            async with self._errors():
                other = await self._redis().eval(WRITE, len(keys), *keys, *state, *sent)
        except _AwayError:
            told.again(rows)
            raise
        if other > 0:
            raise FollowedError(
                f"another follower, begun at {other}, writes to {self.settings.name!r} in Redis at "
                f"{self.settings.address}; end one of them, or give it another name"
            )
        if other < 0 and told.writes:  # Redis has lost something, maybe all
            told.lost_by_redis()
        told.writes += 1
        self.counts["written"] += len(rows)

    async def _last(self, kind: type[T], symbols: Collection[str] | None) -> dict[str, T]:
        import msgpack

        async with self._errors():
            if symbols is None:
                found = await self._redis().hgetall(self._keys[kind])
                held = {symbol.decode(): row for symbol, row in found.items()}
            else:
                names = list(symbols)
                held = (
                    dict(zip(names, await self._redis().hmget(self._keys[kind], names), strict=True)) if names else {}
                )
        return {symbol: kind(*msgpack.unpackb(row[DIGITS:])) for symbol, row in held.items() if row is not None}

    def _redis(self) -> Any:
        if self._client is None:
            if importlib.util.find_spec("redis") is None:
                raise CacheError("the cache needs the package redis; install it: pip install 'quant-assets[redis]'")
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._client = Redis.from_url(
                self.settings.url,
                username=os.environ.get(USER),
                password=os.environ.get(PASSWORD),
                socket_connect_timeout=self.settings.connect,
                socket_timeout=self.settings.connect,
                retry=Retry(NoBackoff(), 0),  # we try again ourselves, with what is newest by then
            )
        return self._client

    @contextlib.asynccontextmanager
    async def _errors(self) -> AsyncGenerator[None, None]:
        """Redis's errors in our words."""
        self._redis()
        from redis import exceptions

        where = f"Redis at {self.settings.address}"
        try:
            yield
        except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
            raise CacheError(f"{where} refuses: {error}; set {USER} and {PASSWORD} in the environment") from error
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            raise _AwayError(f"{where} does not answer: {error}; start it, or mend CacheSettings.url") from error
        except exceptions.RedisError as error:
            raise CacheError(f"{where} answers: {error}") from error


class _AwayError(CacheError):
    """Redis does not answer; another try may help."""
