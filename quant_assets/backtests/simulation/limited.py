"""Pre-trade limits inside a backtest: orders are judged as they are sent, as the live trader judges its own.

At each instant at which orders are submitted the limits (quant_assets/risk/limits.py) see the account as whoever
submits them can know it: positions, last closes, equity, the highest equity so far at the end of a step, the orders
already sent in this session, and those that still rest. What is refused never reaches the market, and what waits for
it falls with it. A cancel passes; a replace is judged by the units that it adds.

A target, or an amount of money, is judged as the units that the exchange will make of it, with the same closes and
equity (`size` in resources/exchange/requests.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_assets.backtests.simulation import requested
from quant_assets.backtests.simulation.requested import DUST, TARGETS, Known
from quant_assets.risk.limits import Decision, Resting, check, controlled, sectors_of, signed_quantity
from resources.brokers.base import Order, OrderType, Side, TimeInForce
from resources.config import LimitSettings
from resources.errors import ConfigError
from resources.exchange.layout import NOWHERE, Floats, Integers, Log, Records
from resources.exchange.words import (
    CLOSED,
    EQUITY,
    EQUITY_BEFORE,
    LOGGED,
    REJECTED,
    SUBMIT,
)

if TYPE_CHECKING:
    from quant_assets.backtests.market.history import History
    from resources.exchange.venue import Venue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        for step, rows in requested.submitted(venue, market.opens, first):
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

    def _known(self, venue: Venue, step: int, instant: int) -> Known:
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
            return Known(close, factor, float(desk.account[EQUITY_BEFORE]))
        here = symbols["position"] != 0.0
        held = symbols[here]
        # Of what is paid in full a conversion rate moves the whole worth, of contracts only what they gain.
        before = np.where(held["paid"] != 0, held["factor"], factor[here]) * held["mark"]
        gained = held["position"] * (factor[here] * last[here] - before)
        return Known(close, factor, float(desk.account[EQUITY] + gained.sum()))

    def _factor(self, symbols: Records, instant: int) -> Floats:
        rates = self._past.market.rates
        known = rates[: np.searchsorted(rates["at"], instant, side="right")]
        factor: Floats = symbols["factor"].copy()
        for currency in np.unique(known["currency"]):
            theirs = symbols["currency"] == currency
            factor[theirs] = symbols["multiplier"][theirs] * known["rate"][known["currency"] == currency][-1]
        return factor

    # ---- what becomes of it

    def _judge(self, venue: Venue, batch: Integers, known: Known) -> None:
        """Refuse what the limits refuse of the rows submitted at one instant."""
        book, symbols = venue.desk.book, venue.desk.symbols
        asked: dict[int, Order] = {}
        # Parents first, so that what becomes of them does not hang on their children.
        for row in sorted(batch.tolist(), key=lambda row: requested.depth(book, row)):
            coming = self._coming | {earlier: signed_quantity(order) for earlier, order in asked.items()}
            units = requested.units(book, row, symbols, known, coming)
            if abs(units) >= DUST:
                asked[row] = self._order(book, row, units)
        targets = requested.targets(book, batch)
        self._leaving |= requested.cancelled(book, batch)
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
            falls = {row for row in judged if requested.falls(book, row, verdicts | refused, fallen)}
            # Where the last target is refused, the one before it stands: of this instant, or what still rests.
            over = {rows[-1] for rows in targets.values() if rows and requested.is_refused(rows[-1], verdicts)}
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
        known: Known,
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
            units = self._coming[row] if row in self._coming else requested.still_open(book, row, self._coming)
            group, reduces = int(order["group"]) if order["group"] < NOWHERE else row, bool(order["reduce"])
            if reduces and requested.fills_at_once(order):
                # It fills before what comes after it, as a plain order of what it finds to reduce.
                units, reduces = requested.towards_zero(units, float(symbols["position"][number])), False
            key = number, group, units > 0.0, reduces
            most[key] = max(most.get(key, 0.0), units, key=abs)
        found: dict[str, Resting] = {}
        for (number, _, _, reduces), units in most.items():
            name = self._past.symbols[number]
            found[name] = found.get(name, Resting()).plus(units, reduces)
        return found

    def _order(self, book: Records, row: int, units: float) -> Order:
        record = book[row]
        take, loss = requested.exits(book, row)
        return Order(
            id=self._ids[row],
            symbol=self._past.symbols[record["symbol"]],
            side=Side.BUY if units > 0 else Side.SELL,
            quantity=abs(units),
            type=OrderType.MARKET if requested.fills_at_once(record) else OrderType.LIMIT,
            tif=TimeInForce.GTC,
            submitted_at=_EPOCH + timedelta(microseconds=int(record["submitted"])),
            reduce_only=bool(record["reduce"]),
            oco_group=str(record["group"]) if record["group"] < NOWHERE else "",
            take_profit=take,
            stop_loss=loss,
        )


def explained(orders: pl.DataFrame, refused: Mapping[str, str]) -> pl.DataFrame:
    """A result's orders, with the reasons of what was refused."""
    if not refused:
        return orders
    why = pl.col("order_id").replace_strict(dict(refused), default=None, return_dtype=pl.String)
    own = pl.when(pl.col("reason") != "").then("reason")
    return orders.with_columns(reason=pl.concat_str(own, why, separator="; ", ignore_nulls=True).fill_null(""))
