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
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from resources.errors import ConfigError, QuantError
from resources.streams.base import Batch, Event, Lost, MarketEvent, Quote, Repaired, Status, Trade
from resources.streams.carriers.progress import line_of
from resources.streams.clock import Clock, SystemClock

T = TypeVar("T", Quote, Trade)
Rows = dict[tuple[type[MarketEvent], str], Quote | Trade]

USER, PASSWORD = "REDIS_USERNAME", "REDIS_PASSWORD"

DIGITS = 20
"""An event is kept behind its `ts`, written with so many digits, so that Redis itself can tell which is newer."""

WRITE = f"""
local by = tonumber(redis.call('HGET', KEYS[1], 'by') or '-1')
if by > tonumber(ARGV[1]) then return by end
redis.call('HSET', KEYS[1], 'by', ARGV[1], 'state', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
for at = 4, #ARGV, 3 do
  local key, symbol, row = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local held = redis.call('HGET', key, symbol)
  if not held or tonumber(string.sub(held, 1, {DIGITS})) <= tonumber(string.sub(row, 1, {DIGITS})) then
    redis.call('HSET', key, symbol, row)
  end
end
return math.min(by, 0)
"""
"""Events, and how their session stands, come to be at once or not at all. Returns 0, -1 where there was no session, or
which later follower writes too. Microseconds are exact in Lua's numbers until the year 2255."""


class CacheError(QuantError):
    """Redis cannot be reached, refuses, or holds what is not ours; the message says which."""


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
        parts = urlsplit(self.url)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ConfigError(f"CacheSettings.url is {self.url!r}; it must be like redis://localhost:6379/0")
        if parts.username or parts.password:
            raise ConfigError(f"CacheSettings.url holds a name or password; put them into {USER} and {PASSWORD}")
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


class Session(NamedTuple):
    """How a session stands that was followed. Times in UTC microseconds.

    by: which follower wrote it: when it began. updated: when it last heard anything. alive: it still follows.
    connected: the gateway to its venue. flowing: the carrier. detail: why not. lost: intervals that are told as lost
    and not repaired yet. offset: where a follower goes on.
    """

    by: int
    updated: int
    alive: bool
    connected: bool
    flowing: bool
    detail: str
    lost: tuple[Lost, ...]
    offset: Mapping[int, int]

    def current(self, event: Quote | Trade) -> bool:
        """Whether nothing newer of its line can have been missed, as far as anybody knows."""
        if not (self.alive and self.connected and self.flowing):
            return False
        line = line_of(event)
        return not any(line_of(lost) == line and lost.until >= event.ts for lost in self.lost)


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

        updated, connected, flowing, detail, lost, offset = msgpack.unpackb(state, strict_map_key=False)
        rows = tuple(Lost(*row) for row in lost)
        return Session(int(by), updated, alive == by, connected, flowing, detail, rows, offset)

    async def follow(self, batches: AsyncGenerator[Batch, None], after: Session | None = None) -> None:
        """Keep what these tell, until they end. One follower at a time: an older one that still writes is refused.

        after: the session that this goes on with, where `batches` begin at its offset.

        Raises CacheError, where Redis is away for longer than `outage`, refuses, or another follows; and whatever
        ends `batches`.
        """
        told = _Told(self._clock.now(), after)
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
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _read(self, batches: AsyncGenerator[Batch, None], told: _Told, more: asyncio.Event) -> None:
        async with contextlib.aclosing(batches):
            async for batch in batches:
                self.counts["events"] += len(batch.events)
                told.add(batch, self._clock.now())
                more.set()

    async def _write_for_ever(self, told: _Told, more: asyncio.Event, ended: asyncio.Event) -> None:
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

    async def _write(self, told: _Told) -> None:
        """Raises _AwayError; then all that was to be written still is."""
        import msgpack

        keys = [self._session, self._alive, *self._keys.values()]
        rows, told.rows = told.rows, {}
        sent: list[Any] = []
        for (kind, symbol), event in rows.items():
            sent += [keys.index(self._keys[kind]) + 1, symbol, b"%0*d" % (DIGITS, event[1]) + msgpack.packb(event)]
        state = told.by, msgpack.packb(told.state()), int(self.settings.alive * 1000)
        try:
            async with self._errors():
                other = await self._redis().eval(WRITE, len(keys), *keys, *state, *sent)
        except _AwayError:
            told.again(rows)
            raise
        if other > 0:
            raise CacheError(
                f"another follower, begun at {other}, writes to {self.settings.name!r} in Redis at "
                f"{self.settings.address}; end one of them, or give it another name"
            )
        if other < 0 and self.counts["written"]:  # Redis has lost all, and began anew
            told.again(told.newest)
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


class _Told:
    """What was told: how the session stands, and of each symbol the newest; `rows`: those still to be written."""

    def __init__(self, by: int, after: Session | None) -> None:
        self.by = by if after is None else max(by, after.by + 1)
        self.given_up = False
        self.newest: Rows = {}
        self.rows: Rows = {}
        self._updated = by if after is None else after.updated
        self._connected = after is not None and after.connected
        self._flowing, self._detail = True, "" if after is None else after.detail
        self._lost: list[Lost] = [] if after is None else list(after.lost)
        self._offset: Mapping[int, int] = {} if after is None else after.offset

    def add(self, batch: Batch, now: int) -> None:
        self._updated, self._offset = now, batch.offset
        for event in batch.events:
            if isinstance(event, Quote | Trade):
                if not event.repaired:
                    self._connected = True
                key = type(event), event.symbol
                held = self.newest.get(key)
                if held is None or event.ts >= held.ts:
                    self.newest[key] = self.rows[key] = event
            elif isinstance(event, Lost | Repaired | Status):
                self._stand(event)

    def again(self, rows: Rows) -> None:
        """These are still to be written."""
        self.rows = {key: self.newest[key] for key in (*rows, *self.rows)}

    def state(self) -> Sequence[Any]:
        return self._updated, self._connected, self._flowing, self._detail, self._lost, dict(self._offset)

    def _stand(self, event: Event) -> None:
        """What this changes of how the session stands."""
        if isinstance(event, Lost):
            same = line_of(event), event.ts
            self._lost = [*(one for one in self._lost if (line_of(one), one.ts) != same), event]  # it may have grown
        elif isinstance(event, Repaired):
            line = line_of(event)
            self._lost = [
                one for one in self._lost if line_of(one) != line or one.ts < event.ts or one.until > event.until
            ]
        elif isinstance(event, Status) and not event.symbol:
            if event.state in ("connected", "disconnected"):
                self._connected = event.state == "connected"
            elif event.state in ("stale", "flowing"):
                self._flowing = event.state == "flowing"
            self._detail = "" if self._connected and self._flowing else event.detail
