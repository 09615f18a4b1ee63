"""Rules 12 to 15, 17 and 18: costs, corporate actions, and what the account can carry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from resources.brokers.base import OrderState
from resources.exchange import Bar, Exchange, Listing
from tests.resources.exchange.cases import account, bar, flat, opens, order, trade

COSTS = [  # rules 12, 13, 15: half-spread 10 bps, slippage 20 bps; o h l c, order, reference, price, spread, slippage
    ("market buy", flat(100), order("buy", 10), (100, 100.3, 1.0, 2.0)),
    ("market sell", flat(100), order("sell", 10), (100, 99.7, 1.0, 2.0)),
    ("stop inside", bar(100, 106, 99, 100), order("buy", 10, stop=105), (105, 105.315, 1.05, 2.1)),
    ("gapped stop", bar(110, 110, 99, 100), order("buy", 10, stop=105), (110, 110.33, 1.1, 2.2)),
    ("resting limit", bar(100, 106, 94, 100), order("buy", 10, limit=95), (95, 95, 0, 0)),
    ("limit at a better open", flat(94), order("buy", 10, limit=95), (94, 94, 0, 0)),
    ("immediate limit", flat(94), order("buy", 10, limit=95, tif="ioc"), (94, 94.282, 0.94, 1.88)),
    ("immediate limit at its limit", flat(95), order("buy", 10, limit=95, tif="ioc"), (95, 95, 0, 0)),
    ("between the two", flat(94.9), order("buy", 10, limit=95, tif="ioc"), (94.9, 95, 0.949, 0.051)),
    ("stop-limit at a gap", flat(102), order("buy", 10, stop=101, limit=103), (102, 102.306, 1.02, 2.04)),
    ("stop-limit, limit near", flat(102), order("buy", 10, stop=101, limit=102.1), (102, 102.1, 1.0, 0.0)),
    ("sell limit, immediate", flat(95.1), order("sell", 10, limit=95, tif="ioc"), (95.1, 95, 0.951, 0.049)),
]


@pytest.mark.parametrize(("name", "here", "wanted", "expected"), COSTS, ids=[case[0] for case in COSTS])
def test_rules_12_13_15_spread_and_slippage(name, here, wanted, expected):
    [fill] = trade([wanted], [here], account(half_spread_bps=10, slippage_bps=20))
    got = (fill.reference_price, fill.price, fill.spread_cost, fill.slippage_cost)
    assert got == pytest.approx(expected, abs=1e-9)


def test_rules_12_13_a_stop_limit_that_rests_after_its_trigger_pays_nothing():
    bars = [bar(100, 102, 99, 101), flat(102)]
    [fill] = trade([order(stop=101, limit=103)], bars, account(half_spread_bps=10, slippage_bps=20))
    assert (fill.price, fill.spread_cost, fill.slippage_cost) == (102, 0, 0)


def test_rule_15_costs_never_move_a_price_by_more_than_a_tenth():
    terms = account(max_gross=2, half_spread_bps=400, slippage={"name": "volume_share", "impact": 10})
    bars = [flat(100, volume=200)]  # half of it taken: 10 x 0.5^2 is 250%
    assert [fill.price for fill in trade([order("buy"), order("sell")], bars, terms)] == pytest.approx([110, 90])


COMMISSION = [  # rule 14: 0.01 a share, at least 1.0 an order; shares filled on each bar, commissions
    ("above the minimum", 500, [10_000], [5.0]),
    ("the minimum", 20, [10_000], [1.0]),
    ("the minimum once", 60, [30, 30], [1.0, 0.0]),
    ("the minimum is used up", 180, [90, 90], [1.0, 0.8]),
]


@pytest.mark.parametrize(("name", "quantity", "volumes", "expected"), COMMISSION, ids=[case[0] for case in COMMISSION])
def test_rule_14_commission(name, quantity, volumes, expected):
    bars = [flat(100, volume) for volume in volumes]
    fills = trade([order(quantity=quantity)], bars, account(commission_per_share=0.01, commission_minimum=1))
    assert [fill.commission for fill in fills] == pytest.approx(expected)


def test_rule_14_borrow_on_shorts_and_interest_on_overdrafts_by_calendar_days():
    exchange = Exchange(account(cash=2000, borrow_bps_per_year=365, financing_bps_per_year=730, max_gross=10))
    exchange.submit(order("sell", 50, symbol="S"))
    exchange.submit(order("buy", 90, symbol="L"))
    exchange.on_bar(opens(0), {"S": flat(100), "L": flat(100)})
    assert exchange.cash == 2000 + 5000 - 9000
    exchange.on_bar(opens(3), {"S": flat(100), "L": flat(100)})
    assert exchange.cash == pytest.approx(-2000 - 3 * (5000 * 0.0365 + 2000 * 0.0730) / 365, abs=1e-9)


@dataclass(frozen=True)
class Held:
    """A position of 10 bought or sold at 100, the next bar, and what is held and in cash after it."""

    name: str
    side: str
    next: Bar
    quantity: float
    cash: float


ACTIONS = [  # rule 17: from 10,000 in cash
    Held("2 for 1", "buy", flat(50, split=2), 20, 9000),
    Held("2 for 1, short", "sell", flat(50, split=2), -20, 11000),
    Held("1 for 4: half a share is paid out at the last price, restated", "buy", flat(300, split=0.25), 2, 9200),
    Held("1 for 4, short: half a share is bought back", "sell", flat(300, split=0.25), -2, 10800),
    Held("dividend", "buy", flat(99, dividend=1.5), 10, 9015),
    Held("dividend, short", "sell", flat(99, dividend=1.5), -10, 10985),
    Held("split and dividend on one day: paid on the new shares", "buy", flat(49, split=2, dividend=1), 20, 9020),
]


@pytest.mark.parametrize("case", ACTIONS, ids=[case.name for case in ACTIONS])
def test_rule_17_splits_and_dividends(case):
    exchange = Exchange(account(cash=10_000))
    exchange.submit(order(case.side, 10))
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.on_bar(opens(1), {"X": case.next})
    [position] = exchange.positions()
    assert (position.quantity, exchange.cash) == (case.quantity, case.cash)
    assert exchange.equity == case.cash + case.quantity * case.next.close
    assert position.average_price == pytest.approx(100 / case.next.split)


FUNDING = [  # rule 14: 10 perpetuals bought or sold at 100, the bar that funding of 1% falls on, what is paid
    ("at the price of the instant, not the last close", "buy", bar(120, 121, 109, 110, funding=0.01), 12),
    ("a short receives it", "sell", bar(120, 121, 109, 110, funding=0.01), -12),
    ("a short pays a negative rate", "sell", bar(80, 121, 79, 110, funding=-0.01), 8),
    ("after a split, in new units", "buy", bar(60, 61, 54, 55, funding=0.01, split=2), 12),
]


@pytest.mark.parametrize(("name", "side", "next", "paid"), FUNDING, ids=[case[0] for case in FUNDING])
def test_rule_14_funding_is_paid_on_the_worth_as_the_bar_opens(name, side, next, paid):
    exchange = Exchange(account(cash=10_000), {"X": Listing(asset_class="future")})
    exchange.submit(order(side, 10))
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.on_bar(opens(1), {"X": next})
    gained = (next.close * next.split - 100) * (10 if side == "buy" else -10)
    assert (exchange.cash, exchange.equity) == pytest.approx((10_000 + gained - paid,) * 2, rel=1e-12)


def test_rule_17_the_ex_date_comes_before_what_is_bought_or_sold_that_day():
    exchange = Exchange(account(cash=10_000))
    exchange.submit(order("buy", 10))
    exchange.on_bar(opens(0), {"X": flat(100, dividend=5)})
    exchange.submit(order("sell", 10, at=opens(0)))
    exchange.on_bar(opens(1), {"X": flat(100, dividend=3)})
    assert exchange.cash == 10_000 + 30


RESTING = [  # rule 17: a resting order, the split, and how it then stands (quantity, limit, stop)
    ("limit", order(quantity=10, limit=80), 2, (20, 40, None)),
    ("stop", order(quantity=10, stop=120), 2, (20, None, 60)),
    ("stop-limit, reverse", order(quantity=10, stop=120, limit=130), 0.2, (2, 650, 600)),
    ("whole lots only", order(quantity=15, limit=80), 0.1, (1, 800, None)),
]


@pytest.mark.parametrize(("name", "resting", "ratio", "expected"), RESTING, ids=[case[0] for case in RESTING])
def test_rule_17_a_split_rescales_what_rests(name, resting, ratio, expected):
    exchange = Exchange(account())
    exchange.submit(resting)
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.on_bar(opens(1), {"X": flat(100 / ratio, split=ratio)})
    seen = exchange.status(resting.id)
    assert seen.state is OrderState.ACCEPTED
    assert (seen.order.quantity, seen.order.limit_price, seen.order.stop_price) == expected


def test_rule_17_an_order_submitted_after_the_split_is_in_new_shares_already():
    exchange = Exchange(account())
    late = order(quantity=10, limit=80, at=opens(1) + timedelta(hours=1))
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.submit(late)
    exchange.on_bar(opens(1), {"X": flat(50, split=2)})
    assert exchange.status(late.id).order == late


def test_rule_17_a_split_leaves_no_fraction_of_a_lot_resting():
    exchange = Exchange(account())
    resting = order(quantity=4, limit=80)
    exchange.submit(resting)
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.on_bar(opens(1), {"X": flat(1000, split=0.1)})
    seen = exchange.status(resting.id)
    assert (seen.state, seen.order.quantity, seen.reason) == (
        OrderState.CANCELLED,
        0,
        "less than one lot is left after the split",
    )


def test_rule_17_a_fraction_is_paid_out_as_an_execution_of_its_own():
    fills = trade([order("buy", 10)], [flat(100), flat(300, split=0.25)])
    assert [(fill.order_id, fill.side, fill.quantity, fill.price, fill.reason) for fill in fills[1:]] == [
        ("cash_in_lieu:X:2024-01-09", "sell", 0.5, 400, "cash_in_lieu")
    ]


def test_rule_17_a_delisting_closes_at_the_last_price_and_cancels_what_rests():
    exchange = Exchange(account(cash=10_000))
    resting = order("buy", 5, limit=50)
    exchange.submit(order("buy", 10))
    exchange.submit(resting)
    exchange.on_bar(opens(0), {"X": bar(100, 100, 70, 80)})
    [fill] = exchange.delist("X", opens(1))
    assert (fill.side, fill.quantity, fill.price, fill.reason) == ("sell", 10, 80, "delisting")
    assert (exchange.positions(), exchange.cash) == ([], 9800)
    assert exchange.status(resting.id).state is OrderState.CANCELLED


@dataclass(frozen=True)
class Carried:
    """Orders on a first bar at 100, then the quantities that fill; cash is 1000."""

    name: str
    orders: list
    filled: list[float]
    max_gross: float = 1.0


CARRIED = [  # rule 18
    Carried("just enough", [order("buy", 10)], [10]),
    Carried("too much is rejected whole", [order("buy", 11)], [0]),
    Carried("a margin account", [order("buy", 20)], [20], max_gross=2.0),
    Carried("too much for it", [order("buy", 21)], [0], max_gross=2.0),
    Carried("a short sale counts too", [order("sell", 11)], [0]),
    Carried("both sides add up", [order("buy", 6), order("sell", 6, symbol="Y")], [6, 0]),
    Carried("the first come first", [order("buy", 6), order("buy", 6, symbol="Y"), order("buy", 4)], [6, 0, 4]),
]


@pytest.mark.parametrize("case", CARRIED, ids=[case.name for case in CARRIED])
def test_rule_18_what_the_account_cannot_carry_is_rejected(case):
    exchange = Exchange(account(cash=1000, max_gross=case.max_gross))
    for wanted in case.orders:
        exchange.submit(wanted)
    exchange.on_bar(opens(0), {"X": flat(100), "Y": flat(100)})
    seen = [exchange.status(wanted.id) for wanted in case.orders]
    assert [status.filled for status in seen] == case.filled
    for status in seen:
        rejected = status.state is OrderState.REJECTED
        assert rejected == (status.filled == 0)
        assert ("above max_gross" in status.reason) == rejected


def test_rule_18_the_reason_gives_the_margin():
    exchange = Exchange(account(cash=1000))
    status = exchange.submit(order("buy", 25))
    exchange.on_bar(opens(0), {"X": flat(100)})
    reason = exchange.status(status.order.id).reason
    assert reason == "the account cannot carry it: margin would be 2.5 x equity, above max_gross 1"


def test_rule_18_costs_count():
    fills = trade([order("buy", 10)], [flat(100)], account(cash=1000, commission_per_share=0.001))
    assert fills == []


def test_rule_18_checked_at_the_fill_and_not_only_at_submission():
    bars = [bar(100, 100, 100, 100), bar(130, 130, 130, 130)]
    assert trade([order("buy", 9, at=opens(1))], bars, account(cash=1000)) == []


def test_rule_18_sales_come_first_and_pay_for_purchases_at_the_open():
    exchange = Exchange(account(cash=1000))
    exchange.submit(order("buy", 10, symbol="X"))
    exchange.on_bar(opens(0), {"X": flat(100), "Y": flat(50)})
    exchange.submit(order("buy", 20, symbol="Y", at=opens(0)))
    exchange.submit(order("sell", 10, symbol="X", at=opens(0)))
    done = exchange.on_bar(opens(1), {"X": flat(100), "Y": flat(50)})
    assert [(fill.side, fill.symbol, fill.quantity) for fill in done] == [("sell", "X", 10), ("buy", "Y", 20)]


def test_rule_18_money_from_a_sale_inside_the_bar_is_not_spent_inside_it():
    exchange = Exchange(account(cash=1000))
    exchange.submit(order("buy", 10, symbol="X"))
    exchange.on_bar(opens(0), {"X": flat(100), "Y": flat(50)})
    exchange.submit(order("sell", 10, symbol="X", limit=101, at=opens(0)))
    exchange.submit(order("buy", 20, symbol="Y", limit=49, at=opens(0)))
    done = exchange.on_bar(opens(1), {"X": bar(100, 102, 98, 100), "Y": bar(50, 51, 48, 50)})
    assert [(fill.side, fill.symbol) for fill in done] == [("sell", "X")]


def test_rule_18_opposite_orders_of_a_flat_account_both_fill_at_the_open():
    fills = trade([order("buy", 10), order("sell", 10)], [flat(100)], account(cash=1000))
    assert [(fill.side, fill.quantity) for fill in fills] == [("buy", 10), ("sell", 10)]


def test_rule_18_reducing_is_always_possible():
    exchange = Exchange(account(cash=1000))
    exchange.submit(order("sell", 10))
    exchange.on_bar(opens(0), {"X": flat(100)})
    exchange.on_bar(opens(1), {"X": flat(300)})
    assert exchange.equity < 0
    exchange.submit(order("buy", 10, at=opens(1)))
    assert [fill.price for fill in exchange.on_bar(opens(2), {"X": flat(300)})] == [300]
    exchange.submit(order("buy", 1, at=opens(2)))
    assert exchange.on_bar(opens(3), {"X": flat(300)}) == []


SHRUNK = [  # rule 18 with shrink_to_cash: cash, commission a share, what fills of 50 at 100
    ("to whole lots", 1050, 0.0, 10),
    ("with room for the commission", 1000, 0.01, 9),
    ("not needed", 9000, 0.0, 50),
    ("to nothing: rejected", 90, 0.0, 0),
]


@pytest.mark.parametrize(("name", "cash", "commission", "filled"), SHRUNK, ids=[case[0] for case in SHRUNK])
def test_rule_18_shrink_to_cash(name, cash, commission, filled):
    exchange = Exchange(account(cash=cash, commission_per_share=commission, shrink_to_cash=True))
    wanted = exchange.submit(order("buy", 50)).order
    exchange.on_bar(opens(0), {"X": flat(100)})
    status = exchange.status(wanted.id)
    assert status.filled == filled
    expected = {50: OrderState.FILLED, 0: OrderState.REJECTED}
    assert status.state is expected.get(filled, OrderState.CANCELLED)


def test_rule_18_a_fok_order_is_not_shrunk():
    assert trade([order("buy", 50, tif="fok")], [flat(100)], account(cash=1050, shrink_to_cash=True)) == []


def test_rule_13_what_is_shrunk_pays_the_impact_of_what_fills():
    """95 of 100,000 asked for: the price of 95, and as many as that price allows."""
    terms = {"cash": 1000.0, "slippage": {"name": "volume_share"}}
    shrunk = trade([order("buy", 100_000)], [flat(10)], account(**terms, shrink_to_cash=True))
    asked = trade([order("buy", shrunk[0].quantity)], [flat(10)], account(**terms))
    more = trade([order("buy", shrunk[0].quantity + 1)], [flat(10)], account(**terms))
    assert [(fill.quantity, fill.price) for fill in shrunk] == [(fill.quantity, fill.price) for fill in asked]
    assert shrunk[0].quantity > 90
    assert more == []
