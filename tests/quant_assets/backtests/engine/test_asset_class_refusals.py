"""Instruments that no exchange could settle are refused before the run; derivatives borrow nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests import run
from resources.config import BacktestSettings
from resources.errors import QuantError

MONDAY = datetime(2014, 6, 16, tzinfo=UTC)
FREE = {"spread": {"name": "fixed", "half_bps": 0}, "slippage": {"name": "none"}, "commission": {"name": "none"}}
OPTION: dict[str, Any] = {"symbol": "X1", "asset_class": "option", "underlying": "X", "right": "call", "strike": 100.0,
                          "multiplier": 100.0, "expiry": date(2014, 6, 20)}  # fmt: skip


def bars(symbol: str, count: int, **columns: list[float]) -> pl.DataFrame:
    frame = pl.DataFrame({"ts": [MONDAY + timedelta(days=each) for each in range(count)], "symbol": symbol})
    flat = {name: pl.lit(105.0 if symbol == "X" else 5.0) for name in ("open", "high", "low", "close")}
    return frame.with_columns(volume=pl.lit(1e6), **flat).with_columns(**{k: pl.Series(v) for k, v in columns.items()})


def trade(instrument: dict[str, Any], prices: pl.DataFrame, side: str = "buy") -> Any:
    order = pl.DataFrame([{"ts": MONDAY, "symbol": instrument["symbol"], "side": side, "quantity": 1.0}])
    return run(prices, order, BacktestSettings.model_validate(FREE), pl.DataFrame([instrument]))


BOTH = pl.concat([bars("X", 8), bars("X1", 5)])
BROKEN = [
    ("strike", OPTION | {"strike": None}),
    ("right", OPTION | {"right": "C"}),
    ("right", OPTION | {"right": None}),
    ("expiry", OPTION | {"expiry": None}),
    ("asset_class", {"symbol": "X", "asset_class": "Equity"}),
    ("asset_class", {"symbol": "X", "asset_class": "index"}),
]


@pytest.mark.parametrize(("field", "row"), BROKEN, ids=[f"{f} {r.get(f)}" for f, r in BROKEN])
def test_an_instrument_that_cannot_be_settled_is_refused_by_symbol_and_field(field: str, row: dict[str, Any]) -> None:
    with pytest.raises(QuantError, match=rf"{row['symbol']}\b.*{field}"):
        trade(row, BOTH)


def test_an_option_that_lives_through_a_split_of_its_underlying_is_refused() -> None:
    split = bars("X", 8, split=[1.0, 1.0, 7.0, *[1.0] * 5])
    both = pl.concat([split, bars("X1", 5, split=[1.0] * 5)])
    with pytest.raises(QuantError, match=r"X1.*split of X.*2014-06-18"):
        trade(OPTION, both)


@pytest.mark.parametrize("asset_class", ["future", "forex"])
def test_who_is_short_a_derivative_borrows_nothing(asset_class: str) -> None:
    result = trade({"symbol": "X", "asset_class": asset_class}, bars("X", 5), side="sell")
    assert result.equity["borrow_cost"].sum() == 0.0


def test_who_is_short_an_option_borrows_nothing() -> None:
    costs = trade(OPTION, BOTH, side="sell").equity["borrow_cost"]
    assert costs[:5].sum() == 0.0  # then the assigned short shares do


def test_an_option_that_expires_on_a_saturday_is_settled_though_the_history_ends_on_the_friday() -> None:
    saturday = OPTION | {"expiry": date(2014, 6, 21), "calendar": "XNYS"}
    result = trade(saturday, pl.concat([bars("X", 5), bars("X1", 5)]))
    assert result.fills["reason"].to_list()[1:] == ["exercise", "exercise"]


def test_each_fill_of_an_expiry_has_an_id_of_its_own() -> None:
    other = OPTION | {"symbol": "X2", "strike": 101.0}
    prices = pl.concat([BOTH, bars("X1", 5).with_columns(symbol=pl.lit("X2"))])
    order = pl.DataFrame([{"ts": MONDAY, "symbol": each, "side": "buy", "quantity": 1.0} for each in ("X1", "X2")])
    result = run(prices, order, BacktestSettings.model_validate(FREE), pl.DataFrame([OPTION, other]))
    assert result.fills["reason"].to_list()[2:] == ["exercise"] * 4
    assert result.fills["order_id"].n_unique() == result.fills.height
