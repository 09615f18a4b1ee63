"""When symbols leave a backtest: contracts at their expiry, shares whose bars stay away while others go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant_assets.backtests.market.expiring import SATURDAY, settlement
from resources.calendars import sessions
from resources.errors import BarSchemaError
from resources.exchange.layout import EXIT, Integers, Market, Records
from resources.exchange.terms import Listing
from resources.exchange.words import DELISTING, EXPIRY, RELISTING

NEVER = np.iinfo(np.int64).max
ABSENT = 2
"""Sessions in a row after which a symbol without bars is delisted: a halt may be shorter, and does not tell its end."""

CLOSURE = 10
"""No market without a calendar is closed for so many of its weekdays in a row."""

Days = npt.NDArray[np.datetime64]
Exit = tuple[int, int, int]


def exits(market: Market, session: Days, symbols: Sequence[str], known: Sequence[Listing]) -> Records:
    """The market's exits. `session` is by step.

    A contract is settled at the end of its last session, once the history has come so far (expiring.py). A symbol
    without an expiry is delisted at the first open after the last of ABSENT sessions in a row that it lacks, if it is
    not back by then, and listed again with its next bar. A session is lacked when it is over, at the time of day at
    which its own last one was: what is known by then decides, so that a history cut short gives the same.
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
        rows = order[cuts[number] : cuts[number + 1]]
        own = clock.steps[rows]
        if listing.expires is not None:
            newest = session[own[-1]]
            if newest > np.datetime64(listing.expires):
                raise BarSchemaError(
                    f"instruments: a contract that expires on {listing.expires} has bars of {newest}; mend one"
                )
            calendar = listing.calendar
            if listing.underlying in symbols:
                other = symbols.index(listing.underlying)
                rows = np.append(rows, order[cuts[other] : cuts[other + 1]])
                calendar = calendar or known[other].calendar
            weekends = bool(clock.weekend[number] < NEVER)
            settled = settlement(market, session, clock.steps, rows, calendar, listing.expires, weekends)
            if settled is not None:
                found.append((settled, number, EXPIRY))
            continue
        if listing.calendar and listing.calendar not in calendars:
            held = sessions(listing.calendar, session[0].item(), session[-1].item())
            calendars[listing.calendar] = held["session"].to_numpy(), held["open"].to_physical().to_numpy()
        table = calendars.get(listing.calendar)
        for gap in clock.gaps(number, own, market.rows["until"][rows], table):
            at = clock.missed(number, own, gap) if table is None else clock.due(gap, table)
            if at is not None:
                found.append((int(market.opens[at]), number, DELISTING))
                if gap.back < session.size:
                    found.append((int(market.opens[gap.back]), number, RELISTING))
    # At one instant contracts are settled first: what is delisted waits for the next session to open.
    return np.array(sorted(found, key=lambda leaving: (leaving[0], -leaving[2], leaving[1])), EXIT)


class _Gap(NamedTuple):
    """Where a symbol may be gone."""

    began: int
    """The first step of the last session of its own."""
    last: int
    """The last one."""
    until: int
    """When its last bar is over."""
    covered: np.datetime64
    """The last session that this bar reaches into: a week's bar is its symbol's bar of all the week."""
    back: int
    """The first step of its next session; past the last step if there is none."""


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
        self, number: int, own: Integers, until: Integers, calendar: tuple[Days, Integers] | None
    ) -> Iterator[_Gap]:
        """Where a symbol may be gone. `own` are the steps of its bars, `until` their ends."""
        days, first = np.unique(self.session[own], return_index=True)
        final = np.append(first[1:], own.size) - 1
        ends, last = until[final], own[final]
        names, opened = (self.session, self.opens) if calendar is None else calendar
        covered = np.maximum(days, names[np.maximum(np.searchsorted(opened, ends) - 1, 0)])
        apart = np.flatnonzero((days[1:] - covered[:-1]).astype(np.int64) > ABSENT)  # a day has one session at most
        since, until_next = covered[apart], days[apart + 1]
        if calendar is None:
            everyday, weekdays, witnessed = (_between(kept, since, until_next) for kept in self.counted)
            # What has come to trade on weekends may be missed on any day.
            weekends = last[apart] >= self.weekend[number]
            longer = (witnessed >= ABSENT) | (weekdays >= CLOSURE) | (weekends & (everyday >= ABSENT))
        else:
            longer = _between(calendar[0], since, until_next) >= ABSENT
        back = np.append(own[first[1:]], self.session.size)
        places = apart[longer].tolist() + ([days.size - 1] if covered[-1] < self.session[-1] else [])
        for place in places:
            yield _Gap(int(own[first[place]]), int(last[place]), int(ends[place]), covered[place], int(back[place]))

    def due(self, gap: _Gap, calendar: tuple[Days, Integers]) -> int | None:
        """The step before it is back at which a symbol with a calendar has lacked ABSENT sessions, or None.

        A session is lacked when it is over: as long after its calendar's open as its last one was over.
        """
        days, opened = calendar
        newest = self.session[gap.last]
        held = int(np.searchsorted(days, newest, side="right"))
        after = max(held, int(np.searchsorted(opened, gap.until)))
        if after + ABSENT > days.size:
            return None
        shift = gap.until - (opened[held - 1] if held and days[held - 1] == newest else self.opens[gap.began])
        at = int(np.searchsorted(self.opens, opened[after + ABSENT - 1] + shift))
        return at if at < gap.back else None

    def missed(self, number: int, own: Integers, gap: _Gap) -> int | None:
        """The step before it is back at which a symbol without a calendar has lacked ABSENT sessions, or None.

        Witnesses are the steps at which its kind trades: of a symbol that knows no weekends, others that know none. A
        session is lacked as long after midnight as its last one was over. CLOSURE of its weekdays in a row without a
        witness are no holiday.
        """
        session = self.session
        later = np.arange(gap.last + 1, gap.back)
        later = later[session[later] > gap.covered]
        weekends = self.weekend[number] <= gap.last
        known = self.weekday[own[own <= gap.last]]
        ordinary = later[(self.weekday[later] < SATURDAY) | np.isin(self.weekday[later], known)]
        witnesses = ordinary if weekends else ordinary[self.weekly[ordinary]]
        since = gap.until - _midnight(session[gap.last])
        found = []
        for steps, enough in ((ordinary, CLOSURE), (witnesses, ABSENT)):
            _, first = np.unique(session[steps], return_index=True)
            if first.size >= enough:
                heard = steps[first[enough - 1]]
                due = max(int(self.opens[heard]), _midnight(session[heard]) + since)
                found += [at for at in [int(np.searchsorted(self.opens, due))] if at < gap.back]
        return min(found, default=None)


def _between(kept: Days, since: Days, until: Days) -> Integers:
    """How many of `kept` lie between the days, neither counted."""
    return np.searchsorted(kept, until) - np.searchsorted(kept, since, side="right")


def _midnight(day: np.datetime64) -> int:
    """The UTC midnight that a session is named after, in microseconds."""
    return int(day.astype("datetime64[us]").astype(np.int64))
