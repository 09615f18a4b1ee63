"""Pre-trade limits: which of the orders about to be sent may be sent, and why the others may not.

Orders are judged in sequence against the account as it will stand once the orders accepted before them
have filled at the given prices. Orders that only reduce exposure are judged first, because they make the
room that the others use (a rotation sells before it buys); they always pass, whatever the limits say.

Every other order must leave the account within every limit, in fractions of equity unless said:

| limit              | value compared with its bound                                             |
|--------------------|---------------------------------------------------------------------------|
| quantity, price    | must be positive and finite, for the order and for every symbol held      |
| equity             | must be positive and finite                                               |
| drawdown_stop      | 1 - equity / highest equity so far; bites when the bound is reached       |
| orders_per_session | orders sent in this session, this one included (a count)                  |
| order_notional     | quantity * price of this order                                            |
| single_name        | abs(position * price) of its symbol, afterwards                           |
| gross              | sum of abs(position * price), afterwards                                  |
| net                | abs(sum of position * price), afterwards                                  |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from resources.brokers.base import Order, Side
from resources.config import LimitSettings

ROUNDING = 1e-9
"""Relative slack: a position sized to exactly its bound is within it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One order's verdict. `reason` is empty for an accepted order, else it names limit, value and bound."""

    order: Order
    accepted: bool
    limit: str = ""
    reason: str = ""


def signed_quantity(order: Order) -> float:
    """Units that the order adds to its symbol's position: negative for a sell."""
    return order.quantity if order.side is Side.BUY else -order.quantity


def is_reducing(order: Order, held: float) -> bool:
    """Whether the order, filled whole, brings a position of `held` units nearer to zero without crossing it."""
    after = held + signed_quantity(order)
    return order.quantity > 0 and abs(after) < abs(held) and after * held >= 0


def check(
    orders: Sequence[Order],
    positions: Mapping[str, float],
    prices: Mapping[str, float],
    *,
    equity: float,
    peak_equity: float,
    limits: LimitSettings,
    sent: int = 0,
) -> list[Decision]:
    """A decision for each order, in the order given.

    `positions` are units held by symbol, `prices` the last price by symbol in account currency,
    `peak_equity` the highest equity so far and `sent` the orders already sent in this session.
    """
    book = _Book(dict(positions), prices, equity, peak_equity, limits, sent)
    verdicts: dict[int, Decision] = {}
    for index, order in enumerate(orders):
        if is_reducing(order, book.held.get(order.symbol, 0.0)):
            verdicts[index] = book.accept(order)
    for index, order in enumerate(orders):
        if index not in verdicts:
            verdicts[index] = book.judge(order)
    return [verdicts[index] for index in range(len(orders))]


@dataclass(slots=True)
class _Book:
    """The account as it will stand once the orders accepted so far have filled."""

    held: dict[str, float]
    prices: Mapping[str, float]
    equity: float
    peak_equity: float
    limits: LimitSettings
    sent: int
    gross: float = field(init=False)
    net: float = field(init=False)

    def __post_init__(self) -> None:
        values = [self._value(symbol, units) for symbol, units in self.held.items()]
        self.gross = math.fsum(map(abs, values))
        self.net = math.fsum(values)

    def _value(self, symbol: str, units: float) -> float:
        return units * self.prices.get(symbol, math.nan) if units else 0.0

    def _after(self, order: Order) -> tuple[float, float, float]:
        """(value of the symbol's position, gross, net) once the order has filled."""
        held = self.held.get(order.symbol, 0.0)
        before = self._value(order.symbol, held)
        after = self._value(order.symbol, held + signed_quantity(order))
        return after, self.gross - abs(before) + abs(after), self.net - before + after

    def accept(self, order: Order) -> Decision:
        _, self.gross, self.net = self._after(order)
        self.held[order.symbol] = self.held.get(order.symbol, 0.0) + signed_quantity(order)
        self.sent += 1
        return Decision(order, accepted=True)

    def judge(self, order: Order) -> Decision:
        # Orders accepted meanwhile may have turned this one into a reducing one.
        if is_reducing(order, self.held.get(order.symbol, 0.0)):
            return self.accept(order)
        fault = self._unusable(order) or self._breach(order)
        if fault is None:
            return self.accept(order)
        limit, why = fault
        return Decision(order, False, limit, f"limit {limit}: {why}")

    def _unusable(self, order: Order) -> tuple[str, str] | None:
        """What keeps the order from being judged at all."""
        price = self.prices.get(order.symbol, math.nan)
        if not _positive(order.quantity):
            return "quantity", f"{order.symbol} quantity is {order.quantity}; it must be a positive number"
        if not _positive(price):
            return "price", f"{order.symbol} has no usable price ({price})"
        if not _positive(self.equity):
            return "equity", f"equity is {self.equity}; only orders that reduce exposure pass"
        if not math.isfinite(self.gross):
            unpriced = sorted(
                symbol for symbol, units in self.held.items() if not math.isfinite(self._value(symbol, units))
            )
            return "price", f"{', '.join(unpriced)} held without a usable price, so exposure is unknown"
        return None

    def _breach(self, order: Order) -> tuple[str, str] | None:
        """The first limit that the account would breach with this order filled."""
        limits, equity = self.limits, self.equity
        drawdown = 1.0 - equity / max(self.peak_equity, equity)
        if drawdown >= limits.drawdown_stop * (1 - ROUNDING):
            return "drawdown_stop", f"drawdown {drawdown:.6g} has reached {limits.drawdown_stop:.6g}"
        name, gross, net = self._after(order)
        values = [
            ("orders_per_session", float(self.sent + 1), float(limits.orders_per_session)),
            ("order_notional", order.quantity * self.prices[order.symbol] / equity, limits.order_notional),
            ("single_name", abs(name) / equity, limits.single_name),
            ("gross", gross / equity, limits.gross),
            ("net", abs(net) / equity, limits.net),
        ]
        for limit, value, bound in values:
            if value > bound * (1 + ROUNDING):
                return limit, f"{value:.6g} exceeds {bound:.6g}"
        return None


def _positive(number: float) -> bool:
    return math.isfinite(number) and number > 0
