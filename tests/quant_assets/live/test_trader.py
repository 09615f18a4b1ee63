"""One session's trading: what it does undisturbed, and that no interruption doubles or loses an order."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.live.journal import LeaseLostError
from quant_assets.live.trader import ReconciliationError, StoppedError, compare_order, compare_positions
from resources.brokers.base import Fill, Order, OrderState, OrderStatus, OrderType, Side, TimeInForce
from resources.config import LimitSettings
from tests.quant_assets.live.stage import MONDAY, SETTINGS, TUESDAY, Stage, bars, opens


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def story(stage: Stage) -> dict[str, Any]:
    """What journal and venue tell of the session; asserts that they tell the same."""
    journal, venue = stage.journal(), stage.venue()
    orders = journal.orders(stage.session)
    told = {status.order.id: (status.state, status.filled) for status in orders}
    sent = {name: state for name, state in told.items() if name not in journal.plan(stage.session).refused}
    exits = {status.order.id: (status.state, status.filled) for status in journal.exits(stage.session)}
    resting = {status.order.id: (status.state, status.filled) for status in journal.resting(stage.session)}
    assert sent | exits | resting == {status.order.id: (status.state, status.filled) for status in venue.orders()} | {
        name: seen for name, seen in exits.items() if seen[0] is OrderState.INTENDED
    }
    told |= exits
    at_venue = [event for _, event in venue.events() if isinstance(event, Fill) and event.ts.date() == stage.session]
    assert journal.fills(stage.session) == at_venue
    return {"orders": told, "fills": at_venue, "positions": venue.positions(), "cash": venue.account().cash}


def test_a_session_from_signals_to_close(stage: Stage) -> None:
    summary = stage.worker().run()
    seen = story(stage)
    filled = OrderState.FILLED
    # equity 100,000 over Friday's closes 50.5, 101, 151.5; CCC may take a tenth of its bar's 1,000
    assert seen["orders"] == {
        "20130225-test-AAA-1": (filled, 594.0),
        "20130225-test-BBB-1": (filled, 297.0),
        "20130225-test-CCC-1": (OrderState.EXPIRED, 100.0),
    }
    assert (summary.planned, summary.sent, summary.fills, summary.refused) == (3, 3, 3, {})
    assert summary.unfilled == {"20130225-test-CCC-1": "expired: day order: the session is over"}
    assert summary.equity == stage.venue().account().equity
    assert summary.equity == stage.observed[-1].equity[-1].equity


def test_the_next_session_trades_the_difference_and_hold_leaves_drift(stage: Stage) -> None:
    stage.worker().run()
    stage.session, stage.weights = TUESDAY, {"AAA": 0.0, "BBB": 0.31, "CCC": 0.3}
    stage.wish = "hold"
    stage.worker().run()
    orders = story(stage)["orders"]
    assert set(orders) == {"20130226-test-AAA-1", "20130226-test-CCC-1"}, "BBB is within the band; CCC catches up"
    assert orders["20130226-test-AAA-1"] == (OrderState.FILLED, 594.0)


def test_limits_stop_orders_before_they_are_sent(stage: Stage) -> None:
    stage.settings = SETTINGS.model_copy(update={"limits": LimitSettings(single_name=0.25, order_notional=0.5)})
    summary = stage.worker().run()
    seen = story(stage)
    assert set(summary.refused) == {"20130225-test-AAA-1", "20130225-test-BBB-1"}
    assert seen["orders"]["20130225-test-AAA-1"] == (OrderState.REJECTED, 0.0)
    assert {position.symbol for position in seen["positions"]} == {"CCC"}
    assert summary.sent == 1


def test_drawdown_counts_from_the_highest_equity_ever_observed(stage: Stage) -> None:
    journal = stage.journal()
    journal.take_lease(MONDAY, 1, "long ago")
    stage.venue().begin(MONDAY, opens(MONDAY))
    journal.record_equity(replace(stage.venue().account(), equity=134_000.0))
    summary = stage.worker().run()
    assert all(reason.startswith("limit drawdown_stop: drawdown 0.253") for reason in summary.refused.values())
    assert len(summary.refused) == 3


def test_heartbeats_and_observations_keep_their_pace(stage: Stage) -> None:
    stage.replay_seconds = 300.0
    stage.worker().run()
    assert 300 / 5 - 1 <= len(stage.beats) <= 300 / 5 + 1
    assert len(stage.observed) == 300 // 60 + 1 + 1, "one a minute and one at the end"
    assert [seen.account.ts for seen in stage.observed] == sorted(seen.account.ts for seen in stage.observed)
    assert len(stage.observed[-1].fills) == 3
    assert len({account.equity for account in stage.observed[-1].equity}) > 3, "equity moves with the day"


def test_waiting_for_a_bar_is_alive_and_quiet(stage: Stage) -> None:
    """With a growing history the session's bar comes late: heartbeats go on, nothing new is observed."""
    stage.bars = lambda session: bars(session) if stage.at >= 600 else pl.DataFrame()
    stage.worker().run()
    assert len(story(stage)["fills"]) == 3
    assert len(stage.beats) >= 600 / 5
    assert len(stage.observed) <= 4, "orders placed, filled, closed"


