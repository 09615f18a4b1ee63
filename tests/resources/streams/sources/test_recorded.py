"""A recorded market played through the gateway: all of it, in order, at its times; and an hour of it in bars."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from quant_assets.cleaned.aggregate import bars_of_trades
from resources.errors import ConfigError
from resources.market_data import ticks
from resources.market_data.base import utc_now
from resources.streams.aggregation import BarMaker
from resources.streams.base import Line, Lost, Quote, StreamEndedError, Trade
from resources.streams.clock import FastClock
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.sources.recorded import Recorded
from tests.resources.streams.gateways import ManualClock, Reader, last_revisions, micros, played, provider_bars
from tests.venues.market import every, instant, seeded_quotes, seeded_trades

NOW = instant(2024, 3, 8, 15)
SECOND = timedelta(seconds=1)
SYMBOLS = ("AAPL", "MSFT")
LINES = [Line(symbol, "trade") for symbol in SYMBOLS]


def trades(count: int, step: timedelta = SECOND) -> pl.LazyFrame:
    stamps = every(NOW + step, step, count)
    rows = [
        (symbol, row.ts, row.price, row.size, row.side, str(row.trade_id))
        for seed, symbol in enumerate(SYMBOLS)
        for row in seeded_trades(seed, stamps)
    ]
    frame = pl.DataFrame(rows, schema=["symbol", "ts", "price", "size", "side", "trade_id"], orient="row")
    return ticks.trades(frame.lazy(), provider="recorded", fetched_at=utc_now(), source="a test")


def quotes(count: int) -> pl.LazyFrame:
    rows = [("AAPL", *row) for row in seeded_quotes(3, every(NOW + SECOND / 2, SECOND, count))]
    frame = pl.DataFrame(rows, schema=["symbol", "ts", "bid", "bid_size", "ask", "ask_size"], orient="row")
    return ticks.quotes(frame.lazy(), provider="recorded", fetched_at=utc_now(), source="a test")


@played
async def test_each_row_comes_when_its_time_has_come() -> None:
    clock = ManualClock(NOW)
    source = Recorded(clock, trades=trades(10), quotes=quotes(10))
    await source.connect([LINES[0], Line("AAPL", "quote")])
    clock.advance(2.5)
    told = list(await source.receive())
    clock.advance(1)
    told += await source.receive()
    assert [type(event) for event in told].count(Trade) == 3
    assert [event.ts for event in told if isinstance(event, Quote)] == [
        micros(NOW + SECOND * at / 2) for at in (1, 3, 5, 7)
    ]
    assert {event.received for event in told} == {micros(NOW) + 2_500_000, micros(NOW) + 3_500_000}
    assert not any(event.repaired for event in told)


@played
async def test_what_is_due_between_two_connections_is_missed() -> None:
    clock = ManualClock(NOW)
    source = Recorded(clock, trades=trades(10))
    clock.advance(2)
    await source.connect(LINES)
    assert len(await source.receive()) == 4  # from the first row on
    await source.close()
    with pytest.raises(StreamEndedError):
        await source.receive()
    clock.advance(4)
    await source.connect(LINES)
    clock.advance(1)
    assert [event.ts for event in await source.receive()] == [micros(NOW + 7 * SECOND)] * 2


@played
async def test_an_hour_goes_by_without_a_gap_and_its_bars_are_those_of_the_whole() -> None:
    rows, clock = trades(3600), FastClock(micros(NOW), speed=3600)
    source = Recorded(clock, trades=rows)
    reader, maker = Reader(), BarMaker("1m")
    async with Gateway(source, clock=clock, patience=Patience(silence=1e9)) as gateway:
        batches = gateway.events()
        await gateway.subscribe(LINES)
        await source.over.wait()
    await reader.read(batches)
    assert len(reader.of(Trade)) == 7200
    assert not reader.of(Lost)
    told = maker.add(reader.events) + maker.until(micros(NOW + timedelta(hours=2)))
    ours = {key: bar[2:7] for key, bar in last_revisions(told).items()}
    assert ours == provider_bars(bars_of_trades(rows, "1m"))
    assert len(ours) == 2 * 61  # the last trade begins another


def test_nothing_to_play_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to play"):
        Recorded(ManualClock(NOW))
