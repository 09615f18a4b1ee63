"""The paper venue: fills like the exchange, remembers like a venue."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from resources.brokers.base import Fill, Order, OrderState, OrderStatus, OrderType, Side, TimeInForce
from resources.brokers.paper import Feed, PaperBroker, PaperVenueError
from resources.brokers.paper.feed import LOOK_SECONDS, STEPS
from resources.config import BacktestSettings
from resources.exchange import Bar, Exchange

MONDAY = date(2013, 2, 25)
TERMS = BacktestSettings(cash=100_000)
SECONDS = 12.0


def opens(session: date) -> datetime:
    return datetime(session.year, session.month, session.day, 14, 30, tzinfo=UTC)


def cleaned(session: date, bars: dict[str, Bar]) -> pl.DataFrame:
    """Rows as cleaned bars have them."""
    rows = [
        {
            "symbol": symbol, "ts": opens(session), "known_at": opens(session) + timedelta(hours=6, minutes=30),
            "open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close, "volume": bar.volume,
            "split": bar.split, "dividend": bar.dividend,
        }
        for symbol, bar in bars.items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"ts": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")})


WEEK = {
    MONDAY: {"AAA": Bar(100, 104, 98, 102, 1e6), "BBB": Bar(50, 51, 49, 50, 1e6), "CCC": Bar(10, 11, 9, 10, 1_000)},
    MONDAY + timedelta(days=1): {
        "AAA": Bar(51.5, 52, 50, 51, 2e6, split=2.0),
        "BBB": Bar(49, 50, 47, 48, 1e6, dividend=0.5),
    },
}


@dataclass
class Clock:
    """Wall time that moves when told to."""

    at: float = 0.0

    def __call__(self) -> float:
        return self.at

    def now(self) -> datetime:
        return opens(MONDAY) + timedelta(seconds=self.at)


def order(name: str, symbol: str, units: float, kind: OrderType = OrderType.MARKET, **rest: object) -> Order:
    side = Side.SELL if units < 0 else Side.BUY
    tif = rest.pop("tif", TimeInForce.DAY)
    early = opens(MONDAY) - timedelta(days=3)
    return Order(name, symbol, side, abs(units), kind, tif, early, **rest)  # type: ignore[arg-type]


class Place:
    """A folder with a paper venue in it that can be left and come back to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "paper.sqlite"
        self.clock = Clock()
        self.recorded = dict(WEEK)

    def bars(self, session: date) -> pl.DataFrame:
        day = self.recorded.get(session)
        return cleaned(session, day) if day else pl.DataFrame()

    def open(self, terms: BacktestSettings = TERMS, replay: bool = True) -> PaperBroker:
        return PaperBroker(self.path, Feed(self.bars, SECONDS, self.clock), terms, replay=replay, now=self.clock.now)

    def trade(self, broker: PaperBroker, session: date, orders: list[Order]) -> None:
        """A whole session."""
        broker.begin(session, opens(session))
        for one in orders:
            broker.submit(one)
        broker.ready()
        self.clock.at += SECONDS
        broker.events()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


MONDAYS = [
    order("m-AAA", "AAA", 100),
    order("m-BBB", "BBB", -200),
    order("m-CCC", "CCC", 150),
    order("m-bad", "AAA", 0.5),
]


def test_a_market_order_fills_at_the_open_like_at_the_exchange(place: Place) -> None:
    broker = place.open()
    place.trade(broker, MONDAY, MONDAYS)
    exchange = Exchange(TERMS)
    for one in MONDAYS:
        exchange.submit(one)
    expected = exchange.on_bar(opens(MONDAY), WEEK[MONDAY])
    fills = [event for _, event in broker.events() if isinstance(event, Fill)]
    assert [(fill.id, fill.price, fill.quantity, fill.commission) for fill in fills] == [
        (fill.id, fill.price, fill.quantity, fill.commission) for fill in expected
    ]
    assert {status.order.id: (status.state, status.filled) for status in broker.orders()} == {
        status.order.id: (status.state, status.filled) for status in exchange.orders()
    }
    assert broker.positions() == exchange.positions()
    assert broker.account().cash == exchange.cash
    assert broker.account().equity == pytest.approx(exchange.equity, rel=1e-12)


