"""The simulated exchange for a live feed: orders and bars in, executions out, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from resources.brokers.base import (
    TERMINAL,
    Fill,
    Order,
    OrderState,
    OrderStatus,
    Position,
    Side,
    Sizing,
)
from resources.brokers.brackets import exits_of
from resources.config import BacktestSettings
from resources.exchange.bars import Bar, check_bar, market_at
from resources.exchange.layout import NOWHERE, Market, Records, no_log
from resources.exchange.lifetimes import session_ends
from resources.exchange.orders import (
    CHILDREN,
    Columns,
    OrderError,
    columns_of,
    entries,
    fault_of,
    micros,
)
from resources.exchange.terms import Listing
from resources.exchange.venue import Venue
from resources.exchange.words import (
    CANCEL,
    CANNOT_CARRY,
    CASH,
    DELISTING,
    EQUITY,
    EXPIRY,
    FILL_REASONS,
    FILLS,
    MARGIN,
    ORDER_REASONS,
    REPLACE,
    REPLACED,
    STATES,
)

_STANDARD = Listing()


@dataclass(frozen=True, slots=True)
class Execution(Fill):
    """A fill with each of its costs apart, as amounts in account currency.

    |price - reference_price| x quantity x multiplier x conversion rate = spread + slippage. `realised` is what the
    fill earned on the part of a position that it closed.
    """

    reference_price: float = 0.0
    spread_cost: float = 0.0
    slippage_cost: float = 0.0
    realised: float = 0.0


class Exchange:
    """Takes orders at any time and matches them when bars arrive, by the rules that backtests use.

    The state follows from the sequence of calls alone, so replaying the same calls restores it.

    Example:
        exchange = Exchange(BacktestSettings(cash=10_000))
        exchange.submit(order)
        executions = exchange.on_bar(opens_at, {"AAPL": Bar(100, 101, 99, 100.5, 1e6)})
    """

    def __init__(self, settings: BacktestSettings, listings: Mapping[str, Listing] | None = None) -> None:
        """`listings` gives lot, tick, multiplier, … by symbol; symbols without one are shares at any price."""
        self._venue = Venue(settings)
        self._settings = settings
        self._listings = dict(listings or {})
        self._symbols: list[str] = []
        self._orders: dict[str, Order] = {}
        self._rows: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._refused: dict[str, str] = {}
        self._executions: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._now: datetime | None = None

    # ---- orders

    def submit(self, order: Order) -> OrderStatus:
        """Accept the order, or reject it with a reason; an id that is already known returns its status.

        take_profit and stop_loss make orders of their own, `children(order.id)`.
        """
        if order.id in self._orders:
            return self.status(order.id)
        self._orders[order.id] = order
        fault = fault_of(order, self._listing(order.symbol))
        if fault is None and order.parent and order.parent not in self._rows:
            fault = f"parent is {order.parent}, which is no order here; submit the parent first"
        if fault:
            self._refused[order.id] = fault
        else:
            self._enter(order)
        return self.status(order.id)

    def cancel(self, order_id: str, at: datetime | None = None) -> OrderStatus:
        """Cancel what is still open of the order: at once, or when a request sent `at` an instant arrives (latency).

        Raises OrderError for an unknown id.
        """
        status = self.status(order_id)
        if status.state not in TERMINAL:
            self._request(order_id, CANCEL, at, {})
        return self.status(order_id)

    def replace(
        self,
        order_id: str,
        quantity: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail: float | None = None,
        at: datetime | None = None,
    ) -> OrderStatus:
        """Change total quantity or prices of an open order, which goes to the end of the queue.

        Raises OrderError for an unknown id, an order that has ended, or values that no order could have.
        """
        status = self.status(order_id)
        if status.state in TERMINAL:
            raise OrderError(f"order {order_id}: {status.state} already, so it cannot be replaced; submit a new one")
        given = {"quantity": quantity, "limit_price": limit_price, "stop_price": stop_price, "trail": trail}
        changes = {name: value for name, value in given.items() if value is not None}
        # A trailing stop's own price is its level of the moment, which nobody gave.
        asked = status.order if status.order.trail is None else replace(status.order, stop_price=None)
        changed = replace(asked, **changes)  # type: ignore[arg-type]  # only numbers are replaced
        fault = fault_of(replace(changed, parent=""), self._listing(changed.symbol))
        if fault is None and changed.quantity <= status.filled:
            fault = f"quantity is {changed.quantity!r} and {status.filled!r} are filled already; cancel it instead"
        if fault:
            raise OrderError(f"order {order_id} ({changed.symbol}): {fault}")
        self._orders[order_id] = replace(self._orders[order_id], **changes)  # type: ignore[arg-type]
        self._request(order_id, REPLACE, at, changes)
        return self.status(order_id)

    def status(self, order_id: str) -> OrderStatus:
        """Where an order stands; quantities and prices as restated by splits since. Raises OrderError if unknown."""
        if order_id not in self._orders:
            raise OrderError(f"order {order_id}: unknown here; known are the {len(self._orders)} orders submitted")
        order = self._orders[order_id]
        if order_id in self._refused:
            return OrderStatus(order, OrderState.REJECTED, 0.0, self._refused[order_id])
        record = self._venue.desk.book[self._current(order_id)]
        prices = {"limit_price": "limit", "stop_price": "stop", "trail": "trail"}
        seen = replace(
            order,
            side=Side.BUY if record["side"] > 0 else Side.SELL if record["side"] < 0 else order.side,
            quantity=float(record["quantity"]) if order.sizing is Sizing.UNITS or record["side"] else order.quantity,
            **{name: _number(record[column]) for name, column in prices.items()},  # type: ignore[arg-type]
        )
        reason = order_reason(record, self._settings.max_gross)
        return OrderStatus(seen, STATES[record["state"]], float(record["filled"]), reason)

    def children(self, order_id: str) -> list[Order]:
        """The bracket of an order: what it left to take its profit and to stop its loss."""
        return [order for order in self._orders.values() if order.parent == order_id]

    def orders(self) -> list[OrderStatus]:
        """Every order ever submitted, in that order, each followed by its bracket."""
        return [self.status(order_id) for order_id in self._orders]

    # ---- market

    def on_bar(self, ts: datetime, bars: Mapping[str, Bar]) -> list[Execution]:
        """Trade the step whose bars open at `ts`; a symbol without a bar keeps its price and fills nothing.

        Fills that no order is behind have reasons such as cash_in_lieu, and ids of their own.
        Raises OrderError if `ts` is naive or not later than the step before, BarSchemaError on an impossible bar.
        """
        if ts.tzinfo is None or (self._now is not None and ts <= self._now):
            raise OrderError(f"bars at {ts}: sessions come in order, with a time zone; the last was {self._now}")
        for symbol, bar in bars.items():
            check_bar(symbol, ts, bar)
        numbers = [self._symbol(symbol) for symbol in bars]
        desk = self._venue.desk
        for symbol, number in zip(bars, numbers, strict=True):
            if np.isnan(desk.symbols["factor"][number]):
                currency = self._venue.currencies[desk.symbols["currency"][number]]
                raise OrderError(f"{symbol} {ts}: no conversion rate of {currency}; call set_rate first")
        self._now = ts
        return self._traded(market_at(ts, numbers, list(bars.values())), ts)

    def set_rate(self, currency: str, rate: float) -> None:
        """From now on a unit of `currency` is worth `rate` in account currency. Raises OrderError if not positive."""
        if not 0.0 < rate < np.inf:
            raise OrderError(f"rate of {currency} is {rate}; it must be positive: account currency per unit")
        self._venue.set_rate(currency, rate)

    def delist(self, symbol: str, ts: datetime) -> list[Execution]:
        """Close the position at the last price and cancel what rests (rule 17)."""
        return self._left(symbol, ts, DELISTING)

    def expire(self, symbol: str, ts: datetime) -> list[Execution]:
        """Settle a future at its last price; exercise or assign an option in the money, and let others lapse."""
        return self._left(symbol, ts, EXPIRY)

    # ---- account

    @property
    def cash(self) -> float:
        return float(self._venue.desk.account[CASH])

    @property
    def equity(self) -> float:
        """Cash and positions at the last close."""
        return float(self._venue.desk.account[EQUITY])

    @property
    def margin(self) -> float:
        """What the positions need, at the last close, in account currency."""
        return float(self._venue.desk.account[MARGIN])

    @property
    def buying_power(self) -> float:
        """How much margin new positions may need: max_gross x equity less what is used."""
        return max(self._settings.max_gross * self.equity - self.margin, 0.0)

    def positions(self) -> list[Position]:
        """What is held, by symbol."""
        rows = self._venue.desk.symbols
        return [
            Position(symbol, *(float(rows[number][name]) for name in ("position", "average", "mark")))
            for symbol, number in sorted(self._venue.numbers.items())
            if rows[number]["position"] != 0.0
        ]

    # ---- inside

    def _listing(self, symbol: str) -> Listing:
        return self._listings.get(symbol, _STANDARD)

    def _symbol(self, symbol: str) -> int:
        if symbol not in self._venue.numbers:
            listing = self._listing(symbol)
            if listing.underlying:
                self._symbol(listing.underlying)
            self._venue.add_symbols([symbol], [listing])
            self._symbols.append(symbol)
        return self._venue.numbers[symbol]

    def _enter(self, order: Order) -> None:
        """Put an order and its bracket into the book."""
        columns = columns_of(order, self._listing(order.symbol))
        columns.expires[:] = session_ends(columns, np.array([self._listing(order.symbol).calendar]))
        symbol = np.array([self._symbol(order.symbol)])
        eligible = columns.submitted + self._latency(order.id)
        made = entries(columns, symbol, eligible, int(self._venue.next_row))
        if order.parent:
            made.records["parent"][0] = self._current(order.parent)
        if order.oco_group:
            made.records["group"][0] = self._groups.setdefault(order.oco_group, NOWHERE - 1 - self._venue.next_row)
        row = self._venue.add(made.records)
        exits = {exit.id: exit for exit in exits_of(order)}
        for number, child in enumerate(made.child.tolist()):
            order_id = order.id + CHILDREN[child]
            if child:
                self._orders[order_id] = exits[order_id]
            self._rows[order_id], self._ids[row + number] = row + number, order_id
        for number in range(made.child.size):
            self._venue.receive(row + number)

    def _request(self, order_id: str, action: int, at: datetime | None, changes: Mapping[str, float]) -> None:
        """Put a cancel or replace into the book, and carry it out unless it is on its way."""
        before = self._current(order_id)
        made = Columns.blank(1)
        made["action"][0] = action
        for name, field in (
            ("quantity", "wanted"),
            ("limit_price", "limit"),
            ("stop_price", "stop"),
            ("trail", "trail"),
        ):
            made[field][0] = changes.get(name, np.nan)
        made["submitted"][0] = self._venue.desk.book["submitted"][before] if at is None else micros(at)
        columns = Columns(**made)  # type: ignore[arg-type]
        symbol = self._venue.desk.book["symbol"][[before]]
        request = entries(columns, symbol, columns.submitted + self._latency(order_id)).records
        request["names"] = before
        row = self._venue.add(request)
        self._ids[row] = order_id
        self._venue.receive(row)
        if at is None:
            self._venue.obey(row)

    def _latency(self, order_id: str) -> int:
        return round(float(self._settings.latency.seconds([order_id])[0]) * 1e6)

    def _current(self, order_id: str) -> int:
        """The row that an order stands in now: its own, or that of what replaced it."""
        row, book = self._rows[order_id], self._venue.desk.book
        while book["reason"][row] == REPLACED and book["names"][row] != NOWHERE:
            row = int(book["names"][row])
        return row

    def _traded(self, market: Market, ts: datetime) -> list[Execution]:
        before = int(self._venue.desk.tally[FILLS])
        self._venue.desk.symbols["row"] = NOWHERE  # of a market before this one, whose bars are all over
        self._venue.trade(market, no_log(len(self._symbols)))
        return self._executed(before, ts)

    def _left(self, symbol: str, ts: datetime, reason: int) -> list[Execution]:
        before = int(self._venue.desk.tally[FILLS])
        number = self._symbol(symbol)
        self._venue.make_room()
        self._venue.leave(number, reason)
        return self._executed(before, ts)

    def _executed(self, before: int, ts: datetime) -> list[Execution]:
        """The fills since `before`; their rows are free again afterwards."""
        tally = self._venue.desk.tally
        done = [self._execution(record, ts) for record in self._venue.fills()[before:]]
        tally[FILLS] = 0
        return done

    def _execution(self, record: Records, ts: datetime) -> Execution:
        symbol, reason = self._symbols[record["symbol"]], FILL_REASONS[record["reason"]]
        order_id = self._ids[int(record["order"])] if record["order"] != NOWHERE else f"{reason}:{symbol}:{ts.date()}"
        number = self._executions[order_id] = self._executions.get(order_id, 0) + 1
        return Execution(
            id=f"{order_id}#{number}",
            order_id=order_id,
            symbol=symbol,
            side=Side.BUY if record["side"] > 0 else Side.SELL,
            quantity=float(record["quantity"]),
            price=float(record["price"]),
            commission=float(record["commission"]),
            ts=ts,
            reason=reason,
            ambiguous=bool(record["ambiguous"]),
            reference_price=float(record["reference"]),
            spread_cost=float(record["spread"]),
            slippage_cost=float(record["slippage"]),
            realised=float(record["realised"]),
        )


def order_reason(record: Records, max_gross: float) -> str:
    """Why an order ended, in words; where the account could not carry it, with the margin that it would have needed."""
    reason = ORDER_REASONS[record["reason"]]
    if record["reason"] == CANNOT_CARRY:
        reason += f": margin would be {record['detail']:.4g} x equity, above max_gross {max_gross:g}"
    return reason


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
