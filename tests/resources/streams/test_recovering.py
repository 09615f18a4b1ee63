"""Intervals of before that are recovered while a venue whose clock is behind still tells the end of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from resources.errors import ConfigError
from resources.streams.base import ENDED, Lost, Repaired, Sequencing, Trade
from resources.streams.clock import SECOND
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.repair import instant
from resources.streams.track import FARTHEST, REMEMBERED, Gap
from resources.streams.watch import Watch
from tests.resources.streams.gateways import ManualClock, Reader, played
from tests.resources.streams.test_gateway import LINE, Scripted, Shut, settled
from tests.resources.streams.test_repair import Rest
from tests.resources.streams.test_returning import SEQUENCINGS, row
from tests.resources.streams.test_watch import NOW, shown, trade

LOST = Lost("A", NOW, "trade", NOW + 9 * SECOND, None, "disconnected")


def recovering(sequencing: Sequencing | None, *before: int) -> tuple[Watch, Gap]:
    """A watch since second 10 of a line that misses seconds 0 to 9, and the gap; by then the stream told `before`."""
    watch = Watch({"trade": sequencing} if sequencing else {})
    watch.add([LINE], NOW + 10 * SECOND)
    for number in before:
        watch.admit([row(number)], NOW + 10 * SECOND, 9)
    watch.recover([LOST], NOW + 10 * SECOND)
    (gap,), watch.found = watch.found, []
    return watch, gap


@pytest.mark.parametrize("early", [True, False], ids=["before it was recovered", "after"])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_the_stream_told_of_it_is_not_missing(sequencing: Sequencing | None, early: bool) -> None:
    watch, gap = recovering(sequencing, *([7, 8] if early else []))
    if not early:
        assert shown(watch.admit([row(7), row(8)], NOW + 11 * SECOND, 9)) == [7, 8]
    ahead = [] if sequencing == "consecutive" else [9]  # numbers say that the stream will tell it
    assert [number for number in range(12) if watch.lacks(gap, row(number))] == [*range(7), *ahead]
    assert watch.admit([row(8)], NOW + 12 * SECOND, 9) == []
    assert shown(watch.admit([row(10)], NOW + 12 * SECOND, 9))[-1] == 10


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_rest_told_of_it_the_stream_does_not_tell_again(sequencing: Sequencing | None) -> None:
    watch, gap = recovering(sequencing)
    assert [number for number in range(9) if watch.lacks(gap, row(number))] == [*range(9)]
    watch.done(gap)
    assert watch.admit([row(7)], NOW + 12 * SECOND, 9) == []
    assert shown(watch.admit([row(8), row(9), row(10)], NOW + 12 * SECOND, 9)) == [9, 10]
    assert watch.admit([row(8)], NOW + 12 * SECOND, 9) == []
    assert watch.found == []


@pytest.mark.parametrize("first", ["recovered", "owed"])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_it_and_what_is_owed_tell_each_event_once(sequencing: Sequencing | None, first: str) -> None:
    """A `since` from before its end, of a run that began hours later."""
    late = NOW + 2 * FARTHEST
    watch = Watch({"trade": sequencing} if sequencing else {})
    watch.add([LINE], late)
    watch.recover([LOST], late)
    watch.owe([LINE], NOW + 6 * SECOND, late, SECOND)
    watch.admit([trade(late, 99)], late, 9)
    gaps, watch.found = {"recovered": watch.found[0], "owed": watch.found[1]}, []
    told = []
    for name in sorted(gaps, key=lambda name: name != first):
        told += [number for number in range(99) if watch.lacks(gaps[name], row(number))]
        watch.done(gaps[name])
    assert sorted(told) == [*range(99)]


@pytest.mark.parametrize("sequencing", [None, "rising"])
def test_what_was_forgotten_of_the_stream_does_not_come_again(sequencing: Sequencing | None) -> None:
    watch = Watch({"trade": sequencing} if sequencing else {})
    watch.add([LINE], NOW)
    many = [trade(NOW + 100 + number, 100 + number) for number in range(5 * REMEMBERED)]
    watch.admit(many, NOW + SECOND, len(many))
    watch.recover([LOST], NOW + SECOND)
    (gap,) = watch.found
    before = [trade(NOW + number, number) for number in range(1, 100)]
    assert [one for one in [*before, *many] if watch.lacks(gap, one)] == before


def test_numbers_of_before_that_were_counted_otherwise_are_missing() -> None:
    watch = Watch({"trade": "consecutive"})
    watch.add([LINE], NOW + 200 * SECOND)
    watch.recover([LOST], NOW + 200 * SECOND)
    watch.admit([trade(NOW + 200 * SECOND, 1)], NOW + 200 * SECOND, 9)
    (gap,) = watch.found
    assert [number for number in range(70, 80) if watch.lacks(gap, trade(NOW + SECOND, number))] == [*range(70, 80)]


@asynccontextmanager
async def gateway(source: Scripted, rest: Rest) -> AsyncIterator[tuple[Gateway, ManualClock, Reader]]:
    clock, reader = ManualClock(instant(NOW + 10 * SECOND)), Reader()
    patience = Patience(silence=1e6, reconnect=20, slack=1, repair_delay=2)
    made = Gateway(source, provider=rest, clock=clock, patience=patience, chance=lambda: 1.0)  # type: ignore[arg-type]
    async with made:
        reading = asyncio.create_task(reader.read(made.events()))
        yield made, clock, reader
    await reading


async def asked(rest: Rest, reader: Reader, repairs: int) -> int:
    await reader.until(lambda: len(reader.of(Repaired)) == repairs, f"{repairs} repairs")
    return len(rest.asked)


@played
async def test_what_ended_lately_is_asked_for_when_the_stream_has_begun_to_tell_what_follows() -> None:
    """A venue whose clock is behind has not all of it before."""
    source, rest = Shut(), Rest()
    async with gateway(source, rest) as (made, clock, reader):
        await made.subscribe([LINE])
        long_ago = Lost("A", NOW - FARTHEST - SECOND, "trade", NOW - FARTHEST, None, "disconnected")
        made.recover([long_ago, LOST])
        await settled()
        assert await asked(rest, reader, 1) == 1, "what ended long ago is asked for at once"
        assert len(made.missing()) == 1
        source.shut = False
        clock.advance(20)
        await settled()
        assert source.connected == 1
        clock.advance(2.9)
        await settled()
        assert len(rest.asked) == 1
        clock.advance(0.1)
        assert await asked(rest, reader, 2) == 2
        assert not made.missing()
        assert [one.error for one in reader.of(Repaired)] == ["", ""]
        assert {trade.sequence for trade in reader.of(Trade)} >= {*range(1000, 1010)}


@played
async def test_a_connection_that_ends_first_is_waited_for_again() -> None:
    source, rest = Scripted(), Rest()
    async with gateway(source, rest) as (made, clock, reader):
        await made.subscribe([LINE])
        await settled()
        made.recover([LOST])
        clock.advance(1)
        source.ends = True
        source.told.put_nowait([])
        await settled()
        clock.advance(10)
        await settled()
        assert rest.asked == []
    assert [one.error for one in reader.of(Repaired) if one.ts == LOST.ts] == [ENDED]


@played
async def test_of_a_line_that_is_not_subscribed_to_nothing_is_recovered() -> None:
    async with gateway(Scripted(), Rest()) as (made, _, reader):
        await made.subscribe([LINE])
        with pytest.raises(ConfigError, match="B trade: not subscribed to"):
            made.recover([LOST, LOST._replace(symbol="B")])
        assert made.missing() == []
    assert reader.of(Lost) == []
