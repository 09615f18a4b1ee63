"""Fills paired into round trips, as compiled loops. Importing this module loads numba; trades.py does so when asked.

Fills come sorted by symbol and then time, bars likewise. Quantities and prices are in units that no split changes:
a position of q at price p is worth q x p in them at any time. A fill happens at its bar's open, at its close, or
somewhere inside (AT_OPEN, AT_CLOSE, INSIDE); only prices that were provably seen while a position was held count as
its extremes: of the bar of an entry inside the bar that is its close, of an exit's its open.

Money is in account currency: `multiplier` is what a unit at a price of one is worth in it as the fill takes place. What
is `paid` in full earns what it brings less what it cost, each at the rate of its time; else only the change in price is
paid, at the rate of the exit.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

INSIDE, AT_OPEN, AT_CLOSE = range(3)
FLAT = 1e-9
"""Share of the trip's largest position below which what is left of it is rounding."""

TRIP = np.dtype(
    [
        ("entry", np.int64),
        ("exit", np.int64),  # rows of the fills; exit is -1 while the trip is open
        ("side", np.int64),
        ("entered", np.float64),
        ("entry_value", np.float64),
        ("exited", np.float64),
        ("exit_value", np.float64),
        ("invested", np.float64),  # money of all entries, at their rates
        ("held", np.float64),  # what is not closed yet cost: money where it is paid, else price x quantity
        ("earned", np.float64),  # money, on what was closed, before commission
        ("costs", np.float64),
        ("commission", np.float64),
        ("worst", np.float64),
        ("best", np.float64),  # of the profit so far, from zero, before commission
    ]
)


@numba.njit(cache=True)
def locate(symbol: Integers, ts: Integers, bar_symbol: Integers, bar_ts: Integers) -> Any:
    """For each fill the last bar of its symbol that opened at or before it, -1 where there is none."""
    found = np.full(symbol.size, -1, np.int64)
    at = 0
    for i in range(symbol.size):
        while at < bar_symbol.size and (
            bar_symbol[at] < symbol[i] or (bar_symbol[at] == symbol[i] and bar_ts[at] <= ts[i])
        ):
            at += 1
        if at > 0 and bar_symbol[at - 1] == symbol[i]:
            found[i] = at - 1
    return found


@numba.njit(cache=True)
def seen(bars: Floats, first: int, entered: int, last: int, left: int) -> Any:
    """Lowest and highest price provably seen between two events at bars `first` and `last`; NaN where none was.

    `bars` has a row of open, high, low, close a bar.
    """
    low, high = math.nan, math.nan
    if first < 0 or last < 0:
        return low, high
    begin = first if entered == AT_OPEN else first + 1
    end = last + 1 if left == AT_CLOSE else last
    for k in range(begin, end):
        if not low <= bars[k, 2]:
            low = bars[k, 2]
        if not high >= bars[k, 1]:
            high = bars[k, 1]
    if first < last:
        if entered == INSIDE:
            low, high = _widened(low, high, bars[first, 3])
        if left != AT_CLOSE:
            low, high = _widened(low, high, bars[last, 0])
    return low, high


@numba.njit(cache=True)
def _widened(low: float, high: float, price: float) -> Any:
    return (low if low <= price else price), (high if high >= price else price)


@numba.njit(cache=True)
def flat_to_flat(
    symbol: Integers, quantity: Floats, price: Floats, multiplier: Floats, paid: Flags, costs: Floats,
    commission: Floats, at: Integers, bar: Integers, bars: Floats, final: Integers, trips: Any,
) -> int:  # fmt: skip
    """Write a trip for each spell from flat to flat of a symbol; how many. A fill that flips ends one and begins one.

    `final` is each fill's symbol's last bar (-1: none).
    """
    count, position, largest = -1, 0.0, 0.0
    for i in range(symbol.size):
        if i > 0 and symbol[i] != symbol[i - 1]:
            if position != 0.0:
                _measure(trips[count], position, bars, bar[i - 1], at[i - 1], final[i - 1], AT_CLOSE, math.nan)
            position = 0.0
        size, side = abs(quantity[i]), 1.0 if quantity[i] > 0 else -1.0
        closing = 0.0
        if position != 0.0:
            trip = trips[count]
            _measure(trip, position, bars, bar[i - 1], at[i - 1], bar[i], at[i], price[i])
            if position * side < 0:
                closing = min(size, abs(position))
                _close(trip, closing, trip.held * closing / abs(position), price[i], multiplier[i], paid[i])
                position += side * closing
                trip.costs += costs[i] * closing / size
                trip.commission += commission[i] * closing / size
                if abs(position) <= FLAT * largest:
                    position = 0.0
                    trip.exit = i
        opening = size - closing
        if opening <= FLAT * size:
            continue
        if position == 0.0:
            count += 1
            largest = 0.0
            _begin(trips[count], i, side)
        trip = trips[count]
        position += side * opening
        largest = max(largest, abs(position))
        _enter(trip, opening, price[i], multiplier[i], paid[i])
        trip.costs += costs[i] * opening / size
        trip.commission += commission[i] * opening / size
    if position != 0.0:
        i = symbol.size - 1
        _measure(trips[count], position, bars, bar[i], at[i], final[i], AT_CLOSE, math.nan)
    return count + 1


