"""What cannot be traded is refused before the run, with row, symbol, field and how to mend it."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError
from resources.exchange import OrderError
from tests.quant_assets.backtests.worlds import cleaned, sent, sized, target
from tests.resources.exchange.cases import account, flat, opens

TWO = {"X": [flat(100), flat(100), flat(100), flat(100)], "Y": [flat(50), flat(50), flat(50), flat(50)]}
GOOD = sized(0, "X", "buy", 5, order_id="good")
LIMIT = sized(0, "X", "buy", 5, order_id="limit", type="limit", limit_price=90.0)


def one(**more):
    """An order to buy 5 X, with what makes it impossible."""
    return sent(sized(0, "X", more.pop("side", "buy"), more.pop("quantity", 5.0), **more))


def request(action, order_id, **more):
    return {"ts": 1, "symbol": "X", "action": action, "order_id": order_id, **more}


NAN, INFINITE = float("nan"), float("inf")
BAD_ORDERS = [
    # who and what
    (sent(GOOD, sized(1, "Z", "buy", 5)), r"orders row 1 \(Z 2024-01-09 .*\): symbol is Z; there are no bars of it"),
    (one(side="hold"), "side is hold; an order with a quantity needs buy or sell"),
    (one(side=None), "side is missing; an order with a quantity needs buy or sell"),
    (one(type="trailing"), r"type is trailing; use one of \['market', 'limit'"),
    (one(tif="opening"), r"tif is opening; use one of \['day'"),
    (one(action="amend"), r"action is amend; use one of \['submit', 'cancel', 'replace'\]"),
    # when
    (sent(sized(opens(0) - timedelta(hours=1), "X", "buy", 5)), r"row 0 \(X 2024-01-08 13:30.*no bars of it yet"),
    (one().with_columns(pl.col("ts").dt.replace_time_zone(None)), "column ts is Datetime.*it must be Datetime"),
    (one().with_columns(ts=pl.lit(None, UTC_MICROS)), "ts is missing; give the instant of submission"),
    (one(tif="gtd"), "expire_at is missing; a gtd order needs one"),
    (one(tif="gtd", expire_at=opens(0)), "expire_at is 2024-01-08T14:30.*; it must come after ts"),
    (one(expire_at=opens(3)), "expire_at is 2024-01-11.*; only gtd orders have one"),
    (one(tif="gtd", expire_at=datetime(2024, 1, 12)), "column expire_at is Datetime.*it must be Datetime"),
    # how much
    (one(quantity=0.0), r"row 0 \(X .*\): quantity is 0; it must be positive"),
    (one(quantity=-5.0), r"row 0 \(X .*\): quantity is -5; it must be positive"),
    (one(quantity=NAN), "quantity is nan; leave it out"),
    (one(quantity=INFINITE), "quantity is inf; it must be positive"),
    (one(quantity=2.5), "quantity is 2.5; it must be a multiple of the lot"),
    (sent({**GOOD, "quantity": None, "notional": -10.0}), "notional is -10; it must be positive"),
    (sent({**GOOD, "quantity": None, "notional": NAN}), "notional is nan; leave it out"),
    (sent(target(0, "X", NAN)), "target_weight is nan; leave it out"),
    (sent(target(0, "X", INFINITE)), "target_weight is inf; a target must be a finite number"),
    (sent(target(0, "X", 0.5), {**GOOD, "target_weight": 0.5}), "row 1 .*quantity is 5.0; .*exactly one of"),
    (one(notional=500.0), "quantity is 5.0; an order has exactly one of quantity, notional, target_weight"),
    (sent(target(0, "X", 0.5), target(1, "X", None)), "row 1 .*quantity is missing; an order has exactly one of"),
    (sent(target(0, "X", 0.5, side="buy")), "side is buy; a target implies the side"),
    # prices
    (sent(GOOD, {**LIMIT, "limit_price": None}), "row 1 .*limit_price is missing; a limit order needs a positive one"),
    (one(type="limit", limit_price=NAN), "limit_price is nan; leave it out"),
    (one(stop_loss=NAN), "stop_loss is nan; leave it out"),
    (one(type="limit", limit_price=-1.0), "limit_price is -1; a limit order needs a positive one"),
    (one(type="limit_on_close"), "limit_price is missing; a limit order needs a positive one"),
    (one(type="stop"), "stop_price is missing; a stop order needs a positive one"),
    (one(type="stop_limit", limit_price=9.0), "stop_price is missing; a stop order needs a positive one"),
    (one(type="trailing_stop"), "trail is missing; a trailing stop needs a positive one"),
    (one(type="trailing_stop_percent", trail=100.0, side="sell"), "trail is 100; below 100 percent"),
    (one(limit_price=9.0), "limit_price is 9; only limit orders have one"),
    (one(stop_price=9.0), "stop_price is 9; only stop and stop_limit orders have one"),
    (one(trail=9.0), "trail is 9; only trailing stops have one"),
    # brackets
    (one(take_profit=90.0, stop_loss=95.0), "take_profit is 90; it must be beyond the stop_loss"),
    (one(take_profit=95.0, stop_loss=90.0, side="sell"), "take_profit is 95; it must be beyond the stop_loss"),
    (one(take_profit=120.0, take_profit_fraction=0.1), "take_profit is 120; give a price or a fraction, not both"),
    (one(stop_loss=-1.0), "stop_loss is -1; it must be positive"),
    (one(stop_loss_fraction=1.0), "stop_loss_fraction is 1; below 1"),
    (one(take_profit_fraction=-0.1), "take_profit_fraction is -0.1; it must be positive"),
    # lives
    (one(type="stop", stop_price=9.0, tif="ioc"), "tif is ioc; a stop waits"),
    (one(type="market_on_close", tif="fok"), "tif is fok; an auction order waits for its auction"),
    (one(type="stop", stop_price=9.0, tif="opg"), "type is stop; tif opg goes with market and limit"),
    # other orders
    (sent(GOOD, GOOD), "row 0 .*order_id is good; each id once"),
    (
        one(order_id="a", take_profit=120.0).vstack(one(order_id="a:take_profit", take_profit=130.0)),
        "row 1.*each id once",
    ),
    (one(parent="nobody"), "parent is nobody; it must be the id of another order"),
    (one(order_id="a", parent="a"), "parent is a; an order cannot wait for itself"),
    (
        sent({**GOOD, "parent": "limit"}, {**LIMIT, "parent": "good"}),
        "parent is limit; an order cannot wait for itself",
    ),
    (sent(GOOD, request("cancel", "bad")), "row 1 .*order_id is bad; it must be the id of another order"),
    (
        sent(GOOD, request("replace", "bad", quantity=1.0)),
        "row 1 .*order_id is bad; it must be the id of another order",
    ),
    (sent(LIMIT, request("replace", "limit", quantity=0.0)), "row 1 .*quantity is 0; it must be positive"),
    (sent(LIMIT, request("replace", "limit", limit_price=-1.0)), "row 1 .*limit_price is -1; it must be positive"),
    (
        sent(GOOD, request("replace", "good", limit_price=50.0)),
        "limit_price is 50.0; the order is of type market, which",
    ),
    (
        sent(LIMIT, request("replace", "limit", stop_price=50.0)),
        "stop_price is 50.0; the order is of type limit, which",
    ),
    (
        sent(LIMIT, request("replace", "limit", notional=50.0)),
        "notional is 50.0; a replace changes quantity, limit_price",
    ),
    (sent(LIMIT, request("replace", "limit", stop_loss=50.0)), "stop_loss is 50.0; a replace changes quantity"),
    # the frame
    (sent(GOOD).drop("symbol"), r"missing columns \['symbol'\]"),
    (sent(GOOD).drop("quantity"), r"missing columns \['quantity or target_weight'\]"),
]


@pytest.mark.parametrize(("orders", "message"), BAD_ORDERS, ids=[message[:70] for _, message in BAD_ORDERS])
def test_bad_orders_are_named(orders, message):
    with pytest.raises(OrderError, match=message):
        run(cleaned(TWO), orders, account())


def test_a_replace_may_change_what_its_order_has():
    orders = sent(LIMIT, request("replace", "limit", limit_price=105.0, quantity=7.0))
    assert run(cleaned(TWO), orders, account()).fills.select("quantity", "price").rows() == [(7, 100)]


GOOD_BARS = cleaned(TWO)
IN_Y = pl.col("symbol") == "Y"


def in_x(session, **changes):
    """The bars, with other values in the bar of X of one session."""
    there = (pl.col("symbol") == "X") & (pl.col("ts") == opens(session))
    return GOOD_BARS.with_columns(
        **{name: pl.when(there).then(value).otherwise(name) for name, value in changes.items()}
    )


BAD_BARS = [
    (GOOD_BARS.drop("ts"), r"missing columns \['ts'\]"),
    (GOOD_BARS.drop("volume"), r"missing columns \['volume'\]"),
    (GOOD_BARS.clear(), "no rows"),
    (GOOD_BARS.with_columns(pl.col("ts").dt.replace_time_zone(None)), "column ts is Datetime"),
    (GOOD_BARS.with_columns(pl.col("known_at").dt.replace_time_zone(None)), "column known_at is Datetime"),
    (GOOD_BARS.with_columns(symbol=pl.lit(None, pl.String)), "symbol is None"),
    (in_x(2, low=0.0), "X 2024-01-10: low is 0"),
    (in_x(2, open=NAN), "X 2024-01-10: open is nan; prices and splits must be positive"),
    (in_x(1, high=INFINITE), "X 2024-01-09: high is inf"),
    (in_x(1, volume=-1.0), "X 2024-01-09: volume is -1.0; .*volumes zero or more"),
    (in_x(1, volume=NAN), "X 2024-01-09: volume is nan"),
    (in_x(1, split=0.0), "X 2024-01-09: split is 0.0"),
    (in_x(1, dividend=NAN), "X 2024-01-09: dividend is nan"),
    (in_x(3, high=99.0), "X 2024-01-11: high and low do not bound the bar"),
    (in_x(3, low=101.0), "X 2024-01-11: high and low do not bound the bar"),
    (GOOD_BARS.with_columns(close=pl.when(IN_Y).then(None).otherwise("close")), "Y 2024-01-08: close is None"),
    (GOOD_BARS.with_columns(bid=100.0, ask=99.0), "X 2024-01-08: ask is 99.0; .*an ask at least its bid"),
    (pl.concat([GOOD_BARS, GOOD_BARS.tail(1)]), "Y 2024-01-11: more than one bar"),
]


@pytest.mark.parametrize(("bars", "message"), BAD_BARS, ids=[message[:60] for _, message in BAD_BARS])
def test_bad_bars_are_named(bars, message):
    with pytest.raises(BarSchemaError, match=message):
        run(bars, sent(GOOD), account())


BAD_INSTRUMENTS = [
    (pl.DataFrame({"symbol": ["X", "X"]}), "X has more than one row"),
    (pl.DataFrame({"symbol": ["X"], "lot": [0.0]}), "X: lot is 0.0; it must be given, and positive"),
    (pl.DataFrame({"symbol": ["X"], "multiplier": [-1.0]}), "X: multiplier is -1.0; it must be given, and positive"),
    (pl.DataFrame({"name": ["X"]}), "missing column symbol"),
]


@pytest.mark.parametrize(("instruments", "message"), BAD_INSTRUMENTS, ids=[row[1] for row in BAD_INSTRUMENTS])
def test_bad_instruments_are_named(instruments, message):
    with pytest.raises(BarSchemaError, match=message):
        run(GOOD_BARS, sent(GOOD), account(), instruments=instruments)


def test_bars_that_open_and_close_at_several_instants_trade_together():
    """Each symbol in its own time: Y opens an hour after X."""
    bars = GOOD_BARS.with_columns(ts=pl.col("ts") + pl.duration(hours=IN_Y.cast(pl.Int64)))
    result = run(bars, sent(sized(0, "X", "buy", 5), sized(0, "Y", "buy", 5)), account())
    assert result.fills.select("symbol", "ts").rows() == [
        ("X", opens(1)),
        ("Y", opens(1) + timedelta(hours=1)),
    ]


def test_naive_instants_never_get_in():
    with pytest.raises(OrderError, match="column ts"):
        run(cleaned(TWO), pl.DataFrame({"ts": [datetime(2024, 1, 8)], "symbol": ["X"], "quantity": [1.0]}), account())
