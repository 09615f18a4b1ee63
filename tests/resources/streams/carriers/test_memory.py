"""The carrier within one process: who reads what, from where, and what becomes of a slow reader."""

from __future__ import annotations

from typing import Any

import pytest

from resources.errors import ConfigError
from resources.streams.base import Event, Lost, OffsetGoneError, Repaired, Status, Trade
from resources.streams.carriers.memory import Memory, SlowReaderError
from resources.streams.repair import Mend
from tests.resources.streams.gateways import played


def trades(*numbers: int, symbol: str = "A") -> list[Event]:
    return [Trade(symbol, number, 1.0, 1.0, sequence=number) for number in numbers]


async def read(reader: Any, count: int) -> list[int]:
    """The numbers of the next so many trades, none of a batch left over."""
    got: list[int] = []
    while len(got) < count:
        got += [event.sequence for event in (await anext(reader)).events]
    assert len(got) == count
    return got


@played
async def test_each_reader_has_all_in_order_from_where_it_began() -> None:
    carrier = Memory()
    first = carrier.subscribe()
    await carrier.publish(trades(1, 2))
    second = carrier.subscribe()
    await carrier.publish(trades(3))
    assert await read(first, 3) == [1, 2, 3]
    assert await read(second, 1) == [3]
    assert await read(carrier.subscribe(since="earliest"), 3) == [1, 2, 3]


@played
async def test_a_reader_goes_on_where_another_stopped() -> None:
    carrier = Memory()
    reader = carrier.subscribe()
    for number in range(1, 7):
        await carrier.publish(trades(number))
    batch = await anext(reader)
    while batch.events[0].sequence < 3:  # type: ignore[union-attr]
        batch = await anext(reader)
    assert batch.offset == {0: 3}
    assert await read(carrier.subscribe(since=batch.offset), 3) == [4, 5, 6]
    await carrier.publish(trades(7, 8, 9))
    assert await read(carrier.subscribe(since={0: 7}), 2) == [8, 9]  # in the middle of a batch


@pytest.mark.parametrize("offset", [0, 1, 5])
@played
async def test_a_place_that_is_not_kept_is_refused(offset: int) -> None:
    carrier = Memory(capacity=2)
    for number in range(4):
        await carrier.publish(trades(number))
    with pytest.raises(OffsetGoneError, match=f"offset {offset} is not kept; there are 2 to 4"):
        carrier.subscribe(since={0: offset})


@pytest.mark.parametrize("offset", [{}, {1: 0}])
def test_an_offset_of_another_carrier_is_refused(offset: dict[int, int]) -> None:
    with pytest.raises(ConfigError, match="is of no batch of this carrier: it has partition 0"):
        Memory().subscribe(since=offset)


@played
async def test_of_some_symbols_and_what_concerns_all() -> None:
    carrier = Memory()
    reader = carrier.subscribe(["B"])
    said = Status("", 1, "connected")
    await carrier.publish([*trades(1), *trades(2, symbol="B"), said])
    await carrier.publish(trades(3))
    await carrier.publish(trades(4, symbol="B"))
    assert (await anext(reader)).events == [*trades(2, symbol="B"), said]
    assert (await anext(reader)).events == trades(4, symbol="B")


@played
async def test_a_closed_carrier_gives_what_it_holds_and_ends() -> None:
    carrier = Memory()
    reader = carrier.subscribe()
    await carrier.publish(trades(1))
    await carrier.close()
    assert [batch.events async for batch in reader] == [trades(1)]


@played
async def test_what_a_slow_reader_missed_is_told_by_line_and_repaired_for_him() -> None:
    carrier, asked = Memory(capacity=4), list[Mend]()
    carrier.repair = asked.append
    slow, quick = carrier.subscribe(["A"]), carrier.subscribe()
    told = Lost("A", 1, "quote", 2, 5, "disconnected")
    for number in range(1, 7):
        await carrier.publish([*trades(number), *trades(number, symbol="B"), *([told] if number == 2 else [])])
        await anext(quick)
    lost = Lost("A", 1, "trade", 4, 4, "overflow")
    assert (await anext(slow)).events == [told, lost]  # what is no market event is kept whole
    assert await read(slow, 2) == [5, 6]
    (mend,) = asked
    rows = trades(1, 2, 3, 4, 5)
    missing = [row for row in rows if mend.lacks(row)]  # type: ignore[arg-type]
    assert missing == rows[:4]
    assert not [row for row in rows if mend.lacks(row)]  # type: ignore[arg-type]
    done = Repaired("A", 1, "trade", 4, 4, 0)
    await mend.tell([*missing, done])
    assert (await anext(slow)).events == [*missing, done]


@played
async def test_one_who_never_reads_is_given_up_loudly_and_holds_no_memory() -> None:
    carrier = Memory(capacity=5)
    stuck = carrier.subscribe()
    for number in range(1, 20):
        await carrier.publish(trades(number))
    with pytest.raises(SlowReaderError, match="has missed 6 events"):
        await anext(stuck)
    assert not carrier._readers


@played
async def test_one_far_behind_reads_all_that_is_kept() -> None:
    carrier = Memory(capacity=1000)
    slow, told = carrier.subscribe(since="earliest"), []
    for number in range(1500):
        await carrier.publish(trades(number))
    batch = await anext(slow)
    assert isinstance(batch.events[0], Lost)
    for _ in range(500):
        told += [event.sequence for event in (await anext(slow)).events]
    for number in range(1500, 1800):  # what goes meanwhile, he has read
        await carrier.publish(trades(number))
    await carrier.close()
    told += [event.sequence async for each in slow for event in each.events]
    assert told == list(range(500, 1800))


@played
async def test_what_was_missed_of_a_repair_is_in_the_interval_too() -> None:
    carrier = Memory(capacity=3)
    slow = carrier.subscribe()
    late = Trade("A", 2, 1.0, 1.0, sequence=2, repaired=True)
    for events in (trades(5), [late], trades(6), trades(7, 8, 9)):
        await carrier.publish(events)
    assert (await anext(slow)).events == [Lost("A", 2, "trade", 6, 3, "overflow")]
