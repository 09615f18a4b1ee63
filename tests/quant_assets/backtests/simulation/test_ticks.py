"""Backtests on quotes and on trades: the frames, and the same properties as on bars. Rules: test_rules_ticks.py."""

from __future__ import annotations

import random
from datetime import timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from resources.errors import BarSchemaError
from tests.quant_assets.backtests.worlds import sent, sized
from tests.resources.exchange.cases import account, opens


def at(microseconds: int):
    return opens(0) + timedelta(microseconds=microseconds)


def quotes(*rows: tuple[int, float, float], symbol: str = "X") -> pl.DataFrame:
    """Quotes of bid and ask at microseconds after the open."""
    return pl.DataFrame(
        [{"ts": at(us), "symbol": symbol, "bid": float(bid), "ask": float(ask)} for us, bid, ask in rows]
    )


def trades(*rows: tuple[int, float, float], symbol: str = "X") -> pl.DataFrame:
    return pl.DataFrame([{"ts": at(us), "symbol": symbol, "price": float(p), "size": float(n)} for us, p, n in rows])


def test_a_market_order_meets_the_next_quote_a_microsecond_later():
    ticks = quotes((0, 99, 101), (1, 100, 102), (2, 104, 106))
    orders = sent(sized(at(1), "X", "buy", 10, order_id="b"), sized(at(2), "X", "sell", 10, order_id="s"))
    fills = run(ticks, orders, account()).fills
    assert fills.select("order_id", "ts", "price", "reference_price", "spread_cost").rows() == [
        ("b", at(1), 102, 101, 10),
        ("s", at(2), 104, 105, 10),
    ]


def test_the_account_is_written_down_once_a_minute_and_at_the_end():
    minute = 60_000_000
    ticks = quotes((0, 99, 101), (5, 99, 101), (minute, 109, 111), (minute + 9, 119, 121))
    result = run(ticks, sent(sized(at(0), "X", "buy", 10)), account(cash=10_000))
    assert result.equity["ts"].to_list() == [at(5), at(minute + 9)]
    assert result.equity["equity"].to_list() == [10_000 - 10, 10_000 - 10 + 200]


def test_trades_share_their_size():
    ticks = trades((0, 100, 50), (1, 100, 4), (2, 101, 50))
    fills = run(ticks, sent(sized(at(1), "X", "buy", 10)), account()).fills
    assert fills.select("ts", "quantity", "price").rows() == [(at(1), 4, 100), (at(2), 6, 101)]


def test_several_ticks_of_one_instant_are_steps_of_their_own_in_the_order_given():
    ticks = quotes((0, 99, 101), (1, 94, 96), (1, 99, 101), (1, 104, 106))
    orders = sent(
        sized(at(0), "X", "buy", 1, order_id="low", type="limit", limit_price=97.0),
        sized(at(0), "X", "sell", 1, order_id="high", type="limit", limit_price=103.0),
    )
    fills = run(ticks, orders, account()).fills
    assert fills.select("order_id", "price").rows() == [("low", 97), ("high", 103)]


def test_a_bracket_on_ticks():
    ticks = quotes((0, 99, 101), (1, 99, 101), (2, 103, 105), (3, 111, 113), (4, 80, 82))
    orders = sent(sized(at(1), "X", "buy", 10, order_id="e", take_profit=110.0, stop_loss=95.0))
    fills = run(ticks, orders, account()).fills
    assert fills.select("order_id", "ts", "price").rows() == [("e", at(1), 101), ("e:take_profit", at(3), 110)]


def world(seed: int, kind: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    draw = random.Random(seed)
    rows, price = [], 100.0
    for number in range(60):
        price = max(price + draw.choice([-0.5, -0.25, 0.0, 0.25, 0.5]), 90.0)
        half = draw.choice([0.25, 0.5])
        when = number * 1_000_000 + draw.choice([0, 7])
        rows.append((when, price - half, price + half) if kind == "quotes" else (when, price, draw.choice([5, 40])))
    orders = []
    for number in range(14):
        name = draw.choice(["market", "limit", "stop", "trailing_stop"])
        row = sized(
            at(draw.randrange(1, 50) * 1_000_000), "X", draw.choice(["buy", "sell"]), draw.randint(1, 30), type=name
        )
        level = 100 + draw.randint(-8, 8) / 4
        row |= {"limit": {"limit_price": level}, "stop": {"stop_price": level}, "trailing_stop": {"trail": 0.75}}.get(
            name, {}
        )
        orders.append(row | {"order_id": f"o{number}", "reduce_only": draw.random() < 0.2})
    return (quotes if kind == "quotes" else trades)(*rows), sent(*orders)


@pytest.mark.parametrize("kind", ["quotes", "trades"])
@pytest.mark.parametrize("seed", range(6))
def test_cutting_the_ticks_anywhere_leaves_the_fills_before_the_cut_as_they_were(seed, kind):
    ticks, orders = world(seed, kind)
    whole = run(ticks, orders, account(cash=50_000, commission_per_share=0.01))
    assert whole.fills.height > 3
    for cut in range(1, 60, 7):
        part = run(ticks.head(cut), orders, account(cash=50_000, commission_per_share=0.01))
        assert part.fills.rows() == whole.fills.filter(pl.col("ts") <= ticks["ts"][cut - 1]).rows()


@pytest.mark.parametrize("kind", ["quotes", "trades"])
@pytest.mark.parametrize("seed", range(6))
def test_a_fill_is_at_the_quote_or_the_trade_or_its_own_limit(seed, kind):
    ticks, orders = world(seed, kind)
    result = run(ticks, orders, account(cash=50_000))
    limits = dict(orders.select("order_id", "limit_price").rows())
    here = {row["ts"]: row for row in ticks.iter_rows(named=True)}
    for row in result.fills.iter_rows(named=True):
        tick, side = here[row["ts"]], 1 if row["side"] == "buy" else -1
        meets = tick["price"] if kind == "trades" else tick["ask"] if side > 0 else tick["bid"]
        limit = limits[row["order_id"]]
        assert row["price"] == pytest.approx(meets, rel=1e-12) or row["price"] == limit
        assert limit is None or side * row["price"] <= side * limit
        assert side * row["price"] >= side * meets - 1e-9
    assert result.equity["equity"].to_list() == pytest.approx(
        (result.equity["cash"] + result.equity["positions_value"]).to_list(), rel=1e-9
    )


BAD_TICKS = [
    (quotes((0, 101, 99)), "X .*ask is 99.0; .*an ask at least its bid"),
    (quotes((0, 0, 99)), "X .*ask is 99.0; .*an ask at least its bid"),
    (quotes((0, float("nan"), 99)), "X .*open is nan"),
    (trades((0, -1, 5)), "X .*open is -1.0"),
    (trades((0, 100, -5)), "X .*volume is -5.0"),
    (trades((0, 100, 5)).with_columns(pl.col("ts").dt.replace_time_zone(None)), "column ts is Datetime"),
    (trades((0, 100, 5)).drop("price"), "missing columns.*trades with"),
]


@pytest.mark.parametrize(("ticks", "message"), BAD_TICKS, ids=[row[1] for row in BAD_TICKS])
def test_bad_ticks_are_named(ticks, message):
    with pytest.raises(BarSchemaError, match=message):
        run(ticks, sent(sized(at(0), "X", "buy", 1)), account())
