"""Quotes and trades of the user's files: what is read, what is left out, what is refused, and how much is loaded."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyarrow import parquet

from resources.errors import BarSchemaError, ConfigError, NoDataError, NotOfferedError, QuantError, UnknownSymbolError
from resources.market_data import Files
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA

START = datetime(2013, 10, 7, 14, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def quote(at: float = 0, bid: float | None = 10.0, ask: float | None = 11.0, **more: Any) -> dict[str, Any]:
    row = {"symbol": "A", "ts": START + SECOND * at, "bid": bid, "ask": ask, "bid_size": 100, "ask_size": 200.0}
    return row | more


def trade(at: float = 0, price: float = 10.0, **more: Any) -> dict[str, Any]:
    return {"symbol": "A", "ts": START + SECOND * at, "price": price, "size": 5} | more


def files(folder: Path, *rows: dict[str, Any], kind: str = "quotes", unit: Any = "us") -> Files:
    """A provider with a bar of A, and ticks in a folder of their own."""
    (folder / "bars").mkdir(exist_ok=True)
    (folder / kind).mkdir(exist_ok=True)
    bar = {
        "symbol": ["A"],
        "date": [date(2013, 10, 7)],
        "open": 1.0,
        "high": 1.0,
        "low": 1.0,
        "close": 1.0,
        "volume": 1,
    }
    pl.DataFrame(bar).write_parquet(folder / "bars" / "bars.parquet")
    if rows:
        frame = pl.DataFrame(rows, infer_schema_length=None).cast({"ts": pl.Datetime(unit, "UTC")})
        frame.write_parquet(folder / kind / "ticks.parquet")
    given: dict[str, Any] = {kind: folder / kind}
    return Files(folder / "bars", **given)


def read(provider: Files, *symbols: str, kind: str = "quotes", hours: int = 1) -> pl.DataFrame:
    return getattr(provider, kind)(symbols or ["A"], START, START + HOUR * hours).collect()


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_quotes_are_read_in_their_order(tmp_path: Path, unit: str) -> None:
    rows = [quote(2), quote(1, 9.0, symbol="B"), quote(1, 9.5), quote(1, 9.6)]
    frame = read(files(tmp_path, *rows, unit=unit), "B", "A")
    assert frame.schema == QUOTE_SCHEMA
    assert frame.select("symbol", "ts", "bid", "bid_size", "ask", "ask_size", "known_at").rows() == [
        ("A", START + SECOND, 9.5, 100.0, 11.0, 200.0, START + SECOND),
        ("A", START + SECOND, 9.6, 100.0, 11.0, 200.0, START + SECOND),
        ("A", START + 2 * SECOND, 10.0, 100.0, 11.0, 200.0, START + 2 * SECOND),
        ("B", START + SECOND, 9.0, 100.0, 11.0, 200.0, START + SECOND),
    ]
    assert set(frame["provider"]) == {"files"}


# bid, bid_size, ask, ask_size, and the same as they are read
SIDES: dict[str, tuple[tuple[float | None, ...], tuple[float | None, ...]]] = {
    "both": ((10.0, 1.0, 11.0, 2.0), (10.0, 1.0, 11.0, 2.0)),
    "no bid": ((0.0, 0.0, 11.0, 2.0), (None, None, 11.0, 2.0)),
    "no ask": ((10.0, 1.0, 0.0, 0.0), (10.0, 1.0, None, None)),
    "no bid, without a size": ((0.0, None, 11.0, None), (None, None, 11.0, None)),
    "a price of zero with a size is kept, to be found": ((0.0, 1.0, 11.0, 2.0), (0.0, 1.0, 11.0, 2.0)),
    "crossed": ((12.0, 1.0, 11.0, 2.0), (12.0, 1.0, 11.0, 2.0)),
    "null": ((None, None, 11.0, 2.0), (None, None, 11.0, 2.0)),
}


@pytest.mark.parametrize(("given", "expected"), SIDES.values(), ids=SIDES)
def test_an_empty_side_is_null(
    tmp_path: Path, given: tuple[float | None, ...], expected: tuple[float | None, ...]
) -> None:
    bid, bid_size, ask, ask_size = given
    frame = read(files(tmp_path, quote(0, bid, ask, bid_size=bid_size, ask_size=ask_size), quote(1)))
    assert frame.select("bid", "bid_size", "ask", "ask_size").row(0) == expected


def test_quotes_without_sizes_are_quotes(tmp_path: Path) -> None:
    row = {"symbol": "A", "ts": START, "bid": 1.0, "ask": 2.0}
    assert read(files(tmp_path, row)).select("bid", "bid_size", "ask", "ask_size").row(0) == (1.0, None, 2.0, None)


TAKERS: dict[str, tuple[dict[str, Any], str | None]] = {
    "not told": ({}, None),
    "a side": ({"side": "BUY"}, "buy"),
    "a letter": ({"side": "s"}, "sell"),
    "the buyer made the price": ({"buyer_is_maker": True}, "sell"),
    "the buyer took it": ({"buyer_is_maker": False}, "buy"),
    "a side says more than the maker": ({"side": "buy", "buyer_is_maker": True}, "buy"),
    "the maker says it where no side does": ({"side": None, "buyer_is_maker": True}, "sell"),
}


@pytest.mark.parametrize(("columns", "side"), TAKERS.values(), ids=TAKERS)
def test_the_side_is_the_takers(tmp_path: Path, columns: dict[str, Any], side: str | None) -> None:
    frame = read(files(tmp_path, trade(trade_id=7, **columns), kind="trades"), kind="trades")
    assert frame.schema == TRADE_SCHEMA
    assert frame.select("price", "size", "side", "trade_id").row(0) == (10.0, 5.0, side, "7")


def test_the_end_is_excluded(tmp_path: Path) -> None:
    provider = files(tmp_path, *[trade(at) for at in (-1, 0, 3599.999999, 3600)], kind="trades")
    assert read(provider, kind="trades")["ts"].to_list() == [START, START + HOUR - timedelta(microseconds=1)]


@pytest.mark.parametrize("marks", [("0", "1"), (False, True), (0, 1)], ids=["text", "yes or no", "number"])
def test_what_the_source_suspects_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, marks: tuple[object, object]
) -> None:
    rows = [trade(0, suspicious=marks[0]), trade(1, 99.0, suspicious=marks[1]), trade(2, suspicious=None)]
    with caplog.at_level(logging.WARNING):
        frame = read(files(tmp_path, *rows, kind="trades"), kind="trades")
    assert frame["price"].to_list() == [10.0, 10.0]
    assert "trades: 1 ticks that the source marks as suspicious are left out, the first" in caplog.text


def test_ticks_of_futures_and_options_have_the_names_of_their_bars(tmp_path: Path) -> None:
    naming = {"asset_class": None, "contract": None, "expiry": None, "strike": None, "right": None, "venue": None}
    rows = [
        trade(0, **{**naming, "symbol": "ES", "contract": 201312, "venue": "cme"}),
        trade(1, **{**naming, "expiry": date(2013, 10, 19), "strike": 490.0, "right": "C"}),
        trade(2, **naming),
    ]
    provider = files(tmp_path, *rows, kind="trades")
    frame = read(provider, "ES.201312", "A131019C00490000", "A", kind="trades")
    assert frame["symbol"].to_list() == ["A", "A131019C00490000", "ES.201312"]
    assert read(provider, "ES.201312.CME", kind="trades")["symbol"].to_list() == ["ES.201312.CME"]
    assert provider.instruments(["ES.201312", "A"])["asset_class"].to_list() == ["equity", "future"]


def test_several_files_are_read_as_one_and_a_new_one_is_seen(tmp_path: Path) -> None:
    provider = files(tmp_path, quote())
    assert read(provider).height == 1
    more = pl.DataFrame([quote(1), quote(2, symbol="B")]).drop("bid_size", "ask_size")
    more.write_parquet(tmp_path / "quotes" / "more.parquet")
    assert read(provider, "A", "B").height == 3


BAD: dict[str, tuple[str, list[dict[str, Any]], type[QuantError], str]] = {
    "no quote at all": (
        "quotes",
        [quote(bid=None, ask=None), quote(1)],
        BarSchemaError,
        "bid is None; a quote needs a bid",
    ),
    "a negative price": ("quotes", [quote(bid=-1.0)], BarSchemaError, r"A 2013-10-07 14:00:00.*bid is -1\.0"),
    "a trade of nothing": ("trades", [trade(size=0)], BarSchemaError, r"size is 0\.0; it must be a positive number"),
    "another side": ("trades", [trade(side="cross")], BarSchemaError, "side is 'cross'; it must be buy, sell or empty"),
    "a column too many": ("trades", [trade(vwap=1.0)], BarSchemaError, r"ticks\.parquet: unknown columns \['vwap'\]"),
    "quotes for trades": (
        "trades",
        [quote()],
        BarSchemaError,
        r"missing columns \['price', 'size'\] and unknown columns",
    ),
    "text for a price": ("trades", [trade(price="10")], BarSchemaError, "column price is String; it must be Float64"),
    "another symbol": ("trades", [trade(symbol="B")], UnknownSymbolError, "files has no A; it has B"),
    "no symbol": ("trades", [trade(), trade(symbol=None)], BarSchemaError, r"ticks\.parquet: a row has no symbol"),
    "another day": ("trades", [trade(86_400)], NoDataError, "files has no rows of A from 2013-10-07 to 2013-10-07"),
    "no files": ("trades", [], ConfigError, r"provider\.trades: no \.parquet or \.csv file in .*price, size"),
}


@pytest.mark.parametrize(("kind", "rows", "error", "says"), BAD.values(), ids=BAD)
def test_bad_ticks_give_one_clear_error(
    tmp_path: Path, kind: str, rows: list[dict[str, Any]], error: type[QuantError], says: str
) -> None:
    with pytest.raises(error, match=says):
        read(files(tmp_path, *rows, kind=kind), kind=kind)


def test_a_naive_time_is_refused_in_the_file_and_in_the_request(tmp_path: Path) -> None:
    provider = files(tmp_path, quote())
    with pytest.raises(ConfigError, match="need a time zone"):
        provider.quotes(["A"], datetime(2013, 10, 7), datetime(2013, 10, 8))
    naive = pl.DataFrame([quote()]).with_columns(pl.col("ts").dt.replace_time_zone(None))
    naive.write_parquet(tmp_path / "quotes" / "ticks.parquet")
    with pytest.raises(BarSchemaError, match=r"ticks\.parquet: column ts is Datetime.*it must be.*UTC"):
        read(provider)


def test_csv_is_refused_and_nothing_given_is_said(tmp_path: Path) -> None:
    provider = files(tmp_path, quote())
    with pytest.raises(NotOfferedError, match=r"files has no trades unless provider\.trades names a Parquet file"):
        provider.trades(["A"], START, START + HOUR)
    (tmp_path / "quotes" / "more.csv").write_text("symbol,ts,bid,ask\n")
    with pytest.raises(ConfigError, match=r"provider\.quotes: more\.csv is CSV; quotes are read from Parquet"):
        read(provider)


def test_the_row_groups_of_other_hours_are_not_read(tmp_path: Path) -> None:
    """Damaged prices of the second hour are not noticed by who asks for the first."""
    provider = files(tmp_path, quote())
    path = tmp_path / "quotes" / "ticks.parquet"
    rows = [quote(at * 3.6, bid=10 + at / 2000) for at in range(2000)]
    pl.DataFrame(rows).write_parquet(path, row_group_size=1000)
    chunk = next(
        column
        for at in range(6)
        if (column := parquet.ParquetFile(path).metadata.row_group(1).column(at)).path_in_schema == "bid"
    )
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[first : first + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(bytes(content))
    assert read(provider).height == 1000
    with pytest.raises(BarSchemaError, match=r"ticks\.parquet: not readable as Parquet"):
        read(provider, hours=2)
