"""Pre-trade limits inside a backtest: orders are judged as they are sent, as the live trader judges its own.

At each instant at which orders are submitted the limits (quant_assets/risk/limits.py) see the account as whoever
submits them can know it: positions, last closes, equity, the highest equity so far at the end of a step, the orders
already sent in this session, and those that still rest. What is refused never reaches the market, and what waits for
it falls with it. A cancel passes; a replace is judged by the units that it adds.

A target, or an amount of money, is judged as the units that the exchange will make of it, with the same closes and
equity (`size` in resources/exchange/requests.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_assets.risk.limits import Decision, Resting, check, controlled, sectors_of, signed_quantity
from resources.brokers.base import Order, OrderType, Side, TimeInForce
from resources.config import LimitSettings
from resources.errors import ConfigError
from resources.exchange.layout import NOWHERE, Floats, Integers, Log, Records
from resources.exchange.words import (
    CANCEL,
    CLOSED,
    EQUITY,
    EQUITY_BEFORE,
    FILLED,
    LOGGED,
    MARKET,
    MARKET_ON_OPEN,
    NOTIONAL,
    REJECTED,
    REPLACE,
    REPLACED,
    SUBMIT,
    TAKEN,
    TARGET_POSITION,
    TARGET_WEIGHT,
    UNITS,
)

if TYPE_CHECKING:
    from quant_assets.backtests.market.history import History
    from resources.exchange.venue import Venue

TARGETS = (TARGET_WEIGHT, TARGET_POSITION)

AT_ONCE = (MARKET, MARKET_ON_OPEN)

DUST = 1e-9
"""Units smaller than this are nothing to the exchange."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Known:
    """What can be known when orders are submitted."""

    close: Floats
    """Last close by symbol, NaN before the first."""
    factor: Floats
    """By symbol, what a price unit of one unit is worth in account currency."""
    equity: float


