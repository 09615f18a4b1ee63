"""What a backtest adds to the exchange: sizing, sessions, delistings, the frames of its result."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from quant_assets.backtests.engine import by_session
from resources.errors import BarSchemaError
from tests.quant_assets.backtests.worlds import cleaned, closes, sent, sized, target
from tests.resources.exchange.cases import account, bar, flat, opens

TWO = {"X": [flat(100), flat(100), flat(100), flat(100)], "Y": [flat(50), flat(50), flat(50), flat(50)]}


def filled(result, *columns):
    return result.fills.select(columns).rows()


# ---- target weights


def test_a_target_is_sized_with_the_last_close_and_filled_at_the_next_open():
    bars = cleaned({"X": [bar(90, 105, 90, 100), flat(125), flat(125)]})
    result = run(bars, sent(target(0, "X", 0.5)), account(cash=10_000))
    assert filled(result, "session", "side", "quantity", "price") == [(date(2024, 1, 9), "buy", 50, 125)]


def test_whole_lots_towards_zero():
    bars = cleaned({"X": [flat(30)] * 3, "Y": [flat(30)] * 3})
    instruments = pl.DataFrame({"symbol": ["Y"], "lot": [10.0], "tick": [None]}, schema_overrides={"tick": pl.Float64})
    orders = sent(target(0, "X", 0.5), target(0, "Y", -0.5))
    result = run(bars, orders, account(cash=1000), instruments=instruments)
    assert filled(result, "symbol", "side", "quantity") == [("X", "buy", 16), ("Y", "sell", 10)]


def test_a_target_trades_the_difference_to_what_is_held():
    orders = sent(target(0, "X", 0.5), target(1, "X", 0.2), target(2, "X", -0.1))
    result = run(cleaned(TWO), orders, account(cash=10_000))
    assert filled(result, "side", "quantity") == [("buy", 50), ("sell", 30), ("sell", 30)]
    assert result.positions.filter(pl.col("symbol") == "X")["quantity"].to_list() == [50, 20, -10]


def test_a_target_already_met_is_filled_with_nothing():
    result = run(cleaned(TWO), sent(target(0, "X", 0.5), target(1, "X", 0.5)), account(cash=10_000))
    last = result.orders.row(1, named=True)
    assert (last["state"], last["quantity"], last["side"], last["reason"]) == (
        "filled",
        0,
        None,
        "already at its target",
    )


def test_a_target_replaces_what_still_rests_of_the_target_before():
    bars = cleaned({"X": [flat(100, 1000)] * 4})
    orders = sent(target(0, "X", 0.9), target(1, "X", 0.2))
    result = run(bars, orders, account(cash=100_000, participation=0.1))
    assert filled(result, "order_id", "side", "quantity") == [("0", "buy", 100), ("1", "buy", 100)]
    assert result.orders.select("state", "filled", "reason").rows() == [
        ("cancelled", 100, "replaced by a later order"),
        ("filled", 100, ""),
    ]


def test_a_target_leaves_orders_with_a_quantity_alone():
    orders = sent(sized(0, "X", "buy", 5, type="limit", limit_price=90.0), target(1, "X", 0.0))
    result = run(cleaned({"X": [*[flat(100)] * 3, flat(80)]}), orders, account(cash=10_000))
    assert filled(result, "order_id", "quantity", "price") == [("0", 5, 80)]


def test_of_two_targets_at_one_time_the_last_counts():
    result = run(cleaned(TWO), sent(target(0, "X", 0.5), target(0, "X", 0.1)), account(cash=10_000))
    assert filled(result, "order_id", "quantity") == [("1", 10)]
    assert result.orders["state"].to_list() == ["cancelled", "filled"]


def test_a_target_rests_over_a_split():
    bars = cleaned({"X": [flat(100), flat(50, split=2), flat(50)]})
    result = run(bars, sent(target(0, "X", 0.5)), account(cash=10_000))
    assert filled(result, "quantity", "price") == [(100, 50)]
    assert result.equity["equity"].to_list() == [10_000] * 3


def test_a_target_submitted_during_a_session_knows_the_close_before():
    bars = cleaned({"X": [flat(100), bar(100, 200, 100, 200), flat(200)]})
    result = run(bars, sent(target(opens(1) + timedelta(hours=1), "X", 0.5)), account(cash=10_000))
    assert filled(result, "session", "quantity") == [(date(2024, 1, 10), 50)]


def test_a_target_submitted_on_the_day_of_a_split_knows_the_restated_close_before():
    bars = cleaned({"X": [flat(100), flat(60, split=2), flat(60)]})
    result = run(bars, sent(target(opens(1) + timedelta(hours=1), "X", 0.5)), account(cash=10_000))
    assert filled(result, "session", "quantity", "price") == [(date(2024, 1, 10), 100, 60)]


def test_without_a_price_a_target_is_rejected():
    bars = cleaned({"X": [flat(100)] * 3, "Y": [None, flat(50), flat(50)]})
    result = run(bars, sent(target(opens(1), "Y", 0.5), target(1, "Y", 0.5)), account(cash=10_000))
    assert filled(result, "order_id", "quantity") == [("1", 100)]
    assert result.orders["reason"][0] == "no price was known when it was submitted"


def test_rule_18_a_fully_invested_rebalance_survives_an_open_above_the_close():
    bars = cleaned({"X": [flat(100), flat(104), flat(104)], "Y": [flat(50), flat(52), flat(52)]})
    orders = sent(target(0, "X", 0.5), target(0, "Y", 0.5))
    result = run(bars, orders, account(cash=10_000, max_gross=1.05))
    assert result.orders["state"].to_list() == ["filled", "filled"]
    assert result.equity["cash"].to_list()[1] == -400
    strict = run(bars, orders, account(cash=10_000, max_gross=1.0))
    assert strict.orders["state"].to_list() == ["filled", "rejected"]


def test_rule_18_sales_of_a_rebalance_pay_for_its_purchases():
    orders = sent(target(0, "Y", 1.0), target(1, "X", 1.0), target(1, "Y", 0.0))
    result = run(cleaned(TWO), orders, account(cash=10_000))
    assert filled(result, "symbol", "side", "quantity") == [("Y", "buy", 200), ("Y", "sell", 200), ("X", "buy", 100)]


# ---- sessions and symbols


def test_rule_11_missing_and_stale_bars_fill_nothing():
    bars = cleaned({"X": [flat(100)] * 4}, {("X", 1): "missing_session", ("X", 2): "stale"})
    result = run(bars, sent(target(0, "X", 0.5)), account(cash=10_000))
    assert filled(result, "session") == [(opens(3).date(),)]


def test_other_flags_do_not_stop_trading():
    bars = cleaned({"X": [flat(100)] * 3}, {("X", 1): "jump"})
    assert filled(run(bars, sent(target(0, "X", 0.5)), account(cash=10_000)), "session") == [(opens(1).date(),)]


def test_rule_17_a_symbol_whose_history_ends_is_closed_at_its_last_price():
    bars = cleaned({"X": [flat(100), bar(100, 100, 70, 80)], "Y": [flat(50)] * 6})
    orders = sent(target(0, "X", 0.5), sized(0, "X", "buy", 5, type="limit", limit_price=10.0), target(4, "X", 0.5))
    result = run(bars, orders, account(cash=10_000))
    assert filled(result, "order_id", "session", "side", "quantity", "price", "commission", "reason")[1:] == [
        ("delisting:X:2024-01-12", date(2024, 1, 12), "sell", 50, 80, 0, "delisting")
    ]
    assert result.orders.select("state", "reason").rows() == [
        ("filled", ""),
        ("cancelled", "delisted or expired"),
        ("rejected", "delisted or expired"),
    ]
    assert result.equity["equity"].to_list() == [10_000, 9000, 9000, 9000, 9000, 9000]


def test_what_rests_at_the_end_is_cancelled_and_reported():
    orders = sent(sized(0, "X", "buy", 5, type="limit", limit_price=10.0), target(3, "Y", 0.5))
    result = run(cleaned(TWO), orders, account())
    assert result.orders.select("state", "filled", "reason").rows() == [("cancelled", 0, "the history is over")] * 2


def test_start_leaves_out_earlier_sessions_and_orders_but_knows_earlier_prices():
    bars = cleaned({"X": [flat(100), flat(125), flat(200), flat(200)], "Y": [flat(50)] * 4})
    orders = sent(target(0, "X", 0.5), target(1, "X", 0.5))
    result = run(bars, orders, account(cash=10_000, start=date(2024, 1, 10), max_gross=2))
    assert result.equity["session"].to_list() == [date(2024, 1, 10), date(2024, 1, 11)]
    assert filled(result, "order_id", "quantity", "price") == [("1", 40, 200)]
    assert result.orders["reason"].to_list() == ["submitted before the first session traded", ""]


def test_start_after_a_delisting():
    bars = cleaned({"X": [flat(100)], "Y": [flat(50)] * 5})
    result = run(bars, sent(target(2, "X", 0.5), target(2, "Y", 0.5)), account(cash=10_000, start=date(2024, 1, 11)))
    assert result.orders["reason"].to_list() == ["delisted or expired", ""]


def test_latency_moves_the_first_bar():
    orders = sent(sized(opens(1) - timedelta(seconds=5), "X", "buy", 1))
    result = run(cleaned(TWO), orders, account(latency_seconds=10))
    assert filled(result, "session") == [(opens(2).date(),)]


def test_orders_of_one_instant_are_taken_in_the_order_given():
    bars = cleaned({"X": [flat(100, 10)] * 3})
    orders = sent(
        sized(0, "X", "buy", 8, order_id="second"),
        sized(0, "X", "buy", 8, order_id="third"),
        sized(closes(0) - timedelta(hours=1), "X", "buy", 1, order_id="first"),
    )
    result = run(bars, orders, account())
    assert filled(result, "order_id", "quantity")[:3] == [("first", 1), ("second", 8), ("third", 1)]


# ---- the frames


def test_the_frames_add_up():
    bars = cleaned(
        {"X": [flat(100), flat(100), bar(110, 120, 110, 120, dividend=1.0)], "Y": [flat(50), flat(50), flat(40)]}
    )
    orders = sent(target(0, "X", 0.4), target(0, "Y", -0.2))
    result = run(bars, orders, account(cash=10_000, borrow_bps_per_year=365, commission_minimum=1))
    # 40 X bought at 100 and 40 Y sold at 50; then 40 of dividend, one day of borrow on 2,000, +20 and -10 a share
    assert result.equity["cash"].to_list() == pytest.approx([10_000, 7998, 7998 + 40 - 2000 * 0.0365 / 365])
    assert result.equity["positions_value"].to_list() == [0, 2000, 3200]
    assert result.equity["equity"].to_list() == pytest.approx([10_000, 9998, 11_237.8])
    assert result.equity["gross_exposure"].to_list() == pytest.approx([0, 6000 / 9998, 6400 / 11_237.8])
    assert result.equity["net_exposure"].to_list() == pytest.approx([0, 2000 / 9998, 3200 / 11_237.8])
    assert result.equity["return"].to_list() == pytest.approx([0, -0.0002, 11_237.8 / 9998 - 1])
    assert result.equity["dividends"].to_list() == [0, 0, 40]
    assert result.equity["borrow_cost"].to_list() == pytest.approx([0, 0, 0.2])
    assert result.positions.drop("ts").rows() == [  # quantity, average price, price, market value, unrealised
        (date(2024, 1, 9), "X", 40, 100, 100, 4000, 0),
        (date(2024, 1, 9), "Y", -40, 50, 50, -2000, 0),
        (date(2024, 1, 10), "X", 40, 100, 120, 4800, 800),
        (date(2024, 1, 10), "Y", -40, 50, 40, -1600, 400),
    ]
    assert result.equity["margin"].to_list() == [0, 6000, 6400]
    assert result.equity["ts"].to_list() == [opens(0), opens(1), opens(2)]


def test_columns_and_types():
    result = run(cleaned(TWO).lazy(), sent(target(0, "X", 0.5)).lazy(), account())
    assert result.fills.columns == [
        "order_id", "ts", "session", "symbol", "side", "quantity", "price", "reference_price",
        "spread_cost", "slippage_cost", "commission", "reason", "ambiguous", "tag", "realised", "multiplier", "paid",
    ]  # fmt: skip
    assert result.orders.columns == [
        "order_id", "ts", "symbol", "side", "quantity", "type", "tif", "limit_price", "stop_price", "trail",
        "state", "filled", "reason", "tag",
    ]  # fmt: skip
    assert result.equity.columns == [
        "session", "ts", "cash", "positions_value", "equity", "gross_exposure", "net_exposure", "margin", "return",
        "dividends", "borrow_cost", "funding", "interest",
    ]  # fmt: skip
    assert result.positions.columns == [
        "session", "ts", "symbol", "quantity", "average_price", "price", "market_value", "unrealised",
    ]  # fmt: skip
    empty = run(cleaned(TWO), sent(target(3, "X", 0.5)), account())
    for name in ("fills", "positions", "orders", "equity"):
        assert getattr(empty, name).schema == getattr(result, name).schema
    assert len(result.metrics) >= 25


def test_no_orders_at_all():
    orders = sent(target(0, "X", 0.5)).clear()
    result = run(cleaned(TWO), orders, account(cash=500))
    assert result.equity["equity"].to_list() == [500] * 4
    assert (result.orders.height, result.metrics["sharpe"], result.metrics["costs_bps"]) == (0, None, None)


def test_trade_statistics():
    bars = cleaned({"X": [flat(100)] * 6})
    orders = sent(target(0, "X", 0.5), target(1, "X", 0.0), target(3, "X", 0.5))
    metrics = run(bars, orders, account(cash=10_000, half_spread_bps=10, slippage_bps=10, commission_minimum=1)).metrics
    # The sixth session is a Saturday: a market that never rests, 365 sessions a year.
    first, second, third = 5000, 5000, 4900  # 49 shares the last time: equity is just below 10,000
    costs = (first + second + third) * 0.002 + 3
    assert (metrics["orders"], metrics["fills"], metrics["holdings"], metrics["holding_sessions"]) == (3, 3, 2, 1.5)
    assert metrics["costs"] == pytest.approx(costs)
    assert metrics["costs_bps"] == pytest.approx(costs / (first + second + third) * 1e4)
    assert metrics["turnover"] == pytest.approx((first + second + third) / 2 / 10_000 * 365 / 6, rel=0.01)
    assert (metrics["ambiguous_share"], metrics["time_in_market"], metrics["average_positions"]) == (0, 0.5, 0.5)


def test_an_account_that_is_lost_has_no_returns_after_that():
    bars = cleaned({"X": [flat(100), flat(100), flat(250), flat(250)]})
    result = run(bars, sent(sized(0, "X", "sell", 100)), account(cash=10_000))
    assert result.equity["return"].to_list() == pytest.approx([0, 0, -1.5, None])
    assert result.equity["gross_exposure"].to_list() == [0, 1, None, None]
    assert result.metrics["cagr"] is None


def test_an_account_that_is_lost_does_not_come_back():
    """Short 400 of X on 10,000: lost at 126, above nothing again at 124 and 60; nobody would have lent it the money."""
    bars = cleaned({"X": [flat(close) for close in (100, 100, 120, 126, 124, 60, 60)]})
    result = run(
        bars,
        sent(sized(0, "X", "sell", 400)),
        account(cash=10_000, max_gross=10, margin={"name": "leverage", "leverage": 10}),
    )
    assert result.equity["equity"].to_list() == pytest.approx([10_000, 10_000, 2_000, -400, 400, 26_000, 26_000])
    assert result.equity["return"].to_list() == pytest.approx([0, 0, -0.8, -1.2, None, None, None])
    assert result.metrics["total_return"] == pytest.approx(-1.04)
    assert result.metrics["max_drawdown"] == pytest.approx(-1.04)
    assert result.metrics["cagr"] is None
    assert by_session(result.equity, 10_000)["return"].to_list() == result.equity["return"].to_list()


SESSIONS_OF_TWO_ROWS = [
    ([11.0, 12.0, 9.0, 6.0, 3.0, 6.0], [0.2, -0.5, 0.0]),
    ([11.0, 12.0, -6.0, 6.0, 3.0, 6.0], [0.2, -1.5, None]),
    ([11.0, 12.0, 6.0, 0.0, 3.0, 6.0], [0.2, -1.0, None]),
    ([-5.0, 12.0, 9.0, 6.0, 3.0, 6.0], [-1.5, None, None]),
    ([11.0, 12.0, 9.0, 6.0, 3.0, -6.0], [0.2, -0.5, -2.0]),
]


@pytest.mark.parametrize(("equity", "returns"), SESSIONS_OF_TWO_ROWS)
def test_returns_by_session_end_with_the_row_in_which_an_account_is_lost(equity, returns):
    days = [date(2024, 1, 8 + n // 2) for n in range(6)]
    found = by_session(pl.DataFrame({"session": days, "equity": equity}), 10.0)
    assert found["return"].to_list() == pytest.approx(returns)
    assert found["session"].to_list() == days[::2]


def test_a_start_after_the_history():
    with pytest.raises(BarSchemaError, match=r"backtest\.start is 2030-01-01, after the last session"):
        run(cleaned(TWO), sent(sized(0, "X", "buy", 5)), account(start=date(2030, 1, 1)))