def test_a_stop_leaves_records_that_agree_and_the_orders_where_they_are(stage: Stage) -> None:
    told = iter([None, None, "the run is CANCELING"])
    stage.stop = lambda: next(told)
    with pytest.raises(StoppedError, match=r"2013-02-25: stopped \(the run is CANCELING\)"):
        stage.worker().run()
    journal = stage.journal()
    assert [status.state for status in journal.orders(MONDAY)] == [
        OrderState.ACCEPTED,
        OrderState.ACCEPTED,
        OrderState.INTENDED,
    ]
    assert [status.state for status in stage.venue().orders()] == [OrderState.ACCEPTED] * 2
    assert len(stage.observed) == 2, "the last word is written"
    stage.stop = lambda: None
    stage.worker(attempt=2).run()
    assert len(story(stage)["orders"]) == 3


def test_a_session_that_is_over_is_left_as_it_is(stage: Stage) -> None:
    first = stage.worker().run()
    before = story(stage)
    stage.weights = {"AAA": 0.1, "DDD": 0.3}
    assert stage.worker(attempt=2).run() == first
    assert story(stage) == before


def test_a_split_between_signal_and_open_is_no_contradiction(stage: Stage) -> None:
    stage.worker().run()
    stage.session = TUESDAY
    stage.weights = {"AAA": 0.15, "BBB": 0.3, "CCC": 0.1}
    stage.bars = lambda session: bars(session, split=2.0) if session == TUESDAY else bars(session)
    stage.worker().run()
    held = {position.symbol: position.quantity for position in story(stage)["positions"]}
    before = stage.journal().plan(TUESDAY)
    (sale,) = [order for order in before.orders if order.symbol == "AAA"]
    assert held["AAA"] == (594.0 - sale.quantity) * 2, "what was held and what was asked are both restated"


# ---- exits that the venue makes of an order's bracket

ENTRY, TAKE, STOP = "20130225-test-AAA-1", "20130225-test-AAA-1:take_profit", "20130225-test-AAA-1:stop_loss"


def bracketed(folder: Path, take_profit: float) -> Stage:
    """AAA: bought at 53 on Monday (high 54.06), 54 on Tuesday (high 55.08); exits at fractions of Friday's 50.5."""
    stage = Stage(folder, replay_seconds=0.4)
    stage.weights, stage.exits = {"AAA": 0.3}, (take_profit, 0.2)
    return stage


def on_tuesday(stage: Stage, weight: float, wish: str) -> Stage:
    stage.session, stage.weights, stage.wish = TUESDAY, {"AAA": weight}, wish
    return stage


