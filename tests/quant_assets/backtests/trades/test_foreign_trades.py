"""Trades in a foreign currency are measured in the account's, each fill at the rate of its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import history, run, sweep
from quant_assets.backtests.report.daily import daily
from quant_assets.backtests.trades.statistics import round_trips
from resources.config import BacktestSettings

START = datetime(2024, 1, 8, tzinfo=UTC)
FREE = BacktestSettings.model_validate(
    {
        "cash": 1e6, "max_gross": 10.0, "margin": {"name": "leverage", "leverage": 20}, "commission": {"name": "none"},
        "slippage": {"name": "none"}, "spread": {"name": "fixed", "half_bps": 5}, "financing_bps_per_year": 0,
        "borrow": {"name": "fixed", "bps_per_year": 0},
    }
)  # fmt: skip
NOBODY = pl.DataFrame(schema={"session": pl.Date, "return": pl.Float64})


def path(symbol: str, prices: list[float], volume: float = 1e9, **more: list[float]) -> pl.DataFrame:
    """Bars of whole days that stay where they open."""
    frame = pl.DataFrame({"ts": [START + timedelta(days=day) for day in range(len(prices))], "symbol": symbol} | more)
    flat = {name: pl.Series(prices, dtype=pl.Float64) for name in ("open", "high", "low", "close")}
    return frame.with_columns(**flat, volume=volume)


def sent(*rows: tuple[str, float, str, float]) -> pl.DataFrame:
    """Symbol, day at whose open it fills, side, quantity."""
    made = [
        {"ts": START + timedelta(days=day, hours=-1), "symbol": symbol, "side": side, "quantity": float(quantity)}
        for symbol, day, side, quantity in rows
    ]
    return pl.DataFrame(made).sort("ts", maintain_order=True)


def rates(*values: float, currency: str = "EUR") -> pl.DataFrame:
    """A rate a day, known an hour before the open."""
    days = [START + timedelta(days=day, hours=-1) for day in range(len(values))]
    return pl.DataFrame({"ts": days, "currency": currency, "rate": list(values)})


EURO = pl.DataFrame({"symbol": ["E"], "currency": ["EUR"]})


def test_a_foreign_share_by_hand():
    """100 EUR at 1.1 is 110 USD; sold at 120 EUR when a euro is 0.9: the share rose, and the trade lost."""
    bars = path("E", [100, 100, 110, 120, 120])
    orders = sent(("E", 1, "buy", 100), ("E", 3, "sell", 100))
    result = run(bars, orders, FREE, EURO, rates=rates(1.0, 1.1, 1.0, 0.9, 0.9))
    bought, sold = 100 * 100.05 * 1.1, 100 * 119.94 * 0.9
    assert result.fills["multiplier"].to_list() == [1.1, 0.9]
    assert result.fills["paid"].to_list() == [True, True]
    assert result.fills["realised"].to_list() == pytest.approx([0, sold - bought])
    worth = [100 * 100 * 1.0, 100 * 110 * 0.9]  # a day is over with the rate that the next one opens with
    assert result.positions["unrealised"].to_list() == pytest.approx([value - bought for value in worth])
    figures = result.metrics
    assert figures["expectancy"] == pytest.approx(sold - bought)
    assert figures["expectancy"] == pytest.approx(result.equity["equity"][-1] - 1e6)
    assert figures["average_trade_return"] == pytest.approx(sold / bought - 1)
    assert figures["amount_traded"] == pytest.approx(11000 + 10800)
    assert figures["costs_bps"] == pytest.approx(5)
    assert figures["win_rate"] == 0.0


def test_forex_earns_the_change_in_price_at_the_rate_of_the_exit():
    """200,000 dollars traded and 0.8 per cent won, of an account in dollars: prices and pair are in yen."""
    bars = path("USDJPY", [150, 150, 151, 152, 152])
    pair = pl.DataFrame({"symbol": ["USDJPY"], "asset_class": ["forex"], "currency": ["JPY"]})
    result = run(bars, sent(("USDJPY", 1, "buy", 1e5), ("USDJPY", 3, "sell", 1e5)), FREE, pair)
    won = 1e5 * (152 * 0.9995 - 150 * 1.0005) / 151  # the newest close known as it is left
    assert result.fills["realised"].to_list() == pytest.approx([0, won])
    assert result.metrics["expectancy"] == pytest.approx(won)
    assert result.metrics["amount_traded"] == pytest.approx(1e5 + 1e5 * 152 / 151)
    assert result.metrics["costs_bps"] == pytest.approx(5)


def test_two_currencies_weigh_as_much_as_they_are_worth():
    """A trade of 10,000 yen and one of 100 dollars at 100 yen a dollar: the same money, and the same everything."""
    bars = pl.concat([path("J", [10_000, 10_000, 11_000, 11_000]), path("U", [100, 100, 90, 90])])
    listed = pl.DataFrame({"symbol": ["J", "U"], "currency": ["JPY", "USD"]})
    orders = sent(("J", 1, "buy", 1), ("U", 1, "buy", 1), ("J", 2, "sell", 1), ("U", 2, "sell", 1))
    terms = FREE.model_copy(update={"spread": FREE.spread.model_copy(update={"half_bps": 0.0})})
    figures = run(bars, orders, terms, listed, rates=rates(0.01, currency="JPY")).metrics
    assert (figures["profit_factor"], figures["trade_payoff_ratio"]) == (pytest.approx(1), pytest.approx(1))
    assert (figures["largest_winning_trade"], figures["largest_losing_trade"]) == (
        pytest.approx(10),
        pytest.approx(-10),
    )
    assert figures["kelly_fraction"] == pytest.approx(0, abs=1e-9)
    assert figures["participation"] == pytest.approx(1e-9)


def world(seed: int, hours: float = 24) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Two shares in euros, one with splits and one that is delisted, and one in dollars; a new rate every day.

    Bars last so many hours: short ones are over before the rate of the next day is known.
    """
    draw = np.random.default_rng(seed)
    made = []
    for symbol, days in (("D", 60), ("E", 60), ("G", 40)):
        split = [1.0] * days
        if symbol == "E":
            split[20], split[41] = 2.0, 3.0
        made.append(path(symbol, (100 * np.exp(np.cumsum(draw.normal(0, 0.02, days)))).tolist(), split=split))
    bars = pl.concat(made).with_columns(known_at=pl.col("ts") + timedelta(hours=hours))
    when = bars.filter(pl.Series(draw.random(bars.height) < 0.4)).select("symbol", pl.col("ts").dt.offset_by("5h"))
    orders = when.with_columns(target_weight=pl.Series(draw.choice([-0.3, 0.0, 0.2, 0.4], when.height))).sort("ts")
    kept = orders.head(1).with_columns(symbol=pl.lit("G"), ts=pl.lit(START + timedelta(days=38, hours=6)))
    orders = pl.concat(
        [orders, kept.with_columns(target_weight=pl.lit(0.25), ts=pl.col("ts").cast(orders["ts"].dtype))]
    )
    orders = orders.filter(~((pl.col("symbol") == "G") & (pl.col("ts") > kept["ts"][0]))).sort("ts")
    listed = pl.DataFrame({"symbol": ["E", "G"], "currency": ["EUR", "EUR"]})
    return bars, orders, listed, rates(*np.exp(draw.normal(0.1, 0.1, 60)))


