"""Loading the lake into ClickHouse: as often as one likes, each date whole or not at all, late rows, killed loads."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from resources.catalog import QUOTES, TRADES, CatalogError, UnknownTableError, WarehouseUnavailableError
from resources.lake import Lake
from resources.warehouse import loading
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.duckdb import DuckDB
from resources.warehouse.loading import Loaded, load
from tests.resources.warehouse import worlds
from tests.resources.warehouse.conftest import Front
from tests.resources.warehouse.worlds import MONDAY


def trades(symbols: str, days: int = 2, price: float = 100.0) -> pl.DataFrame:
    """Three trades a symbol (a letter) and day."""
    return worlds.of_trades(
        [
            (symbol, MONDAY + timedelta(days=day, hours=hour), price + hour, 1.0, None)
            for symbol in symbols
            for day in range(days)
            for hour in (14, 15, 15)
        ]
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path / "lake"))
    worlds.write(made, TRADES, trades("AB"), "%Y-%m-%d")
    return made


def mirrors(warehouse: ClickHouse, lake: Lake, symbols: str) -> None:
    """Every row of the lake is in the warehouse, and no other."""
    with DuckDB(lake) as catalog:
        assert_frame_equal(warehouse.rows(TRADES, list(symbols)), catalog.rows(TRADES, list(symbols)), check_exact=True)
        assert warehouse.symbols(TRADES) == sorted(symbols)


def staged(warehouse: ClickHouse) -> list[str]:
    frame = warehouse.sql(f"SELECT name FROM system.tables WHERE database = '{warehouse.database}'")
    return [name for name in frame["name"] if name.startswith("__")]


def test_a_second_load_finds_nothing_to_do(warehouse: ClickHouse, lake: Lake) -> None:
    said: list[str] = []
    assert load(lake, warehouse, TRADES, say=said.append) == Loaded(dates=2, partitions=4, rows=12)
    assert said[0] == f"{TRADES} 2024-03-11 (1 of 2): 2 partitions, 6 rows"
    mirrors(warehouse, lake, "AB")
    assert load(lake, warehouse, TRADES, say=said.append) == Loaded()
    assert len(said) == 2
    assert staged(warehouse) == []


def test_late_rows_are_sent_with_their_partition_alone(warehouse: ClickHouse, lake: Lake) -> None:
    load(lake, warehouse, TRADES)
    late = pl.concat([trades("A", 1), trades("A", 1, price=7.0)])
    worlds.write(lake, TRADES, late, "%Y-%m-%d")
    assert load(lake, warehouse, TRADES) == Loaded(dates=1, partitions=1, rows=6)
    mirrors(warehouse, lake, "AB")


def test_a_new_symbol_and_a_new_date_are_added(warehouse: ClickHouse, lake: Lake) -> None:
    load(lake, warehouse, TRADES)
    worlds.write(lake, TRADES, trades("C", 3), "%Y-%m-%d")
    assert load(lake, warehouse, TRADES, dates=["2024-03-11"]) == Loaded(dates=1, partitions=1, rows=3)
    assert load(lake, warehouse, TRADES) == Loaded(dates=2, partitions=2, rows=6)
    mirrors(warehouse, lake, "ABC")


def test_a_partition_without_rows_is_none(warehouse: ClickHouse, lake: Lake) -> None:
    load(lake, warehouse, TRADES)
    empty = trades("A").clear()
    with lake.writing(TRADES.split("/")) as staging:
        staging.write([({"symbol": symbol, "date": "2024-03-11"}, empty) for symbol in "AB"])
        staging.write([({"symbol": "C", "date": "2024-03-12"}, empty)])
    assert load(lake, warehouse, TRADES) == Loaded(dates=1, partitions=2)
    mirrors(warehouse, lake, "AB")
    assert load(lake, warehouse, TRADES) == Loaded()


def lose(lake: Lake, symbol: str, date: str) -> None:
    shutil.rmtree(lake.folder(TRADES.split("/"), {"symbol": symbol, "date": date}))


def test_what_the_lake_has_lost_is_taken_away(warehouse: ClickHouse, lake: Lake) -> None:
    """A symbol of a date, and then the whole date; dates that were not asked for stay."""
    load(lake, warehouse, TRADES)
    lose(lake, "A", "2024-03-11")
    lose(lake, "A", "2024-03-12")
    assert load(lake, warehouse, TRADES, dates=["2024-03-12"]) == Loaded(dates=1, removed=1)
    assert warehouse.rows(TRADES, ["A"]).height == 3
    assert load(lake, warehouse, TRADES) == Loaded(dates=1, removed=1)
    mirrors(warehouse, lake, "B")
    lose(lake, "B", "2024-03-12")
    assert load(lake, warehouse, TRADES) == Loaded(dates=1, removed=1)
    mirrors(warehouse, lake, "B")
    assert load(lake, warehouse, TRADES) == Loaded()


def test_a_lake_that_has_nothing_of_a_table_takes_nothing_away(
    warehouse: ClickHouse, lake: Lake, tmp_path: Path
) -> None:
    """Most likely it is another lake than was meant."""
    load(lake, warehouse, TRADES)
    with pytest.raises(UnknownTableError, match=f"no table '{TRADES}'"):
        load(Lake(str(tmp_path / "other")), warehouse, TRADES)
    mirrors(warehouse, lake, "AB")


def test_a_date_that_there_is_not_is_told(warehouse: ClickHouse, lake: Lake) -> None:
    with pytest.raises(CatalogError, match=r"the lake has no date 2024-3-11; the last .* are 2024-03-11, 2024-03-12"):
        load(lake, warehouse, TRADES, dates=["2024-3-11", "2024-03-12"])


def test_rows_lost_and_fetched_again_bring_the_time_of_their_fetching(warehouse: ClickHouse, lake: Lake) -> None:
    """fetched_at is no part of the lake's data version."""
    load(lake, warehouse, TRADES)
    lose(lake, "A", "2024-03-11")
    again = trades("A").head(3).with_columns(fetched_at=pl.lit(MONDAY + timedelta(days=9)))
    worlds.write(
        lake, TRADES, again.cast(dict(again.schema) | {"fetched_at": trades("A").schema["fetched_at"]}), "%Y-%m-%d"
    )
    assert load(lake, warehouse, TRADES) == Loaded(dates=1, partitions=1, rows=3)
    mirrors(warehouse, lake, "AB")


