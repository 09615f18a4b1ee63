"""When symbols leave a backtest: contracts at their expiry, shares whose bars end while others go on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resources.calendars import sessions
from resources.errors import BarSchemaError
from resources.exchange.layout import DELISTING, EXIT, EXPIRY, Integers, Market, Records
from resources.exchange.terms import Listing

SATURDAY = 5
NEVER = np.iinfo(np.int64).max
CLOSURE = 10
"""No market without a calendar is closed for so many of its weekdays in a row."""

Days = npt.NDArray[np.datetime64]


def exits(market: Market, session: Days, known: Sequence[Listing]) -> Records:
    """The market's exits. `session` is by step.

    A contract is settled at the end of its last session, once the history has come so far. A symbol without an expiry
    is delisted as the first session opens that it lacks: at the time of day at which its own used to. Shares survive
    the Saturdays and holidays on which only crypto trades: which sessions a symbol lacks is told by its calendar;
    without one (see `_lacking`) by the others.

    Raises BarSchemaError for a contract that has bars after its expiry.
    """
    steps = np.repeat(np.arange(market.opens.size), np.diff(market.start))
    found: list[tuple[int, int, int]] = []
    weekday = (session.astype(np.int64) + 3) % 7
    numbers = market.rows["symbol"]
    order = np.argsort(numbers, kind="stable")
    cuts = np.searchsorted(numbers[order], np.arange(len(known) + 1))
    weekend = np.full(len(known), NEVER)
    on_weekend = weekday[steps] >= SATURDAY
    np.minimum.at(weekend, numbers[on_weekend], steps[on_weekend])
    weekly = np.zeros(session.size, bool)
    weekly[steps[steps < weekend[numbers]]] = True
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
            began = int(market.opens[own[np.searchsorted(session[own], newest)]])
            if listing.calendar:
                lacking = _lacking_by_calendar(market, session, newest, began, listing.calendar)
            else:
                later = np.flatnonzero(session > newest)
                ordinary = later[(weekday[later] < SATURDAY) | np.isin(weekday[later], np.unique(weekday[own]))]
                witnesses = ordinary if weekend[number] != NEVER else ordinary[weekly[ordinary]]
                lacking = _lacking(market, session, ordinary, witnesses, began - _midnight(newest))
            if lacking.size:
                found.append((int(market.opens[lacking[0]]), number, DELISTING))
    # At one instant contracts are settled first: what is delisted waits for the next session to open.
    return np.array(sorted(found, key=lambda leaving: (leaving[0], -leaving[2], leaving[1])), EXIT)


def _midnight(day: np.datetime64) -> int:
    """The UTC midnight that a session is named after, in microseconds."""
    return int(day.astype("datetime64[us]").astype(np.int64))


def _lacking_by_calendar(market: Market, session: Days, newest: np.datetime64, began: int, calendar: str) -> Integers:
    """The steps from the next session on, as far into it as the symbol's last one `began` after its calendar's open."""
    table = sessions(calendar, newest.item(), session[-1].item())
    days, opened = table["session"].to_numpy(), table["open"].to_physical().to_numpy()
    after = int(np.searchsorted(days, newest, side="right"))
    if after == days.size:
        return np.zeros(0, np.int64)
    shift = began - opened[after - 1] if after and days[after - 1] == newest else 0
    return np.flatnonzero(market.opens >= opened[after] + shift)


def _lacking(market: Market, session: Days, ordinary: Integers, witnesses: Integers, since: int) -> Integers:
    """The steps that a symbol without a calendar lacks, of the `ordinary` ones: those on its days of the week.

    `witnesses` are those of them on which its kind trades: of a symbol that knows no weekends, others that know none.
    It is missed from so long `since` midnight as its own sessions used to begin. CLOSURE days in a row without a
    witness are no holiday.
    """
    _, first = np.unique(session[ordinary], return_index=True)
    missed = ordinary[first[CLOSURE - 1 :]][:1]
    if witnesses.size:
        due = max(int(market.opens[witnesses[0]]), _midnight(session[witnesses[0]]) + since)
        missed = np.append(missed, np.flatnonzero(market.opens >= due)[:1])
    return np.sort(missed)


def _settlement(market: Market, session: Days, expiry: np.datetime64) -> int | None:
    """When a contract of that last session is settled: as the session's bars are over; None before it has come."""
    ahead = (np.arange(session[-1] + 1, expiry + 1).astype(np.int64) + 3) % 7
    if (ahead < SATURDAY).any():  # where it expires on a weekend, nothing trades until then
        return None
    last = int(np.searchsorted(session, expiry, side="right")) - 1
    if last < 0:
        return int(market.opens[0])
    return int(market.rows["until"][: market.start[last + 1]].max())
