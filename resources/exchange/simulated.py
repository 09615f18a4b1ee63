"""The simulated exchange for a live feed: orders and bars in, executions out, one session at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from resources.brokers.base import TERMINAL, Fill, Order, OrderState, OrderStatus, Position, Side
from resources.config import BacktestSettings
from resources.errors import BarSchemaError
from resources.exchange.layout import (
    BY_REQUEST,
    CANCELLED,
    CANNOT_CARRY,
    CASH,
    EQUITY,
    FILL_REASONS,
    KINDS,
    ORDER,
    ORDER_REASONS,
    STATES,
    TIFS,
    Records,
)
from resources.exchange.orders import OrderError, fault_of
from resources.exchange.terms import Listing, terms
from resources.exchange.venue import Venue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STANDARD = Listing()


@dataclass(frozen=True, slots=True)
class Bar:
    """A raw bar, with the split (new shares per old) and dividend (cash per share) that take effect at its open.

    A halted, stale or missing bar has volume 0 and fills nothing (rule 11).
    """

    open: float
    high: float
    low: float
    close: float
    volume: float
    split: float = 1.0
    dividend: float = 0.0


@dataclass(frozen=True, slots=True)
class Execution(Fill):
    """A fill with each of its costs apart, as amounts: |price - reference_price| x quantity = spread + slippage."""

    reference_price: float = 0.0
    spread_cost: float = 0.0
    slippage_cost: float = 0.0


class Exchange:
    """Takes orders at any time and matches them when a session's bars arrive, by the rules that backtests use.

    One call of `on_bar` is one session: DAY orders that were eligible end with it. The state follows from the
    sequence of calls alone, so replaying the same calls restores it.

    Example:
        exchange = Exchange(BacktestSettings(cash=10_000))
        exchange.submit(order)
        executions = exchange.on_bar(opens_at, {"AAPL": Bar(100, 101, 99, 100.5, 1e6)})
    """

    def __init__(self, settings: BacktestSettings, listings: Mapping[str, Listing] | None = None) -> None:
        """`listings` gives lot and tick by symbol; symbols without one trade in whole units at any price."""
        self._venue = Venue(terms(settings), settings.cash, [])
        self._latency = timedelta(seconds=settings.latency_seconds)
        self._max_gross = settings.max_gross
        self._listings = dict(listings or {})
        self._symbols: list[str] = []
        self._numbers: dict[str, int] = {}
        self._orders: dict[str, Order] = {}
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._refused: dict[str, str] = {}
        self._executions: dict[str, int] = {}
        self._average: dict[str, float] = {}
        self._now: datetime | None = None

    # ---- orders

    def submit(self, order: Order) -> OrderStatus:
        """Accept the order, or reject it with a reason; an id that is already known returns its status."""
        if order.id in self._orders:
            return self.status(order.id)
        self._orders[order.id] = order
        fault = fault_of(order, self._listings.get(order.symbol, _STANDARD))
        if fault:
            self._refused[order.id] = fault
        else:
            self._accept(order, 0.0)
        return self.status(order.id)

    def cancel(self, order_id: str) -> OrderStatus:
        """Cancel what is still open of the order. Raises OrderError for an unknown id."""
        status = self.status(order_id)
        if status.state not in TERMINAL:
            self._venue.end(np.array([self._rows[order_id]]), CANCELLED, BY_REQUEST)
        return self.status(order_id)

    def replace(self, order_id: str, quantity: float | None = None, limit_price: float | None = None) -> OrderStatus:
        """Change total quantity or limit of an open order, which goes to the end of the queue.

        Raises OrderError for an unknown id, an order that has ended, or values that no order could have.
        """
        status = self.status(order_id)
        if status.state in TERMINAL:
            raise OrderError(f"order {order_id}: {status.state} already, so it cannot be replaced; submit a new one")
        order = status.order
        changed = replace(
            order,
            quantity=order.quantity if quantity is None else quantity,
            limit_price=order.limit_price if limit_price is None else limit_price,
        )
        fault = fault_of(changed, self._listings.get(order.symbol, _STANDARD))
        if fault is None and changed.quantity <= status.filled:
            fault = f"quantity is {changed.quantity!r} and {status.filled!r} are filled already; cancel it instead"
        if fault:
            raise OrderError(f"order {order_id} ({order.symbol}): {fault}")
        self._orders[order_id] = changed
        before = self._rows[order_id]
        self._venue.end(np.array([before]), CANCELLED, BY_REQUEST)
        self._accept(changed, status.filled)
        book = self._venue.desk.book
        row = self._rows[order_id]
        for field in ("accrued", "commission", "triggered"):
            book[field][row] = book[field][before]
        if status.filled:
            book["state"][row] = STATES.index(OrderState.PARTIALLY_FILLED)
        return self.status(order_id)

    def status(self, order_id: str) -> OrderStatus:
        """Where an order stands; quantities and prices as restated by splits since. Raises OrderError if unknown."""
        if order_id not in self._orders:
            raise OrderError(f"order {order_id}: unknown here; known are the {len(self._orders)} orders submitted")
        order = self._orders[order_id]
        if order_id in self._refused:
            return OrderStatus(order, OrderState.REJECTED, 0.0, self._refused[order_id])
        record = self._venue.desk.book[self._rows[order_id]]
        quantity, limit, stop = (float(record[name]) for name in ("quantity", "limit", "stop"))
        seen = replace(
            order,
            quantity=quantity,
            limit_price=None if np.isnan(limit) else limit,
            stop_price=None if np.isnan(stop) else stop,
        )
        reason = order_reason(record, self._max_gross)
        return OrderStatus(seen, STATES[record["state"]], float(record["filled"]), reason)

    def orders(self) -> list[OrderStatus]:
        """Every order ever submitted, in that order."""
        return [self.status(order_id) for order_id in self._orders]

    # ---- market

    def on_bar(self, ts: datetime, bars: Mapping[str, Bar]) -> list[Execution]:
        """Trade the session whose bars open at `ts`; a symbol without a bar keeps its price and fills nothing.

        Fills of fractions left by a split have reason cash_in_lieu and belong to no order.
        Raises OrderError if `ts` is naive or not later than the session before, BarSchemaError on an impossible bar.
        """
        if ts.tzinfo is None or (self._now is not None and ts <= self._now):
            raise OrderError(f"bars at {ts}: sessions come in order, with a time zone; the last was {self._now}")
        for symbol, bar in bars.items():
            _check(symbol, ts, bar)
        numbers = {symbol: self._number(symbol) for symbol in bars}
        table = np.full((len(self._symbols), 7), np.nan)
        for symbol, bar in bars.items():
            table[numbers[symbol]] = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.split, bar.dividend)
            if symbol in self._average:
                self._average[symbol] /= bar.split
        self._now = ts
        held = dict(zip(self._symbols, self._venue.desk.position.tolist(), strict=True))
        for symbol, bar in bars.items():
            held[symbol] *= bar.split
        done = self._venue.session(_micros(ts), table)
        return [self._execution(record, ts, held) for record in done]

    def delist(self, symbol: str, ts: datetime) -> list[Execution]:
        """Close the position at the last price and cancel what rests (rule 17)."""
        number = self._number(symbol)
        held = {symbol: float(self._venue.desk.position[number])}
        return [self._execution(record, ts, held) for record in self._venue.delist(number)]

    # ---- account

    @property
    def cash(self) -> float:
        return float(self._venue.desk.account[CASH])

    @property
    def equity(self) -> float:
        """Cash and positions at the last close."""
        return float(self._venue.desk.account[EQUITY])

    def positions(self) -> list[Position]:
        """What is held, by symbol."""
        desk = self._venue.desk
        return [
            Position(symbol, float(desk.position[number]), self._average[symbol], float(desk.mark[number]))
            for symbol, number in sorted(self._numbers.items())
            if desk.position[number] != 0.0
        ]

    # ---- inside

    def _accept(self, order: Order, filled: float) -> None:
        row = np.zeros(1, ORDER)[0]
        row["submitted"], row["eligible"] = _micros(order.submitted_at), _micros(order.submitted_at + self._latency)
        row["symbol"], row["side"] = self._number(order.symbol), 1 if order.side is Side.BUY else -1
        row["kind"], row["tif"] = KINDS.index(order.type), TIFS.index(order.tif)
        row["quantity"], row["filled"] = order.quantity, filled
        row["limit"] = np.nan if order.limit_price is None else order.limit_price
        row["stop"] = np.nan if order.stop_price is None else order.stop_price
        self._rows[order.id] = self._venue.add(row)
        self._ids.append(order.id)

    def _number(self, symbol: str) -> int:
        if symbol not in self._numbers:
            self._numbers[symbol] = self._venue.add_symbol(self._listings.get(symbol, _STANDARD))
            self._symbols.append(symbol)
        return self._numbers[symbol]

    def _execution(self, record: Records, ts: datetime, held: dict[str, float]) -> Execution:
        symbol, reason = self._symbols[record["symbol"]], FILL_REASONS[record["reason"]]
        order_id = self._ids[record["order"]] if record["order"] >= 0 else f"{reason}:{symbol}:{ts.date()}"
        number = self._executions[order_id] = self._executions.get(order_id, 0) + 1
        quantity, price, side = float(record["quantity"]), float(record["price"]), int(record["side"])
        before = held[symbol]
        after = held[symbol] = before + side * quantity
        if before * side >= 0:  # opened or added to
            paid = abs(before) * self._average.get(symbol, 0.0) + quantity * price
            self._average[symbol] = paid / abs(after)
        elif before * after < 0:  # turned round
            self._average[symbol] = price
        return Execution(
            id=f"{order_id}#{number}",
            order_id=order_id,
            symbol=symbol,
            side=Side.BUY if side > 0 else Side.SELL,
            quantity=quantity,
            price=price,
            commission=float(record["commission"]),
            ts=ts,
            reason=reason,
            ambiguous=bool(record["ambiguous"]),
            reference_price=float(record["reference"]),
            spread_cost=float(record["spread"]),
            slippage_cost=float(record["slippage"]),
        )


def order_reason(record: Records, max_gross: float) -> str:
    """Why an order ended, in words; where the account could not carry it, with the exposure that it would have had."""
    reason = ORDER_REASONS[record["reason"]]
    if record["reason"] == CANNOT_CARRY:
        reason += f": gross exposure would be {record['detail']:.4g} x equity, above max_gross {max_gross:g}"
    return reason


def _check(symbol: str, ts: datetime, bar: Bar) -> None:
    prices = (bar.open, bar.high, bar.low, bar.close)
    possible = (
        all(0.0 < price < np.inf for price in prices)
        and bar.low <= min(prices)
        and bar.high >= max(prices)
        and 0.0 <= bar.volume < np.inf
        and 0.0 < bar.split < np.inf
        and np.isfinite(bar.dividend)
    )
    if not possible:
        raise BarSchemaError(
            f"{symbol} {ts}: {bar} is not a bar; prices and split must be positive, high and low bound the others, "
            "volume be zero or more. Fix the feed, or leave the symbol out."
        )


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)