def test_exits_are_known_and_their_fills_applied(tmp_path: Path) -> None:
    stage = bracketed(tmp_path, take_profit=0.06)
    summary = stage.worker().run()
    seen = story(stage)
    filled = OrderState.FILLED
    assert seen["orders"] == {ENTRY: (filled, 594.0), TAKE: (filled, 594.0), STOP: (OrderState.CANCELLED, 0.0)}
    assert [(fill.order_id, fill.price) for fill in seen["fills"]][1:] == [(TAKE, pytest.approx(50.5 * 1.06))]
    assert seen["positions"] == []
    assert (summary.planned, summary.sent, summary.fills, summary.unfilled) == (1, 1, 2, {})


def test_an_exit_rests_over_sessions_and_is_neither_doubled_nor_lost(tmp_path: Path) -> None:
    stage = bracketed(tmp_path, take_profit=0.08)
    stage.worker().run()
    assert {status.order.id: str(status.state) for status in stage.journal().exits(MONDAY)} == {
        TAKE: "accepted",
        STOP: "accepted",
    }
    summary = on_tuesday(stage, 0.3, "hold").worker().run()
    assert summary.planned == 0, "what has exits of its own is held"
    seen = story(stage)
    assert [(fill.order_id, fill.quantity) for fill in seen["fills"]] == [(TAKE, 594.0)]
    assert seen["positions"] == []
    assert [str(status.state) for status in stage.journal().exits(MONDAY)] == ["filled", "cancelled"]


def test_a_target_closed_by_the_plan_leaves_no_exit_behind(tmp_path: Path) -> None:
    stage = bracketed(tmp_path, take_profit=0.5)
    stage.worker().run()
    on_tuesday(stage, 0.0, "sell").worker().run()
    seen = story(stage)
    assert seen["orders"] == {"20130226-test-AAA-1": (OrderState.FILLED, 594.0)}
    assert seen["positions"] == []
    assert [(status.state, status.reason) for status in stage.journal().exits(MONDAY)] == [
        (OrderState.CANCELLED, "reduce-only: no position is left to reduce")
    ] * 2
    assert stage.venue().orders() == [status for status in stage.venue().orders() if status.order.parent == ""]


def test_a_plan_and_an_exit_at_the_same_open_sell_once(tmp_path: Path) -> None:
    stage = bracketed(tmp_path, take_profit=0.069)  # 53.98: above Monday's close of 53.53, below Tuesday's open of 54
    stage.bars = lambda session: bars(session).with_columns(high=pl.max_horizontal("open", "close"))
    stage.worker().run()
    on_tuesday(stage, 0.0, "sell").worker().run()
    assert sum(fill.quantity for fill in story(stage)["fills"]) == 594.0
    assert story(stage)["positions"] == []


def test_a_reversal_that_an_exit_may_come_before_is_judged_with_it(tmp_path: Path) -> None:
    stage = bracketed(tmp_path, take_profit=0.5)
    wide = {"gross": 2.0, "net": 2.0, "order_notional": 2.0}
    stage.settings = SETTINGS.model_copy(update={"limits": LimitSettings(single_name=0.5, **wide)})
    stage.worker().run()
    refused = on_tuesday(stage, -0.3, "sell").worker().run().refused
    assert list(refused) == ["20130226-test-AAA-1"]
    assert refused["20130226-test-AAA-1"].startswith("limit single_name: 0.6")


def test_refused_orders_have_no_exits(tmp_path: Path) -> None:
    stage = bracketed(tmp_path, take_profit=0.06)
    stage.settings = SETTINGS.model_copy(update={"limits": LimitSettings(single_name=0.1, order_notional=0.5)})
    stage.worker().run()
    assert stage.journal().exits(MONDAY) == []


# ---- interruptions


class Killed(BaseException):
    """kill -9, as far as code can feel it: nothing after it runs, and no `finally` may write."""


