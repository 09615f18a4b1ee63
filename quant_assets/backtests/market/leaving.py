"""When symbols leave a backtest: contracts at their expiry, shares whose bars stay away while others go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resources.calendars import sessions
from resources.errors import BarSchemaError
from resources.exchange.layout import EXIT, Integers, Market, Records
from resources.exchange.terms import Listing
from resources.exchange.words import DELISTING, EXPIRY, RELISTING

SATURDAY = 5
NEVER = np.iinfo(np.int64).max
ABSENT = 2
"""Sessions in a row after which a symbol without bars is delisted: a halt may be shorter, and does not tell its end."""

CLOSURE = 10
"""No market without a calendar is closed for so many of its weekdays in a row."""

Days = npt.NDArray[np.datetime64]
Exit = tuple[int, int, int]


def exits(market: Market, session: Days, known: Sequence[Listing]) -> Records:
    """The market's exits. `session` is by step.

    A contract is settled at the end of its last session, once the history has come so far. A symbol without an expiry
    is delisted in the last of ABSENT sessions that it lacks in a row, at the time of day at which its own used to
    open, and listed again with its next bar: what is known by then decides, so that a history cut short gives the same.
    Shares survive the Saturdays and holidays on which only crypto trades: which sessions a symbol lacks is told by its
    calendar; without one (see `_Clock.missed`) by the others.

    Raises BarSchemaError for a contract that has bars after its expiry.
    """
    clock = _Clock.of(market, session, len(known))
    numbers = market.rows["symbol"]
    order = np.argsort(numbers, kind="stable")
    cuts = np.searchsorted(numbers[order], np.arange(len(known) + 1))
    found: list[Exit] = []
    calendars: dict[str, tuple[Days, Integers]] = {}
    for number, listing in enumerate(known):
        own = clock.steps[order[cuts[number] : cuts[number + 1]]]
        if listing.expires is not None:
            found += _expiry(market, session, number, own, np.datetime64(listing.expires))
            continue
        if listing.calendar and listing.calendar not in calendars:
            table = sessions(listing.calendar, session[0].item(), session[-1].item())
            calendars[listing.calendar] = table["session"].to_numpy(), table["open"].to_physical().to_numpy()
        calendar = calendars.get(listing.calendar or "")
        for last, began, back in clock.gaps(number, own, calendar):
            at = (
                clock.missed(number, own, last, began, back)
                if calendar is None
                else clock.due(last, began, back, calendar)
            )
            if at is not None:
                found.append((int(market.opens[at]), number, DELISTING))
                if back < session.size:
                    found.append((int(market.opens[back]), number, RELISTING))
    # At one instant contracts are settled first: what is delisted waits for the next session to open.
    return np.array(sorted(found, key=lambda leaving: (leaving[0], -leaving[2], leaving[1])), EXIT)


def _expiry(market: Market, session: Days, number: int, own: Integers, expiry: np.datetime64) -> list[Exit]:
    """The exit of a contract of that last session, if it has come."""
    newest = session[own[-1]]
    if newest > expiry:
        raise BarSchemaError(f"instruments: a contract that expires on {expiry} has bars of {newest}; mend one")
    at = _settlement(market, session, expiry)
    return [] if at is None else [(at, number, EXPIRY)]


@dataclass(frozen=True, slots=True)
class _Clock:
    """Which sessions there are, and which of them show that a market was open."""

    opens: Integers
    session: Days
    """By step."""

    steps: Integers
    """By row."""

    weekday: Integers
    """By step; Monday is 0."""

    weekend: Integers
    """By symbol: the step since which it is known to trade on weekends."""

    weekly: npt.NDArray[np.bool_]
    """By step: whether a symbol trades that is not known to do so on weekends."""

    counted: tuple[Days, Days, Days]
    """All sessions, those on weekdays, and those that have a `weekly` step."""

    @staticmethod
    def of(market: Market, session: Days, symbols: int) -> _Clock:
        steps = np.repeat(np.arange(market.opens.size), np.diff(market.start))
        numbers = market.rows["symbol"]
        weekday = (session.astype(np.int64) + 3) % 7
        weekend = np.full(symbols, NEVER)
        on_weekend = weekday[steps] >= SATURDAY
        np.minimum.at(weekend, numbers[on_weekend], steps[on_weekend])
        weekly = np.zeros(session.size, bool)
        weekly[steps[steps < weekend[numbers]]] = True
        counted = np.unique(session), np.unique(session[weekday < SATURDAY]), np.unique(session[weekly])
        return _Clock(market.opens, session, steps, weekday, weekend, weekly, counted)

    def gaps(
        self, number: int, own: Integers, calendar: tuple[Days, Integers] | None
    ) -> Iterator[tuple[int, int, int]]:
        """Where a symbol may be gone: the first and the last step of a session of its own, and the first of its next.

        The last gap has no next: that is past the last step.
        """
        days, first = np.unique(self.session[own], return_index=True)
        if calendar is None:
            everyday, weekdays, witnessed = (_between(kept, days) for kept in self.counted)
            # What has come to trade on weekends may be missed on any day.
            weekends = own[first[1:] - 1] >= self.weekend[number]
            longer = (witnessed >= ABSENT) | (weekdays >= CLOSURE) | (weekends & (everyday >= ABSENT))
        else:
            longer = _between(calendar[0], days) >= ABSENT
        for place in np.flatnonzero(longer):
            yield int(own[first[place + 1] - 1]), int(own[first[place]]), int(own[first[place + 1]])
        if days[-1] < self.session[-1]:
            yield int(own[-1]), int(own[first[-1]]), self.session.size

    def due(self, last: int, began: int, back: int, calendar: tuple[Days, Integers]) -> int | None:
        """The step before `back` at which a symbol with a calendar has lacked ABSENT sessions, or None.

        It is missed as long after its calendar's open as its last session `began`.
        """
        days, opened = calendar
        newest = self.session[last]
        after = int(np.searchsorted(days, newest, side="right"))
        if after + ABSENT > days.size:
            return None
        shift = self.opens[began] - opened[after - 1] if after and days[after - 1] == newest else 0
        at = int(np.searchsorted(self.opens, opened[after + ABSENT - 1] + shift))
        return at if at < back else None

    def missed(self, number: int, own: Integers, last: int, began: int, back: int) -> int | None:
        """The step before `back` at which a symbol without a calendar has lacked ABSENT sessions, or None.

        Witnesses are the steps at which its kind trades: of a symbol that knows no weekends, others that know none. It
        is missed from so long since midnight as its last session `began`. CLOSURE of its weekdays in a row without a
        witness are no holiday.
        """
        session, newest = self.session, self.session[last]
        later = np.arange(last + 1, back)
        later = later[session[later] > newest]
        weekends = self.weekend[number] <= last
        ordinary = later[
            (self.weekday[later] < SATURDAY) | np.isin(self.weekday[later], self.weekday[own[own <= last]])
        ]
        witnesses = ordinary if weekends else ordinary[self.weekly[ordinary]]
        _, first = np.unique(session[ordinary], return_index=True)
        found = list(ordinary[first[CLOSURE - 1 :]][:1])
        _, first = np.unique(session[witnesses], return_index=True)
        if first.size >= ABSENT:
            heard = witnesses[first[ABSENT - 1]]
            since = self.opens[began] - _midnight(newest)
            due = max(int(self.opens[heard]), _midnight(session[heard]) + since)
            found += [at for at in [int(np.searchsorted(self.opens, due))] if at < back]
        return min(found, default=None)


def _between(kept: Days, days: Days) -> Integers:
    """How many of `kept` lie between each of `days` and its next."""
    return np.searchsorted(kept, days[1:]) - np.searchsorted(kept, days[:-1], side="right")


def _midnight(day: np.datetime64) -> int:
    """The UTC midnight that a session is named after, in microseconds."""
    return int(day.astype("datetime64[us]").astype(np.int64))


def _settlement(market: Market, session: Days, expiry: np.datetime64) -> int | None:
    """When a contract of that last session is settled: as the session's bars are over; None before it has come."""
    ahead = (np.arange(session[-1] + 1, expiry + 1).astype(np.int64) + 3) % 7
    if (ahead < SATURDAY).any():  # where it expires on a weekend, nothing trades until then
        return None
    last = int(np.searchsorted(session, expiry, side="right")) - 1
    if last < 0:
        return int(market.opens[0])
    return int(market.rows["until"][: market.start[last + 1]].max())
