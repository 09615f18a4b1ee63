"""A station's work: the lake's rows are the venue's, whatever befell the connection or the station itself."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from quant_assets.cleaned.aggregate import bars_of_trades
from quant_assets.streams import station
from quant_assets.streams.station import TOGETHER, Feed, Station, Task, together
from resources.errors import AccessDeniedError, LakeError
from resources.lake import Lake
from resources.market_data import ticks
from resources.market_data.base import Provider, utc_now
from resources.market_data.synthetic import Synthetic
from resources.streams.base import Kind, Line, Sequencing, Trade
from resources.streams.clock import SECOND, FastClock
from resources.streams.patience import Patience
from resources.streams.recording import OPEN_SEGMENTS, open_gaps, recorded
from resources.streams.sources.recorded import Recorded
from tests.quant_assets.streams.stations import NOW, Site, binance, crypto
from tests.resources.streams.gateways import ManualClock, micros, played, provider_bars
from tests.venues.market import Fault, Market, instant

MINUTE = timedelta(minutes=1)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
BTC, ETH, QUOTES = Line("BTCUSDT", "trade"), Line("ETHUSDT", "trade"), Line("BTCUSDT", "quote")
TOPICS = "btcusdt@aggTrade", "ethusdt@aggTrade"
DAY = date(2024, 3, 8)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def market(monkeypatch: pytest.MonkeyPatch) -> Market:
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return crypto(*SYMBOLS)


def numbers(last: int) -> range:
    """The venue's trades of so many seconds: one a second, numbered from 1."""
    return range(1, last + 1)


# each fault of the venue


@played
async def test_each_fault_of_the_venue_leaves_the_lake_with_the_venues_trades_and_bars(
    market: Market, lake: Lake
) -> None:
    async with binance(market, lake) as at:
        await at.start(BTC, ETH)
        await at.listening(*TOPICS)
        faults = ("dropped", "reordered", "duplicated", "closed", "burst")
        for kind in faults:
            await at.tell(25)
            await at.holds("BTCUSDT", at.told("BTCUSDT"))
            at.market.faults.add("ws /stream", Fault(kind, count=50))
            await at.tell(25)
            await at.listening(*TOPICS)
            await at.mended()
            await at.holds("ETHUSDT", at.told("ETHUSDT"))
        await at.stop()
        for symbol in SYMBOLS:
            held = recorded(lake, "trades", [symbol]).select("price", "size", "side").collect().rows()
            assert held == [(row.price, row.size, row.side) for row in market.trades[symbol][: len(held)]]
            assert len(held) >= 250
        assert not lake.partitions(OPEN_SEGMENTS), "all went to partitions in the end"
        gaps = open_gaps(lake)
        assert set(gaps["state"]) == {"repaired"}
        assert gaps.height >= 4
        bars = provider_bars(recorded(lake, "bars").filter(pl.col("complete")))
        assert at.provider is not None
        theirs = provider_bars(at.provider.bars(SYMBOLS, DAY, DAY, "1m"))
        assert {key: bars[key] for key in theirs if key in bars} == {key: theirs[key] for key in theirs if key in bars}
        assert len(bars.keys() & theirs.keys()) >= 2 * 4


@played
async def test_what_rest_does_not_have_is_told_as_left(market: Market, lake: Lake) -> None:
    async with binance(market, lake) as at:
        gone = {13, 14, 31}
        await at.start(BTC, patience=Patience(silence=1e9, connect=1e9, repair_pauses=(5, 5)))
        await at.listening(TOPICS[0])
        await at.tell(10)
        await at.holds("BTCUSDT", numbers(10))
        market.set_trades("BTCUSDT", [row for row in market.trades["BTCUSDT"] if row.trade_id not in gone])
        at.streams.shut = True
        await at.strike(Fault("dropped"))
        await at.tell(10)
        at.streams.shut = False
        await at.listening(TOPICS[0])
        await at.tell(20)
        await at.mended()
        await at.holds("BTCUSDT", [number for number in numbers(40) if number not in gone])
    lost = open_gaps(lake)
    assert set(lost["state"]) == {"given up"}
    assert sum(left for left in lost["left"] if left is not None) == len(gone)
    holes = [micros(NOW) + number * SECOND for number in gone]
    intervals = lost.select(pl.col("ts", "until").to_physical()).rows()
    assert all(any(since <= hole <= until for since, until in intervals) for hole in holes)


