"""The gateway: keeps one venue's stream alive for a long-running job, and hands on what it tells, each event once.

    async with Gateway(AlpacaStream("iex"), provider=Alpaca(feed="iex")) as gateway:
        await gateway.subscribe([Line("AAPL", "trade"), Line("AAPL", "quote")])
        async for batch in gateway.events():
            ...

Three tasks: one reads the socket, one hands on to the carrier, one repairs over REST; between the first two stands a
bounded queue. Where it is full, events are counted as lost by line, told as Lost, and repaired like any other gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

from resources.errors import ConfigError, ProviderError, ProviderTimeoutError
from resources.market_data.base import Provider
from resources.streams.base import (
    ENDED,
    KIND_OF,
    Batch,
    Carrier,
    Event,
    Kind,
    Line,
    Lost,
    Source,
    Start,
    Status,
    StreamEndedError,
)
from resources.streams.carriers.memory import Memory
from resources.streams.clock import SECOND, Clock, SystemClock
from resources.streams.patience import Patience
from resources.streams.repair import HOPELESS, Mend, Repairer
from resources.streams.track import FARTHEST, NEVER
from resources.streams.watch import Watch

UNWANTED = "nothing is subscribed to"
"""Why a connection is left on which nobody misses anything."""

SLICE = 32
"""So many events read without a pause, and others get their turn."""


class Gateway:
    """A context manager. `provider`: what is asked for gaps; None: nobody, and each is told as given up.

    carrier: in process by default. queue: events that may wait for the carrier. chance: jitter of reconnects.
    `counts`: see Watch. An error that no retry mends (keys refused, a symbol unknown) ends the gateway: it is raised
    by `subscribe`, by `events` and where the context ends.

    Raises ConfigError where there is no source, or no room in the queue; `subscribe`, `unsubscribe` and `events` where
    what they are given is not what they take.
    """

    def __init__(
        self,
        source: Source,
        *,
        provider: Provider | None = None,
        carrier: Carrier | None = None,
        patience: Patience | None = None,
        queue: int = 50_000,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not hasattr(source, "sequences"):
            raise ConfigError(f"streams: {source!r} is not a source; give one of resources.streams.sources")
        if queue < 1:
            raise ConfigError(f"streams: a queue of {queue} holds no event; give it at least 1")
        self.patience = patience or Patience()
        self.carrier = Memory() if carrier is None else carrier
        self._source, self._queue, self._chance = source, queue, chance
        self._clock: Clock = SystemClock() if clock is None else clock
        self._watch = Watch(source.sequences)
        self._repairer = Repairer(
            provider, delay_seconds=self.patience.repair_delay, pauses=self.patience.repair_pauses
        )
        self._lines: set[Line] = set()
        self._owed: list[tuple[set[Line], int]] = []
        self._slack = int(self.patience.slack * SECOND)
        self._pending: list[Event] = []
        self._repaired: list[Event] = []
        self._filled, self._taken, self._gaps = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._wanted, self._changing = asyncio.Event(), asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._ended = ""
        self._silence = self.patience.silence
        self._broken, self._connected_at = False, 0  # whether a connection was over, or could not be had
        self._stop, self._closing = asyncio.Event(), False
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def counts(self) -> Counter[str]:
        return self._watch.counts

    @property
    def lines(self) -> frozenset[Line]:
        """What is subscribed to."""
        return frozenset(self._lines)

    @property
    def connected(self) -> bool:
        return self._reader is not None and not self._ended

    def missing(self) -> list[Mend]:
        """The gaps that are not repaired yet, nor given up."""
        return list(self._repairer.open)

    async def subscribe(self, lines: Collection[Line], since: int | None = None) -> None:
        """From now on also these. While connected it returns when the venue has acknowledged.

        since: what happened from then on (UTC microseconds) is missed as well, and repaired; for a job that goes on
        after another. An event of just that instant may have been told before; none that this gateway told of a line
        that it is subscribed to again: of that one, only what was later than those is missed.

        Raises what the source raises to a refusal; then these lines are not subscribed to. Raises ConfigError on what
        is not a line, and on a `since` that is no such number, of the future, or of lines that are subscribed to.
        """
        wanted = _lines(lines)
        if since is not None:
            _check_since(since, self._clock.now())
        async with self._changing:
            self._raise_failure()
            added = wanted - self._lines
            if since is not None and added != wanted:
                known = ", ".join(sorted(f"{line.symbol} {line.kind}" for line in wanted & self._lines)[:12])
                raise ConfigError(
                    f"streams: {known}: already subscribed to, so that what was missed since an instant is not looked "
                    "for; unsubscribe first, or leave `since` out"
                )
            if not added:
                return
            self._watch.add(added, self._clock.now())
            self._lines |= added
            try:
                if self.connected:
                    await self._in_time(self._source.change(added, ()), "subscribing")
            except StreamEndedError:
                pass  # the next connection subscribes to all
            except BaseException:
                self._lines -= added
                self._watch.remove(added)
                raise
            if since is not None:
                self._owed.append((added, since))
                if self.connected:
                    self._owe()
            self._wanted.set()

    def recover(self, lost: Iterable[Lost]) -> None:
        """Tell these intervals as lost, and repair them: for a job that goes on after another that missed them.

        Of lines that are subscribed to, and over before that began. What the stream tells of them all the same, of a
        venue whose clock is behind, or what a `since` brings, does not come again; what this gateway told of a line
        before it was unsubscribed may. Raises ConfigError.
        """
        self._raise_failure()
        found = list(lost)
        if unknown := {Line(one.symbol, one.kind) for one in found} - self._lines:
            names = ", ".join(f"{line.symbol} {line.kind}" for line in sorted(unknown)[:12])
            raise ConfigError(f"streams: {names}: not subscribed to, so that nothing of it can be recovered")
        self._watch.recover(found, self._clock.now())
        self._tell(found)
        if self.connected:
            self._hold(self._clock.now() + self._slack)

    async def unsubscribe(self, lines: Collection[Line]) -> None:
        """From now on no longer these; what is missing of them is given up. Others are let be."""
        unwanted = _lines(lines)
        async with self._changing:
            self._raise_failure()
            gone = unwanted & self._lines
            self._lines -= gone
            await self._repairer.give_up("it is not subscribed to any more", gone)
            self._watch.remove(gone)
            if not self._lines:
                self._wanted.clear()
                self._broken = False
                self._leave(UNWANTED)
            elif gone and self.connected:
                with contextlib.suppress(StreamEndedError):  # the next connection subscribes to what is left
                    await self._in_time(self._source.change((), gone), "unsubscribing")

    def events(self, symbols: Collection[str] | None = None, since: Start = "latest") -> AsyncGenerator[Batch, None]:
        """What is told of these symbols (None: of all), as the carrier gives it; ends with the gateway.

        Raises the error that ended the gateway, if one did.
        """
        if isinstance(symbols, str):
            raise ConfigError(f"streams: symbols is a collection, such as [{symbols!r}], not a text")
        if not (isinstance(since, Mapping) or since in ("latest", "earliest")):
            raise ConfigError(f'streams: since is "latest", "earliest" or the offset of a batch, not {since!r}')
        return self._events(self.carrier.subscribe(symbols, since))

    async def _events(self, told: AsyncGenerator[Batch, None]) -> AsyncGenerator[Batch, None]:
        async with contextlib.aclosing(told):
            async for batch in told:
                yield batch
        self._raise_failure()

    async def __aenter__(self) -> Self:
        if isinstance(self.carrier, Memory):
            self.carrier.repair = self._repair
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._task is not None
        self._stop.set()
        await self._task
        if kind is None:
            self._raise_failure()

    # the tasks

    async def _run(self) -> None:
        """All tasks until one fails or the gateway is left; then what is under way is handed on, and all closed."""
        publisher = asyncio.create_task(self._publish())
        stop = asyncio.create_task(self._stop.wait())
        inputs = [asyncio.create_task(work()) for work in (self._connect_for_ever, self._mend, self._look)]
        try:
            ended, _ = await asyncio.wait([publisher, stop, *inputs], return_when=asyncio.FIRST_COMPLETED)
            self._failure = next((task.exception() for task in ended - {stop}), None)
        finally:
            away = self._reader is None and self._broken
            stop.cancel()
            for task in inputs:
                task.cancel()
            await asyncio.wait(inputs)
            await self._source.close()
            over, limit = asyncio.wait([publisher]), self._clock.wait(self.patience.close)
            await first_of(over, self._finish(away), limit)
            if not publisher.done():
                publisher.cancel()
                self._failure = self._failure or ProviderTimeoutError(
                    f"the carrier did not take the last events within {self.patience.close:g} s; they are lost"
                )
            else:
                self._failure = self._failure or publisher.exception()
            await self.carrier.close()

    async def _finish(self, away: bool) -> None:
        """Give up what is not repaired, and let the publisher end when it has handed on everything.

        away: there was no connection at last, and what was missed since the last one, or all, was not told yet.
        """
        if away:
            self._tell(self._missed())
        await self._repairer.give_up(ENDED)
        self._closing = True
        self._filled.set()
        await asyncio.get_running_loop().create_future()

    async def _connect_for_ever(self) -> None:
        failures = 0
        while True:
            await self._wanted.wait()
            messages = self._watch.messages
            try:
                async with self._changing:
                    await self._in_time(self._source.connect(frozenset(self._lines)), "connecting")
                    self._began()
                await self._read_to_the_end()
            except ProviderError as error:
                if isinstance(error, HOPELESS):
                    raise
                await self._source.close()
                self._broken, self._ended = self._ended != UNWANTED, ""
                self._hold(NEVER)
                self._say("disconnected", str(error))
            failures = 0 if self._watch.messages > messages else failures + 1
            if failures:
                pause = min(self.patience.longest_reconnect, self.patience.reconnect * 2 ** (failures - 1))
                await self._clock.wait(pause * (0.5 + self._chance() / 2))

    def _began(self) -> None:
        self._connected_at = self._clock.now()
        self._ended = ""
        self._say("connected")
        if self._broken:
            self._tell(self._missed())
        self._owe()
        self._hold(self._connected_at + self._slack)
        self._reader = asyncio.create_task(self._read())

    def _missed(self) -> list[Event]:
        """What each line missed since the last connection, or since it was subscribed to, up to now."""
        return self._watch.connected(self._clock.now(), self._slack, int(self.patience.margin * SECOND))

    def _hold(self, until: int) -> None:
        """What was recovered is not asked for before then: the stream tells all that happens later."""
        self._repairer.hold(until)
        self._gaps.set()

    def _leave(self, why: str) -> None:
        """End the connection, if there is one."""
        if self._reader is not None:
            self._ended = why
            self._reader.cancel()

    def _owe(self) -> None:
        owed, self._owed = self._owed, []
        for lines, since in owed:
            self._tell(self._watch.owe(lines, since, self._clock.now(), self._slack))

    async def _read_to_the_end(self) -> None:
        """Read until the connection is over; raises what ended it, which is a ProviderError."""
        reader = self._reader
        assert reader is not None
        try:
            await asyncio.wait([reader])
        finally:
            self._reader = None
            reader.cancel()
            await self._source.close()
        if reader.cancelled():
            raise StreamEndedError(self._ended)
        reader.result()

    async def _read(self) -> None:
        receive, now, admit = self._source.receive, self._clock.now, self._watch.admit
        while True:
            self._tell(admit(await receive(), now(), self._queue - len(self._pending)))
            if len(self._pending) > SLICE:
                await asyncio.sleep(0)  # a socket that always has more would let nobody else go

    def _tell(self, events: Sequence[Event]) -> None:
        if events:
            self._pending += events
            self._filled.set()
        if self._watch.found:
            for gap in self._watch.found:
                done = partial(self._watch.done, gap)
                self._repairer.add(Mend(gap, partial(self._watch.lacks, gap), self._tell_repaired, done))
            self._watch.found = []
            self._gaps.set()

    def _say(self, state: str, detail: str = "") -> None:
        self._tell([Status("", self._clock.now(), state, detail)])

    async def _publish(self) -> None:
        while self._pending or self._repaired or not self._closing:
            await self._filled.wait()
            self._filled.clear()
            events, self._pending = self._pending, []
            events += self._repaired
            self._repaired = []
            if events:
                await self.carrier.publish(events)
            self._taken.set()
            if not self._pending:
                self._tell(self._watch.drained())

    async def _tell_repaired(self, events: Sequence[Event]) -> None:
        """Hand these on after what is live; returns at once unless others wait. They take no room in the queue."""
        while self._repaired:
            self._taken.clear()
            await self._taken.wait()
        self._repaired = list(events)
        self._filled.set()

    async def _mend(self) -> None:
        while True:
            self._gaps.clear()
            due = self._repairer.due()
            if due is None:
                await self._gaps.wait()
            elif due > self._clock.now():
                await first_of(self._gaps.wait(), self._clock.wait((due - self._clock.now()) / SECOND))
            else:
                await self._repairer.mend(self._clock)

    def _repair(self, mend: Mend) -> None:
        """Repair what a reader was too slow for."""
        self._repairer.add(mend)
        self._gaps.set()

    async def _look(self) -> None:
        """Look after silence, of lines and of the whole connection."""
        limits: dict[Kind, int] = {kind: int(seconds * SECOND) for kind, seconds in self.patience.stale.items()}
        pause = min([self.patience.silence, *self.patience.stale.values()]) / 4
        while True:
            await self._clock.wait(pause)
            if self._reader is None:
                continue
            now, heard = self._clock.now(), self._watch.heard
            self._tell(self._watch.silent(now, limits))
            if heard > self._connected_at:
                self._silence = self.patience.silence
            if now - max(heard, self._connected_at) > self._silence * SECOND:
                self._leave(f"nothing came for {self._silence:g} s")
                self._silence = min(2 * self._silence, self.patience.longest_silence)

    async def _in_time(self, work: Coroutine[Any, Any, None], what: str) -> None:
        task = asyncio.create_task(work)
        if await first_of(task, self._clock.wait(self.patience.connect)) != 0:
            raise ProviderTimeoutError(f"{self._source.name}: {what} took longer than {self.patience.connect:g} s")
        task.result()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _lines(given: Iterable[Line]) -> set[Line]:
    """These as a set. Raises ConfigError."""
    example = 'Line("AAPL", "trade")'
    if isinstance(given, str | Line) or not isinstance(given, Iterable):
        raise ConfigError(f"streams: lines is a collection, such as [{example}], not {given!r}")
    lines = list(given)
    for line in lines:
        if not isinstance(line, Line) or not isinstance(line.symbol, str) or not line.symbol:
            raise ConfigError(f"streams: {line!r} is not a line; write {example}")
        if line.kind not in KIND_OF.values():
            raise ConfigError(f"streams: {line.symbol}: no lines of {line.kind!r}; use {', '.join(KIND_OF.values())}")
    return set(lines)


def _check_since(since: int, now: int) -> None:
    if not isinstance(since, int) or isinstance(since, bool):
        raise ConfigError(f"streams: since is a whole number of microseconds since 1970 (UTC), not {since!r}")
    if since > now + FARTHEST:
        raise ConfigError(f"streams: since is {(since - now) / SECOND:.0f} s in the future; is it in microseconds?")


async def first_of(*works: Awaitable[Any]) -> int:
    """Which of these is over first; the others are cancelled. What it raised, if anything, is with its task."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(at for at, task in enumerate(tasks) if task.done())
    finally:
        for task in tasks:
            task.cancel()
