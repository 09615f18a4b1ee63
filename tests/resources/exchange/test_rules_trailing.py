"""Rule 7: a trailing stop is tested with the level known at the bar's open, and follows that bar only afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from resources.brokers.base import Order, OrderState, OrderType
from resources.exchange import Exchange, Listing
from tests.resources.exchange.cases import MONDAY, account, bar, flat, opens, order, trade


def trailing(side: str, by: float, **words) -> Order:
    """A trailing stop by an amount."""
    return replace(order(side, **words), type=OrderType.TRAILING_STOP, trail=by)


def percent(side: str, by: float, **words) -> Order:
    """A trailing stop by a share of the price: 5 is 5 %."""
    return replace(order(side, **words), type=OrderType.TRAILING_STOP_PERCENT, trail=by)


@dataclass(frozen=True)
class Trail:
    """Bars (open, high, low, close) that the order meets, and the price that it gets on the last of them, if any."""

    name: str
    bars: list[tuple[float, float, float, float]]
    at: float | None
    reason: str = "stop"


UP = (100, 110, 96, 109)
"""Raises the level of a sell that trails by 5 from 95 to 105, for the bars after it."""

SELL = [  # trails by 5: 95 in the first bar, which opens at 100
    Trail("stays above", [(100, 103, 95.01, 101)], None),
    Trail("falls to the level", [(100, 101, 95, 96)], 95),
    Trail("falls through the level", [(100, 101, 90, 91)], 95),
    Trail("the bar's own high does not raise its level", [UP], None),
    Trail("the high raises the level of the next bar", [UP, (108, 109, 105, 106)], 105),
    Trail("and a low above it is not reached", [UP, (108, 109, 105.01, 106)], None),
    Trail("opens below the level", [UP, (103, 104, 100, 101)], 103, "gap"),
    Trail("opens at the level", [UP, (105, 106, 100, 101)], 105, "gap"),
    Trail("a lower high leaves the level", [UP, (107, 108, 105.5, 106), (106, 107, 104, 105)], 105),
    Trail("follows bar by bar", [(100, 104, 99, 103), (103, 108, 99.5, 107), (107, 107.5, 102, 103)], 103),
    Trail("a gap up is followed by its high", [(100, 101, 99, 100), (120, 122, 118, 121), (121, 121, 116, 117)], 117),
    Trail("the close does not count", [(100, 106, 99, 100), (102, 103, 101.5, 102), (102, 102, 101, 101)], 101),
]
DOWN = (100, 104, 90, 91)
"""Lowers the level of a buy that trails by 5 from 105 to 95, for the bars after it."""

BUY = [  # trails by 5: 105 in the first bar, which opens at 100
    Trail("stays below", [(100, 104.99, 97, 99)], None),
    Trail("rises to the level", [(100, 105, 99, 104)], 105),
    Trail("rises through the level", [(100, 110, 99, 109)], 105),
    Trail("the bar's own low does not lower its level", [DOWN], None),
    Trail("the low lowers the level of the next bar", [DOWN, (92, 95, 91, 94)], 95),
    Trail("opens above the level", [DOWN, (97, 99, 96, 98)], 97, "gap"),
    Trail("opens at the level", [DOWN, (95, 99, 94, 98)], 95, "gap"),
    Trail("a higher low leaves the level", [DOWN, (93, 94.5, 92, 94), (94, 96, 93, 95)], 95),
    Trail("follows bar by bar", [(100, 101, 96, 97), (97, 100.5, 92, 93), (93, 98, 92.5, 97)], 97),
]
SELL_PERCENT = [  # trails by 5 %: 95 in the first bar, 104.5 after a high of 110
    Trail("falls to the level", [(100, 101, 95, 96)], 95),
    Trail("stays above", [(100, 103, 95.01, 101)], None),
    Trail("a share of the high", [UP, (108, 109, 104, 105)], 104.5),
    Trail("opens below the level", [UP, (103, 104, 100, 101)], 103, "gap"),
]
BUY_PERCENT = [  # trails by 5 %: 105 in the first bar, 94.5 after a low of 90
    Trail("rises to the level", [(100, 105, 99, 104)], 105),
    Trail("stays below", [(100, 104.99, 97, 99)], None),
    Trail("a share of the low", [DOWN, (92, 96, 91, 94)], 94.5),
    Trail("opens above the level", [DOWN, (97, 99, 96, 98)], 97, "gap"),
]
TABLES = [
    (trailing("sell", 5), SELL),
    (trailing("buy", 5), BUY),
    (percent("sell", 5), SELL_PERCENT),
    (percent("buy", 5), BUY_PERCENT),
]
CASES = [(wanted, case) for wanted, cases in TABLES for case in cases]


@pytest.mark.parametrize(
    ("wanted", "case"), CASES, ids=[f"{wanted.side} {wanted.type}: {case.name}" for wanted, case in CASES]
)
def test_rule_7_trailing_stop(wanted, case):
    fills = trade([wanted], [bar(*ohlc) for ohlc in case.bars])
    last = opens(len(case.bars) - 1)
    expected = [] if case.at is None else [(pytest.approx(case.at, abs=1e-9), 100, case.reason, last, False)]
    assert [(fill.price, fill.quantity, fill.reason, fill.ts, fill.ambiguous) for fill in fills] == expected


def test_rules_2_and_7_the_bar_in_which_it_is_submitted_does_not_move_it():
    late = trailing("sell", 5, at=MONDAY + timedelta(hours=1))
    assert trade([late], [bar(120, 130, 119, 125), bar(100, 101, 95.5, 96)]) == []
    assert [fill.price for fill in trade([late], [bar(120, 130, 119, 125), bar(100, 101, 94, 96)])] == [95]


def test_rules_7_and_11_a_bar_without_volume_does_not_trigger_it():
    assert trade([trailing("sell", 5)], [bar(100, 101, 90, 91, volume=0), bar(97, 98, 96, 97)]) == []


def test_rules_7_and_10_what_volume_leaves_of_it_is_a_market_order():
    bars = [bar(100, 101, 94, 95, volume=60), flat(90, volume=60)]
    fills = trade([trailing("sell", 5)], bars)
    assert [(fill.price, fill.quantity, fill.reason) for fill in fills] == [(95, 60, "stop"), (90, 40, "open")]


def test_rules_7_and_16_a_day_order_does_not_trail_into_the_next_session():
    wanted = trailing("sell", 5, tif="day")
    exchange = Exchange(account())
    exchange.submit(wanted)
    exchange.on_bar(opens(0), {"X": bar(*UP)})
    assert exchange.status(wanted.id).state is OrderState.EXPIRED
    assert exchange.on_bar(opens(1), {"X": flat(90)}) == []


SPLIT = [  # after UP a 2 for 1 split: an amount is halved with the prices, a share of them is not
    ("amount", trailing("sell", 5), 52.5),
    ("percent", percent("sell", 5), 52.25),
]


@pytest.mark.parametrize(("name", "wanted", "at"), SPLIT, ids=[case[0] for case in SPLIT])
def test_rules_7_and_17_a_split_rescales_it(name, wanted, at):
    [fill] = trade([wanted], [bar(*UP), bar(54, 55, 52, 53, split=2)])
    assert (fill.price, fill.quantity) == (pytest.approx(at, abs=1e-9), 200)


def test_rules_7_12_and_13_it_pays_spread_and_slippage():
    [fill] = trade([trailing("sell", 5)], [bar(100, 101, 94, 95)], account(half_spread_bps=10, slippage_bps=20))
    assert (fill.reference_price, fill.price) == (95, pytest.approx(95 * 0.997, abs=1e-9))


def test_rules_7_and_10_its_level_is_rounded_to_the_tick_against_the_account():
    exchange = Exchange(account(), {"X": Listing(tick=0.05)})
    exchange.submit(percent("sell", 5))
    [fill] = exchange.on_bar(opens(0), {"X": bar(100.3, 101, 90, 91)})  # 5 % below 100.3 is 95.285
    assert fill.price == pytest.approx(95.25, abs=1e-9)


REFUSED = [
    ("without a trail", replace(trailing("sell", 5), trail=None)),
    ("a trail of nothing", trailing("sell", 0)),
    ("a negative trail", percent("sell", -5)),
    ("a trail that is no number", trailing("sell", float("nan"))),
    ("a sell by the whole price", percent("sell", 100)),
    ("a trail on a market order", replace(order("sell"), trail=5.0)),
]


@pytest.mark.parametrize(("name", "wanted"), REFUSED, ids=[case[0] for case in REFUSED])
def test_rule_7_a_trail_that_cannot_be_is_rejected(name, wanted):
    status = Exchange(account()).submit(wanted)
    assert status.state is OrderState.REJECTED
    assert "trail" in status.reason
