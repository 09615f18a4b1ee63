"""How a gateway goes about its connections, with a source that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from resources.errors import ConfigError, ProviderTimeoutError
from resources.streams.base import (
    ENDED,
    Event,
    Kind,
    Line,
    Lost,
    MarketEvent,
    Repaired,
    Sequencing,
    Status,
    StreamEndedError,
    Trade,
)
from resources.streams.carriers.memory import Memory
from resources.streams.clock import SECOND
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.repair import instant
from tests.resources.streams.gateways import ManualClock, Reader, played

LINE = Line("A", "trade")


class Scripted:
    """A source whose connections do what `ends` and `stuck` say, and bring what is put into `told`."""

    name = "scripted"
    sequences: Mapping[Kind, Sequencing] = {}

    def __init__(self, *, ends: bool = False, stuck: bool = False) -> None:
        self.ends, self.stuck = ends, stuck
        self.told: asyncio.Queue[Sequence[MarketEvent]] = asyncio.Queue()
        self.connected = 0

    async def connect(self, lines: Collection[Line]) -> None:
        if self.stuck:
            await asyncio.get_running_loop().create_future()
        self.connected += 1

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None:
        if self.stuck:
            await asyncio.get_running_loop().create_future()

    async def receive(self) -> Sequence[MarketEvent]:
        if self.ends:
            raise StreamEndedError("it is over")
        return await self.told.get()

    async def close(self) -> None: ...


async def settled() -> None:
    """Let all go until nobody has anything to do: there are no sockets here."""
    for _ in range(50):
        await asyncio.sleep(0)


def watching(source: Scripted, **patience: float) -> tuple[Gateway, ManualClock, Reader]:
    clock = ManualClock(instant(10**15))
    gateway = Gateway(source, clock=clock, patience=Patience(**patience), chance=lambda: 1.0)  # type: ignore[arg-type]
    return gateway, clock, Reader()


@played
async def test_a_venue_that_always_ends_at_once_is_not_tried_in_a_frenzy() -> None:
    source = Scripted(ends=True)
    gateway, clock, _ = watching(source, silence=1e6, longest_reconnect=3)
    async with gateway:
        await gateway.subscribe([LINE])
        for pause in (0.5, 1.0, 2.0, 3.0, 3.0):
            await settled()
            connected = source.connected
            clock.advance(pause - 0.001)
            await settled()
            assert source.connected == connected
            clock.advance(0.001)
            await settled()
            assert source.connected == connected + 1


class Shut(Scripted):
    """A venue that lets nobody in while it is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.shut = True

    async def connect(self, lines: Collection[Line]) -> None:
        if self.shut:
            raise ProviderTimeoutError("nobody answers")
        await super().connect(lines)


@pytest.mark.parametrize("opens", [True, False])
@played
async def test_what_happened_before_a_venue_let_anybody_in_is_told(opens: bool) -> None:
    source = Shut()
    gateway, clock, reader = watching(source, silence=1e6, reconnect=2)
    begun = clock.now()
    async with gateway:
        reading = asyncio.create_task(reader.read(gateway.events()))
        await gateway.subscribe([LINE])
        await settled()
        source.shut = not opens
        clock.advance(2)
        await settled()
        ended = clock.now()
    await reading
    slack = int(gateway.patience.slack * SECOND)
    (lost,) = reader.of(Lost)
    assert (lost.ts, lost.until) == (begun - slack, ended + slack)
    (over,) = reader.of(Repaired)
    assert (over.ts, over.until, over.error) == (lost.ts, lost.until, ENDED)


@pytest.mark.parametrize("broken", [True, False])
@played
async def test_a_gateway_that_ends_tells_what_it_missed_where_it_had_no_connection(broken: bool) -> None:
    source = Shut()
    source.shut = False
    gateway, clock, reader = watching(source, silence=1e6, reconnect=1e6)
    heard = clock.now()
    async with gateway:
        reading = asyncio.create_task(reader.read(gateway.events()))
        await gateway.subscribe([LINE])
        await settled()
        source.told.put_nowait([Trade("A", heard, 1.0, 1.0)])
        await settled()
        if broken:
            source.shut = source.ends = True
            source.told.put_nowait([])
            await settled()
        clock.advance(100)
        await settled()
    await reading
    told = [(one.ts, one.until) for one in reader.of(Lost)]
    assert told == ([(heard, clock.now() + int(gateway.patience.slack * SECOND))] if broken else [])
    assert [one.error for one in reader.of(Repaired)] == ([ENDED] if broken else [])


@played
async def test_one_that_brought_something_is_tried_again_at_once() -> None:
    source = Scripted()
    gateway, _, _ = watching(source, silence=1e6)
    async with gateway:
        await gateway.subscribe([LINE])
        await settled()
        source.told.put_nowait([Trade("A", 1, 1.0, 1.0)])
        await settled()
        source.ends = True
        source.told.put_nowait([])
        await settled()
        assert source.connected == 2


@played
async def test_a_quiet_market_is_reconnected_to_ever_more_seldom() -> None:
    source = Scripted()
    gateway, clock, reader = watching(source, silence=8, longest_silence=20, reconnect=0)
    async with gateway:
        reading = asyncio.create_task(reader.read(gateway.events()))
        await gateway.subscribe([LINE])
        for _ in range(50):
            await settled()
            clock.advance(2)
        source.told.put_nowait([Trade("A", 1, 1.0, 1.0)])
        for _ in range(7):
            await settled()
            clock.advance(2)
    await reading
    ends = [one.detail for one in reader.of(Status) if one.state == "disconnected"]
    assert ends == [f"nothing came for {seconds} s" for seconds in (8, 16, 20, 20, 8)]