class Judge:
    """Judges the orders of one backtest as it comes to them.

    Raises ConfigError where sectors are limited and no instrument has one.
    """

    def __init__(self, limits: LimitSettings, past: History, ids: pl.Series, cash: float) -> None:
        """`ids`: the order's id by row of the book."""
        self._limits, self._past, self._ids = limits, past, ids
        listings = dict(zip(past.symbols, past.listings, strict=True))
        self._sectors = sectors_of(listings)
        self._options = {symbol: listing for symbol, listing in listings.items() if listing.right}
        if limits.sector is not None and not self._sectors:
            raise ConfigError(
                f"limits.sector is {limits.sector:g}, and no symbol has a sector: give instruments with a column "
                "sector, or leave the limit out"
            )
        self._peak, self._logged = cash, 0
        self._session: np.datetime64 | None = None
        self._sent, self._traded = 0, 0.0
        self._coming: dict[int, float] = {}
        self._leaving: set[int] = set()
        self._refused: dict[str, str] = {}

    def trade(self, venue: Venue, log: Log, first: int) -> dict[str, str]:
        """Trade the market's steps from `first` on, and judge what is submitted before each; reasons by order id."""
        market, done = self._past.market, first
        for step, rows in _submitted(venue, market.opens, first):
            venue.trade(market, log, done, end=step)
            done = step
            self._look(venue, log, step)
            instants = venue.desk.book["submitted"][rows]
            for batch in np.split(rows, np.flatnonzero(np.diff(instants)) + 1):
                self._judge(venue, batch, self._known(venue, step, int(venue.desk.book["submitted"][batch[0]])))
        venue.trade(market, log, done)
        return self._refused

    # ---- what is known

    def _look(self, venue: Venue, log: Log, step: int) -> None:
        """Take note of the highest equity, and of a new session."""
        rows = int(venue.desk.tally[LOGGED])
        self._peak = max(self._peak, float(log.account[self._logged : rows, EQUITY].max(initial=0.0)))
        self._logged = rows
        self._coming.clear()  # the exchange has received them since
        self._leaving.clear()
        if self._past.session[step] != self._session:
            self._session, self._sent, self._traded = self._past.session[step], 0, 0.0

    def _known(self, venue: Venue, step: int, instant: int) -> _Known:
        """What can be known at an instant between the step before and `step`."""
        desk, market = venue.desk, self._past.market
        symbols = desk.symbols
        opened = symbols["row"] != NOWHERE
        bars = market.rows[np.where(opened, symbols["row"], 0)]
        over = ~opened | (symbols["due"] >= symbols["serial"])
        # A bar that outlasts the step before ends as this one begins, just before its orders are received.
        ends = ~over & (bars["until"] <= market.opens[step])
        last = np.where(ends, bars["close"], symbols["mark"])
        ended = np.where(ends, bars["until"], symbols["closed"])
        close = np.where((over | ends) & (ended <= instant), last, symbols["before"])
        factor = self._factor(symbols, instant)
        if max(int(desk.tally[CLOSED]), int(bars["until"][ends].max(initial=NOWHERE))) > instant:
            return _Known(close, factor, float(desk.account[EQUITY_BEFORE]))
        here = symbols["position"] != 0.0
        held = symbols[here]
        # Of what is paid in full a conversion rate moves the whole worth, of contracts only what they gain.
        before = np.where(held["paid"] != 0, held["factor"], factor[here]) * held["mark"]
        gained = held["position"] * (factor[here] * last[here] - before)
        return _Known(close, factor, float(desk.account[EQUITY] + gained.sum()))

    def _factor(self, symbols: Records, instant: int) -> Floats:
        rates = self._past.market.rates
        known = rates[: np.searchsorted(rates["at"], instant, side="right")]
        factor: Floats = symbols["factor"].copy()
        for currency in np.unique(known["currency"]):
            theirs = symbols["currency"] == currency
            factor[theirs] = symbols["multiplier"][theirs] * known["rate"][known["currency"] == currency][-1]
        return factor

    # ---- what becomes of it

    def _judge(self, venue: Venue, batch: Integers, known: _Known) -> None:
        """Refuse what the limits refuse of the rows submitted at one instant."""
        book, symbols = venue.desk.book, venue.desk.symbols
        asked: dict[int, Order] = {}
        # Parents first, so that what becomes of them does not hang on their children.
        for row in sorted(batch.tolist(), key=lambda row: _depth(book, row)):
            units = _units(book, row, symbols, known)
            if abs(units) >= DUST:
                asked[row] = self._order(book[row], row, units)
        targets = _targets(book, batch)
        self._leaving |= _cancelled(book, batch)
        # The exchange replaces a target by the next one of its symbol: of several only the last is to be judged.
        replaced = {row for rows in targets.values() for row in rows[:-1] if row in asked}
        fallen: set[int] = set()
        refused: dict[int, Decision] = {}
        while True:
            out = fallen | replaced | refused.keys()
            judged = {row: order for row, order in asked.items() if row not in out}
            resting = self._resting(venue, {number for number, rows in targets.items() if rows})
            verdicts = self._verdicts(judged, symbols, known, resting, beside=len(replaced))
            # What waits for a refused order is never sent, and takes no room.
            falls = {row for row in judged if _falls(book, row, verdicts | refused, fallen)}
            # Where the last target is refused, the one before it stands: of this instant, or what still rests.
            over = {rows[-1] for rows in targets.values() if rows and _is_refused(rows[-1], verdicts)}
            if not falls and not over:
                break
            fallen |= falls
            if not falls:
                refused |= {row: verdicts[row] for row in over}
                targets = {number: [row for row in rows if row not in over] for number, rows in targets.items()}
                replaced = {row for rows in targets.values() for row in rows[:-1] if row in asked}
        self._sent += len(replaced)
        for row, verdict in sorted((verdicts | refused).items()):
            self._carry_out(book, row, verdict)

    def _verdicts(
        self,
        asked: Mapping[int, Order],
        symbols: Records,
        known: _Known,
        resting: Mapping[str, Resting],
        beside: int,
    ) -> dict[int, Decision]:
        """The limits' decisions, with `beside` orders of the same instant that are sent and will never trade."""
        names = self._past.symbols
        worth = known.close * known.factor
        self._peak = max(self._peak, known.equity)
        controls = None
        if self._options:
            quoted = worth / symbols["multiplier"]
            controls = controlled(dict(zip(names, quoted.tolist(), strict=True)), self._options)
        held = np.flatnonzero(symbols["position"]).tolist()
        decisions = check(
            list(asked.values()),
            {names[number]: float(symbols["position"][number]) for number in held},
            dict(zip(names, worth.tolist(), strict=True)),
            equity=known.equity,
            peak_equity=self._peak,
            limits=self._limits,
            sent=self._sent + beside,
            traded=self._traded,
            sectors=self._sectors,
            controls=controls,
            resting=resting,
        )
        return dict(zip(asked, decisions, strict=True))

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

    def _resting(self, venue: Venue, targeted: set[int]) -> dict[str, Resting]:
        """By symbol, what rests. A new target of a symbol replaces the one that rests.

        Of a group of alternatives the largest counts, on each side.
        """
        book, symbols = venue.desk.book, venue.desk.symbols
        most: dict[tuple[int, int, bool, bool], float] = {}
        for row in sorted({*venue.open_rows().tolist(), *self._coming} - self._leaving):
            order, number = book[row], int(book["symbol"][row])
            is_target = order["sizing"] in TARGETS or symbols["target"][number] == row
            if is_target and number in targeted:
                continue
            units = self._coming[row] if row in self._coming else _still_open(book, row)
            group, reduces = int(order["group"]) if order["group"] < NOWHERE else row, bool(order["reduce"])
            if reduces and _fills_at_once(order):
                # It fills before what comes after it, as a plain order of what it finds to reduce.
                units, reduces = _towards_zero(units, float(symbols["position"][number])), False
            key = number, group, units > 0.0, reduces
            most[key] = max(most.get(key, 0.0), units, key=abs)
        found: dict[str, Resting] = {}
        for (number, _, _, reduces), units in most.items():
            name = self._past.symbols[number]
            found[name] = found.get(name, Resting()).plus(units, reduces)
        return found

    def _order(self, record: Records, row: int, units: float) -> Order:
        return Order(
            id=self._ids[row],
            symbol=self._past.symbols[record["symbol"]],
            side=Side.BUY if units > 0 else Side.SELL,
            quantity=abs(units),
            type=OrderType.MARKET if _fills_at_once(record) else OrderType.LIMIT,
            tif=TimeInForce.GTC,
            submitted_at=_EPOCH + timedelta(microseconds=int(record["submitted"])),
            reduce_only=bool(record["reduce"]),
            oco_group=str(record["group"]) if record["group"] < NOWHERE else "",
        )


