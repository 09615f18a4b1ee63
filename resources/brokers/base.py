"""The vocabulary of trading: orders, fills, positions, the account, and what every broker can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from resources.errors import QuantError


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"
    """Trails by an amount, in price units."""
    TRAILING_STOP_PERCENT = "trailing_stop_percent"
    """Trails by a share of the price: 5.0 is 5 %."""
    MARKET_ON_OPEN = "market_on_open"
    LIMIT_ON_OPEN = "limit_on_open"
    MARKET_ON_CLOSE = "market_on_close"
    LIMIT_ON_CLOSE = "limit_on_close"


class Sizing(StrEnum):
    """What the quantity of an order counts. The side of a target is that of the position wanted: sell is short."""

    UNITS = "units"
    NOTIONAL = "notional"
    TARGET_WEIGHT = "target_weight"
    TARGET_POSITION = "target_position"


class TimeInForce(StrEnum):
    DAY = "day"
    GTC = "gtc"
    GTD = "gtd"
    IOC = "ioc"
    FOK = "fok"


class OrderState(StrEnum):
    INTENDED = "intended"
    HELD = "held"
    """Known to the venue, and asleep until the order that it belongs to fills."""
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


TERMINAL = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED})

TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    # An intent whose acknowledgement was lost may be found partly or wholly filled.
    OrderState.INTENDED: frozenset(OrderState) - {OrderState.INTENDED},
    OrderState.HELD: frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, *TERMINAL}),
    OrderState.ACCEPTED: frozenset({OrderState.PARTIALLY_FILLED, *TERMINAL}),
    OrderState.PARTIALLY_FILLED: frozenset({OrderState.PARTIALLY_FILLED, *TERMINAL}),
    **{state: frozenset() for state in TERMINAL},
}


class OrderStateError(QuantError):
    """An order was asked to go from one state to another that it cannot reach."""


def check_transition(order_id: str, before: OrderState, after: OrderState) -> None:
    """Raise OrderStateError, naming the order and both states, where `after` cannot follow `before`."""
    if after not in TRANSITIONS[before]:
        raise OrderStateError(f"order {order_id}: cannot go from {before} to {after}")


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted. `id` is the client order id: the same id sent twice is one order at every venue.

    take_profit and stop_loss are prices: they make two children that sleep until the order fills, leave what it filled,
    and cancel each other. `oco_group` names orders of which one fill cancels the others; `parent` is the id of the
    order whose fill wakes this one. `expire_at` belongs to GTD, `trail` to the trailing stops.
    """

    id: str
    symbol: str
    side: Side
    quantity: float
    type: OrderType
    tif: TimeInForce
    submitted_at: datetime
    limit_price: float | None = None
    stop_price: float | None = None
    tag: str = ""
    sizing: Sizing = Sizing.UNITS
    trail: float | None = None
    expire_at: datetime | None = None
    reduce_only: bool = False
    take_profit: float | None = None
    stop_loss: float | None = None
    oco_group: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """Where an order stands at the venue."""

    order: Order
    state: OrderState
    filled: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution. `id` is the venue's execution id, applied exactly once. Costs are in account currency."""

    id: str
    order_id: str
    symbol: str
    side: Side
    quantity: float
    price: float
    commission: float
    ts: datetime
    reason: str
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Units held (negative when short), their average entry price and the last price seen."""

    symbol: str
    quantity: float
    average_price: float
    last_price: float

    @property
    def market_value(self) -> float:
        return self.quantity * self.last_price


@dataclass(frozen=True, slots=True)
class Account:
    """Cash and equity (cash + positions at market) in account currency."""

    ts: datetime
    cash: float
    equity: float


class Broker(Protocol):
    """A venue that trades. Every call is safe to repeat: order ids and execution ids make it so."""

    name: str

    def submit(self, order: Order) -> OrderStatus:
        """Place the order, or return the status of the one that already has its id."""
        ...

    def cancel(self, order_id: str) -> OrderStatus: ...

    def replace(
        self,
        order_id: str,
        quantity: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail: float | None = None,
    ) -> OrderStatus: ...

    def orders(self) -> Sequence[OrderStatus]:
        """Every order of the session, open or not: what reconciliation compares the journal against."""
        ...

    def positions(self) -> Sequence[Position]: ...

    def account(self) -> Account: ...

    def events(self, after: int = 0) -> Sequence[tuple[int, Fill | OrderStatus]]:
        """What happened after the given sequence number, oldest first, each with its own number."""
        ...
