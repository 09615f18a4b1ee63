"""Publishers of a topic that follow another: what they go on from, and that every event is there once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Collection
from datetime import datetime

import polars as pl
import pytest

from resources.market_data.ticks import TRADE_SCHEMA
from resources.streams.base import Event, Line, Lost, Repaired, Status, Trade
from resources.streams.carriers.wire import Message, encode, partition_of
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.repair import instant
from tests.resources.streams.carriers.publishing import Scripted, carrier, market_events, stored, trades, until
from tests.resources.streams.gateways import ManualClock, micros, played
from tests.venues import market as venue
from tests.venues.kafka import KafkaCluster

pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")

A = Line("A", "trade")
NOW = venue.instant(2025, 12, 8, 15)


class Rest:
    """A provider of a trade a second."""

    def trades(self, symbols: Collection[str], start: datetime, end: datetime) -> pl.LazyFrame:
        first, last = -(-micros(start) // 10**6), -(-micros(end) // 10**6)
        rows = [
            {"symbol": symbol, "ts": instant(at * 10**6), "price": 1.0, "size": 1.0, "trade_id": str(at)}
            for symbol in symbols
            for at in range(first, last)
        ]
        return pl.LazyFrame(rows, TRADE_SCHEMA)


PUBLISHER = """
    import asyncio, sys
    from resources.streams.base import Lost, Trade
    from resources.streams.carriers.kafka import Kafka, Topic

    async def main():
        carrier, number = Kafka(Topic(sys.argv[1], "t")), 0
        while True:
            await carrier.publish([
                Trade("A", at * 10**6, 1.0, 1.0, trade_id=str(at), sequence=at) for at in range(number, number + 5)
            ])
            number += 5
            print(number, flush=True)

    asyncio.run(main())
