"""The end of a bar: the closing auction, orders that end with bar or session, trailing stops. Compiled.

Rules 1 (market-on-close), 6, 7, 10 and 16.
"""

from __future__ import annotations

from typing import Any

from resources.exchange.compiled import compiled, inlined
from resources.exchange.filling import exposures, fill, is_open
from resources.exchange.layout import NOWHERE, Desk, Records
from resources.exchange.pricing import at_close, is_stop, stop_reached, takes, trailed
from resources.exchange.terms import Terms
from resources.exchange.words import (
    ACTIVE,
    AT_CLOSE,
    AUCTION_OVER,
    CANCELLED,
    DAY,
    EXPIRED,
    FILLS,
    FIRST,
    FOK,
    INSIDE,
    IOC,
    LAST,
    LIMIT_ON_CLOSE,
    LIMIT_ON_OPEN,
    MARKET_ON_CLOSE,
    MARKET_ON_OPEN,
    NOT_AT_ONCE,
    NOT_WHOLE,
    READY,
    SERIAL,
    SESSION_OVER,
    STOP_LIMIT,
    TRAILING,
    TRAILING_PERCENT,
)


@inlined
def takes_part(order: Any, symbol: Any, serial: int, at: int) -> bool:
    """Whether an order was live in a bar that is over now; at that instant, unless that is NOWHERE."""
    if not is_open(order.state) or symbol.due != serial:  # most have filled: of those the symbol is not looked at
        return False
    return bool((at < 0 or symbol.closed == at) and order.eligible <= symbol.opened)


@inlined
def close_bars(terms: Terms, desk: Desk, rows: Records, at: int) -> None:
    """For the symbols whose bar ends at that instant: fill at the close, end what ends, let trailing stops follow.

    NOWHERE stands for the instant of all that end in this step, where it is one.
    """
    book, symbols, serial = desk.book, desk.symbols, desk.tally[SERIAL]
    count, auction = desk.tally[ACTIVE], False
    for place in range(count):
        order = book[desk.active[place]]
        if order.kind in (MARKET_ON_CLOSE, LIMIT_ON_CLOSE):
            auction = auction or takes_part(order, symbols[order.symbol], serial, at)
    if auction:
        desk.tally[READY] = 1  # what is over is marked at its close, what is still open stays where it is
        exposures(desk.account, symbols, None, NOWHERE)
        for freeing in (True, False):
            for place in range(count):
                order = book[desk.active[place]]
                if not freeing or symbols[order.symbol].position * order.side < 0.0:
                    try_close(terms, desk, rows, desk.active[place], at)
    for place in range(count):
        order = book[desk.active[place]]
        symbol = symbols[order.symbol]
        if takes_part(order, symbol, serial, at):
            end_of_bar(order, rows[symbol.row])


@compiled
def try_close(terms: Terms, desk: Desk, rows: Records, row: int, at: int) -> None:
    """Fill an order in the closing auction, the last bar of a session."""
    order = desk.book[row]
    symbol = desk.symbols[order.symbol]
    if order.kind in (MARKET_ON_CLOSE, LIMIT_ON_CLOSE) and takes_part(order, symbol, desk.tally[SERIAL], at):
        bar = rows[symbol.row]
        filled = (
            bar.flags & LAST != 0
            and at_close(order, bar.close)
            and fill(terms, desk, rows, row, INSIDE, bar.close, AT_CLOSE, order.kind == MARKET_ON_CLOSE)
        )
        if filled:
            desk.fills[desk.tally[FILLS] - 1].step = symbol.step


@inlined
def end_of_bar(order: Any, bar: Any) -> None:
    """Remember stops that triggered, end the orders that do not rest, and ratchet trailing stops."""
    if not takes(order, bar):
        order.rested = 1
    trailing = order.kind in (TRAILING, TRAILING_PERCENT)
    if bar.volume > 0.0:
        if (is_stop(order.kind) or order.kind == STOP_LIMIT) and stop_reached(order, bar):
            order.triggered = 1
        if trailing and order.triggered == 0:
            order.anchor = trailed(order, bar)
    opening = order.kind in (MARKET_ON_OPEN, LIMIT_ON_OPEN) and bar.flags & FIRST != 0
    closing = order.kind in (MARKET_ON_CLOSE, LIMIT_ON_CLOSE) and bar.flags & LAST != 0
    if order.tif == IOC:
        order.state, order.reason = CANCELLED, NOT_AT_ONCE
    elif order.tif == FOK:
        order.state, order.reason = CANCELLED, NOT_WHOLE
    elif opening or closing:
        order.state, order.reason = EXPIRED, AUCTION_OVER
    elif order.tif == DAY and bar.flags & LAST != 0:
        order.state, order.reason = EXPIRED, SESSION_OVER