@pytest.mark.parametrize("hours", [24, 6.5])
@pytest.mark.parametrize("seed", range(4))
def test_profits_of_trades_are_what_the_account_earned_whatever_the_rates_did(seed, hours):
    bars, orders, listed, known = world(seed, hours)
    result = run(bars, orders, FREE, listed, rates=known)
    earned = result.equity["equity"][-1] - 1e6
    assert "delisting" in result.fills["reason"].to_list()
    held = result.positions.filter(pl.col("ts") == bars["ts"].max())["unrealised"].sum()
    assert result.fills["realised"].sum() + held == pytest.approx(earned, abs=1e-4)
    last = {"E": known["rate"][-1]}
    for method in ("flat", "fifo"):
        trips = round_trips(result.fills, bars, last, method)
        assert trips["pnl"].sum() == pytest.approx(earned, abs=1e-4)
    assert round_trips(result.fills, bars, last).filter(~pl.col("open"))["pnl"].mean() == pytest.approx(
        result.metrics["expectancy"]
    )


@pytest.mark.parametrize("hours", [24, 6.5])
def test_every_step_realised_and_unrealised_are_the_equity(hours):
    bars, orders, listed, known = world(7, hours)
    result = run(bars, orders, FREE, listed, rates=known)
    realised = dict(result.fills.group_by("ts").agg(pl.col("realised").sum()).rows())
    unrealised = dict(result.positions.group_by("ts").agg(pl.col("unrealised").sum()).rows())
    so_far = 0.0
    for ts, equity in result.equity.select("ts", "equity").rows():
        so_far += realised.get(ts, 0.0)
        assert so_far + unrealised.get(ts, 0.0) == pytest.approx(equity - 1e6, abs=1e-4), ts


