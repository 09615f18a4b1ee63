"""What orders of a book ask for, before the exchange has received them: units, exits, and what they wait for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from quant_assets.backtests.simulation.known import Known
from quant_assets.risk.limits import Decision
from resources.exchange.layout import NOWHERE, Desk, Integers, Market, Records
from resources.exchange.words import (
    ACCEPTED,
    CANCEL,
    FILLED,
    LIMIT,
    MARKET,
    MARKET_ON_OPEN,
    NOTIONAL,
    PARTIAL,
    REPLACE,
    REPLACED,
    SUBMIT,
    TAKEN,
    TARGET_POSITION,
    TARGET_WEIGHT,
    UNITS,
)

if TYPE_CHECKING:
    from resources.exchange.venue import Venue

TARGETS = (TARGET_WEIGHT, TARGET_POSITION)

AT_ONCE = (MARKET, MARKET_ON_OPEN)

DUST = 1e-9
"""Units smaller than this are nothing to the exchange."""


def submitted(venue: Venue, opens: Integers, first: int) -> Iterator[tuple[int, Integers]]:
    """The steps from `first` on before which something is submitted, and the book's rows of it."""
    rows = np.arange(venue.desk.tally[TAKEN], venue.next_row)
    steps = first + np.searchsorted(opens[first:], venue.desk.book["submitted"][rows], side="left")
    rows, steps = rows[steps < opens.size], steps[steps < opens.size]
    found, begins = np.unique(steps, return_index=True)
    if rows.size:
        yield from zip(found.tolist(), np.split(rows, begins[1:]), strict=True)


def units(book: Records, row: int, symbols: Records, known: Known, coming: Mapping[int, float]) -> float:
    """Signed units that a row asks for; 0.0 where there is nothing to judge, or nothing that could be sized.

    `coming` are those of rows that have been accepted and not been received.
    """
    order = book[row]
    if order["follows"] or order["action"] == CANCEL or _ended_parent(book, row):
        return 0.0
    if order["action"] != SUBMIT:
        return still_open(book, row, coming)
    if order["sizing"] == UNITS:
        return float(order["side"] * order["quantity"])
    symbol = symbols[order["symbol"]]
    number, wanted = int(order["symbol"]), float(order["wanted"])
    worth = float(known.close[number] * known.factor[number])
    if order["sizing"] == TARGET_POSITION:
        return _in_lots(wanted, symbol["lot"]) - float(symbol["position"])
    if not worth > 0.0:
        return 0.0
    if order["sizing"] == NOTIONAL:
        return float(order["side"]) * _in_lots(wanted / worth, symbol["lot"])
    return _in_lots(wanted * max(known.equity, 0.0) / worth, symbol["lot"]) - float(symbol["position"])


def exits(book: Records, row: int) -> tuple[float | None, float | None]:
    """The prices of an order's own take-profit and stop-loss, which follow it in the book."""
    take = loss = None
    for child in book[row + 1 : row + 3]:
        if child["follows"] and child["parent"] == row:
            if child["kind"] == LIMIT:
                take = float(child["limit"])
            else:
                loss = float(child["stop"])
    return take, loss


def still_open(book: Records, row: int, coming: Mapping[int, float]) -> float:
    """Signed units that a row may still trade: of a replace, those that it adds to its order as it stands."""
    order = book[row]
    if order["action"] == SUBMIT:
        return float(order["side"] * (order["quantity"] - order["filled"]))
    if order["action"] == CANCEL:
        return 0.0
    before = _standing(book, int(order["names"]))
    if book["state"][before] >= FILLED:
        return 0.0
    more = order["quantity"] - _asked_before(book, row, before, coming)
    # A target has no side before it is received.
    side = float(book["side"][before]) or math.copysign(1.0, coming.get(before, math.nan))
    return side * float(more) if more > 0.0 else 0.0


def _standing(book: Records, row: int) -> int:
    """The row in which an order stands now: its own, or that of what has taken its place."""
    while book["reason"][row] == REPLACED and book["names"][row] != NOWHERE:
        row = int(book["names"][row])
    return row