"""


@played
async def test_after_a_publisher_was_killed_every_event_is_in_the_topic_once(cluster: KafkaCluster) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PUBLISHER), cluster.servers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(await asyncio.to_thread(process.stdout.readline)) < 50:
            pass
        process.kill()
    before = [trade.ts // 10**6 for trade in market_events(await stored(cluster))]
    assert before == list(range(len(before)))
    assert len(before) >= 50

    made, source = carrier(cluster), Scripted()
    since = await made.resume()
    assert since == {A: before[-1] * 10**6}
    now = before[-1] + 20  # it takes a while until another begins
    clock = ManualClock(instant(now * 10**6))
    patience = Patience(silence=1e9, connect=1e9, slack=0)
    async with Gateway(source, provider=Rest(), carrier=made, clock=clock, patience=patience) as gateway:  # type: ignore[arg-type]
        batches, told = gateway.events(), []
        for line, ts in since.items():
            await gateway.subscribe([line], since=ts)
        source.told.put_nowait([event for event in trades(now + 1) if isinstance(event, Trade)])
        while not any(isinstance(event, Trade) for event in told):
            told += (await anext(batches)).events
        clock.advance(10)
        while not any(isinstance(event, Repaired) for event in told):
            told += (await anext(batches)).events
        await batches.aclose()
    everything = await stored(cluster)
    assert sorted(trade.ts // 10**6 for trade in market_events(everything)) == list(range(now + 2))
    assert made.counts["already stored"] == 1  # the last one, which REST told again
    assert [trade.repaired for trade in market_events(everything)].count(True) == 20


@played
async def test_a_publisher_of_which_nothing_is_heard_any_more_is_no_secret(cluster: KafkaCluster) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.streams.carriers.kafka.BEAT", 0.05)
        patch.setattr("resources.streams.carriers.kafka_reader.SILENT", 1.0)
        made, other = carrier(cluster), carrier(cluster)
        reader = other.subscribe(["A"])
        await made.publish(trades(1))
        assert (await anext(reader)).events == trades(1)
        next_one, began = asyncio.create_task(anext(reader)), asyncio.get_running_loop().time()
        await until(lambda: next_one.done() or asyncio.get_running_loop().time() - began > 2)
        assert not next_one.done()  # it says nothing, and lives
        assert made._beating is not None
        made._beating.cancel()  # as a process dies
        (stale,) = (await next_one).events
        assert isinstance(stale, Status)
        assert (stale.symbol, stale.state) == ("", "stale")
        assert "nothing came of the publisher of 't' for 1 s" in stale.detail
        again = carrier(cluster)
        await again.publish(trades(2))
        told = list((await anext(reader)).events)
        while not market_events(told):
            told += (await anext(reader)).events
        assert [event.state for event in told if isinstance(event, Status)] == ["flowing"]
        assert market_events(told) == trades(2)
        for each in (made, again, other):
            await each.close()
        await reader.aclose()


@played
async def test_what_was_being_repaired_is_repaired_by_the_next(cluster: KafkaCluster) -> None:
    first = carrier(cluster)
    late = [event._replace(repaired=True) for event in market_events(trades(4))]
    await first.publish([*trades(1, 2, 3), Lost("A", 3 * 10**6, "trade", 6 * 10**6, None, "disconnected"), *trades(7)])
    await first.publish([*late, *trades(8, symbol="B"), Lost("B", 9, "trade", 9, None, ""), Status("", 9, "stale")])
    await first.publish([Repaired("B", 9, "trade", 9, 0, None)])
    await first.close()
    second = carrier(cluster)
    assert await second.resume() == {A: 3 * 10**6, Line("B", "trade"): 8 * 10**6}
    await second.publish([event._replace(repaired=True) for event in market_events(trades(3, 4, 5, 6, 7))])
    await second.publish([Repaired("A", 3 * 10**6, "trade", 7 * 10**6, 2, None), *trades(7, 8)])
    await second.close()
    told = [trade.ts // 10**6 for trade in market_events(await stored(cluster)) if trade.symbol == "A"]
    assert told == [1, 2, 3, 7, 4, 5, 6, 7, 8]  # the last 7 came after the repair was over: no earlier session told it
    assert second.counts == {"stored": 5, "already stored": 3}


@played
async def test_what_a_gateway_that_ended_had_not_repaired_is_asked_for_by_the_next(cluster: KafkaCluster) -> None:
    """It ended in good order: it says of its open gap that it gives it up, since it ends."""
    source, clock = Scripted(), ManualClock(NOW)
    now = clock.now() // 10**6
    gone: list[Event] = [Lost("B", 1, "trade", 5, None, "x"), Repaired("B", 1, "trade", 5, 0, None, "REST refuses")]
    async with Gateway(source, provider=Rest(), carrier=(made := carrier(cluster)), clock=clock) as gateway:  # type: ignore[arg-type]
        batches, told = gateway.events(), []
        await gateway.subscribe([A], since=(now - 10) * 10**6)
        source.told.put_nowait(market_events(trades(now + 1)))
        while not market_events(told):
            told += (await anext(batches)).events
        await made.publish(gone)
        await batches.aclose()
    (given_up,) = [event for event in await stored(cluster) if isinstance(event, Repaired) and event.symbol == "A"]
    assert given_up.error == "the gateway has ended"
    second = carrier(cluster)
    assert await second.resume() == {A: (now - 10) * 10**6, Line("B", "trade"): 1}
    await second.publish([*(row._replace(repaired=True) for row in market_events(trades(now, now + 1)))])
    await second.publish([Repaired("A", (now - 10) * 10**6, "trade", given_up.until, 2, None)])
    await second.close()
    assert [row.ts // 10**6 for row in market_events(await stored(cluster))] == [now + 1, now]
    third = carrier(cluster)
    assert await third.resume() == {A: (now + 1) * 10**6, Line("B", "trade"): 1}
    await third.close()


@played
async def test_readers_drop_what_a_publisher_sends_after_another_took_over(cluster: KafkaCluster) -> None:
    old, new = carrier(cluster), carrier(cluster)
    reader = new.subscribe()
    await old.publish(trades(1))
    assert await new.resume() == {A: 10**6}
    await old.publish(trades(2))
    await new.publish(trades(3))
    await new.close()
    assert market_events([event async for batch in reader for event in batch.events]) == trades(1, 3)
    assert new.counts["of a session that is over"] == 1
    await old.close()


@played
async def test_a_publisher_whose_clock_is_behind_takes_over_too(cluster: KafkaCluster) -> None:
    from confluent_kafka import Producer

    ahead = Message(10**18, 0, 0, 10**18, 3, trades(1))
    producer = Producer({"bootstrap.servers": cluster.servers})
    producer.produce("t", encode(ahead), partition=partition_of("A", 3))
    assert producer.flush(5) == 0
    new = carrier(cluster)
    assert await new.resume() == {A: 10**6}
    await new.publish(trades(2))
    await new.close()
    assert market_events(await stored(cluster)) == trades(1, 2)


@pytest.mark.parametrize("symbol", ["A", "B"])
@played
async def test_a_publisher_whose_clock_is_behind_is_heard_without_resuming_too(
    cluster: KafkaCluster, symbol: str
) -> None:
    """The former one was ahead, and what stands last in the topic is of one that was before it."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": cluster.servers})
    for session, number in ((10**18, 0), (10**18, 1), (5, 9)):
        said = Message(session, number, 0, 10**18, 3, trades(number, symbol=symbol))
        producer.produce("t", encode(said), partition=partition_of(symbol, 3))
    assert producer.flush(5) == 0
    new, other = carrier(cluster), carrier(cluster)
    reader = other.subscribe(since="earliest")  # one that has heard the former
    told = (await anext(reader)).events
    await new.publish(trades(2))
    await new.publish(trades(3, symbol="B"))
    await new.close()
    await other.close()
    told = [*told, *[event async for batch in reader for event in batch.events]]
    assert sorted(market_events(told), key=lambda trade: trade.ts) == [
        *trades(0, 1, symbol=symbol), *trades(2), *trades(3, symbol="B"),
    ]  # fmt: skip
    assert other.counts == {"of a session that is over": 1}


