"""How a gateway goes about its connections, with a source that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import pytest

from resources.errors import ProviderTimeoutError
from resources.streams.base import Event, Kind, Line, MarketEvent, Sequencing, Status, StreamEndedError, Trade
from resources.streams.carriers.memory import Memory
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
