"""What a strategy's reaction may ask of its view and do with it. Compiled; importing this module loads numba."""

from __future__ import annotations

import math
from typing import Any

from resources.exchange.compiled import compiled
from resources.exchange.layout import FOREVER, NOWHERE
from resources.exchange.reaction import View
from resources.exchange.words import (
    CANCEL,
    CLOSED,
    EQUITY,
    GTC,
    LIMIT,
    MARKET,
    ORDERS,
    SERIAL,
    STOP,
    SUBMIT,
    TARGET_WEIGHT,
    UNITS,
)


@compiled
def fresh(view: View, symbol: int) -> bool:
    """Whether a bar of the symbol has just ended."""
    return bool(view.symbols[symbol].due == view.tally[SERIAL])


@compiled
def position(view: View, symbol: int) -> float:
    """Units held, negative when short."""
    units: float = view.symbols[symbol].position
    return units


@compiled
def average_price(view: View, symbol: int) -> float:
    """What was paid for a unit of the position; 0.0 when flat."""
    price: float = view.symbols[symbol].average
    return price


@compiled
def price(view: View, symbol: int) -> float:
    """The last price, NaN before the first."""
    last: float = view.symbols[symbol].mark
    return last


@compiled
def equity(view: View) -> float:
    """The account's equity, in its currency."""
    worth: float = view.account[EQUITY]
    return worth


@compiled
def feature(view: View, symbol: int, column: int) -> float:
    """A feature of the bar that has just ended; NaN where none has, or the feature is null."""
    if not fresh(view, symbol):
        return math.nan
    value: float = view.features[view.symbols[symbol].row, column]
    return value


@compiled
def submit(view: View, symbol: int, side: int, quantity: float) -> Any:
    """A market order, good till cancelled, as a row that may be changed: kind, limit, stop, trail, tif, …"""
    # The last row is never received: it takes what is too much, and orders in symbols that there are none of.
    fits = 0 <= symbol < view.symbols.size and view.tally[ORDERS] < view.book.size - 1
    order = view.book[view.tally[ORDERS] if fits else view.book.size - 1]
    if fits:
        view.tally[ORDERS] += 1
    order.submitted, order.expires = view.tally[CLOSED], FOREVER
    order.eligible = order.submitted + view.latency
    order.symbol, order.side, order.quantity, order.wanted = symbol, side, quantity, quantity
    order.kind, order.tif, order.sizing, order.action = MARKET, GTC, UNITS, SUBMIT
    order.state = order.reason = order.triggered = order.reduce = order.follows = order.family = order.rested = 0
    order.filled = order.notional = order.commission = order.accrued = order.detail = 0.0
    order.limit = order.stop = order.trail = order.anchor = order.fraction = math.nan
    order.parent = order.group = order.names = order.reached = NOWHERE
    return order


@compiled
def target(view: View, symbol: int, weight: float) -> Any:
    """A market order to a share of equity, negative to be short, as a row."""
    order = submit(view, symbol, 0, 0.0)
    order.sizing, order.wanted = TARGET_WEIGHT, weight
    return order


@compiled
def exits(view: View, take_profit: float, stop_loss: float) -> None:
    """A bracket of the order submitted last: prices, NaN for none. Either cancels the other."""
    entry = view.tally[ORDERS] - 1
    side, symbol = view.book[entry].side, view.book[entry].symbol
    for level, kind in ((take_profit, LIMIT), (stop_loss, STOP)):
        if not math.isnan(level):
            child = submit(view, symbol, -side, 0.0)
            child.kind, child.parent, child.group, child.reduce, child.follows = kind, entry, entry, 1, 1
            if kind == LIMIT:
                child.limit = level
            else:
                child.stop = level


@compiled
def cancel(view: View, row: int) -> None:
    """Cancel the order in a row of the book, with effect from the next open."""
    request = submit(view, view.book[row].symbol, view.book[row].side, 0.0)
    request.action, request.names = CANCEL, row
