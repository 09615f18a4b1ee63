"""The gateway on Alpaca's streams and REST: each fault of the venue, held against the venue's log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from resources.errors import AccessDeniedError, MissingSecretError
from resources.market_data.alpaca import Alpaca
from resources.streams import repair
from resources.streams.aggregation import BarMaker
from resources.streams.base import Bar, Event, Line, Lost, Quote, Repaired, Status, Trade
from resources.streams.carriers.memory import Memory
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.sources.alpaca import AlpacaStream
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
from tests.venues import alpaca_stream
from tests.venues.alpaca import KEY, SECRET, AlpacaVenue
from tests.venues.alpaca_stream import AlpacaData
from tests.venues.market import (
    Fault,
    Listing,
    Market,
    VenueClock,
    every,
    instant,
    seeded_bars,
    seeded_quotes,
    seeded_trades,
)
from tests.venues.stream import Told

NOW = instant(2025, 12, 8, 15)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
AAPL, MSFT = Line("AAPL", "trade"), Line("MSFT", "trade")
QUOTES = Line("AAPL", "quote")
TOPICS = {"trade": "trades", "quote": "quotes", "bar": "bars"}


@pytest.fixture
def market() -> Market:
    market = Market(clock=VenueClock(NOW))
    stamps = every(NOW + SECOND, SECOND, 300)
    for seed, symbol in enumerate(("AAPL", "MSFT", "BTC/USD")):
        market.add(Listing(symbol, "crypto" if "/" in symbol else "equity"))
        market.set_trades(symbol, seeded_trades(seed, stamps))
        market.set_quotes(symbol, seeded_quotes(seed, stamps))
        market.set_bars(symbol, "1m", seeded_bars(seed, every(NOW, MINUTE, 5)))
    return market


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", KEY)
    monkeypatch.setenv("ALPACA_SECRET_KEY", SECRET)


@asynccontextmanager
async def desk(
    market: Market, *, feed: str = "iex", skew: float = 0.0, patience: Patience | None = None, **options: Any
) -> AsyncIterator[Desk]:
    """A gateway on the venue's streams, repaired by our provider over its REST. skew: of the venue's clock, seconds."""
    clock = ManualClock(NOW)
    market.clock.skew_seconds = skew
    with AlpacaVenue(market) as rest, AlpacaData(market, connections=2) as streams:
        provider = Alpaca(
            feed="iex", data_url=rest.address, trading_url=rest.address, clock=market.clock.now, sleep=lambda _: None
        )
        source = AlpacaStream(feed, url=streams.url(feed), clock=clock)
        patience = patience or Patience(silence=1e9, connect=1e9)
        gateway = Gateway(source, provider=provider, clock=clock, patience=patience, chance=lambda: 1.0, **options)
        async with running(gateway, streams, clock) as made:
            made.provider = provider
            yield made


def event(told: Told) -> Trade | Quote:
    """An event of the venue's log in our words."""
    said = told.content
    ts = said["t"].to_unix_nano() // 1000
    if said["T"] == "t":
        return Trade(said["S"], ts, said["p"], said["s"], "", str(said["i"]), said["i"])
    return Quote(said["S"], ts, said["bp"], said["bs"], said["ap"], said["as"])


async def until(ready: Callable[[], object]) -> None:
    """Let others go until this is so."""
    while not ready():
        await asyncio.sleep(0)


async def hold(desk: Desk, line: Line) -> None:
    """All that the venue told of the line is delivered, each once."""
    topic = f"{TOPICS[line.kind]}.{line.symbol}"
    owed = list(dict.fromkeys(event(one) for one in desk.streams.log if one.topic == topic))
    kind = Trade if line.kind == "trade" else Quote
    await desk.until(lambda: len(desk.reader.rows(line, kind)) >= len(owed), f"all {len(owed)} of {line}")
    gaps = [gap for gap in desk.reader.of(Lost) if gap.symbol == line.symbol and gap.kind == line.kind]
    check_delivery(desk.reader.rows(line, kind), owed, gaps)


# a quiet day


