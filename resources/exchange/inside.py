"""The inside of a bar, whose path nobody knows: who is tried first, and which fills hung on it. Compiled.

Rules 4, 5, 7, 8 and 10, after the open.
"""

from __future__ import annotations

from resources.exchange.compiled import compiled, inlined
from resources.exchange.filling import fill, is_open
from resources.exchange.layout import DUST, Desk, Records
from resources.exchange.pricing import is_stop, price_reached
from resources.exchange.terms import Terms
from resources.exchange.words import FILLS, INSIDE, LIVE, SERIAL


@compiled
def rank(desk: Desk, row: int) -> int:
    """When an order is tried inside the bar, where nobody knows the path: what is worse for the account comes first.

    Loading before freeing (money from a sale that may come later is not spent), stops before limits. The better path
    has them the other way round.
    """
    order = desk.book[row]
    frees = desk.symbols[order.symbol].position * order.side < 0.0
    return (2 if frees else 0) + (0 if is_stop(order.kind) else 1)


@compiled
def is_dearer(desk: Desk, one: int, other: int) -> bool:
    """Whether the first of two orders of a symbol and side has the worse price: dearer buys and cheaper sells."""
    first, second = desk.book[one], desk.book[other]
    if first.symbol != second.symbol or first.side != second.side:
        return False
    if is_stop(first.kind):
        return bool(first.side * first.stop > first.side * second.stop)
    return bool(first.side * first.limit > first.side * second.limit)


@compiled
def place_in(terms: Terms, desk: Desk, row: int, length: int) -> int:
    """Where an order belongs in the queue: by rank, in a symbol by price, and else as it was received."""
    place, way = length, -1 if terms.better else 1
    mine = way * rank(desk, row)
    for number in range(length - 1, -1, -1):
        other = desk.live[number]
        theirs = way * rank(desk, other)
        if theirs < mine:
            break
        dearer = is_dearer(desk, other, row) if terms.better else is_dearer(desk, row, other)
        if theirs > mine or dearer:
            place = number
    return place


@inlined
def queue_up(terms: Terms, desk: Desk, rows: Records, now: int) -> int:
    """Put the live orders whose price lies inside their bar first in `live`, in the order to be tried; their number.

    Bars that are not over by `now` wait: what lies inside them is known to nobody yet.
    """
    book, symbols, queue = desk.book, desk.symbols, desk.live
    length = 0
    for number in range(desk.tally[LIVE]):
        row = queue[number]
        order = book[row]
        bar = rows[symbols[order.symbol].row]
        if not is_open(order.state) or not bar.volume > 0.0 or bar.until > now:
            continue
        reached, _, _, _ = price_reached(order, bar, terms.touch)
        # Rule 16: the price may be reached after the order's time, which costs a limit its fill and may spare no stop.
        if reached != INSIDE or (order.expires < bar.until and not is_stop(order.kind)):
            continue
        order.reached = desk.tally[SERIAL]
        place = place_in(terms, desk, row, length)
        for later in range(length, place, -1):
            queue[later] = queue[later - 1]
        queue[place] = row
        length += 1
    return length


@inlined
def inside(terms: Terms, desk: Desk, rows: Records, now: int) -> None:
    """Everything that fills after the open of bars that are over by `now`, at its own price.

    Ambiguous where orders compete for the bar's volume.
    """
    start = desk.tally[FILLS]
    for place in range(queue_up(terms, desk, rows, now)):
        row = desk.live[place]
        order = desk.book[row]
        if not is_open(order.state):
            continue
        symbol = desk.symbols[order.symbol]
        bar = rows[symbol.row]
        wanted = order.quantity - order.filled
        short = wanted - min(wanted, symbol.left) > DUST
        _, price, reason, taker = price_reached(order, bar, terms.touch)
        if fill(terms, desk, rows, row, INSIDE, price, reason, taker):
            done = desk.fills[desk.tally[FILLS] - 1]
            done.step = symbol.step
            if order.expires < bar.until:
                done.ambiguous = 1
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
