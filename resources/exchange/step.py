"""A step: an instant at which bars open, from what happened before it to the closes after it. Compiled.

The order of things, which is the same for history and a live feed:

    requests received by now             requests.py
    carrying costs, corporate actions    account.py
    the open                             what frees the account first, then what loads it, then children of these
    the inside of the bars               the worse order of things first
    closes, as the bars end              closing.py: the auction, orders that end, trailing stops that follow

Importing this module loads numba; `venue.py` does so when it is first needed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from resources.exchange.account import close_rows, leave, new_day, set_rate, take_actions, take_rates
from resources.exchange.closing import close_bars
from resources.exchange.compiled import borrowed, cached, call_reaction, compiled, inlined
from resources.exchange.costs import to_tick
from resources.exchange.families import DUST, orphan
from resources.exchange.filling import exposures, fill, is_open
from resources.exchange.layout import (
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
    FOREVER,
    FUNDING,
    GROSS,
    HELD,
    INSIDE,
    INTEREST,
    LATE,
    LIVE,
    LOGGED,
    NEXT_EXIT,
    NOW,
    NOWHERE,
    OPENING,
    ORDERS,
    QUOTE,
    READY,
    SERIAL,
    STEP,
    SUBMIT,
    TAKEN,
    TRAILING,
    TRAILING_PERCENT,
    VALUE,
    ROWS_A_SYMBOL,
    Desk,
    Integers,
    Log,
    Market,
    Records,
)
from resources.exchange.pricing import is_stop, price_reached, trail_level
from resources.exchange.requests import accept, obey
from resources.exchange.terms import Terms

DONE, NO_ROOM, UNBALANCED = range(3)
"""How `trade` came to its end: as asked, for want of room in the fills, or because the books do not balance."""


@inlined
def open_bars(desk: Desk, rows: Records) -> int:
    """Let the step's bars begin, with what takes effect as they open (rule 17); when the last of them will be over."""
    now, symbols, step, serial = desk.tally[NOW], desk.symbols, desk.tally[STEP], desk.tally[SERIAL]
    end = np.int64(0)
    for row in range(desk.tally[FIRST_ROW], desk.tally[END_ROW]):
        bar = rows[row]
        symbol = symbols[bar.symbol]
        symbol.before = symbol.mark
        symbol.row, symbol.step, symbol.serial, symbol.opened = row, step, serial, now
        end = max(end, bar.until)
        if bar.split != 1.0 or (symbol.position != 0.0 and (bar.dividend != 0.0 or bar.funding != 0.0)):
            take_actions(desk, bar, now)
    return end


@compiled
def share_of(volume: float, lot: float) -> float:
    """Whole lots of a volume; a missing one is none, an unlimited one stays so."""
    if volume == math.inf:
        return volume
    return math.floor(volume / lot + DUST) * lot if volume > 0.0 else 0.0


@compiled
def offer_volume(terms: Terms, symbol: Any, bar: Any) -> None:
    """Rules 10 and 11: the share of a bar's volume that orders may take, in whole lots."""
    if bar.flags & QUOTE:
        symbol.left = share_of(terms.participation * bar.ask_size, symbol.lot)
        symbol.left_sell = share_of(terms.participation * bar.bid_size, symbol.lot)
    else:
        symbol.left = share_of(terms.participation * bar.volume, symbol.lot)


@compiled
def set_prices(order: Any, symbol: Any, bar: Any) -> None:
    """An order's prices for this bar: the level of a trailing stop (rule 7), on ticks away from its advantage (10)."""
    if order.kind in (TRAILING, TRAILING_PERCENT) and order.triggered == 0:
        if math.isnan(order.anchor):
            order.anchor = bar.open
        order.stop = trail_level(order)
    if symbol.tick > 0.0:
        order.limit = to_tick(order.limit, symbol.tick, -order.side)
        order.stop = to_tick(order.stop, symbol.tick, order.side)


@inlined
def make_live(terms: Terms, desk: Desk, rows: Records, row: int) -> bool:
    """Whether an order of the book may fill in this step; if so, it and its bar's volume are made ready."""
    order = desk.book[row]
    now = desk.tally[NOW]
    if not is_open(order.state) or order.eligible > now:
        return False
    if order.action != SUBMIT and not obey(desk, row):
        return False
    if order.expires <= now:
        order.state, order.reason = EXPIRED, DATE_REACHED
        return False
    symbol, serial = desk.symbols[order.symbol], desk.tally[SERIAL]
    if symbol.serial != serial:
        return False
    bar = rows[symbol.row]
    set_prices(order, symbol, bar)
    if symbol.offered != serial:
        symbol.offered = serial
        offer_volume(terms, symbol, bar)
    return True


@inlined
def gather(terms: Terms, desk: Desk, rows: Records) -> None:
    """Rule 1: the orders that may fill in this step, by priority."""
    count = 0
    for place in range(desk.tally[ACTIVE]):
        row = desk.active[place]
        if make_live(terms, desk, rows, row):
            desk.live[count] = row
            count += 1
    desk.tally[LIVE] = count


