"""A stock index, a stock and a coin rotated on one cash account, with real prices of markets open on other days."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.backtests import run
from quant_assets.features import compute, panel
from quant_assets.strategies import orders
from quant_assets.strategies.asset_rotation import AssetRotation

STOCKS, COIN = ("SPY", "IBM"), "BTCUSD"


@pytest.fixture(scope="module")
def bars(shared_data: Path) -> pl.DataFrame:
    """Daily bars of 2015-2018 as cleaned ones: stocks known at their close, the coin at midnight."""
    prices = ("open", "high", "low", "close")
    stocks, coins = (
        pl.read_parquet(shared_data / "multi_asset" / f"{name}.parquet")
        for name in ("equity_daily", "crypto_index_daily")
    )
    days = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    parts = [
        stocks.filter(pl.col("symbol").is_in(STOCKS))
        .with_columns(session="local_date")
        .with_columns(ts=days + pl.duration(hours=14, minutes=30), known_at=days + pl.duration(hours=21)),
        coins.filter(symbol=COIN)
        .with_columns(session=pl.col("ts").dt.date())
        .with_columns(ts=days, known_at=days + pl.duration(days=1)),
    ]
    keys = ("symbol", "ts", "session", "known_at")
    rows = pl.concat(
        part.select(*keys, *(pl.col(name).cast(pl.Float64) for name in (*prices, "volume"))) for part in parts
    )
    return (
        rows.filter(pl.col("session").is_between(date(2015, 1, 1), date(2018, 7, 31)))
        .with_columns(pl.col(name).alias(f"adj_{name}") for name in (*prices, "volume"))
        .with_columns(flags=pl.lit([], pl.List(pl.String)))
        .sort("symbol", "ts")
    )


def test_asset_rotation_moves_one_account_between_markets(bars: pl.DataFrame) -> None:
    strategy = AssetRotation(symbols="SPY, BTCUSD", refuge="IBM", hold=1)
    features = panel(compute(bars, strategy.required_features), bars.lazy())
    intents = strategy.intents(features).collect()
    lots = pl.DataFrame({"symbol": [*STOCKS, COIN], "lot": [1.0, 1.0, 1e-8]})
    result = run(bars.select(pl.exclude("^adj_.*$", "flags")), orders(intents.lazy()), instruments=lots)
    assert set(result.fills["symbol"]) == {*STOCKS, COIN}
    decided = intents.filter(pl.col("target_weight") > 0).group_by("symbol").agg(pl.col("session").n_unique())
    assert decided.height == 3
    assert result.equity.filter(pl.col("gross_exposure") > 1.1).is_empty()
    assert (
        result.equity.select((pl.col("cash") + pl.col("positions_value") - pl.col("equity")).abs().max()).item() < 1e-3
    )