@played
async def test_what_a_recorder_lacks_is_asked_for_and_stands_in_the_topic_once(cluster: KafkaCluster) -> None:
    """The recorder had come less far than the topic; only what the topic lacks is published again."""
    first = carrier(cluster)
    for number in range(1, 9):
        await first.publish(trades(number))
    await first.close()
    second, b = carrier(cluster), Line("B", "trade")
    asked = {A: 3 * 10**6, b: 2 * 10**6}
    assert await second.resume(asked, owed=10**6, back=1) == asked  # which lies before the last message
    await second.publish([row._replace(repaired=True) for row in market_events(trades(3, 4, 5, 6, 7, 8, 9))])
    await second.publish([Repaired("A", 3 * 10**6, "trade", 9 * 10**6, 1, None)])
    await second.close()
    assert [row.ts // 10**6 for row in market_events(await stored(cluster))] == [*range(1, 10)]
    third = carrier(cluster)
    assert await third.resume(asked, owed=5 * 10**6) == {A: 5 * 10**6, b: 5 * 10**6}
    assert await third.resume({A: 20 * 10**6}) == {A: 9 * 10**6}
    await third.close()


@played
async def test_a_gap_that_is_open_for_long_is_told_again_so_that_it_is_not_overlooked(cluster: KafkaCluster) -> None:
    first = carrier(cluster)
    gaps: list[Event] = [
        Lost("A", 1, "trade", 3, None, "x"),
        Lost("A", 1, "trade", 5, None, "x"),
        Lost("A", 20, "trade", 30, 2, "y"),
    ]
    over = Repaired("A", 20, "trade", 30, 2, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.streams.carriers.kafka_writer.REPEAT", 4)
        await first.publish(gaps)
        for number in range(1, 10):
            await first.publish([over] if number == 5 else trades(number))
    await first.close()
    assert [event for event in await stored(cluster) if isinstance(event, Lost)] == [*gaps, *gaps[1:], gaps[1]]
    second = carrier(cluster)
    assert await second.resume(back=4) == {A: 1}
    await second.publish([row._replace(repaired=True) for row in market_events(trades(1, 2, 3))])
    assert second.counts == {"already stored": 3, "stored": 0}  # which lie before the gap was told again
    await second.close()


@played
async def test_only_so_many_messages_are_looked_at(cluster: KafkaCluster) -> None:
    first = carrier(cluster)
    for number in range(5):
        await first.publish(trades(number) if number else trades(0, symbol="A2"))
    await first.close()
    assert partition_of("A2", 3) != partition_of("A", 3)
    second = carrier(cluster)
    since = await second.resume(back=2)  # the message with which it begins, and one more
    assert since == {A: 4 * 10**6, Line("A2", "trade"): 0}
    await second.close()
