"""DuckDB, ClickHouse and the truth, row for row: ties, nulls, equal stamps, several symbols, empty ranges.

The truth of bars is `quant_assets.cleaned.aggregate`, that of the others is worked out row by row in Python (worlds).
ClickHouse is asked over HTTP by its own client (conftest).
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.cleaned.aggregate import bars_of_quotes, bars_of_trades
from resources import catalog as catalog_module
from resources.catalog import QUOTES, TRADES, Catalog
from resources.errors import BarSchemaError
from resources.lake import Lake
from resources.market_data.timeframes import INTRADAY
from resources.warehouse import slots
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.duckdb import DuckDB
from resources.warehouse.loading import load
from tests.resources.warehouse import worlds
from tests.resources.warehouse.conftest import Front
from tests.resources.warehouse.worlds import INSTANTS, MICROSECOND, MONDAY, SYMBOLS

CALENDARS = pl.DataFrame({"symbol": SYMBOLS, "calendar": ["XNYS", "24/7", "XNYS", "XBOM"]})
"""XBOM: Bombay is five and a half hours ahead, so that its hours are not those of UTC."""

World = tuple[tuple[Catalog, Catalog], pl.DataFrame, pl.DataFrame]
"""DuckDB and ClickHouse over the same lake, its trades and its quotes."""

_count = itertools.count()


@contextmanager
def both(front: Front, trades: pl.DataFrame, quotes: pl.DataFrame, grain: str) -> Iterator[tuple[Catalog, Catalog]]:
    """The same lake behind DuckDB and, loaded, behind ClickHouse."""
    with tempfile.TemporaryDirectory() as folder:
        lake = worlds.make(Lake(folder), trades, quotes, grain)
        with DuckDB(lake) as duckdb, ClickHouse.connect(front.settings(database=f"agree{next(_count)}")) as clickhouse:
            for table in duckdb.tables():
                load(lake, clickhouse, table)
            yield duckdb, clickhouse
            clickhouse.command(f"DROP DATABASE {clickhouse.database} SYNC")


def of(catalog: Catalog, table: str, frame: pl.DataFrame) -> list[str]:
    """Symbols that can be asked for, which both engines must name alike."""
    held = sorted(frame["symbol"].unique())
    if held:
        assert catalog.symbols(table) == held
    return held


grains = st.sampled_from(["%Y", "%Y-%m", "%Y-%m", "%Y-%m-%d"])
spans = st.tuples(st.sampled_from(INSTANTS), st.sampled_from(INSTANTS)).map(lambda pair: (min(pair), max(pair)))


def same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(found, expected, check_exact=True)


@settings(max_examples=6)
@given(worlds.trades(), worlds.quotes(), grains, st.data())
def test_both_engines_give_the_true_answers(
    front: Front, trades: pl.DataFrame, quotes: pl.DataFrame, grain: str, data: st.DataObject
) -> None:
    with both(front, trades, quotes, grain) as catalogs:
        span, at = data.draw(spans), data.draw(st.sampled_from(INSTANTS))
        age = data.draw(st.sampled_from([None, timedelta(0), timedelta(seconds=60), timedelta(days=2)]))
        check_rows(catalogs, trades, quotes, span, at, age)
        timeframe = data.draw(st.sampled_from([*INTRADAY, "1d"]))
        clocks = timeframe == "1d" or data.draw(st.booleans())
        check_bars(catalogs, trades, quotes, timeframe, span, CALENDARS if clocks else None)


@pytest.mark.parametrize("rows", [1, 250])
def test_answers_in_several_pieces_are_the_same(dense: World, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(catalog_module, "PIECE_ROWS", rows)
    check_rows(*dense, (INSTANTS[3], INSTANTS[-3]), MONDAY, None)
    check_bars(*dense, "1h", (INSTANTS[3], INSTANTS[-3]), CALENDARS)


@pytest.fixture(scope="module")
def dense(front: Front) -> Iterator[World]:
    """600 trades and quotes on 320 instants."""
    trades, quotes = worlds.drawn(7, 600)
    with both(front, trades, quotes, "%Y-%m-%d") as catalogs:
        yield catalogs, trades, quotes


@pytest.mark.parametrize("seed", range(4))
def test_both_engines_give_the_true_answers_where_many_rows_share_an_instant(dense: World, seed: int) -> None:
    random = Random(seed)
    low, high, at = random.choice(INSTANTS), random.choice(INSTANTS), random.choice(INSTANTS)
    check_rows(*dense, (min(low, high), max(low, high)), at, random.choice([None, timedelta(hours=1)]))


@pytest.mark.parametrize("timeframe", [*INTRADAY, "1d"])
@pytest.mark.parametrize("clocks", [False, True])
def test_bars_are_those_of_the_cleaning_room(dense: World, timeframe: str, clocks: bool) -> None:
    if timeframe == "1d" and not clocks:
        for catalog in dense[0]:
            with pytest.raises(BarSchemaError, match="A: bars of 1d are sessions, and no calendar is known"):
                catalog.bars(SYMBOLS, "1d", INSTANTS[0], MONDAY)
        return
    check_bars(*dense, timeframe, (INSTANTS[3], INSTANTS[-3]), CALENDARS if clocks else None)


def check_rows(
    catalogs: tuple[Catalog, Catalog],
    trades: pl.DataFrame,
    quotes: pl.DataFrame,
    span: tuple[datetime, datetime],
    at: datetime,
    age: timedelta | None,
) -> None:
    for catalog in catalogs:
        traded, told = of(catalog, TRADES, trades), of(catalog, QUOTES, quotes)
        if traded:
            same(catalog.rows(TRADES, traded, *span), worlds.rows(trades, traded, *span))
            same(catalog.quoted_trades(traded, *span, max_age=age), worlds.quoted(trades, quotes, traded, span, age))
        if told:
            same(catalog.rows(QUOTES, told[:1], *span), worlds.rows(quotes, told[:1], *span))
            same(catalog.last_quotes(told, at), worlds.last(quotes, told, at))


def check_bars(
    catalogs: tuple[Catalog, Catalog],
    trades: pl.DataFrame,
    quotes: pl.DataFrame,
    timeframe: str,
    span: tuple[datetime, datetime],
    calendars: pl.DataFrame | None,
) -> None:
    if trades.height:
        asked = worlds.rows(trades, SYMBOLS, *span)
        held = sorted(trades["symbol"].unique())
        found = [catalog.bars(held, timeframe, *span, calendars=calendars) for catalog in catalogs]
        same(found[0], found[1])  # volumes included, to the last bit
        # On the day on which clocks change, bars of 4h begin out of order there.
        expected = bars_of_trades(asked.lazy(), timeframe, calendars).collect().sort("symbol", "ts")
        same(found[0].drop("volume"), expected.drop("volume"))
        assert_frame_equal(found[0], expected, rel_tol=1e-12)
        # Nor do those of 4h lie apart on that day: their trades are not those of their time.
        every = max(1, found[0].height // 40)
        for bar in found[0].gather_every(every).rows(named=True) if timeframe != "4h" else ():
            closes = bar["known_at"] + (MICROSECOND if timeframe == "1d" and closing(bar, calendars) else timedelta(0))
            sizes = worlds.rows(asked, [bar["symbol"]], bar["ts"], closes)["size"]
            assert worlds.is_exact_sum(bar["volume"], list(sizes))
    if quotes.height:
        held = sorted(quotes["symbol"].unique())
        asked = worlds.rows(quotes, SYMBOLS, *span)
        expected = bars_of_quotes(asked.lazy(), timeframe, calendars).collect().sort("symbol", "ts")
        for catalog in catalogs:
            same(catalog.bars(held, timeframe, *span, calendars=calendars, of="quotes"), expected)


def closing(bar: dict[str, object], calendars: pl.DataFrame | None) -> bool:
    """Whether a trade at the bar's end is in it: at the close of a session, unless the next one opens then."""
    return calendars is not None and (bar["symbol"], "24/7") not in calendars.rows()