def explained(orders: pl.DataFrame, refused: Mapping[str, str]) -> pl.DataFrame:
    """A result's orders, with the reasons of what was refused."""
    if not refused:
        return orders
    why = pl.col("order_id").replace_strict(dict(refused), default=None, return_dtype=pl.String)
    own = pl.when(pl.col("reason") != "").then("reason")
    return orders.with_columns(reason=pl.concat_str(own, why, separator="; ", ignore_nulls=True).fill_null(""))


def _submitted(venue: Venue, opens: Integers, first: int) -> Iterator[tuple[int, Integers]]:
    """The steps from `first` on before which something is submitted, and the book's rows of it."""
    rows = np.arange(venue.desk.tally[TAKEN], venue.next_row)
    steps = first + np.searchsorted(opens[first:], venue.desk.book["submitted"][rows], side="left")
    rows, steps = rows[steps < opens.size], steps[steps < opens.size]
    found, begins = np.unique(steps, return_index=True)
    if rows.size:
        yield from zip(found.tolist(), np.split(rows, begins[1:]), strict=True)


def _units(book: Records, row: int, symbols: Records, known: _Known) -> float:
    """Signed units that a row asks for; 0.0 where there is nothing to judge, or nothing that could be sized."""
    order = book[row]
    if order["follows"] or order["action"] == CANCEL or _ended_parent(book, row):
        return 0.0
    if order["action"] != SUBMIT:
        return _still_open(book, row)
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


