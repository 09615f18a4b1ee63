"""Intraday bars put together to sessions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.cleaned import CLEANED_SCHEMA, clean
from quant_assets.cleaned.sessions import by_session
from resources.calendars import sessions
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA

INSTRUMENTS = pl.DataFrame({"symbol": ["AAA"], "calendar": ["XNYS"]})
DAYS = sessions("XNYS", date(2014, 6, 9), date(2014, 6, 20))
NOTHING = ACTION_SCHEMA.to_frame().lazy()


def bar(ts: datetime, *values: float, known: datetime | None = None) -> dict[str, object]:
    names = ("open", "high", "low", "close", "volume")
    known = known or ts + timedelta(hours=1)
    row: dict[str, object] = {
        "symbol": "AAA",
        "ts": ts,
        "provider": "test",
        "fetched_at": datetime(2030, 1, 1, tzinfo=UTC),
    }
    return row | {"known_at": known} | dict(zip(names, values, strict=True))


def hours(day: int, *slots: int) -> list[datetime]:
    return [DAYS["open"][day] + timedelta(hours=slot) for slot in slots]


def daily(rows: list[dict[str, object]], actions: pl.LazyFrame = NOTHING) -> pl.DataFrame:
    given = pl.DataFrame(rows, schema=BAR_SCHEMA).lazy()
    return by_session(clean(given, actions, INSTRUMENTS, None, "1h").bars).collect()


def test_a_session_of_its_bars():
    first, second, last = hours(0, 0, 3, 6)
    frame = daily([bar(first, 10, 12, 9, 11, 100), bar(second, 11, 15, 8, 9, 200), bar(last, 9, 10, 9, 10, 300)])
    assert frame.schema == CLEANED_SCHEMA
    assert frame.select("symbol", "ts", "session", "known_at").row(0) == (
        "AAA", first, date(2014, 6, 9), last + timedelta(hours=1),
    )  # fmt: skip
    assert frame.select("open", "high", "low", "close", "volume").row(0) == (10, 15, 8, 10, 600)
    assert frame["flags"].to_list() == [["missing_bar"]]


def test_the_close_before_is_no_price_of_the_session():
    """The first hours of the second day have no bar: its open is where it first traded."""
    frame = daily([bar(*hours(0, 0), 10, 10, 10, 10, 1), bar(*hours(1, 2), 20, 22, 19, 21, 2)])
    assert frame.row(1, named=True)["ts"] == DAYS["open"][1]
    assert frame.select("open", "high", "low", "close").row(1) == (20, 22, 19, 21)


def test_a_session_without_bars():
    frame = daily([bar(*hours(0, 0), 10, 10, 10, 10, 1), bar(*hours(2, 0), 11, 11, 11, 11, 1)])
    assert frame["flags"].to_list() == [["missing_bar"], ["missing_bar", "missing_session"], []]
    assert frame.select("open", "high", "low", "close", "volume").row(1) == (10, 10, 10, 10, 0)


def test_splits_and_dividends_are_kept():
    acted = pl.DataFrame(
        [("AAA", DAYS["open"][1], "split", 2.0, "test"), ("AAA", DAYS["open"][1], "dividend", 0.5, "test")],
        schema=["symbol", "ts", "kind", "value", "provider"], orient="row",
    ).with_columns(fetched_at="ts", known_at="ts").cast(dict(ACTION_SCHEMA))  # fmt: skip
    given = [bar(ts, 10, 10, 10, 10, 8) for ts in hours(0, 5, 6)] + [
        bar(ts, 4.5, 4.5, 4.5, 4.5, 8) for ts in hours(1, 0, 1)
    ]
    frame = daily(given, acted.lazy())
    assert frame.select("split", "dividend", "split_factor").rows() == [(1, 0, 1), (2, 0.5, 2)]
    assert frame["adj_close"].to_list() == pytest.approx([10, 10])
    assert frame["adj_open"].to_list() == pytest.approx([10, 10])
    assert frame["adj_volume"].to_list() == [16, 8]


def test_daily_rows_come_back_as_they_are():
    stamps = DAYS.filter(pl.int_range(pl.len()) != 3)
    rows = [
        bar(opening, 10 + i, 11.5 + i, 9 + i, 10.7 + i * 0.9, 100.0 * (i % 2), known=closing)
        for i, (opening, closing) in enumerate(stamps.select("open", "close").rows())
    ]
    acted = pl.DataFrame(
        [("AAA", DAYS["open"][2], "dividend", 0.3, "test", DAYS["open"][2], DAYS["open"][2])],
        schema=dict(ACTION_SCHEMA), orient="row",
    )  # fmt: skip
    given = clean(pl.DataFrame(rows, schema=BAR_SCHEMA).lazy(), acted.lazy(), INSTRUMENTS).bars.collect()
    assert {flag for flags in given["flags"] for flag in flags} == {"missing_session", "zero_volume"}
    assert by_session(given.lazy()).collect().equals(given)