@pytest.mark.parametrize("most", [1, 2])
def test_sessions_asked_about_in_several_questions_are_the_same_bars(
    front: Front, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """At midnight a round-the-clock session ends and the next begins: the trade there is in one bar only."""
    frame = ticks_at([MONDAY + timedelta(hours=hours) for hours in (-48, -24, -1, 0, 13.5, 20, 24)], SYMBOLS[:2])
    span = INSTANTS[0], MONDAY + timedelta(days=9)
    with both(front, frame, worlds.QUOTE_SCHEMA.to_frame(), "%Y-%m") as catalogs:
        whole = catalogs[0].bars(SYMBOLS[:2], "1d", *span, calendars=CALENDARS)
        monkeypatch.setattr(slots, "MOST_SESSIONS", most)
        for catalog in catalogs:
            same(catalog.bars(SYMBOLS[:2], "1d", *span, calendars=CALENDARS), whole)
    same(whole.drop("volume"), bars_of_trades(frame.lazy(), "1d", CALENDARS).collect().drop("volume"))


def ticks_at(instants: list[datetime], symbols: list[str]) -> pl.DataFrame:
    told = [
        {
            "symbol": symbol,
            "ts": ts,
            "price": 100.0 + at,
            "size": 1.0,
            "provider": "p",
            "fetched_at": ts,
            "known_at": ts,
        }
        for symbol in symbols
        for at, ts in enumerate(instants)
    ]
    return pl.DataFrame(told, schema=worlds.TRADE_SCHEMA)


def test_rows_of_one_instant_stand_by_sequence_then_by_their_order_in_the_lake(front: Front) -> None:
    """Trades of one microsecond: sequence 2 and then 1 in the file, those without one first, in their order."""
    frame = ticks_at([MONDAY] * 5, ["A"]).with_columns(sequence=pl.Series([2, 1, None, 0, 2], dtype=pl.Int64))
    with both(front, frame, worlds.QUOTE_SCHEMA.to_frame(), "%Y-%m") as catalogs:
        for catalog in catalogs:
            assert catalog.rows(TRADES, ["A"])["price"].to_list() == [102.0, 103.0, 101.0, 100.0, 104.0]
            bar = catalog.bars(["A"], "1m", MONDAY, MONDAY + MICROSECOND).row(0, named=True)
            assert (bar["open"], bar["close"]) == (102.0, 104.0)


def test_the_standing_quote_may_be_years_and_partitions_old(front: Front) -> None:
    old = datetime(2019, 5, 6, 14, tzinfo=MONDAY.tzinfo)
    told = {"symbol": "A", "ts": [old, old], "bid": [1.0, None], "bid_size": [5.0, None], "ask": [2.0, 3.0]}
    quotes = pl.DataFrame(told).with_columns(ask_size=1.0, provider=pl.lit("p"), fetched_at="ts", known_at="ts")
    quotes = quotes.select(worlds.QUOTE_SCHEMA.names()).cast(dict(worlds.QUOTE_SCHEMA))
    later = quotes.with_columns(pl.col("ts") + timedelta(days=3000))
    with both(front, ticks_at([MONDAY], ["A"]), pl.concat([quotes, later]), "%Y-%m-%d") as catalogs:
        for catalog in catalogs:
            row = catalog.quoted_trades(["A"], MONDAY, MONDAY + MICROSECOND).row(0, named=True)
            # Of the two of that instant the second stood: it had no bid.
            assert (row["quoted_at"], row["bid"], row["ask"]) == (old, None, 3.0)
            assert catalog.last_quotes(["A"], old - MICROSECOND).is_empty()