@played
async def test_trades_quotes_and_bars_in_our_words(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL, QUOTES, Line("AAPL", "bar")], "trades.AAPL", "quotes.AAPL", "bars.AAPL")
        await at.tell(60)
        await at.until(lambda: len(at.reader.events) >= 122, "a minute")
        await hold(at, AAPL)
        await hold(at, QUOTES)
        trade, made = at.reader.of(Trade)[0], market.trades["AAPL"][0]
        assert (trade.received, trade.repaired, trade.conditions) == (micros(NOW + MINUTE), False, "@")
        assert (trade.ts, trade.price, trade.size) == (micros(made.ts), made.price, made.size)
        (bar,) = at.reader.of(Bar)
        assert bar[1:7] == (micros(NOW), *market.bars["AAPL", "1m"][0][1:])
        assert at.gateway.counts["delivered"] == 121
        assert not at.reader.of(Lost)


@played
async def test_crypto_and_its_sides(market: Market) -> None:
    async with desk(market, feed="crypto") as at:
        await at.subscribe([Line("BTC/USD", "trade")], "trades.BTC/USD")
        await at.tell(5)
        await at.until(lambda: len(at.reader.of(Trade)) >= 5, "trades")
        assert [trade.side for trade in at.reader.of(Trade)] == [row.side for row in market.trades["BTC/USD"][:5]]


@played
async def test_symbols_come_and_go_while_it_runs(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        await at.tell(1)
        await at.gateway.subscribe([MSFT])
        assert at.gateway.lines == {AAPL, MSFT}
        await at.tell(1)
        await at.until(lambda: len(at.reader.of(Trade)) == 3, "both")
        await at.gateway.unsubscribe([AAPL])
        await at.tell(1)
        await at.until(lambda: len(at.reader.of(Trade)) >= 4, "trades")
        told = [(trade.symbol, trade.sequence) for trade in at.reader.of(Trade)]
        assert told == [("AAPL", 1), ("AAPL", 2), ("MSFT", 2), ("MSFT", 3)]
        assert not at.reader.of(Lost)


# faults, and what is owed after each


@pytest.mark.parametrize("fault", [Fault("dropped"), Fault("closed")], ids=lambda fault: fault.kind)
@played
async def test_what_was_told_while_it_was_away_is_repaired(market: Market, fault: Fault) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL, MSFT, QUOTES], "trades.AAPL", "trades.MSFT", "quotes.AAPL")
        await at.tell(20)
        await at.until(lambda: len(at.reader.of(Trade)) == 40, "what came before")
        at.streams.shut = True
        at.fault("trades.AAPL", fault)
        await at.tell(10)  # with this the connection ends
        await at.tell(10)  # and this is told to nobody
        at.streams.shut = False
        await at.connected(2)
        await at.listening("trades.AAPL", "trades.MSFT", "quotes.AAPL")
        await at.tell(20)
        repaired = await at.repaired(3)
        for line in (AAPL, MSFT, QUOTES):
            await hold(at, line)
        assert {(one.symbol, one.kind, one.left, one.error) for one in repaired} == {
            ("AAPL", "trade", None, ""), ("MSFT", "trade", None, ""), ("AAPL", "quote", None, "")
        }  # fmt: skip
        assert {one.events for one in repaired} <= {20, 21}  # the first after it too, where REST was quicker
        assert {gap.reason for gap in at.reader.of(Lost)} == {"disconnected"}
        assert at.reader.states() == ["connected", "disconnected", "connected"]
        assert not at.gateway.missing()