def test_a_partition_with_fewer_rows_leaves_none_of_the_old(warehouse: ClickHouse, lake: Lake) -> None:
    load(lake, warehouse, TRADES)
    worlds.write(lake, TRADES, trades("A", 1).head(1), "%Y-%m-%d")
    assert load(lake, warehouse, TRADES) == Loaded(dates=1, partitions=1, rows=1)
    mirrors(warehouse, lake, "AB")


def test_two_loads_at_once_end_with_the_lake(
    warehouse: ClickHouse, lake: Lake, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first has read the lake; B changes, and a second load brings it; then the first replaces the date."""
    load(lake, warehouse, TRADES)
    worlds.write(lake, TRADES, trades("A", price=5.0), "%Y-%m-%d")
    real, seen = warehouse.command, []

    def interrupted(text: str, *rest: Any) -> None:
        if "REPLACE PARTITION" in text and not seen:
            seen.append(text)
            worlds.write(lake, TRADES, trades("B", price=7.0), "%Y-%m-%d")
            with ClickHouse.connect(front.settings(database=warehouse.database)) as second:
                load(lake, second, TRADES)
        real(text, *rest)

    monkeypatch.setattr(warehouse, "command", interrupted)
    load(lake, warehouse, TRADES)
    mirrors(warehouse, lake, "AB")
    assert staged(warehouse) == []


def test_a_date_that_never_comes_to_rest_is_told(
    warehouse: ClickHouse, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = itertools.count(1)
    real = warehouse.insert

    def changed(name: str, frame: pl.DataFrame) -> None:
        real(name, frame)
        worlds.write(lake, TRADES, trades("A", 1, price=float(next(prices))), "%Y-%m-%d")

    monkeypatch.setattr(warehouse, "insert", changed)
    with pytest.raises(CatalogError, match=r"2024-03-11 changed whenever it was loaded: another load"):
        load(lake, warehouse, TRADES)
    monkeypatch.undo()
    load(lake, warehouse, TRADES)
    mirrors(warehouse, lake, "AB")


def test_a_column_that_the_lake_has_lost_is_told(warehouse: ClickHouse, lake: Lake) -> None:
    worlds.write(lake, TRADES, trades("AB").with_columns(more=pl.lit(1)), "%Y-%m-%d")
    load(lake, warehouse, TRADES)
    worlds.write(lake, TRADES, trades("AB"), "%Y-%m-%d")
    with pytest.raises(CatalogError, match=r"has more, which the newest partition of the lake has not\. Materialize"):
        load(lake, warehouse, TRADES)


def test_bad_pages_are_named_and_the_date_stays(warehouse: ClickHouse, lake: Lake) -> None:
    load(lake, warehouse, TRADES)
    before = warehouse.rows(TRADES, ["A", "B"])
    worlds.write(lake, TRADES, trades("A", price=5.0), "%Y-%m-%d")
    path = Path(lake.path(TRADES.split("/"), {"symbol": "A", "date": "2024-03-11"}))
    good = path.read_bytes()
    path.write_bytes(good[:8] + b"\xa5" * 300 + good[308:])
    with pytest.raises(CatalogError, match=r"symbol=A/date=2024-03-11/part\.parquet is not readable Parquet; mater"):
        load(lake, warehouse, TRADES)
    assert_frame_equal(warehouse.rows(TRADES, ["A", "B"]), before)


def test_a_column_that_the_lake_has_added_is_added(warehouse: ClickHouse, lake: Lake) -> None:
    load(lake, warehouse, TRADES)
    added = trades("A").with_columns(sequence=pl.Series(range(6)))
    worlds.write(
        lake, TRADES, added.select("symbol", "ts", "sequence", pl.all().exclude("symbol", "ts", "sequence")), "%Y-%m-%d"
    )
    load(lake, warehouse, TRADES)
    with DuckDB(lake) as catalog:
        found, expected = (each.rows(TRADES, ["A", "B"]) for each in (warehouse, catalog))
    assert_frame_equal(found, expected, check_exact=True)
    assert found["sequence"].to_list()[-6:] == [None] * 6


REFUSALS: list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame], str]] = [
    ("a null", lambda frame: frame.with_columns(price=pl.lit(None, pl.Float64)), r"3 rows have no price"),
    (
        "a type",
        lambda frame: frame.with_columns(pl.col("size").cast(pl.Int64)),
        r"size as Float64, the lake now as Int64",
    ),
    ("a nested column", lambda frame: frame.with_columns(more=pl.struct("price")), r"column more is Struct"),
    ("an own column", lambda frame: frame.with_columns(place=pl.lit(1)), r"a column cannot be called place"),
    ("another symbol", lambda frame: frame.with_columns(symbol=pl.lit("Z")), r"rows of another symbol than A"),
]


@pytest.mark.parametrize(("change", "says"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_what_cannot_be_held_is_refused_and_the_date_stays(
    warehouse: ClickHouse, lake: Lake, change: Callable[[pl.DataFrame], pl.DataFrame], says: str
) -> None:
    load(lake, warehouse, TRADES)
    before = warehouse.rows(TRADES, ["A", "B"])
    changed = change(trades("A", 1))
    with lake.writing(TRADES.split("/")) as staging:
        staging.write(
            [({"symbol": "A", "date": "2024-03-11"}, changed), ({"symbol": "A", "date": "2024-03-13"}, changed)]
        )
    with pytest.raises(CatalogError, match=says):
        load(lake, warehouse, TRADES)
    assert_frame_equal(warehouse.rows(TRADES, ["A", "B"]), before)
    assert staged(warehouse) == []


def test_a_file_of_another_program_is_refused(warehouse: ClickHouse, lake: Lake) -> None:
    trades("A", 1).write_parquet(lake.path(TRADES.split("/"), {"symbol": "A", "date": "2024-03-11"}))
    with pytest.raises(CatalogError, match=r"symbol=A/date=2024-03-11/part.parquet: it has no data version"):
        load(lake, warehouse, TRADES)


@pytest.mark.parametrize("date", ["2024-03-11", "2024-03-12"])
def test_a_damaged_file_is_named_and_its_date_stays(warehouse: ClickHouse, lake: Lake, date: str) -> None:
    """The columns are those of the newest file, the damaged one or not."""
    worlds.write(lake, TRADES, trades("A").with_columns(more=pl.lit(1)), "%Y-%m-%d")
    load(lake, warehouse, TRADES)
    before = warehouse.rows(TRADES, ["A", "B"])
    worlds.write(lake, TRADES, trades("B", price=5.0).with_columns(more=pl.lit(1)), "%Y-%m-%d")
    with open(lake.path(TRADES.split("/"), {"symbol": "A", "date": date}), "r+b") as file:
        file.truncate(50)
    said = rf"{TRADES} A {date}: .*symbol=A/date={date}/part\.parquet is not readable Parquet; materialize that"
    with pytest.raises(CatalogError, match=said):
        load(lake, warehouse, TRADES)
    of_date = pl.col("ts").dt.strftime("%Y-%m-%d") == date
    assert_frame_equal(warehouse.rows(TRADES, ["A", "B"]).filter(of_date), before.filter(of_date), check_exact=True)
    assert staged(warehouse) == []


def test_an_older_partition_unlike_the_newest_is_refused(warehouse: ClickHouse, lake: Lake) -> None:
    for other in (trades("B", 1).with_columns(size=pl.lit(1)), trades("B", 1).with_columns(old=pl.lit("x"))):
        worlds.write(lake, TRADES, other, "%Y-%m-%d")
        with pytest.raises(CatalogError, match=r"symbol=B/date=2024-03-11/.*: column (size|old) is .* unlike that"):
            load(lake, warehouse, TRADES)
    worlds.write(lake, TRADES, trades("B", 1).drop("provider"), "%Y-%m-%d")
    with pytest.raises(CatalogError, match="3 rows have no provider"):
        load(lake, warehouse, TRADES)


def test_tables_of_another_shape_are_refused(warehouse: ClickHouse, lake: Lake) -> None:
    with lake.writing(["features", "panel"]) as staging:
        staging.write([({"date": "2024-03-11"}, trades("A", 1))])
    with pytest.raises(CatalogError, match=r"features/panel: only tables of date x symbol are loaded"):
        load(lake, warehouse, "features/panel")
    with pytest.raises(UnknownTableError, match=rf"no table '{QUOTES}'; it has features/panel, {TRADES}"):
        load(lake, warehouse, QUOTES)


@pytest.mark.parametrize(("hours", "left"), [(24, 1), (-1, 0)])
def test_what_a_killed_load_left_is_swept_when_it_is_old(
    warehouse: ClickHouse, lake: Lake, monkeypatch: pytest.MonkeyPatch, hours: int, left: int
) -> None:
    """A load that is still at work is never a day old."""
    load(lake, warehouse, TRADES)
    warehouse.command(f"CREATE TABLE `{warehouse.database}`.__load_market_data_trades_1 AS {warehouse.name(TRADES)}")
    monkeypatch.setattr(loading, "_ABANDONED_HOURS", hours)
    load(lake, warehouse, TRADES)
    assert len(staged(warehouse)) == left


def test_rows_that_did_not_all_arrive_replace_nothing(
    warehouse: ClickHouse, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(lake, warehouse, TRADES)
    before = warehouse.rows(TRADES, ["A", "B"])
    worlds.write(lake, TRADES, trades("AB", price=5.0), "%Y-%m-%d")
    real = warehouse.insert
    monkeypatch.setattr(warehouse, "insert", lambda name, frame: real(name, frame.head(4)))
    with pytest.raises(CatalogError, match=r"2024-03-11 is not what was sent, at B: another load"):
        load(lake, warehouse, TRADES)
    assert_frame_equal(warehouse.rows(TRADES, ["A", "B"]), before)


def test_rows_of_another_program_are_told(warehouse: ClickHouse, lake: Lake) -> None:
    load(lake, warehouse, TRADES)
    name = warehouse.name(TRADES)
    warehouse.command(f"INSERT INTO {name} SELECT * REPLACE ('mine' AS version) FROM {name} WHERE symbol = 'A'")
    with pytest.raises(CatalogError, match=r"holds A 2024-03-1[12] in two versions, so another program wrote to it"):
        load(lake, warehouse, TRADES)


# --- a server that dies


@pytest.fixture
def dying(front: Front, tmp_path: Path) -> Iterator[Front]:
    with Front(tmp_path / "dying") as running:
        yield running


KILLED = [("before", "INSERT"), ("after", "INSERT"), ("before", "ALTER"), ("after", "ALTER")]


@pytest.mark.parametrize(("when", "step"), KILLED, ids=[" ".join(case) for case in KILLED])
def test_a_server_killed_at_any_step_leaves_each_date_old_or_new(
    dying: Front, lake: Lake, monkeypatch: pytest.MonkeyPatch, when: str, step: str
) -> None:
    """kill -9 at one step of the second date; what was killed is started again on what it left, and loaded again."""
    warehouse = ClickHouse.connect(dying.settings())
    load(lake, warehouse, TRADES)
    worlds.write(lake, TRADES, trades("A", price=5.0), "%Y-%m-%d")
    seen = 0

    def dies(real: Callable[..., None], of: str) -> Callable[..., None]:
        def call(text: str, *rest: object) -> None:
            nonlocal seen
            meant = of == step and (of == "INSERT" or text.startswith("ALTER"))
            seen += meant
            if meant and seen == 2 and when == "before":
                dying.kill()
            real(text, *rest)
            if meant and seen == 2 and when == "after":
                dying.kill()

        return call

    monkeypatch.setattr(warehouse, "command", dies(warehouse.command, "ALTER"))
    monkeypatch.setattr(warehouse, "insert", dies(warehouse.insert, "INSERT"))
    with pytest.raises(WarehouseUnavailableError, match="did not answer"):
        load(lake, warehouse, TRADES)
    with dying, ClickHouse.connect(dying.settings()) as again:
        second = MONDAY + timedelta(days=1)
        prices = again.rows(TRADES, ["A"], end=second)["price"].to_list()
        assert prices == [19.0, 20.0, 20.0]
        prices = again.rows(TRADES, ["A"], start=second)["price"].to_list()
        assert prices == ([19.0, 20.0, 20.0] if (when, step) == ("after", "ALTER") else [114.0, 115.0, 115.0])
        done = load(lake, again, TRADES)
        assert done.partitions == (0 if (when, step) == ("after", "ALTER") else 1)
        mirrors(again, lake, "AB")
