"""What trading costs: fills rules 12 to 15, by the models of each symbol. Importing this module loads numba."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from resources.exchange.compiled import call_model, compiled
from resources.exchange.layout import Floats
from resources.exchange.models import base
from resources.exchange.words import MONTH_NOTIONAL, MONTH_UNITS

MOST = 0.10
"""Rule 15: spread and slippage together never move a price by more than this share of it (and one tick of rounding)."""

SECONDS_PER_YEAR = 365.0 * 86_400.0


@compiled
def state_facts(facts: Floats, account: Floats, order: Any, symbol: Any) -> None:
    """Write down what a cost model is told of a fill, beside its price, quantity, volume and whether it rested."""
    facts[base.VOLATILITY] = math.sqrt(symbol.variance)
    facts[base.QUOTED] = symbol.half
    facts[base.ORDER_UNITS], facts[base.ORDER_NOTIONAL] = order.filled, order.notional
    facts[base.MONTH_UNITS], facts[base.MONTH_NOTIONAL] = account[MONTH_UNITS], account[MONTH_NOTIONAL]
    facts[base.MULTIPLIER], facts[base.SIDE] = symbol.multiplier, float(order.side)
    facts[base.RATE] = symbol.rate


@compiled
def half_spread(facts: Floats, symbol: Any) -> float:
    """Half of the spread as a fraction of the price, of the fill in `facts`."""
    half: float = call_model(symbol.spread_model, symbol.spread_numbers, facts.ctypes.data)
    return max(half, 0.0)


@compiled
def slippage(facts: Floats, symbol: Any) -> float:
    """Slippage as a fraction of the price, of the fill in `facts`."""
    share: float = call_model(symbol.slippage_model, symbol.slippage_numbers, facts.ctypes.data)
    return max(share, 0.0)


@compiled
def commission(facts: Floats, order: Any, symbol: Any, quantity: float) -> float:
    """What a fill of `quantity` adds to the order's commission, in account currency.

    `facts` has CHARGED and ACCRUED as they are after such a fill.
    """
    facts[base.QUANTITY], facts[base.CHARGED], facts[base.ACCRUED] = quantity, order.commission, order.accrued
    whole: float = call_model(symbol.commission_model, symbol.commission_numbers, facts.ctypes.data)
    facts[base.CHARGED] = whole
    return (whole - order.commission) * symbol.rate


@compiled
def to_tick(price: float, tick: float, direction: int) -> float:
    """The nearest price on the tick upwards (direction +1) or downwards (-1); unchanged where there is none above 0."""
    if tick <= 0.0 or math.isnan(price):
        return price
    steps = np.ceil(price / tick - 1e-6) if direction > 0 else np.floor(price / tick + 1e-6)
    return steps * tick if steps >= 1.0 else price


@compiled
def worse_by(price: float, quoted: float, side: int, share: float, tick: float, limit: float) -> float:
    """The price moved against the account by a share of it, on its tick (rule 10), within the limit (rule 15).

    `quoted` is what a quote's spread adds to a buy and takes from a sell, however wide it is.
    """
    moved: float = price * (1.0 + side * min(share, MOST)) + quoted
    if tick > 0.0:
        # The tolerance keeps a price that is on its tick, but for binary rounding, where it is.
        moved = to_tick(moved, tick, side)
    if side * moved > side * limit:
        moved = limit
    return moved
