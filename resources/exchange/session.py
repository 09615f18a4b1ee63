"""One session, compiled: what happened overnight, the open, the inside of the bars, the close.

Importing this module loads numba; `venue.py` does so when it is first needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from resources.exchange.compiled import cached, compiled, sources
from resources.exchange.costs import carrying
from resources.exchange.layout import (
    ACTIVE,
    BORROW,
    CANCELLED,
    CASH,
    CASH_IN_LIEU,
    CLOSE,
    DAY,
    DIVIDEND,
    DIVIDENDS,
    EQUITY,
    EXPIRED,
    FILLS,
    FOK,
    GROSS,
    HIGH,
    INSIDE,
    INTEREST,
    IOC,
    LOW,
    NOT_AT_ONCE,
    NOT_WHOLE,
    OPEN,
    OPENING,
    RULES,
    SESSION_OVER,
    SPLIT,
    SPLIT_AWAY,
    STOP,
    STOP_LIMIT,
    VALUE,
    VOLUME,
    Desk,
    Floats,
    Integers,
)
from resources.exchange.matching import DUST, fill, is_open, price_reached, record
from resources.exchange.terms import Terms


@compiled
def split(desk: Desk, symbol: int, ratio: float, now: int) -> None:
    """Rule 17: rescale the position and what rests; what is no whole lot is paid out at the last price."""
    lot = desk.lot[symbol]
    desk.mark[symbol] /= ratio
    held = desk.position[symbol] * ratio
    whole = math.copysign(math.floor(abs(held) / lot + DUST) * lot, held)
    desk.position[symbol] = whole
    if abs(held - whole) > DUST:
        desk.account[CASH] += (held - whole) * desk.mark[symbol]
        record(desk, -1, symbol, whole - held, desk.mark[symbol]).reason = CASH_IN_LIEU
    for row in desk.active[: desk.tally[ACTIVE]]:
        order = desk.book[row]
        if order.symbol != symbol or order.submitted > now or not is_open(order.state):
            continue
        order.filled *= ratio
        order.quantity = order.filled + math.floor((order.quantity * ratio - order.filled) / lot + DUST) * lot
        order.limit /= ratio
        order.stop /= ratio
        if order.quantity - order.filled < DUST:
            order.state, order.reason = CANCELLED, SPLIT_AWAY


@compiled
def to_tick(price: float, tick: float, direction: int) -> float:
    """The nearest price on the tick upwards (direction +1) or downwards (-1); unchanged where there is no tick."""
    if tick <= 0.0 or math.isnan(price):
        return price
    steps = math.ceil(price / tick - 1e-6) if direction > 0 else math.floor(price / tick + 1e-6)
    return max(steps, 1.0) * tick


@compiled
def overnight(terms: Terms, desk: Desk, bars: Floats, now: int, seconds: float) -> None:
    """What happened since the last close: borrow and interest (rule 14), splits and dividends (rule 17)."""
    account, position = desk.account, desk.position
    account[BORROW] = account[INTEREST] = account[DIVIDENDS] = 0.0
    for symbol in range(position.size):
        if position[symbol] < 0.0:
            account[BORROW] += carrying(terms.borrow, -position[symbol] * desk.mark[symbol], seconds)
    if account[CASH] < 0.0:
        account[INTEREST] = carrying(terms.interest, -account[CASH], seconds)
    for symbol in range(position.size):
        if not math.isnan(bars[symbol, OPEN]):
            if bars[symbol, SPLIT] != 1.0:
                split(desk, symbol, bars[symbol, SPLIT], now)
            if bars[symbol, DIVIDEND] != 0.0:
                account[DIVIDENDS] += position[symbol] * bars[symbol, DIVIDEND]
    earned = account[DIVIDENDS] - account[BORROW] - account[INTEREST]
    account[CASH] += earned
    account[EQUITY] += earned


@compiled
def mark_to(desk: Desk, bars: Floats, column: int) -> None:
    """Move equity with the prices of a column, position by position, and add up the exposures."""
    account = desk.account
    account[VALUE] = account[GROSS] = 0.0
    for symbol in range(desk.position.size):
        price, held = bars[symbol, column], desk.position[symbol]
        if not math.isnan(price):
            if held != 0.0:
                account[EQUITY] += held * (price - desk.mark[symbol])
            desk.mark[symbol] = price
        if held != 0.0:
            account[VALUE] += held * desk.mark[symbol]
            account[GROSS] += abs(held * desk.mark[symbol])


@compiled
def at_open(terms: Terms, desk: Desk, bars: Floats, live: Integers) -> None:
    """Everything that fills at the open: what frees the account first, then what loads it, each as received."""
    for freeing in (True, False):
        for row in live:
            order = desk.book[row]
            if not is_open(order.state) or desk.left[order.symbol] <= 0.0:
                continue
            if freeing and desk.position[order.symbol] * order.side >= 0.0:
                continue
            reached, price, reason = price_reached(order, bars[order.symbol], terms.touch)
            if reached == OPENING:
                fill(terms, desk, row, price, reason)


@compiled
def comes_before(desk: Desk, one: int, other: int) -> bool:
    """Which of two orders is tried first inside the bar, where nobody knows the path: the worse one for the account.

    Loading before freeing (money from a sale that may come later is not spent), stops before limits, dearer buys and
    cheaper sells first.
    """
    first, second = desk.book[one], desk.book[other]
    first_frees = bool(desk.position[first.symbol] * first.side < 0.0)
    second_frees = bool(desk.position[second.symbol] * second.side < 0.0)
    if first_frees != second_frees:
        return second_frees
    if (first.kind == STOP) != (second.kind == STOP):
        return bool(first.kind == STOP)
    if first.symbol != second.symbol or first.side != second.side:
        return False
    if first.kind == STOP:
        return bool(first.side * first.stop > first.side * second.stop)
    return bool(first.side * first.limit > first.side * second.limit)


@compiled
def inside(terms: Terms, desk: Desk, bars: Floats, live: Integers) -> None:
    """Everything that fills after the open, at its own price; ambiguous where orders compete for the bar's volume."""
    queue = np.empty(live.size, np.int64)
    length = 0
    for row in live:
        order = desk.book[row]
        if not is_open(order.state) or bars[order.symbol, VOLUME] <= 0.0:
            continue
        reached, _, _ = price_reached(order, bars[order.symbol], terms.touch)
        if reached == INSIDE:
            place = length
            while place > 0 and comes_before(desk, row, queue[place - 1]):
                queue[place] = queue[place - 1]
                place -= 1
            queue[place] = row
            length += 1
    start = desk.tally[FILLS]
    for row in queue[:length]:
        order = desk.book[row]
        symbol, wanted = order.symbol, order.quantity - order.filled
        short = wanted - min(wanted, desk.left[symbol]) > DUST
        _, price, reason = price_reached(order, bars[symbol], terms.touch)
        fill(terms, desk, row, price, reason)
        if short:
            flag_rivals(desk, start, row)


