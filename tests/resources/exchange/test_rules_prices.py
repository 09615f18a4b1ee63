"""Rules 1 to 6: when an order is eligible, and at which price it fills. One table a rule."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.resources.exchange.cases import MONDAY, SUNDAY, Case, account, bar, flat, one, order, trade

TICKING = timedelta(microseconds=1)

ELIGIBLE = [  # rule 1: submitted, latency in seconds, number of the session that it fills in
    ("before the open", SUNDAY, 0, 0),
    ("at the instant of the open", MONDAY, 0, 0),
    ("a moment after the open", MONDAY + TICKING, 0, 1),
    ("at the close", MONDAY + timedelta(hours=6.5), 0, 1),
    ("with latency up to the open", MONDAY - timedelta(seconds=60), 60, 0),
    ("with latency past the open", MONDAY - timedelta(seconds=60), 61, 1),
]


@pytest.mark.parametrize(("name", "submitted", "latency", "session"), ELIGIBLE, ids=[case[0] for case in ELIGIBLE])
def test_rule_1_first_bar_that_opens_at_or_after_submission(name, submitted, latency, session):
    bars = [flat(100), flat(101), flat(102)]
    fills = trade([order(at=submitted)], bars, account(latency_seconds=latency))
    assert [(fill.price, (fill.ts - MONDAY).days) for fill in fills] == [(bars[session].open, session)]


INSIDE = [  # rule 2: the order arrives while the first bar is under way
    Case(
        "limit: that bar's low is not for it", [bar(100, 101, 90, 100), bar(100, 101, 98, 100)], order(limit=95), None
    ),
    Case("limit: the next bar's low is", [bar(100, 101, 99, 100), bar(100, 101, 94, 100)], order(limit=95), 95),
    Case(
        "stop: that bar's high is not for it", [bar(100, 110, 99, 100), bar(100, 101, 98, 100)], order(stop=105), None
    ),
    Case("stop: the next bar's high is", [bar(100, 101, 99, 100), bar(100, 110, 98, 100)], order(stop=105), 105),
]
MARKET = [  # rule 3
    one("buy", (103, 104, 102, 103.5), order("buy"), at=103, reason="open"),
    one("sell", (103, 104, 102, 103.5), order("sell"), at=103, reason="open"),
]
LIMIT_BUY = [  # rule 4; the bars are open, high, low, close
    one("opens below the limit", (98, 104, 97, 103), order(limit=100), at=98, reason="gap"),
    one("opens at the limit", (100, 104, 100, 103), order(limit=100), at=100, reason="gap"),
    one("trades through the limit", (101, 104, 99.99, 103), order(limit=100), at=100, reason="limit"),
    one("touches the limit only", (101, 104, 100, 103), order(limit=100), at=None),
    one("stays above", (101, 104, 100.01, 103), order(limit=100), at=None),
]
LIMIT_SELL = [  # rule 4
    one("opens above the limit", (102, 103, 97, 98), order("sell", limit=100), at=102, reason="gap"),
    one("opens at the limit", (100, 100, 97, 98), order("sell", limit=100), at=100, reason="gap"),
    one("trades through the limit", (99, 100.01, 97, 98), order("sell", limit=100), at=100, reason="limit"),
    one("touches the limit only", (99, 100, 97, 98), order("sell", limit=100), at=None),
    one("stays below", (99, 99.99, 97, 98), order("sell", limit=100), at=None),
]
LIMIT_TOUCH = [  # rule 4 with limit_touch_fills
    one("buy: touches", (101, 104, 100, 103), order(limit=100), at=100, reason="limit"),
    one("buy: stays above", (101, 104, 100.01, 103), order(limit=100), at=None),
    one("sell: touches", (99, 100, 97, 98), order("sell", limit=100), at=100, reason="limit"),
    one("sell: stays below", (99, 99.99, 97, 98), order("sell", limit=100), at=None),
]
STOP_BUY = [  # rule 5
    one("opens through the stop", (103, 104, 102, 103), order(stop=101), at=103, reason="gap"),
    one("opens at the stop", (101, 104, 100, 103), order(stop=101), at=101, reason="gap"),
    one("trades up to the stop", (100, 101, 99, 100), order(stop=101), at=101, reason="stop"),
    one("stays below", (100, 100.9, 99, 100), order(stop=101), at=None),
]
STOP_SELL = [  # rule 5
    one("opens through the stop", (97, 98, 96, 97), order("sell", stop=99), at=97, reason="gap"),
    one("opens at the stop", (99, 100, 96, 97), order("sell", stop=99), at=99, reason="gap"),
    one("trades down to the stop", (100, 101, 99, 100), order("sell", stop=99), at=99, reason="stop"),
    one("stays above", (100, 101, 99.1, 100), order("sell", stop=99), at=None),
]
STOP_LIMIT_BUY = [  # rule 6
    one(
        "gap through the stop within the limit", (102, 104, 100, 103), order(stop=101, limit=103), at=102, reason="gap"
    ),
    one("gap beyond the limit rests", (104, 105, 100, 101), order(stop=101, limit=103), at=None),
    one("trigger inside the bar rests", (100, 102, 99, 101), order(stop=101, limit=103), at=None),
    one("no trigger", (100, 100.9, 90, 100), order(stop=101, limit=103), at=None),
    Case(
        "a limit after its trigger, at the open",
        [bar(100, 102, 99, 101), flat(102)],
        order(stop=101, limit=103),
        102,
        "gap",
    ),
    Case(
        "a limit after its trigger, at the limit",
        [bar(104, 105, 104, 104), bar(104, 105, 102, 104)],
        order(stop=101, limit=103),
        103,
        "limit",
    ),
    Case("not without a trigger", [bar(100, 100.9, 99, 100), bar(100, 100, 90, 99)], order(stop=101, limit=103), None),
]
STOP_LIMIT_SELL = [  # rule 6
    one(
        "gap through the stop within the limit",
        (98, 100, 96, 97),
        order("sell", stop=99, limit=97),
        at=98,
        reason="gap",
    ),
    one("gap beyond the limit rests", (96, 100, 95, 99), order("sell", stop=99, limit=97), at=None),
    one("trigger inside the bar rests", (100, 101, 98, 99), order("sell", stop=99, limit=97), at=None),
    Case("a limit after its trigger", [bar(100, 101, 98, 99), flat(98)], order("sell", stop=99, limit=97), 98, "gap"),
    Case(
        "a limit after its trigger, at the limit",
        [bar(96, 96, 95, 96), bar(96, 98, 95, 97)],
        order("sell", stop=99, limit=97),
        97,
        "limit",
    ),
]


def check(case: Case, **terms: float) -> None:
    fills = trade([case.order], case.bars, account(**terms))
    got = [(fill.price, fill.quantity) for fill in fills]
    assert got == ([] if case.at is None else [(case.at, case.order.quantity)])
    if case.reason:
        assert fills[0].reason == case.reason
        assert not fills[0].ambiguous


def table(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


@table(INSIDE)
def test_rule_2_an_order_inside_a_bar_uses_none_of_it(case):
    late = order("buy", limit=case.order.limit_price, stop=case.order.stop_price, at=MONDAY + TICKING)
    check(Case(case.name, case.bars, late, case.at))


@table(MARKET)
def test_rule_3_market_at_the_open(case):
    check(case)


@table(LIMIT_BUY)
def test_rule_4_limit_buy(case):
    check(case)


@table(LIMIT_SELL)
def test_rule_4_limit_sell(case):
    check(case)


@table(LIMIT_TOUCH)
def test_rule_4_limit_on_touch(case):
    check(case, limit_touch_fills=True)


@table(STOP_BUY)
def test_rule_5_stop_buy(case):
    check(case)


@table(STOP_SELL)
def test_rule_5_stop_sell(case):
    check(case)


@table(STOP_LIMIT_BUY)
def test_rule_6_stop_limit_buy(case):
    check(case)


@table(STOP_LIMIT_SELL)
def test_rule_6_stop_limit_sell(case):
    check(case)


def test_rule_5_what_volume_leaves_of_a_triggered_stop_is_a_market_order():
    bars = [bar(100, 101, 99, 100, volume=60), flat(95, volume=60)]
    assert [(fill.price, fill.quantity) for fill in trade([order(stop=101)], bars)] == [(101, 60), (95, 40)]
