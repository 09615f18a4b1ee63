"""How much of an order fills, whether the account can carry it, and what a fill changes. Compiled.

Rules 8 to 10 (children, OCO, volume), 12 to 15 (costs), 16 (reduce-only) and 18 (cash and margin).

Functions take the few arrays that they need, and rows as records: each array passed costs as much as ten numbers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from resources.exchange.compiled import compiled, inlined
from resources.exchange.costs import commission, half_spread, slippage, state_facts, worse_by
from resources.exchange.families import parent_filled, release_group, release_reducers
from resources.exchange.layout import DUST, NOWHERE, Desk, Floats, Integers, Log, Records
from resources.exchange.models import base
from resources.exchange.terms import Terms
from resources.exchange.words import (
    ACCEPTED,
    CANCELLED,
    CANNOT_CARRY,
    CARRIES,
    CASH,
    END_ROW,
    EQUITY,
    FILLED,
    FILLS,
    FIRST_ROW,
    FOK,
    GROSS,
    INSIDE,
    MARGIN,
    MONTH_NOTIONAL,
    MONTH_UNITS,
    NET,
    NOTHING_TO_REDUCE,
    PARTIAL,
    QUOTE,
    READY,
    REJECTED,
    SERIAL,
    SHRUNK,
    STEP,
    VALUE,
)


@compiled
def is_open(state: int) -> bool:
    return state in (ACCEPTED, PARTIAL)


class Deal(NamedTuple):
    """A fill about to be made: how much, at which price before and after costs, spread apart, for which commission."""

    quantity: float
    reference: float
    price: float
    spread: float
    charge: float


@inlined
def needed(symbol: Any, units: float, price: float) -> float:
    """The margin for a position of so many units, in account currency."""
    share: float = symbol.long_rate if units > 0.0 else symbol.short_rate
    margin = abs(units) * share * abs(price) * symbol.factor
    if symbol.per_unit != 0.0:
        margin += abs(units) * symbol.per_unit * symbol.rate
    return margin


@compiled
def exposures(account: Floats, symbols: Records, log: Log | None, row: int) -> None:
    """Add up what is held at the marks: what it is worth, gross and net, and the margin that it needs.

    Each holding is written down on the way, in that row of the log, where there is one.
    """
    value = gross = net = margin = 0.0
    for number in range(symbols.size):
        symbol = symbols[number]
        held, factor = symbol.position, symbol.factor
        mark = symbol.mark if held != 0.0 else 0.0  # no branch: which symbols are held is hard to foresee
        worth = held * mark * (factor if held != 0.0 else 0.0)
        gross += abs(worth)
        net += worth
        value += worth if symbol.paid != 0 else 0.0
        margin += needed(symbol, held, mark) if held != 0.0 else 0.0
        if log is not None:
            if row < len(log.held):
                holding = log.held[row, number]
                holding.position, holding.mark, holding.average = held, mark, symbol.average
            if row < len(log.factor):
                log.factor[row, number] = factor
    account[VALUE], account[GROSS], account[NET], account[MARGIN] = value, gross, net, margin


@inlined
def change_at(symbol: Any, price: float) -> float:
    """What a position earns where its price becomes `price`; 0.0 where nothing is held."""
    change: float = symbol.position * symbol.factor * (price - symbol.mark)
    return change if symbol.position != 0.0 else 0.0


@inlined
def move_mark(account: Floats, symbol: Any, price: float) -> None:
    """Let a symbol's price move: equity follows, and cash where the change is settled at once."""
    change = change_at(symbol, price)
    account[EQUITY] += change
    account[CASH] += change if symbol.paid == 0 else 0.0
    symbol.mark = price


@compiled
def make_ready(account: Floats, symbols: Records, tally: Integers, rows: Records) -> None:
    """Before the first fill of a step: mark what is held at its open, and add up the exposures that judge fills.

    From the ground up: since they were added up last, prices may have moved and symbols left.
    """
    tally[READY] = 1
    earned = settled = 0.0
    for row in range(tally[FIRST_ROW], tally[END_ROW]):
        symbol = symbols[rows[row].symbol]
        price = rows[row].open
        change = change_at(symbol, price)
        earned += change
        settled += change if symbol.paid == 0 else 0.0
        symbol.mark = price if symbol.position != 0.0 else symbol.mark
    account[EQUITY] += earned
    account[CASH] += settled
    exposures(account, symbols, None, NOWHERE)