@numba.njit(cache=True)
def _begin(trip: Any, entry: int, side: float) -> None:
    trip.entry, trip.exit, trip.side = entry, -1, int(side)
    trip.entered, trip.entry_value, trip.exited, trip.exit_value = 0.0, 0.0, 0.0, 0.0
    trip.invested, trip.held, trip.earned = 0.0, 0.0, 0.0
    trip.costs, trip.commission, trip.worst, trip.best = 0.0, 0.0, 0.0, 0.0


@numba.njit(cache=True)
def _enter(trip: Any, units: float, price: float, multiplier: float, paid: bool) -> None:
    value = units * price
    trip.entered += units
    trip.entry_value += value
    trip.invested += value * multiplier
    trip.held += value * multiplier if paid else value


@numba.njit(cache=True)
def _close(trip: Any, units: float, cost: float, price: float, multiplier: float, paid: bool) -> None:
    """Close units of a trip; `cost` is their part of what is held."""
    value = units * price
    trip.exited += units
    trip.exit_value += value
    trip.held -= cost
    trip.earned += trip.side * (value * multiplier - cost if paid else (value - cost) * multiplier)


@numba.njit(cache=True)
def _measure(
    trip: Any, position: float, bars: Floats, first: int, entered: int, last: int, left: int, price: float
) -> None:
    """Widen the trip's worst and best profit by the prices seen between two events, and by the price of the second."""
    low, high = seen(bars, first, entered, last, left)
    cash = trip.side * (trip.exit_value - trip.entry_value)
    for each in (low, high, price):
        profit = cash + position * each
        trip.worst = min(trip.worst, profit)
        trip.best = max(trip.best, profit)


@numba.njit(cache=True)
def first_in_first_out(
    symbol: Integers, quantity: Floats, price: Floats, multiplier: Floats, paid: Flags, costs: Floats,
    commission: Floats, at: Integers, bar: Integers, bars: Floats, final: Integers, trips: Any,
) -> int:  # fmt: skip
    """Write a trip for each part of an entry that one exit closes, the oldest entry first; how many."""
    count, head, tail = 0, 0, 0
    lots, left = np.empty(symbol.size, np.int64), np.empty(symbol.size, np.float64)
    for i in range(symbol.size + 1):
        if i == symbol.size or (i > 0 and symbol[i] != symbol[i - 1]):
            for k in range(head, tail):
                _lot(
                    trips[count],
                    lots[k],
                    -1,
                    left[k],
                    quantity,
                    price,
                    multiplier,
                    paid,
                    costs,
                    commission,
                    at,
                    bar,
                    bars,
                    final,
                )
                count += 1
            head, tail = 0, 0
        if i == symbol.size:
            break
        rest = abs(quantity[i])
        while head < tail and quantity[lots[head]] * quantity[i] < 0 and rest > FLAT * abs(quantity[i]):
            entry = lots[head]
            part = min(rest, left[head])
            _lot(
                trips[count], entry, i, part, quantity, price, multiplier, paid, costs, commission, at, bar, bars, final
            )
            count += 1
            rest -= part
            left[head] -= part
            if left[head] <= FLAT * abs(quantity[entry]):
                head += 1
        if rest > FLAT * abs(quantity[i]):
            lots[tail], left[tail] = i, rest
            tail += 1
    return count


@numba.njit(cache=True)
def _lot(
    trip: Any, entry: int, leaving: int, part: float, quantity: Floats, price: Floats, multiplier: Floats,
    paid: Flags, costs: Floats, commission: Floats, at: Integers, bar: Integers, bars: Floats, final: Integers,
) -> None:  # fmt: skip
    _begin(trip, entry, 1.0 if quantity[entry] > 0 else -1.0)
    share = part / abs(quantity[entry])
    _enter(trip, part, price[entry], multiplier[entry], paid[entry])
    trip.costs, trip.commission = costs[entry] * share, commission[entry] * share
    position = trip.side * part
    if leaving < 0:
        _measure(trip, position, bars, bar[entry], at[entry], final[entry], AT_CLOSE, math.nan)
        return
    _measure(trip, position, bars, bar[entry], at[entry], bar[leaving], at[leaving], price[leaving])
    share = part / abs(quantity[leaving])
    trip.exit = leaving
    _close(trip, part, trip.held, price[leaving], multiplier[leaving], paid[leaving])
    trip.costs += costs[leaving] * share
    trip.commission += commission[leaving] * share
