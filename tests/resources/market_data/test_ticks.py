"""Quotes, trades and intraday bars: what is kept, what is refused, and when each is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from resources.errors import BarSchemaError, NotOfferedError
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.sample import Sample
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA, quotes, trades
from resources.market_data.timeframes import check_timeframe, intraday_bars

AT = datetime(2013, 10, 7, 14, 30, 0, 123_000, tzinfo=UTC)
TOLD: dict[str, Any] = {"provider": "test", "fetched_at": AT + timedelta(days=1), "source": "a test"}
QUOTE = {"symbol": "IBM", "ts": AT, "bid": 10.0, "bid_size": 5.0, "ask": 10.1, "ask_size": 7.0}
TRADE = {"symbol": "IBM", "ts": AT, "price": 10.0, "size": 5.0, "side": "buy", "trade_id": "1"}


def test_quotes_keep_crossed_and_one_sided_rows() -> None:
    rows = [QUOTE, {**QUOTE, "ask": 9.9}, {**QUOTE, "ask": None, "ask_size": None, "symbol": "AAPL"}]
    frame = quotes(pl.LazyFrame(rows), **TOLD).collect()
    assert frame.schema == QUOTE_SCHEMA
    assert frame.select("symbol", "bid", "ask").rows() == [
        ("AAPL", 10.0, None),
        ("IBM", 10.0, 10.1),
        ("IBM", 10.0, 9.9),
    ]
    assert (frame["known_at"] == frame["ts"]).all()


def test_trades_of_one_instant_keep_their_order() -> None:
    rows = [{**TRADE, "trade_id": str(number)} for number in (3, 1, 2)]
    frame = trades(pl.LazyFrame(rows), **TOLD).collect()
    assert frame.schema == TRADE_SCHEMA
    assert frame["trade_id"].to_list() == ["3", "1", "2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bid": None, "ask": None}, "bid is None; a quote needs a bid or an ask"),
        ({"bid": -1.0}, "bid is -1.0; it must be zero or more"),
        ({"ask_size": float("nan")}, "ask_size is nan"),
        ({"symbol": None}, "symbol is None"),
        ({"ts": None}, "ts is None"),
    ],
)
def test_what_is_no_quote_is_refused(change: dict[str, Any], words: str) -> None:
    schema = {"symbol": pl.String, "ts": pl.Datetime("us", "UTC")}
    with pytest.raises(BarSchemaError, match=words):
        quotes(pl.LazyFrame([QUOTE | change], schema_overrides=schema), **TOLD)


@pytest.mark.parametrize("change", [{"price": 0.0}, {"price": None}, {"size": -1.0}, {"size": float("inf")}])
def test_what_is_no_trade_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BarSchemaError, match=f"{next(iter(change))} is .*must be a positive number"):
        trades(pl.LazyFrame([TRADE | change]), **TOLD)


def test_a_bar_that_is_still_being_built_is_left_out() -> None:
    prices = {"symbol": "BTCUSDT", "open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0, "volume": 3.0}
    rows = [{**prices, "ts": AT + timedelta(minutes=5 * number)} for number in range(3)]
    told = TOLD | {"fetched_at": AT + timedelta(minutes=12)}
    frame = intraday_bars(pl.LazyFrame(rows), timeframe="5m", **told).collect()
    assert frame.schema == BAR_SCHEMA
    assert (frame["known_at"] - frame["ts"]).to_list() == [timedelta(minutes=5)] * 2


def test_what_a_provider_lacks_it_says_by_name() -> None:
    with pytest.raises(NotOfferedError, match="sample has no quotes; it has daily bars"):
        Sample().quotes(["IBM"], AT, AT)
    with pytest.raises(NotOfferedError, match="sample has no option chains"):
        Sample().option_chain("IBM", AT.date())
    with pytest.raises(NotOfferedError, match="timeframe: venue has no bars of '2m'; it has 1m, 5m"):
        check_timeframe("venue", "2m", ["1m", "5m"])