def _still_open(book: Records, row: int) -> float:
    """Signed units that a row may still trade: of a replace, those that it adds to its order as it stands."""
    order = book[row]
    if order["action"] == SUBMIT:
        return float(order["side"] * (order["quantity"] - order["filled"]))
    if order["action"] == CANCEL:
        return 0.0
    before = _standing(book, int(order["names"]))
    if book["state"][before] >= FILLED:
        return 0.0
    more = order["quantity"] - _asked_before(book, row, before)
    return float(book["side"][before] * more) if more > 0.0 else 0.0


def _standing(book: Records, row: int) -> int:
    """The row in which an order stands now: its own, or that of what has taken its place."""
    while book["reason"][row] == REPLACED and book["names"][row] != NOWHERE:
        row = int(book["names"][row])
    return row


def _asked_before(book: Records, row: int, standing: int) -> float:
    """The least quantity that a standing order may have as `row` is received: its own, or what replaces ask for.

    Those that were sent before and are not received yet may be refused, so that none of them makes room.
    """
    sent = (book["names"][:row] == book["names"][row]) & (book["action"][:row] == REPLACE)
    asked = book["quantity"][:row][sent & (book["state"][:row] < FILLED)]
    return float(np.nanmin([*asked, book["quantity"][standing]]))


def _targets(book: Records, batch: Integers) -> dict[int, list[int]]:
    """The rows of a batch that ask for a target, by symbol, as the exchange receives them."""
    found: dict[int, list[int]] = {}
    for row in sorted(batch.tolist()):
        if book["action"][row] == SUBMIT and book["sizing"][row] in TARGETS:
            found.setdefault(int(book["symbol"][row]), []).append(row)
    return found


def _cancelled(book: Records, batch: Integers) -> set[int]:
    """The rows that a batch cancels at once: before anything of it can trade, and before they can."""
    at_once = (book["action"][batch] == CANCEL) & (book["eligible"][batch] <= book["submitted"][batch])
    return {_standing(book, int(row)) for row in book["names"][batch[at_once]]}


def _fills_at_once(record: Records) -> bool:
    return bool(record["action"] == SUBMIT and record["kind"] in AT_ONCE and record["parent"] == NOWHERE)


def _towards_zero(units: float, held: float) -> float:
    return math.copysign(min(abs(units), abs(held)), units) if units * held < 0.0 else 0.0


def _is_refused(row: int, verdicts: Mapping[int, Decision]) -> bool:
    return row in verdicts and not verdicts[row].accepted


def _ended_parent(book: Records, row: int) -> bool:
    """Whether the order that a row waits for has ended without a fill."""
    parent = book["parent"][row]
    return bool(parent != NOWHERE and book["state"][parent] > FILLED and book["filled"][parent] == 0.0)


def _falls(book: Records, row: int, verdicts: Mapping[int, Decision], fallen: set[int]) -> bool:
    """Whether a row waits for one that has just been refused, or that has itself fallen."""
    parent = int(book["parent"][row])
    return parent in fallen or _is_refused(parent, verdicts)


def _depth(book: Records, row: int) -> int:
    """How many orders a row waits for, one behind the other."""
    parent, depth = book["parent"][row], 0
    while parent != NOWHERE:
        parent, depth = book["parent"][parent], depth + 1
    return depth


def _in_lots(units: float, lot: float) -> float:
    """Whole lots towards zero, as the exchange counts them."""
    return math.copysign(math.floor(abs(units) / lot + DUST) * lot, units)
