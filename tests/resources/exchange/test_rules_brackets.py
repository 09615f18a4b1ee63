"""Rules 8 and 9: exits that wake when their entry fills, and orders that cancel each other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from resources.brokers.base import Order, OrderState, OrderType
from resources.exchange import Bar, Exchange, Execution
from tests.resources.exchange.cases import account, bar, flat, opens, order

ENTRY, TARGET, LOSS = "entry", "entry:take_profit", "entry:stop_loss"


def bracket(entry: Order, take_profit: float | None = 110, stop_loss: float | None = 95) -> Order:
    """An entry with its exits; the exits are orders of their own once it fills."""
    return replace(entry, id=ENTRY, take_profit=take_profit, stop_loss=stop_loss)


def short(entry: Order) -> Order:
    return bracket(entry, take_profit=90, stop_loss=105)


def play(exchange: Exchange, orders: list[Order], bars: list[Bar | dict[str, Bar]]) -> list[tuple[int, Execution]]:
    """Every fill with the number of its bar (of symbol X, or by symbol)."""
    for each in orders:
        exchange.submit(each)
    by_symbol = [here if isinstance(here, dict) else {"X": here} for here in bars]
    return [(number, fill) for number, here in enumerate(by_symbol) for fill in exchange.on_bar(opens(number), here)]


def states(exchange: Exchange, *ids: str) -> list[OrderState]:
    return [exchange.status(each).state for each in ids]


# --- rule 8


@dataclass(frozen=True)
class Bracket:
    """An entry with exits, the bars (open, high, low, close), the price that it enters at in the first of them, if any,
    and how it leaves, if it does: which exit, price, number of the bar, ambiguous."""

    name: str
    entry: Order
    bars: list[tuple[float, float, float, float]]
    entered: float | None
    left: tuple[str, float, int, bool] | None = None

    @property
    def fills(self) -> list[tuple[str, float, int, bool]]:
        entry = [] if self.entered is None else [(ENTRY, self.entered, 0, False)]
        return [*entry, *([self.left] if self.left else [])]


QUIET = (100, 104, 99, 101)
LONG = bracket(order())
DIP = bracket(order(limit=98))
BREAK = bracket(order(stop=102))
SHORT = short(order("sell"))
RALLY = short(order("sell", limit=102))

AT_OPEN = [  # a purchase at an open of 100, target 110, stop 95: the exits may use all of its bar
    Bracket("neither is reached", LONG, [QUIET], 100),
    Bracket("target in the entry bar", LONG, [(100, 111, 99, 105)], 100, (TARGET, 110, 0, False)),
    Bracket("target touched only", LONG, [(100, 110, 99, 105)], 100),
    Bracket("stop in the entry bar", LONG, [(100, 105, 94, 96)], 100, (LOSS, 95, 0, False)),
    Bracket("stop touched", LONG, [(100, 105, 95, 96)], 100, (LOSS, 95, 0, False)),
    Bracket("both: the stop", LONG, [(100, 111, 94, 100)], 100, (LOSS, 95, 0, True)),
    Bracket("opens through the stop", LONG, [(94, 104, 93, 100)], 94, (LOSS, 94, 0, False)),
    Bracket("opens beyond the target", LONG, [(112, 113, 111, 112)], 112, (TARGET, 112, 0, False)),
    Bracket("target alone", bracket(order(), stop_loss=None), [(100, 111, 90, 105)], 100, (TARGET, 110, 0, False)),
    Bracket("stop alone", bracket(order(), take_profit=None), [(100, 120, 94, 96)], 100, (LOSS, 95, 0, False)),
]
LATER = [  # the same a bar later
    Bracket("target", LONG, [QUIET, (102, 111, 101, 105)], 100, (TARGET, 110, 1, False)),
    Bracket("stop", LONG, [QUIET, (99, 100, 94, 96)], 100, (LOSS, 95, 1, False)),
    Bracket("both: the stop", LONG, [QUIET, (100, 111, 94, 100)], 100, (LOSS, 95, 1, True)),
    Bracket("opens beyond the target", LONG, [QUIET, (112, 113, 111, 112)], 100, (TARGET, 112, 1, False)),
    Bracket("opens through the stop", LONG, [QUIET, (93, 94, 90, 92)], 100, (LOSS, 93, 1, False)),
    Bracket("the open decides: stop", LONG, [QUIET, (93, 111, 92, 110)], 100, (LOSS, 93, 1, False)),
    Bracket("the open decides: target", LONG, [QUIET, (112, 113, 90, 91)], 100, (TARGET, 112, 1, False)),
    Bracket("one exit, never both", LONG, [QUIET, (99, 100, 94, 96), (100, 120, 90, 99)], 100, (LOSS, 95, 1, False)),
]
INSIDE = [  # an entry inside the bar: its exits may use nothing of that bar, whose path is unknown
    Bracket("limit: nothing of its bar", DIP, [(100, 111, 94, 100)], 98),
    Bracket("limit: target in the next", DIP, [(100, 111, 94, 100), (101, 111, 99, 110)], 98, (TARGET, 110, 1, False)),
    Bracket("limit: stop in the next", DIP, [(100, 111, 94, 100), (99, 100, 95, 96)], 98, (LOSS, 95, 1, False)),
    Bracket(
        "limit: the next opens through the stop", DIP, [(100, 111, 94, 94), (94, 96, 93, 95)], 98, (LOSS, 94, 1, False)
    ),
    Bracket("limit at the open: all of its bar", DIP, [(97, 111, 96, 110)], 97, (TARGET, 110, 0, False)),
    Bracket("stop: nothing of its bar", BREAK, [(100, 111, 94, 100)], 102),
    Bracket("stop at the open: all of its bar", BREAK, [(103, 111, 101, 110)], 103, (TARGET, 110, 0, False)),
    Bracket("no entry, no exit", DIP, [(100, 112, 99, 105), (105, 112, 100, 111)], None),
]
SALES = [  # a sale at an open of 100, target 90, stop 105
    Bracket("target", SHORT, [(100, 101, 89, 95)], 100, (TARGET, 90, 0, False)),
    Bracket("stop", SHORT, [(100, 106, 99, 104)], 100, (LOSS, 105, 0, False)),
    Bracket("both: the stop", SHORT, [(100, 106, 89, 100)], 100, (LOSS, 105, 0, True)),
    Bracket("opens through the stop", SHORT, [(100, 101, 99, 100), (107, 108, 89, 95)], 100, (LOSS, 107, 1, False)),
    Bracket("opens beyond the target", SHORT, [(100, 101, 99, 100), (88, 106, 87, 95)], 100, (TARGET, 88, 1, False)),
    Bracket("limit: nothing of its bar", RALLY, [(100, 106, 89, 100)], 102),
]
CASES = {"at the open": AT_OPEN, "later": LATER, "inside": INSIDE, "short": SALES}


@pytest.mark.parametrize(
    "case",
    [case for cases in CASES.values() for case in cases],
    ids=[f"{part}: {case.name}" for part, cases in CASES.items() for case in cases],
)
def test_rule_8_exits_use_only_what_comes_after_the_entry(case):
    exchange = Exchange(account())
    done = play(exchange, [case.entry], [bar(*ohlc) for ohlc in case.bars])
    assert [(fill.order_id, fill.price, number, fill.ambiguous) for number, fill in done] == case.fills
    assert all(fill.quantity == 100 for _, fill in done)
    if len(done) == 2:
        assert exchange.positions() == []
        other = LOSS if done[-1][1].order_id == TARGET else TARGET
        if other in [status.order.id for status in exchange.orders()]:
            assert exchange.status(other).state is OrderState.CANCELLED


BETTER = [  # the better path, where the bar leaves two
    Bracket("long", LONG, [(100, 111, 94, 100)], 100, (TARGET, 110, 0, True)),
    Bracket("short", SHORT, [(100, 106, 89, 100)], 100, (TARGET, 90, 0, True)),
    Bracket("the open still decides", LONG, [QUIET, (93, 111, 92, 110)], 100, (LOSS, 93, 1, False)),
    Bracket("nothing of the entry's bar", DIP, [(100, 111, 94, 100)], 98),
]


@pytest.mark.parametrize("case", BETTER, ids=[case.name for case in BETTER])
def test_rule_8_the_better_path_takes_the_target(case):
    settings = account().model_copy(update={"ambiguous": "better"})
    done = play(Exchange(settings), [case.entry], [bar(*ohlc) for ohlc in case.bars])
    assert [(fill.order_id, fill.price, number, fill.ambiguous) for number, fill in done] == case.fills


@dataclass(frozen=True)
class Parts:
    """A bracket for 100 over bars of little volume: fills (order, quantity, price), and how each order ends."""

    name: str
    entry: Order
    bars: list[Bar]
    fills: list[tuple[str, float, float]]
    ends: dict[str, OrderState]


DONE, OFF = OrderState.FILLED, OrderState.CANCELLED
PARTS = [
    Parts(
        "exits for what the entry has so far",
        bracket(order()),
        [flat(100, volume=60), bar(94, 95, 93, 94, volume=1e6)],
        [(ENTRY, 60, 100), (LOSS, 60, 94)],
        {LOSS: DONE, TARGET: OFF, ENTRY: OFF},
    ),
    Parts(
        "and for the rest once it has that",
        bracket(order()),
        [flat(100, volume=60), bar(101, 111, 100, 110)],
        [(ENTRY, 60, 100), (ENTRY, 40, 101), (TARGET, 100, 110)],
        {ENTRY: DONE, TARGET: DONE, LOSS: OFF},
    ),
    Parts(
        "what was left of an ioc entry is not waited for",
        bracket(order(tif="ioc")),
        [flat(100, volume=60), bar(101, 111, 100, 110)],
        [(ENTRY, 60, 100), (TARGET, 60, 110)],
        {ENTRY: OFF, TARGET: DONE, LOSS: OFF},
    ),
    Parts(
        "rule 9: a target that fills in part cancels the stop too",
        bracket(order()),
        [flat(100), bar(101, 111, 100, 110, volume=30), bar(90, 91, 89, 90)],
        [(ENTRY, 100, 100), (TARGET, 30, 110)],
        {ENTRY: DONE, TARGET: OrderState.PARTIALLY_FILLED, LOSS: OFF},
    ),
    Parts(
        "a stop that fills in part goes on as a market order",
        bracket(order()),
        [flat(100), bar(100, 101, 94, 95, volume=30), flat(90)],
        [(ENTRY, 100, 100), (LOSS, 30, 95), (LOSS, 70, 90)],
        {ENTRY: DONE, LOSS: DONE, TARGET: OFF},
    ),
]


@pytest.mark.parametrize("case", PARTS, ids=[case.name for case in PARTS])
def test_rules_8_and_10_exits_follow_what_the_entry_has_filled(case):
    exchange = Exchange(account())
    done = play(exchange, [case.entry], case.bars)
    assert [(fill.order_id, fill.quantity, fill.price) for _, fill in done] == case.fills
    assert states(exchange, *case.ends) == list(case.ends.values())


ENDED = [  # the entry, cash, and how it ends in the first bar
    ("expired", bracket(order(limit=90, tif="day")), 1e9, OrderState.EXPIRED),
    ("not filled at once", bracket(order(limit=90, tif="ioc")), 1e9, OrderState.CANCELLED),
    ("rejected by the account", bracket(order()), 1000, OrderState.REJECTED),
]


@pytest.mark.parametrize(("name", "entry", "cash", "end"), ENDED, ids=[case[0] for case in ENDED])
def test_rule_8_exits_of_an_entry_that_ended_without_a_fill_are_cancelled(name, entry, cash, end):
    exchange = Exchange(account(cash=cash))
    assert play(exchange, [entry], [bar(100, 111, 94, 100), bar(100, 111, 94, 100)]) == []
    assert states(exchange, ENTRY, TARGET, LOSS) == [end, OFF, OFF]


def test_rule_8_exits_sleep_until_the_entry_fills_and_go_with_it_on_request():
    exchange = Exchange(account())
    play(exchange, [bracket(order(limit=90))], [bar(100, 111, 94, 100)])
    assert states(exchange, ENTRY, TARGET, LOSS) == [OrderState.ACCEPTED, OrderState.HELD, OrderState.HELD]
    exchange.cancel(ENTRY)
    assert exchange.on_bar(opens(1), {"X": bar(100, 111, 89, 100)}) == []
    assert states(exchange, ENTRY, TARGET, LOSS) == [OFF, OFF, OFF]


def test_rule_8_exits_of_an_entry_at_the_close_use_the_next_bar():
    exchange = Exchange(account())
    entry = bracket(replace(order(), type=OrderType.MARKET_ON_CLOSE))
    done = play(exchange, [entry], [bar(100, 111, 94, 100), bar(93, 94, 92, 93)])
    assert [(fill.order_id, fill.price, number) for number, fill in done] == [(ENTRY, 100, 0), (LOSS, 93, 1)]


def test_rules_8_and_17_a_split_rescales_exits():
    exchange = Exchange(account())
    done = play(exchange, [bracket(order())], [bar(*QUIET), bar(50, 56, 49, 55, split=2)])
    assert [(fill.order_id, fill.quantity, fill.price) for _, fill in done] == [(ENTRY, 100, 100), (TARGET, 200, 55)]


@dataclass(frozen=True)
class Child:
    """A trailing stop by 5 that an entry wakes, the bars, and where the stop fills (price, bar)."""

    name: str
    entry: Order
    bars: list[tuple[float, float, float, float]]
    fill: tuple[float, int] | None


EARLY = order(limit=98)
CHILDREN = [  # rules 7 and 8: it trails the price of the entry, from the entry on
    Child("entry at the open: 95 in that bar", order(), [(100, 110, 95, 97)], (95, 0)),
    Child("entry at the open: its high counts later", order(), [(100, 110, 96, 109), (108, 109, 104, 105)], (105, 1)),
    Child("entry inside: nothing of that bar", EARLY, [(100, 112, 90, 111), (104, 105, 100, 104)], None),
    Child("entry inside: it trails the entry's price", EARLY, [(100, 112, 97, 111), (96, 97, 93, 94)], (93, 1)),
    Child("and then highs", EARLY, [(100, 112, 97, 111), (104, 105, 101, 104), (102, 103, 99, 100)], (100, 2)),
]


@pytest.mark.parametrize("case", CHILDREN, ids=[case.name for case in CHILDREN])
def test_rules_7_and_8_a_trailing_stop_as_a_child(case):
    entry = replace(case.entry, id=ENTRY)
    kind = OrderType.TRAILING_STOP
    child = replace(order("sell", id="child"), type=kind, trail=5.0, parent=ENTRY, reduce_only=True)
    done = play(Exchange(account()), [entry, child], [bar(*ohlc) for ohlc in case.bars])
    got = [(fill.price, number) for number, fill in done if fill.order_id == "child"]
    assert got == ([] if case.fill is None else [case.fill])
    assert done[0][1].order_id == ENTRY


# --- rule 9


@dataclass(frozen=True)
class Oco:
    """Orders of one group, their bars, the fills (order, price, bar, ambiguous), and the orders that are cancelled."""

    name: str
    orders: list[Order]
    bars: list[Bar | dict[str, Bar]]
    fills: list[tuple[str, float, int, bool]]
    cancelled: list[str] = field(default_factory=list)


def group(*orders: Order) -> list[Order]:
    return [replace(each, oco_group="g") for each in orders]


BREAKOUT = group(order(stop=102, id="above"), order("sell", stop=98, id="below"))
EITHER = group(order(limit=98, id="limit"), order(stop=102, id="stop"))
OCO = [
    Oco("neither", BREAKOUT, [bar(100, 101, 99, 100)], []),
    Oco("one is reached", BREAKOUT, [bar(100, 103, 99, 102)], [("above", 102, 0, False)], ["below"]),
    Oco("the other", BREAKOUT, [bar(100, 101, 97, 98)], [("below", 98, 0, False)], ["above"]),
    Oco(
        "the second comes too late",
        BREAKOUT,
        [bar(100, 103, 99, 102), bar(97, 98, 96, 97)],
        [("above", 102, 0, False)],
        ["below"],
    ),
    Oco("both in one bar: the worse", EITHER, [bar(100, 103, 97, 100)], [("stop", 102, 0, True)], ["limit"]),
    Oco("both, but one at the open", EITHER, [bar(97, 103, 96, 100)], [("limit", 97, 0, False)], ["stop"]),
    Oco("a gap over the stop", EITHER, [bar(103, 104, 97, 100)], [("stop", 103, 0, False)], ["limit"]),
    Oco(
        "a fill in part is a fill",
        EITHER,
        [bar(100, 103, 99, 102, volume=60), bar(97, 98, 96, 97, volume=10)],
        [("stop", 102, 0, False), ("stop", 97, 1, False)],
        ["limit"],
    ),
    Oco(
        "across symbols, at the open",
        group(order(id="x"), order(symbol="Y", limit=48, id="y")),
        [{"X": flat(100), "Y": bar(50, 51, 40, 45)}],
        [("x", 100, 0, False)],
        ["y"],
    ),
    Oco(
        "three of a kind",
        group(order(limit=98, id="a"), order(limit=97, id="b"), order(stop=105, id="c")),
        [bar(100, 101, 97.5, 100), bar(100, 110, 90, 100)],
        [("a", 98, 0, False)],
        ["b", "c"],
    ),
]


@pytest.mark.parametrize("case", OCO, ids=[case.name for case in OCO])
def test_rule_9_a_fill_cancels_the_others_of_its_group(case):
    exchange = Exchange(account())
    done = play(exchange, case.orders, case.bars)
    assert [(fill.order_id, fill.price, number, fill.ambiguous) for number, fill in done] == case.fills
    gone = [status.order.id for status in exchange.orders() if status.state is OFF]
    assert gone == case.cancelled


def test_rule_9_both_at_one_open_only_one_fills():
    orders = group(order(limit=101, id="limit"), order(stop=99, id="stop"))
    exchange = Exchange(account())
    assert len(play(exchange, orders, [flat(100), flat(100)])) == 1
    assert sorted(states(exchange, "limit", "stop")) == [OFF, DONE]


def test_rule_9_the_better_path_takes_the_other():
    settings = account().model_copy(update={"ambiguous": "better"})
    done = play(Exchange(settings), EITHER, [bar(100, 103, 97, 100)])
    assert [(fill.order_id, fill.price, fill.ambiguous) for _, fill in done] == [("limit", 98, True)]


NO_FILL = [  # what ends without a fill leaves its group alone: how the first order ends
    ("cancelled on request", order(limit=90, id="first")),
    ("expired", order(limit=90, tif="day", id="first")),
    ("rejected by the account", order(quantity=1e9, id="first")),
]


@pytest.mark.parametrize(("name", "first"), NO_FILL, ids=[case[0] for case in NO_FILL])
def test_rule_9_an_order_that_ends_without_a_fill_leaves_its_group_alone(name, first):
    exchange = Exchange(account(cash=1e6))
    play(exchange, group(first, order(limit=98, id="second")), [flat(100)])
    exchange.cancel("first")
    [fill] = exchange.on_bar(opens(1), {"X": bar(100, 101, 97, 100)})
    assert fill.order_id == "second"


def test_rule_9_groups_are_apart():
    one = replace(order(id="one"), oco_group="g")
    two = replace(order(id="two"), oco_group="h")
    done = play(Exchange(account()), [one, two], [flat(100)])
    assert [fill.order_id for _, fill in done] == ["one", "two"]


REFUSED = [
    ("a parent that nobody knows", replace(order(), parent="nobody"), "parent"),
    ("a purchase whose target is below its stop", bracket(order(), take_profit=94), "take_profit"),
    ("a purchase whose target is its stop", bracket(order(), take_profit=95), "take_profit"),
    ("a sale whose target is above its stop", replace(SHORT, take_profit=106.0), "take_profit"),
    ("a negative target", bracket(order(), take_profit=-1), "take_profit"),
    ("a stop that is no number", bracket(order(), stop_loss=float("nan")), "stop_loss"),
]


@pytest.mark.parametrize(("name", "wanted", "word"), REFUSED, ids=[case[0] for case in REFUSED])
def test_rule_8_a_family_that_cannot_be_is_rejected(name, wanted, word):
    status = Exchange(account()).submit(wanted)
    assert status.state is OrderState.REJECTED
    assert word in status.reason