@compiled
def flag_rivals(desk: Desk, start: int, row: int) -> None:
    """Flag the fills of a symbol, from `start`, if more than one order had a claim on the volume that ran out."""
    symbol = desk.book[row].symbol
    rivals = False
    for done in desk.fills[start : desk.tally[FILLS]]:
        rivals = rivals or (done.symbol == symbol and done.order != row)
    for done in desk.fills[start : desk.tally[FILLS]]:
        if rivals and done.symbol == symbol:
            done.ambiguous = 1


@compiled
def end_of_session(desk: Desk, bars: Floats, live: Integers) -> None:
    """Remember stops that triggered, and end the orders that do not rest (rules 6, 10, 16)."""
    for row in live:
        order = desk.book[row]
        if not is_open(order.state):
            continue
        stopped = order.kind in (STOP, STOP_LIMIT) and bars[order.symbol, VOLUME] > 0.0
        worst = bars[order.symbol, HIGH if order.side > 0 else LOW]
        if stopped and order.side * worst >= order.side * order.stop:
            order.triggered = 1
        if order.tif == IOC:
            order.state, order.reason = CANCELLED, NOT_AT_ONCE
        elif order.tif == FOK:
            order.state, order.reason = CANCELLED, NOT_WHOLE
        elif order.tif == DAY:
            order.state, order.reason = EXPIRED, SESSION_OVER


@compiled
def session(terms: Terms, desk: Desk, bars: Floats, now: int, seconds: float) -> None:
    """One session, from the last close to this close. `seconds` is the time since the session before."""
    desk.tally[FILLS] = 0
    overnight(terms, desk, bars, now, seconds)
    mark_to(desk, bars, OPEN)
    for symbol in range(desk.position.size):  # rules 10 and 11; NaN volume, no bar, takes the second branch too
        volume, lot = bars[symbol, VOLUME], desk.lot[symbol]
        desk.left[symbol] = math.floor(terms.participation * volume / lot + DUST) * lot if volume > 0.0 else 0.0
    active = desk.active[: desk.tally[ACTIVE]]
    live = np.empty(active.size, np.int64)
    count = 0
    for row in active:  # rule 1
        order = desk.book[row]
        if order.eligible <= now and is_open(order.state):
            tick = desk.tick[order.symbol]  # rule 10: an order's prices are rounded away from its advantage
            order.limit, order.stop = to_tick(order.limit, tick, -order.side), to_tick(order.stop, tick, order.side)
            live[count] = row
            count += 1
    live = live[:count]
    at_open(terms, desk, bars, live)
    inside(terms, desk, bars, live)
    end_of_session(desk, bars, live)
    kept = 0
    for row in active:
        if is_open(desk.book[row].state):
            active[kept] = row
            kept += 1
    desk.tally[ACTIVE] = kept
    mark_to(desk, bars, CLOSE)


def _entry(rules: int) -> Callable[[Terms, Desk, Floats, int, float], None]:
    @cached
    def trade_session(terms: Terms, desk: Desk, bars: Floats, now: int, seconds: float) -> None:
        desk.account[RULES] = rules  # in the closure, so that the cache follows changes of every module behind it
        session(terms, desk, bars, now, seconds)

    return trade_session


trade_session = _entry(sources())
"""`session` with its machine code kept on disk: what history and live feed both call."""
