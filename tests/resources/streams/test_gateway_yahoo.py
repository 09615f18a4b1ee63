"""The gateway on Yahoo's stream, of which there is no history: what is missed is told, and nothing comes twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from resources.errors import NotOfferedError
from resources.market_data.yahoo import Yahoo
from resources.streams.base import Line, Lost, Quote, Repaired, Status, Trade
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.sources.yahoo import REPEAT_SECONDS, YahooStream
from tests.resources.streams.gateways import Desk, ManualClock, micros, played, running
from tests.venues.market import Fault, Listing, Market, VenueClock, every, instant, seeded_trades
from tests.venues.market import Quote as Said
from tests.venues.yahoo_stream import YahooStream as Streams

NOON = instant(2024, 3, 11, 16)
SECOND = timedelta(seconds=1)
AAPL, FOREX = Line("AAPL", "trade"), Line("EURUSD=X", "quote")


@pytest.fixture
def market() -> Market:
    market = Market(VenueClock(NOON))
    market.add(Listing("AAPL", name="Apple Inc."), Listing("EURUSD=X", "forex", venue="CCY"))
    stamps = every(NOON + SECOND, SECOND, 100)
    market.set_trades("AAPL", seeded_trades(1, stamps, price=170))
    market.set_quotes("EURUSD=X", [Said(stamp, 1.0901, 1e6, 1.0903, 1e6) for stamp in stamps])
    return market


@asynccontextmanager
async def desk(market: Market) -> AsyncIterator[Desk]:
    clock = ManualClock(NOON)
    with Streams(market) as streams:
        patience = Patience(silence=1e9, connect=1e9)
        source = YahooStream(url=streams.url, clock=clock)
        async with running(Gateway(source, provider=Yahoo(), clock=clock, patience=patience), streams, clock) as made:
            yield made


@played
async def test_prices_and_quotes_in_our_words(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL, FOREX], "AAPL", "EURUSD=X")
        await at.tell(20)
        await at.until(lambda: len(at.reader.of(Trade)) == len(at.reader.of(Quote)) == 20, "all")
        rows = [(micros(row.ts), row.price, row.size) for row in market.trades["AAPL"][:20]]
        assert [trade[1:4] for trade in at.reader.of(Trade)] == rows
        assert {quote[2:6] for quote in at.reader.of(Quote)} == {(1.0901, 1e6, 1.0903, 1e6)}


@played
async def test_subscriptions_are_repeated_and_change_while_it_runs(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "AAPL")
        await at.gateway.subscribe([FOREX])
        await at.listening("AAPL", "EURUSD=X")
        await at.gateway.unsubscribe([AAPL])
        await at.streams_until(lambda: at.streams.heard[-1][1] == '{"unsubscribe": ["AAPL"]}', "the end of one")
        at.clock.advance(REPEAT_SECONDS)
        await at.streams_until(lambda: at.streams.heard[-1][1] == '{"subscribe": ["EURUSD=X"]}', "the repetition")
        await at.tell(2)
        await at.until(lambda: len(at.reader.of(Quote)) == 2, "quotes")
        assert not at.reader.of(Trade)


@pytest.mark.parametrize("fault", [Fault("dropped"), Fault("closed")], ids=lambda fault: fault.kind)
@played
async def test_what_was_missed_is_told_and_given_up(market: Market, fault: Fault) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "AAPL")
        await at.tell(5)
        await at.until(lambda: len(at.reader.of(Trade)) == 5, "what came before")
        at.fault("ws /", fault)
        at.streams.shut = True
        await at.tell(5)
        at.streams.shut = False
        await at.connected(2)
        await at.listening("AAPL")
        await at.tell(5)
        (repaired,) = await at.repaired(1)
        (lost,) = at.reader.of(Lost)
        assert (lost.ts, lost.until) == (micros(NOON + 5 * SECOND), micros(NOON + 11 * SECOND))
        assert isinstance(repaired, Repaired)
        assert "yahoo has no trades" in repaired.error
        await at.until(lambda: len(at.reader.of(Trade)) == 10, "what came after")
        missed = {micros(row.ts) for row in market.trades["AAPL"][:15]} - {one.ts for one in at.reader.of(Trade)}
        assert all(lost.ts <= ts <= lost.until for ts in missed)


@pytest.mark.parametrize("kind", ["duplicated", "reordered", "burst"])
@played
async def test_doubles_and_disorder(market: Market, kind: str) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "AAPL")
        at.fault("ws /", Fault(kind, count=200))
        await at.tell(5)
        await at.tell(5)
        await at.until(lambda: len(at.reader.of(Trade)) == 10, "all")
        live = [trade.ts for trade in at.reader.of(Trade) if not trade.repaired]
        assert live == sorted(live)
        assert len({trade.ts for trade in at.reader.of(Trade)}) == 10
        assert at.gateway.counts["late"] == {"duplicated": 0, "reordered": 4, "burst": 0}[kind]


@played
async def test_a_message_that_cannot_be_read_is_told(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "AAPL")
        at.streams.undecodable = frozenset({"AAPL"})  # type: ignore[attr-defined]
        await at.tell(1)
        await at.until(lambda: "disconnected" in at.reader.states(), "the end of the connection")
        assert "not laid out as expected" in at.reader.of(Status)[1].detail


@played
async def test_bars_are_refused(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "AAPL")
        with pytest.raises(NotOfferedError, match="yahoo streams no bars"):
            await at.gateway.subscribe([Line("AAPL", "bar")])
