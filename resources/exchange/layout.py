"""The records of the exchange: arrays that compiled code and Python share. Needs numpy only."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from resources.exchange.words import ACCOUNT_SLOTS

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Records = npt.NDArray[Any]

NOWHERE = -1
"""No row: of a book, or of a market."""
FOREVER = np.iinfo(np.int64).max
"""An instant that never comes."""
DUST = 1e-9
"""Quantities smaller than this are nothing."""

BAR_COLUMNS = ("open", "high", "low", "close", "volume", "split", "dividend")
QUOTE_COLUMNS = ("bid", "ask", "bid_size", "ask_size")

ROW = np.dtype(
    [
        ("open", np.float64),
        ("high", np.float64),
        ("low", np.float64),
        ("close", np.float64),
        ("volume", np.float64),
        ("until", np.int64),
        ("symbol", np.uint32),
        ("extra", np.int32),
        ("flags", np.uint8),
    ],
    align=True,
)
"""A bar or a tick of a symbol, in one line of the processor's cache. `until` is when it is over, `extra` the number of
its EXTRA, or NOWHERE. A quote has the middle as open and close, the ask as high and the bid as low, and the ask's size
as its volume."""

EXTRA = np.dtype(
    [
        ("split", np.float64),
        ("dividend", np.float64),
        ("funding", np.float64),
        ("half", np.float64),
        ("bid_size", np.float64),
    ]
)
"""What few rows have: what takes effect at the open (new shares per old, cash a share, what a long pays as a share of
its worth), half of the spread quoted as a bar ends (NaN where none is), and the size of a quote's bid."""
NO_EXTRA = (1.0, 0.0, 0.0, np.nan, np.inf)

RATE = np.dtype([("at", np.int64), ("rate", np.float64), ("currency", np.int32)], align=True)
"""From an instant on, a currency's worth in account currency."""

EXIT = np.dtype([("at", np.int64), ("symbol", np.int32), ("reason", np.int8)], align=True)
"""When a symbol leaves, by DELISTING or EXPIRY, or comes back: RELISTING."""

ORDER = np.dtype(
    [
        ("submitted", np.int64),
        ("eligible", np.int64),
        ("expires", np.int64),
        ("wanted", np.float64),
        ("quantity", np.float64),
        ("filled", np.float64),
        ("notional", np.float64),
        ("commission", np.float64),
        ("accrued", np.float64),
        ("limit", np.float64),
        ("stop", np.float64),
        ("symbol", np.int32),
        ("side", np.int8),
        ("kind", np.int8),
        ("tif", np.int8),
        ("state", np.int8),
        ("reason", np.int8),
        ("triggered", np.int8),
        ("sizing", np.int8),
        ("action", np.int8),
        ("reduce", np.int8),
        ("follows", np.int8),
        ("family", np.int8),
        ("rested", np.int8),
        ("reached", np.int32),
        ("parent", np.int32),
        ("group", np.int32),
        ("names", np.int32),
        ("trail", np.float64),
        ("anchor", np.float64),
        ("fraction", np.float64),
        ("detail", np.float64),
    ],
    align=True,
)
"""An order at the venue. Instants in microseconds; side +1 or -1; absent prices are NaN; absent rows are NOWHERE.

expires      the instant of a GTD order, else FOREVER
trail        of a trailing stop, and `anchor` the price that it trails; its `stop` is the level of the bar
wanted       what the order asks for in the unit of `sizing`, signed for targets; `quantity` is worked out from it
fraction     distance of a bracket child's price from the last close known, where it was given so
notional     |price| x quantity x multiplier filled so far; `commission` what was charged, in the instrument's currency;
             `accrued` what its commission model has counted for it, which minimums and maximums are held against
detail       the margin that it was rejected for, as a multiple of equity
reached      serial of the step in which its price was last reached inside a bar
parent       row of the order that wakes it; `follows`: its quantity is what that order has filled
family       bits: HAS_CHILDREN where other orders wait for this one, GROUP_FILLED in the first order of an OCO group
group        of OCO orders: of a bracket the entry's row, of a group by name -2 less the row of its first order
names        a row of the order that a cancel or replace is about; of a replaced order, the row that took its place
rested       1 once it has been in the book for a tick
"""

FILL = np.dtype(
    [
        ("order", np.int64),
        ("step", np.int64),
        ("booked", np.int64),
        ("quantity", np.float64),
        ("price", np.float64),
        ("reference", np.float64),
        ("spread", np.float64),
        ("slippage", np.float64),
        ("commission", np.float64),
        ("realised", np.float64),
        ("factor", np.float64),
        ("symbol", np.int32),
        ("side", np.int8),
        ("reason", np.int8),
        ("ambiguous", np.int8),
    ],
    align=True,
)
"""A fill. `order` is the row in the book (NOWHERE: no order); costs and realised are amounts in account currency, and
`factor` is what one price unit of one unit was worth then. `step` is that of its bar, `booked` the one since which it
works: a later one where other bars began before its own was over."""

LINE = 64
"""Bytes of a line of the processor's cache."""

