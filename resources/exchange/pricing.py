"""Rules 3 to 7: when in a bar, or at a tick, an order reaches its price, and which price that is. Compiled.

A sell mirrors a buy: comparisons are written for a buy and multiplied by the side (+1, -1).
"""

from __future__ import annotations

import math
from typing import Any

from resources.exchange.compiled import compiled
from resources.exchange.words import (
    AT_LIMIT,
    AT_OPEN,
    AT_QUOTE,
    AT_STOP,
    FIRST,
    FOK,
    GAP,
    INSIDE,
    IOC,
    LIMIT,
    LIMIT_ON_CLOSE,
    LIMIT_ON_OPEN,
    MARKET,
    MARKET_ON_CLOSE,
    MARKET_ON_OPEN,
    NEVER,
    OPENING,
    QUOTE,
    STOP,
    STOP_LIMIT,
    TICK,
    TRAILING,
    TRAILING_PERCENT,
)


@compiled
def is_stop(kind: int) -> bool:
    """Whether the order becomes a market order once its price is reached."""
    return kind == STOP or kind in (TRAILING, TRAILING_PERCENT)


@compiled
def price_reached(order: Any, bar: Any, touch: bool) -> tuple[int, float, int, bool]:
    """Where an order that is live stands in a bar or tick.

    When it would fill (NEVER, OPENING, INSIDE), at which price before costs, why, and whether the fill takes liquidity
    and so pays spread and slippage (rules 12, 13).
    """
    if bar.flags & TICK:
        return at_tick(order, bar, touch)
    kind, side, limit, stop, triggered = order.kind, order.side, order.limit, order.stop, order.triggered != 0
    start, good, bad = bar.open, bar.low, bar.high
    if side < 0:
        good, bad = bar.high, bar.low
    immediate = order.tif in (IOC, FOK)
    if kind == MARKET or (triggered and is_stop(kind)):  # rule 3
        return OPENING, start, AT_OPEN, True
    if kind in (MARKET_ON_OPEN, LIMIT_ON_OPEN, MARKET_ON_CLOSE, LIMIT_ON_CLOSE):
        met = kind == MARKET_ON_OPEN or (kind == LIMIT_ON_OPEN and side * start <= side * limit)
        return OPENING if met and bar.flags & FIRST else NEVER, start, AT_OPEN, kind == MARKET_ON_OPEN
    if is_stop(kind):  # rules 5 and 7
        if side * start >= side * stop:
            return OPENING, start, GAP, True
        if side * bad >= side * stop:
            return INSIDE, stop, AT_STOP, True
    elif kind == STOP_LIMIT and not triggered:  # rule 6: on its trigger bar, only a gap that the limit allows
        if side * start >= side * stop and side * start <= side * limit:
            return OPENING, start, GAP, True
    elif side * start <= side * limit:  # rule 4
        return OPENING, start, GAP, immediate
    elif not immediate and (side * good < side * limit or (touch and good == limit)):
        return INSIDE, limit, AT_LIMIT, False
    return NEVER, math.nan, AT_OPEN, False


@compiled
def at_tick(order: Any, bar: Any, touch: bool) -> tuple[int, float, int, bool]:
    """The same on a quote or a trade: a buy meets the ask, a sell the bid, either of them a trade's price.

    A limit that rests is filled at its own price; of trades, only by one beyond it (or at it, with `touch`). What is
    left of one that met its price on arrival goes on taking.
    """
    kind, side, limit, stop, triggered = order.kind, order.side, order.limit, order.stop, order.triggered != 0
    price, middle = met(order, bar), bar.open
    if kind == MARKET or (triggered and is_stop(kind)):
        return OPENING, middle, AT_QUOTE, True
    if is_stop(kind):
        if side * price >= side * stop:
            return OPENING, middle, AT_STOP if price == stop else GAP, True
    elif kind == STOP_LIMIT and not triggered:
        if side * price >= side * stop and side * price <= side * limit:
            return OPENING, middle, GAP, True
    elif kind in (LIMIT, STOP_LIMIT):
        if order.rested == 0 and side * price <= side * limit:
            return OPENING, middle, AT_QUOTE, True
        sure = side * price < side * limit or ((touch or bar.flags & QUOTE != 0) and price == limit)
        if order.rested != 0 and sure:
            return OPENING, limit, AT_LIMIT, False
    elif bar.flags & FIRST and (kind == MARKET_ON_OPEN or (kind == LIMIT_ON_OPEN and side * price <= side * limit)):
        return OPENING, middle, AT_OPEN, True
    return NEVER, math.nan, AT_OPEN, False


@compiled
def met(order: Any, bar: Any) -> float:
    """The price that an order meets on a tick: a buy the ask, a sell the bid, either of them a trade's price."""
    price: float = bar.open
    if bar.flags & QUOTE:
        price = bar.high if order.side > 0 else bar.low
    return price


@compiled
def takes(order: Any, bar: Any) -> bool:
    """Whether what is left of an order would still take what a tick offers: it rests only once the price is beyond."""
    limited = order.kind in (LIMIT, STOP_LIMIT) and bar.flags & TICK != 0
    return bool(limited and order.rested == 0 and order.side * met(order, bar) <= order.side * order.limit)


@compiled
def trailed(order: Any, bar: Any) -> float:
    """Rule 7: where a bar takes the anchor of a trailing stop; a quote's other side is nothing that it follows."""
    best = bar.low if order.side > 0 else bar.high
    if bar.flags & QUOTE:
        best = met(order, bar)
    anchor: float = min(order.anchor, best) if order.side > 0 else max(order.anchor, best)
    return anchor


@compiled
def at_close(order: Any, price: float) -> bool:
    """Whether an order for the closing auction fills at this close."""
    if order.kind == MARKET_ON_CLOSE:
        return True
    return bool(order.kind == LIMIT_ON_CLOSE and order.side * price <= order.side * order.limit)


@compiled
def trail_level(order: Any) -> float:
    """Rule 7: the stop of a trailing order that follows its anchor, below it for a sell."""
    if order.kind == TRAILING_PERCENT:
        level: float = order.anchor * (1.0 + order.side * order.trail / 100.0)
    else:
        level = order.anchor + order.side * order.trail
    return level


@compiled
def stop_reached(order: Any, bar: Any) -> bool:
    """Whether a bar or tick reached the order's stop, filled or not: from then on it is a market or limit order."""
    side = order.side
    worst = bar.high if side > 0 else bar.low
    return bool(side * worst >= side * order.stop)
