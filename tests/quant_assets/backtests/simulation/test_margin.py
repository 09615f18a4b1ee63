"""Rule 18: what a fill is judged by is the account at that instant, whatever moved, was sold or left before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from tests.quant_assets.backtests.worlds import cleaned, sent, sized
from tests.resources.exchange.cases import account, flat

START = datetime(2024, 1, 8, 15, tzinfo=UTC)

AT_ONE_OPEN = [  # A is bought at 100; at the open at which it is sold whole, B is bought at 10
    ("a gap up: twice the equity buys no more than that", 200, 2900, "rejected"),
    ("a gap up: what twice the equity buys", 200, 1950, "filled"),
    ("a gap down: half the equity buys", 50, 490, "filled"),
    ("a gap down: more than half the equity does not", 50, 560, "rejected"),
    ("no gap", 100, 1000, "filled"),
]


@pytest.mark.parametrize(
    ("gap", "quantity", "state"), [case[1:] for case in AT_ONE_OPEN], ids=[c[0] for c in AT_ONE_OPEN]
)
def test_what_a_sale_frees_is_counted_at_the_open(gap, quantity, state):
    bars = cleaned({"A": [flat(100), flat(100), flat(gap), flat(gap)], "B": [flat(10)] * 4})
    orders = sent(
        sized(0, "A", "buy", 100, order_id="a"),
        sized(1, "A", "sell", 100, order_id="b"),
        sized(1, "B", "buy", quantity, order_id="c"),
    )
    result = run(bars, orders, account(cash=10_000, max_gross=1.05))
    assert dict(result.orders.select("order_id", "state").rows()) == {"a": "filled", "b": "filled", "c": state}
    assert result.equity["gross_exposure"].max() <= 1.05


WITHIN_A_MINUTE = [  # of A so many at 100, then its price changes, then B is bought
    ("twice the worth leaves no room", 200, 100, 1100, "rejected"),
    ("twice the worth leaves a little", 200, 100, 90, "filled"),
    ("half the worth makes room", 50, 50, 480, "filled"),
]


@pytest.mark.parametrize(
    ("price", "held", "quantity", "state"), [case[1:] for case in WITHIN_A_MINUTE], ids=[c[0] for c in WITHIN_A_MINUTE]
)
def test_ticks_of_one_minute_move_the_margin(price, held, quantity, state):
    at = [START + timedelta(milliseconds=100 * number) for number in range(8)]
    prices = [100.0, 10.0, 100.0, float(price), 10.0, float(price), 10.0, 10.0]
    ticks = pl.DataFrame({"ts": at, "symbol": list("ABAABABB"), "price": prices})
    orders = pl.DataFrame(
        {"ts": [at[0], at[5]], "symbol": ["A", "B"], "side": "buy", "quantity": [float(held), float(quantity)]}
    )
    result = run(ticks, orders, account(cash=10_000, max_gross=1.05))
    assert result.orders["state"].to_list() == ["filled", state]


def test_what_was_delisted_needs_no_margin_at_the_open_at_which_it_leaves():
    bars = cleaned({"A": [flat(100), flat(100)], "B": [flat(10)] * 6})
    orders = sent(sized(0, "A", "buy", 100, order_id="a"), sized(3, "B", "buy", 900, order_id="c"))
    result = run(bars, orders, account(cash=10_000, max_gross=1.05))
    assert result.orders["state"].to_list() == ["filled", "filled"]
    assert result.fills["reason"].to_list() == ["open", "delisting", "open"]