@inlined
def margin_after(account: Floats, symbol: Any, side: int, deal: Deal) -> float:
    """Margin after a fill as a multiple of equity; 0.0 where the fill needs none, inf without equity."""
    held = symbol.position
    added = needed(symbol, held + side * deal.quantity, deal.reference) - needed(symbol, held, deal.reference)
    if added <= 0.0:
        return 0.0
    equity = account[EQUITY] - side * deal.quantity * (deal.price - deal.reference) * symbol.factor - deal.charge
    margin: float = account[MARGIN] + added
    return margin / equity if equity > 0.0 else math.inf


@inlined
def priced(
    account: Floats,
    facts: Floats,
    symbol: Any,
    order: Any,
    bar: Any,
    quantity: float,
    reference: float,
    taker: bool,
    maker: bool,
) -> Deal:
    """The deal at a price before costs."""
    side = order.side
    state_facts(facts, account, order, symbol)
    quoted = bar.flags & QUOTE != 0
    # What a quote shows is there at its price: its size limits what fills, and moves nothing.
    facts[base.VOLUME] = math.inf if quoted else bar.volume
    facts[base.PRICE], facts[base.QUANTITY] = reference, quantity
    facts[base.MAKER] = 1.0 if maker else 0.0
    half = share = beside = 0.0
    if taker:
        if quoted:
            beside = (bar.high if side > 0 else bar.low) - reference
            half = side * beside / reference
        else:
            half = share = half_spread(facts, symbol)
        share += slippage(facts, symbol)
    price = worse_by(reference, beside, side, share, symbol.tick, order.limit)
    spread = max(min(side * (price - reference), half * reference), 0.0)
    return Deal(quantity, reference, price, spread, commission(facts, order, symbol, quantity))


@compiled
def most_carried(
    account: Floats,
    facts: Floats,
    symbol: Any,
    order: Any,
    bar: Any,
    deal: Deal,
    taker: bool,
    maker: bool,
    limit: float,
) -> Deal:
    """The deal for the most lots that the account can carry, at the price of so many (rule 18, shrink_to_cash)."""
    low, high = 0.0, np.floor(deal.quantity / symbol.lot + DUST)
    while low < high:
        middle = np.ceil((low + high) / 2.0)
        tried = priced(account, facts, symbol, order, bar, middle * symbol.lot, deal.reference, taker, maker)
        if margin_after(account, symbol, order.side, tried) <= limit:
            low = middle
        else:
            high = middle - 1.0
    return priced(account, facts, symbol, order, bar, low * symbol.lot, deal.reference, taker, maker)


@compiled
def carried(terms: Terms, desk: Desk, symbol: Any, order: Any, bar: Any, deal: Deal, taker: bool, maker: bool) -> Deal:
    """Rule 18: the deal if the account can carry it, else what is left of it: nothing without shrink_to_cash."""
    allowed = terms.max_gross * (1.0 + 1e-12)
    margin = margin_after(desk.account, symbol, order.side, deal)
    if margin <= allowed:
        return deal
    order.detail = margin
    if terms.shrink and order.tif != FOK:
        less = most_carried(desk.account, desk.facts, symbol, order, bar, deal, taker, maker, allowed)
        if less.quantity >= DUST:
            order.state, order.reason = CANCELLED, SHRUNK
            return less
    order.state, order.reason = REJECTED, CANNOT_CARRY
    return Deal(0.0, deal.reference, deal.price, deal.spread, deal.charge)


