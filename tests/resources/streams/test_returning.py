"""Lines that are unsubscribed and subscribed to again: nothing that the gateway told comes a second time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from resources.streams.base import Line, Lost, Repaired, Sequencing, Trade
from resources.streams.clock import SECOND
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.repair import instant
from resources.streams.track import REMEMBERED
from resources.streams.watch import Watch
from tests.resources.streams.gateways import ManualClock, Reader, played
from tests.resources.streams.test_gateway import LINE, Scripted, Shut, settled
from tests.resources.streams.test_watch import NOW, shown, trade, watching

SEQUENCINGS: list[Sequencing | None] = [None, "consecutive", "rising"]
OTHER = Line("B", "trade")


def row(number: int) -> Trade:
    """One a second, numbered by its second."""
    return trade(NOW + number * SECOND, number)


def back(sequencing: Sequencing | None, *numbers: int, at: int) -> Watch:
    """A watch that told these, left the line, and has it again since second `at`."""
    watch = watching(sequencing)
    for number in numbers:
        watch.admit([row(number)], NOW + number * SECOND, 9)
    watch.remove([LINE])
    watch.add([LINE], NOW + at * SECOND)
    return watch


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_a_break_after_a_return_brings_nothing_that_was_told_before(sequencing: Sequencing | None) -> None:
    watch = back(sequencing, 1, 2, 3, at=4)
    (lost,) = watch.connected(NOW + 6 * SECOND, slack=5 * SECOND, margin=0)
    assert lost.ts == NOW + 3 * SECOND, "the newest that was told"
    (gap,) = watch.found
    assert [number for number in range(9) if watch.lacks(gap, row(number))] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_since_an_instant_before_it_was_left_brings_what_was_not_told(sequencing: Sequencing | None) -> None:
    watch = back(sequencing, 1, 2, 3, at=6)
    (lost,) = watch.owe([LINE], NOW + SECOND, NOW + 7 * SECOND, SECOND)
    assert (lost.ts, lost.until) == (NOW + 3 * SECOND, NOW + 8 * SECOND)
    (gap,) = watch.found
    assert [number for number in range(9) if watch.lacks(gap, row(number))] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_a_venue_tells_again_to_who_returns_is_known(sequencing: Sequencing | None) -> None:
    watch = back(sequencing, 1, 2, 3, at=4)
    for _ in range(2):  # and to who never heard anything meanwhile
        watch.remove([LINE])
        watch.add([LINE], NOW + 5 * SECOND)
    assert watch.admit([row(2), row(3)], NOW + 5 * SECOND, 9) == []
    assert shown(watch.admit([row(6), row(7)], NOW + 7 * SECOND, 9)) == [6, 7], "of the time between nothing is owed"
    assert watch.found == []


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_rest_told_before_it_was_left_does_not_come_again(sequencing: Sequencing | None) -> None:
    watch = watching(sequencing)
    watch.admit([row(1)], NOW + SECOND, 9)
    watch.connected(NOW + 4 * SECOND, slack=SECOND, margin=0)
    (gap,), watch.found = watch.found, []
    assert [number for number in range(5) if watch.lacks(gap, row(number))] == [2, 3, 4]
    watch.remove([LINE])
    watch.add([LINE], NOW + 5 * SECOND)
    watch.owe([LINE], NOW, NOW + 6 * SECOND, SECOND)
    (gap,) = watch.found
    assert [number for number in range(8) if watch.lacks(gap, row(number))] == [5, 6, 7]


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_rest_told_of_a_line_that_told_nothing_itself_does_not_come_again(sequencing: Sequencing | None) -> None:
    watch = Watch({"trade": sequencing} if sequencing else {})
    watch.add([LINE], NOW + 4 * SECOND)
    watch.owe([LINE], NOW, NOW + 4 * SECOND, SECOND)
    (gap,), watch.found = watch.found, []
    assert [number for number in range(1, 5) if watch.lacks(gap, row(number))] == [*range(1, 5)]
    watch.remove([LINE])
    watch.add([LINE], NOW + 6 * SECOND)
    watch.owe([LINE], NOW, NOW + 6 * SECOND, SECOND)
    (gap,) = watch.found
    assert [number for number in range(8) if watch.lacks(gap, row(number))] == [5, 6, 7]


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_of_very_many_that_were_told_none_comes_again(sequencing: Sequencing | None) -> None:
    """More than are remembered: the interval that is asked for begins where the last was told."""
    watch = watching(sequencing)
    many = [trade(NOW + number, number) for number in range(1, 5 * REMEMBERED)]
    watch.admit(many, NOW + len(many), len(many))
    watch.remove([LINE])
    watch.add([LINE], NOW + SECOND)
    watch.owe([LINE], NOW, NOW + SECOND, SECOND)
    (gap,) = watch.found
    assert not [one for one in many if watch.lacks(gap, one)]
    assert watch.lacks(gap, trade(many[-1].ts + 1, many[-1].sequence + 1))


def test_numbers_that_a_venue_counts_anew_while_nobody_follows_are_new() -> None:
    watch = back("consecutive", 70, 71, at=200)
    assert shown(watch.admit([trade(NOW + 200 * SECOND, 1)], NOW + 200 * SECOND, 9)) == [1]


@asynccontextmanager
async def gateway(source: Scripted) -> AsyncIterator[tuple[Gateway, ManualClock, Reader]]:
    clock, reader = ManualClock(instant(NOW)), Reader()
    made = Gateway(source, clock=clock, patience=Patience(silence=1e6, reconnect=2), chance=lambda: 1.0)
    async with made:
        reading = asyncio.create_task(reader.read(made.events()))
        yield made, clock, reader
    await reading


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "a while later"])
@played
async def test_a_line_that_returns_owes_nothing_of_before(at_once: bool) -> None:
    source = Scripted()
    async with gateway(source) as (made, clock, reader):
        await made.subscribe([LINE])
        await settled()
        source.told.put_nowait([row(0)])
        await settled()
        await made.unsubscribe([LINE])
        if not at_once:
            await settled()
        await made.subscribe([LINE])
        await settled()
        clock.advance(2)
        await settled()
        assert source.connected == 2
    assert reader.of(Lost) == []


@pytest.mark.parametrize("shut", [True, False], ids=["away", "there"])
@played
async def test_who_leaves_a_venue_that_is_away_owes_nothing_to_who_comes_later(shut: bool) -> None:
    """What another line missed was its own; what is missed from the subscription on is told."""
    source = Shut()
    async with gateway(source) as (made, clock, reader):
        await made.subscribe([LINE])
        await settled()
        await made.unsubscribe([LINE])
        source.shut = shut
        clock.advance(2)
        await settled()
        await made.subscribe([OTHER])
        await settled()
        begun, source.shut = clock.now(), False
        clock.advance(10)
        await settled()
        assert source.connected == 1
    assert [(one.symbol, one.ts) for one in reader.of(Lost)] == ([("B", begun - SECOND)] if shut else [])
    assert [one.symbol for one in reader.of(Repaired)] == (["B"] if shut else [])