class Mortal:
    """Stands for an object whose n-th call, counted over all such objects, is the last thing the process does."""

    calls = itertools.count()
    last = -1
    after = False
    dead = False

    def __init__(self, target: object) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if not callable(method) or name.startswith("_"):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            if Mortal.dead:
                raise Killed  # `finally` blocks of the dead process
            if next(Mortal.calls) == Mortal.last:
                if Mortal.after:
                    method(*args, **kwargs)
                Mortal.dead = True
                raise Killed
            return method(*args, **kwargs)

        return call

    @classmethod
    def arm(cls, last: int, after: bool) -> None:
        cls.calls, cls.last, cls.after, cls.dead = itertools.count(), last, after, False


def run_until(stage: Stage, last: int, after: bool) -> bool:
    """Run a worker that dies at its n-th call to journal or venue, before or after the call took effect."""
    Mortal.arm(last, after)
    try:
        stage.worker(1, Mortal(stage.venue()), Mortal(stage.journal())).run()  # type: ignore[arg-type]
    except Killed:
        return True
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_killed_at_every_single_call_the_session_ends_as_if_nothing_had_been(tmp_path: Path, after: bool) -> None:
    undisturbed = Stage(tmp_path / "undisturbed", replay_seconds=0.4)
    undisturbed.worker().run()
    expected = story(undisturbed)
    deaths = 0
    for last in range(200):
        stage = Stage(tmp_path / f"killed-{last}", replay_seconds=0.4)
        if not run_until(stage, last, after):
            break
        deaths += 1
        stage.worker(attempt=2).run()
        assert story(stage) == expected, f"killed at call {last}"
    assert deaths > 40, "each call was tried"


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_killed_while_an_exit_of_the_session_before_fills(tmp_path: Path, after: bool) -> None:
    def second_session(name: str) -> Stage:
        stage = bracketed(tmp_path / name, take_profit=0.08)
        Mortal.arm(-1, after)
        stage.worker().run()
        return on_tuesday(stage, 0.3, "hold")

    undisturbed = second_session("undisturbed")
    undisturbed.worker().run()
    expected, deaths = story(undisturbed), 0
    for last in range(1 if after else 0, 200, 2):
        stage = second_session(f"killed-{last}")
        if not run_until(stage, last, after):
            break
        deaths += 1
        stage.worker(attempt=2).run()
        assert story(stage) == expected, f"killed at call {last}"
    assert deaths > 10, "calls were tried all along the session"


def test_what_a_killed_worker_left_unread_is_no_contradiction_in_the_next_session(tmp_path: Path) -> None:
    """Its fills are applied by the next session's worker, before that plans from the venue's holdings."""
    late = 0
    for last in range(21, 41, 3):
        stage = bracketed(tmp_path / f"killed-{last}", take_profit=0.08)
        assert run_until(stage, last, after=True)
        Mortal.arm(-1, after=True)
        read = len(stage.journal().fills(MONDAY))
        on_tuesday(stage, 0.3, "hold").worker().run()
        fills = [event for _, event in stage.venue().events() if isinstance(event, Fill)]
        assert stage.journal().fills(MONDAY) + stage.journal().fills(TUESDAY) == fills
        late += len(fills) - read > 1
    assert late > 0, "in one case the entry's fill was applied a session late"


def test_killed_twice(tmp_path: Path) -> None:
    undisturbed = Stage(tmp_path / "undisturbed", replay_seconds=0.4)
    undisturbed.worker().run()
    for first, second in ((9, 9), (13, 12), (20, 15)):
        stage = Stage(tmp_path / f"killed-{first}", replay_seconds=0.4)
        assert run_until(stage, first, after=True)
        assert run_until(stage, second, after=False)
        stage.worker(attempt=2).run()
        assert story(stage) == story(undisturbed)


def test_a_fenced_attempt_sends_nothing_more(stage: Stage) -> None:
    """The old attempt hangs with half its orders sent, the new one takes over, the old one wakes up."""
    venue = stage.venue()
    submit, sent, observed = venue.submit, [], []

    def hang(order: Order) -> OrderStatus:
        sent.append(order.id)
        if len(sent) == 2:
            stage.worker(attempt=2).run()
            observed.extend(stage.observed)
        return submit(order)

    venue.submit = hang  # type: ignore[method-assign]
    old = stage.worker(attempt=1, venue=venue)
    with pytest.raises(LeaseLostError, match="attempt 2"):
        old.run()
    assert len(sent) == 2, "the third order came from the new attempt alone"
    assert len(story(stage)["orders"]) == 3
    assert stage.observed == observed, "and the old one had nothing more to say"


