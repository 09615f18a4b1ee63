"""Orders that depend on each other: OCO groups, brackets and other children, reduce-only orders. Compiled.

Rules 8, 9 and 16. All of it happens in the instant of the fill that it follows from.
"""

from __future__ import annotations

import math

import numpy as np

from resources.exchange.compiled import compiled
from resources.exchange.layout import DUST, NOWHERE, Desk, Records
from resources.exchange.words import (
    ACCEPTED,
    ACTIVE,
    CANCELLED,
    EXITED,
    EXPIRED,
    FILLED,
    GROUP_FILLED,
    HAS_CHILDREN,
    HELD,
    LIVE,
    NOTHING_TO_REDUCE,
    NOW,
    OPENING,
    OTHER_FILLED,
    PARENT_ENDED,
    PARTIAL,
    REJECTED,
    SERIAL,
    SPLIT_AWAY,
    TRAILING,
)


@compiled
def has_ended(state: int) -> bool:
    return state in (FILLED, CANCELLED, REJECTED, EXPIRED)


@compiled
def release_group(desk: Desk, row: int) -> bool:
    """Rule 9: cancel the siblings of an order that filled; whether one of them was reached in the same bar."""
    group, rival = desk.book[row].group, False
    if group < NOWHERE:  # so that a sibling which is received later is told
        desk.book[NOWHERE - 1 - group].family |= GROUP_FILLED
    for other in desk.active[: desk.tally[ACTIVE]]:
        sibling = desk.book[other]
        if sibling.group == group and other != row and not has_ended(sibling.state):
            rival = rival or sibling.reached == desk.tally[SERIAL]
            sibling.state, sibling.reason = CANCELLED, OTHER_FILLED
    return rival


@compiled
def release_reducers(desk: Desk, symbol: int) -> None:
    """Cancel the reduce-only orders of a symbol that have nothing left to reduce (rule 16)."""
    held = desk.symbols[symbol].position
    for row in desk.active[: desk.tally[ACTIVE]]:
        order = desk.book[row]
        waiting = order.state in (ACCEPTED, PARTIAL) and order.eligible <= desk.tally[NOW]
        if order.reduce != 0 and order.symbol == symbol and waiting and order.side * held >= 0.0:
            order.state, order.reason = CANCELLED, NOTHING_TO_REDUCE


@compiled
def parent_filled(desk: Desk, row: int, reached: int, price: float, after: int) -> None:
    """Rule 8: wake the children of an order that filled; an exit that fills ends what is open of its entry."""
    order = desk.book[row]
    if order.follows != 0:
        entry = desk.book[order.parent]
        if not has_ended(entry.state):
            entry.state, entry.reason = CANCELLED, EXITED
    if order.family & HAS_CHILDREN:
        for other in desk.active[: desk.tally[ACTIVE]]:
            if desk.book[other].parent == row:
                wake(desk, other, reached, price, after)


@compiled
def wake(desk: Desk, row: int, reached: int, price: float, after: int) -> None:
    """Let a child live: from its parent's fill at an open on, else from `after`, the end of that bar."""
    child = desk.book[row]
    if child.follows != 0 and not has_ended(child.state):
        child.quantity = desk.book[child.parent].filled
    if child.state != HELD:
        return
    child.state = ACCEPTED
    child.anchor = price if child.symbol == desk.book[child.parent].symbol else math.nan
    now = desk.tally[NOW]
    if reached == OPENING:
        child.eligible = max(child.eligible, now)
        if child.eligible <= now and child.expires > now:
            desk.live[desk.tally[LIVE]] = row
            desk.tally[LIVE] += 1
    else:
        child.eligible = max(child.eligible, after)


@compiled
def orphan(book: Records, row: int) -> None:
    """Cancel a child that still sleeps where its parent has ended without a fill."""
    child = book[row]
    parent = book[child.parent]
    if has_ended(parent.state) and parent.filled == 0.0:
        child.state, child.reason = CANCELLED, PARENT_ENDED


@compiled
def rescale(desk: Desk, row: int, ratio: float, lot: float) -> None:
    """Rule 17: what a split makes of an order that rests or sleeps; `ratio` is new shares per old."""
    order = desk.book[row]
    order.filled *= ratio
    order.quantity = order.filled + np.floor((order.quantity * ratio - order.filled) / lot + DUST) * lot
    order.limit /= ratio
    order.stop /= ratio
    order.anchor /= ratio
    if order.kind == TRAILING:
        order.trail /= ratio
    if order.quantity - order.filled < DUST:
        order.state, order.reason = CANCELLED, SPLIT_AWAY
