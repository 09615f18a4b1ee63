"""The gateway on Interactive Brokers' streams and history: ticks of whole seconds without numbers, and what befalls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import AccessDeniedError, NotOfferedError, UnknownSymbolError
from resources.market_data import ticks
from resources.market_data.base import utc_now
from resources.market_data.ib import InteractiveBrokers
from resources.market_data.pacing import TokenBucket
from resources.streams.base import Bar, Line, Lost, Quote, Repaired, Status, Trade
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.sources.ib import IBStream
from resources.streams.sources.ib_alike import Alike, Counted
from tests.resources.streams.gateways import LIMIT_SECONDS, ManualClock, Reader, bars_of, micros, played
from tests.venues.ib_stream import IBStreams
from tests.venues.market import Fault, Listing, Market, VenueClock, every, instant, seeded_quotes, seeded_trades

NOON = instant(2024, 3, 11, 16)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
AAPL, MSFT, QUOTES, BARS = Line("AAPL", "trade"), Line("MSFT", "trade"), Line("AAPL", "quote"), Line("AAPL", "bar")


@pytest.fixture
def market() -> Market:
    """Three trades a second, of which two are alike."""
    market = Market(VenueClock(NOON))
    market.add(
        Listing("AAPL"), Listing("MSFT"), Listing("EUR.USD", "forex", venue="IDEALPRO", tick=0.00005, lot=0.01)
    )  # fmt: skip
    stamps = every(NOON + SECOND / 4, SECOND, 240)
    for seed, symbol in enumerate(("AAPL", "MSFT")):
        rows = seeded_trades(seed, stamps, price=170)
        alike = [row._replace(ts=row.ts + SECOND / 4, trade_id=1000 + row.trade_id) for row in rows]
        other = [row._replace(ts=row.ts + SECOND / 2, trade_id=2000 + row.trade_id, size=row.size + 1) for row in rows]
        market.set_trades(symbol, [*rows, *alike, *other])
        market.set_quotes(symbol, seeded_quotes(seed + 10, stamps, price=170))
        market.set_bars(symbol, "1m", bars_of(market.trades[symbol], MINUTE))
        market.set_bars(symbol, "5s", bars_of(market.trades[symbol], 5 * SECOND))
    market.set_quotes("EUR.USD", seeded_quotes(9, stamps, price=1.1, tick=0.00005))
    return market


class Desk:
    """A gateway on the venue, and a reader of it."""

    def __init__(self, gateway: Gateway, streams: IBStreams, clock: ManualClock) -> None:
        self.gateway, self.streams, self.clock = gateway, streams, clock
        self.reader = Reader()

    async def subscribe(self, *lines: Line) -> None:
        await self.gateway.subscribe(lines)
        await self.listening(len(self.gateway.lines))

    async def listening(self, count: int) -> None:
        await self.wait(lambda: len(self.streams.streams()) == count, f"{count} streams")

    async def wait(self, ready: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                while not ready():
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise TimeoutError(f"{what} did not come; {self.streams.streams()}, {self.reader.states()}") from None

    async def tell(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await asyncio.to_thread(self.streams.advance, seconds)

    async def again(self) -> None:
        """Wait for another connection; IB may still hold the client's id at the first try, and a second takes time."""

        def connected() -> bool:
            self.clock.advance(0.01)
            return self.reader.states().count("connected") == 2

        await self.wait(connected, "another connection")

    async def rows(self, line: Line, kind: type[Any], count: int) -> list[Any]:
        await self.reader.until(lambda: len(self.reader.rows(line, kind)) >= count, f"{count} of {line}")
        return self.reader.rows(line, kind)

    async def repaired(self, gaps: int) -> list[Repaired]:
        """Time passes until so many gaps are done with."""
        await self.wait(lambda: self.gateway.connected, "a connection")
        self.streams.market.clock.advance(2)

        def over() -> bool:
            self.clock.advance(1.0)
            return len(self.reader.of(Repaired)) >= gaps

        await self.wait(over, f"{gaps} repairs")
        return self.reader.of(Repaired)


@asynccontextmanager
async def desk(market: Market, **patience: Any) -> AsyncIterator[Desk]:
    clock = ManualClock(NOON)
    with IBStreams(market) as streams:
        provider = InteractiveBrokers(
            port=streams.port, client_id=1, timeout_seconds=5.0, connect_seconds=2.0, clock=market.clock.now,
            sleep=lambda _: None, bucket=TokenBucket(1e6, 1e6, sleep=lambda _: None),
        )  # fmt: skip
        source = IBStream(port=streams.port, client_id=2, connect_seconds=2.0, clock=clock)
        made = Gateway(
            source, provider=Counted(provider), clock=clock, chance=lambda: 1.0,
            patience=Patience(**{"silence": 1e9, "connect": 1e9, **patience}),
        )  # fmt: skip
        async with made as gateway:
            at = Desk(gateway, streams, clock)
            reading = asyncio.create_task(at.reader.read(gateway.events()))
            yield at
        await reading


