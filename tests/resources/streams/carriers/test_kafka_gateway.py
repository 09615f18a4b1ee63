"""A gateway that publishes to Kafka, whose brokers come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from resources.errors import ProviderTimeoutError
from resources.market_data.alpaca import Alpaca
from resources.streams.base import Event, Line, Lost, Trade
from resources.streams.carriers.kafka import Kafka
from resources.streams.carriers.kafka_client import CarrierError, Topic
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.sources.alpaca import AlpacaStream
from tests.resources.streams.carriers.publishing import Scripted, carrier, market_events, stored, trades, until
from tests.resources.streams.gateways import Desk, ManualClock, check_delivery, micros, played, running
from tests.venues import market as venue
from tests.venues.alpaca import KEY, SECRET, AlpacaVenue
from tests.venues.alpaca_stream import AlpacaData
from tests.venues.kafka import KafkaCluster

pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")

A = Line("A", "trade")

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
