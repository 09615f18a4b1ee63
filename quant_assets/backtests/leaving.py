"""When symbols leave a backtest: contracts at their expiry, shares whose bars end while others go on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resources.errors import BarSchemaError
from resources.exchange.layout import DELISTING, EXIT, EXPIRY, Market, Records
from resources.exchange.terms import Listing

SATURDAY = 5

Days = npt.NDArray[np.datetime64]


def exits(market: Market, session: Days, known: Sequence[Listing]) -> Records:
    """The market's exits. `session` is by step.

    A contract is settled at the end of its last session, once the history has come so far. A symbol without an expiry
    is delisted as the first session opens that it lacks; a session at the weekend only if it used to trade on that day,
    so that shares survive the Saturdays of crypto.

    Raises BarSchemaError for a contract that has bars after its expiry.
    """
    steps = np.repeat(np.arange(market.opens.size), np.diff(market.start))
    found: list[tuple[int, int, int]] = []
    weekday = (session.astype(np.int64) + 3) % 7
    numbers = market.rows["symbol"]
    order = np.argsort(numbers, kind="stable")
    cuts = np.searchsorted(numbers[order], np.arange(len(known) + 1))
    for number, listing in enumerate(known):
        rows = order[cuts[number] : cuts[number + 1]]
        own = steps[rows]
        newest = session[own[-1]]
        if listing.expires is not None:
            expiry = np.datetime64(listing.expires)
            if newest > expiry:
                raise BarSchemaError(f"instruments: a contract that expires on {expiry} has bars of {newest}; mend one")
            at = _settlement(market, session, expiry)
            if at is not None:
                found.append((at, number, EXPIRY))
        elif newest < session[-1]:
            later = np.flatnonzero(session > newest)
            lacking = later[(weekday[later] < SATURDAY) | np.isin(weekday[later], np.unique(weekday[own]))]
            if lacking.size:
                found.append((int(market.opens[lacking[0]]), number, DELISTING))
    return np.array(sorted(found), EXIT)


def _settlement(market: Market, session: Days, expiry: np.datetime64) -> int | None:
    """When a contract of that last session is settled: as the session's bars are over; None before it has come."""
    ahead = np.arange(session[-1] + 1, expiry + 1)
    if ((ahead.astype(np.int64) + 3) % 7 < SATURDAY).any():  # a contract may expire on a weekend: nothing trades until then
        return None
    last = int(np.searchsorted(session, expiry, side="right")) - 1
    if last < 0:
        return int(market.opens[0])
    return int(market.rows["until"][: market.start[last + 1]].max())
