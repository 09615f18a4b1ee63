"""The catalog over the lake as it stands after installing: DuckDB, no server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import fsspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.cleaned.aggregate import bars_of_trades
from resources.catalog import (
    AFTER_LAST,
    FIRST,
    QUOTES,
    TRADES,
    Catalog,
    CatalogError,
    UnheldSymbolError,
    UnknownColumnError,
    UnknownTableError,
)
from resources.config_warehouse import WarehouseSettings
from resources.errors import ConfigError, LakeError
from resources.lake import Lake
from resources.warehouse.asking import QuestionError
from resources.warehouse.choose import open_catalog
from resources.warehouse.duckdb import DuckDB
from tests.resources.warehouse import worlds
from tests.resources.warehouse.worlds import INSTANTS, MICROSECOND, MONDAY

SPAN = INSTANTS[0], INSTANTS[-1] + MICROSECOND
XNYS = pl.DataFrame({"symbol": ["A"], "calendar": ["XNYS"]})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return worlds.make(Lake(str(tmp_path / "lake")), *worlds.drawn(3, 60), "%Y-%m")


@pytest.fixture
def catalog(lake: Lake) -> Catalog:
    return open_catalog(WarehouseSettings(), lake)


@settings(max_examples=20)
@given(worlds.trades(), worlds.quotes(), st.sampled_from(["%Y", "%Y-%m"]), st.sampled_from(INSTANTS))
def test_answers_are_true(
    tmp_path_factory: pytest.TempPathFactory, trades: pl.DataFrame, quotes: pl.DataFrame, grain: str, at: datetime
) -> None:
    """Both engines at once: tests/resources/warehouse/test_engines_agree.py."""
    with DuckDB(worlds.make(Lake(str(tmp_path_factory.mktemp("lake"))), trades, quotes, grain)) as catalog:
        span = at, SPAN[1]
        traded, told = sorted(trades["symbol"].unique()), sorted(quotes["symbol"].unique())
        if told:
            assert_frame_equal(catalog.last_quotes(told, at), worlds.last(quotes, told, at), check_exact=True)
        if traded:
            assert_frame_equal(
                catalog.quoted_trades(traded, *span),
                worlds.quoted(trades, quotes, traded, span, None),
                check_exact=True,
            )
            bars = bars_of_trades(worlds.rows(trades, traded, *span).lazy(), "5m").collect()
            assert_frame_equal(catalog.bars(traded, "5m", *span), bars, rel_tol=1e-12)


REFUSED = [
    (lambda catalog: catalog.rows("market_data/none", ["A"]), UnknownTableError, "no table 'market_data/none'; it has"),
    (lambda catalog: catalog.rows("market_data", ["A"]), UnknownTableError, "no table 'market_data'"),
    (
        lambda catalog: catalog.rows(TRADES, ["ZZ", "A"]),
        UnheldSymbolError,
        "has no rows of ZZ; it has A, B/C",
    ),
    (lambda catalog: catalog.rows(TRADES, []), CatalogError, r"symbols: it is \[\]; give a list"),
    (lambda catalog: catalog.rows(TRADES, "A"), CatalogError, "symbols: it is 'A'; give a list"),
    (lambda catalog: catalog.rows(TRADES, ["A"], datetime(2024, 3, 1)), CatalogError, "start: .* has no time zone"),
    (lambda catalog: catalog.rows(TRADES, ["A"], None, MONDAY.date()), CatalogError, "end: .* has no time zone"),
    (lambda catalog: catalog.rows(TRADES, ["A"], *SPAN[::-1]), CatalogError, "end: .* is before start"),
    (
        lambda catalog: catalog.rows(TRADES, ["A"], columns=["prize"]),
        CatalogError,
        "has no column prize; it has sy",
    ),
    (lambda catalog: catalog.last_quotes(["A"], datetime(2024, 3, 1)), CatalogError, "at: .* has no time zone"),
    (lambda catalog: catalog.bars(["A"], "7m", *SPAN), ConfigError, "timeframe: no bars of '7m' from ticks"),
    (
        lambda catalog: catalog.bars(["A"], "1d", FIRST, AFTER_LAST, calendars=XNYS),
        ConfigError,
        "dates: no sessions of XNYS from 0001-01-01 .* choose others",
    ),
    (
        lambda catalog: catalog.rows(TRADES, ["A"], datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
        CatalogError,
        r"start: 0001-01-01 00:00:00\+01:00 is outside of the years 1 to 9999 in UTC",
    ),
    (
        lambda catalog: catalog.quoted_trades(["A"], *SPAN, max_age=timedelta(-1)),
        CatalogError,
        "max_age: it is -1 day.*; it must be zero or more",
    ),
    (
        lambda catalog: catalog.sql("SELECT * FROM none"),
        UnknownTableError,
        "duckdb: .*none does not exist; there is market_data_quotes, market_data_trades$",
    ),
    (
        lambda catalog: catalog.sql("SELECT prize FROM market_data_trades"),
        UnknownColumnError,
        '"prize" not found.*; market_data_trades has symbol, ts, price',
    ),
    (lambda catalog: catalog.sql("SELECT FROM WHERE"), CatalogError, 'duckdb: Parser Error: .* near "WHERE"$'),
    (lambda catalog: catalog.sql("SELECT CAST(symbol AS INT) FROM market_data_trades"), CatalogError, "Could not conv"),
    (lambda catalog: catalog.sql("SELECT INTERVAL 1 DAY AS i"), CatalogError, "the answer is no frame, cast its col"),
]


@pytest.mark.parametrize(("ask", "error", "says"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_answered_is_told(catalog: Catalog, ask, error: type[Exception], says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=says):
        ask(catalog)


def test_a_table_without_symbols_is_asked_by_sql_only(catalog: Catalog, lake: Lake) -> None:
    with lake.writing(["models", "scores"]) as staging:
        staging.write([({"date": "2024-03-01"}, pl.DataFrame({"fold": [1, 2]}))])
    with pytest.raises(CatalogError, match="models/scores has no symbol and no ts: it can be asked by `sql` only"):
        catalog.rows("models/scores", ["A"])
    assert catalog.sql("SELECT sum(fold) AS folds FROM models_scores")["folds"].to_list() == [3]


def test_a_table_of_sessions_is_asked_like_any_other(catalog: Catalog, lake: Lake) -> None:
    """One file a date, all symbols in it."""
    frame = worlds.drawn(5, 40)[0].sort("symbol", "ts")
    with lake.writing(["features", "panel"]) as staging:
        staging.write([({"date": "2024-03"}, frame)])
    assert catalog.symbols("features/panel") == sorted(frame["symbol"].unique())
    found = catalog.rows("features/panel", ["B/C", "A"], *SPAN)
    assert_frame_equal(found, worlds.rows(frame, ["A", "B/C"], *SPAN), check_exact=True)


def test_an_empty_range_has_no_rows_and_the_schema(catalog: Catalog) -> None:
    whole = catalog.rows(TRADES, ["A"])
    for start in (MONDAY + MICROSECOND, datetime(1999, 1, 1, tzinfo=MONDAY.tzinfo)):
        none = catalog.rows(TRADES, ["A"], start, start)
        assert none.is_empty()
        assert none.schema == whole.schema
        assert catalog.bars(["A"], "1m", start, start).is_empty()
        assert catalog.quoted_trades(["A"], start, start).is_empty()
    assert catalog.last_quotes(["A"], datetime(1999, 1, 1, tzinfo=MONDAY.tzinfo)).is_empty()


def test_a_symbol_with_empty_partitions_only_is_not_held(catalog: Catalog, lake: Lake) -> None:
    with lake.writing(TRADES.split("/")) as staging:
        staging.write([({"symbol": "NONE", "date": "2024-03"}, worlds.drawn(1, 1)[0].clear())])
    assert "NONE" not in catalog.symbols(TRADES)
    with pytest.raises(UnheldSymbolError, match="no rows of NONE"):
        catalog.rows(TRADES, ["NONE"])


def test_trades_of_a_market_without_quotes_have_none(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    worlds.write(lake, TRADES, worlds.drawn(3, 20)[0])
    with DuckDB(lake) as catalog:
        found = catalog.quoted_trades(["A"], *SPAN)
        assert found.height == catalog.rows(TRADES, ["A"]).height > 0
        assert found["quoted_at"].null_count() == found.height


def test_a_partition_written_later_is_seen_and_an_older_one_has_not_its_column(catalog: Catalog, lake: Lake) -> None:
    before = catalog.rows(TRADES, ["A"]).height
    later = worlds.of_trades([("A", MONDAY + timedelta(days=60), 1.0, 1.0, None)])
    worlds.write(lake, TRADES, later.with_columns(sequence=pl.lit(4)))
    assert catalog.rows(TRADES, ["A"]).height == before + 1
    with DuckDB(lake) as again:
        assert again.rows(TRADES, ["A"])["sequence"].to_list() == [None] * before + [4]
        # None of another symbol's files has the column.
        assert again.rows(TRADES, ["B/C"])["sequence"].null_count() == again.rows(TRADES, ["B/C"]).height > 0


def test_one_instant_reads_one_partition(catalog: Catalog, lake: Lake) -> None:
    """However long the history: the other files may even be damaged."""
    told = [("A", MONDAY + timedelta(days=31 * month), 1.0 + month, 2.0) for month in range(12)]
    worlds.write(lake, QUOTES, worlds.of_quotes(told))
    for month in ("2024-03", "2024-04", "2024-09", "2024-10"):
        with open(lake.path(QUOTES.split("/"), {"symbol": "A", "date": month}), "r+b") as file:
            file.truncate(10)
    at = MONDAY + timedelta(days=31 * 4)
    assert catalog.last_quotes(["A"], at)["bid"].to_list() == [5.0]
    with pytest.raises(CatalogError, match=r"date=2024-0[34]/part\.parquet"):
        catalog.rows(QUOTES, ["A"])
    with pytest.raises(CatalogError, match=r"date=2024-04/part\.parquet"):
        catalog.last_quotes(["A"], MONDAY + timedelta(days=31))


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
def test_partitions_dated_by_the_venues_clock_are_found(tmp_path: Path, zone: str) -> None:
    """A session begins on the day before its date, or ends on the day after, in UTC."""
    lake, (trades, quotes) = Lake(str(tmp_path)), worlds.drawn(11, 80)
    for table, frame in ((TRADES, trades), (QUOTES, quotes)):
        local = pl.col("ts").dt.convert_time_zone(zone).dt.strftime("%Y-%m-%d")
        with lake.writing(table.split("/")) as staging:
            parts = frame.with_columns(date=local).partition_by("symbol", "date", as_dict=True)
            staging.write([({"symbol": key[0], "date": key[1]}, part.drop("date")) for key, part in parts.items()])
    with DuckDB(lake) as catalog:
        for ts in trades.filter(pl.col("symbol") == "A")["ts"].unique().sort()[::3]:
            span = ts, ts + MICROSECOND
            assert_frame_equal(catalog.rows(TRADES, ["A"], *span), worlds.rows(trades, ["A"], *span), check_exact=True)
        for ts in quotes.filter(pl.col("symbol") == "A")["ts"].unique().sort()[::3]:
            assert_frame_equal(catalog.last_quotes(["A"], ts), worlds.last(quotes, ["A"], ts), check_exact=True)


@pytest.mark.parametrize(
    ("name", "beside"),
    [("a[b]", "ab"), ("[!x]", "y"), ("a[", "a"), ("a*", "ab"), ("**", "a"), ("a?c", "abc"), ("O'Neil; --", "ON")],
)
def test_a_lake_whose_name_is_a_pattern_is_not_the_lakes_that_it_matches(
    tmp_path: Path, name: str, beside: str
) -> None:
    symbols = ["A[B]", "A*", "A?", "O'N", "C%41", "A\\B", "{A,B}"]
    for folder, price in ((name, 1.0), (beside, 2.0)):
        trades = worlds.of_trades([(symbol, MONDAY, price, 1.0, None) for symbol in symbols])
        quotes = worlds.of_quotes([(symbol, MONDAY, price, price) for symbol in symbols])
        worlds.make(Lake(str(tmp_path / folder)), trades, quotes)
    with DuckDB(Lake(str(tmp_path / name))) as catalog:
        assert catalog.symbols(TRADES) == sorted(symbols)
        assert catalog.rows(TRADES, symbols)["price"].to_list() == [1.0] * 7
        assert catalog.last_quotes(symbols, MONDAY)["bid"].to_list() == [1.0] * 7
        assert catalog.bars(symbols, "1m", MONDAY, MONDAY + MICROSECOND)["close"].to_list() == [1.0] * 7
        assert catalog.quoted_trades(symbols, MONDAY, MONDAY + MICROSECOND)["bid"].to_list() == [1.0] * 7
        found = catalog.sql("SELECT symbol, price FROM market_data_trades WHERE date = '2024-03' ORDER BY symbol")
        assert found.rows() == [(symbol, 1.0) for symbol in sorted(symbols)]


def test_names_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"DuckDB takes a backslash for the end of a folder's name; rename"):
        DuckDB(Lake(str(tmp_path / "a\\b")))
    with pytest.raises(LakeError, match=r"memory://a\[b\]: .* pattern"):
        Lake("memory://a[b]")


@pytest.mark.parametrize(
    "text",
    [
        "COPY (SELECT 1) TO 'OUT'",
        "SELECT 1; COPY (SELECT 1) TO 'OUT'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'OUT'",
        "EXPLAIN /* a */ ANALYZE COPY (SELECT 1) TO 'OUT'",
        "EXPLAIN (ANALYZE, FORMAT JSON) COPY (SELECT 1) TO 'OUT'",
        "EXPLAIN ANALYZE CREATE TABLE a AS SELECT 1",
    ],
)
def test_duckdb_refuses_to_write_by_itself(catalog: Catalog, tmp_path: Path, text: str) -> None:
    """Whatever our own look at a question lets through."""
    with pytest.raises(QuestionError, match=r"COPY|CREATE|EXPLAIN"):
        catalog._sql(text.replace("OUT", str(tmp_path / "out.csv")), [])
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM enable_profiling(format='json', save_location='OUT')",
        "SELECT * FROM enable_logging('QueryLog', storage='file', storage_config={'path': 'OUT'})",
        "FROM disable_logging()",
        "SELECT * FROM 'HERE'",
        "SELECT * FROM read_text('HERE')",
        "SELECT * FROM read_csv('HERE')",
        "SELECT * FROM glob('/*')",
    ],
)
def test_a_question_of_duckdbs_reads_the_lake_alone_and_leaves_no_setting_behind(
    catalog: Catalog, tmp_path: Path, text: str
) -> None:
    """Some functions of a plain SELECT write files, then or with each later question."""
    here, out = tmp_path / "here.csv", tmp_path / "out.json"
    here.write_text("a\n1\n")
    with pytest.raises(CatalogError, match=r"locked|disabled by configuration"):
        catalog.sql(text.replace("OUT", str(out)).replace("HERE", str(here)))
    assert catalog.sql("SELECT 1 AS a").rows() == [(1,)]
    assert not out.exists()


def test_a_question_of_duckdbs_does_not_read_what_others_keep_for_a_while(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp" / "other.csv").write_text("a\n1\n")
    with DuckDB(lake) as catalog:
        for name in (".tmp/other.csv", str(tmp_path / ".tmp" / "other.csv")):
            with pytest.raises(CatalogError, match="disabled by configuration"):
                catalog.sql(f"SELECT * FROM read_csv('{name}')")


@pytest.mark.parametrize(
    "text", ["EXPLAIN SELECT 1", "/* a */ explain analyze SELECT 1", "EXPLAIN (FORMAT JSON) SELECT 1"]
)
def test_questions_are_explained(catalog: Catalog, text: str) -> None:
    assert catalog.sql(text).height > 0


def test_a_frame_of_the_program_is_no_table(catalog: Catalog) -> None:
    parameters = relation = pl.DataFrame({"a": [1]})
    assert parameters is relation
    for name in ("parameters", "relation", "text"):
        with pytest.raises(UnknownTableError, match=f"Table with name {name} does not exist"):
            catalog.sql(f"SELECT * FROM {name}")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "half written": lambda good: good[: len(good) // 2],
    "not Parquet": lambda good: b"<html>" * 50,
    "a bad footer": lambda good: good[:-60] + b"?" * 40 + good[-20:],
    "bad pages": lambda good: good[:8] + b"\xa5" * (len(good) // 3) + good[8 + len(good) // 3 :],
}


@pytest.mark.parametrize("date", ["2024-02", "2024-03"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_named_whatever_is_asked(lake: Lake, damage: Callable[[bytes], bytes], date: str) -> None:
    path = Path(lake.path(TRADES.split("/"), {"symbol": "A", "date": date}))
    path.write_bytes(damage(path.read_bytes()))
    said = rf"symbol=A/date={date}/part\.parquet is not readable Parquet; materialize that partition again"
    with DuckDB(lake) as catalog:
        for ask in (
            lambda: catalog.rows(TRADES, ["A"]),
            lambda: catalog.bars(["A"], "1h", *SPAN),
            lambda: catalog.quoted_trades(["A"], *SPAN),
            lambda: catalog.sql("SELECT max(price), max(trade_id) FROM market_data_trades"),
        ):
            with pytest.raises(CatalogError, match=said) as error:
                ask()
            assert "\n" not in str(error.value)
        assert catalog.sql("SELECT count(*) AS n FROM market_data_quotes")["n"].to_list() == [60]
        assert catalog.rows(TRADES, ["B/C"]).height > 0


def test_the_newest_file_may_be_the_damaged_one(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    worlds.write(lake, TRADES, worlds.of_trades([("A", MONDAY, 1.0, 1.0, None)]))
    Path(lake.path(TRADES.split("/"), {"symbol": "A", "date": "2024-03"})).write_bytes(b"PAR1PAR1")
    for ask in (lambda catalog: catalog.columns(TRADES), lambda catalog: catalog.symbols(TRADES)):
        with DuckDB(lake) as catalog, pytest.raises(CatalogError, match=r"date=2024-03/part\.parquet is not readable"):
            ask(catalog)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_damaged_is_told_to_those_alone_who_ask_for_it(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """The newest file of the table, which has a column more, is another symbol's."""
    lake = worlds.make(Lake(str(tmp_path)), *worlds.drawn(3, 60))
    later = MONDAY + timedelta(days=60)
    for table, frame in (
        (TRADES, worlds.of_trades([("B/C", later, 1.0, 1.0, None)])),
        (QUOTES, worlds.of_quotes([("B/C", later, 1.0, 1.0)])),
    ):
        worlds.write(lake, table, frame.with_columns(more=pl.lit(1.0)))
    with DuckDB(lake) as catalog:
        asks = [
            lambda symbol: catalog.rows(TRADES, [symbol], columns=["symbol", "ts", "price"]),
            lambda symbol: catalog.last_quotes([symbol], later),
            lambda symbol: catalog.bars([symbol], "1h", SPAN[0], later + MICROSECOND),
            lambda symbol: catalog.quoted_trades([symbol], SPAN[0], later + MICROSECOND),
        ]
        before = [ask("A") for ask in asks]
        symbols, early = catalog.symbols(TRADES), catalog.rows(TRADES, ["B/C"], *SPAN)
    for table in (TRADES, QUOTES):
        path = Path(lake.path(table.split("/"), {"symbol": "B/C", "date": "2024-05"}))
        path.write_bytes(damage(path.read_bytes()))
    said = (
        r"market_data/(trades|quotes) B/C 2024-05: .*symbol=B%2FC/date=2024-05/part\.parquet is not readable Parquet; "
    )
    with DuckDB(lake) as catalog:
        for ask, answer in zip(asks, before, strict=True):
            assert_frame_equal(ask("A"), answer, check_exact=True)
            with pytest.raises(CatalogError, match=said + "materialize that partition again"):
                ask("B/C")
        assert catalog.symbols(TRADES) == symbols
        # Of the damaged symbol, what lies in other files.
        assert_frame_equal(
            catalog.rows(TRADES, ["B/C"], *SPAN).select(early.columns[:9]), early.select(early.columns[:9])
        )
        with pytest.raises(UnheldSymbolError, match=r"no rows of ZZ; it has A, B/C"):
            catalog.rows(TRADES, ["ZZ"])


