"""DuckDB, ClickHouse and the truth, row for row: ties, nulls, equal stamps, several symbols, empty ranges.

The truth of bars is `quant_assets.cleaned.aggregate`, that of the others is worked out row by row in Python (worlds).
ClickHouse is asked over HTTP by its own client (conftest).
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.cleaned.aggregate import bars_of_quotes, bars_of_trades
from resources import catalog as catalog_module
from resources.catalog import QUOTES, TRADES, Catalog, CatalogError, UnknownColumnError, UnknownTableError
from resources.errors import BarSchemaError, QuantError
from resources.lake import Lake
from resources.market_data.timeframes import INTRADAY
from resources.warehouse import slots
from resources.warehouse.asking import QuestionError
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

Span = tuple[datetime, datetime]

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


def answers(catalog: Catalog, symbols: list[str], span: Span, many: int) -> list[pl.DataFrame | str]:
    """To so many of the questions; an error is its text."""

    def told(ask: Callable[[], pl.DataFrame]) -> pl.DataFrame | str:
        try:
            return ask()
        except QuantError as error:
            return f"{type(error).__name__}: {error}"

    every = [
        lambda: catalog.bars(symbols, "1m", *span),
        lambda: catalog.bars(symbols, "1m", *span, of="quotes"),
        lambda: catalog.rows(TRADES, symbols),
        lambda: catalog.rows(QUOTES, symbols, *span),
        lambda: catalog.last_quotes(symbols, span[1]),
        lambda: catalog.quoted_trades(symbols, *span),
    ]
    return [told(ask) for ask in every[:many]]


def alike(catalogs: tuple[Catalog, Catalog], symbols: list[str], span: Span, many: int = 6) -> list[object]:
    """The answers, which both engines give, or refuse in the same words."""
    first, second = (answers(catalog, symbols, span, many) for catalog in catalogs)
    for one, other in zip(first, second, strict=True):
        if isinstance(one, str) or isinstance(other, str):
            assert one == other
        else:
            same(one, other)
            # Also by bits: 0.0 and -0.0 are equal, and are not the same.
            assert one.hash_rows().to_list() == other.hash_rows().to_list()
    return list(first)


NUMBERS = [math.nan, math.inf, -math.inf, -0.0, 0.0, -1.5, 2.0**62, 2.0**63, 1e300, 5e-324]


def test_numbers_that_no_market_has_are_answered_or_refused_alike(front: Front) -> None:
    later = MONDAY + timedelta(seconds=1)
    cases = {f"{column} {number}": (column, number) for column in ("price", "size", "quote") for number in NUMBERS}
    trades, quotes = [], []
    for symbol, (column, number) in cases.items():
        price, size = (number, 1.0) if column == "price" else (1.0, number if column == "size" else 1.0)
        trades += [(symbol, MONDAY, 0.0, 1.0, None), (symbol, MONDAY, 2.0, 0.25, None)]
        trades += [(symbol, later, price, size, None)] * 2
        quotes += [(symbol, MONDAY, 1.0, 2.0), (symbol, later, number if column == "quote" else 1.0, 3.0)]
    with both(front, worlds.of_trades(trades), worlds.of_quotes(quotes), "%Y-%m") as catalogs:
        span = MONDAY, MONDAY + timedelta(minutes=1)
        alike(catalogs, list(cases), span)
        for symbol, (column, number) in cases.items():
            bars, middles = alike(catalogs, [symbol], span, 2)
            no_number = f"BarSchemaError: market_data/{{}}: {symbol} {later}: its price or size is no number"
            if column != "quote" and (not math.isfinite(number) or (column == "size" and number >= 2.0**63)):
                assert str(bars).startswith(no_number.format("trades"))
            elif column == "size" and number == 2.0**62:
                assert f"{symbol} {MONDAY}: the sizes in this bar come to 2^63 or more" in str(bars)
            else:
                assert isinstance(bars, pl.DataFrame), symbol
                assert bars["volume"].to_list() == [1.25 + 2 * (number if column == "size" else 1.0)]
            if column == "quote" and (math.isnan(number) or number == math.inf):
                assert str(middles).startswith(no_number.format("quotes"))
            else:
                assert isinstance(middles, pl.DataFrame), symbol


YEARS = [1, 1899, 1969, 2262, 2300, 9999]


@pytest.mark.parametrize("grain", ["%Y", "%Y-%m-%d"])
def test_all_of_time_is_answered_alike(front: Front, grain: str) -> None:
    ends = {str(year): (datetime(year, 1, 1, tzinfo=UTC), datetime(year, 12, 31, 23, 59, tzinfo=UTC)) for year in YEARS}
    steps = [timedelta(0), timedelta(seconds=59), timedelta(seconds=59, milliseconds=999)]
    instants = {symbol: [end + step for end in both_ends for step in steps] for symbol, both_ends in ends.items()}
    trades = pl.concat([ticks_at(held, [symbol]) for symbol, held in instants.items()])
    quotes = worlds.of_quotes([(symbol, ts, 1.0, 2.0) for symbol, held in instants.items() for ts in held])
    with both(front, trades, quotes, grain) as catalogs:
        for symbol, held in instants.items():
            bars, _, rows, _, _, quoted = alike(catalogs, [symbol], (held[1], held[-1]))
            of_symbol = trades.filter(pl.col("symbol") == symbol)
            asked = of_symbol[1:-1]
            assert isinstance(rows, pl.DataFrame)
            assert isinstance(quoted, pl.DataFrame)
            assert isinstance(bars, pl.DataFrame)
            same(rows, of_symbol)
            same(quoted["quoted_at"].rename("ts").to_frame(), asked.select("ts"))
            same(bars, bars_of_trades(asked.lazy(), "1m").collect())


ODD = ["A\nB", "A'B", 'A"B', "A`B", "A\\", "A\tB", "A,B", "A\x00B", "a", "%41", "..", "$a", "e" + chr(0x301)]
ODD += map(chr, (0xFF21, 0xE9, 0x1F680))
"""Among them what looks alike: a wide A, and é as one letter and as two."""


def test_symbols_of_any_letters_are_held_apart(front: Front) -> None:
    trades = worlds.of_trades([(symbol, MONDAY, 1.0 + at, 1.0, None) for at, symbol in enumerate(ODD)])
    quotes = worlds.of_quotes([(symbol, MONDAY, 1.0 + at, 9.0) for at, symbol in enumerate(ODD)])
    with both(front, trades, quotes, "%Y-%m") as catalogs:
        for catalog in catalogs:
            assert catalog.symbols(TRADES) == sorted(ODD)
        _, _, rows, *_ = alike(catalogs, ODD, (MONDAY, MONDAY + MICROSECOND))
        assert isinstance(rows, pl.DataFrame)
        same(rows, trades.sort("symbol"))
        for symbol in ODD:
            alike(catalogs, [symbol], (MONDAY, MONDAY + MICROSECOND), 1)


def test_tables_without_rows_are_answered_alike(front: Front) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        for table, schema in ((TRADES, worlds.TRADE_SCHEMA), (QUOTES, worlds.QUOTE_SCHEMA)):
            with lake.writing(table.split("/")) as staging:
                staging.write([({"symbol": "A", "date": "2024-03"}, schema.to_frame())])
        with DuckDB(lake) as duckdb, ClickHouse.connect(front.settings(database="no_rows")) as clickhouse:
            for table in (TRADES, QUOTES):
                load(lake, clickhouse, table)
            for catalog in (duckdb, clickhouse):
                assert catalog.tables() == [QUOTES, TRADES]
                assert catalog.symbols(TRADES) == []
            for told in alike((duckdb, clickhouse), ["A"], (MONDAY, MONDAY + MICROSECOND)):
                assert str(told).startswith("UnheldSymbolError: market_data/")
            clickhouse.command("DROP DATABASE no_rows SYNC")


NO_QUESTIONS = [
    ("", "it is empty; give one SELECT"),
    (" ; -- nothing", "it is empty; give one SELECT"),
    ("SELECT 1; SELECT 2", "it is 2 statements; ask one at a time"),
    ("SELECT 1; DROP TABLE market_data_trades", "it is 2 statements; ask one at a time"),
    ("DROP TABLE market_data_trades", "DROP is no question"),
    ("truncate table market_data_trades", "TRUNCATE is no question"),
    ("ALTER TABLE market_data_trades DELETE WHERE 1", "ALTER is no question"),
    ("/* SELECT */ DELETE FROM market_data_trades WHERE 1", "DELETE is no question"),
    ("WITH a AS (SELECT * FROM market_data_trades) INSERT INTO market_data_trades SELECT * FROM a", "INSERT writes"),
    ("SELECT 1 INTO OUTFILE 'one.csv'", "INTO writes"),
    ("COPY (SELECT 1) TO 'one.csv'", "COPY is no question"),
    ("EXPLAIN ANALYZE CREATE TABLE a AS SELECT 1", "CREATE writes"),
    ("SET threads = 1", "SET is no question"),
    ("?", r"\? is no question"),
    ("SELECT $$it's$$ AS a; COPY (SELECT 1) TO 'one.csv' --'", r"'\$' is not taken"),
    ("SELECT $a$'$a$ AS x; DROP TABLE market_data_trades --'", r"'\$' is not taken"),
    ("SELECT E'\\'' AS a; DROP TABLE market_data_trades --'", '"E\'" is not taken'),
    ("EXPLAIN ANALYZE /* /* */ ' */ COPY (SELECT 1) TO 'one.csv' --'", r"'/\* /\*' is not taken"),
    ("SELECT \u2018'\u2019 AS x; DROP TABLE market_data_trades --'", "'\u2018' is not taken"),
    ("SELECT 1 # '\n; DROP TABLE market_data_trades --'", "'#' is not taken"),
    ("SELECT 'a", "the ' at letter 8 is not closed"),
]


@pytest.mark.parametrize(("text", "says"), NO_QUESTIONS)
def test_what_is_no_question_is_refused_alike_and_changes_nothing(dense: World, text: str, says: str) -> None:
    for catalog in dense[0]:
        with pytest.raises(QuestionError, match=f"sql: {says}"):
            catalog.sql(text)
        assert catalog.sql("SELECT count(*) AS n FROM market_data_trades")["n"].to_list() == [600]


def test_the_engines_refuse_to_write_by_themselves(dense: World) -> None:
    """Were the reading of the text wrong, they would still do nothing."""
    for catalog in dense[0]:
        for text in ("SELECT 1; DROP TABLE market_data_trades", "CREATE TABLE a (x Int) "):
            with pytest.raises(CatalogError if catalog is dense[0][1] else QuestionError):
                catalog._sql(text, [TRADES])
        assert catalog.sql("SELECT count(*) AS n FROM market_data_trades")["n"].to_list() == [600]


QUESTIONS = [
    "SELECT ';' AS a, 'DROP' AS b; -- INSERT",
    "/* ; */ WITH c AS (SELECT ';' AS a, 'DROP' AS b) SELECT * FROM c;;",
    "(SELECT 'it''s; ' AS x, \"delete\" AS a FROM (SELECT 1 AS \"delete\"))",
    "FROM market_data_trades SELECT count(*) AS n",
    "SELECT count(*) AS n FROM market_data_trades",
]


@pytest.mark.parametrize("text", QUESTIONS)
def test_questions_are_answered_whatever_stands_in_quotes_and_comments(dense: World, text: str) -> None:
    first, second = (catalog.sql(text).rows() for catalog in dense[0])
    assert first == second


def test_each_engine_has_its_own_quotes(dense: World) -> None:
    """A backslash is a letter in DuckDB, and escapes the quote in ClickHouse."""
    duckdb, clickhouse = dense[0]
    assert duckdb.sql("SELECT '\\' AS a, ';' AS b").rows() == [("\\", ";")]
    assert clickhouse.sql("SELECT '\\';' AS a").rows() == [("';",)]


def test_what_a_question_names_wrongly_is_told_with_what_there_is(dense: World) -> None:
    for catalog in dense[0]:
        with pytest.raises(UnknownTableError, match=r"none.*; there is market_data_quotes, market_data_trades$"):
            catalog.sql("SELECT * FROM none")
        with pytest.raises(UnknownColumnError, match=r"prize.*; market_data_trades has symbol, ts, price, size"):
            catalog.sql("SELECT prize FROM market_data_trades")
        with pytest.raises(CatalogError, match=r"(?i)syntax error") as error:
            catalog.sql("SELECT FROM WHERE")
        assert "\n" not in str(error.value)


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
