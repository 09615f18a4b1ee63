"""Binance's trades, through python-binance, against a venue on loopback."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from resources.errors import ConfigError, NoDataError
from resources.market_data.binance import translate
from resources.market_data.ticks import TRADE_SCHEMA
from tests.resources.market_data.binance.binance_desk import (
    DAY,
    MINUTE,
    Desk,
    as_rows,
    desks,
    moments,
    trades_in,
    trading,
)
from tests.venues.market import Trade, instant


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSDT.P"])
@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 3456])
def test_pages_of_trades_join_without_a_loss_or_a_double(desk: Callable[..., Desk], symbol: str, count: int) -> None:
    at = desk()
    trades = trading(at, symbol, moments(instant(2024, 3, 1, 0, 59), count, timedelta(milliseconds=37)))
    frame = at.binance().trades([symbol], instant(2024, 3, 1), instant(2024, 3, 2))
    assert frame.collect_schema() == TRADE_SCHEMA
    assert trades_in(frame) == as_rows(trades)
    assert (frame.collect()["known_at"] == frame.collect()["ts"]).all()


def test_trades_are_from_start_to_before_end_however_they_lie_on_pages(desk: Callable[..., Desk]) -> None:
    at = desk()
    trades = trading(at, "BTCUSDT", moments(instant(2024, 3, 1, 7, 59, 50), 3000, timedelta(milliseconds=25)))
    stamps = [trades[at].ts for at in (0, 1, 500, 999, 1000, 1001, 2500, 2999)]
    for start, end in itertools.combinations(sorted({*stamps, stamps[0] - 2 * MINUTE, stamps[-1] + DAY}), 2):
        expected = as_rows([each for each in trades if start <= each.ts < end])
        if not expected:
            assert end == stamps[0]
            continue
        assert trades_in(at.binance().trades(["BTCUSDT"], start, end)) == expected


def test_the_first_trade_is_found_over_quiet_hours_without_asking_for_each(desk: Callable[..., Desk]) -> None:
    at = desk()
    early = Trade(instant(2024, 2, 1, 0, 10), 1.0, 1.0, 7, "buy")
    late = Trade(instant(2024, 3, 1, 23, 59, 59), 2.0, 1.0, 8, "sell")
    trading(at, "ETHBTC", [early, late])
    frame = at.binance().trades(["ETHBTC"], instant(2024, 2, 1, 0, 30), instant(2024, 3, 3))
    assert trades_in(frame) == as_rows([late])
    assert at.asked("aggTrades")[0]["startTime"] == str(int(instant(2024, 2, 1, 0, 30).timestamp() * 1000))
    assert len(at.asked("aggTrades")) == 3  # the hour whose trade was earlier, the hour with one, and after it
    with pytest.raises(NoDataError, match="ETHBTC from 2024-02-02 to 2024-02-20"):
        at.binance().trades(["ETHBTC"], instant(2024, 2, 2), instant(2024, 2, 20))


def test_the_side_is_the_takers() -> None:
    row = {"a": 1, "p": "2.00000000", "q": "3.00000000", "f": 1, "l": 1, "T": 1_700_000_000_123, "M": True}
    rows = [row | {"m": True}, row | {"a": 2, "m": False}]  # was the buyer the maker?
    frame = translate.agg_trades("X", rows)
    assert frame["side"].to_list() == ["sell", "buy"]
    assert frame["ts"][0] == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)


def test_instants_without_a_zone_are_refused(desk: Callable[..., Desk]) -> None:
    with pytest.raises(ConfigError, match="need a time zone"):
        desk().binance().trades(["BTCUSDT"], datetime(2024, 3, 1), datetime(2024, 3, 2))


def test_real_trades_come_through_the_wire_as_they_are(desk: Callable[..., Desk], shared_data: Path) -> None:
    real = pl.read_parquet(shared_data / "multi_asset" / "ticks_btcusdt_trades.parquet").head(2500)
    # The file's sizes went through arithmetic (0.00031099999999999997); Binance writes eight digits.
    real = real.sort("trade_id").with_columns(pl.col("size").round(8))
    sides = {True: "sell", False: "buy"}
    columns = ("ts", "price", "size", "trade_id", "buyer_is_maker")
    at = desk()
    trades = trading(at, "BTCUSDT", [Trade(*row[:4], sides[row[4]]) for row in real.select(columns).rows()])
    frame = at.binance().trades(["BTCUSDT"], instant(2021, 1, 8), instant(2021, 1, 9))
    assert trades_in(frame) == as_rows(trades)
