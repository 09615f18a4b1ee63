"""Time that passes between two opens: bars end in the order of their instants, and symbols leave. Compiled."""

from __future__ import annotations

from resources.exchange.account import close_rows, is_due, leave, value_at, value_entries, value_leaving, value_now
from resources.exchange.closing import close_bars
from resources.exchange.compiled import compiled, inlined
from resources.exchange.filling import exposures, is_open
from resources.exchange.inside import inside
from resources.exchange.layout import FOREVER, NOWHERE, Desk, Market, Records
from resources.exchange.terms import Terms
from resources.exchange.words import (
    ACTIVE,
    END_ROW,
    EXPIRY,
    FIRST_ROW,
    LATE,
    LIVE,
    MIXED,
    NEXT_EXIT,
    READY,
    RELISTING,
    SUBMIT,
)


@compiled
def gather_late(desk: Desk, rows: Records, before: int, now: int) -> int:
    """The orders that may have filled inside bars which began in an earlier step and are over by now; their number."""
    count = 0
    for place in range(desk.tally[ACTIVE]):
        row = desk.active[place]
        order = desk.book[row]
        symbol = desk.symbols[order.symbol]
        if order.action != SUBMIT or not is_open(order.state) or not is_due(symbol, rows, before, now):
            continue
        if order.eligible <= symbol.opened:
            desk.live[count] = row
            count += 1
    desk.tally[LIVE] = count
    return count


@compiled
def next_end(desk: Desk, rows: Records) -> int:
    """When the next of the open bars is over."""
    end = FOREVER
    for number in range(desk.symbols.size):
        symbol = desk.symbols[number]
        if symbol.row != NOWHERE and symbol.closed < rows[symbol.row].until < end:
            end = rows[symbol.row].until
    return end


@compiled
def end_at(terms: Terms, desk: Desk, market: Market, first: int, at: int) -> None:
    """Let the bars end that do so at an instant; those before row `first` began in an earlier step."""
    tally, rows, symbols, foreign = desk.tally, market.rows, desk.symbols, market.rates.size > 0
    if foreign:
        value_at(desk, market.rates, at)
        value_entries(desk, market, first, at)
    if tally[ACTIVE] > 0 and gather_late(desk, rows, first, at) > 0:
        tally[READY] = 1
        exposures(desk.account, symbols, None, NOWHERE)
        inside(terms, desk, rows, at)
    if foreign:
        value_at(desk, market.rates, at)
    for number in range(symbols.size):
        if is_due(symbols[number], rows, rows.size, at):
            row = symbols[number].row
            close_rows(terms, desk, market, row, row + 1, at)
    if tally[ACTIVE] > 0:
        close_bars(terms, desk, rows, at)


@compiled
def depart(desk: Desk, market: Market, now: int, opening: bool) -> None:
    """Departures that are due by `now`. What is delisted leaves as a session opens."""
    tally = desk.tally
    while tally[NEXT_EXIT] < market.exits.size:
        leaving = market.exits[tally[NEXT_EXIT]]
        if leaving.at > now or (leaving.reason != EXPIRY and not opening):
            break
        if leaving.reason == RELISTING:
            desk.symbols[leaving.symbol].gone = 0
        else:
            if market.rates.size > 0:
                value_leaving(desk, market.rates, leaving.symbol, leaving.at)
            leave(desk, leaving.symbol, leaving.reason)
        tally[NEXT_EXIT] += 1


@inlined
def settle(terms: Terms, desk: Desk, market: Market, now: int, opening: bool) -> None:
    """Let time pass to `now`: closes and departures that are due, in the order of their instants."""
    tally, rows = desk.tally, market.rows
    first, end = tally[FIRST_ROW], tally[END_ROW]
    tally[FIRST_ROW] = end
    if tally[LATE] > 0 or (first < end and tally[MIXED] != 0):
        at = next_end(desk, rows)
        while at <= now:
            depart(desk, market, at - 1, False)
            end_at(terms, desk, market, first, at)
            at = next_end(desk, rows)
        tally[LATE] = 0
        for number in range(desk.symbols.size):
            row = desk.symbols[number].row
            tally[LATE] += row != NOWHERE and desk.symbols[number].closed < rows[row].until
    elif first < end:
        if market.rates.size > 0:
            value_at(desk, market.rates, min(rows[first].until, now))
        tally[LATE] = close_rows(terms, desk, market, first, end, now)
        if tally[ACTIVE] > 0:
            close_bars(terms, desk, rows, NOWHERE)
    if tally[NEXT_EXIT] < market.exits.size:
        depart(desk, market, now, opening)
    if market.rates.size > 0:
        value_now(desk, market.rates)
