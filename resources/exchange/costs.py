"""What trading costs: fills rules 12 to 15. Importing this module loads numba; the numbers are in terms.py."""

from __future__ import annotations

import math
from typing import Any

from resources.exchange.compiled import compiled
from resources.exchange.terms import Terms

MOST = 0.10
"""Rule 15: spread and slippage together never move a price by more than this share of it (and one tick of rounding)."""

SECONDS_PER_YEAR = 365.0 * 86_400.0


@compiled
def fill_price(terms: Terms, order: Any, reference: float, taker: bool, tick: float) -> float:
    """Price after half the spread and slippage (rules 12, 13), rounded to the tick against the account (rule 10).

    Only an order that takes liquidity pays them. Never worse than the order's limit, if it has one (rule 15).
    """
    side, limit = order.side, order.limit
    share = min(terms.half_spread + terms.slippage, MOST) if taker else 0.0
    price: float = reference * (1.0 + side * share)
    if tick > 0.0:
        # The tolerance keeps a price that is on its tick, but for binary rounding, where it is.
        price = (math.ceil(price / tick - 1e-6) if side > 0 else max(math.floor(price / tick + 1e-6), 1.0)) * tick
    if side * price > side * limit:
        price = limit
    return price


@compiled
def spread_part(terms: Terms, side: int, reference: float, price: float, taker: bool) -> float:
    """The part of |price - reference| that is spread, per unit. The rest, with the tick's rounding, is slippage."""
    if not taker:
        return 0.0
    return max(min(side * (price - reference), terms.half_spread * reference), 0.0)


@compiled
def commission(terms: Terms, accrued: float, charged: float, quantity: float) -> float:
    """What this fill adds to the order's commission (rule 14): per share, with a minimum for the whole order."""
    return max(accrued + terms.per_share * quantity, terms.minimum) - charged


@compiled
def carrying(rate: float, amount: float, seconds: float) -> float:
    """Borrow cost of a short position, or interest on an overdraft, of `amount` held for so long (rule 14)."""
    return rate * amount * seconds / SECONDS_PER_YEAR
