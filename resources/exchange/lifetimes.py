"""When orders end with their session, by their venue's calendar (rule 16)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from resources.calendars import sessions
from resources.exchange.layout import Integers
from resources.exchange.orders import Columns
from resources.exchange.words import DAY, LIMIT_ON_CLOSE, LIMIT_ON_OPEN, MARKET_ON_CLOSE, MARKET_ON_OPEN, SUBMIT

LONGEST_CLOSURE = timedelta(days=21)
"""No exchange has been closed for so long in a lifetime."""


def session_ends(orders: Columns, calendars: npt.NDArray[np.str_]) -> Integers:
    """When each order expires, microseconds: day and auction orders at the latest as their session is over.

    `calendars` is by order, empty where there is none: such an order ends with the last bar of a session in which it
    was live. An order for the open that is sent in a session is for the next one.
    """
    ends = orders.expires.copy()
    opening = np.isin(orders.kind, (MARKET_ON_OPEN, LIMIT_ON_OPEN))
    closing = np.isin(orders.kind, (MARKET_ON_CLOSE, LIMIT_ON_CLOSE))
    for calendar in np.unique(calendars):
        ending = (orders.action == SUBMIT) & ((orders.tif == DAY) | opening | closing) & (calendars == calendar)
        mine = np.flatnonzero(ending)
        if not calendar or not mine.size:
            continue
        sent = orders.submitted[mine]
        table = sessions(str(calendar), _day(sent.min()), _day(sent.max()) + LONGEST_CLOSURE)
        opens, closes = (table[name].to_physical().to_numpy() for name in ("open", "close"))
        number = np.where(opening[mine], np.searchsorted(opens, sent), np.searchsorted(closes, sent, side="right"))
        known = number < closes.size
        ends[mine[known]] = np.minimum(ends[mine[known]], closes[number[known]])
    return ends


def _day(micros: np.int64) -> date:
    return datetime.fromtimestamp(int(micros) / 1e6, UTC).date()
