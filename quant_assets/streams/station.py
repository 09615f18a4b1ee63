"""The stream job's work: a gateway, bars of its trades, and the recorder, in a thread of their own. Knows no Dagster.

    station = Station(task, lake)
    station.start()
    while not station.wait(0.5): ...       # until a replay is over or something fails
    station.stop()                         # what came by then is stored; raises what failed

The thread is one event loop: it reads the gateway, makes bars, and now and then hands what came to another thread that
stores it. Whoever started the station stays free to look at a clock, a run's status or a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import queue
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from quant_assets.streams.caching import kept
from resources.lake import Lake
from resources.market_data.base import Provider
from resources.streams.aggregation import BarMaker, Before
from resources.streams.base import Batch, Event, Line, Lost, Source, Status
from resources.streams.cache import Cache
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.memory import Memory
from resources.streams.carriers.relay import Relay
from resources.streams.clock import SECOND, Clock
from resources.streams.gateway import Gateway, first_of
from resources.streams.owed import Sessions
from resources.streams.patience import Patience
from resources.streams.recording import Recorder, Rotated
from resources.streams.remade import before, begun, remade
from resources.streams.rows import UNFOLLOWED, Mark

WAITING = 500_000
"""So many events may wait to be stored; then the gateway's log has to hold them, and counts what it cannot."""

TOGETHER = 60 * SECOND
"""Lines that are asked for again from instants no further apart are asked for together, from the earliest."""

LINGER_SECONDS = 30.0
"""How long the end waits for what is still being repaired."""

BAR_GRACE = 2 * SECOND
"""A bar is told so long after its end at the latest; a trade that comes later makes another revision of it."""


