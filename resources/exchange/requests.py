"""What becomes of a request as it is received: sized, held for its parent, or in the book. Compiled."""

from __future__ import annotations

import math

import numpy as np

from resources.exchange.compiled import compiled, inlined
from resources.exchange.families import has_ended, orphan
from resources.exchange.layout import DUST, NOWHERE, Desk, Records
from resources.exchange.words import (
    ACCEPTED,
    ACTIVE,
    AT_TARGET,
    BY_REQUEST,
    CANCEL,
    CANCELLED,
    CLOSED,
    DELISTED,
    EQUITY,
    EQUITY_BEFORE,
    FILLED,
    GROUP_FILLED,
    HAS_CHILDREN,
    HELD,
    LIMIT,
    LIMIT_ON_CLOSE,
    LIMIT_ON_OPEN,
    NO_PRICE,
    NOT_OPEN,
    NOT_SOUND,
    NOTIONAL,
    OTHER_FILLED,
    PARTIAL,
    REJECTED,
    REPLACED,
    STOP,
    STOP_LIMIT,
    SUBMIT,
    TARGET_POSITION,
    TARGET_WEIGHT,
    TOO_SMALL,
    TRAILING,
    TRAILING_PERCENT,
    UNITS,
)


@inlined
def known_price(desk: Desk, row: int) -> float:
    """The last close that whoever submitted the order can have known."""
    order = desk.book[row]
    symbol = desk.symbols[order.symbol]
    over = symbol.due >= symbol.serial  # while its bar is open, its mark may be the open
    price: float = symbol.mark if over and symbol.closed <= order.submitted else symbol.before
    return price


@compiled
def lacks_price(desk: Desk, row: int) -> bool:
    """Whether an order has exits at a distance from a price that nobody knows yet."""
    if not math.isnan(known_price(desk, row)):
        return False
    for child in range(row + 1, min(row + 3, desk.book.size)):
        if desk.book[child].follows != 0 and desk.book[child].parent == row and desk.book[child].fraction > 0.0:
            return True
    return False


@inlined
def accept(desk: Desk, row: int) -> None:
    """Receive a request: work out its quantity with what was known when it was submitted, and put it in the book.

    A target replaces what still rests of the symbol's target before it.
    """
    order = desk.book[row]
    if order.state == REJECTED:  # before it was sent, by a pre-trade limit
        return
    symbol = desk.symbols[order.symbol]
    if order.action == SUBMIT:
        if symbol.gone != 0:
            order.state, order.reason = REJECTED, DELISTED
            return
        if lacks_price(desk, row):
            order.state, order.reason = REJECTED, NO_PRICE
            return
        if order.sizing != UNITS and not size(desk, row):
            return
        if order.group < NOWHERE and desk.book[NOWHERE - 1 - order.group].family & GROUP_FILLED:
            order.state, order.reason = CANCELLED, OTHER_FILLED
            return
        if order.parent == NOWHERE and order.quantity * known_price(desk, row) * symbol.multiplier < symbol.minimum:
            order.state, order.reason = REJECTED, TOO_SMALL
            return
        if order.reduce != 0:
            symbol.reducers = 1
    order.state = ACCEPTED
    desk.active[desk.tally[ACTIVE]] = row
    desk.tally[ACTIVE] += 1
    if order.parent != NOWHERE:
        adopt(desk, row)


@compiled
def is_sound(desk: Desk, row: int) -> bool:
    """Whether an order that compiled code submitted is one that an exchange could take; else it is rejected."""
    order = desk.book[row]
    lots = order.quantity / desk.symbols[order.symbol].lot
    amount = order.follows != 0 or order.action != SUBMIT or order.sizing in (TARGET_WEIGHT, TARGET_POSITION)
    if not amount:
        amount = order.quantity > 0.0 and (order.sizing == NOTIONAL or abs(lots - np.round(lots)) <= DUST)
    limited = order.kind in (LIMIT, STOP_LIMIT, LIMIT_ON_OPEN, LIMIT_ON_CLOSE)
    priced = (not limited or order.limit > 0.0) and (order.kind not in (STOP, STOP_LIMIT) or order.stop > 0.0)
    trailing = order.kind not in (TRAILING, TRAILING_PERCENT) or order.trail > 0.0
    if order.action == SUBMIT and not (amount and priced and trailing):
        order.state, order.reason = REJECTED, NOT_SOUND
        return False
    return True


@compiled
def adopt(desk: Desk, row: int) -> None:
    """Let a child sleep until its parent fills; one whose parent has filled already wakes at once."""
    child = desk.book[row]
    child.parent = standing(desk.book, child.parent)
    parent = desk.book[child.parent]
    child.state = HELD
    parent.family |= HAS_CHILDREN
    if child.follows != 0:
        child.side = -parent.side
        child.quantity = parent.quantity
        if not math.isnan(child.fraction):
            price = known_price(desk, row)
            child.limit *= price * (1.0 + parent.side * child.fraction)
            child.stop *= price * (1.0 - parent.side * child.fraction)
    if parent.filled > 0.0:
        child.state = ACCEPTED  # it is a plain order by now, from its own submission on
    elif has_ended(parent.state):
        orphan(desk.book, row)


