"""When contracts are settled: as the last session of each is over."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

from resources.calendars import sessions
from resources.exchange.layout import Integers, Market
from resources.exchange.lifetimes import LONGEST_CLOSURE
from resources.exchange.words import LAST

SATURDAY = 5

Days = npt.NDArray[np.datetime64]


def settlement(
    market: Market, session: Days, steps: Integers, rows: Integers, calendar: str, expiry: date, on_weekends: bool
) -> int | None:
    """The instant at which a contract of that last session is settled; None before it is known to have come.

    `session` is by step, `steps` by row of the market; `rows` are those of the contract and of what it is an option on.
    The bars of others have no say, unless there are none of these: another's may be longer.

    With a calendar the session is over as it says, or as the session's own bar is. Without one as its last bar is
    (history tells which that is); else, as nobody knows, once a later session has begun. `on_weekends`: whether it may,
    without a calendar, trade on Saturdays and Sundays.
    """
    until = market.rows["until"]
    own = session[steps[rows]]
    if calendar:
        table = sessions(calendar, expiry - LONGEST_CLOSURE, expiry)
        of_day = rows[own == np.datetime64(table["session"][-1])]
        return int(max(int(table["close"].to_physical()[-1]), until[of_day].max(initial=0)))
    ahead = (np.arange(session[-1] + 1, np.datetime64(expiry) + 1).astype(np.int64) + 3) % 7
    if (ahead < SATURDAY).any() or (on_weekends and ahead.size):
        return None
    last = int(np.searchsorted(session, np.datetime64(expiry), side="right")) - 1
    if last < 0:
        return int(market.opens[0])
    held = rows[own == session[last]]
    ended = held[market.rows["flags"][held] & LAST != 0]
    if ended.size:
        return int(until[ended].max())
    if not held.size:
        others = np.flatnonzero((session[steps] == session[last]) & (market.rows["flags"] & LAST != 0))
        if others.size:
            return int(until[others].min())
    return int(market.opens[last + 1]) if last + 1 < session.size else None
