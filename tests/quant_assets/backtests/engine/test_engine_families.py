"""Orders that depend on other orders, where time or a second symbol comes between them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from resources.exchange import Bar, Exchange
from tests.quant_assets.backtests.worlds import cleaned, sent, sized, target
from tests.resources.exchange.cases import account, bar, flat, opens, order


def defect(reason: str):
    """A case that the exchange does not keep yet; it fails as soon as it does, so that this mark goes."""
    return pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)


def traded(bars, orders, settings=None):
    return run(bars, orders, settings or account()).fills.select("order_id", "session", "quantity", "price").rows()


def day(number: int):
    return opens(number).date()


def request(ts, action, order_id, **more):
    return {"ts": ts, "symbol": "X", "action": action, "order_id": order_id, **more}


RISING = cleaned({"X": [flat(100), flat(101), flat(102), flat(103), flat(104)]})


# ---- children


def test_a_child_sleeps_until_its_parent_fills():
    bars = cleaned({"X": [flat(100), flat(100), flat(80), flat(80)]})
    orders = sent(
        sized(0, "X", "buy", 1, order_id="p", type="limit", limit_price=90.0),
        sized(0, "X", "sell", 1, order_id="c", parent="p"),
    )
    assert traded(bars, orders) == [("p", day(2), 1, 80), ("c", day(2), 1, 80)]


def test_a_child_may_come_before_its_parent():
    orders = sent(sized(0, "X", "sell", 1, order_id="c", parent="p"), sized(1, "X", "buy", 1, order_id="p"))
    assert traded(RISING, orders) == [("p", day(2), 1, 102), ("c", day(2), 1, 102)]


def test_a_child_that_comes_after_its_parent_filled_is_eligible_at_the_next_bar_that_opens():
    orders = sent(sized(0, "X", "buy", 1, order_id="p"), sized(1, "X", "sell", 1, order_id="c", parent="p"))
    assert traded(RISING, orders) == [("p", day(1), 1, 101), ("c", day(2), 1, 102)]


def test_a_live_child_that_comes_after_its_parent_filled_is_eligible_at_the_next_bar_that_opens():
    exchange = Exchange(account())
    exchange.submit(order("buy", 1, id="p"))
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.submit(_child("c", "p"))
    assert [done.order_id for done in exchange.on_bar(opens(1), {"X": flat(100)})] == ["c"]


def _child(order_id: str, parent: str):
    return replace(order("sell", 1, id=order_id, at=opens(0) + timedelta(hours=7)), parent=parent)


def test_a_child_that_comes_after_its_parent_was_replaced_waits_for_the_replacement():
    bars = cleaned({"X": [flat(100)] * 4 + [flat(80)] * 2})
    orders = sent(
        sized(0, "X", "buy", 1, order_id="p", type="limit", limit_price=85.0),
        request(1, "replace", "p", limit_price=90.0),
        sized(2, "X", "sell", 1, order_id="c", parent="p"),
    )
    assert traded(bars, orders) == [("p", day(4), 1, 80), ("c", day(4), 1, 80)]


def test_children_outlive_the_replacement_of_their_parent():
    bars = cleaned({"X": [flat(100)] * 3 + [flat(80), flat(99)]})
    orders = sent(
        sized(0, "X", "buy", 1, order_id="p", type="limit", limit_price=85.0, take_profit=98.0, stop_loss=70.0),
        request(1, "replace", "p", limit_price=90.0, quantity=3.0),
    )
    assert traded(bars, orders) == [("p", day(3), 3, 80), ("p:take_profit", day(4), 3, 99)]


def test_a_sleeping_child_can_be_replaced_and_cancelled():
    bars = cleaned({"X": [flat(100), flat(100), flat(100), flat(96)]})
    orders = sent(
        sized(0, "X", "buy", 1, order_id="p", take_profit=110.0, stop_loss=90.0),
        request(0, "replace", "p:stop_loss", stop_price=97.0),
        request(0, "cancel", "p:take_profit"),
    )
    result = run(bars, orders, account())
    assert result.fills.select("order_id", "price").rows() == [("p", 100), ("p:stop_loss", 96)]
    assert dict(result.orders.select("order_id", "reason").rows())["p:take_profit"] == "cancelled on request"


def test_a_trailing_child_in_another_symbol_trails_its_own_price():
    bars = cleaned({"X": [flat(100)] * 5, "Y": [flat(10)] * 5})
    orders = sent(
        sized(0, "Y", "buy", 5, order_id="y"),
        sized(1, "X", "buy", 1, order_id="p"),
        sized(1, "Y", "sell", 5, order_id="c", parent="p", type="trailing_stop", trail=1.0),
    )
    assert [row[0] for row in traded(bars, orders)] == ["y", "p"]


def test_exits_in_fractions_need_a_known_price():
    """Submitted before any close is known: refused, rather than left without its stop."""
    bars = cleaned({"X": [flat(100), flat(101), flat(50), flat(50)]})
    result = run(bars, sent(sized(opens(0), "X", "buy", 1, stop_loss_fraction=0.05)), account())
    assert result.orders["state"][0] == "rejected"


# ---- one cancels the other


def test_orders_of_a_group_that_come_together_never_both_fill():
    orders = sent(sized(0, "X", "buy", 1, oco_group="g"), sized(0, "X", "sell", 1, oco_group="g"))
    assert traded(RISING, orders) == [("0", day(1), 1, 101)]


def test_a_sibling_that_comes_after_the_fill_does_not_fill_either():
    orders = sent(sized(0, "X", "buy", 1, oco_group="g"), sized(2, "X", "buy", 1, oco_group="g"))
    assert traded(RISING, orders) == [("0", day(1), 1, 101)]


# ---- whole or not at all, reducing only


def test_a_fok_order_that_reduces_more_than_there_is_does_not_fill():
    orders = sent(sized(0, "X", "buy", 50), sized(1, "X", "sell", 100, tif="fok", reduce_only=True))
    assert traded(RISING, orders) == [("0", day(1), 50, 101)]


# ---- the order of things inside a bar


def test_the_dearer_buy_comes_first_whatever_else_is_traded():
    """Volume for one of them: the worse for the account is the one at 98, with or without an order in Y."""
    there = bar(100, 101, 90, 100, 100)
    limits = {"type": "limit", "tif": "day"}
    x95, x98 = (
        sized(0, "X", "buy", 100, order_id=f"x{limit}", limit_price=float(limit), **limits) for limit in (95, 98)
    )
    bars = cleaned({"X": [there] * 2, "Y": [there] * 2})
    between = sized(0, "Y", "buy", 100, order_id="y", limit_price=95.0, **limits)
    assert [row[0] for row in traded(bars, sent(x95, x98))] == ["x98"]
    assert [row[0] for row in traded(bars, sent(x95, between, x98)) if row[0] != "y"] == ["x98"]


# ---- what is known


def test_a_bracket_around_a_target_that_turns_out_to_sell_leaves_the_rest_alone():
    """Exits for a long around an order that reduces one: reduce-only, they have nothing to do."""
    orders = sent(target(0, "X", 0.5), target(1, "X", 0.1, take_profit=120.0, stop_loss=90.0))
    result = run(RISING, orders, account(cash=10_000))
    assert set(result.orders["reason"][2:]) == {"reduce-only: no position is left to reduce"}


def test_a_size_does_not_depend_on_what_else_fills():
    """Submitted inside a bar that another symbol's bar interrupts: the last close known, with or without a fill."""
    bars = cleaned({"X": [flat(100), flat(150), flat(150)]})
    other = bars.with_columns(symbol=pl.lit("Y"), ts=pl.col("ts") + pl.duration(hours=2))
    both = pl.concat([bars, other])
    half = target(opens(1) + timedelta(hours=1), "X", 0.5, order_id="half")
    alone = run(both, sent(half), account(cash=10_000, max_gross=3))
    beside = run(both, sent(sized(0, "X", "buy", 1, order_id="one"), half), account(cash=10_000, max_gross=3))
    sizes = [dict(result.orders.select("order_id", "quantity").rows())["half"] for result in (alone, beside)]
    assert sizes == [50, 49]


@defect("on_bar closes all its bars before the next call, so that bars which overlap are known too early (simulated)")
def test_bars_that_overlap_are_known_to_a_live_feed_no_earlier_than_to_a_backtest():
    noon = opens(0) + timedelta(hours=2)
    late = opens(0) + timedelta(hours=6)
    exchange = Exchange(account(cash=10_000, max_gross=3))
    exchange.submit(order("buy", 10, at=opens(0)))
    exchange.on_bar(opens(0), {"X": Bar(100, 200, 100, 200, 1e6, ends=late)})
    exchange.on_bar(noon, {"Y": Bar(50, 50, 50, 50, 1e6, ends=noon + timedelta(hours=1))})
    assert exchange.equity == 10_000