# ---- contradictions


def test_an_order_nobody_intended_stops_trading(stage: Stage) -> None:
    venue = stage.venue()
    venue.begin(MONDAY, opens(MONDAY))
    venue.submit(Order("by-hand", "AAA", Side.BUY, 1, OrderType.MARKET, TimeInForce.DAY, opens(MONDAY)))
    with pytest.raises(Exception, match=r"by-hand.* never intended"):
        stage.worker().run()
    assert len(stage.venue().orders()) == 1, "nothing was sent"


def test_an_order_that_the_venue_lost_stops_trading(stage: Stage) -> None:
    told = iter([None, None, "stop"])
    stage.stop = lambda: next(told)
    with pytest.raises(StoppedError):
        stage.worker().run()
    (stage.folder / "paper.sqlite").unlink()
    stage.stop = lambda: None
    with pytest.raises(
        ReconciliationError, match="20130225-test-AAA-1 is accepted in the journal, unknown to the venue"
    ):
        stage.worker(attempt=2).run()
    assert stage.venue().events() == []


ORDER = Order("o", "AAA", Side.BUY, 10, OrderType.MARKET, TimeInForce.DAY, opens(MONDAY))
STATES = [
    ("both the same", OrderStatus(ORDER, OrderState.FILLED, 10), OrderStatus(ORDER, OrderState.FILLED, 10), 0),
    ("not sent yet", OrderStatus(ORDER, OrderState.INTENDED, 0), None, 0),
    ("lost by the venue", OrderStatus(ORDER, OrderState.ACCEPTED, 0), None, 1),
    ("another state", OrderStatus(ORDER, OrderState.ACCEPTED, 0), OrderStatus(ORDER, OrderState.CANCELLED, 0), 1),
    ("another quantity", OrderStatus(ORDER, OrderState.FILLED, 10), OrderStatus(ORDER, OrderState.FILLED, 9), 1),
]


@pytest.mark.parametrize(("name", "journal", "venue", "faults"), STATES, ids=[case[0] for case in STATES])
def test_compare_order(name: str, journal: OrderStatus, venue: OrderStatus | None, faults: int) -> None:
    assert len(compare_order(journal, venue)) == faults


def fill(units: float) -> Fill:
    side = Side.SELL if units < 0 else Side.BUY
    return Fill("e", "o", "AAA", side, abs(units), 100.0, 1.0, opens(MONDAY), "open")


HOLDINGS = [
    ("bought", {"AAA": 5.0}, [10.0, -3.0], {"AAA": 12.0}, {}, True),
    ("flat again", {"AAA": 5.0}, [-5.0], {}, {}, True),
    ("one fill missing", {}, [10.0], {"AAA": 12.0}, {}, False),
    ("held out of nothing", {}, [], {"AAA": 1.0}, {}, False),
    ("vanished", {"AAA": 5.0}, [], {}, {}, False),
    ("split before the open", {"AAA": 5.0}, [], {"AAA": 5.0}, {"AAA": 2.0}, True),
    ("split after the open", {"AAA": 5.0}, [2.0], {"AAA": 12.0}, {"AAA": 2.0}, True),
    ("split of another symbol", {"AAA": 5.0}, [], {"AAA": 10.0}, {"BBB": 2.0}, False),
]


@pytest.mark.parametrize("case", HOLDINGS, ids=[case[0] for case in HOLDINGS])
def test_compare_positions(
    case: tuple[str, dict[str, float], list[float], dict[str, float], dict[str, float], bool],
) -> None:
    _, before, traded, now, splits, agree = case
    assert (compare_positions(before, [fill(units) for units in traded], now, splits) == []) == agree