@compiled
def fill(
    terms: Terms, desk: Desk, rows: Records, row: int, reached: int, reference: float, reason: int, taker: bool
) -> bool:
    """Fill what volume (rule 10) and account (rule 18) allow of an order at a price before costs; whether any did."""
    order = desk.book[row]
    symbol = desk.symbols[order.symbol]
    bar = rows[symbol.row]
    wanted = order.quantity - order.filled
    quoted = order.side < 0 and bar.flags & QUOTE != 0
    quantity = min(wanted, symbol.left_sell if quoted else symbol.left)
    if order.reduce != 0 and quantity >= DUST:  # rule 16
        quantity = min(quantity, -order.side * symbol.position)
        if quantity < DUST:
            order.state, order.reason = CANCELLED, NOTHING_TO_REDUCE
            return False
    if quantity < DUST or (order.tif == FOK and quantity < wanted - DUST):
        return False
    frees = -order.side * symbol.position >= quantity
    if desk.tally[READY] == 0:  # also where it frees the account: what it frees is counted at the open
        make_ready(desk.account, desk.symbols, desk.tally, rows)
    if symbol.due != desk.tally[SERIAL]:  # its bar is not over: its own price is the open's, whatever others' are
        move_mark(desk.account, symbol, bar.open)
    # A limit that the first open meets has rested nowhere: it pays no spread, but a taker's commission.
    maker = not taker and (order.rested != 0 or reached == INSIDE)
    deal = priced(desk.account, desk.facts, symbol, order, bar, quantity, reference, taker, maker)
    if not frees:
        deal = carried(terms, desk, symbol, order, bar, deal, taker, maker)
        if deal.quantity < DUST:
            return False
    if quoted:
        symbol.left_sell -= deal.quantity
    else:
        symbol.left -= deal.quantity
    # As of the commission that was asked for last, the deal's.
    order.commission, order.accrued = desk.facts[base.CHARGED], desk.facts[base.ACCRUED]
    book_fill(desk.account, desk.fills, desk.tally, symbol, order, row, deal, reason)
    if order.group != NOWHERE and release_group(desk, row):
        desk.fills[desk.tally[FILLS] - 1].ambiguous = 1
    if order.family != 0 or order.parent != NOWHERE:
        parent_filled(desk, row, reached, deal.reference, max(bar.until, symbol.opened + 1))
    if symbol.reducers != 0:
        release_reducers(desk, order.symbol)
    return True


@inlined
def book_fill(
    account: Floats, fills: Records, tally: Integers, symbol: Any, order: Any, row: int, deal: Deal, reason: int
) -> None:
    """Write the fill down: order, cash, position and the exposures that the next fill is judged by."""
    signed, factor = order.side * deal.quantity, symbol.factor
    order.filled += deal.quantity
    order.notional += deal.quantity * abs(deal.reference) * symbol.multiplier
    if is_open(order.state):
        order.state = FILLED if order.quantity - order.filled < DUST else PARTIAL
    held = symbol.position
    after = held + signed if abs(held + signed) >= DUST else 0.0
    account[MARGIN] += needed(symbol, after, symbol.mark) - needed(symbol, held, symbol.mark)
    account[GROSS] += (abs(after) - abs(held)) * abs(symbol.mark) * factor
    account[CASH] -= signed * (deal.price - (0.0 if symbol.paid != 0 else symbol.mark)) * factor + deal.charge
    account[EQUITY] -= signed * (deal.price - symbol.mark) * factor + deal.charge
    account[MONTH_UNITS] += deal.quantity
    account[MONTH_NOTIONAL] += deal.quantity * abs(deal.reference) * factor
    done = record(fills, tally, row, order.symbol, signed, deal.price)
    done.realised = change_position(tally, symbol, after, signed, deal.price)
    done.reason, done.reference, done.commission, done.factor = reason, deal.reference, deal.charge, factor
    done.spread = deal.spread * deal.quantity * factor + 0.0  # never the negative zero of a price that fell
    done.slippage = signed * (deal.price - deal.reference) * factor - done.spread


@inlined
def change_position(tally: Integers, symbol: Any, after: float, signed: float, price: float) -> float:
    """Take a position to `after` by a signed quantity at a price; what was earned on the part that was closed."""
    held = symbol.position
    earned = 0.0
    if held * signed < 0.0:
        earned = math.copysign(min(abs(signed), abs(held)), held) * (price - symbol.average) * symbol.factor
        if held * after < 0.0:
            symbol.average = price
    else:
        symbol.average = (abs(held) * symbol.average + abs(signed) * price) / (abs(held) + abs(signed))
    if after == 0.0:
        symbol.average = 0.0
    elif after < 0.0 or symbol.paid == 0:
        tally[CARRIES] = 1
    symbol.position = after
    return earned


@inlined
def record(fills: Records, tally: Integers, row: int, number: int, signed: float, price: float) -> Any:
    """The next free row of the fills, for a signed quantity at a price without costs."""
    done = fills[tally[FILLS]]
    tally[FILLS] += 1
    done.order, done.symbol, done.side = row, number, 1 if signed > 0.0 else -1
    done.step = done.booked = tally[STEP]
    done.quantity, done.price, done.reference = abs(signed), price, price
    done.spread, done.slippage, done.commission, done.realised, done.ambiguous = 0.0, 0.0, 0.0, 0.0, 0
    return done