@inlined
def at_open(terms: Terms, desk: Desk, rows: Records) -> None:
    """Everything that fills at the open: what frees the account, what loads it, then the children of both."""
    book, symbols, live = desk.book, desk.symbols, desk.live
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
        if make_live(terms, desk, rows, row):
            order = book[row]
            reached, price, reason, taker = price_reached(order, rows[symbols[order.symbol].row], terms.touch)
            if reached == OPENING:
                fill(terms, desk, rows, row, reached, price, reason, taker)


@compiled
def comes_before(book: Records, symbols: Records, one: int, other: int) -> bool:
    """Which of two orders is tried first inside the bar, where nobody knows the path: the worse one for the account.

    Loading before freeing (money from a sale that may come later is not spent), stops before limits, dearer buys and
    cheaper sells first. The better path has them the other way round.
    """
    first, second = book[one], book[other]
    first_frees = bool(symbols[first.symbol].position * first.side < 0.0)
    second_frees = bool(symbols[second.symbol].position * second.side < 0.0)
    if first_frees != second_frees:
        return second_frees
    if is_stop(first.kind) != is_stop(second.kind):
        return is_stop(first.kind)
    if first.symbol != second.symbol or first.side != second.side:
        return False
    if is_stop(first.kind):
        return bool(first.side * first.stop > first.side * second.stop)
    return bool(first.side * first.limit > first.side * second.limit)


@compiled
def queue_up(terms: Terms, desk: Desk, rows: Records) -> int:
    """Put the live orders whose price lies inside their bar first in `live`, in the order to be tried; their number."""
    book, symbols, queue = desk.book, desk.symbols, desk.live
    length = 0
    for number in range(desk.tally[LIVE]):
        row = queue[number]
        order = book[row]
        bar = rows[symbols[order.symbol].row]
        if not is_open(order.state) or not bar.volume > 0.0:
            continue
        reached, _, _, _ = price_reached(order, bar, terms.touch)
        # Rule 16: the price may be reached after the order's time, which costs a limit its fill and may spare no stop.
        if reached != INSIDE or (order.expires < bar.until and not is_stop(order.kind)):
            continue
        order.reached = desk.tally[SERIAL]
        place = length
        while place > 0:
            other = queue[place - 1]
            earlier = comes_before(book, symbols, other, row) if terms.better else comes_before(book, symbols, row, other)
            if not earlier:
                break
            queue[place] = other
            place -= 1
        queue[place] = row
        length += 1
    return length


@compiled
def inside(terms: Terms, desk: Desk, rows: Records) -> None:
    """Everything that fills after the open, at its own price; ambiguous where orders compete for the bar's volume."""
    start = desk.tally[FILLS]
    for place in range(queue_up(terms, desk, rows)):
        row = desk.live[place]
        order = desk.book[row]
        if not is_open(order.state):
            continue
        symbol = desk.symbols[order.symbol]
        bar = rows[symbol.row]
        wanted = order.quantity - order.filled
        short = wanted - min(wanted, symbol.left) > DUST
        _, price, reason, taker = price_reached(order, bar, terms.touch)
        if fill(terms, desk, rows, row, INSIDE, price, reason, taker) and order.expires < bar.until:
            desk.fills[desk.tally[FILLS] - 1].ambiguous = 1
        if short:
            flag_rivals(desk.fills[start : desk.tally[FILLS]], order.symbol, row)


@compiled
def flag_rivals(fills: Records, symbol: int, row: int) -> None:
    """Flag the fills of a symbol if more than one order had a claim on the volume that ran out."""
    rivals = False
    for done in fills:
        rivals = rivals or (done.symbol == symbol and done.order != row)
    for done in fills:
        if rivals and done.symbol == symbol:
            done.ambiguous = 1


@inlined
def settle(terms: Terms, desk: Desk, market: Market, now: int) -> None:
    """Let time pass to `now`: closes, conversion rates and departures that are due, in this order."""
    tally, rows, symbols = desk.tally, market.rows, desk.symbols
    first, end = tally[FIRST_ROW], tally[END_ROW]
    tally[FIRST_ROW] = end
    waiting = tally[LATE] > 0
    if first < end:
        tally[LATE] += close_rows(terms, desk, rows, first, end, now)
    if waiting:
        for number in range(symbols.size):
            row = symbols[number].row
            if row != NOWHERE and row < first and symbols[number].closed < rows[row].until and rows[row].until <= now:
                tally[LATE] += close_rows(terms, desk, rows, row, row + 1, now) - 1
    if (first < end or waiting) and tally[ACTIVE] > 0:
        close_bars(terms, desk, rows)
    take_rates(desk, market.rates, now)
    while tally[NEXT_EXIT] < market.exits.size and market.exits[tally[NEXT_EXIT]].at <= now:
        leave(desk, market.exits[tally[NEXT_EXIT]].symbol, market.exits[tally[NEXT_EXIT]].reason)
        tally[NEXT_EXIT] += 1


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
    """Whether cash and positions at market are the equity that prices, fills and costs lead to."""
    account = desk.account
    exposures(account, desk.symbols)
    equity = account[CASH] + account[VALUE]
    scale = max(abs(equity), account[GROSS], 1.0)
    if not abs(equity - account[EQUITY]) <= 1e-9 * scale:
        return False
    account[EQUITY] = equity  # each step is proved by itself; rounding does not pile up
    return True


