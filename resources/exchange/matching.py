"""The fill rules, compiled: one session of orders against one session of bars.

Importing this module loads numba; `venue.py` does so when it is first needed. The numbers of the rules are those of
the fill contract, which `resources/exchange/__init__.py` repeats in short. A sell mirrors a buy: comparisons are
written for a buy and multiplied by the side (+1, -1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from resources.exchange.compiled import cached, compiled, sources
from resources.exchange.costs import carrying, commission, fill_price, spread_part
from resources.exchange.layout import (
    ACCEPTED,
    ACTIVE,
    AT_LIMIT,
    AT_OPEN,
    AT_STOP,
    BORROW,
    CANCELLED,
    CANNOT_CARRY,
    CASH,
    CASH_IN_LIEU,
    CLOSE,
    DAY,
    DIVIDEND,
    DIVIDENDS,
    EQUITY,
    EXPIRED,
    FILLED,
    FILLS,
    FOK,
    GAP,
    GROSS,
    HIGH,
    INSIDE,
    INTEREST,
    IOC,
    LIMIT,
    LOW,
    MARKET,
    NEVER,
    NOT_AT_ONCE,
    NOT_WHOLE,
    OPEN,
    OPENING,
    PARTIAL,
    REJECTED,
    RULES,
    SESSION_OVER,
    SHRUNK,
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
from resources.exchange.terms import Terms

DUST = 1e-9
"""Quantities smaller than this are nothing."""


@compiled
def price_reached(
    kind: int, tif: int, side: int, triggered: bool, limit: float, stop: float, bar: Floats, touch: bool
) -> tuple[int, float, int]:
    """When (NEVER, OPENING, INSIDE), at which price before costs, and why the order would fill on this bar."""
    start, good, bad = bar[OPEN], bar[LOW], bar[HIGH]
    if side < 0:
        good, bad = bar[HIGH], bar[LOW]
    if kind == MARKET or (kind == STOP and triggered):  # rule 3
        return OPENING, start, AT_OPEN
    if kind == STOP:  # rule 5
        if side * start >= side * stop:
            return OPENING, start, GAP
        if side * bad >= side * stop:
            return INSIDE, stop, AT_STOP
    elif kind == STOP_LIMIT and not triggered:  # rule 6: on its trigger bar, only a gap that the limit allows
        if side * start >= side * stop and side * start <= side * limit:
            return OPENING, start, GAP
    elif side * start <= side * limit:  # rule 4
        return OPENING, start, GAP
    elif tif not in (IOC, FOK) and (side * good < side * limit or (touch and good == limit)):
        return INSIDE, limit, AT_LIMIT
    return NEVER, math.nan, AT_OPEN


@compiled
def takes_liquidity(kind: int, tif: int, triggered: bool) -> bool:
    """Whether the fill pays spread and slippage: all but limits that were resting in the book (rules 12, 13)."""
    return kind in (MARKET, STOP) or tif in (IOC, FOK) or (kind == STOP_LIMIT and not triggered)


@compiled
def is_open(state: int) -> bool:
    return state in (ACCEPTED, PARTIAL)


@compiled
def gross_after(desk: Desk, order: Any, quantity: float, reference: float, price: float, charge: float) -> float:
    """Gross exposure after a fill as a multiple of equity; 0.0 where the fill adds no exposure, inf without equity."""
    held = desk.position[order.symbol]
    added = abs(held + order.side * quantity) - abs(held)
    if added <= 0.0:
        return 0.0
    equity = desk.account[EQUITY] - order.side * quantity * (price - reference) - charge
    return (desk.account[GROSS] + added * reference) / equity if equity > 0.0 else math.inf


@compiled
def most_carried(
    terms: Terms, desk: Desk, order: Any, quantity: float, reference: float, price: float, limit: float
) -> float:
    """The largest number of lots, up to `quantity`, that the account can carry (rule 18, shrink_to_cash)."""
    lot = desk.lot[order.symbol]
    low, high = 0.0, math.floor(quantity / lot + DUST)
    while low < high:
        middle = math.ceil((low + high) / 2.0)
        charge = commission(terms, order.accrued, order.commission, middle * lot)
        if gross_after(desk, order, middle * lot, reference, price, charge) <= limit:
            low = middle
        else:
            high = middle - 1.0
    return low * lot


@compiled
def fill(terms: Terms, desk: Desk, row: int, reference: float, reason: int, taker: bool) -> float:
    """Fill what volume (rule 10) and account (rule 18) allow of an order, and return how much that was."""
    order = desk.book[row]
    symbol, side = order.symbol, order.side
    wanted = order.quantity - order.filled
    quantity = min(wanted, desk.left[symbol])
    if quantity < DUST or (order.tif == FOK and quantity < wanted - DUST):
        return 0.0
    price = fill_price(terms, side, reference, taker, order.limit, desk.tick[symbol])
    charge = commission(terms, order.accrued, order.commission, quantity)
    allowed = terms.max_gross * (1.0 + 1e-12)
    gross = gross_after(desk, order, quantity, reference, price, charge)
    if gross > allowed:
        order.detail = gross
        carried = most_carried(terms, desk, order, quantity, reference, price, allowed) if terms.shrink else 0.0
        if carried < DUST or order.tif == FOK:
            order.state, order.reason = REJECTED, CANNOT_CARRY
            return 0.0
        quantity = carried
        charge = commission(terms, order.accrued, order.commission, quantity)
        order.state, order.reason = CANCELLED, SHRUNK
    book_fill(terms, desk, row, quantity, reference, price, charge, reason, taker)
    return quantity


@compiled
def book_fill(
    terms: Terms,
    desk: Desk,
    row: int,
    quantity: float,
    reference: float,
    price: float,
    charge: float,
    reason: int,
    taker: bool,
) -> None:
    """Write the fill down: order, volume, cash, position and the exposures that the next fill is judged by."""
    order, account = desk.book[row], desk.account
    symbol, side = order.symbol, order.side
    order.filled += quantity
    order.accrued += terms.per_share * quantity
    order.commission += charge
    if is_open(order.state):
        order.state = FILLED if order.quantity - order.filled < DUST else PARTIAL
    desk.left[symbol] -= quantity
    held, mark = desk.position[symbol], desk.mark[symbol]
    after = held + side * quantity
    desk.position[symbol] = after if abs(after) >= DUST else 0.0
    account[CASH] -= side * quantity * price + charge
    account[EQUITY] -= side * quantity * (price - mark) + charge
    account[GROSS] += (abs(held + side * quantity) - abs(held)) * mark
    spread = spread_part(terms, side, reference, price, taker) * quantity
    done = record(desk, row, symbol, side, quantity, price, reason)
    done.reference = reference
    done.commission = charge
    done.spread = spread
    done.slippage = side * (price - reference) * quantity - spread


@compiled
def record(desk: Desk, row: int, symbol: int, side: int, quantity: float, price: float, reason: int) -> Any:
    """The next free row of the session's fills, with everything but its costs."""
    done = desk.fills[desk.tally[FILLS]]
    desk.tally[FILLS] += 1
    done.order, done.symbol, done.side = row, symbol, side
    done.quantity, done.price, done.reference, done.reason = quantity, price, price, reason
    done.spread, done.slippage, done.commission, done.ambiguous = 0.0, 0.0, 0.0, 0
    return done


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
        side = -1 if held > 0.0 else 1
        record(desk, -1, symbol, side, abs(held - whole), desk.mark[symbol], CASH_IN_LIEU)
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
            if (desk.position[order.symbol] * order.side < 0.0) != freeing:
                continue
            reached, price, reason = price_reached(
                order.kind, order.tif, order.side, order.triggered != 0, order.limit, order.stop, bars[order.symbol], terms.touch
            )
            if reached == OPENING:
                fill(terms, desk, row, price, reason, takes_liquidity(order.kind, order.tif, order.triggered != 0))


