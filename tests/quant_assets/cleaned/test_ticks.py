"""Quotes and trades that cannot be, or cannot be at their time."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from quant_assets.cleaned import FINDING_SCHEMA
from quant_assets.cleaned.ticks import faults
from resources.errors import BarSchemaError
from resources.market_data import ticks

FETCHED = datetime(2013, 10, 31, tzinfo=UTC)
INSTRUMENTS = pl.DataFrame({"symbol": ["IBM", "BTC", "ES"], "calendar": ["XNYS", "24/7", "CMES"]})
NOON = datetime(2013, 10, 7, 16, tzinfo=UTC)


def quotes(*rows: tuple[datetime, float | None, float | None], symbol: str = "IBM") -> pl.LazyFrame:
    frame = pl.DataFrame(
        [(symbol, ts, bid, 1.0, ask, 1.0) for ts, bid, ask in rows],
        schema=["symbol", "ts", "bid", "bid_size", "ask", "ask_size"],
        orient="row",
    ).cast({"bid": pl.Float64, "ask": pl.Float64})
    return ticks.quotes(frame.lazy(), provider="test", fetched_at=FETCHED, source="test")


def trades(*stamps: datetime, symbol: str = "IBM") -> pl.LazyFrame:
    frame = pl.DataFrame({"symbol": symbol, "ts": list(stamps), "price": 5.0, "size": 1.0}).with_columns(
        side=pl.lit(None, pl.String), trade_id=pl.lit(None, pl.String)
    )
    return ticks.trades(frame.lazy(), provider="test", fetched_at=FETCHED, source="test")


SIDES = [
    ("sound", 10.0, 10.1, []),
    ("locked", 10.0, 10.0, []),
    ("one side", None, 10.1, []),
    ("crossed", 10.2, 10.1, [("crossed", "bid", 10.2, 10.1)]),
    ("bid of zero", 0.0, 10.1, [("invalid_value", "bid", 0.0, None)]),
]


@pytest.mark.parametrize(("bid", "ask", "found"), [case[1:] for case in SIDES], ids=[case[0] for case in SIDES])
def test_quotes(bid, ask, found):
    result = faults(quotes((NOON, bid, ask)), INSTRUMENTS)
    assert result.schema == FINDING_SCHEMA
    assert result.select("rule", "field", "old", "new").rows() == found


TIMES = [  # New York in October 2013: 13:30 to 20:00 UTC
    ("at the open", "IBM", datetime(2013, 10, 7, 13, 30, tzinfo=UTC), []),
    ("before the open", "IBM", datetime(2013, 10, 7, 13, 29, 59, tzinfo=UTC), ["out_of_session"]),
    ("at the close", "IBM", datetime(2013, 10, 7, 20, tzinfo=UTC), []),
    ("after the close", "IBM", datetime(2013, 10, 7, 20, 0, 1, tzinfo=UTC), ["out_of_session"]),
    ("Saturday", "IBM", datetime(2013, 10, 5, 16, tzinfo=UTC), ["out_of_session"]),
    ("Saturday, round the clock", "BTC", datetime(2013, 10, 5, 16, tzinfo=UTC), []),
    ("Sunday evening, Monday's session", "ES", datetime(2013, 10, 6, 23, tzinfo=UTC), []),
    ("after it was fetched", "IBM", datetime(2013, 11, 1, 16, tzinfo=UTC), ["clock_error"]),
]


@pytest.mark.parametrize(("symbol", "ts", "found"), [case[1:] for case in TIMES], ids=[case[0] for case in TIMES])
def test_times(symbol, ts, found):
    result = faults(trades(ts, symbol=symbol), INSTRUMENTS)
    assert result["rule"].to_list() == found
    assert result["old"].to_list() == [ts.timestamp()] * len(found)


def test_ticks_of_several_calendars_together():
    night = datetime(2013, 10, 5, 16, tzinfo=UTC)
    mixed = pl.concat([trades(NOON, night), trades(NOON, night, symbol="BTC")])
    assert faults(mixed, INSTRUMENTS).select("symbol", "ts").rows() == [("IBM", night)]


@pytest.mark.parametrize(("name", "dtype"), [("symbol", pl.String), ("ts", FINDING_SCHEMA["ts"])])
def test_a_tick_that_cannot_be_placed_is_refused(name, dtype):
    with pytest.raises(BarSchemaError, match="a tick needs a symbol, a time and a calendar"):
        faults(trades(NOON).with_columns(pl.lit(None, dtype).alias(name)), INSTRUMENTS)


def test_real_quotes_of_ibm_are_nearly_all_sound(shared_data):
    rows = pl.scan_parquet(shared_data / "multi_asset" / "ticks_quotes.parquet")
    given = ticks.quotes(rows, provider="files", fetched_at=datetime(2021, 1, 1, tzinfo=UTC), source="file")
    found = faults(given, INSTRUMENTS)
    inside = found.filter(pl.col("rule") != "out_of_session")
    assert inside.height <= 0.001 * given.select(pl.len()).collect().item()
