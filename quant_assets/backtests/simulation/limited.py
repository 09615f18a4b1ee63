"""Pre-trade limits inside a backtest: orders are judged as they are sent, as the live trader judges its own.

At each instant at which orders are submitted the limits (quant_assets/risk/limits.py) see the account as whoever
submits them can know it: positions, last closes, equity, the highest equity so far at the end of a step, the orders
already sent in this session, and those that still rest. What is refused never reaches the market, and what waits for
it falls with it. A replace is judged by the units that it adds, and as an order of the whole that it makes.

Market orders of one instant make room for one another, and hedge one another. What takes one of them away before it has
filled (a cancel, a replace by fewer units, the next target of its symbol) is refused where the account would then be
beyond a limit, and further than with it. Any other cancel passes: what rests makes no room.

A target, or an amount of money, is judged as the units that the exchange will make of it, with the same closes and
equity (`size` in resources/exchange/requests.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from quant_assets.backtests.simulation import requested
from quant_assets.backtests.simulation.known import Known, known_at
from quant_assets.backtests.simulation.requested import DUST
from quant_assets.risk.limits import Decision, Resting, check, controlled, sectors_of, signed_quantity, uncovered
from resources.brokers.base import Order, OrderType, Side, TimeInForce
from resources.config import LimitSettings
from resources.exchange.layout import NOWHERE, Desk, Integers, Log, Records
from resources.exchange.words import (
    CANCEL,
    EQUITY,
    FILLED,
    LOGGED,
    MARKET_ON_OPEN,
    REJECTED,
    SUBMIT,
)

if TYPE_CHECKING:
    from quant_assets.backtests.market.history import History
    from resources.exchange.venue import Venue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Judge:
    """Judges the orders of one backtest as it comes to them."""

    def __init__(self, limits: LimitSettings, past: History, ids: pl.Series, cash: float) -> None:
        """`ids`: the order's id by row of the book."""
        self._limits, self._past, self._ids = limits, past, ids
        listings = dict(zip(past.symbols, past.listings, strict=True))
        self._sectors = sectors_of(listings)
        self._options = {symbol: listing for symbol, listing in listings.items() if listing.right}
        self._peak, self._logged = cash, 0
        self._session: np.datetime64 | None = None
        self._opening, self._opens = False, 0
        self._sent, self._traded = 0, 0.0
        self._coming: dict[int, float] = {}
        self._leaving: set[int] = set()
        self._requests: set[int] = set()
        self._refused: dict[str, str] = {}

    def trade(self, venue: Venue, log: Log, first: int) -> dict[str, str]:
        """Trade the market's steps from `first` on, and judge what is submitted before each; reasons by order id."""
        market, done = self._past.market, first
        for step, rows in requested.submitted(venue, market.opens, first):
            venue.trade(market, log, done, end=step)
            done = step
            self._look(venue, log, step)
            instants = venue.desk.book["submitted"][rows]
            for batch in np.split(rows, np.flatnonzero(np.diff(instants)) + 1):
                instant = int(venue.desk.book["submitted"][batch[0]])
                self._judge(venue, batch, known_at(venue, self._past, step, instant))
        venue.trade(market, log, done)
        return self._refused

    def _look(self, venue: Venue, log: Log, step: int) -> None:
        """Take note of the highest equity, and of a new session."""
        rows = int(venue.desk.tally[LOGGED])
        self._peak = max(self._peak, float(log.account[self._logged : rows, EQUITY].max(initial=0.0)))
        self._logged = rows
        self._coming.clear()  # the exchange has received them since
        self._leaving.clear()
        self._requests.clear()
        session = self._past.session
        self._opens = int(self._past.market.opens[step])
        self._opening = step == 0 or session[step] != session[step - 1]
        if session[step] != self._session:
            self._session, self._sent, self._traded = session[step], 0, 0.0

    # ---- what becomes of it

    def _judge(self, venue: Venue, batch: Integers, known: Known) -> None:
        """Refuse what the limits refuse of the rows submitted at one instant."""
        book, symbols = venue.desk.book, venue.desk.symbols
        batch = self._give_way(venue, batch, known)
        named = {requested.leaves(book, row)[0] for row in batch.tolist() if book["action"][row] != SUBMIT}
        asked: dict[int, Order] = {}
        # Parents first, so that what becomes of them does not hang on their children.
        for row in sorted(batch.tolist(), key=lambda row: requested.depth(book, row)):
            coming = self._coming | {earlier: signed_quantity(order) for earlier, order in asked.items()}
            units = requested.units(book, row, symbols, known, coming)
            if abs(units) >= DUST:
                asked[row] = self._order(book, row, units, at_once=row not in named)
        targets = requested.targets(book, batch)
        self._leaving |= requested.cancelled(venue.desk, self._past.market, batch)
        # The exchange replaces a target by the next one of its symbol: of several only the last is to be judged.
        replaced = {row for rows in targets.values() for row in rows[:-1] if row in asked}
        fallen: set[int] = set()
        refused: dict[int, Decision] = {}
        while True:
            out = fallen | replaced | refused.keys()
            judged = {row: order for row, order in asked.items() if row not in out}
            resting = self._resting(venue, {number for number, rows in targets.items() if rows})
            verdicts = self._verdicts(judged, venue.desk, known, resting, beside=len(replaced))
            uncovering = self._uncovering(venue, known, targets, verdicts)
            verdicts |= uncovering
            # What waits for a refused order is never sent, and takes no room.
            falls = {row for row in judged if requested.falls(book, row, verdicts | refused, fallen)}
            # Where the last target is refused, the one before it stands: of this instant, or what still rests.
            over = {rows[-1] for rows in targets.values() if rows and requested.is_refused(rows[-1], verdicts)}
            over |= uncovering.keys()
            if not falls and not over:
                break
            fallen |= falls
            if not falls:
                refused |= {row: verdicts[row] for row in over}
                targets = {number: [row for row in rows if row not in over] for number, rows in targets.items()}
                replaced = {row for rows in targets.values() for row in rows[:-1] if row in asked}
        self._sent += len(replaced)
        self._leaving |= self._replaced(venue, {number for number, rows in targets.items() if rows})
        for row, verdict in sorted((verdicts | refused).items()):
            self._carry_out(book, row, verdict)

    def _verdicts(
        self,
        asked: Mapping[int, Order],
        desk: Desk,
        known: Known,
        resting: Mapping[str, Resting],
        beside: int,
    ) -> dict[int, Decision]:
        """The limits' decisions, with `beside` orders of the same instant that are sent and will never trade."""
        self._peak = max(self._peak, known.equity)
        book, symbols = desk.book, desk.symbols
        replaces = [(place, row) for place, row in enumerate(asked) if book["action"][row] != SUBMIT]
        decisions = check(
            list(asked.values()),
            **self._account(symbols, known),
            peak_equity=self._peak,
            sent=self._sent + beside,
            traded=self._traded,
            resting=resting,
            wholes={place: float(book["quantity"][row]) for place, row in replaces},
        )
        return dict(zip(asked, decisions, strict=True))

    def _account(self, symbols: Records, known: Known) -> dict[str, Any]:
        """What the limits are told of the account and of prices."""
        names = self._past.symbols
        worth = known.close * known.factor
        controls = None
        if self._options:
            quoted = worth / symbols["multiplier"]
            controls = controlled(dict(zip(names, quoted.tolist(), strict=True)), self._options)
        held = np.flatnonzero(symbols["position"]).tolist()
        return {
            "positions": {names[number]: float(symbols["position"][number]) for number in held},
            "prices": dict(zip(names, worth.tolist(), strict=True)),
            "equity": known.equity,
            "limits": self._limits,
            "sectors": self._sectors,
            "controls": controls,
        }

    # ---- what covers others

    def _give_way(self, venue: Venue, batch: Integers, known: Known) -> Integers:
        """Refuse what takes away from market orders that others count on, and return the rest of the batch.

        What is taken away at one instant is looked at together, and one after the other where that is too much.
        """
        book = venue.desk.book
        requests = [row for row in batch.tolist() if book["action"][row] != SUBMIT]
        standing = self._standing(venue) if requests else {}
        asked = [row for row in requests if requested.leaves(book, row)[0] in standing]

        def why(rows: Sequence[int]) -> tuple[str, str] | None:
            return self._uncovered(venue, known, standing, lambda orders: self._left(book, orders, rows), self._limits)

        for row, (_, reason) in _too_many(asked, why).items():
            book["state"][row] = REJECTED
            word = "cancel" if book["action"][row] == CANCEL else "replace"
            self._refused[self._ids[row]] = f"a {word} was refused: {reason}"
        self._requests |= {row for row in requests if book["state"][row] != REJECTED}
        return batch[book["state"][batch] != REJECTED]

    def _uncovering(
        self, venue: Venue, known: Known, targets: Mapping[int, list[int]], verdicts: Mapping[int, Decision]
    ) -> dict[int, Decision]:
        """Refusals of what leaves orders uncovered that were accepted before.

        A target may take the place of a market order that they count on. An order that only reduces may leave less of a
        position than plain ones of its side were to reduce.
        """
        book = venue.desk.book
        last = {rows[-1]: number for number, rows in targets.items() if rows}
        replaced = {int(book["symbol"][row]) for row in self._replaced(venue, set(last.values()))}
        taking = [row for row in sorted(last) if last[row] in replaced and not requested.is_refused(row, verdicts)]
        passed = {row: verdict.order for row, verdict in verdicts.items() if verdict.accepted}
        reducing = [row for row in sorted(passed.keys() - {*taking}) if passed[row].reduce_only]
        standing = self._standing(venue) if taking or reducing else {}
        if not standing:
            return {}
        asked = {
            row: verdicts[row].order if row in verdicts else self._order(book, row, 0.0) for row in taking + reducing
        }

        def why(rows: Sequence[int], limits: LimitSettings) -> tuple[str, str] | None:
            out = self._replaced(venue, {last[row] for row in rows if row in last})

            def fault(new: Sequence[int]) -> tuple[str, str] | None:
                def change(orders: Mapping[int, Order]) -> dict[int, Order]:
                    return {row: orders[row] for row in orders if row not in out} | {row: asked[row] for row in new}

                return self._uncovered(venue, known, standing, change, limits)

            # An order on its way for longer than until the next open leaves a while without it.
            soon = [row for row in rows if book["eligible"][row] <= self._opens]
            return fault(soon) or (fault(rows) if len(soon) < len(rows) else None)

        faults = _too_many(taking, lambda rows: why(rows, self._limits))
        taken = [row for row in taking if row not in faults]
        # As any order that only reduces, it passes though it leaves another position without its hedge.
        unhedged = self._limits.model_copy(update={"net": math.inf})
        faults |= _too_many(reducing, lambda rows: why([*taken, *rows], unhedged))
        return {row: Decision(asked[row], False, *fault) for row, fault in faults.items()}

    def _replaced(self, venue: Venue, targeted: set[int]) -> set[int]:
        """The rows of targets that new ones of their symbols replace."""
        book, symbols = venue.desk.book, venue.desk.symbols
        known = {int(symbols["target"][number]) for number in targeted} - {NOWHERE}
        return {
            row
            for row in (known | self._coming.keys()) - self._leaving
            if int(book["symbol"][row]) in targeted
            and book["state"][row] < FILLED
            and requested.is_target(book, row, symbols)
        }

    def _uncovered(
        self,
        venue: Venue,
        known: Known,
        standing: Mapping[int, Order],
        change: Callable[[Mapping[int, Order]], Mapping[int, Order]],
        limits: LimitSettings,
    ) -> tuple[str, str] | None:
        """Why market orders may not be changed so, whether what is on its way to change them comes in time or not."""
        book = venue.desk.book
        resting = self._resting(venue, set(), beside=standing.keys())
        account = self._account(venue.desk.symbols, known) | {"limits": limits}
        late = [row for row in self._requested(venue) if book["eligible"][row] > book["submitted"][row]]
        for orders in (standing, self._left(book, standing, late)) if late else (standing,):
            fault = uncovered(list(orders.values()), list(change(orders).values()), **account, resting=resting)
            if fault is not None:
                return fault
        return None

    def _standing(self, venue: Venue) -> dict[int, Order]:
        """The market orders that may still fill, by row."""
        book = venue.desk.book
        found = {}
        for row in self._rows(venue):
            units = self._units(book, row)
            if self._at_once(book[row]) and book["group"][row] >= NOWHERE and abs(units) >= DUST:
                found[row] = self._order(book, row, units)
        done = [row for row in self._requested(venue) if book["eligible"][row] <= book["submitted"][row]]
        return self._left(book, found, done)

    def _requested(self, venue: Venue) -> list[int]:
        """The cancels and replaces that the exchange has not carried out."""
        rows = {*venue.open_rows().tolist(), *self._requests}
        return [row for row in sorted(rows) if venue.desk.book["action"][row] != SUBMIT]

    def _left(self, book: Records, orders: Mapping[int, Order], requests: Sequence[int]) -> dict[int, Order]:
        """Market orders as cancels and replaces leave them; what a replace adds is judged as an order of its own."""
        left = dict(orders)
        for request in requests:
            row, units = requested.leaves(book, request)
            if row in left and units < left[row].quantity:
                left[row] = replace(left[row], quantity=units)
        return left

    # ---- what becomes of a verdict

    def _carry_out(self, book: Records, row: int, verdict: Decision) -> None:
        order = verdict.order
        if verdict.accepted:
            self._sent += 1
            self._traded += verdict.worth
            self._coming[row] = signed_quantity(order)
            return
        book["state"][row] = REJECTED
        if book["action"][row] == SUBMIT:
            self._refused[order.id] = verdict.reason
            book["quantity"][row], book["side"][row] = order.quantity, 1 if order.side is Side.BUY else -1
        else:
            self._refused[order.id] = f"a replace was refused: {verdict.reason}"

    def _rows(self, venue: Venue) -> list[int]:
        """The book's rows that may still trade."""
        return sorted({*venue.open_rows().tolist(), *self._coming} - self._leaving)

    def _at_once(self, record: Records) -> bool:
        """Whether an order fills as the next step begins: one for the open of a session waits where that is not one."""
        return requested.fills_at_once(record) and (self._opening or record["kind"] != MARKET_ON_OPEN)

    def _units(self, book: Records, row: int) -> float:
        return self._coming[row] if row in self._coming else requested.still_open(book, row, self._coming)

    def _resting(self, venue: Venue, targeted: set[int], beside: Collection[int] = ()) -> dict[str, Resting]:
        """By symbol, what rests beside some rows. A new target of a symbol replaces the one that rests.

        Of a group of alternatives the largest counts, on each side.
        """
        book, symbols = venue.desk.book, venue.desk.symbols
        most: dict[tuple[int, int, bool, bool], float] = {}
        for row in self._rows(venue):
            order, number = book[row], int(book["symbol"][row])
            if row in beside or (number in targeted and requested.is_target(book, row, symbols)):
                continue
            units = self._units(book, row)
            group = int(order["group"]) if order["group"] < NOWHERE else row
            reduces = requested.is_reduce_only(book, row)
            if reduces and self._at_once(order):
                # It fills before what comes after it, as a plain order of what it finds to reduce.
                units, reduces = requested.towards_zero(units, float(symbols["position"][number])), False
            key = number, group, units > 0.0, reduces
            most[key] = max(most.get(key, 0.0), units, key=abs)
        found: dict[str, Resting] = {}
        for (number, _, _, reduces), units in most.items():
            name = self._past.symbols[number]
            found[name] = found.get(name, Resting()).plus(units, reduces)
        return found

    def _order(self, book: Records, row: int, units: float, at_once: bool = True) -> Order:
        record = book[row]
        take, loss = requested.exits(book, row)
        return Order(
            id=self._ids[row],
            symbol=self._past.symbols[record["symbol"]],
            side=Side.BUY if units > 0 else Side.SELL,
            quantity=abs(units),
            type=OrderType.MARKET if at_once and self._at_once(record) else OrderType.LIMIT,
            tif=TimeInForce.GTC,
            submitted_at=_EPOCH + timedelta(microseconds=int(record["submitted"])),
            reduce_only=requested.is_reduce_only(book, row),
            oco_group=str(record["group"]) if record["group"] < NOWHERE else "",
            take_profit=take,
            stop_loss=loss,
        )


def _too_many(
    asked: Sequence[int], why: Callable[[Sequence[int]], tuple[str, str] | None]
) -> dict[int, tuple[str, str]]:
    """Of rows that may not all be carried out together, those that may not once as many as can be have been."""
    if not asked or why(asked) is None:
        return {}
    taken: list[int] = []
    refused: dict[int, tuple[str, str]] = {}
    before = -1
    while len(taken) > before:
        before, refused = len(taken), {}
        for row in asked:
            fault = None if row in taken else why([*taken, row])
            if fault is not None:
                refused[row] = fault
            elif row not in taken:
                taken.append(row)
    return refused


def explained(orders: pl.DataFrame, refused: Mapping[str, str]) -> pl.DataFrame:
    """A result's orders, with the reasons of what was refused."""
    if not refused:
        return orders
    why = pl.col("order_id").replace_strict(dict(refused), default=None, return_dtype=pl.String)
    own = pl.when(pl.col("reason") != "").then("reason")
    return orders.with_columns(reason=pl.concat_str(own, why, separator="; ", ignore_nulls=True).fill_null(""))
