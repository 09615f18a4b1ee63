"""A step: an instant at which bars open, from what happened before it to the closes after it. Compiled.

The order of things, which is the same for history and a live feed:

    requests received by now             requests.py
    carrying costs, corporate actions    account.py
    the open                             what frees the account first, then what loads it, then children of these
    the inside of the bars               inside.py: the worse order of things first
    closes, as the bars end              settling.py: each at its instant; closing.py: the auction, what ends or follows

Importing this module loads numba; `venue.py` does so when it is first needed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from resources.exchange.account import (
    leave,
    new_day,
    rate_then,
    set_rate,
    take_actions,
    take_rates,
)
from resources.exchange.compiled import cached, call_reaction, compiled, inlined, prefetch
from resources.exchange.costs import to_tick
from resources.exchange.families import orphan
from resources.exchange.filling import exposures, fill, is_open, move_mark
from resources.exchange.inside import inside
from resources.exchange.layout import DUST, FOREVER, LINE, NOWHERE, ROWS_A_SYMBOL, Desk, Integers, Log, Market, Records
from resources.exchange.pricing import met, price_reached, trail_level
from resources.exchange.requests import accept, is_sound, obey
from resources.exchange.settling import settle
from resources.exchange.terms import Terms
from resources.exchange.words import (
    ACCOUNT_SLOTS,
    ACTIVE,
    BORROW,
    CASH,
    DATE_REACHED,
    DIVIDENDS,
    END_ROW,
    EQUITY,
    EQUITY_BEFORE,
    EXPIRED,
    FILLS,
    FIRST_ROW,
    FUNDING,
    GROSS,
    GTD,
    HELD,
    INTEREST,
    LATE,
    LIVE,
    LOGGED,
    MIXED,
    NOW,
    OPENING,
    ORDERS,
    QUOTE,
    READY,
    SERIAL,
    SESSION_OVER,
    STEP,
    SUBMIT,
    TAKEN,
    TRAILING,
    TRAILING_PERCENT,
    VALUE,
)

DONE, NO_ROOM, UNBALANCED = range(3)
"""How `trade` came to its end: as asked, for want of room in the fills, or because the books do not balance."""

ROWS_AHEAD, ORDERS_AHEAD = 128, 16
"""How far ahead memory is asked for: waiting for the market's rows was a quarter of the time of a long history."""


@inlined
def open_bars(desk: Desk, market: Market) -> Any:
    """Let the step's bars begin, with what takes effect as they open (rule 17); when the last of them will be over."""
    now, symbols, step, serial = desk.tally[NOW], desk.symbols, desk.tally[STEP], desk.tally[SERIAL]
    rows = market.rows
    memory = rows.ctypes.data
    end, mixed = np.int64(0), np.int64(0)
    alike = rows[desk.tally[FIRST_ROW]].until
    for row in range(desk.tally[FIRST_ROW], desk.tally[END_ROW]):
        prefetch(memory + (row + ROWS_AHEAD) * rows.itemsize)
        bar = rows[row]
        symbol = symbols[bar.symbol]
        symbol.before = symbol.mark
        symbol.row, symbol.step, symbol.serial, symbol.opened = row, step, serial, now
        mixed |= bar.until ^ alike
        end = max(end, bar.until)
        if bar.extra != NOWHERE:
            take_actions(desk, bar.symbol, market.extras[bar.extra], bar.open, now)
    desk.tally[MIXED] = mixed != 0
    return end


@compiled
def mark_contracts(desk: Desk, rows: Records) -> None:
    """Pay changes of price at the open in foreign currencies, at the rates of then, whether anything fills or not."""
    for row in range(desk.tally[FIRST_ROW], desk.tally[END_ROW]):
        symbol = desk.symbols[rows[row].symbol]
        if symbol.paid == 0 and symbol.currency != 0:
            move_mark(desk.account, symbol, rows[row].open)


@compiled
def share_of(volume: float, lot: float) -> float:
    """Whole lots of a volume; a missing one is none, an unlimited one stays so."""
    if volume == math.inf:
        return volume
    return np.floor(volume / lot + DUST) * lot if volume > 0.0 else 0.0


@compiled
def offer_volume(terms: Terms, extras: Records, symbol: Any, bar: Any) -> None:
    """Rules 10 and 11: the share of a bar's volume that orders may take, in whole lots."""
    symbol.left = share_of(terms.participation * bar.volume, symbol.lot)
    if bar.flags & QUOTE:
        size = math.inf if bar.extra == NOWHERE else extras[bar.extra].bid_size
        symbol.left_sell = share_of(terms.participation * size, symbol.lot)