@compiled
def comes_before(desk: Desk, bars: Floats, one: int, other: int) -> bool:
    """Which of two orders is tried first inside the bar, where nobody knows the path: the worse one for the account.

    Loading before freeing (money from a sale that may come later is not spent), stops before limits, dearer buys and
    cheaper sells first.
    """
    first, second = desk.book[one], desk.book[other]
    frees = (desk.position[first.symbol] * first.side < 0.0, desk.position[second.symbol] * second.side < 0.0)
    if frees[0] != frees[1]:
        return frees[1]
    stops = (first.kind == STOP, second.kind == STOP)
    if stops[0] != stops[1]:
        return stops[0]
    if first.symbol != second.symbol or first.side != second.side:
        return False
    prices = (first.stop, second.stop) if stops[0] else (first.limit, second.limit)
    return first.side * prices[0] > second.side * prices[1]


@compiled
def inside(terms: Terms, desk: Desk, bars: Floats, live: Integers) -> None:
    """Everything that fills after the open, at its own price; ambiguous where orders compete for the bar's volume."""
    queue = np.empty(live.size, np.int64)
    length = 0
    for row in live:
        order = desk.book[row]
        if not is_open(order.state) or bars[order.symbol, VOLUME] <= 0.0:
            continue
        reached, _, _ = price_reached(
            order.kind, order.tif, order.side, order.triggered != 0, order.limit, order.stop, bars[order.symbol], terms.touch
        )
        if reached == INSIDE:
            place = length
            while place > 0 and comes_before(desk, bars, row, queue[place - 1]):
                queue[place] = queue[place - 1]
                place -= 1
            queue[place] = row
            length += 1
    start = desk.tally[FILLS]
    for row in queue[:length]:
        order = desk.book[row]
        symbol, wanted = order.symbol, order.quantity - order.filled
        short = wanted - min(wanted, desk.left[symbol]) > DUST
        if order.kind == STOP:
            fill(terms, desk, row, order.stop, AT_STOP, True)
        else:
            fill(terms, desk, row, order.limit, AT_LIMIT, False)
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
        worst = bars[order.symbol, HIGH if order.side > 0 else LOW]
        if order.kind in (STOP, STOP_LIMIT) and bars[order.symbol, VOLUME] > 0.0:
            if order.side * worst >= order.side * order.stop:
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
