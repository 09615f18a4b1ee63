"""The words of the exchange as numbers and arrays: what compiled code and Python share. Needs numpy only."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from resources.brokers.base import OrderState, OrderType, TimeInForce

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Records = npt.NDArray[Any]

# Columns of a session's bars: one row a symbol, NaN prices where the symbol has no bar.
OPEN, HIGH, LOW, CLOSE, VOLUME, SPLIT, DIVIDEND = range(7)
BAR_COLUMNS = ("open", "high", "low", "close", "volume", "split", "dividend")

MARKET, LIMIT, STOP, STOP_LIMIT = range(4)
KINDS = (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT)

DAY, GTC, IOC, FOK = range(4)
TIFS = (TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)

INTENDED, ACCEPTED, PARTIAL, FILLED, CANCELLED, REJECTED, EXPIRED = range(7)
STATES = (
    OrderState.INTENDED,
    OrderState.ACCEPTED,
    OrderState.PARTIALLY_FILLED,
    OrderState.FILLED,
    OrderState.CANCELLED,
    OrderState.REJECTED,
    OrderState.EXPIRED,
)

# Why a fill took place.
AT_OPEN, AT_LIMIT, AT_STOP, GAP, DELISTING, CASH_IN_LIEU = range(6)
FILL_REASONS = ("open", "limit", "stop", "gap", "delisting", "cash_in_lieu")

# Why an order ended, or rests.
(
    NO_REASON,
    SESSION_OVER,
    NOT_AT_ONCE,
    NOT_WHOLE,
    CANNOT_CARRY,
    SHRUNK,
    SPLIT_AWAY,
    DELISTED,
    BY_REQUEST,
    REPLACED,
    AT_TARGET,
    NO_PRICE,
    HISTORY_OVER,
    BEFORE_START,
) = range(14)
ORDER_REASONS = (
    "",
    "day order: the session is over",
    "ioc: what did not fill at once is cancelled",
    "fok: could not be filled whole",
    "the account cannot carry it",
    "shrunk to what the account can carry",
    "less than one lot is left after the split",
    "delisted",
    "cancelled on request",
    "replaced by a later target",
    "already at its target",
    "no price was known when it was submitted",
    "the history is over",
    "submitted before the first session traded",
)

# When in a bar a price was reached.
NEVER, OPENING, INSIDE = range(3)

# Slots of the account.
CASH, EQUITY, VALUE, GROSS, DIVIDENDS, BORROW, INTEREST, RULES = range(8)
ACCOUNT_SLOTS = 8

FILLS, ACTIVE = range(2)

ORDER = np.dtype(
    [
        ("submitted", np.int64),
        ("eligible", np.int64),
        ("quantity", np.float64),
        ("filled", np.float64),
        ("limit", np.float64),
        ("stop", np.float64),
        ("accrued", np.float64),
        ("commission", np.float64),
        ("detail", np.float64),
        ("symbol", np.int32),
        ("side", np.int8),
        ("kind", np.int8),
        ("tif", np.int8),
        ("state", np.int8),
        ("reason", np.int8),
        ("triggered", np.int8),
    ],
    align=True,
)
"""An order at the venue. Instants in microseconds; side +1 or -1; absent prices are NaN. `accrued` is the per-share
commission so far, before the minimum; `commission` what was charged; `detail` the gross exposure that it was
rejected for, as a multiple of equity."""

FILL = np.dtype(
    [
        ("order", np.int64),
        ("quantity", np.float64),
        ("price", np.float64),
        ("reference", np.float64),
        ("spread", np.float64),
        ("slippage", np.float64),
        ("commission", np.float64),
        ("symbol", np.int32),
        ("side", np.int8),
        ("reason", np.int8),
        ("ambiguous", np.int8),
    ],
    align=True,
)
"""A fill. `order` is the row in the book (-1: a corporate action); costs are amounts in account currency."""


class Desk(NamedTuple):
    """All the state that a session reads and writes, as arrays that are changed in place."""

    book: Records
    """ORDER rows, in the order received."""
    active: Integers
    """Rows of the book that may still be open; the first tally[ACTIVE] count."""
    tally: Integers
    account: Floats
    position: Floats
    """Units held by symbol, negative when short."""
    mark: Floats
    """Last price by symbol, NaN before the first."""
    left: Floats
    """Volume by symbol that orders may still take from this bar."""
    lot: Floats
    tick: Floats
    """Price step by symbol; 0.0 where prices are continuous."""
    fills: Records
    """FILL rows of this session; the first tally[FILLS] count."""