_SYMBOL = np.dtype(
    [
        ("position", np.float64),
        ("mark", np.float64),
        ("factor", np.float64),
        ("average", np.float64),
        ("long_rate", np.float64),
        ("short_rate", np.float64),
        ("per_unit", np.float64),
        ("paid", np.int8),
        ("right", np.int8),
        ("gone", np.int8),
        ("reducers", np.int8),
        ("currency", np.int32),
        ("before", np.float64),
        ("opened", np.int64),
        ("closed", np.int64),
        ("row", np.int64),
        ("step", np.int64),
        ("serial", np.int64),
        ("due", np.int64),
        ("offered", np.int64),
        ("rate", np.float64),
        ("left", np.float64),
        ("left_sell", np.float64),
        ("half", np.float64),
        ("day_close", np.float64),
        ("variance", np.float64),
        ("lot", np.float64),
        ("tick", np.float64),
        ("minimum", np.float64),
        ("multiplier", np.float64),
        ("borrow", np.float64),
        ("funding", np.float64),
        ("strike", np.float64),
        ("spread_model", np.int64),
        ("slippage_model", np.int64),
        ("commission_model", np.int64),
        ("spread_numbers", np.int64),
        ("slippage_numbers", np.int64),
        ("commission_numbers", np.int64),
        ("target", np.int64),
        ("underlying", np.int64),
        ("known", np.float64),
    ],
    align=True,
)
_lines: Any = {
    "names": _SYMBOL.names,
    "formats": [_SYMBOL[name] for name in _SYMBOL.names or ()],
    "offsets": [_SYMBOL.fields[name][1] for name in _SYMBOL.names or () if _SYMBOL.fields],
    "itemsize": -(-_SYMBOL.itemsize // LINE) * LINE,
}
SYMBOL = np.dtype(_lines, align=True)
"""What is known of a symbol, and what is held of it, in five lines of the cache. The first is all that the account
needs, the second all else that every bar touches.

position     units, negative when short; `average` their entry price
mark         last price, NaN before the first
factor       worth of one price unit of one unit, in account currency: the multiplier x `rate`, that of its currency
before       the mark before the bar that is open or closed last; `opened`, `closed` that bar's instants
row          of the market: the bar that opened last, else NOWHERE; `step` in which it opened
serial       of the step in which it opened; `offered` that in which its volume was offered last, `due` that in which
             its bar ended
variance     of daily log returns, exponentially weighted, NaN until known; `day_close` the last session's close
left         units that orders may still take from this bar (on quotes: buys; `left_sell` sells)
half         half of the last quoted spread in price units; NaN without quotes
borrow       cost of a short a year, `funding` what a long pays each 8 hours, as fractions of the worth
long_rate    margin needed as a share of the worth (short_rate when short), and `per_unit` as an amount
..._model    addresses of the cost models, `..._numbers` those of their parameters
paid         1 where the whole price changes hands, 0 where only its changes do (futures, perpetuals, forex)
right        +1 call, -1 put, 0 no option; `underlying` its symbol's number, NOWHERE without
target       row of the last order to a target that may still rest
known        the factor with which money is turned into units: that of when the order was submitted
reducers     1 once a reduce-only order was received
"""


HOLDING = np.dtype([("position", np.float64), ("mark", np.float64), ("average", np.float64)])
"""What is held of a symbol: all zero where nothing is."""

ROWS_A_SYMBOL = 8
"""Rows of the book that a strategy's reaction may fill for each symbol after one step."""


def symbol_rows(count: int) -> Records:
    """SYMBOL rows, all zero, that begin where a line of the cache does."""
    memory = np.zeros(count * SYMBOL.itemsize + LINE, np.uint8)
    skipped = -memory.ctypes.data % LINE
    return memory[skipped : skipped + count * SYMBOL.itemsize].view(SYMBOL)


class Market(NamedTuple):
    """Bars or ticks in the order of time: steps of rows that begin at one instant. Instants in microseconds."""

    rows: Records
    """ROW rows."""
    extras: Records
    """EXTRA rows, by the number in a row's `extra`."""
    opens: Integers
    """Of each step."""
    start: Integers
    """First row of each step, and the number of rows at the end."""
    recorded: npt.NDArray[np.bool_]
    """By step: whether account and positions are written down after it."""
    rates: Records
    """RATE rows, ascending."""
    exits: Records
    """EXIT rows, ascending."""


def market_of(
    rows: Records, extras: Records, opens: Integers, start: Integers, recorded: npt.NDArray[np.bool_]
) -> Market:
    """A market that nobody leaves, in one currency."""
    return Market(rows, extras, opens, start, recorded, np.zeros(0, RATE), np.zeros(0, EXIT))


class Desk(NamedTuple):
    """All the state that a step reads and writes, as arrays that are changed in place."""

    book: Records
    """ORDER rows; those up to tally[TAKEN] have been received."""
    active: Integers
    """Rows of the book that may still be open; the first tally[ACTIVE] count."""
    live: Integers
    """Those of them that may fill in this step; the first tally[LIVE] count."""
    tally: Integers
    account: Floats
    symbols: Records
    """SYMBOL rows."""
    facts: Floats
    """What a cost model is told of a fill."""
    fills: Records
    """FILL rows; the first tally[FILLS] count."""


class Log(NamedTuple):
    """What is written down after each recorded step: a row of the account, and of what is held by symbol.

    `held` may be left without rows, where nobody asks, and `factor` where all is in one currency.
    """

    step: Integers
    account: Floats
    held: Records
    """HOLDING rows, by symbol."""
    factor: Floats


def no_log(symbols: int) -> Log:
    """A log without room, for a venue whose account is asked after each step."""
    nothing = np.zeros((0, symbols))
    return Log(np.zeros(0, np.int64), np.zeros((0, ACCOUNT_SLOTS)), nothing.astype(HOLDING), nothing)
