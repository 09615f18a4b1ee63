"""The fill rules for one order on one bar, compiled: when and where it fills, whether the account can carry it.

Importing this module loads numba; `venue.py` does so when it is first needed. The numbers of the rules are those of
the fill contract, which `resources/exchange/__init__.py` repeats in short. A sell mirrors a buy: comparisons are
written for a buy and multiplied by the side (+1, -1).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from resources.exchange.compiled import compiled
from resources.exchange.costs import commission, fill_price, spread_part
from resources.exchange.layout import (
    ACCEPTED,
    AT_LIMIT,
    AT_OPEN,
    AT_STOP,
    CANCELLED,
    CANNOT_CARRY,
    CASH,
    EQUITY,
    FILLED,
    FILLS,
    FOK,
    GAP,
    GROSS,
    HIGH,
    INSIDE,
    IOC,
    LOW,
    MARKET,
    NEVER,
    OPEN,
    OPENING,
    PARTIAL,
    REJECTED,
    SHRUNK,
    STOP,
    STOP_LIMIT,
    Desk,
    Floats,
)
from resources.exchange.terms import Terms

DUST = 1e-9
"""Quantities smaller than this are nothing."""


@compiled
def price_reached(order: Any, bar: Floats, touch: bool) -> tuple[int, float, int]:
    """When (NEVER, OPENING, INSIDE), at which price before costs, and why the order would fill on this bar."""
    kind, side, limit, stop, triggered = order.kind, order.side, order.limit, order.stop, order.triggered != 0
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
    elif order.tif not in (IOC, FOK) and (side * good < side * limit or (touch and good == limit)):
        return INSIDE, limit, AT_LIMIT
    return NEVER, math.nan, AT_OPEN


@compiled
def takes_liquidity(order: Any) -> bool:
    """Whether the fill pays spread and slippage: all but limits that were resting in the book (rules 12, 13)."""
    immediate = order.kind in (MARKET, STOP) or order.tif in (IOC, FOK)
    return immediate or (order.kind == STOP_LIMIT and order.triggered == 0)


@compiled
def is_open(state: int) -> bool:
    return state in (ACCEPTED, PARTIAL)


class Deal(NamedTuple):
    """A fill about to be made: how much, at which price before and after costs, for which commission."""

    quantity: float
    reference: float
    price: float
    charge: float


@compiled
def gross_after(desk: Desk, order: Any, deal: Deal) -> float:
    """Gross exposure after a fill as a multiple of equity; 0.0 where the fill adds no exposure, inf without equity."""
    held = desk.position[order.symbol]
    added = abs(held + order.side * deal.quantity) - abs(held)
    if added <= 0.0:
        return 0.0
    equity = desk.account[EQUITY] - order.side * deal.quantity * (deal.price - deal.reference) - deal.charge
    gross: float = desk.account[GROSS] + added * deal.reference
    return gross / equity if equity > 0.0 else math.inf


@compiled
def in_lots(terms: Terms, order: Any, deal: Deal, quantity: float) -> Deal:
    """The same deal for another quantity."""
    charge = commission(terms, order.accrued, order.commission, quantity)
    return Deal(quantity, deal.reference, deal.price, charge)


@compiled
def most_carried(terms: Terms, desk: Desk, order: Any, deal: Deal, limit: float) -> Deal:
    """The deal for the largest number of lots that the account can carry (rule 18, shrink_to_cash)."""
    lot = desk.lot[order.symbol]
    low, high = 0.0, math.floor(deal.quantity / lot + DUST)
    while low < high:
        middle = math.ceil((low + high) / 2.0)
        if gross_after(desk, order, in_lots(terms, order, deal, middle * lot)) <= limit:
            low = middle
        else:
            high = middle - 1.0
    return in_lots(terms, order, deal, low * lot)


@compiled
def fill(terms: Terms, desk: Desk, row: int, reference: float, reason: int) -> None:
    """Fill what volume (rule 10) and account (rule 18) allow of an order at a price before costs."""
    order = desk.book[row]
    wanted = order.quantity - order.filled
    quantity = min(wanted, desk.left[order.symbol])
    if quantity < DUST or (order.tif == FOK and quantity < wanted - DUST):
        return
    price = fill_price(terms, order, reference, takes_liquidity(order), desk.tick[order.symbol])
    deal = Deal(quantity, reference, price, commission(terms, order.accrued, order.commission, quantity))
    allowed = terms.max_gross * (1.0 + 1e-12)
    gross = gross_after(desk, order, deal)
    if gross > allowed:
        order.detail = gross
        deal = most_carried(terms, desk, order, deal, allowed)
        if not terms.shrink or deal.quantity < DUST or order.tif == FOK:
            order.state, order.reason = REJECTED, CANNOT_CARRY
            return
        order.state, order.reason = CANCELLED, SHRUNK
    book_fill(terms, desk, row, deal, reason)


@compiled
def book_fill(terms: Terms, desk: Desk, row: int, deal: Deal, reason: int) -> None:
    """Write the fill down: order, volume, cash, position and the exposures that the next fill is judged by."""
    order, account = desk.book[row], desk.account
    spread = spread_part(terms, order.side, deal.reference, deal.price, takes_liquidity(order))
    order.filled += deal.quantity
    order.accrued += terms.per_share * deal.quantity
    order.commission += deal.charge
    if is_open(order.state):
        order.state = FILLED if order.quantity - order.filled < DUST else PARTIAL
    desk.left[order.symbol] -= deal.quantity
    held, mark, signed = desk.position[order.symbol], desk.mark[order.symbol], order.side * deal.quantity
    after = held + signed
    desk.position[order.symbol] = after if abs(after) >= DUST else 0.0
    account[CASH] -= signed * deal.price + deal.charge
    account[EQUITY] -= signed * (deal.price - mark) + deal.charge
    account[GROSS] += (abs(after) - abs(held)) * mark
    done = record(desk, row, order.symbol, signed, deal.price)
    done.reason, done.reference, done.commission = reason, deal.reference, deal.charge
    done.spread = spread * deal.quantity
    done.slippage = signed * (deal.price - deal.reference) - done.spread


@compiled
def record(desk: Desk, row: int, symbol: int, signed: float, price: float) -> Any:
    """The next free row of the session's fills, for a signed quantity at a price without costs."""
    done = desk.fills[desk.tally[FILLS]]
    desk.tally[FILLS] += 1
    done.order, done.symbol, done.side = row, symbol, 1 if signed > 0.0 else -1
    done.quantity, done.price, done.reference = abs(signed), price, price
    done.spread, done.slippage, done.commission, done.ambiguous = 0.0, 0.0, 0.0, 0
    return done