@compiled
def set_prices(order: Any, symbol: Any, bar: Any) -> None:
    """An order's prices for this bar: the level of a trailing stop (rule 7), on ticks away from its advantage (10)."""
    if order.kind in (TRAILING, TRAILING_PERCENT) and order.triggered == 0:
        if math.isnan(order.anchor):
            order.anchor = met(order, bar)
        order.stop = trail_level(order)
    if symbol.tick > 0.0:
        order.limit = to_tick(order.limit, symbol.tick, -order.side)
        order.stop = to_tick(order.stop, symbol.tick, order.side)


@compiled
def is_undecided(desk: Desk, rows: Records, row: int) -> bool:
    """Whether an order, or the order that a request is about, is in a bar that began before this step and goes on.

    What lies inside that bar is known at its end; until then the order can neither expire nor be cancelled.
    """
    order = desk.book[row]
    symbol = desk.symbols[order.symbol]
    if symbol.row == NOWHERE or symbol.closed >= rows[symbol.row].until:
        return False
    meant = order if order.action == SUBMIT else desk.book[order.names]
    return bool(is_open(meant.state) and meant.eligible <= symbol.opened)


@inlined
def make_live(terms: Terms, desk: Desk, market: Market, row: int) -> bool:
    """Whether an order of the book may fill in this step; if so, it and its bar's volume are made ready."""
    order = desk.book[row]
    now = desk.tally[NOW]
    if not is_open(order.state) or order.eligible > now:
        return False
    symbol, serial = desk.symbols[order.symbol], desk.tally[SERIAL]
    if desk.tally[LATE] > 0 and symbol.serial != serial and is_undecided(desk, market.rows, row):
        return False
    if order.action != SUBMIT and not obey(desk, row):
        return False
    if order.expires <= now:
        order.state, order.reason = EXPIRED, DATE_REACHED if order.tif == GTD else SESSION_OVER
        return False
    if symbol.serial != serial:
        return False
    bar = market.rows[symbol.row]
    set_prices(order, symbol, bar)
    if symbol.offered != serial:
        symbol.offered = serial
        offer_volume(terms, market.extras, symbol, bar)
    return True


@inlined
def gather(terms: Terms, desk: Desk, market: Market) -> None:
    """Rule 1: the orders that may fill in this step, by priority."""
    count = 0
    for place in range(desk.tally[ACTIVE]):
        row = desk.active[place]
        if make_live(terms, desk, market, row):
            desk.live[count] = row
            count += 1
    desk.tally[LIVE] = count


@inlined
def at_open(terms: Terms, desk: Desk, market: Market) -> None:
    """Everything that fills at the open: what frees the account, what loads it, then the children of both."""
    book, symbols, live, rows = desk.book, desk.symbols, desk.live, market.rows
    count = desk.tally[LIVE]
    for freeing in (True, False):
        for place in range(count):
            row = live[place]
            order = book[row]
            symbol = symbols[order.symbol]
            if not is_open(order.state) or (freeing and symbol.position * order.side >= 0.0):
                continue
            reached, price, reason, taker = price_reached(order, rows[symbol.row], terms.touch)
            if reached == OPENING:
                fill(terms, desk, rows, row, reached, price, reason, taker)
    while count < desk.tally[LIVE]:
        row = live[count]
        count += 1
        if make_live(terms, desk, market, row):
            order = book[row]
            reached, price, reason, taker = price_reached(order, rows[symbols[order.symbol].row], terms.touch)
            if reached == OPENING:
                fill(terms, desk, rows, row, reached, price, reason, taker)


@inlined
def tidy(desk: Desk) -> None:
    """Forget the orders that have ended."""
    kept = 0
    for place in range(desk.tally[ACTIVE]):
        row = desk.active[place]
        if desk.book[row].state == HELD:
            orphan(desk.book, row)
        if is_open(desk.book[row].state) or desk.book[row].state == HELD:
            desk.active[kept] = row
            kept += 1
    desk.tally[ACTIVE] = kept


@inlined
def balance(desk: Desk) -> bool:
    """Whether cash and positions at market, just added up, are the equity that prices, fills and costs lead to."""
    account = desk.account
    equity = account[CASH] + account[VALUE]
    scale = max(abs(equity), account[GROSS], 1.0)
    if not abs(equity - account[EQUITY]) <= 1e-9 * scale:
        return False
    account[EQUITY] = equity  # each step is proved by itself; rounding does not pile up
    return True


@inlined
def write_down(desk: Desk, log: Log) -> None:
    """Keep the account, and begin to count anew what was earned and paid."""
    row, account = desk.tally[LOGGED], desk.account
    if row < log.step.size:
        log.step[row] = desk.tally[STEP]
        for slot in range(ACCOUNT_SLOTS):
            log.account[row, slot] = account[slot]
        account[DIVIDENDS] = account[BORROW] = account[FUNDING] = account[INTEREST] = 0.0
    desk.tally[LOGGED] += 1