def owed(market: Market, symbol: str, seconds: int) -> Counter[tuple[Any, ...]]:
    """The trades of so many seconds, by IB's stamp: how many there are of each kind."""
    until = NOON + SECOND * seconds
    rows = [row for row in market.trades[symbol] if row.ts < until]
    return Counter((micros(row.ts.replace(microsecond=0)), row.price, row.size) for row in rows)


def held(trades: list[Trade]) -> Counter[tuple[Any, ...]]:
    return Counter((trade.ts, trade.price, trade.size) for trade in trades)


@played
async def test_ticks_have_ibs_seconds_and_trades_that_are_alike_both_stand(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe(AAPL, QUOTES)
        for second in range(1, 11):  # what is told is read before the clock goes on
            await at.tell(1)
            trades = await at.rows(AAPL, Trade, 3 * second)
        assert held(trades) == owed(market, "AAPL", 10)
        assert Counter(trade.trade_id for trade in trades) == {"": 20, "#2": 10}
        assert {trade.received for trade in trades} == {micros(NOON + SECOND * at) for at in range(1, 11)}
        quotes = await at.rows(QUOTES, Quote, 10)
        assert [quote[2:6] for quote in quotes] == [row[1:] for row in market.quotes["AAPL"][:10]]
        assert not at.reader.of(Lost)


@pytest.mark.parametrize("seconds", [20.0, 20.3, 20.6], ids=["on the second", "after one", "after two that are alike"])
@played
async def test_a_break_in_the_middle_of_a_second_is_repaired_to_what_the_history_counts(
    market: Market, seconds: float
) -> None:
    async with desk(market) as at:
        await at.subscribe(AAPL, MSFT)
        await at.tell(seconds)
        before = {row for row in market.trades["AAPL"] if row.ts <= NOON + timedelta(seconds=seconds)}
        await at.rows(AAPL, Trade, len(before))
        at.streams.market.faults.add("stream reqTickByTickData", Fault("dropped"), times=2)
        await at.tell(10)
        await at.again()
        await at.listening(2)
        await at.tell(9.9 - seconds % 1)
        repaired = await at.repaired(2)
        assert {(one.error, one.left) for one in repaired} == {("", None)}
        await at.tell(5.1)
        for line, symbol in ((AAPL, "AAPL"), (MSFT, "MSFT")):
            trades = await at.rows(line, Trade, 3 * 47)
            assert held([trade for trade in trades if trade.ts < micros(NOON) + 46_000_000]) == owed(market, symbol, 46)
            live = [trade.ts for trade in trades if not trade.repaired]
            assert live == sorted(live)


@played
async def test_quotes_come_back_from_history_and_the_last_one_stands_last(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe(QUOTES)
        await at.tell(10)
        await at.rows(QUOTES, Quote, 10)
        at.streams.market.faults.add("stream reqTickByTickData", Fault("dropped"))
        await at.tell(10)
        await at.again()
        await at.listening(1)
        await at.repaired(1)
        quotes = sorted(await at.rows(QUOTES, Quote, 20), key=lambda quote: (quote.ts, quote.sequence))
        assert [quote[2:6] for quote in quotes][:20] == [row[1:] for row in market.quotes["AAPL"][:20]]


@pytest.mark.parametrize("code", [1101, 1102])
@played
async def test_the_loss_of_ibs_servers_ends_the_connection_and_so_does_their_return(market: Market, code: int) -> None:
    async with desk(market) as at:
        await at.subscribe(AAPL)
        await at.tell(5)
        await at.rows(AAPL, Trade, 15)
        at.streams.lose()
        await at.wait(lambda: "disconnected" in at.reader.states(), "the loss")
        await at.tell(5)
        at.streams.restore(code)

        def streaming() -> bool:
            at.clock.advance(1)
            return len(at.streams.streams()) == 1

        await at.wait(streaming, "the stream again")
        await at.repaired(1)
        assert held(await at.rows(AAPL, Trade, 30)) >= owed(market, "AAPL", 10)


@played
async def test_what_is_told_twice_stands_twice(market: Market) -> None:
    """It cannot be told from two trades that are alike: docs/streams.md says so."""
    async with desk(market) as at:
        await at.subscribe(AAPL)
        at.streams.market.faults.add("stream reqTickByTickData", Fault("duplicated"))
        await at.tell(1)
        trades = await at.rows(AAPL, Trade, 6)
        assert held(trades) == Counter({row: 2 * count for row, count in owed(market, "AAPL", 1).items()})


@played
async def test_minutes_seen_whole_are_made_of_five_second_bars_and_others_asked_for(market: Market) -> None:
    async with desk(market) as at:
        await at.tell(20)
        await at.subscribe(BARS)
        for _ in range(16):
            await at.tell(10)
        bars = await at.rows(BARS, Bar, 2)
        await at.tell(10)
        bars = await at.rows(BARS, Bar, 3)
        assert sorted(bar[1:7] for bar in bars) == [
            (micros(bar.ts), *bar[1:]) for bar in market.bars["AAPL", "1m"][:3]
        ]  # fmt: skip
        assert "reqHistoricalData AAPL" in at.streams.requests
        assert at.streams.requests.count("reqHistoricalData AAPL") == 1


REFUSALS = [
    (354, "Requested market data is not subscribed", AccessDeniedError, "not subscribed"),
    (10189, "Failed to request tick-by-tick data", AccessDeniedError, "Subscribe to this market data"),
    (10190, "Max number of tick-by-tick requests has been reached", NotOfferedError, "Follow fewer symbols"),
]


@pytest.mark.parametrize(("code", "text", "kind", "mend"), REFUSALS, ids=[str(row[0]) for row in REFUSALS])
@played
async def test_what_ib_refuses_is_refused(
    market: Market, code: int, text: str, kind: type[Exception], mend: str
) -> None:
    async with desk(market) as at:
        await at.subscribe(MSFT)
        market.faults.add("reqTickByTickData AAPL", Fault("status", status=code, body=text))
        with pytest.raises(kind, match=mend):
            await at.gateway.subscribe([AAPL])


@played
async def test_what_ib_refuses_later_ends_the_gateway(market: Market) -> None:
    async def scenario() -> None:
        async with desk(market) as at:
            await at.subscribe(AAPL)
            market.faults.add("stream reqTickByTickData AAPL", Fault("status", status=354, body="Not subscribed"))
            await at.tell(1)
            async for _ in at.gateway.events():
                pass

    with pytest.raises(AccessDeniedError, match="Subscribe to this market data"):
        await scenario()


@played
async def test_unknown_symbols_and_trades_of_forex_are_refused_and_the_rest_goes_on(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe(AAPL)
        with pytest.raises(UnknownSymbolError, match="ib has no ZZZZ"):
            await at.gateway.subscribe([Line("ZZZZ", "trade")])
        with pytest.raises(NotOfferedError, match=r"no trades of forex pairs \(EUR.USD\)"):
            await at.gateway.subscribe([Line("EUR.USD", "trade")])
        await at.gateway.subscribe([Line("EUR.USD", "quote")])
        await at.tell(1)
        await at.rows(Line("EUR.USD", "quote"), Quote, 1)
        await at.gateway.unsubscribe([AAPL])
        await at.listening(1)


@played
async def test_a_client_id_that_is_taken_is_said_and_tried_again(market: Market) -> None:
    async with desk(market) as at:
        other = IBStream(port=at.streams.port, client_id=2, connect_seconds=2.0)
        await other.connect([])
        await at.gateway.subscribe([AAPL])
        await at.reader.until(lambda: "disconnected" in at.reader.states(), "the refusal")
        said = next(status.detail for status in at.reader.of(Status) if status.state == "disconnected")
        assert "may have a client with client_id 2 already" in said
        await other.close()

        def streaming() -> bool:
            at.clock.advance(1)
            return bool(at.streams.streams())

        await at.wait(streaming, "the next try")


ROWS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from("AB")), max_size=30).map(sorted)


@given(ROWS, st.data())
def test_what_a_stream_saw_of_seconds_and_the_history_has_is_together_what_happened(
    rows: list[tuple[int, str]], data: st.DataObject
) -> None:
    """Of a second that was cut anywhere the stream has a part; nothing is doubled and nothing lost."""
    history = Alike()
    counted = {(second, row, history.trade(second, row)) for second, row in rows}
    assert len(counted) == len(rows)
    first, last = sorted(data.draw(st.tuples(st.integers(0, len(rows)), st.integers(0, len(rows)))))
    stream = Alike()
    seen = {(second, row, stream.trade(second, row)) for second, row in rows[first:last]}
    assert seen <= counted


@given(st.lists(st.sampled_from("ABC"), max_size=20))
def test_quotes_of_a_second_keep_their_order_and_say_something_new(rows: list[str]) -> None:
    line = Alike()
    told = [(line.quote(1, row), row) for row in rows]
    kept = [(number, row) for number, row in told if number is not None]
    assert [row for _, row in kept] == [row for at, row in enumerate(rows) if at == 0 or rows[at - 1] != row]
    assert len(set(kept)) == len(kept)
    assert [number for number, _ in kept] == sorted(number for number, _ in kept)


def test_the_provider_counts_as_the_stream_does() -> None:
    class Provider(InteractiveBrokers):
        def trades(self, *_: Any) -> pl.LazyFrame:
            rows = [("A", NOON, 1.0, 2.0), ("A", NOON, 1.0, 2.0), ("B", NOON, 1.0, 2.0), ("A", NOON + SECOND, 1.0, 2.0)]
            frame = pl.DataFrame(rows, schema=["symbol", "ts", "price", "size"], orient="row")
            empty = frame.with_columns(side=pl.lit(None, pl.String), trade_id=pl.lit(None, pl.String))
            return ticks.trades(empty.lazy(), provider="ib", fetched_at=utc_now(), source="a test")

    rows = Counted(Provider()).trades(["A"], NOON, NOON).select("symbol", "trade_id").collect().rows()
    assert rows == [("A", ""), ("A", "#2"), ("A", ""), ("B", "")]