def test_states_come_in_an_order_that_every_journal_accepts(place: Place) -> None:
    broker = place.open()
    place.trade(broker, MONDAY, MONDAYS)
    told = [(e.order.id, str(e.state), e.filled) if isinstance(e, OrderStatus) else e.id for _, e in broker.events()]
    assert told == [
        ("m-AAA", "accepted", 0.0), ("m-BBB", "accepted", 0.0), ("m-CCC", "accepted", 0.0), ("m-bad", "rejected", 0.0),
        "m-AAA#1", "m-BBB#1", "m-CCC#1",
        ("m-AAA", "filled", 100.0), ("m-BBB", "filled", 200.0), ("m-CCC", "expired", 100.0),
    ]  # fmt: skip
    numbers = [number for number, _ in broker.events()]
    assert numbers == list(range(1, 11))
    assert broker.events(after=8) == broker.events()[8:]


def test_the_same_id_twice_is_one_order(place: Place) -> None:
    broker = place.open()
    broker.begin(MONDAY, opens(MONDAY))
    first = broker.submit(order("one", "AAA", 100))
    assert broker.submit(order("one", "AAA", 100)) == first
    assert broker.submit(order("one", "BBB", 7)) == first, "the contents that came first count"
    broker.ready()
    place.clock.at += SECONDS
    broker.events()
    assert place.open().submit(order("one", "AAA", 100)).state is OrderState.FILLED
    assert [position.quantity for position in broker.positions()] == [100.0]


def test_left_and_reopened_at_every_call_it_is_the_same_venue(place: Place, tmp_path: Path) -> None:
    """Whoever dies between two calls leaves nothing behind but the ledger, and that is enough."""
    tuesday = MONDAY + timedelta(days=1)
    tuesdays = [order("t-AAA", "AAA", -50), order("t-BBB", "BBB", 100, OrderType.LIMIT, limit_price=48.0)]
    steady = place.open()
    place.trade(steady, MONDAY, MONDAYS)
    place.trade(steady, tuesday, tuesdays)

    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")

    def anew(act: Callable[[PaperBroker], object]) -> None:
        broker = other.open()
        act(broker)
        broker.close()

    for session, orders in ((MONDAY, MONDAYS), (tuesday, tuesdays)):
        anew(lambda broker, day=session: broker.begin(day, opens(day)))
        for one in orders:
            anew(lambda broker, wish=one: broker.submit(wish))
        for _ in range(STEPS + 1):

            def look(broker: PaperBroker) -> None:
                broker.ready()
                other.clock.at += SECONDS / STEPS
                broker.events()

            anew(look)
    again = other.open()
    assert again.closed()
    assert again.events() == steady.events()
    assert again.positions() == steady.positions()
    assert again.account() == steady.account()


def test_the_clock_stands_until_the_orders_are_sent(place: Place) -> None:
    broker = place.open()
    broker.begin(MONDAY, opens(MONDAY))
    place.clock.at += 1000
    broker.events()
    assert broker.now() == opens(MONDAY) - timedelta(minutes=1)
    broker.submit(order("one", "AAA", 100))
    broker.ready()
    broker.events()
    assert broker.now() == opens(MONDAY)
    place.clock.at += SECONDS / 2
    broker.events()
    assert not broker.closed()
    assert broker.now() == opens(MONDAY) + timedelta(hours=3, minutes=15)


def test_a_killed_worker_finds_the_session_where_it_was(place: Place) -> None:
    first = place.open()
    first.begin(MONDAY, opens(MONDAY))
    first.submit(order("one", "AAA", 100))
    first.ready()
    place.clock.at += SECONDS / 2
    first.events()
    place.clock.at += 3600  # nobody is there
    second = place.open()
    second.begin(MONDAY, opens(MONDAY))
    assert second.now() == opens(MONDAY) + timedelta(hours=3, minutes=15)
    second.ready()
    place.clock.at += SECONDS / 4
    second.events()
    assert not second.closed()
    place.clock.at += SECONDS / 4
    second.events()
    assert second.closed()
    assert len([event for _, event in second.events() if isinstance(event, Fill)]) == 1