@played
async def test_quotes_without_history_are_what_came_and_the_gap_is_given_up(market: Market, lake: Lake) -> None:
    async with binance(market, lake) as at:
        await at.start(QUOTES, timeframe=None)
        await at.listening("btcusdt@bookTicker")
        await at.tell(3)
        await at.until(lambda: recorded(lake, "quotes").collect().height == 3, "quotes")
        await at.strike(Fault("dropped"))
        await at.listening("btcusdt@bookTicker")
        await at.mended()
    (gap,) = open_gaps(lake).iter_rows(named=True)
    assert (gap["state"], gap["kind"]) == ("given up", "quote")
    assert "binance has no history of quotes" in gap["detail"]
    assert recorded(lake, "bars").collect().is_empty()


# one after another


@pytest.mark.parametrize("cleanly", [True, False], ids=["terminated", "killed"])
@played
async def test_the_next_one_goes_on_where_the_last_one_was(market: Market, lake: Lake, cleanly: bool) -> None:
    async with binance(market, lake) as at:
        await at.start(BTC, ETH)
        await at.listening(*TOPICS)
        await at.tell(70)
        await at.holds("BTCUSDT", numbers(70))
        if not cleanly:  # and what came, but was not stored yet, is gone
            at.station._recorder.store = lambda events: 0  # type: ignore[union-attr, method-assign]
        await at.tell(5)
        await (at.stop() if cleanly else at.die())
        assert at.held("BTCUSDT") == list(numbers(75 if cleanly else 70))
        await at.tell(50)
        await at.start(BTC, ETH)
        await at.listening(*TOPICS)
        await at.tell(75)
        await at.mended()
        for symbol in SYMBOLS:
            await at.holds(symbol, numbers(200))
        await at.stop()
        bars = recorded(lake, "bars").filter(pl.col("complete"))
        assert at.provider is not None
        theirs = provider_bars(at.provider.bars(SYMBOLS, DAY, DAY, "1m"))
        ours = provider_bars(bars)
        assert ours == {key: theirs[key] for key in ours}
        assert len(ours) == 2 * 3
        assert set(open_gaps(lake)["state"]) == {"repaired"}


@played
async def test_who_dies_before_its_first_rows_are_stored_owes_them_to_the_next(market: Market, lake: Lake) -> None:
    async with binance(market, lake) as at:
        await at.start(BTC, flush_seconds=1e6)
        await at.listening(TOPICS[0])
        await at.until(lambda: recorded(lake, "findings").collect().height, "the connection, stored")
        await at.tell(5)
        await at.until(lambda: at.station is not None and at.station.counts().get("delivered"), "the first trades")
        await at.die()
        assert at.held("BTCUSDT") == []
        await at.tell(50)
        await at.start(BTC)
        await at.listening(TOPICS[0])
        await at.tell(75)
        await at.mended()
        await at.holds("BTCUSDT", numbers(130))


@played
async def test_what_was_being_repaired_when_it_ended_is_asked_for_by_the_next(market: Market, lake: Lake) -> None:
    async with binance(market, lake) as at:
        await at.start(BTC)
        await at.listening(TOPICS[0])
        await at.tell(10)
        await at.holds("BTCUSDT", numbers(10))
        said = [at.streams.agg("BTCUSDT", row) for row in market.trades["BTCUSDT"][14:16]]  # type: ignore[attr-defined]
        at.clock.advance(6)
        market.clock.advance(6)
        await at.streams_publish(*said)
        await at.holds("BTCUSDT", [*numbers(10), 15, 16])
        await at.die()  # the gap of 11 to 14 is told, and not repaired
        await at.start(BTC)
        await at.listening(TOPICS[0])
        await at.mended()
        await at.holds("BTCUSDT", numbers(16))