async def never() -> None:
    """A venue has no last event."""
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Feed:
    """A source and its clock; whom to ask for what it missed; `over` returns when a replay is over.

    begins: from when on the source tells what happened, however late it is connected; None: from its connection on.
    """

    source: Source
    clock: Clock
    provider: Provider | None
    over: Callable[[], Awaitable[object]] = never
    begins: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What to follow, and how it is kept. owed: since when nothing may be missing (UTC microseconds). sessions: the end
    of the one that is followed, and those before it; None: what is missing of those is not looked for.

    open: the feed; it is told the time of the newest row that is stored, None where there is none. timeframe: of the
    bars that are made of trades. rotate_seconds: by the feed's clock; flush_seconds: by the machine's. topic: where all
    goes that is told; cache: what holds the newest of it; both by the feed's clock.
    """

    provider: str
    lines: tuple[Line, ...]
    owed: int
    open: Callable[[int | None], Feed]
    patience: Patience
    timeframe: str | None = "1m"
    flush_seconds: float = 5.0
    flush_events: int = 100_000
    rotate_seconds: float = 3600.0
    rotate_rows: int = 5_000_000
    topic: Callable[[Clock], Kafka] | None = None
    cache: Callable[[Clock], Cache] | None = None
    sessions: Sessions | None = None


class Station:
    """One at a time on a lake. `rotated`: what went to partitions, to be taken by anybody."""

    def __init__(self, task: Task, lake: Lake) -> None:
        self._task, self._lake = task, lake
        self.rotated: queue.SimpleQueue[list[Rotated]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._ready, self._over = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._pending: list[Event | Mark] = []
        self._before: Mapping[str, Before] = {}
        self._begins: int | None = None
        self._gateway: Gateway | None = None
        self._recorder: Recorder | None = None
        self._maker = BarMaker(task.timeframe) if task.timeframe is not None else None
        self._rotated_at = self._unrotated = 0
        self._ending = self._hurry = False
        self._all = True

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def wait(self, seconds: float) -> bool:
        """Whether the work has ended by itself, after so many seconds at the latest."""
        return self._over.wait(seconds)

    def stop(self, *, hurry: bool = False, over: bool = True) -> None:
        """End it: what came is stored and goes to its partitions. Raises what ended it before, if anything did.

        hurry: what is being repaired is not waited for; the next one asks for it again. over: it is to follow no
        more; else what happens until its session ends is told as lost by whoever comes next.
        """
        self._hurry, self._all = hurry, over
        if not self._over.is_set():
            with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def counts(self) -> Mapping[str, int]:
        """Events by what became of them (see Watch), rows stored, gaps that are not repaired yet; at any time."""
        gateway, recorder = self._gateway, self._recorder
        counts = dict(gateway.counts) if gateway is not None else {}
        return counts | {
            "stored": recorder.stored if recorder is not None else 0,
            "missing": len(gateway.missing()) if gateway is not None else 0,
            "too late for their bar": sum(self._maker.too_late.values()) if self._maker is not None else 0,
        }

    @property
    def connected(self) -> bool:
        return self._gateway is not None and self._gateway.connected

    # the thread

    def _run(self) -> None:
        gc.collect()
        gc.freeze()  # else all that is imported is looked through now and then, for 0.1 s
        try:
            asyncio.run(self.follow())
        except BaseException as error:
            self._failure = error  # raised again by `stop`
        finally:
            gc.unfreeze()
            self._over.set()
            self._ready.set()

    async def follow(self) -> None:
        """The work itself, in the running loop: until a replay is over, `stop` is called or something fails."""
        self._loop, self._stop, self._full = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._stored = asyncio.Event()
        self._ready.set()
        task = self._task
        recorder = self._recorder = Recorder(self._lake, task.provider)
        await self._rotate()
        stored = await asyncio.to_thread(recorder.resume, task.lines, task.owed, task.sessions)
        if self._maker is not None:
            self._before = await asyncio.to_thread(before, recorder, self._maker.timeframe)
            for symbol, found in self._before.items():
                self._pending += [Mark(symbol, ts, "trade", until, UNFOLLOWED) for ts, until in found.fresh]
                self._pending += self._maker.resume(symbol, found)
        feed = task.open(recorder.newest)
        self._begins = feed.begins
        recorder.now = feed.clock.now
        await asyncio.to_thread(recorder.begin)  # from here on it is owed, whatever cannot be reached
        async with contextlib.AsyncExitStack() as held:
            cache = await self._cache(feed.clock, held)
            carrier, since = await self._carrier(feed.clock, stored, held, recorder.missed)
            await self._follow(recorder, feed, carrier, since, cache)

    async def _cache(self, clock: Clock, held: contextlib.AsyncExitStack) -> Cache | None:
        """Raises CacheError where Redis does not answer: what is wrong with its settings is told at once."""
        if self._task.cache is None:
            return None
        cache = self._task.cache(clock)
        held.push_async_callback(cache.close)
        await cache.reach()
        return cache

    async def _carrier(
        self, clock: Clock, since: Mapping[Line, int], held: contextlib.AsyncExitStack, lost: Sequence[Lost] = ()
    ) -> tuple[Memory, Mapping[Line, int]]:
        """The gateway's carrier, and since when each line is asked for: as the recorder or the topic lacks it."""
        if self._task.topic is None:
            return Memory(), since
        topic = self._task.topic(clock)
        held.push_async_callback(topic.close)
        # From as early as the recorder says, which may be before the window, and never from the future.
        owed = min(self._task.owed, clock.now(), *since.values())
        told = await topic.resume(since, owed=owed)
        missed = {Line(one.symbol, one.kind): one.ts for one in reversed(lost)}  # of each the first
        # Lines are asked for together, some of them from earlier than they need be: then the topic must know that; as
        # that others missed before.
        asked = _from_together({line: ts for line, ts in told.items() if line in self._task.lines})
        known = {**asked, **{line: min(ts, asked.get(line, ts)) for line, ts in missed.items()}}
        await topic.resume(known, owed=min([owed, *known.values()]))
        return Relay(topic), asked

    async def _follow(
        self, recorder: Recorder, feed: Feed, carrier: Memory, since: Mapping[Line, int], cache: Cache | None
    ) -> None:
        self._rotated_at = feed.clock.now()
        gateway = self._gateway = Gateway(
            feed.source, provider=feed.provider, carrier=carrier, patience=self._task.patience, clock=feed.clock
        )
        async with kept(cache, gateway.events):
            await self._record(recorder, feed, gateway, since)

    async def _record(self, recorder: Recorder, feed: Feed, gateway: Gateway, since: Mapping[Line, int]) -> None:
        ended, at = False, 0
        storing = asyncio.create_task(self._keep_storing(feed.clock))
        reading = asyncio.create_task(self._read(gateway.events()))
        try:
            async with gateway:
                await self._subscribe(gateway, since)
                gateway.recover(recorder.missed)
                await first_of(self._stop.wait(), asyncio.wait([reading]), asyncio.wait([storing]), feed.over())
                if not (reading.done() or storing.done() or self._hurry):
                    await first_of(self._repaired(gateway), asyncio.sleep(LINGER_SECONDS))
                at = feed.clock.now()
            ended = self._all
        finally:  # whatever ended it, what came is stored
            self._ending = True
            self._stored.set()
            await asyncio.gather(reading, return_exceptions=True)
            self._full.set()
            await storing
            await self._store(feed.clock)
            if ended and not reading.exception():
                await asyncio.to_thread(recorder.end, at)
            await self._rotate()
        reading.result()

    async def _subscribe(self, gateway: Gateway, since: Mapping[Line, int]) -> None:
        await gateway.subscribe([line for line in self._task.lines if line not in since])
        for at, lines in together(since):
            await gateway.subscribe(lines, since=at)

    async def _read(self, batches: AsyncGenerator[Batch, None]) -> None:
        assert self._recorder is not None
        followed = False
        async for batch in batches:
            events = self._recorder.new(batch.events)
            # That somebody follows from now on is stored at once: what comes is then owed, whoever is killed.
            connected = events and isinstance(events[0], Status) and events[0].state == "connected"
            if not followed:
                since = [one.ts for one in events if isinstance(one, Status) and one.state == "connected"][:1]
                followed = bool(since)
                self._begin(since)
            self._pending += events
            if self._maker is not None:
                self._pending += self._maker.add(events)
            if connected or len(self._pending) >= self._task.flush_events:
                self._full.set()
            while len(self._pending) > WAITING and not self._ending:
                self._stored.clear()
                await self._stored.wait()

    def _begin(self, connected: Sequence[int]) -> None:
        """When there is a first connection: what of the bars that began before it nobody followed."""
        assert self._recorder is not None
        if connected and self._maker is not None:
            at = connected[0] if self._begins is None else self._begins
            for mark in begun(self._recorder, self._maker.timeframe, self._before, at):
                self._pending += [mark, *self._maker.unfollowed(mark.symbol, mark.ts, mark.until)]

    async def _keep_storing(self, clock: Clock) -> None:
        while not self._ending:
            await first_of(self._full.wait(), asyncio.sleep(self._task.flush_seconds))
            await self._store(clock)
            now = clock.now()
            due = now - self._rotated_at >= self._task.rotate_seconds * SECOND
            if due or self._unrotated >= self._task.rotate_rows:
                self._rotated_at = now
                await self._rotate()

    async def _store(self, clock: Clock) -> None:
        assert self._recorder is not None
        self._full.clear()
        if self._maker is not None:
            self._pending += self._maker.until(clock.now() - BAR_GRACE)
        events, self._pending = self._pending, []
        if self._maker is not None and self._maker.past:
            past, self._maker.past = self._maker.past, set()
            events += await asyncio.to_thread(remade, self._recorder, self._maker.timeframe, past, events)
        if events:
            self._unrotated += await asyncio.to_thread(self._recorder.store, events)
        self._stored.set()

    async def _rotate(self) -> None:
        assert self._recorder is not None
        self._unrotated = 0
        if told := await asyncio.to_thread(self._recorder.rotate):
            self.rotated.put(told)

    @staticmethod
    async def _repaired(gateway: Gateway) -> None:
        while gateway.missing():
            await asyncio.sleep(0.05)


def _from_together(since: Mapping[Line, int]) -> dict[Line, int]:
    """Each line from the instant of its group."""
    return {line: at for at, lines in together(since) for line in lines}


def together(since: Mapping[Line, int]) -> list[tuple[int, Collection[Line]]]:
    """The lines in groups with the instant from which each group is asked for: not later than any of its own.

    >>> together({Line("A", "trade"): 5, Line("B", "trade"): 2 * TOGETHER})
    [(5, [Line(symbol='A', kind='trade')]), (120000000, [Line(symbol='B', kind='trade')])]
    """
    groups: list[tuple[int, list[Line]]] = []
    for at, lines in groupby(sorted(since, key=lambda line: since[line]), key=lambda line: since[line]):
        if not groups or at > groups[-1][0] + TOGETHER:
            groups.append((at, []))
        groups[-1][1].extend(lines)
    return [(at, lines) for at, lines in groups]
