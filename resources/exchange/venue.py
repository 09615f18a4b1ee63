"""The exchange as arrays: orders in, a session of bars through, fills out. History and live feed share it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resources.errors import QuantError
from resources.exchange.layout import (
    ACCEPTED,
    ACCOUNT_SLOTS,
    ACTIVE,
    CANCELLED,
    CASH,
    DELISTED,
    DELISTING,
    EQUITY,
    FILL,
    FILLS,
    GROSS,
    ORDER,
    PARTIAL,
    VALUE,
    Desk,
    Floats,
    Integers,
    Records,
)
from resources.exchange.terms import Listing, Terms

MICROS = 1_000_000


class IdentityError(QuantError):
    """Cash and positions at market do not add up to the equity that prices, fills and costs lead to."""


class Venue:
    """Holds the book and the account, and moves them a session at a time.

    Symbols and orders are numbers here: rows of the arrays of `desk`.
    """

    def __init__(self, terms: Terms, cash: float, listings: Sequence[Listing], book: Records | None = None) -> None:
        """`book`: ORDER rows that will be `activate`d later; without it, `add` fills a growing book."""
        from resources.exchange.session import trade_session  # loads numba, and compiles on the first machine

        self._trade_session = trade_session
        self.terms = terms
        self.orders = 0 if book is None else book.size
        symbols = len(listings)
        self.desk = Desk(
            book=np.zeros(16, ORDER) if book is None else book,
            active=np.zeros(16 if book is None else max(book.size, 1), np.int64),
            tally=np.zeros(2, np.int64),
            account=np.zeros(ACCOUNT_SLOTS),
            position=np.zeros(symbols),
            mark=np.full(symbols, np.nan),
            left=np.zeros(symbols),
            lot=np.array([listing.lot for listing in listings], float),
            tick=np.array([listing.tick for listing in listings], float),
            fills=np.zeros(64, FILL),
        )
        self.desk.account[CASH] = self.desk.account[EQUITY] = cash
        self._last: int | None = None

    def add_symbol(self, listing: Listing) -> int:
        """Make room for one more symbol and return its number."""
        desk = self.desk
        self.desk = desk._replace(
            position=np.append(desk.position, 0.0),
            mark=np.append(desk.mark, np.nan),
            left=np.append(desk.left, 0.0),
            lot=np.append(desk.lot, listing.lot),
            tick=np.append(desk.tick, listing.tick),
        )
        return desk.position.size

    def add(self, order: Records) -> int:
        """Put one order (an ORDER row) into the book, active, and return its row."""
        desk = self.desk
        if self.orders == desk.book.size:
            self.desk = desk._replace(
                book=np.concatenate([desk.book, np.zeros_like(desk.book)]),
                active=np.concatenate([desk.active, np.zeros_like(desk.active)]),
            )
        row = self.orders
        self.desk.book[row] = order
        self.orders += 1
        self.activate(np.array([row]))
        return row

    def activate(self, rows: Integers) -> None:
        """Accept orders of the book, in this order of priority."""
        start = self.desk.tally[ACTIVE]
        self.desk.active[start : start + rows.size] = rows
        self.desk.tally[ACTIVE] += rows.size
        self.desk.book["state"][rows] = ACCEPTED

    def end(self, rows: Integers, state: int, reason: int) -> None:
        """End those of the orders that are still open."""
        book = self.desk.book
        still = rows[self._open(rows)]
        book["state"][still] = state
        book["reason"][still] = reason

    def open_rows(self) -> Integers:
        """The orders that are still open, by priority."""
        rows = self.desk.active[: self.desk.tally[ACTIVE]]
        return rows[self._open(rows)]

    def _open(self, rows: Integers) -> npt.NDArray[np.bool_]:
        state = self.desk.book["state"][rows]
        return (state == ACCEPTED) | (state == PARTIAL)

    def session(self, now: int, bars: Floats) -> Records:
        """Trade one session's bars (a row a symbol, columns as in layout) that open at `now` (microseconds).

        Returns a copy of the session's fills. Raises IdentityError if the books do not balance afterwards.
        """
        room = int(self.desk.tally[ACTIVE]) + self.desk.position.size
        if self.desk.fills.size < room:
            self.desk = self.desk._replace(fills=np.zeros(2 * room, FILL))
        seconds = 0.0 if self._last is None else (now - self._last) / MICROS
        self._trade_session(self.terms, self.desk, bars, now, seconds)
        self._last = now
        self._check(now)
        return self.desk.fills[: self.desk.tally[FILLS]].copy()

    def delist(self, symbol: int) -> Records:
        """Rule 17: close the position at the last price, without costs, and cancel what rests."""
        desk = self.desk
        rows = self.open_rows()
        self.end(rows[desk.book["symbol"][rows] == symbol], CANCELLED, DELISTED)
        held, price = desk.position[symbol], desk.mark[symbol]
        done = np.zeros(1 if held else 0, FILL)
        if held:
            desk.position[symbol] = 0.0
            desk.account[CASH] += held * price
            done["order"], done["symbol"], done["side"], done["reason"] = -1, symbol, -np.sign(held), DELISTING
            done["quantity"], done["price"], done["reference"] = abs(held), price, price
        return done

    def _check(self, now: int) -> None:
        account = self.desk.account
        equity = account[CASH] + account[VALUE]
        scale = max(abs(equity), account[GROSS], 1.0)
        if not abs(equity - account[EQUITY]) <= 1e-9 * scale:
            raise IdentityError(
                f"session that opens at {np.datetime64(now, 'us')}: cash {account[CASH]!r} + positions "
                f"{account[VALUE]!r} is not the equity {account[EQUITY]!r} that prices, fills and costs lead to"
            )
        account[EQUITY] = equity  # each session is proved by itself; rounding does not pile up