@pytest.mark.parametrize("hours", [24, 20])
@pytest.mark.parametrize("kind", ["market", "market_on_close", "limit"])
def test_bars_that_are_over_in_the_middle_of_others_are_converted_as_the_account_was(kind, hours):
    """A share in dollars opens at 14:00; what is in euros lasts longer, and the rate changes at noon and 23:00."""
    bars, orders, listed, known = world(3, hours)
    shifted = pl.when(pl.col("symbol") == "D").then(timedelta(hours=14)).otherwise(timedelta())
    bars = bars.with_columns(ts=pl.col("ts") + shifted)
    bars = bars.with_columns(known_at=pl.col("ts") + pl.when(symbol="D").then(timedelta(hours=6)).otherwise(
        timedelta(hours=hours)), high=pl.col("high") * 1.02, low=pl.col("low") * 0.98)  # fmt: skip
    noon = known.with_columns(pl.col("ts") + timedelta(hours=13), pl.col("rate") * 1.01)
    sent_on = orders.filter(pl.col("ts") < START + timedelta(days=38)).with_columns(
        type=pl.lit(kind), side=pl.when(pl.col("target_weight") > 0).then(pl.lit("buy")).otherwise(pl.lit("sell")),
        quantity=pl.lit(100.0), limit_price=pl.lit(100.0 if kind == "limit" else None, pl.Float64),
    ).drop("target_weight")  # fmt: skip
    result = run(bars, sent_on, FREE, listed, rates=pl.concat([known, noon]))
    assert result.fills.height > 10
    held = result.positions.filter(pl.col("ts") == result.equity["ts"][-1])["unrealised"].sum()
    earned = result.equity["equity"][-1] - 1e6
    assert result.fills["realised"].sum() + held == pytest.approx(earned, abs=1e-4)


def test_a_sweep_measures_what_run_does():
    bars, orders, listed, known = world(0)
    past = history(bars, listed, conversion=known)
    figures = run(past, orders, FREE).metrics
    found = sweep(
        past, lambda scale: orders.with_columns(pl.col("target_weight") * scale), {"scale": [1.0]}, FREE, trials=None
    )
    row = found.results.row(0, named=True)
    for name in ("turnover", "costs", "costs_bps", "fills"):
        assert row[name] == pytest.approx(figures[name]), name


CLASSES = [
    ("a share in dollars", "USD", 1.0, "equity"),
    ("in yen", "JPY", 1.0, "equity"),
    ("a future", "USD", 50.0, "future"),
]


@pytest.mark.parametrize(("name", "currency", "multiplier", "kind"), CLASSES, ids=[case[0] for case in CLASSES])
def test_turnover_on_the_page_is_that_of_the_metrics(name, currency, multiplier, kind):
    bars = path("X", [100.0] * 366)
    listed = pl.DataFrame({"symbol": ["X"], "asset_class": [kind], "currency": [currency], "multiplier": [multiplier]})
    orders = sent(*[("X", day, "buy" if day % 20 else "sell", 400) for day in range(10, 366, 10)])
    known = rates(0.01, currency="JPY") if currency == "JPY" else None
    result = run(bars, orders, FREE, listed, rates=known)
    page = daily(result.equity, result.fills, NOBODY)
    assert page["turnover"][-1] == pytest.approx(result.metrics["turnover"] * 366 / 365, rel=1e-9)
