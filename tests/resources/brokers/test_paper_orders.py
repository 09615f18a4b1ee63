"""The paper venue with every kind of order: brackets, trailing stops, OCO, auctions, GTD, reduce-only.

What it fills must be what a backtest of the same orders fills.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.backtests.engine import run
from resources.brokers.base import Fill, Order, OrderState, OrderType, Side, Sizing, TimeInForce
from resources.brokers.paper import Feed, PaperBroker
from resources.config import BacktestSettings
from resources.exchange import Bar, Listing

TERMS = BacktestSettings(cash=100_000)
DAYS = [date(2013, 2, 25) + timedelta(days=number) for number in range(5)]
SECONDS = 1.0
GTC = TimeInForce.GTC


def opens(session: date) -> datetime:
    return datetime(session.year, session.month, session.day, 14, 30, tzinfo=UTC)


def received(session: date) -> datetime:
    """When a replayed venue receives what is sent before the open."""
    return opens(session) - timedelta(minutes=1)


def frame(session: date, bars: dict[str, Bar]) -> pl.DataFrame:
    numbers = ("open", "high", "low", "close", "volume", "split", "dividend")
    rows = [
        {"symbol": symbol, "session": session, "ts": opens(session), "known_at": opens(session) + timedelta(hours=6.5)}
        | {name: float(getattr(bar, name)) for name in numbers}
        for symbol, bar in bars.items()
    ]
    times = {name: pl.Datetime("us", "UTC") for name in ("ts", "known_at")}
    return pl.DataFrame(rows, schema_overrides=times)


class Market:
    """A venue in a folder, over bars by session."""

    def __init__(
        self, folder: Path, week: dict[date, dict[str, Bar]], listings: dict[str, Listing] | None = None
    ) -> None:
        self.path, self.week, self.listings, self.at = folder / "paper.sqlite", week, listings, 0.0

    def open(self) -> PaperBroker:
        def bars(session: date) -> pl.DataFrame:
            return frame(session, self.week[session]) if session in self.week else pl.DataFrame()

        broker = PaperBroker(
            self.path, Feed(bars, SECONDS, lambda: self.at), TERMS, replay=True, listings=self.listings
        )
        broker._ledger.connection.execute("PRAGMA synchronous=OFF")  # no power is cut in a test
        return broker

    def trade(self, broker: PaperBroker, session: date, orders: list[Order]) -> None:
        broker.begin(session, opens(session))
        for one in orders:
            broker.submit(one)
        self.close_of(broker)

    def close_of(self, broker: PaperBroker) -> None:
        broker.ready()
        self.at += SECONDS
        broker.events()


def order(name: str, symbol: str, units: float, kind: OrderType = OrderType.MARKET, **rest: object) -> Order:
    tif = rest.pop("tif", TimeInForce.DAY)
    return Order(name, symbol, Side.SELL if units < 0 else Side.BUY, abs(units), kind, tif, opens(DAYS[0]), **rest)  # type: ignore[arg-type]


def states(broker: PaperBroker) -> dict[str, str]:
    return {status.order.id: str(status.state) for status in broker.orders()}


def fills(broker: PaperBroker) -> list[Fill]:
    return [event for _, event in broker.events() if isinstance(event, Fill)]


CALM = {"AAA": Bar(100, 101, 99, 100, 1e6), "BBB": Bar(50, 51, 49, 50, 1e6)}
ENTRY = order("in", "AAA", 100, take_profit=105.0, stop_loss=95.0)


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path, {day: dict(CALM) for day in DAYS})


def test_an_order_and_its_exits_are_three_orders_of_the_venue(market: Market) -> None:
    broker = market.open()
    broker.begin(DAYS[0], opens(DAYS[0]))
    broker.submit(ENTRY)
    assert states(broker) == {"in": "accepted", "in:take_profit": "held", "in:stop_loss": "held"}
    market.close_of(broker)
    assert states(broker) == {"in": "filled", "in:take_profit": "accepted", "in:stop_loss": "accepted"}
    assert {one.order.id: one.order.quantity for one in broker.orders()}["in:stop_loss"] == 100.0
    market.week[DAYS[1]]["AAA"] = Bar(100, 106, 99, 104, 1e6)
    market.trade(broker, DAYS[1], [])
    assert [(fill.id, fill.side, fill.quantity, fill.price) for fill in fills(broker)][1:] == [
        ("in:take_profit#1", Side.SELL, 100.0, 105.0)
    ]
    assert broker.orders() == [], "nothing rests"
    ended = {event.order.id: str(event.state) for _, event in broker.events() if not isinstance(event, Fill)}
    assert ended == {"in": "filled", "in:take_profit": "filled", "in:stop_loss": "cancelled"}


def test_an_entry_that_ends_unfilled_takes_its_exits_with_it(market: Market) -> None:
    broker = market.open()
    market.trade(broker, DAYS[0], [replace(ENTRY, type=OrderType.LIMIT, limit_price=98.0, stop_loss=95.0)])
    assert states(broker) == {"in": "expired", "in:take_profit": "cancelled", "in:stop_loss": "cancelled"}
    broker.begin(DAYS[1], opens(DAYS[1]))
    for name in ("by-hand", "no-bar"):
        broker.submit(replace(ENTRY, id=name, symbol="BBB", take_profit=55.0, stop_loss=45.0))
    broker.cancel("by-hand")
    assert states(broker)["by-hand:stop_loss"] == "cancelled"
    del market.week[DAYS[1]]["BBB"]
    market.close_of(broker)
    assert states(broker)["no-bar"] == "expired"
    assert states(broker)["no-bar:take_profit"] == "cancelled"


def test_a_refused_order_has_no_exits(market: Market) -> None:
    broker = market.open()
    broker.begin(DAYS[0], opens(DAYS[0]))
    status = broker.submit(replace(ENTRY, stop_loss=106.0))
    assert (status.state, states(broker)) == (OrderState.REJECTED, {"in": "rejected"})


def test_exits_can_be_moved_and_cancelled(market: Market) -> None:
    broker = market.open()
    market.trade(broker, DAYS[0], [ENTRY])
    broker.begin(DAYS[1], opens(DAYS[1]))
    assert broker.replace("in:stop_loss", stop_price=99.5).order.stop_price == 99.5
    assert broker.cancel("in:take_profit").state is OrderState.CANCELLED
    market.close_of(broker)
    assert [(fill.order_id, fill.quantity) for fill in fills(broker)] == [("in", 100.0), ("in:stop_loss", 100.0)]


def test_the_trail_of_a_trailing_stop_can_be_replaced(market: Market) -> None:
    broker = market.open()
    trailing = order("trail", "AAA", -100, OrderType.TRAILING_STOP, trail=10.0, tif=GTC)
    market.trade(broker, DAYS[0], [order("in", "AAA", 100)])
    broker.begin(DAYS[1], opens(DAYS[1]))
    broker.submit(trailing)
    assert broker.replace("trail", trail=3.0).order.trail == 3.0
    again = market.open()
    again.begin(DAYS[1], opens(DAYS[1]))
    assert next(one for one in again.orders() if one.order.id == "trail").order.trail == 3.0


def test_a_position_closed_by_hand_leaves_no_exit_behind(market: Market) -> None:
    broker = market.open()
    market.trade(broker, DAYS[0], [ENTRY])
    market.trade(broker, DAYS[1], [order("out", "AAA", -100, reduce_only=True)])
    assert states(broker) == {"out": "filled"}
    ended = {event.order.id: event.reason for _, event in broker.events() if not isinstance(event, Fill)}
    assert ended["in:stop_loss"] == "reduce-only: no position is left to reduce"
    market.week[DAYS[2]]["AAA"] = Bar(100, 120, 80, 100, 1e6)
    market.trade(broker, DAYS[2], [])
    assert broker.positions() == []
    assert len(fills(broker)) == 2


def test_an_exit_and_a_close_by_hand_at_the_same_open_sell_once(market: Market) -> None:
    broker = market.open()
    market.trade(broker, DAYS[0], [ENTRY])
    market.week[DAYS[1]]["AAA"] = Bar(90, 91, 88, 89, 1e6)
    market.trade(broker, DAYS[1], [order("out", "AAA", -100, reduce_only=True)])
    assert broker.positions() == []
    assert sum(fill.quantity for fill in fills(broker) if fill.side is Side.SELL) == 100.0


def test_left_and_reopened_at_every_call_brackets_are_the_same(market: Market, tmp_path: Path) -> None:
    market.week[DAYS[1]]["AAA"] = Bar(50, 51, 49.5, 50.5, 1e6, split=2.0)
    market.week[DAYS[2]]["AAA"] = Bar(50, 50.5, 46, 47, 1e6)
    steady = market.open()
    for session, sent in zip(DAYS[:3], ([ENTRY], [], [order("more", "BBB", 10)]), strict=True):
        market.trade(steady, session, sent)
    (tmp_path / "other").mkdir()
    other = Market(tmp_path / "other", market.week)
    for session, sent in zip(DAYS[:3], ([ENTRY], [], [order("more", "BBB", 10)]), strict=True):
        other.open().begin(session, opens(session))
        for one in sent:
            other.open().submit(one)
        other.close_of(other.open())
    again = other.open()
    assert again.events() == steady.events()
    assert [(fill.order_id, fill.quantity) for fill in fills(again)] == [
        ("in", 100.0),
        ("more", 10.0),
        ("in:stop_loss", 200.0),
    ]
    assert (again.positions(), again.account()) == (steady.positions(), steady.account())


def test_a_weight_is_sized_with_the_close_before_and_not_with_that_of_the_day(market: Market) -> None:
    market.week[DAYS[1]]["AAA"] = Bar(100, 140, 99, 130, 1e6)
    broker = market.open()
    market.trade(broker, DAYS[0], [])
    broker.begin(DAYS[1], opens(DAYS[1]))
    weight = order("weight", "AAA", 0.5, sizing=Sizing.TARGET_WEIGHT)
    broker.submit(weight)
    market.close_of(broker)
    broker.submit(replace(weight, id="later", quantity=0.1))
    market.trade(broker, DAYS[2], [])
    equity = 100_000 + 500 * 30
    assert [fill.quantity for fill in fills(broker)] == [500.0, 500.0 - int(0.1 * equity / 130)]


# ---- listings


def test_a_future_is_worth_what_has_not_been_settled(tmp_path: Path) -> None:
    future = Listing(multiplier=50.0, tick=0.25, asset_class="future", expires=DAYS[1])
    week = {
        DAYS[0]: {"FUT": Bar(100, 101, 99, 100.5, 1e6)},
        DAYS[1]: {"FUT": Bar(101, 103, 100, 102.5, 1e6)},
    }
    market = Market(tmp_path, week, {"FUT": future})
    broker = market.open()
    market.trade(broker, DAYS[0], [order("in", "FUT", 2)])
    first = broker.account()
    assert first.equity == pytest.approx(first.cash), "a future's gains are settled into cash"
    bought = fills(broker)[0]
    assert first.equity == pytest.approx(100_000 + 2 * 50 * (100.5 - bought.price) - bought.commission)
    market.trade(market.open(), DAYS[1], [])
    last = market.open()
    assert [(fill.order_id, fill.quantity, fill.price) for fill in fills(last)][1:] == [
        ("expiry:FUT:2013-02-26", 2.0, 102.5)
    ]
    assert last.positions() == []
    assert last.account().equity == pytest.approx(first.equity + 2 * 50 * 2.0)


def test_listings_hold_for_good_once_ordered(market: Market) -> None:
    market.listings = {"AAA": Listing(lot=10.0)}
    market.trade(market.open(), DAYS[0], [order("odd", "AAA", 15), order("even", "AAA", 20)])
    market.listings = {"AAA": Listing(lot=1.0), "BBB": Listing(lot=100.0)}
    broker = market.open()
    broker.begin(DAYS[1], opens(DAYS[1]))
    sent = (("odd-2", "AAA", 15), ("odd-3", "BBB", 150), ("even-3", "BBB", 200))
    assert [str(broker.submit(order(*one)).state) for one in sent] == ["rejected", "rejected", "accepted"]


def test_a_symbol_of_another_currency_is_refused_by_name(market: Market) -> None:
    market.listings = {"AAA": Listing(currency="EUR"), "BBB": Listing(currency="USD")}
    broker = market.open()
    broker.begin(DAYS[0], opens(DAYS[0]))
    refused = broker.submit(order("euro", "AAA", 10))
    assert (refused.state, refused.reason) == (
        OrderState.REJECTED,
        "AAA trades in EUR, and the paper venue has no conversion rates",
    )
    assert broker.submit(order("dollar", "BBB", 10)).state is OrderState.ACCEPTED
    market.close_of(broker)
    assert [fill.order_id for fill in fills(broker)] == ["dollar"]


# ---- the same orders through a backtest

WEEK = {
    DAYS[0]: {"AAA": Bar(100, 101, 99, 100, 1e6), "BBB": Bar(50, 51, 49, 50, 1e6), "CCC": Bar(10, 11, 9, 10, 2_000)},
    DAYS[1]: {"AAA": Bar(101, 104, 100, 103, 1e6), "BBB": Bar(50, 52, 49, 51, 1e6), "CCC": Bar(10, 11, 9, 10, 1_500)},
    DAYS[2]: {
        "AAA": Bar(51.5, 54, 51, 53.5, 2e6, split=2.0),
        "BBB": Bar(50.4, 51, 46, 47, 1e6, dividend=0.5),
        "CCC": Bar(10.2, 10.5, 9.8, 10, 3_000),
    },
    DAYS[3]: {"AAA": Bar(53, 53.5, 48, 49, 2e6), "BBB": Bar(47, 55, 44, 50, 1e6), "CCC": Bar(10, 10.4, 9.7, 10, 3_000)},
    DAYS[4]: {"AAA": Bar(49, 50, 47, 48, 2e6), "BBB": Bar(50, 51, 49, 50, 1e6), "CCC": Bar(10, 12, 8, 11, 3_000)},
}

SENT: dict[date, list[Order]] = {
    DAYS[0]: [
        order("bracket", "AAA", 100, take_profit=107.0, stop_loss=98.0),
        order(
            "bracket-inside", "BBB", 100, OrderType.LIMIT, limit_price=49.5, tif=GTC, take_profit=53.0, stop_loss=45.0
        ),
        order("thin", "CCC", 500, tif=GTC),
        order("on-close", "BBB", 50, OrderType.MARKET_ON_CLOSE),
        order("gtd", "AAA", 10, OrderType.LIMIT, limit_price=49.5, tif=TimeInForce.GTD, expire_at=opens(DAYS[3])),
    ],
    DAYS[1]: [
        order("on-open", "BBB", -20, OrderType.LIMIT_ON_OPEN, limit_price=49.0),
        order("oco-low", "CCC", -50, OrderType.LIMIT, limit_price=10.3, tif=GTC, oco_group="either"),
        order("oco-stop", "CCC", -50, OrderType.STOP, stop_price=9.6, tif=GTC, oco_group="either"),
        order("trail", "BBB", -30, OrderType.TRAILING_STOP_PERCENT, trail=5.0, tif=GTC, reduce_only=True),
        order("at-once", "CCC", 1_000, tif=TimeInForce.IOC),
    ],
    DAYS[2]: [
        order("wakes", "BBB", 40, OrderType.STOP, stop_price=54.0, tif=GTC, parent="bracket-inside"),
        order("whole", "CCC", 10_000, tif=TimeInForce.FOK),
        order("weight", "CCC", 0.02, sizing=Sizing.TARGET_WEIGHT, tif=GTC),
        order("money", "AAA", 5_000, sizing=Sizing.NOTIONAL, tif=GTC),
    ],
    DAYS[3]: [order("too-much", "AAA", -5_000, reduce_only=True), order("short", "BBB", -300, stop_loss=52.0)],
    DAYS[4]: [order("flat", "CCC", 0.0, sizing=Sizing.TARGET_POSITION, reduce_only=True)],
}


def orders_frame() -> pl.DataFrame:
    """SENT as a backtest takes them, submitted when the venue receives them."""
    amounts = {Sizing.UNITS: "quantity", Sizing.NOTIONAL: "notional"}
    rows = []
    for session, sent in SENT.items():
        for one in sent:
            target = one.sizing not in amounts
            sign = -1.0 if target and one.side is Side.SELL else 1.0
            amount = {amounts.get(one.sizing, str(one.sizing)): sign * one.quantity}
            words = {"order_id": one.id, "symbol": one.symbol, "side": None if target else str(one.side)}
            words |= {"type": str(one.type), "tif": str(one.tif)}
            words |= {"oco_group": one.oco_group or None, "parent": one.parent or None}
            names = ("limit_price", "stop_price", "trail", "take_profit", "stop_loss", "expire_at", "reduce_only")
            rows.append({"ts": received(session), **words, **{name: getattr(one, name) for name in names}, **amount})
    return pl.DataFrame(rows, infer_schema_length=None)


def test_bar_by_bar_the_venue_fills_what_a_backtest_fills(tmp_path: Path) -> None:
    # A day of bars before the first order: a backtest refuses orders from before there are any.
    before = DAYS[0] - timedelta(days=3)
    week = {before: WEEK[DAYS[0]], **WEEK}
    market = Market(tmp_path, week)
    broker = market.open()
    for session in week:
        market.trade(broker, session, SENT.get(session, []))
    bars = pl.concat(frame(session, day) for session, day in week.items())
    result = run(bars, orders_frame(), TERMS)
    columns = ("order_id", "ts", "symbol", "side", "quantity", "price", "commission", "reason", "ambiguous")
    at_venue = [tuple(getattr(fill, name) for name in columns) for fill in fills(broker)]
    assert at_venue == result.fills.select(columns).rows()
    done = {row[0] for row in at_venue}
    assert done >= {"bracket", "bracket:take_profit", "on-close", "trail", "thin", "weight", "money", "short"}
    assert len([row for row in at_venue if row[0] == "thin"]) > 1, "thin volume fills it in parts"
    assert broker.account().cash == result.equity["cash"][-1]
    assert broker.account().equity == pytest.approx(result.equity["equity"][-1], rel=1e-12)
    ended = {
        event.order.id: (str(event.state), event.filled)
        for _, event in broker.events()
        if not isinstance(event, Fill) and event.state not in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)
    }
    backtest = {row[0]: row[1:] for row in result.orders.select("order_id", "state", "filled").rows()}
    over = result.orders.filter(pl.col("reason") == "the history is over")["order_id"].to_list()
    assert {name: state for name, state in ended.items() if name not in over} == {
        name: state for name, state in backtest.items() if name not in over
    }
