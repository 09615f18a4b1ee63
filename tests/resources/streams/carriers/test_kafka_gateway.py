"""A gateway that publishes to Kafka: brokers that come and go, publishers that are killed and follow another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from resources.errors import ProviderTimeoutError
from resources.market_data.alpaca import Alpaca
from resources.market_data.ticks import TRADE_SCHEMA
from resources.streams.base import Event, Kind, Line, Lost, MarketEvent, Repaired, Sequencing, Status, Trade
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import CarrierError, Topic
from resources.streams.carriers.wire import Message, encode, partition_of
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.repair import instant
from resources.streams.sources.alpaca import AlpacaStream
from tests.resources.streams.gateways import Desk, ManualClock, check_delivery, micros, played, running
from tests.venues import market as venue
from tests.venues.alpaca import KEY, SECRET, AlpacaVenue
from tests.venues.alpaca_stream import AlpacaData
from tests.venues.kafka import KafkaCluster

pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")

A = Line("A", "trade")


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster() as made:
        made.create("t", 3)
        yield made


def carrier(cluster: KafkaCluster) -> Kafka:
    return Kafka(Topic(cluster.servers, "t", connect=5.0))


async def stored(cluster: KafkaCluster) -> list[Event]:
    """All that the topic holds, as a reader of another process is told."""
    other = carrier(cluster)
    reader = other.subscribe(since="earliest")
    await other.publish([])  # the place is taken
    await other.close()
    return [event async for batch in reader for event in batch.events]


def trades(*numbers: int, symbol: str = "A") -> list[Event]:
    """As a venue tells them, one a second."""
    return [Trade(symbol, number * 10**6, 1.0, 1.0, trade_id=str(number), sequence=number) for number in numbers]


def market_events(told: Sequence[Event]) -> list[Trade]:
    return [event for event in told if isinstance(event, Trade)]


async def until(ready: Callable[[], object]) -> None:
    """Let others go until this is so."""
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0.001)


# brokers that go away

NOW = venue.instant(2025, 12, 8, 15)
AAPL, MSFT = Line("AAPL", "trade"), Line("MSFT", "trade")


@asynccontextmanager
async def desk(cluster: KafkaCluster, **options: Any) -> AsyncIterator[Desk]:
    """A gateway between Alpaca's streams and Kafka, repaired over REST."""
    market, clock = venue.Market(clock=venue.VenueClock(NOW)), ManualClock(NOW)
    for seed, line in enumerate((AAPL, MSFT)):
        market.add(venue.Listing(line.symbol, "equity"))
        second = timedelta(seconds=1)
        market.set_trades(line.symbol, venue.seeded_trades(seed, venue.every(NOW + second, second, 300)))
    with (
        AlpacaVenue(market) as rest,
        AlpacaData(market, connections=2) as streams,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("ALPACA_API_KEY", KEY)
        patch.setenv("ALPACA_SECRET_KEY", SECRET)
        provider = Alpaca(
            feed="iex", data_url=rest.address, trading_url=rest.address, clock=market.clock.now, sleep=lambda _: None
        )
        gateway = Gateway(
            AlpacaStream("iex", url=streams.url("iex"), clock=clock),
            provider=provider,
            carrier=carrier(cluster),
            clock=clock,
            patience=Patience(silence=1e9, connect=1e9),
            **options,
        )
        async with running(gateway, streams, clock) as made:
            yield made


def hold(desk: Desk, told: Sequence[Event], line: Line) -> None:
    """Each trade of the venue's own log is told once, in order, or was told as lost and came later."""
    owed = []
    for one in desk.streams.log:
        if one.topic == f"trades.{line.symbol}":
            said = one.content
            ts = said["t"].to_unix_nano() // 1000
            owed.append(Trade(said["S"], ts, said["p"], said["s"], "", str(said["i"]), said["i"]))
    lost = [event for event in told if isinstance(event, Lost) and event.symbol == line.symbol]
    check_delivery([event for event in market_events(told) if event.symbol == line.symbol], owed, lost)


async def heard(desk: Desk, line: Line) -> None:
    """Wait until the gateway has all that the venue told so far, published or lost."""
    last = micros(desk.market.clock.now())
    track = desk.gateway._watch.track(line)
    assert track is not None
    await until(lambda: track.ts >= last - 10**6)


@played
async def test_brokers_that_are_away_for_a_while_are_waited_for(cluster: KafkaCluster) -> None:
    async with desk(cluster) as at:
        await at.subscribe([AAPL, MSFT], "trades.AAPL", "trades.MSFT")
        await at.tell(10)
        await at.until(lambda: len(at.reader.of(Trade)) >= 20, "what came before")
        cluster.down()
        await at.tell(30)
        await heard(at, AAPL)
        cluster.up()
        await at.until(lambda: len(at.reader.of(Trade)) >= 80, "what waited")
        assert not at.reader.of(Lost)
    told = await stored(cluster)
    for line in (AAPL, MSFT):
        hold(at, told, line)
        hold(at, at.reader.events, line)


@played
async def test_what_the_queue_has_no_room_for_meanwhile_is_told_and_repaired(cluster: KafkaCluster) -> None:
    async with desk(cluster, queue=20) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        await at.tell(10)
        await at.until(lambda: len(at.reader.of(Trade)) >= 10, "what came before")
        cluster.down()
        for _ in range(8):
            await at.tell(10)
            await heard(at, AAPL)
        assert len(at.reader.of(Trade)) == 10
        cluster.up()
        (lost,) = await at.lost(1)
        assert lost.reason == "overflow"
        assert lost.events is not None
        assert 80 - 2 * 20 <= lost.events <= 80 - 20  # up to a queue was under way, and another waited
        (done,) = await at.repaired(1)
        assert (done.events, done.left, done.error) == (lost.events, 0, "")
        await at.tell(5)
        await at.until(lambda: len(at.reader.of(Trade)) >= 95, "what comes after")
    told = await stored(cluster)
    hold(at, told, AAPL)
    hold(at, at.reader.events, AAPL)


@played
async def test_a_gateway_that_ends_while_brokers_are_away_says_that_events_are_lost(cluster: KafkaCluster) -> None:
    source, clock, told = Scripted(), ManualClock(NOW), list[Event]()
    patience = Patience(silence=1e9, connect=1e9, close=5)
    gateway = Gateway(source, carrier=Kafka(Topic(cluster.servers, "t", connect=0.5)), clock=clock, patience=patience)

    async def read() -> None:
        async for batch in gateway.events():
            told.extend(batch.events)

    async def used() -> None:
        async with gateway:
            tasks.append(asyncio.create_task(read()))
            await gateway.subscribe([A])
            source.told.put_nowait(market_events(trades(1)))
            await until(lambda: market_events(told))
            cluster.down()
            source.told.put_nowait(market_events(trades(2)))
            await until(lambda: gateway.counts["delivered"] == 2)
            tasks.append(asyncio.create_task(give_up()))

    async def give_up() -> None:
        await until(lambda: 5 in clock.asked)
        clock.advance(5)

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(
        ProviderTimeoutError, match="the carrier did not take the last events within 5 s; they are lost"
    ):
        await used()
    with pytest.raises(CarrierError, match="no Kafka broker at"):  # so nobody knows whether it has read them all
        await tasks[0]
    assert market_events(told) == trades(1)
    await tasks[1]


# publishers that follow another


class Scripted:
    """A source that brings what is put into `told`."""

    name = "scripted"
    sequences: Mapping[Kind, Sequencing] = {}

    def __init__(self) -> None:
        self.told: asyncio.Queue[Sequence[MarketEvent]] = asyncio.Queue()

    async def connect(self, lines: Collection[Line]) -> None: ...

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None: ...

    async def receive(self) -> Sequence[MarketEvent]:
        return await self.told.get()

    async def close(self) -> None: ...


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
    await second.publish([Repaired("A", (now - 10) * 10**6, "trade", (now + 1) * 10**6, 2, None)])
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
