"""The embedded sample: raw prices, and the corporate actions that its adjusted closes give away."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from resources.errors import ConfigError, NoDataError, UnknownSymbolError
from resources.market_data import Sample, sample
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, INSTRUMENT_SCHEMA

FIRST, LAST = date(2000, 3, 1), date(2013, 3, 1)
ALL = ["AAPL", "FB", "GOOG", "IBM", "MSFT"]


def actions(*symbols: str) -> pl.DataFrame:
    return Sample().corporate_actions(symbols, FIRST, LAST).collect()


def test_bars_hold_all_rows_as_traded() -> None:
    frame = Sample().bars(ALL, FIRST, LAST).collect()
    assert frame.schema == BAR_SCHEMA
    assert frame.group_by("symbol").len().sort("symbol").rows() == [
        ("AAPL", 3270), ("FB", 196), ("GOOG", 2148), ("IBM", 3270), ("MSFT", 3270)
    ]  # fmt: skip
    first = frame.row(0, named=True)
    assert (first["symbol"], first["open"], first["close"]) == ("AAPL", 118.56, 130.31)  # before three splits
    assert first["ts"] == datetime(2000, 3, 1, 14, 30, tzinfo=UTC)
    assert first["known_at"] == datetime(2000, 3, 1, 21, tzinfo=UTC)


def test_the_start_and_the_end_are_included() -> None:
    frame = Sample().bars(["IBM"], date(2013, 2, 28), LAST).collect()
    assert frame["close"].to_list() == [200.83, 202.91]


def test_symbols_come_sorted_and_once_whatever_the_order_asked() -> None:
    frame = Sample().bars(["MSFT", "AAPL", "MSFT"], date(2013, 2, 28), LAST).collect()
    assert frame["symbol"].to_list() == ["AAPL", "AAPL", "MSFT", "MSFT"]


KNOWN = [  # published facts
    ("AAPL", date(2000, 6, 21), "split", 2.0),
    ("AAPL", date(2005, 2, 28), "split", 2.0),
    ("AAPL", date(2012, 8, 9), "dividend", 2.65),
    ("IBM", date(2000, 5, 8), "dividend", 0.13),
    ("IBM", date(2008, 11, 6), "dividend", 0.50),
    ("MSFT", date(2003, 2, 18), "split", 2.0),
    ("MSFT", date(2003, 2, 19), "dividend", 0.08),
    ("MSFT", date(2004, 11, 15), "dividend", 3.08),  # the special 3.00 and the regular 0.08, on one day
]


@pytest.mark.parametrize(("symbol", "day", "kind", "value"), KNOWN)
def test_known_actions_are_found(symbol: str, day: date, kind: str, value: float) -> None:
    found = actions(symbol).filter(pl.col("ts").dt.date() == day)
    assert found.select("kind", "value").rows() == [(kind, value)]


def test_noise_makes_no_actions() -> None:
    frame = actions(*ALL)
    assert frame.schema == ACTION_SCHEMA
    assert frame.group_by("symbol", "kind").len().sort("symbol", "kind").rows() == [
        ("AAPL", "dividend", 3), ("AAPL", "split", 2), ("IBM", "dividend", 52), ("MSFT", "dividend", 37),
        ("MSFT", "split", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("rounding", [5e-7, 1e-5, 1e-3])
def test_the_ex_dates_do_not_hang_on_the_threshold(monkeypatch: pytest.MonkeyPatch, rounding: float) -> None:
    expected = {symbol: sample.derive_actions(symbol)["session"].to_list() for symbol in ALL}
    monkeypatch.setattr(sample, "ROUNDING", rounding)
    found = {symbol: [each.first for each in sample._segments(sample._prices(symbol))][1:] for symbol in ALL}
    assert found == expected


def test_all_actions_equal_an_independent_record(shared_data: Path) -> None:
    record = pl.scan_parquet(shared_data / "sp500_daily.parquet").filter(
        pl.col("symbol").is_in(ALL), pl.col("date").is_between(FIRST, LAST)
    )
    expected = pl.concat(
        record.filter(pl.col(kind) != none).select("symbol", session="date", kind=pl.lit(kind), value=kind)
        for kind, none in (("dividend", 0.0), ("split", 1.0))
    )
    # FB was recorded under that symbol; GOOG of the record is the share class listed in 2014, and pays nothing.
    found = actions("AAPL", "IBM", "MSFT").select("symbol", pl.col("ts").dt.date().alias("session"), "kind", "value")
    assert_frame_equal(found, expected.collect(), check_row_order=False, abs_tol=1e-9)


def segment(first: int, close: float, factor: float) -> sample._Segment:
    return sample._Segment(date(2010, 1, first), close, factor * (1 - 1e-7), factor * (1 + 1e-7))


STEPS = [  # factor before, factor after, close of the ex-date: split, dividend
    ("a 2:1 split", 0.5, 1.0, 50.0, 2.0, 0.0),
    ("a 3:2 split and a dividend on one day", 1 / 1.5, 1.01, 50.0, 1.5, 0.5),
    ("a 1:10 reverse split", 10.0, 1.0, 50.0, 0.1, 0.0),
    ("a dividend", 0.99, 0.99 * (1 + 0.25 / 40), 40.0, 1.0, 0.25),
    ("a special dividend of a tenth", 0.9, 0.9 * (1 + 3.08 / 27.39), 27.39, 1.0, 3.08),
]


@pytest.mark.parametrize(
    ("before", "after", "close", "split", "dividend"), [case[1:] for case in STEPS], ids=[case[0] for case in STEPS]
)
def test_a_step_is_explained(before: float, after: float, close: float, split: float, dividend: float) -> None:
    assert sample._explain(segment(1, 1.0, before), segment(2, close, after)) == (split, dividend)


def test_a_split_that_explains_the_step_within_rounding_leaves_no_dividend() -> None:
    before = sample._Segment(date(2010, 1, 1), 100.0, 0.4999, 0.50001)  # its middle would leave a dividend of 0.0045
    assert sample._explain(before, segment(2, 50.0, 1.0)) == (2.0, 0.0)


def test_actions_outside_the_range_stay_out() -> None:
    assert Sample().corporate_actions(["AAPL"], date(2005, 3, 1), date(2012, 8, 8)).collect().is_empty()


def test_an_unknown_symbol_is_refused_by_name() -> None:
    with pytest.raises(UnknownSymbolError, match="sample has no TSLA; it has AAPL, FB, GOOG, IBM, MSFT"):
        Sample().bars(["AAPL", "TSLA"], FIRST, LAST)


def test_a_range_without_rows_is_an_error_and_one_symbol_with_rows_is_enough() -> None:
    with pytest.raises(NoDataError, match="FB, GOOG from 2001-01-02 to 2001-12-31"):
        Sample().bars(["FB", "GOOG"], date(2001, 1, 2), date(2001, 12, 31))
    frame = Sample().bars(["FB", "IBM"], date(2001, 1, 2), date(2001, 12, 31)).collect()
    assert frame["symbol"].unique().to_list() == ["IBM"]


@pytest.mark.parametrize(
    ("symbols", "timeframe", "says"), [([], "1d", "no symbols"), (["IBM"], "1h", "daily bars only")]
)
def test_a_request_that_asks_nothing_or_too_much_is_refused(symbols: list[str], timeframe: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Sample().bars(symbols, FIRST, LAST, timeframe)


def test_instruments() -> None:
    frame = Sample().instruments(["MSFT", "GOOG"])
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("symbol", "venue", "currency", "sector", "listed").rows() == [
        ("GOOG", "XNAS", "USD", "Communication Services", date(2004, 8, 19)),
        ("MSFT", "XNAS", "USD", "Information Technology", None),
    ]
