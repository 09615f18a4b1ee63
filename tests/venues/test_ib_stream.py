"""IB's streams on loopback against the real client library: what it brings, and what it leaves to its user.

The second half states how the client misbehaves, for the live feed and broker that are to be built over it: they must
watch `errorEvent` and the age of the last tick, connect again by themselves, and subscribe again after that.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.venues.ib_stream import IBStreams
from tests.venues.market import (
    Bar,
    Fault,
    Listing,
    Market,
    Quote,
    Trade,
    VenueClock,
    every,
    instant,
    seeded_bars,
    seeded_quotes,
    seeded_trades,
)

NOON = instant(2024, 3, 11, 16)
SECOND = timedelta(seconds=1)
SOON = 5.0
BID, ASK, LAST = 1, 2, 4  # kinds of ticks


@pytest.fixture
def gateway() -> Iterator[IBStreams]:
    market = Market(VenueClock(NOON))
    market.add(
        Listing("AAPL"),
        Listing("MSFT"),
        Listing("EUR.USD", "forex", venue="IDEALPRO", tick=0.00005, lot=0.01),
    )
    stamps = every(NOON, SECOND, 60)
    for seed, symbol in enumerate(("AAPL", "MSFT")):
        market.set_trades(symbol, seeded_trades(seed, stamps, price=170))
        market.set_quotes(symbol, seeded_quotes(seed + 10, [stamp + SECOND / 2 for stamp in stamps], price=170))
    market.set_bars("AAPL", "5s", seeded_bars(5, every(NOON, 5 * SECOND, 12)))
    with IBStreams(market) as gateway:
        yield gateway


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.002)


class Desk:
    """A connected client, what it was told on its events, and its library."""

    def __init__(self, gateway: IBStreams) -> None:
        from resources.market_data.ib.connection import library

        self.gateway, self.library = gateway, library()
        self.ib: Any = self.library.IB()
        self.errors: list[tuple[int, int]] = []
        self.ticks: list[tuple[str, int, float, float]] = []  # symbol, kind, price, size
        self.ib.errorEvent += lambda number, code, *_: self.errors.append((number, code))
        self.ib.pendingTickersEvent += self._note

    def _note(self, tickers: set[Any]) -> None:
        for ticker in tickers:
            self.ticks += [(ticker.contract.symbol, each.tickType, each.price, each.size) for each in ticker.ticks]

    async def enter(self, client_id: int = 1, timeout: float = 2.0) -> None:
        await self.ib.connectAsync("127.0.0.1", self.gateway.port, client_id, timeout=timeout, readonly=True)

    def stock(self, symbol: str = "AAPL") -> Any:
        return self.library.Stock(symbol, "SMART", "USD")

    async def subscribe(self, contract: Any) -> Any:
        """The ticker of a new subscription to market data, once it has been told what stands."""
        ticker = self.ib.reqMktData(contract)
        await self.silence()
        return ticker

    async def silence(self) -> None:
        """Wait for an answer to something else: the gateway answers in order, so all before it has come by then."""
        await self.ib.reqCurrentTimeAsync()


def at_desk(gateway: IBStreams, work: Callable[[Desk], Awaitable[None]], enter: bool = True) -> Desk:
    """Run `work` with a desk on an event loop, and hang up after it."""

    async def run() -> Desk:
        desk = Desk(gateway)
        try:
            if enter:
                await desk.enter()
            async with asyncio.timeout(2 * SOON):
                await work(desk)
        finally:
            desk.ib.disconnect()
        return desk

    return asyncio.run(run())


def sold(gateway: IBStreams, symbol: str, first: int, last: int) -> list[Trade]:
    return gateway.market.trades[symbol][first:last]


# What it brings


def test_prices_and_sizes_are_the_markets_the_standing_ones_first(gateway: IBStreams) -> None:
    async def work(desk: Desk) -> None:
        ticker = await desk.subscribe(desk.stock())
        await until(lambda: not math.isnan(ticker.last))
        assert (ticker.last, ticker.minTick) == (gateway.market.trades["AAPL"][0].price, 0.01)
        assert math.isnan(ticker.bid)  # no quote had been made
        gateway.advance(20)
        await until(lambda: ticker.ask == gateway.market.quotes["AAPL"][19].ask)
        quote = gateway.market.quotes["AAPL"][19]
        assert (ticker.bid, ticker.bidSize, ticker.askSize) == (quote.bid, quote.bid_size, quote.ask_size)
        assert (ticker.last, ticker.lastSize) == sold(gateway, "AAPL", 20, 21)[0][1:3]

    desk = at_desk(gateway, work)
    trades, quotes = gateway.market.trades["AAPL"][:21], gateway.market.quotes["AAPL"][:20]
    last = [(price, size) for _, kind, price, size in desk.ticks if kind == LAST]
    assert last == [(trade.price, trade.size) for trade in trades]
    bids = [(price, size) for _, kind, price, size in desk.ticks if kind == BID]
    assert bids == [(quote.bid, quote.bid_size) for quote in quotes]


def test_tick_by_tick_loses_nothing_and_is_stamped_by_its_arrival_here(gateway: IBStreams) -> None:
    async def work(desk: Desk) -> None:
        found: dict[str, list[Any]] = {"Last": [], "BidAsk": []}
        for symbol, kind in (("AAPL", "Last"), ("MSFT", "BidAsk")):
            ticker = desk.ib.reqTickByTickData(desk.stock(symbol), kind)
            ticker.updateEvent += lambda ticker, kind=kind: found[kind].extend(ticker.tickByTicks)
        await until(lambda: len(gateway.streams()) == 2)
        for _ in range(30):
            gateway.advance(1)
        await until(lambda: len(found["Last"]) == 30 and len(found["BidAsk"]) == 30)
        assert [(each.price, each.size) for each in found["Last"]] == [
            trade[1:3] for trade in sold(gateway, "AAPL", 1, 31)
        ]
        assert [Quote(each.time, each.bidPrice, each.bidSize, each.askPrice, each.askSize)[1:]
                for each in found["BidAsk"]] == [quote[1:] for quote in gateway.market.quotes["MSFT"][:30]]  # fmt: skip
        late = datetime.now(UTC) - timedelta(minutes=1)  # the gateway said 2024: the client drops it
        assert min(each.time for each in found["Last"]) > late

    at_desk(gateway, work)


def test_bars_of_five_seconds_are_told_when_they_are_over(gateway: IBStreams) -> None:
    async def work(desk: Desk) -> None:
        bars = desk.ib.reqRealTimeBars(desk.stock(), 5, "TRADES", useRTH=True)
        await until(gateway.streams)
        gateway.advance(4)
        await desk.silence()
        assert len(bars) == 0
        gateway.advance(27)
        await until(lambda: len(bars) == 6)
        held = [Bar(bar.time, bar.open_, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
        assert held == gateway.market.bars["AAPL", "5s"][:6]

    at_desk(gateway, work)


def test_each_is_told_its_own_and_who_cancels_no_more(gateway: IBStreams) -> None:
    async def work(desk: Desk) -> None:
        apple, other = desk.stock("AAPL"), desk.stock("MSFT")
        await desk.subscribe(apple)
        ticker = await desk.subscribe(other)
        gateway.advance(2)
        desk.ib.cancelMktData(apple)
        await until(lambda: gateway.streams() == ["reqMktData MSFT"])
        gateway.advance(2)
        await until(lambda: ticker.last == sold(gateway, "MSFT", 4, 5)[0].price)
        desk.ib.client.cancelMktData(99)
        await until(lambda: (99, 300) in desk.errors)

    desk = at_desk(gateway, work)
    for symbol, count in (("AAPL", 3), ("MSFT", 5)):
        last = [(price, size) for name, kind, price, size in desk.ticks if (name, kind) == (symbol, LAST)]
        assert last == [trade[1:3] for trade in sold(gateway, symbol, 0, count)]


def test_a_snapshot_is_told_once(gateway: IBStreams) -> None:
    async def work(desk: Desk) -> None:
        gateway.advance(3)
        (ticker,) = await desk.ib.reqTickersAsync(desk.stock())
        assert (ticker.last, ticker.bid) == (
            sold(gateway, "AAPL", 3, 4)[0].price, gateway.market.quotes["AAPL"][2].bid,
        )  # fmt: skip
        assert gateway.streams() == []

    at_desk(gateway, work)


# What it leaves to its user


@pytest.mark.parametrize(
    ("fault", "places"),
    [
        (Fault("duplicated"), [1, 1, 2, 2, 3, 3]),
        (Fault("reordered"), [3, 2, 1]),
        (Fault("burst", count=400), [1] * 400 + [2] * 400 + [3] * 400),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_what_comes_twice_or_out_of_order_is_handed_on_as_it_comes(
    gateway: IBStreams, fault: Fault, places: list[int]
) -> None:
    async def work(desk: Desk) -> None:
        gateway.market.faults.add("stream reqTickByTickData AAPL", fault)
        got: list[tuple[float, float]] = []
        ticker = desk.ib.reqTickByTickData(desk.stock(), "Last")
        ticker.updateEvent += lambda ticker: got.extend((each.price, each.size) for each in ticker.tickByTicks)
        await until(gateway.streams)
        gateway.advance(3)
        await until(lambda: len(got) == len(places))
        assert got == [gateway.market.trades["AAPL"][at][1:3] for at in places]

    at_desk(gateway, work)


def test_a_subscription_that_is_refused_shows_in_the_error_event_only(gateway: IBStreams) -> None:
    async def work(desk: Desk) -> None:
        gateway.market.faults.add("reqMktData", Fault("status", status=354, body="Not subscribed"))
        ticker = desk.ib.reqMktData(desk.stock())
        await until(lambda: 354 in [code for _, code in desk.errors])
        unknown = desk.ib.reqMktData(desk.stock("NOPE"))
        await until(lambda: 200 in [code for _, code in desk.errors])
        gateway.advance(5)
        await desk.silence()
        assert math.isnan(ticker.last)
        assert math.isnan(unknown.last)

    at_desk(gateway, work)


@pytest.mark.parametrize("restored", [1102, 1101])
def test_lost_servers_leave_us_connected_and_their_return_brings_no_market_data(
    gateway: IBStreams, restored: int
) -> None:
    async def work(desk: Desk) -> None:
        contract = desk.stock()
        ticker = await desk.subscribe(contract)
        gateway.advance(1)
        await until(lambda: len([each for each in desk.ticks if each[1] == LAST]) == 2)
        gateway.lose()
        await until(lambda: (-1, 1100) in desk.errors)
        assert desk.ib.isConnected()
        late = desk.ib.reqMktData(desk.stock("MSFT"))  # who subscribes now gets no answer, then or later
        gateway.advance(5)
        await desk.silence()
        gateway.restore(restored)
        await until(lambda: (-1, restored) in desk.errors)
        gateway.advance(5)
        await desk.silence()
        assert desk.ib.isConnected()
        assert ticker.last == sold(gateway, "AAPL", 1, 2)[0].price  # ten seconds old, and says nothing of it
        assert math.isnan(late.last)
        desk.ib.cancelMktData(contract)  # which the gateway has forgotten: 300
        await desk.subscribe(contract)
        await until(lambda: ticker.last == sold(gateway, "AAPL", 11, 12)[0].price)
        assert desk.errors[-1][1] == 300

    at_desk(gateway, work)


def test_a_silent_data_farm_leaves_the_last_tick_standing_and_everything_else_working(gateway: IBStreams) -> None:
    async def work(desk: Desk) -> None:
        silent, other = await desk.subscribe(desk.stock("AAPL")), await desk.subscribe(desk.stock("MSFT"))
        gateway.market.faults.add("stream reqMktData AAPL", Fault("silent"))
        gateway.say(2103, "Market data farm connection is broken:usfarm")
        gateway.advance(5)
        await until(lambda: other.last == sold(gateway, "MSFT", 5, 6)[0].price)
        await desk.silence()
        assert desk.ib.isConnected()
        assert silent.last == sold(gateway, "AAPL", 0, 1)[0].price
        assert (-1, 2103) in desk.errors  # the only sign, and a real farm may not give it

    at_desk(gateway, work)


@pytest.mark.parametrize("how", ["struck", "in the middle of ticks", "the gateway restarts"])
def test_a_lost_socket_is_told_once_and_nothing_connects_or_subscribes_again(gateway: IBStreams, how: str) -> None:
    async def work(desk: Desk) -> None:
        told, now = list[str](), gateway.market.clock.now
        desk.ib.disconnectedEvent += lambda: told.append("disconnected")
        ticker = await desk.subscribe(desk.stock())
        if how == "in the middle of ticks":
            gateway.market.faults.add("stream reqMktData AAPL", Fault("dropped"))
            gateway.advance(1)
        elif how == "struck":
            next(iter(gateway.clients.values())).hang_up()
        else:
            gateway.stop()
            gateway.start()
        await until(lambda: told)
        assert not desk.ib.isConnected()
        await until(lambda: not gateway.clients)
        gateway.advance(5)
        await asyncio.sleep(0.05)
        assert gateway.clients == {}  # nobody came back
        assert ticker.last == sold(gateway, "AAPL", 0, 1)[0].price  # the old ticker stands as it was, for ever
        assert ticker.updateEvent.done()
        await desk.enter()
        gateway.advance(5)
        await desk.silence()
        assert (gateway.streams(), desk.ib.tickers()) == ([], [])
        fresh = await desk.subscribe(desk.stock())
        await until(
            lambda: fresh.last == [each for each in gateway.market.trades["AAPL"] if each.ts <= now()][-1].price
        )
        assert told == ["disconnected"]

    at_desk(gateway, work)


@pytest.mark.parametrize("tells_taken", [True, False])
def test_a_client_id_in_use_shows_as_a_time_out_and_the_first_client_is_not_disturbed(tells_taken: bool) -> None:
    market = Market(VenueClock(NOON))
    market.add(Listing("AAPL"))
    market.set_trades("AAPL", seeded_trades(1, every(NOON, SECOND, 10)))
    with IBStreams(market, tells_taken=tells_taken) as gateway:

        async def work(desk: Desk) -> None:
            ticker = await desk.subscribe(desk.stock())
            second = Desk(gateway)
            said: list[str] = []
            second.ib.client.apiError += said.append
            with pytest.raises(TimeoutError):
                await second.enter(client_id=1, timeout=0.2)
            assert any("already in use" in text for text in said)  # a word beside the TimeoutError, and no more
            assert ((-1, 326) in second.errors) == tells_taken
            gateway.advance(3)
            await until(lambda: ticker.last == market.trades["AAPL"][3].price)
            await second.enter(client_id=2)
            assert sorted(gateway.clients) == [1, 2]
            second.ib.disconnect()

        at_desk(gateway, work)


def test_a_refused_or_silent_history_is_an_empty_answer_by_default(gateway: IBStreams) -> None:
    async def work(desk: Desk) -> None:
        rest = ("", "1 D", "1 min", "TRADES", True, 2)
        gateway.market.faults.add("reqHistoricalData", Fault("status", status=162, body="pacing violation"))
        assert list(await desk.ib.reqHistoricalDataAsync(desk.stock(), *rest)) == []
        gateway.market.faults.add("reqHistoricalData", Fault("silent"))
        assert list(await desk.ib.reqHistoricalDataAsync(desk.stock(), *rest, timeout=0.05)) == []
        desk.ib.RaiseRequestErrors = True
        gateway.market.faults.add("reqHistoricalData", Fault("status", status=162, body="pacing violation"))
        with pytest.raises(desk.library.wrapper.RequestError, match="162"):
            await desk.ib.reqHistoricalDataAsync(desk.stock(), *rest)

    at_desk(gateway, work)