@inlined
def write_down(desk: Desk, log: Log) -> None:
    """Keep the account and what is held by symbol, and begin to count anew what was earned and paid."""
    row, account, symbols = desk.tally[LOGGED], desk.account, desk.symbols
    if row < log.step.size:
        log.step[row] = desk.tally[STEP]
        for slot in range(ACCOUNT_SLOTS):
            log.account[row, slot] = account[slot]
        for number in range(symbols.size):
            symbol = symbols[number]
            if symbol.position != 0.0:
                log.position[row, number], log.mark[row, number] = symbol.position, symbol.mark
                log.average[row, number] = symbol.average
                if log.factor.size > 0:
                    log.factor[row, number] = symbol.factor
        account[DIVIDENDS] = account[BORROW] = account[FUNDING] = account[INTEREST] = 0.0
    desk.tally[LOGGED] += 1


@inlined
def trade_step(terms: Terms, desk: Desk, market: Market, step: int) -> None:
    """One step, up to the opening of the next or the end of its own bars, whichever comes first."""
    tally, now = desk.tally, market.opens[step]
    tally[STEP], tally[NOW] = step, now
    tally[SERIAL] += 1
    settle(terms, desk, market, now)
    while tally[TAKEN] < tally[ORDERS] and desk.book[tally[TAKEN]].submitted <= now:
        accept(desk, tally[TAKEN])
        tally[TAKEN] += 1
    desk.account[EQUITY_BEFORE] = desk.account[EQUITY]
    new_day(terms, desk, now)
    tally[SERIAL] += 1
    tally[FIRST_ROW], tally[END_ROW], tally[READY] = market.start[step], market.start[step + 1], 0
    end = open_bars(desk, market.rows)
    if tally[ACTIVE] > 0:
        gather(terms, desk, market.rows)
        if tally[LIVE] > 0:
            at_open(terms, desk, market.rows)
            inside(terms, desk, market.rows)
    following = market.opens[step + 1] if step + 1 < market.opens.size else FOREVER
    settle(terms, desk, market, min(end, following))
    if tally[ACTIVE] > 0:
        tidy(desk)


@inlined
def lent(desk: Desk) -> Desk:
    return Desk(
        borrowed(desk.book),
        borrowed(desk.active),
        borrowed(desk.live),
        borrowed(desk.tally),
        borrowed(desk.account),
        borrowed(desk.symbols),
        borrowed(desk.facts),
        borrowed(desk.fills),
    )


@inlined
def lent_market(market: Market) -> Market:
    return Market(
        borrowed(market.rows),
        borrowed(market.opens),
        borrowed(market.start),
        borrowed(market.recorded),
        borrowed(market.rates),
        borrowed(market.exits),
    )


@inlined
def lent_log(log: Log) -> Log:
    return Log(
        borrowed(log.step),
        borrowed(log.account),
        borrowed(log.position),
        borrowed(log.mark),
        borrowed(log.average),
        borrowed(log.factor),
    )


@cached
def trade(
    terms: Terms, desk: Desk, market: Market, log: Log, first: int, last: int, reaction: int, places: Integers
) -> tuple[int, int]:
    """Trade the steps from `first` up to `last`: how that ended, and the step that is next.

    `reaction` is the address of a function that may submit orders after each step, told the `places` of what it reads;
    0 for none.
    """
    desk, market, log = lent(desk), lent_market(market), lent_log(log)
    tally = desk.tally
    for step in range(first, last):
        coming = tally[TAKEN]
        while coming < tally[ORDERS] and desk.book[coming].submitted <= market.opens[step]:
            coming += 1
        if desk.fills.size - tally[FILLS] < 2 * (tally[ACTIVE] + coming - tally[TAKEN]) + 4 * desk.symbols.size:
            return NO_ROOM, step
        if reaction != 0 and desk.book.size - tally[ORDERS] < ROWS_A_SYMBOL * desk.symbols.size:
            return NO_ROOM, step
        trade_step(terms, desk, market, step)
        if market.recorded[step]:
            if not balance(desk):
                return UNBALANCED, step
            write_down(desk, log)
        if reaction != 0:
            call_reaction(reaction, places.ctypes.data)
            while tally[TAKEN] < tally[ORDERS]:
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