@played
async def test_bars_that_were_told_while_it_was_away_are_repaired_too(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([Line("AAPL", "bar")], "bars.AAPL")
        await at.tell(70)
        await at.until(lambda: len(at.reader.of(Bar)) == 1, "the first")
        at.fault("bars.AAPL", Fault("dropped"))
        at.streams.shut = True
        await at.tell(60)  # with the second the connection ends
        await at.tell(60)
        at.streams.shut = False
        await at.connected(2)
        await at.listening("bars.AAPL")
        await at.tell(60)
        (repaired,) = await at.repaired(1)
        bars = sorted(bar[1:7] for bar in at.reader.of(Bar))
        assert bars == [(micros(row.ts), *row[1:]) for row in market.bars["AAPL", "1m"][:4]]
        assert repaired.error == ""


@played
async def test_a_stream_gone_silent_is_left_for_another(market: Market) -> None:
    async with desk(market, patience=Patience(silence=30, connect=1e9)) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        await at.tell(3)
        await at.until(lambda: len(at.reader.of(Trade)) == 3, "what came before")
        at.fault("trades.AAPL", Fault("silent"))
        await at.tell(10)
        assert at.gateway.connected  # it may be a quiet market yet
        for _ in range(5):
            await at.tell(7)
            await asyncio.sleep(0)
        await at.connected(2)
        await at.listening("trades.AAPL")
        await at.tell(3)
        await at.repaired(1)
        await hold(at, AAPL)
        assert [one.detail for one in at.reader.of(Status)][1] == "nothing came for 30 s"


@pytest.mark.parametrize("kind", ["duplicated", "reordered", "burst"])
@played
async def test_doubles_and_disorder_of_a_message_are_put_right(market: Market, kind: str) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL, MSFT, QUOTES], "trades.AAPL", "trades.MSFT", "quotes.AAPL")
        await at.tell(10)
        at.fault("trades.AAPL", Fault(kind, count=300))
        await at.tell(10)
        await at.tell(10)
        await at.until(lambda: len(at.reader.events) >= 91, "all")
        for line in (AAPL, MSFT, QUOTES):
            await hold(at, line)
        assert not at.reader.of(Lost)
        assert at.gateway.counts["duplicates"] == {"duplicated": 30, "reordered": 0, "burst": 30 * 299}[kind]


