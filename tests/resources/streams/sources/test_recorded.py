"""A recorded market played through the gateway: all of it, in order, at its times; and an hour of it in bars."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from quant_assets.cleaned.aggregate import bars_of_trades
from resources.errors import ConfigError
from resources.market_data import ticks
from resources.market_data.base import utc_now
from resources.streams.aggregation import BarMaker
from resources.streams.base import Line, Lost, Quote, Repaired, StreamEndedError, Trade
from resources.streams.clock import FastClock
from resources.streams.gateway import Gateway
from resources.streams.patience import Patience
from resources.streams.sources.recorded import Numbered, Recorded, numbered
from tests.resources.streams.gateways import (
    ManualClock,
    Reader,
    last_revisions,
    micros,
    played,
    provider_bars,
    running,
)
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


# rows that are alike


TAPE = [(at // 4, "ABAA"[at % 4]) for at in range(40)]
"""Of each second four rows without a number: A, B, and A twice more."""


def alike_trades() -> pl.LazyFrame:
    rows = [("AAPL", NOW + SECOND * at, {"A": 10.0, "B": 11.0}[which], 100.0, None, None) for at, which in TAPE]
    frame = pl.DataFrame(rows, schema=["symbol", "ts", "price", "size", "side", "trade_id"], orient="row")
    return ticks.trades(frame.lazy(), provider="recorded", fetched_at=utc_now(), source="a test")


def alike_quotes() -> pl.LazyFrame:
    rows = [("AAPL", NOW + SECOND * at, {"A": 10.0, "B": 11.0}[which], 1.0, 12.0, 1.0) for at, which in TAPE]
    frame = pl.DataFrame(rows, schema=["symbol", "ts", "bid", "bid_size", "ask", "ask_size"], orient="row")
    return ticks.quotes(frame.lazy(), provider="recorded", fetched_at=utc_now(), source="a test")


class Tape:
    """Who gave the rows that are played, and gives them again."""

    name = "recorded"

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        return alike_trades().filter(pl.col("ts").is_between(start, end, closed="left"))

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        return alike_quotes().filter(pl.col("ts").is_between(start, end, closed="left"))


@pytest.mark.parametrize("most", [10_000, 3], ids=["an instant at once", "an instant in two messages"])
@pytest.mark.parametrize("queue", [50_000, 6], ids=["a break", "room for some"])
@played
async def test_rows_that_are_alike_in_one_instant_come_each_once_over_breaks_and_repairs(
    monkeypatch: pytest.MonkeyPatch, most: int, queue: int
) -> None:
    monkeypatch.setattr("resources.streams.sources.recorded.MOST", most)
    clock = ManualClock(NOW)
    source = Recorded(clock, trades=alike_trades(), quotes=alike_quotes())
    lines = [Line("AAPL", "trade"), Line("AAPL", "quote")]
    gateway = Gateway(
        source, provider=cast(Any, Numbered(cast(Any, Tape()))), clock=clock, queue=queue,
        patience=Patience(silence=1e9, connect=1e9, repair_delay=0.0),
    )  # fmt: skip
    venue = cast(Any, SimpleNamespace(market=None))
    async with running(gateway, venue, clock) as desk:
        await gateway.subscribe(lines)
        await desk.connected(1)
        clock.advance(3.5)
        await desk.until(lambda: len(desk.reader.of(Trade)) >= 5, "the first rows")
        if queue > 6:
            await source.close()
            clock.advance(0.6)  # who waits for the next row finds the connection closed
            await desk.until(lambda: desk.reader.states().count("disconnected") == 1, "the break")
            clock.advance(3)
            await desk.connected(2)

        def over() -> bool:
            clock.advance(1.0)
            told = desk.reader.of(Lost), desk.reader.of(Repaired)
            return source.over.is_set() and {(*gap[:4],) for gap in told[0]} <= {(*gap[:4],) for gap in told[1]}

        while not over():
            await asyncio.sleep(0)
    for kind, owed in ((Trade, alike_trades()), (Quote, alike_quotes())):
        told = sorted(desk.reader.of(kind), key=lambda event: (event.ts, event.sequence))
        assert [event[2] for event in told] == owed.collect()[:, 2].to_list(), "the rows, and in their order"
    assert desk.reader.of(Repaired)
    maker = BarMaker("1m")
    bars = last_revisions(maker.add(desk.reader.events) + maker.until(micros(NOW + timedelta(hours=1))))
    assert [(bar.trades, bar.volume, bar.close, bar.complete) for bar in bars.values()] == [(40, 4000.0, 10.0, True)]


def test_rows_with_a_number_or_an_id_keep_it_and_the_rest_are_numbered_by_their_place() -> None:
    rows = alike_trades().collect()
    ids = pl.Series("trade_id", ["7", "", "x", None] * 10)
    assert numbered("trade", rows.with_columns(ids).lazy()).collect()["sequence"].head(8).to_list() == [7, 1, 0, 3] * 2
    assert numbered("quote", alike_quotes()).collect()["sequence"].head(8).to_list() == [0, 1, 2, 3] * 2
    stored = rows.with_columns(sequence=pl.lit(5, pl.Int64))
    assert numbered("trade", stored.lazy()).collect().equals(stored)


def test_nothing_to_play_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to play"):
        Recorded(ManualClock(NOW))
