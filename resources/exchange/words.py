"""The words of the exchange as small numbers, which compiled code compares, and their names outside of it."""

from __future__ import annotations

from resources.brokers.base import OrderState, OrderType, Sizing, TimeInForce

# Bits of a row's flags: the first and the last bar of its session, a tick, a tick that is a quote.
FIRST, LAST, TICK, QUOTE = 1, 2, 4, 8

(
    MARKET,
    LIMIT,
    STOP,
    STOP_LIMIT,
    TRAILING,
    TRAILING_PERCENT,
    MARKET_ON_OPEN,
    LIMIT_ON_OPEN,
    MARKET_ON_CLOSE,
    LIMIT_ON_CLOSE,
) = range(10)
KINDS = (
    OrderType.MARKET,
    OrderType.LIMIT,
    OrderType.STOP,
    OrderType.STOP_LIMIT,
    OrderType.TRAILING_STOP,
    OrderType.TRAILING_STOP_PERCENT,
    OrderType.MARKET_ON_OPEN,
    OrderType.LIMIT_ON_OPEN,
    OrderType.MARKET_ON_CLOSE,
    OrderType.LIMIT_ON_CLOSE,
)

DAY, GTC, GTD, IOC, FOK = range(5)
TIFS = (TimeInForce.DAY, TimeInForce.GTC, TimeInForce.GTD, TimeInForce.IOC, TimeInForce.FOK)

UNITS, NOTIONAL, TARGET_WEIGHT, TARGET_POSITION = range(4)
SIZINGS = (Sizing.UNITS, Sizing.NOTIONAL, Sizing.TARGET_WEIGHT, Sizing.TARGET_POSITION)

SUBMIT, CANCEL, REPLACE = range(3)
ACTIONS = ("submit", "cancel", "replace")

INTENDED, HELD, ACCEPTED, PARTIAL, FILLED, CANCELLED, REJECTED, EXPIRED = range(8)
STATES = (
    OrderState.INTENDED,
    OrderState.HELD,
    OrderState.ACCEPTED,
    OrderState.PARTIALLY_FILLED,
    OrderState.FILLED,
    OrderState.CANCELLED,
    OrderState.REJECTED,
    OrderState.EXPIRED,
)

# Why a fill took place. From DELISTING on, no order is behind it.
AT_OPEN, AT_LIMIT, AT_STOP, GAP, AT_CLOSE, AT_QUOTE, DELISTING, CASH_IN_LIEU, EXPIRY, EXERCISE, ASSIGNMENT = range(11)
FILL_REASONS = (
    "open",
    "limit",
    "stop",
    "gap",
    "close",
    "quote",
    "delisting",
    "cash_in_lieu",
    "expiry",
    "exercise",
    "assignment",
)
RELISTING = -1
"""Of an EXIT: the symbol is back."""

CORPORATE = FILL_REASONS[DELISTING:]
"""Reasons of fills that no order is behind."""

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
    OTHER_FILLED,
    PARENT_ENDED,
    NOTHING_TO_REDUCE,
    DATE_REACHED,
    AUCTION_OVER,
    TOO_SMALL,
    EXITED,
    NOT_OPEN,
    NOT_SOUND,
) = range(23)
ORDER_REASONS = (
    "",
    "day order: the session is over",
    "ioc: what did not fill at once is cancelled",
    "fok: could not be filled whole",
    "the account cannot carry it",
    "shrunk to what the account can carry",
    "less than one lot is left after the split",
    "delisted or expired",
    "cancelled on request",
    "replaced by a later order",
    "already at its target",
    "no price was known when it was submitted",
    "the history is over",
    "submitted before the first session traded",
    "oco: another order of its group filled",
    "the order that it waited for ended without a fill",
    "reduce-only: no position is left to reduce",
    "gtd: its instant has come",
    "the auction is over",
    "comes to less than one lot, or than the smallest order of its venue",
    "an exit filled before the entry was complete",
    "the order that it names is not open, or has filled so much already",
    "on_bar: its quantity is no positive number of lots, or its type lacks a positive price",
)

HAS_CHILDREN, GROUP_FILLED = 1, 2

# When in a bar a price was reached.
NEVER, OPENING, INSIDE = range(3)

# Slots of the account. From DIVIDENDS to INTEREST: amounts since the last record.
(
    CASH,
    EQUITY,
    VALUE,
    GROSS,
    NET,
    MARGIN,
    DIVIDENDS,
    BORROW,
    FUNDING,
    INTEREST,
    EQUITY_BEFORE,
    MONTH_UNITS,
    MONTH_NOTIONAL,
) = range(13)
ACCOUNT_SLOTS = 13

# Counters and instants of the desk. SERIAL numbers the phases of all steps, of which several may be at one instant.
# LATE bars are open that began in earlier steps; MIXED is 1 where the bars of a step end at several instants.
# CARRIES is 1 once anything was held that may cost by the day: a short position, or one that is not paid in full.
(
    FILLS,
    ACTIVE,
    LIVE,
    ORDERS,
    TAKEN,
    LATE,
    MIXED,
    READY,
    STEP,
    FIRST_ROW,
    END_ROW,
    NOW,
    CLOSED,
    CARRIED,
    MONTH,
    NEXT_RATE,
    NEXT_EXIT,
    LOGGED,
    SERIAL,
    CARRIES,
) = range(20)
TALLIES = 20