@compiled
def last_end(desk: Desk, rows: Records, end: int) -> int:
    """When all bars are over that are open after the last step."""
    for number in range(desk.symbols.size):
        row = desk.symbols[number].row
        if row != NOWHERE:
            end = max(end, rows[row].until)
    return end


@inlined
def trade_step(terms: Terms, desk: Desk, market: Market, step: int) -> None:
    """One step, up to the opening of the next or the end of its own bars, whichever comes first."""
    tally, now = desk.tally, market.opens[step]
    tally[STEP], tally[NOW] = step, now
    tally[SERIAL] += 1
    settle(terms, desk, market, now, True)
    while tally[TAKEN] < tally[ORDERS] and desk.book[tally[TAKEN]].submitted <= now:
        order = desk.book[tally[TAKEN]]
        symbol = desk.symbols[order.symbol]
        if market.rates.size > 0:  # money is sized with what was known then
            take_rates(desk, market.rates, order.submitted)
            if symbol.currency != 0:
                symbol.known = symbol.multiplier * rate_then(desk, market.rates, symbol, order.submitted)
        accept(desk, tally[TAKEN])
        if symbol.currency != 0:
            symbol.known = symbol.factor
        tally[TAKEN] += 1
    take_rates(desk, market.rates, now)
    desk.account[EQUITY_BEFORE] = desk.account[EQUITY]
    new_day(terms, desk, now)
    tally[SERIAL] += 1
    tally[FIRST_ROW], tally[END_ROW], tally[READY] = market.start[step], market.start[step + 1], 0
    end = open_bars(desk, market)
    if market.rates.size > 0:
        mark_contracts(desk, market.rows)
    following = market.opens[step + 1] if step + 1 < market.opens.size else FOREVER
    if tally[ACTIVE] > 0:
        gather(terms, desk, market)
        if tally[LIVE] > 0:
            at_open(terms, desk, market)
            inside(terms, desk, market.rows, following)
            tidy(desk)
    over = min(end if following < FOREVER else last_end(desk, market.rows, end), following)
    take_rates(desk, market.rates, over)
    settle(terms, desk, market, over, False)
    if tally[ACTIVE] > 0:
        tidy(desk)


@cached
def trade(
    terms: Terms, desk: Desk, market: Market, log: Log, first: int, last: int, reaction: int, places: Integers
) -> tuple[int, int]:
    """Trade the steps from `first` up to `last`: how that ended, and the step that is next.

    `reaction` is the address of a function that may submit orders after each step, told the `places` of what it reads;
    0 for none.
    """
    tally, memory = desk.tally, desk.book.ctypes.data
    for step in range(first, last):
        coming = tally[TAKEN]
        while coming < tally[ORDERS] and desk.book[coming].submitted <= market.opens[step]:
            coming += 1
            for line in range(0, desk.book.itemsize, LINE):
                prefetch(memory + (coming + ORDERS_AHEAD) * desk.book.itemsize + line)
        if desk.fills.size - tally[FILLS] < 2 * (tally[ACTIVE] + coming - tally[TAKEN]) + 4 * desk.symbols.size:
            return NO_ROOM, step
        if reaction != 0 and desk.book.size - tally[ORDERS] < ROWS_A_SYMBOL * desk.symbols.size:
            return NO_ROOM, step
        trade_step(terms, desk, market, step)
        if market.recorded[step]:
            exposures(desk.account, desk.symbols, log, tally[LOGGED])
            if not balance(desk):
                return UNBALANCED, step
            write_down(desk, log)
        if reaction != 0:
            call_reaction(reaction, places.ctypes.data)
            while tally[TAKEN] < tally[ORDERS]:
                if is_sound(desk, tally[TAKEN]):
                    accept(desk, tally[TAKEN])
                tally[TAKEN] += 1
    return DONE, last


@cached
def receive(desk: Desk, row: int) -> None:
    """Receive one request, between steps: what a live feed calls."""
    accept(desk, row)
    desk.tally[TAKEN] = max(desk.tally[TAKEN], row + 1)


@cached
def obey_now(desk: Desk, row: int) -> None:
    """Carry out a request to cancel or replace, between steps."""
    obey(desk, row)


@cached
def convert(desk: Desk, currency: int, rate: float) -> None:
    """A conversion rate, between steps."""
    set_rate(desk, currency, rate)


@cached
def finish(desk: Desk, number: int, reason: int) -> None:
    """A symbol leaves, between steps."""
    leave(desk, number, reason)
    tidy(desk)