class Scripted:
    """A venue that says what a test gives it."""

    name = "scripted"
    sequences: Mapping[Kind, Sequencing] = {}

    def __init__(self) -> None:
        self.said: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def connect(self, lines: object) -> None: ...

    async def change(self, add: object, remove: object) -> None: ...

    async def receive(self) -> list[Any]:
        return await self.said.get()

    async def close(self) -> None: ...


@pytest.mark.parametrize(("ahead", "rows"), [(600, 22), (9 * 86_400, 21)], ids=["skewed", "not to be believed"])
@played
async def test_what_comes_late_or_twice_after_a_restart_counts_once_in_the_bar_of_its_time(
    lake: Lake, ahead: int, rows: int
) -> None:
    """Of the trades of each life one is stamped later than it comes."""
    clock, begins = ManualClock(NOW), micros(NOW)

    def said(at: int, name: str) -> Trade:
        return Trade("BTCUSDT", begins + at * SECOND, 10.0 + at, 1.0, trade_id=name, received=clock.now())

    def of_minute(minute: int) -> list[tuple[object, ...]]:
        found = recorded(lake, "bars").filter(pl.col("ts").to_physical() == begins + minute * 60 * SECOND)
        return found.select("trades", "volume", "high").collect().rows()

    async def lived(life: int, begin: int) -> None:
        source = Scripted()
        site = Site(lake, cast(Any, SimpleNamespace(market=None)), clock, None, source)
        clock.advance(begin - (clock.now() - begins) / SECOND)
        await site.start(BTC)
        await site.until(lambda: site.station is not None and site.station.connected, "a connection")
        clock.advance(200)
        source.said.put_nowait([said(begin + at, "") for at in range(0, 200, 10)])
        twice = [said(at, "") for at in range(0, 200, 10)] if life else []
        late, wild = said(65, f"late {life}"), said(begin + ahead, "wild")
        source.said.put_nowait([*twice, late, wild])
        await site.until(lambda: recorded(lake, "trades").collect().height >= rows * (life + 1), "the trades")
        clock.advance(100)
        await site.stop()
        assert recorded(lake, "trades").collect().height == rows * (life + 1)
        assert of_minute(1) == [(7 + life, 7.0 + life, 120.0)]
        assert of_minute(begin // 60 + 2) == [(6, 6.0, 180.0 + begin)]

    for life in range(3):
        await lived(life, life * 3 * 3600)


def test_lines_asked_from_nearly_the_same_instant_are_asked_together() -> None:
    since = {BTC: 100, ETH: 100 + TOGETHER, QUOTES: 101 + TOGETHER}
    assert together(since) == [(100, [BTC, ETH]), (101 + TOGETHER, [QUOTES])]


# an hour of a recorded market

ROTATED = 5_000
"""Rows go to their partitions whenever so many are stored."""


def play(lake: Lake, provider: str, speed: float, hours: float, begins: Any, **rows: pl.LazyFrame | None) -> Station:
    """A station that follows recorded rows to their end, by a clock so many times as fast."""
    clock = FastClock(micros(begins), speed)
    tape = Recorded(clock, trades=rows.get("trades"), quotes=rows.get("quotes"))
    named = [(kind, frame) for kind, frame in (("trade", rows.get("trades")), ("quote", rows.get("quotes")))
             if frame is not None]  # fmt: skip
    lines = tuple(
        Line(symbol, kind)  # type: ignore[arg-type]
        for kind, frame in named
        for symbol in frame.select("symbol").unique().collect()["symbol"]
    )

    async def over() -> None:
        await tape.over.wait()
        await clock.wait(max(0.0, (micros(begins) - clock.now()) / SECOND + 3600 * hours + 3))

    task = Task(
        provider, lines, micros(begins), lambda newest: Feed(tape, clock, None, over), Patience(silence=1e9),
        flush_seconds=0.1, rotate_rows=ROTATED,
    )  # fmt: skip
    station = Station(task, lake)
    station.start()
    assert station.wait(60)
    station.stop()
    return station


def same(lake: Lake, table: str, source: pl.LazyFrame, columns: Sequence[str]) -> None:
    """The lake's rows are the source's, exactly."""
    ours = recorded(lake, table).select(columns).collect()
    theirs = source.sort("symbol", "ts", maintain_order=True).select(columns).collect()
    assert ours.equals(theirs), (ours, theirs)


TRADE, QUOTE = ("symbol", "ts", "price", "size", "side", "trade_id"), ("symbol", "ts", "bid", "bid_size", "ask")


def test_an_hour_of_the_synthetic_market_is_in_the_lake_without_a_gap(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "quant_assets.streams.station.WAITING", ROTATED
    )  # on a busy machine, too, rows are stored on the way
    market, begins = Synthetic(ticks=60_000), instant(2020, 3, 9, 13, 30)
    symbols, ends = ["SYN0001", "SYN0002"], begins + timedelta(hours=1)
    trades, quotes = market.trades(symbols, begins, ends), market.quotes(symbols, begins, ends)
    station = play(lake, "synthetic", 1800, 1, begins, trades=trades, quotes=quotes)
    same(lake, "trades", trades, TRADE)
    same(lake, "quotes", quotes, QUOTE)
    assert provider_bars(recorded(lake, "bars")) == provider_bars(bars_of_trades(trades, "1m"))
    assert open_gaps(lake).is_empty()
    counts = station.counts()
    assert counts["delivered"] == trades.collect().height + quotes.collect().height > 30_000
    assert (counts["missing"], counts["too late for their bar"]) == (0, 0)
    rotations = []
    while not station.rotated.empty():
        rotations.append(station.rotated.get())
    assert len(rotations) >= 2, "on the way, and in the end"
    assert gc.get_freeze_count() == 0, "what was frozen is let go of"


def test_an_hour_of_recorded_spy_trades(lake: Lake, shared_data: Path) -> None:
    begins, ends = instant(2013, 10, 7, 14), instant(2013, 10, 7, 15)
    tape = pl.scan_parquet(shared_data / "multi_asset" / "ticks_trades.parquet")
    hour = tape.filter(pl.col("ts").is_between(begins, ends, closed="left"), pl.col("size") > 0)
    # The tape has no numbers, and trades that are alike in the same millisecond: each gets that of its row.
    numbered = hour.with_row_index("trade_id").with_columns(side=pl.lit(None, dtype=pl.String))
    trades = ticks.trades(numbered, provider="tape", fetched_at=utc_now(), source="ticks_trades")
    play(lake, "tape", 1200, 1, begins, trades=trades)
    same(lake, "trades", trades, TRADE)
    assert provider_bars(recorded(lake, "bars")) == provider_bars(bars_of_trades(trades, "1m"))
    assert recorded(lake, "bars").collect().height == 60
    assert open_gaps(lake).is_empty()


# what goes wrong here


class Denied:
    """A venue that refuses the keys."""

    name = "denied"
    sequences: Mapping[Kind, Sequencing] = {}

    async def connect(self, lines: object) -> None:
        raise AccessDeniedError("the keys are refused")

    async def change(self, add: object, remove: object) -> None: ...

    async def receive(self) -> list[Any]:
        return []

    async def close(self) -> None: ...


def failed(lake: Lake, source: Any, provider: Provider | None = None) -> Station:
    task = Task(
        "test", (BTC,), micros(NOW), lambda newest: Feed(source, ManualClock(NOW), provider), Patience(),
        flush_seconds=0.02,
    )  # fmt: skip
    station = Station(task, lake)
    station.start()
    assert station.wait(10)
    return station


def test_what_ends_the_gateway_is_raised_where_it_is_stopped(lake: Lake) -> None:
    with pytest.raises(AccessDeniedError, match="the keys are refused"):
        failed(lake, Denied()).stop()


@pytest.mark.parametrize("waiting", [500_000, 2], ids=["others wait for nothing", "the reader waits for it"])
@played
async def test_a_lake_that_cannot_be_written_ends_it_and_says_so(
    market: Market, lake: Lake, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    monkeypatch.setattr(station, "WAITING", waiting)
    async with binance(market, lake) as at:
        await at.start(BTC)
        await at.listening(TOPICS[0])

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Lake, "_put", full)
        await at.tell(5)
        with pytest.raises(LakeError, match="No space left on device"):
            await at.over()
        monkeypatch.undo()
        assert recorded(lake, "trades").collect().is_empty()
