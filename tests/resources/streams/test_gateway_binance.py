"""The gateway on Binance's streams and REST: each fault of the venue, held against the venue's log, by number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import pytest

from resources.errors import NotOfferedError
from resources.market_data.binance import Binance
from resources.streams.aggregation import BarMaker
from resources.streams.base import Bar, Line, Lost, Quote, Status, Trade
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.sources.binance import BinanceStream
from tests.resources.streams.gateways import (
    Desk,
    ManualClock,
    bars_of,
    check_delivery,
    last_revisions,
    micros,
    played,
    provider_bars,
    running,
)
from tests.venues.binance import BinanceVenue
from tests.venues.binance_stream import BinanceStream as Streams
from tests.venues.market import Fault, Listing, Market, VenueClock, every, instant, seeded_quotes, seeded_trades

NOW = instant(2024, 3, 8, 15)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BTC, ETH, QUOTES = Line("BTCUSDT", "trade"), Line("ETHUSDT", "trade"), Line("BTCUSDT", "quote")
TOPICS = "btcusdt@aggTrade", "ethusdt@aggTrade"


@pytest.fixture
def market(monkeypatch: pytest.MonkeyPatch) -> Market:
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    market = Market(clock=VenueClock(NOW))
    stamps = every(NOW + SECOND, SECOND, 300)
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        market.add(Listing(symbol, "crypto", currency="USDT"))
        market.set_trades(symbol, seeded_trades(seed, stamps, lot=0.001))
        market.set_quotes(symbol, seeded_quotes(seed, stamps, lot=0.001))
        for timeframe, length in (("1m", MINUTE), ("1h", 60 * MINUTE)):
            market.set_bars(symbol, timeframe, bars_of(market.trades[symbol], length))
    return market


@asynccontextmanager
async def desk(market: Market, *, skew: float = 0.0, **options: Any) -> AsyncIterator[Desk]:
    clock = ManualClock(NOW)
    market.clock.skew_seconds = skew
    with BinanceVenue(market) as rest, Streams(market) as streams:
        provider = Binance(client=rest.client(), timeout_seconds=5.0, threads=1, sleep=lambda _: None)
        source = BinanceStream(url=f"{streams.address}/", clock=clock)
        options = {"patience": Patience(silence=1e9, connect=1e9), "chance": lambda: 1.0} | options
        async with running(Gateway(source, provider=provider, clock=clock, **options), streams, clock) as made:
            made.provider = provider
            yield made


async def hold(desk: Desk, *lines: Line) -> None:
    """All that the venue told of the lines is delivered, each once."""
    for line in lines:
        topic = f"{line.symbol.lower()}@aggTrade"
        owed = list(dict.fromkeys(event(one.content) for one in desk.streams.log if one.topic == topic))
        await desk.until(lambda: len(desk.reader.rows(line, Trade)) >= len(owed), f"all {len(owed)} of {line}")  # noqa: B023
        gaps = [gap for gap in desk.reader.of(Lost) if gap.symbol == line.symbol and gap.kind == line.kind]
        check_delivery(desk.reader.rows(line, Trade), owed, gaps)


def event(said: dict[str, Any]) -> Trade:
    side = "sell" if said["m"] else "buy"
    return Trade(said["s"], said["T"] * 1000, float(said["p"]), float(said["q"]), side, str(said["a"]), said["a"])


@played
async def test_trades_quotes_and_bars_in_our_words(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([BTC, QUOTES, Line("BTCUSDT", "bar")], TOPICS[0], "btcusdt@bookTicker", "btcusdt@kline_1m")
        await at.tell(60)
        await at.until(lambda: len(at.reader.of(Quote)) == 60 and at.reader.of(Bar), "a minute")
        await hold(at, BTC)
        quotes = [quote[2:6] for quote in at.reader.of(Quote)]
        assert quotes == [row[1:] for row in market.quotes["BTCUSDT"][:60]]
        assert {quote.ts for quote in at.reader.of(Quote)} == {
            micros(NOW + MINUTE)
        }  # when they came: they have no time
        (bar,) = at.reader.of(Bar)
        assert bar[1:7] == (micros(NOW), *market.bars["BTCUSDT", "1m"][0][1:])


@played
async def test_symbols_come_and_go_by_another_connection_and_nothing_is_missed(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([BTC], TOPICS[0])
        await at.tell(3)
        await at.gateway.subscribe([ETH])
        await at.listening(*TOPICS)
        await at.tell(3)
        await at.until(lambda: len(at.reader.of(Trade)) == 9, "both")
        await at.gateway.unsubscribe([BTC])
        await at.listening(TOPICS[1])
        await at.tell(3)
        await at.until(lambda: len(at.reader.of(Trade)) == 12, "the one that is left")
        told = [trade.sequence for trade in at.reader.rows(BTC, Trade)]
        assert told == [1, 2, 3, 4, 5, 6]
        assert [trade.sequence for trade in at.reader.rows(ETH, Trade)] == [4, 5, 6, 7, 8, 9]
        assert not at.reader.of(Lost)
        assert at.reader.states() == ["connected"]


@pytest.mark.parametrize("fault", [Fault("dropped"), Fault("closed")], ids=lambda fault: fault.kind)
@played
async def test_what_was_told_while_it_was_away_is_counted_by_number_and_repaired(market: Market, fault: Fault) -> None:
    async with desk(market) as at:
        await at.subscribe([BTC, ETH], *TOPICS)
        await at.tell(20)
        await at.until(lambda: len(at.reader.of(Trade)) == 40, "what came before")
        at.streams.shut = True
        at.fault("ws /stream", fault)
        await at.tell(20)
        await at.tell(10)
        at.streams.shut = False
        await at.connected(2)
        await at.listening(*TOPICS)
        await at.tell(1)
        repaired = await at.repaired(2)
        await hold(at, BTC, ETH)
        assert {one.left for one in repaired} <= {0, None}  # known where the stream was quicker than REST
        assert not [one for one in repaired if one.error]


@pytest.mark.parametrize("skew", [-45.0, 45.0])
@played
async def test_a_venue_whose_clock_is_off(market: Market, skew: float) -> None:
    async with desk(market, skew=skew) as at:
        await at.subscribe([BTC], TOPICS[0])
        await at.tell(50)
        await at.until(lambda: len(at.reader.of(Trade)) == min(50, 50 + skew), "what came before")
        at.streams.shut = True
        at.fault("ws /stream", Fault("dropped"))
        await at.tell(20)
        at.streams.shut = False
        await at.connected(2)
        await at.listening(TOPICS[0])
        await at.tell(20)
        await at.repaired(1, 60)
        await hold(at, BTC)


@pytest.mark.parametrize("kind", ["duplicated", "burst"])
@played
async def test_doubles_are_dropped(market: Market, kind: str) -> None:
    async with desk(market) as at:
        await at.subscribe([BTC, QUOTES], TOPICS[0], "btcusdt@bookTicker")
        at.fault("ws /stream", Fault(kind, count=900))  # nine times what python-binance's own queue holds
        await at.tell(3)
        await at.tell(3)
        await at.until(lambda: len(at.reader.of(Quote)) == 6, "quotes")
        await hold(at, BTC)
        assert at.gateway.counts["duplicates"] == {"duplicated": 6, "burst": 6 * 899}[kind]
        assert not at.reader.of(Lost)


@played
async def test_disorder_across_messages_is_a_gap_that_fills_itself(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([BTC], TOPICS[0])
        await at.tell(2)
        at.fault("ws /stream", Fault("reordered"))
        await at.tell(5)  # 7 6 5 4 3
        repaired = await at.repaired(1)
        await hold(at, BTC)
        assert [(gap.events, gap.reason) for gap in at.reader.of(Lost)] == [(4, "sequence")]
        assert [(one.events, one.left) for one in repaired] == [(4, 0)]
        assert at.gateway.counts["late"] == 4


@played
async def test_a_hole_in_the_numbers_is_told_at_once_and_repaired(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([BTC], TOPICS[0])
        rows = [at.streams.agg("BTCUSDT", row) for row in market.trades["BTCUSDT"][:9]]
        await asyncio.to_thread(at.streams.publish, *rows[:2], *rows[6:])
        market.clock.advance(9)
        (gap,) = await at.lost(1)
        assert (gap.events, gap.reason) == (4, "sequence")
        assert (gap.ts, gap.until) == (micros(NOW + 2 * SECOND), micros(NOW + 7 * SECOND))
        (repaired,) = await at.repaired(1, 15)
        assert (repaired.events, repaired.left, repaired.error) == (4, 0, "")
        told = [(trade.sequence, trade.repaired) for trade in at.reader.of(Trade)]
        assert told == [(1, False), (2, False), (7, False), (8, False), (9, False), *((n, True) for n in (3, 4, 5, 6))]


@played
async def test_what_rest_does_not_have_either_is_given_up_by_count(market: Market) -> None:
    async with desk(market, patience=Patience(silence=1e9, connect=1e9, repair_pauses=(2,))) as at:
        await at.subscribe([BTC], TOPICS[0])
        rows = [at.streams.agg("BTCUSDT", row) for row in market.trades["BTCUSDT"][:5]]
        market.set_trades("BTCUSDT", [row for row in market.trades["BTCUSDT"] if row.trade_id != 3])
        await asyncio.to_thread(at.streams.publish, rows[0], rows[4])
        market.clock.advance(9)
        await at.lost(1)
        at.clock.advance(15)
        await at.until(lambda: "repairing" in [one.state for one in at.reader.of(Status)], "the first try")
        (repaired,) = await at.repaired(1)
        assert (repaired.events, repaired.left) == (2, 1)
        assert repaired.error == "1 of 3 are not to be had over REST"


@played
async def test_quotes_have_no_history_so_theirs_are_given_up(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([QUOTES], "btcusdt@bookTicker")
        await at.tell(2)
        await at.until(lambda: len(at.reader.of(Quote)) == 2, "quotes")
        await at.strike(Fault("dropped"))
        await at.connected(2)
        (repaired,) = await at.repaired(1)
        assert (repaired.events, repaired.left) == (0, None)
        assert "binance has no history of quotes" in repaired.error


@played
async def test_bars_made_of_the_stream_are_the_providers_whatever_befell_it(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([BTC, ETH], *TOPICS)
        faults = (Fault("dropped"), Fault("reordered"), Fault("duplicated"), Fault("closed"))
        for number, fault in enumerate(faults, 1):
            await at.tell(25)
            at.fault("ws /stream", fault)
            await at.tell(25)
            if fault.kind in ("dropped", "closed"):
                await at.connected(2 if number == 1 else 3)
                await at.listening(*TOPICS)
        await at.tell(90)
        await at.repaired(6, 30)
        await hold(at, BTC, ETH)
        maker = BarMaker("1m")
        told = maker.add(at.reader.events) + maker.until(micros(NOW + 4 * MINUTE))
        theirs = provider_bars(at.provider.bars(["BTCUSDT", "ETHUSDT"], date(2024, 3, 8), date(2024, 3, 8), "1m"))
        ours = {key: bar[2:7] for key, bar in last_revisions(told).items()}
        assert {key: ours[key] for key in theirs} == theirs
        assert len(theirs) == 8
        assert all(bar.complete for bar in last_revisions(told).values())


@played
async def test_what_it_does_not_stream_is_refused(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([BTC], TOPICS[0])
        with pytest.raises(NotOfferedError, match=r"BTCUSDT\.P is not streamed"):
            await at.gateway.subscribe([Line("BTCUSDT.P", "trade")])
        assert at.gateway.lines == {BTC}
        await at.tell(1)
        await hold(at, BTC)


@played
async def test_a_job_that_goes_on_after_another_gets_what_happened_between_them(market: Market) -> None:
    async with desk(market) as at:
        await at.tell(40)
        await at.gateway.subscribe([BTC], since=micros(NOW))  # before it is connected
        await at.listening(TOPICS[0])
        await at.gateway.subscribe([ETH], since=micros(NOW))  # and after
        await at.listening(*TOPICS)
        await at.tell(10)
        repaired = await at.repaired(2)
        await hold(at, BTC, ETH)
        assert {one.error for one in repaired} == {""}
        assert min(one.events for one in repaired) >= 40