def test_equity_is_marked_along_the_day(place: Place) -> None:
    broker = place.open()
    broker.begin(MONDAY, opens(MONDAY))
    broker.submit(order("one", "AAA", 100))
    broker.ready()
    seen = []
    for _ in range(STEPS + 1):
        broker.events()
        seen.append(broker.account().equity)
        place.clock.at += SECONDS / STEPS
    cash = broker.account().cash
    marks = [round((equity - cash) / 100, 9) for equity in seen]
    assert marks[:: STEPS // 3] == [100.0, 98.0, 104.0, 102.0], "open, the nearer extreme, the other, close"


def test_an_order_after_the_open_finds_no_price(place: Place) -> None:
    broker = place.open()
    broker.begin(MONDAY, opens(MONDAY))
    broker.ready()
    broker.events()
    assert broker.submit(order("late", "AAA", 100)).state is OrderState.ACCEPTED
    place.clock.at += SECONDS
    broker.events()
    (status,) = broker.orders()
    assert (status.state, status.filled) == (OrderState.EXPIRED, 0.0)
    assert status.reason == "day order: received after the open, and a daily bar has no later price"
    place.trade(broker, MONDAY + timedelta(days=1), [])
    assert broker.positions() == []


def test_a_split_restates_what_is_held_and_what_rests(place: Place) -> None:
    broker = place.open()
    resting = order("rest", "AAA", 10, OrderType.LIMIT, limit_price=90.0, tif=TimeInForce.GTC)
    place.trade(broker, MONDAY, [order("one", "AAA", 100), resting])
    tuesday = MONDAY + timedelta(days=1)
    place.trade(broker, tuesday, [])
    assert [(position.symbol, position.quantity) for position in broker.positions()] == [("AAA", 200.0)]
    (status,) = broker.orders()
    assert (status.order.quantity, status.order.limit_price, status.state) == (20.0, 45.0, OrderState.ACCEPTED)


def test_cancel_and_replace(place: Place) -> None:
    broker = place.open()
    broker.begin(MONDAY, opens(MONDAY))
    for name in ("keep", "drop"):
        broker.submit(order(name, "BBB", 10, OrderType.LIMIT, limit_price=49.5))
    assert broker.cancel("drop").state is OrderState.CANCELLED
    assert broker.replace("keep", quantity=20, limit_price=49.2).order.limit_price == 49.2
    broker.ready()
    place.clock.at += SECONDS
    broker.events()
    assert {status.order.id: status.filled for status in broker.orders()} == {"keep": 20.0, "drop": 0.0}
    with pytest.raises(PaperVenueError, match="order ghost: unknown"):
        broker.cancel("ghost")


def test_the_wall_clock_rules_until_the_bar_is_recorded(place: Place) -> None:
    """With a growing history the venue waits for the day's bar, asking now and then."""
    day = place.recorded.pop(MONDAY)
    place.clock.at = -600.0
    broker = place.open(replay=False)
    broker.begin(MONDAY, opens(MONDAY))
    broker.submit(order("one", "AAA", 100))
    broker.ready()
    place.clock.at = 7 * 3600.0
    broker.submit(order("late", "BBB", 100))
    broker.events()
    assert (broker.now(), broker.closed()) == (place.clock.now(), False)
    place.recorded[MONDAY] = day
    place.clock.at += LOOK_SECONDS - 1
    broker.events()
    assert not broker.closed()
    place.clock.at += 1
    broker.events()
    assert broker.closed()
    assert {status.order.id: status.state for status in broker.orders()} == {
        "one": OrderState.FILLED,
        "late": OrderState.EXPIRED,
    }


def test_a_session_that_never_got_its_bar_ends_with_the_next(place: Place) -> None:
    del place.recorded[MONDAY]
    broker = place.open()
    broker.begin(MONDAY, opens(MONDAY))
    broker.submit(order("one", "AAA", 100))
    tuesday = MONDAY + timedelta(days=1)
    place.trade(broker, tuesday, [order("two", "BBB", 10)])
    assert [position.symbol for position in broker.positions()] == ["BBB"]
    expired = [
        event for _, event in broker.events() if isinstance(event, OrderStatus) and event.state is OrderState.EXPIRED
    ]
    assert [(status.order.id, status.reason) for status in expired] == [
        ("one", "day order: the session ended without a bar")
    ]


def test_time_does_not_go_back(place: Place) -> None:
    broker = place.open()
    place.trade(broker, MONDAY + timedelta(days=1), [])
    with pytest.raises(PaperVenueError, match="2013-02-25: the paper account has already traded 2013-02-26") as error:
        broker.begin(MONDAY, opens(MONDAY))
    assert f"move the whole folder {place.path.parent} away, the order journal with it" in str(error.value)


def test_an_account_keeps_its_terms(place: Place) -> None:
    place.open().close()
    place.open(TERMS.model_copy(update={"start": MONDAY})).close()
    with pytest.raises(PaperVenueError, match=r"other terms .*'participation': \(0.1, 0.2\).* move the whole folder"):
        place.open(TERMS.model_copy(update={"participation": 0.2}))


def test_an_account_opened_with_terms_of_another_time_says_how_to_begin_anew(place: Place) -> None:
    place.open().close()
    with sqlite3.connect(place.path) as connection:
        connection.execute("UPDATE account SET terms = ?", ('{"cash": 100000.0, "slippage_bps": 2.0}',))
    with pytest.raises(PaperVenueError, match=r"by an earlier version.*costs are models now.* move the whole folder"):
        place.open()


def test_an_account_keeps_its_id_and_a_new_one_has_another(place: Place) -> None:
    first = place.open()
    assert place.open().account_id() == first.account_id()
    first.close()
    place.path.rename(place.path.with_name("away"))
    assert place.open().account_id() != first_id(place.path.with_name("away"))


def first_id(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        return str(connection.execute("SELECT account FROM identity").fetchone()[0])


def test_an_account_opened_before_accounts_had_ids_is_given_one(place: Place) -> None:
    place.open().close()
    with sqlite3.connect(place.path) as connection:
        connection.execute("DROP TABLE identity")
    given = place.open().account_id()
    assert given == place.open().account_id() != ""


def test_changed_rules_are_noticed(place: Place) -> None:
    broker = place.open()
    place.trade(broker, MONDAY, MONDAYS)
    broker.close()
    with sqlite3.connect(place.path) as connection:
        connection.execute("DROP TRIGGER executions_no_update")
        connection.execute("UPDATE executions SET price = price + 0.01 WHERE symbol='AAA'")
    reopened = place.open()
    with pytest.raises(PaperVenueError, match=r"would not execute as they did.* move the whole folder"):
        reopened.begin(MONDAY + timedelta(days=1), opens(MONDAY + timedelta(days=1)))


def test_an_interrupted_open_leaves_nothing_and_is_done_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = place.open()
    broker.begin(MONDAY, opens(MONDAY))
    for one in MONDAYS:
        broker.submit(one)
    before = broker.events()
    add = broker._ledger.add_execution

    def interrupted(fill: Fill) -> None:
        add(fill)
        raise KeyboardInterrupt

    broker.ready()
    place.clock.at += SECONDS
    with monkeypatch.context() as patch:
        patch.setattr(broker._ledger, "add_execution", interrupted)
        with pytest.raises(KeyboardInterrupt):
            broker.events()
    assert broker._ledger.events(0) == before
    assert broker.positions() == []
    assert len([event for _, event in broker.events() if isinstance(event, Fill)]) == 3


def test_two_processes_at_one_account_see_the_same(place: Place) -> None:
    one, two = place.open(), place.open()
    one.begin(MONDAY, opens(MONDAY))
    one.submit(order("one", "AAA", 10))
    two.submit(order("two", "BBB", 20))
    one.submit(order("three", "BBB", 30))
    for broker in (one, two):
        broker.ready()
    place.clock.at += SECONDS
    one.events()
    assert two.events() == one.events()
    assert {position.symbol: position.quantity for position in two.positions()} == {"AAA": 10.0, "BBB": 50.0}


def test_no_session_no_trading(place: Place) -> None:
    with pytest.raises(PaperVenueError, match="call begin first"):
        place.open().submit(order("one", "AAA", 1))