def _asked_before(book: Records, row: int, standing: int, coming: Mapping[int, float]) -> float:
    """The least quantity that a standing order may have as `row` is received: its own, or what replaces ask for.

    Those that were sent before and are not received yet may be refused, so that none of them makes room.
    """
    sent = (book["names"][:row] == book["names"][row]) & (book["action"][:row] == REPLACE)
    asked = book["quantity"][:row][sent & (book["state"][:row] < FILLED)]
    own = book["quantity"][standing] or abs(coming.get(standing, 0.0))  # a target has none before it is received
    return float(np.nanmin([*asked, own]))


def targets(book: Records, batch: Integers) -> dict[int, list[int]]:
    """The rows of a batch that ask for a target, by symbol, as the exchange receives them."""
    found: dict[int, list[int]] = {}
    for row in sorted(batch.tolist()):
        if book["action"][row] == SUBMIT and book["sizing"][row] in TARGETS:
            found.setdefault(int(book["symbol"][row]), []).append(row)
    return found


def cancelled(desk: Desk, market: Market, batch: Integers) -> set[int]:
    """The rows that a batch cancels as a step begins: before anything of it can trade, and before they can."""
    book = desk.book
    at_once = (book["action"][batch] == CANCEL) & (book["eligible"][batch] <= book["submitted"][batch])
    rows = {_standing(book, int(row)) for row in book["names"][batch[at_once]]}
    return {row for row in rows if not _may_have_filled(desk, market, row)}


def _may_have_filled(desk: Desk, market: Market, row: int) -> bool:
    """Whether an order is in a bar that outlasts the step before: until it is over, the exchange cancels none."""
    order = desk.book[row]
    symbol = desk.symbols[order["symbol"]]
    goes_on = symbol["row"] != NOWHERE and market.rows["until"][symbol["row"]] > symbol["closed"]
    return bool(goes_on and order["state"] in (ACCEPTED, PARTIAL) and order["eligible"] <= symbol["opened"])


def leaves(book: Records, row: int) -> tuple[int, float]:
    """The row that a cancel or replace is about, as it stands now, and the units that it leaves of it; NaN for all."""
    standing = _standing(book, int(book["names"][row]))
    if book["action"][row] == CANCEL:
        return standing, 0.0
    return standing, max(float(book["quantity"][row] - book["filled"][standing]), 0.0)


def is_target(book: Records, row: int, symbols: Records) -> bool:
    """Whether a row asks for a target, or has taken the place of one."""
    return bool(book["sizing"][row] in TARGETS or symbols["target"][book["symbol"][row]] == row)


def is_reduce_only(book: Records, row: int) -> bool:
    """Of an order, or of that which a replace is about."""
    return bool(book["reduce"][row if book["action"][row] == SUBMIT else _standing(book, int(book["names"][row]))])


def fills_at_once(record: Records) -> bool:
    return bool(record["action"] == SUBMIT and record["kind"] in AT_ONCE and record["parent"] == NOWHERE)


def towards_zero(units: float, held: float) -> float:
    return math.copysign(min(abs(units), abs(held)), units) if units * held < 0.0 else 0.0


def is_refused(row: int, verdicts: Mapping[int, Decision]) -> bool:
    return row in verdicts and not verdicts[row].accepted


def _ended_parent(book: Records, row: int) -> bool:
    """Whether the order that a row waits for has ended without a fill."""
    if book["parent"][row] == NOWHERE:
        return False
    parent = _standing(book, int(book["parent"][row]))
    return bool(book["state"][parent] > FILLED and book["filled"][parent] == 0.0)


def falls(book: Records, row: int, verdicts: Mapping[int, Decision], fallen: set[int]) -> bool:
    """Whether a row waits for one that has just been refused, or that has itself fallen."""
    parent = int(book["parent"][row])
    return parent in fallen or is_refused(parent, verdicts)


def depth(book: Records, row: int) -> int:
    """How many orders a row waits for, one behind the other."""
    parent, depth = book["parent"][row], 0
    while parent != NOWHERE:
        parent, depth = book["parent"][parent], depth + 1
    return depth


def _in_lots(units: float, lot: float) -> float:
    """Whole lots towards zero, as the exchange counts them."""
    return math.copysign(math.floor(abs(units) / lot + DUST) * lot, units)