@played
async def test_an_event_out_of_its_place_comes_marked(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        rows = [alpaca_stream.trade("AAPL", row) for row in market.trades["AAPL"][:4]]
        for at_once in ([rows[0]], [rows[2], rows[3]], [rows[1], rows[3]]):
            await asyncio.to_thread(at.streams.publish, *at_once)
        await at.until(lambda: len(at.reader.of(Trade)) == 4, "four trades")
        assert [(one.sequence, one.repaired) for one in at.reader.of(Trade)] == [
            (1, False), (3, False), (4, False), (2, True)
        ]  # fmt: skip
        assert (at.gateway.counts["late"], at.gateway.counts["duplicates"]) == (1, 1)


@pytest.mark.parametrize("skew", [-45.0, 45.0])
@played
async def test_a_venue_whose_clock_is_off(market: Market, skew: float) -> None:
    async with desk(market, skew=skew) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        await at.tell(50)
        await at.until(lambda: len(at.reader.of(Trade)) == min(50, 50 + skew), "what came before")
        at.streams.shut = True
        at.fault("trades.AAPL", Fault("dropped"))
        await at.tell(20)
        at.streams.shut = False
        await at.connected(2)
        await at.listening("trades.AAPL")
        await at.tell(20)
        await at.repaired(1, 60)
        await hold(at, AAPL)


@played
async def test_more_than_the_queue_holds_is_counted_told_and_repaired(market: Market) -> None:
    async with desk(market, queue=50) as at:
        await at.subscribe([AAPL, MSFT], "trades.AAPL", "trades.MSFT")
        await at.tell(100)  # 200 trades in one message
        lost = await at.lost(2)
        assert sum(gap.events or 0 for gap in lost) == 150
        assert {gap.reason for gap in lost} == {"overflow"}
        await at.tell(5)
        repaired = await at.repaired(2)
        assert [one.left for one in repaired] == [0, 0]
        await hold(at, AAPL)
        await hold(at, MSFT)
        assert at.gateway.counts["lost"] == 150


class Held(Memory):
    """A carrier that takes nothing while `gate` is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, events: Sequence[Event]) -> None:
        await self.gate.wait()
        await super().publish(events)


@played
async def test_repairs_take_no_room_from_what_is_live(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "CHUNK", 20)
    carrier = Held()
    async with desk(market, queue=10, carrier=carrier) as at:
        await at.tell(40)
        await at.gateway.subscribe([AAPL], since=micros(NOW))
        await at.listening("trades.AAPL")
        await at.lost(1)
        carrier.gate.clear()
        await at.tell(1)
        await until(lambda: at.gateway.counts["delivered"] == 1)
        market.clock.advance(0.5)
        at.clock.advance(10)
        await until(lambda: at.gateway.counts["repaired"] >= 40)
        await at.tell(9)
        await until(lambda: at.gateway.counts["delivered"] == 10)
        carrier.gate.set()
        await hold(at, AAPL)
        assert at.gateway.counts["lost"] == 0


@played
async def test_a_provider_that_refuses_is_asked_again(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        await at.tell(2)
        await at.until(lambda: len(at.reader.of(Trade)) == 2, "what came before")
        at.fault("GET /v2/stocks/trades", Fault("status", status=500), times=6)
        at.fault("trades.AAPL", Fault("dropped"))
        await at.tell(2)
        await at.connected(2)
        await at.lost(1)
        at.clock.advance(10)
        await at.until(lambda: [one for one in at.reader.of(Status) if one.state == "repairing"], "the refusal")
        assert at.gateway.missing()
        await at.repaired(1)
        await hold(at, AAPL)


# what a gateway must not swallow


@pytest.mark.parametrize(
    ("name", "plan", "message"),
    [("ALPACA_SECRET_KEY", False, "the keys are refused"), ("", True, "the plan does not hold this feed")],
)
@played
async def test_what_no_retry_mends_ends_the_gateway_and_is_raised_to_all(
    market: Market, monkeypatch: pytest.MonkeyPatch, name: str, plan: bool, message: str
) -> None:
    if name:
        monkeypatch.setenv(name, "wrong")
    with AlpacaData(market, free_plan=plan) as streams:
        gateway = Gateway(AlpacaStream("sip", url=streams.url("sip")))
        told = gateway.events()

        async def used() -> None:
            async with gateway:
                await gateway.subscribe([AAPL])
                with pytest.raises(AccessDeniedError, match=message):
                    async for _ in told:
                        pass
                with pytest.raises(AccessDeniedError, match=message):
                    await gateway.subscribe([MSFT])

        with pytest.raises(AccessDeniedError, match=message):
            await used()


def test_without_keys_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPACA_SECRET_KEY")
    with pytest.raises(MissingSecretError, match="ALPACA_SECRET_KEY"):
        AlpacaStream("iex")


@played
async def test_a_venue_that_cannot_be_reached_is_tried_again_and_that_is_told(market: Market) -> None:
    async with desk(market) as at:
        at.fault("connect /v2/iex", Fault("status", status=429))
        at.fault("connect /v2/iex", Fault("dropped"))
        begun = at.clock.now()
        await at.gateway.subscribe([AAPL])
        for failures in (1, 2):
            await at.until(lambda: at.reader.states().count("disconnected") == failures, "a failure")  # noqa: B023
            at.clock.advance(2 ** (failures - 1) / 2)
        await at.connected(1)
        assert "429" in at.reader.of(Status)[0].detail
        (lost,) = await at.lost(1)
        assert lost.ts < begun < at.clock.now() < lost.until, "what happened since it was subscribed to"


@played
async def test_a_message_of_another_layout_ends_the_connection_and_what_it_held_is_repaired(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        await at.tell(1)
        await at.until(lambda: at.reader.of(Trade), "a trade")
        (peer,) = at.streams.peers
        at.streams._do(peer.say(b"\x91\x81\xa1T\xa1t"))  # a trade without anything
        await at.connected(2)
        assert "not laid out as expected" in at.reader.of(Status)[1].detail
        await at.tell(5)
        await at.repaired(1)
        await hold(at, AAPL)


@played
async def test_a_reader_who_is_too_slow_is_told_and_what_he_missed_is_repaired_for_him_alone(market: Market) -> None:
    async with desk(market, carrier=Memory(capacity=40)) as at:
        slow = at.gateway.events(["AAPL"])
        await at.subscribe([AAPL, MSFT], "trades.AAPL", "trades.MSFT")
        for second in range(50):
            await at.tell(1)
            await at.until(lambda: len(at.reader.of(Trade)) == 2 * (second + 1), "both trades")  # noqa: B023
        market.clock.advance(0.5)
        got: list[Any] = []
        while not [event for event in got if isinstance(event, Repaired)]:
            got += (await anext(slow)).events
            at.clock.advance(1)
        (lost,) = [event for event in got if isinstance(event, Lost)]
        assert (lost.symbol, lost.reason) == ("AAPL", "overflow")
        trades = [event for event in got if isinstance(event, Trade)]
        assert sum(trade.repaired for trade in trades) == lost.events
        check_delivery(trades, [trade._replace(repaired=False) for trade in at.reader.rows(AAPL, Trade)], [lost])
        assert not at.reader.of(Lost)
        await slow.aclose()


@played
async def test_what_is_under_way_when_it_is_left_is_handed_on(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        await at.tell(5)
        await at.until(lambda: at.gateway.counts["delivered"] or at.reader.of(Trade), "what is read")
    assert len(at.reader.of(Trade)) == 5


@played
async def test_gaps_of_what_is_not_wanted_any_more_and_of_a_gateway_that_ends_are_given_up(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL, MSFT], "trades.AAPL", "trades.MSFT")
        await at.tell(2)
        await at.until(lambda: len(at.reader.of(Trade)) == 4, "trades")
        await at.strike(Fault("dropped"))
        await at.lost(2)
        await at.gateway.unsubscribe([AAPL])
        await at.until(lambda: at.reader.of(Repaired), "its end")
        assert [mend.gap.line for mend in at.gateway.missing()] == [MSFT]
    assert [(one.symbol, one.error) for one in at.reader.of(Repaired)] == [
        ("AAPL", "it is not subscribed to any more"), ("MSFT", "the gateway has ended")
    ]  # fmt: skip


@played
async def test_without_any_line_there_is_no_connection(market: Market) -> None:
    async with desk(market) as at:
        await at.subscribe([AAPL], "trades.AAPL")
        await at.gateway.unsubscribe([AAPL])
        await at.until(lambda: at.reader.states() == ["connected", "disconnected"], "the end of the connection")
        at.clock.advance(10)
        await at.subscribe([MSFT], "trades.MSFT")
        await at.tell(1)
        await at.until(lambda: at.reader.of(Trade), "a trade")
        assert at.streams.connected == 2


@played
async def test_bars_made_of_the_stream_are_the_providers(market: Market) -> None:
    for symbol in ("AAPL", "MSFT"):
        market.set_bars(symbol, "1m", bars_of(market.trades[symbol], MINUTE))
    async with desk(market) as at:
        await at.subscribe([AAPL, MSFT], "trades.AAPL", "trades.MSFT")
        for kind in ("reordered", "dropped", "duplicated"):
            await at.tell(25)
            at.fault("trades.AAPL", Fault(kind))
            await at.tell(25)
        await at.connected(2)
        await at.listening("trades.AAPL", "trades.MSFT")
        await at.tell(90)
        await at.repaired(2)
        await hold(at, AAPL)
        await hold(at, MSFT)
        maker = BarMaker("1m")
        told = maker.add(at.reader.events) + maker.until(micros(NOW + 3 * MINUTE))
        theirs = provider_bars(at.provider.bars(["AAPL", "MSFT"], NOW.date(), NOW.date(), "1m"))
        ours = {key: bar[2:7] for key, bar in last_revisions(told).items()}
        assert {key: ours[key] for key in theirs} == theirs
        assert len(theirs) == 8


@played
async def test_a_job_that_goes_on_after_another_gets_what_happened_between_them(market: Market) -> None:
    async with desk(market) as at:
        await at.tell(40)
        await at.gateway.subscribe([AAPL], since=micros(NOW))  # before it is connected
        await at.listening("trades.AAPL")
        await at.gateway.subscribe([MSFT], since=micros(NOW))  # and after
        await at.listening("trades.AAPL", "trades.MSFT")
        await at.tell(10)
        repaired = await at.repaired(2)
        await hold(at, AAPL)
        await hold(at, MSFT)
        assert {one.error for one in repaired} == {""}
        assert min(one.events for one in repaired) >= 40
