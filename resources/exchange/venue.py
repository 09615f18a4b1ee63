"""The exchange as arrays: orders in, a market of bars or ticks through, fills out. History and live feed share it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from resources.config import BacktestSettings
from resources.errors import ConfigError, QuantError
from resources.exchange.layout import (
    FILL,
    NOWHERE,
    ORDER,
    ROWS_A_SYMBOL,
    SYMBOL,
    Desk,
    Floats,
    Integers,
    Log,
    Market,
    Records,
    symbol_rows,
)
from resources.exchange.models.base import FACTS
from resources.exchange.reaction import Reaction
from resources.exchange.terms import Listing, terms
from resources.exchange.words import (
    ACCEPTED,
    ACCOUNT_SLOTS,
    ACTIVE,
    CARRIED,
    CASH,
    CLOSED,
    DELISTING,
    EQUITY,
    EQUITY_BEFORE,
    FILLED,
    FILLS,
    GROSS,
    HELD,
    ORDERS,
    PARTIAL,
    TALLIES,
    VALUE,
)

RIGHTS = {"": 0, "call": 1, "put": -1}
BORROWED = ("equity", "crypto")
"""Classes of which something must be borrowed to be short; of a contract, a short position is just its other side."""
NEVER_CLOSED = np.iinfo(np.int64).min


class IdentityError(QuantError):
    """Cash and positions at market do not add up to the equity that prices, fills and costs lead to."""


class Venue:
    """Holds the book and the account, and moves them through a market.

    Symbols, currencies and orders are numbers here: rows of the arrays of `desk`. The account's currency is number 0.
    """

    def __init__(
        self,
        settings: BacktestSettings,
        names: Sequence[str] = (),
        listings: Sequence[Listing] = (),
        book: Records | None = None,
    ) -> None:
        """`book`: ORDER rows by time of submission, received as their time comes; without it, `add` fills one."""
        from resources.exchange import step  # loads numba, and compiles on the first machine

        self._step = step
        self.settings = settings
        self.currencies = [settings.currency]
        self.rates = [1.0]
        """Account currency per unit of each currency; NaN until one is known."""
        self.numbers: dict[str, int] = {}
        self._parameters: list[Floats] = []  # kept alive here: the kernel knows their addresses only
        self.terms = terms(settings, volatility=False)
        self.desk = self._desk(book, symbol_rows(0), len(names))
        self.add_symbols(names, listings)

    def of(self, book: Records) -> Venue:
        """A venue as this one was made, for a book of its own: what is known of symbols is worked out once for many."""
        other, listed = copy(self), self.desk.symbols
        symbols = symbol_rows(listed.size)
        symbols[:] = listed
        other.desk = self._desk(book, symbols, listed.size)
        return other

    def _desk(self, book: Records | None, symbols: Records, names: int) -> Desk:
        orders = 0 if book is None else book.size
        tally = np.zeros(TALLIES, np.int64)
        tally[ORDERS], tally[CLOSED] = orders, NEVER_CLOSED
        tally[CARRIED] = NOWHERE
        account = np.zeros(ACCOUNT_SLOTS)
        account[[CASH, EQUITY, EQUITY_BEFORE]] = self.settings.cash
        return Desk(
            book=np.zeros(16, ORDER) if book is None else book,
            active=np.zeros(max(orders, 16), np.int64),
            live=np.zeros(max(orders, 16), np.int64),
            tally=tally,
            account=account,
            symbols=symbols,
            facts=np.zeros(FACTS),
            # An order fills once, as a rule, and room that is found missing must be copied.
            fills=np.zeros(256 + orders + orders // 8 + 4 * names, FILL),
        )

    # ---- symbols and currencies

    def add_symbols(self, names: Sequence[str], listings: Sequence[Listing]) -> None:
        """Make room for more symbols, in this order."""
        first = self.desk.symbols.size
        self.numbers.update({name: first + number for number, name in enumerate(names)})
        alike: dict[Listing, list[int]] = {}
        for number, listing in enumerate(listings):
            alike.setdefault(listing, []).append(number)
        rows = symbol_rows(first + len(names))
        rows[:first] = self.desk.symbols
        for listing, members in alike.items():
            rows[[first + number for number in members]] = self._described(listing, [names[n] for n in members])
        self.desk = self.desk._replace(symbols=rows)

    def _described(self, listing: Listing, names: Sequence[str]) -> Records:
        """SYMBOL rows of symbols with the same listing."""
        models = self.settings.models_for(listing.asset_class, names[0])
        row = np.zeros(1, SYMBOL)
        for field in ("mark", "before", "variance", "half", "day_close"):
            row[field] = np.nan
        row["row"] = row["target"] = row["underlying"] = NOWHERE
        row["closed"] = row["opened"] = NEVER_CLOSED
        row["lot"], row["tick"], row["multiplier"] = listing.lot, listing.tick, listing.multiplier
        row["minimum"], row["paid"] = listing.minimum_notional, listing.paid
        row["currency"] = self._currency(listing.currency or self.settings.currency)
        row["rate"] = self.rates[int(row["currency"][0])]
        row["factor"] = row["known"] = listing.multiplier * row["rate"]
        row["strike"], row["right"] = listing.strike, RIGHTS[listing.right]
        if listing.right:
            row["underlying"] = self._underlying(listing, names[0])
        for kind, model in (
            ("spread", models.spread),
            ("slippage", models.slippage),
            ("commission", models.commission),
        ):
            self._parameters.append(model.parameters)
            row[f"{kind}_model"], row[f"{kind}_numbers"] = model.address, self._parameters[-1].ctypes.data
            if model.reads_volatility:
                self.terms = self.terms._replace(volatility=True)
        rows = np.repeat(row, len(names))
        if listing.asset_class in BORROWED:
            rows["borrow"] = [models.borrow.rate(name) for name in names]
        if not listing.paid and listing.expires is None:
            # Funding keeps a perpetual at its index: what is paid in full, or expires, needs none.
            rows["funding"] = [models.funding.per_8h(name) for name in names]
        needs = [models.margin.requirement(name, listing.asset_class) for name in names]
        for place, field in enumerate(("long_rate", "short_rate", "per_unit")):
            rows[field] = [need[place] for need in needs]
        if listing.margin_per_unit is not None:
            rows["long_rate"], rows["short_rate"], rows["per_unit"] = 0.0, 0.0, listing.margin_per_unit
        return rows

    def _underlying(self, listing: Listing, name: str) -> int:
        if listing.underlying not in self.numbers:
            raise ConfigError(
                f"{name}: an option on {listing.underlying or 'nothing'}, which is not among the symbols; "
                "its expiry needs the underlying's price: add its bars, or leave the option out"
            )
        return self.numbers[listing.underlying]

    def _currency(self, code: str) -> int:
        if code not in self.currencies:
            self.currencies.append(code)
            self.rates.append(np.nan)
        return self.currencies.index(code)

    # ---- orders

    def add(self, rows: Records) -> int:
        """Put ORDER rows into the book, after those that are there, and return the first one's row."""
        desk = self.desk
        first = int(desk.tally[ORDERS])
        if first + rows.size > desk.book.size:
            self.desk = desk = desk._replace(
                book=np.concatenate([desk.book, np.zeros(desk.book.size + rows.size, ORDER)])
            )
        if desk.tally[ACTIVE] + rows.size > desk.active.size:
            room = np.zeros(desk.active.size + rows.size, np.int64)
            self.desk = desk = desk._replace(
                active=np.concatenate([desk.active, room]), live=np.concatenate([desk.live, room])
            )
        desk.book[first : first + rows.size] = rows
        desk.tally[ORDERS] += rows.size
        return first

    @property
    def next_row(self) -> int:
        """Where the next order goes."""
        return int(self.desk.tally[ORDERS])

    def receive(self, row: int) -> None:
        """Receive a request that lies in the book: between steps, as a live feed does."""
        self._step.receive(self.desk, row)

    def obey(self, row: int) -> None:
        """Carry out a cancel or replace at once."""
        self._step.obey_now(self.desk, row)

    def end(self, rows: Integers, state: int, reason: int) -> None:
        """End those of the orders that are still open, asleep, or never received."""
        book = self.desk.book
        still = rows[book["state"][rows] < FILLED]
        book["state"][still] = state
        book["reason"][still] = reason

    def open_rows(self) -> Integers:
        """The orders that are still open or asleep, by priority."""
        rows = self.desk.active[: self.desk.tally[ACTIVE]]
        return rows[np.isin(self.desk.book["state"][rows], (ACCEPTED, PARTIAL, HELD))]

    # ---- market

    def trade(
        self, market: Market, log: Log, first: int = 0, reaction: Reaction | None = None, end: int | None = None
    ) -> None:
        """Trade a market's steps from `first` on, up to `end`; what is done is added to `desk.fills`.

        Raises IdentityError if the books do not balance.
        """
        step, last = first, market.opens.size if end is None else end
        address = 0 if reaction is None else reaction.address
        while step < last:
            places = np.zeros(1, np.int64) if reaction is None else reaction.places(self.desk)
            ended, step = self._step.trade(self.terms, self.desk, market, log, step, last, address, places)
            if ended == self._step.NO_ROOM:
                self.make_room()
                if reaction is not None:
                    self.make_room_for_orders()
            elif ended == self._step.UNBALANCED:
                self._unbalanced(market.opens[step])

    def make_room(self) -> None:
        """At least double the room for fills."""
        fills = self.desk.fills
        room = np.zeros(fills.size + 4 * self.desk.symbols.size + 2 * self.open_rows().size + 256, FILL)
        self.desk = self.desk._replace(fills=np.concatenate([fills, room]))

    def make_room_for_orders(self) -> None:
        """At least double the room in the book."""
        desk, more = self.desk, self.desk.book.size + ROWS_A_SYMBOL * self.desk.symbols.size
        rows = np.zeros(more, np.int64)
        self.desk = desk._replace(
            book=np.concatenate([desk.book, np.zeros(more, ORDER)]),
            active=np.concatenate([desk.active, rows]),
            live=np.concatenate([desk.live, rows]),
        )

    def leave(self, symbol: int, reason: int = DELISTING) -> None:
        """Rule 17: close the position at the last price, without costs, and cancel what rests."""
        self._step.finish(self.desk, symbol, reason)

    def set_rate(self, currency: str, rate: float) -> None:
        """From now on a unit of `currency` is worth so much in account currency."""
        number = self._currency(currency)
        self.rates[number] = rate
        self._step.convert(self.desk, number, rate)

    def fills(self) -> Records:
        """The fills so far, in their order."""
        return self.desk.fills[: self.desk.tally[FILLS]]

    def _unbalanced(self, now: int) -> None:
        account = self.desk.account
        raise IdentityError(
            f"step that opens at {np.datetime64(int(now), 'us')}: cash {account[CASH]!r} + positions "
            f"{account[VALUE]!r} is not the equity {account[EQUITY]!r} that prices, fills and costs lead to "
            f"(gross exposure {account[GROSS]!r})"
        )
