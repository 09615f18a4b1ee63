"""The types of answers: those of both engines come as the same of the frame's."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from resources.calendars import UTC_MICROS
from resources.catalog import TRADES, Catalog, CatalogError
from resources.lake import Lake
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.duckdb import DuckDB
from resources.warehouse.loading import load
from tests.resources.warehouse import worlds
from tests.resources.warehouse.conftest import Front
from tests.resources.warehouse.worlds import MONDAY

World = tuple[DuckDB, ClickHouse]
AT = dt.datetime(2024, 3, 11, 1, 2, 3, tzinfo=dt.UTC)
UUID = "61f0c404-5cb3-11e7-907b-a6006ad3dba0"


@dataclass(frozen=True, slots=True)
class Case:
    """One value, as an expression of DuckDB and of ClickHouse, and what it is in the frame."""

    duckdb: str
    clickhouse: str
    dtype: pl.DataType
    value: Any


_TEXT, _WIDE = pl.String(), pl.Decimal(38, 0)

CASES = {
    "Date": Case("DATE '2024-03-11'", "toDate('2024-03-11')", pl.Date(), AT.date()),
    "Date32": Case("DATE '1900-03-11'", "toDate32('1900-03-11')", pl.Date(), dt.date(1900, 3, 11)),
    "DateTime": Case("TIMESTAMP '2024-03-11 01:02:03'", "toDateTime('2024-03-11 01:02:03', 'UTC')", UTC_MICROS, AT),
    "DateTime elsewhere": Case(
        "TIMESTAMPTZ '2024-03-11 10:02:03+09'", "toDateTime('2024-03-11 10:02:03', 'Asia/Tokyo')", UTC_MICROS, AT
    ),
    "Nullable(DateTime)": Case("CAST(NULL AS TIMESTAMP)", "CAST(NULL AS Nullable(DateTime))", UTC_MICROS, None),
    "LowCardinality(DateTime)": Case(
        "TIMESTAMP_S '2024-03-11 01:02:03'",
        "toLowCardinality(toNullable(toDateTime('2024-03-11 01:02:03', 'UTC')))",
        UTC_MICROS,
        AT,
    ),
    "DateTime64(3)": Case(
        "TIMESTAMP_MS '2024-03-11 01:02:03'", "toDateTime64('2024-03-11 01:02:03', 3, 'UTC')", UTC_MICROS, AT
    ),
    "DateTime64(6) elsewhere": Case(
        "TIMESTAMPTZ '2024-03-11 10:02:03+09'", "toDateTime64('2024-03-11 10:02:03', 6, 'Asia/Tokyo')", UTC_MICROS, AT
    ),
    "DateTime64(9)": Case(
        "TIMESTAMP_NS '2024-03-11 01:02:03.000001999'",
        "toDateTime64('2024-03-11 01:02:03.000001999', 9, 'UTC')",
        UTC_MICROS,
        AT + dt.timedelta(microseconds=1),
    ),
    "Time": Case("TIME '01:02:03'", "toTime('01:02:03')", pl.Time(), dt.time(1, 2, 3)),
    "Decimal32": Case("CAST(1.5 AS DECIMAL(9, 2))", "toDecimal32(1.5, 2)", pl.Decimal(9, 2), Decimal("1.50")),
    "Decimal64": Case("CAST(1.5 AS DECIMAL(18, 4))", "toDecimal64(1.5, 4)", pl.Decimal(18, 4), Decimal("1.5000")),
    "Decimal128": Case(
        "CAST('-1.5' AS DECIMAL(38, 20))", "toDecimal128('-1.5', 20)", pl.Decimal(38, 20), Decimal("-1.5")
    ),
    "Decimal256": Case("'1.5'", "toDecimal256('1.5', 40)", _TEXT, "1.5"),
    "Enum8": Case("CAST('b' AS ENUM('a', 'b'))", "CAST('b' AS Enum8('a' = 1, 'b' = 2))", _TEXT, "b"),
    "Enum16": Case(
        "CAST('it''s )' AS ENUM('it''s )'))", "CAST('it\\'s )' AS Enum16('it\\'s )' = -300))", _TEXT, "it's )"
    ),
    "Nullable(Enum8)": Case("CAST(NULL AS ENUM('a'))", "CAST(NULL AS Nullable(Enum8('a' = 1)))", _TEXT, None),
    "String": Case("'x'", "'x'", _TEXT, "x"),
    "LowCardinality": Case("'x'", "toLowCardinality('x')", _TEXT, "x"),
    "LowCardinality(Nullable)": Case(
        "CAST(NULL AS VARCHAR)", "CAST(NULL AS LowCardinality(Nullable(String)))", _TEXT, None
    ),
    "FixedString": Case("'ab'", "toFixedString('ab', 3)", _TEXT, "ab"),
    "UUID": Case(f"CAST('{UUID}' AS UUID)", f"toUUID('{UUID}')", _TEXT, UUID),
    "Nullable(UUID)": Case("CAST(NULL AS UUID)", "CAST(NULL AS Nullable(UUID))", _TEXT, None),
    "IPv4": Case("'1.2.3.4'", "toIPv4('1.2.3.4')", _TEXT, "1.2.3.4"),
    "IPv6": Case("'::1'", "toIPv6('::1')", _TEXT, "::1"),
    "JSON": Case("""CAST('{"a":1}' AS JSON)""", """CAST('{"a":1}' AS JSON)""", _TEXT, '{"a":1}'),
    "Variant": Case("'1'", "CAST(toUInt8(1) AS Variant(UInt8, String))", _TEXT, "1"),
    "Bool": Case("true", "true", pl.Boolean(), True),
    "Nullable(Bool)": Case("CAST(NULL AS BOOLEAN)", "CAST(NULL AS Nullable(Bool))", pl.Boolean(), None),
    "Int8": Case("CAST(-1 AS TINYINT)", "toInt8(-1)", pl.Int8(), -1),
    "Int64": Case("CAST(-9223372036854775808 AS BIGINT)", "toInt64('-9223372036854775808')", pl.Int64(), -(2**63)),
    "UInt64": Case("CAST(18446744073709551615 AS UBIGINT)", "toUInt64('18446744073709551615')", pl.UInt64(), 2**64 - 1),
    "Int128": Case("CAST('-9' AS HUGEINT)", "toInt128(-9)", _WIDE, Decimal(-9)),
    "Int128 of 38 digits": Case(
        f"CAST('{10**38 - 1}' AS HUGEINT)", f"toInt128('{10**38 - 1}')", _WIDE, Decimal(10**38 - 1)
    ),
    "Nullable(Int128)": Case("CAST(NULL AS HUGEINT)", "CAST(NULL AS Nullable(Int128))", _WIDE, None),
    "UInt128": Case("CAST('9' AS UHUGEINT)", "toUInt128(9)", _WIDE, Decimal(9)),
    "Int256": Case("'-9'", "toInt256(-9)", _TEXT, "-9"),
    "Float32": Case("CAST(1.5 AS FLOAT)", "toFloat32(1.5)", pl.Float32(), 1.5),
    "Float64": Case("CAST(1.5 AS DOUBLE)", "1.5", pl.Float64(), 1.5),
    "nothing": Case("NULL", "NULL", pl.Null(), None),
    "Array": Case("CAST([1, 2] AS UTINYINT[])", "[1, 2]", pl.List(pl.UInt8()), [1, 2]),
    "Array(Array)": Case("[['x'], []]", "[['x'], []]", pl.List(pl.List(pl.String())), [["x"], []]),
    "Array(DateTime)": Case(
        "[TIMESTAMP '2024-03-11 01:02:03']", "[toDateTime('2024-03-11 01:02:03', 'UTC')]", pl.List(UTC_MICROS), [AT]
    ),
    "Array(Nullable(DateTime64))": Case(
        "[TIMESTAMP_MS '2024-03-11 01:02:03', NULL]",
        "[toDateTime64('2024-03-11 01:02:03', 3, 'UTC'), NULL]",
        pl.List(UTC_MICROS),
        [AT, None],
    ),
    "Array(UUID)": Case(f"[CAST('{UUID}' AS UUID)]", f"[toUUID('{UUID}')]", pl.List(pl.String()), [UUID]),
    "Array(Enum8)": Case("[CAST('a' AS ENUM('a'))]", "[CAST('a' AS Enum8('a' = 1))]", pl.List(pl.String()), ["a"]),
    "Tuple": Case(
        "{'DateTime': TIMESTAMP '2024-03-11 01:02:03', 'UUID': 'x'}",
        "CAST((toDateTime('2024-03-11 01:02:03', 'UTC'), 'x') AS Tuple(DateTime DateTime('UTC'), UUID String))",
        pl.Struct({"DateTime": UTC_MICROS, "UUID": pl.String()}),
        {"DateTime": AT, "UUID": "x"},
    ),
    "Map": Case(
        "MAP {'a': TIMESTAMP '2024-03-11 01:02:03'}",
        "map('a', toDateTime('2024-03-11 01:02:03', 'UTC'))",
        pl.Map(pl.String(), UTC_MICROS),
        {"a": AT},
    ),
}


@pytest.fixture(scope="module")
def world(front: Front) -> Iterator[World]:
    """A table with each type of column that is loaded."""
    frame = worlds.of_trades([("A", MONDAY + dt.timedelta(hours=hour), 1.0, 1.0, None) for hour in range(3)])
    frame = frame.with_columns(
        pl.Series(f"a_{kind}", [None, 1, 2], dtype=kind)
        for kind in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32)
    ).with_columns(
        pl.Series("a_bool", [None, True, False]),
        pl.Series("a_date", [None, dt.date(1900, 1, 1), dt.date(2299, 12, 31)]),
        pl.Series("an_instant", [None, AT, MONDAY], dtype=UTC_MICROS),
        pl.Series("an_enum", [None, "x", "y"], dtype=pl.Enum(["y", "x"])),
        pl.Series("a_category", [None, "x", "y"], dtype=pl.Categorical()),
        pl.Series("a\\`text", [None, "", "y"]),
    )
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        worlds.write(lake, TRADES, frame)
        with DuckDB(lake) as duckdb, ClickHouse.connect(front.settings(database="types")) as clickhouse:
            load(lake, clickhouse, TRADES)
            yield duckdb, clickhouse
            clickhouse.command("DROP DATABASE types SYNC")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_answers_have_the_same_types(world: World, case: Case) -> None:
    expected = pl.DataFrame({"v": [case.value]}, schema={"v": case.dtype})
    for catalog, text in zip(world, (case.duckdb, case.clickhouse), strict=True):
        found = catalog.sql(f"SELECT {text} AS v")
        assert found.schema == expected.schema
        assert found.rows() == expected.rows()
        none = catalog.sql(f"SELECT v FROM (SELECT {text} AS v) AS told WHERE v IS NULL AND v IS NOT NULL")
        assert none.schema == expected.schema


def test_columns_of_tables_have_the_same_types(world: World) -> None:
    first, second = (catalog.rows(TRADES, ["A"]) for catalog in world)
    assert_frame_equal(first, second, check_exact=True)
    names = ", ".join(f'"{name}"' for name in first.columns if "\\" not in name)
    first, second = (catalog.sql(f"SELECT {names} FROM market_data_trades ORDER BY ts") for catalog in world)
    assert_frame_equal(first, second, check_exact=True)
    assert first["an_enum"].to_list() == [None, "x", "y"]


def test_a_number_of_39_digits_is_told(world: World) -> None:
    with pytest.raises(CatalogError, match="ARGUMENT_OUT_OF_BOUND"):
        world[1].sql(f"SELECT toInt128('{2**127 - 1}') AS v")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT now(), toDateTime(0) AS `a``b\\\\c`, 1 AS x -- told",
        "WITH a AS (SELECT toDateTime(0) AS t) SELECT * FROM a",
        "FROM numbers(3) SELECT toDateTime(number) AS t ORDER BY number DESC LIMIT 2",
        "(SELECT toDateTime(1) AS t) UNION ALL (SELECT toDateTime(2))",
    ],
)
def test_whatever_the_select_looks_like(world: World, text: str) -> None:
    found = world[1].sql(text)
    assert UTC_MICROS in found.dtypes
    if "numbers" in text:
        assert [at.timestamp() for at in found["t"]] == [2.0, 1.0]


def test_rows_keep_the_order_that_is_asked_for(world: World) -> None:
    catalog: Catalog = world[1]
    found = catalog.sql("SELECT toDateTime(number) AS t FROM numbers_mt(2000000) ORDER BY cityHash64(number), number")
    expected = catalog.sql("SELECT number FROM numbers_mt(2000000) ORDER BY cityHash64(number), number")
    assert (found["t"].dt.epoch("s") == expected["number"].cast(pl.Int64)).all()