@inlined
def size(desk: Desk, row: int) -> bool:
    """Work out side and quantity of an order that asks for money or a target; whether anything is to be traded."""
    order = desk.book[row]
    symbol = desk.symbols[order.symbol]
    if order.sizing in (TARGET_WEIGHT, TARGET_POSITION):
        if symbol.target != NOWHERE:
            end(desk, symbol.target, REPLACED)
        symbol.target = NOWHERE
    price = known_price(desk, row)
    if math.isnan(price) and order.sizing != TARGET_POSITION:
        order.state, order.reason = REJECTED, NO_PRICE
        return False
    if order.sizing == TARGET_POSITION:
        units = in_lots(order.wanted, symbol.lot) - symbol.position
    elif order.sizing == TARGET_WEIGHT:
        late = desk.tally[CLOSED] <= order.submitted
        equity = max(desk.account[EQUITY] if late else desk.account[EQUITY_BEFORE], 0.0)
        units = in_lots(order.wanted * equity / (price * symbol.known), symbol.lot) - symbol.position
    else:
        units = order.side * in_lots(order.wanted / (price * symbol.known), symbol.lot)
    if abs(units) < DUST:
        if order.sizing == NOTIONAL:
            order.state, order.reason = REJECTED, TOO_SMALL
        else:
            order.state, order.reason = FILLED, AT_TARGET
        return False
    order.quantity = abs(units)
    order.side = 1 if units > 0.0 else -1
    if order.sizing != NOTIONAL:
        symbol.target = row
    return True


@inlined
def in_lots(units: float, lot: float) -> float:
    """The nearest whole number of lots towards zero. The tolerance keeps an exact multiple that division missed."""
    return math.copysign(np.floor(abs(units) / lot + DUST) * lot, units)


@compiled
def end(desk: Desk, row: int, reason: int) -> None:
    """Cancel an order that is still open or asleep."""
    order = desk.book[row]
    if order.state in (ACCEPTED, PARTIAL, HELD):
        order.state, order.reason = CANCELLED, reason


@compiled
def standing(book: Records, row: int) -> int:
    """The row in which an order stands now: its own, or that of what has taken its place."""
    while book[row].reason == REPLACED and book[row].names != NOWHERE:
        row = book[row].names
    return row


@compiled
def obey(desk: Desk, row: int) -> bool:
    """Carry out a cancel or replace whose time has come; whether the row is an order of its own now.

    It is about the order as it stands by then: requests before it took its place, or were rejected.
    """
    request = desk.book[row]
    request.names = standing(desk.book, request.names)
    before = desk.book[request.names]
    if before.state not in (ACCEPTED, PARTIAL, HELD):
        request.state, request.reason = REJECTED, NOT_OPEN
        return False
    if request.action == CANCEL:
        end(desk, request.names, BY_REQUEST)
        request.state = FILLED
        return False
    if request.quantity <= before.filled + DUST:  # a quantity that is left as it was is NaN, and passes
        request.state, request.reason = REJECTED, NOT_OPEN
        return False
    take_over(desk, row)
    return request.state in (ACCEPTED, PARTIAL)


@compiled
def take_over(desk: Desk, row: int) -> None:
    """Let a replacing order carry on where the one before it stood, at the end of the queue."""
    order, before = desk.book[row], desk.book[desk.book[row].names]
    order.action = SUBMIT
    order.quantity = before.quantity if math.isnan(order.quantity) else order.quantity
    order.limit = before.limit if math.isnan(order.limit) else order.limit
    order.stop = before.stop if math.isnan(order.stop) else order.stop
    order.trail = before.trail if math.isnan(order.trail) else order.trail
    order.side, order.kind, order.tif, order.expires = before.side, before.kind, before.tif, before.expires
    order.filled, order.notional = before.filled, before.notional
    order.commission, order.accrued = before.commission, before.accrued
    order.anchor, order.triggered, order.reduce = before.anchor, before.triggered, before.reduce
    order.group, order.parent, order.follows, order.family = before.group, before.parent, before.follows, before.family
    order.state = before.state
    if desk.symbols[order.symbol].target == order.names:
        desk.symbols[order.symbol].target = row
    for other in desk.active[: desk.tally[ACTIVE]]:
        if desk.book[other].parent == order.names:
            desk.book[other].parent = row
    # From now on the row names what takes its own place, and the one before names it.
    before.state, before.reason, before.names, order.names = CANCELLED, REPLACED, row, NOWHERE
    if order.quantity - order.filled < DUST:
        order.state, order.reason = CANCELLED, BY_REQUEST