@pytest.mark.parametrize("what", ["connecting", "subscribing"])
@played
async def test_a_venue_that_does_not_acknowledge_is_not_waited_for_for_ever(what: str) -> None:
    source = Scripted(stuck=what == "connecting")
    gateway, clock, reader = watching(source, silence=1e6, connect=30)
    async with gateway:
        reading = asyncio.create_task(reader.read(gateway.events()))
        await gateway.subscribe([LINE])
        await settled()
        if what == "connecting":
            clock.advance(30)
            await settled()
            assert [one.detail for one in reader.of(Status)] == ["scripted: connecting took longer than 30 s"]
        else:
            source.stuck = True
            more = asyncio.create_task(gateway.subscribe([Line("B", "trade")]))
            await settled()
            clock.advance(30)
            with pytest.raises(ProviderTimeoutError, match="subscribing took longer than 30 s"):
                await more
            assert gateway.lines == {LINE}
    await reading


@played
async def test_a_mistake_of_ours_ends_the_gateway_loudly() -> None:
    source = Scripted()
    gateway, _, _ = watching(source, silence=1e6)

    async def used() -> None:
        async with gateway:
            await gateway.subscribe([LINE])
            await settled()
            source.told.put_nowait([None])  # type: ignore[list-item]
            await settled()

    with pytest.raises(TypeError):
        await used()


class Broken(Memory):
    async def publish(self, events: Sequence[Event]) -> None:
        raise ConnectionError("the broker is gone")


class Stuck(Memory):
    async def publish(self, events: Sequence[Event]) -> None:
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("carrier", "error"), [(Broken, ConnectionError), (Stuck, ProviderTimeoutError)], ids=["broken", "stuck"]
)
@played
async def test_a_carrier_that_does_not_take_is_no_secret(carrier: Callable[[], Memory], error: type[Exception]) -> None:
    source, clock = Scripted(), ManualClock(instant(10**15))
    gateway = Gateway(source, clock=clock, carrier=carrier(), patience=Patience(silence=1e6, close=5))

    async def used() -> None:
        async with gateway:
            await gateway.subscribe([LINE])
            await settled()
            asyncio.get_running_loop().call_later(0.01, clock.advance, 5)

    with pytest.raises(error):
        await used()


NOT_LINES: list[tuple[Any, str]] = [
    ("AAPL", "lines is a collection"),
    (LINE, "lines is a collection"),
    (None, "lines is a collection"),
    (["AAPL"], "'AAPL' is not a line"),
    ([("AAPL", "trade")], "is not a line"),
    ([None], "None is not a line"),
    ([["AAPL", "trade"]], "is not a line"),
    ([Line("", "trade")], "is not a line"),
    ([Line(7, "trade")], "is not a line"),  # type: ignore[arg-type]
    ([LINE, Line("AAPL", "trades")], "AAPL: no lines of 'trades'; use trade, quote, bar"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("given", "says"), NOT_LINES, ids=[repr(case[0]) for case in NOT_LINES])
@played
async def test_what_is_not_a_line_is_refused_with_a_word(given: Any, says: str) -> None:
    gateway, _, _ = watching(Scripted(), silence=1e6)
    async with gateway:
        for work in (gateway.subscribe, gateway.unsubscribe):
            with pytest.raises(ConfigError, match=says):
                await work(given)
        assert gateway.lines == frozenset()
        await gateway.subscribe([])  # of nothing, there is nothing to do
        await gateway.unsubscribe([LINE])


NOT_SINCE: list[tuple[Any, str]] = [
    (10**15 + 3600 * 10**6, "3600 s in the future"),
    (datetime(2001, 9, 9), "whole number of microseconds"),
    (datetime(2001, 9, 9, tzinfo=UTC), "whole number of microseconds"),
    ("2001-09-09", "whole number of microseconds"),
    (1e15, "whole number of microseconds"),
    (True, "whole number of microseconds"),
]


@pytest.mark.parametrize(("since", "says"), NOT_SINCE, ids=[repr(case[0]) for case in NOT_SINCE])
@played
async def test_an_instant_that_cannot_be_gone_on_from_is_refused_with_a_word(since: Any, says: str) -> None:
    gateway, _, _ = watching(Scripted(), silence=1e6)
    async with gateway:
        with pytest.raises(ConfigError, match=says):
            await gateway.subscribe([LINE], since=since)
        assert gateway.lines == frozenset()
        await gateway.subscribe([LINE], since=10**15 + 45 * 10**6)  # by the clock of a venue that is ahead


@played
async def test_a_line_that_is_subscribed_to_is_not_gone_on_with_from_before() -> None:
    gateway, _, _ = watching(Scripted(), silence=1e6)
    other = Line("B", "trade")
    async with gateway:
        await gateway.subscribe([LINE])
        with pytest.raises(ConfigError, match="A trade: already subscribed to"):
            await gateway.subscribe([LINE, other], since=10**15 - 1)
        assert gateway.lines == {LINE}
        await gateway.subscribe([LINE, other])


@played
async def test_what_events_cannot_begin_with_is_refused_with_a_word() -> None:
    gateway, _, _ = watching(Scripted(), silence=1e6)
    async with gateway:
        with pytest.raises(ConfigError, match="symbols is a collection, such as"):
            gateway.events("AAPL")
        with pytest.raises(ConfigError, match="or the offset of a batch, not 'newest'"):
            gateway.events(since="newest")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="or the offset of a batch, not 7"):
            gateway.events(since=7)  # type: ignore[arg-type]


def test_a_gateway_of_nothing_is_refused_with_a_word() -> None:
    with pytest.raises(ConfigError, match="'iex' is not a source"):
        Gateway("iex")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a queue of 0 holds no event"):
        Gateway(Scripted(), queue=0)