def test_a_lake_elsewhere_is_read_through_fsspec() -> None:
    lake = worlds.make(Lake("memory://elsewhere"), *worlds.drawn(3, 30), "%Y-%m")
    try:
        with DuckDB(lake, threads=1, memory="1GB") as catalog:
            assert catalog.tables() == [QUOTES, TRADES]
            frame = worlds.drawn(3, 30)[0]
            assert_frame_equal(catalog.rows(TRADES, ["A"]), worlds.rows(frame, ["A"], *SPAN), check_exact=True)
            counted = catalog.sql("SELECT count(*) AS n FROM market_data_trades WHERE symbol = 'B/C'")
            assert counted["n"].to_list() == [frame.filter(pl.col("symbol") == "B/C").height]
    finally:
        fsspec.filesystem("memory").rm("/elsewhere", recursive=True)


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "warehouse.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    at = datetime(2024, 3, 11, 14, 30, tzinfo=MONDAY.tzinfo)
    trades = worlds.of_trades([("AAPL", at, 100.0, 1.0, "buy")])
    quotes = worlds.of_quotes([(symbol, at, 99.9, 100.1) for symbol in ("AAPL", "MSFT")])
    worlds.make(Lake(str(tmp_path)), trades, quotes)
    monkeypatch.setenv("QUANT_LAKE", str(tmp_path))
    named: dict[str, object] = {}
    exec(code.replace("    catalog.", "    answer = catalog."), named)
    answer = named["answer"]
    assert isinstance(answer, pl.DataFrame)
    assert answer.rows() == [("AAPL", 1)]
    for field in WarehouseSettings.model_fields:
        assert f"`{field}`" in text or f"{field}:" in text, f"docs/warehouse.md does not say what {field} is"
