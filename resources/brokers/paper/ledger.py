"""The paper venue's books, in one SQLite file that outlives whoever trades there.

account     the terms the account was opened with, and its cash
identity    the account's id, so that nobody takes another account for it
calls       everything the exchange was told, in order: telling it again restores it
sessions    how far each session has got (step: null before the open, STEPS at the close)
orders      every order by its client id, as it stands; the exits of an order's bracket are orders of their own
executions  every execution by its id
positions   what is held now; `settled` is the price that cash has been settled to (0 where the whole price is paid)
events      what happened, numbered: a state of an order, or an execution
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from resources.brokers.base import Account, Fill, Order, OrderState, OrderStatus, Position
from resources.brokers.rows import (
    FILL_COLUMNS,
    ORDER_COLUMNS,
    check_columns,
    fill_of,
    fill_values,
    order_of,
    order_values,
)
from resources.durable import APPEND_ONLY, connect
from resources.errors import QuantError

_SCHEMA = f"""
CREATE TABLE account (id INTEGER PRIMARY KEY CHECK (id = 1), terms TEXT NOT NULL, cash REAL NOT NULL);
CREATE TABLE calls (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE sessions (session TEXT PRIMARY KEY, opens TEXT NOT NULL, ts TEXT NOT NULL, step INTEGER,
    closed INTEGER NOT NULL);
CREATE TABLE orders (id TEXT PRIMARY KEY, {ORDER_COLUMNS}, number INTEGER NOT NULL UNIQUE, session TEXT NOT NULL,
    received_at TEXT NOT NULL, state TEXT NOT NULL, filled REAL NOT NULL, reason TEXT NOT NULL);
CREATE TABLE executions ({FILL_COLUMNS}, number INTEGER NOT NULL UNIQUE);
CREATE TABLE positions (symbol TEXT PRIMARY KEY, quantity REAL NOT NULL, average_price REAL NOT NULL,
    last_price REAL NOT NULL, multiplier REAL NOT NULL, settled REAL NOT NULL);
CREATE TABLE events (number INTEGER PRIMARY KEY, order_id TEXT, execution_id TEXT, state TEXT, quantity REAL,
    filled REAL, reason TEXT);
""" + "".join(APPEND_ONLY.format(table=table) for table in ("calls", "executions", "events"))


_IDENTITY = "CREATE TABLE IF NOT EXISTS identity (only INTEGER PRIMARY KEY CHECK (only = 1), account TEXT NOT NULL);"
"""Apart from the rest, because accounts opened before it are given it when they are opened again."""


class PaperVenueError(QuantError):
    """The paper venue's books do not allow what is asked."""


class Ledger:
    """Reads and writes the books. Writing methods are called inside one `resources.durable.transaction`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = connect(path, _SCHEMA)
        check_columns(self.connection, "orders", path)
        self.connection.executescript(_IDENTITY)

    # ---- account and sessions

    def terms(self) -> str | None:
        row = self.connection.execute("SELECT terms FROM account").fetchone()
        return row["terms"] if row else None

    def open_account(self, terms: str, cash: float) -> None:
        self.connection.execute("INSERT INTO account VALUES (1, ?, ?)", (terms, cash))

    def identity(self) -> str | None:
        row = self.connection.execute("SELECT account FROM identity").fetchone()
        return row["account"] if row else None

    def identify(self, account: str) -> None:
        self.connection.execute("INSERT INTO identity VALUES (1, ?)", (account,))

    def cash(self) -> float:
        return float(self.connection.execute("SELECT cash FROM account").fetchone()["cash"])

    def set_cash(self, cash: float) -> None:
        self.connection.execute("UPDATE account SET cash=?", (cash,))

    def last_session(self) -> sqlite3.Row | None:
        """The newest session's row: session, opens, ts, step, closed."""
        row: sqlite3.Row | None = self.connection.execute(
            "SELECT * FROM sessions ORDER BY session DESC LIMIT 1"
        ).fetchone()
        return row

    def add_session(self, session: date, opens: datetime, ts: datetime) -> None:
        self.connection.execute(
            "INSERT INTO sessions VALUES (?,?,?,NULL,0)", (session.isoformat(), opens.isoformat(), ts.isoformat())
        )

    def move_session(self, session: date, step: int | None, ts: datetime, closed: bool) -> None:
        row = (step, ts.isoformat(), int(closed), session.isoformat())
        self.connection.execute("UPDATE sessions SET step=?, ts=?, closed=? WHERE session=?", row)

    # ---- calls

    def last_call(self) -> int:
        return int(self.connection.execute("SELECT coalesce(max(number), 0) FROM calls").fetchone()[0])

    def add_call(self, kind: str, content: dict[str, Any]) -> int:
        row = (kind, json.dumps(content))
        return int(self.connection.execute("INSERT INTO calls (kind, content) VALUES (?,?)", row).lastrowid or 0)

    def calls(self, after: int) -> list[tuple[int, str, dict[str, Any]]]:
        rows = self.connection.execute("SELECT * FROM calls WHERE number>? ORDER BY number", (after,))
        return [(row["number"], row["kind"], json.loads(row["content"])) for row in rows]

    # ---- orders, executions, events

    def add_order(self, order: Order, session: str, received_at: datetime) -> None:
        """A new order, before the exchange has judged it."""
        state = (self._next("orders"), session, received_at.isoformat(), str(OrderState.INTENDED), 0.0, "")
        row = (order.id, *order_values(order), *state)
        self.connection.execute(f"INSERT INTO orders VALUES ({','.join('?' * len(row))})", row)

    def _next(self, table: str) -> int:
        return int(self.connection.execute(f"SELECT coalesce(max(number), 0) + 1 FROM {table}").fetchone()[0])

    def order(self, order_id: str) -> OrderStatus | None:
        row = self.connection.execute("SELECT * FROM orders WHERE id=?", (order_id,)).fetchone()
        return _status(row) if row else None

    def orders(self, session: str) -> list[OrderStatus]:
        """Orders received in the session, and those still open from earlier ones, as received."""
        rows = self.connection.execute(
            f"SELECT * FROM orders WHERE session=? OR state IN {_OPEN} ORDER BY number", (session,)
        )
        return [_status(row) for row in rows]

    def open_orders(self) -> list[OrderStatus]:
        """Every order that may still fill, also those asleep until another one does."""
        rows = self.connection.execute(f"SELECT * FROM orders WHERE state IN {_OPEN} ORDER BY number")
        return [_status(row) for row in rows]

    def symbols(self) -> set[str]:
        """Every symbol that was ever ordered."""
        return {row["symbol"] for row in self.connection.execute("SELECT DISTINCT symbol FROM orders")}

    def move_order(self, status: OrderStatus) -> None:
        """Write down where an order stands now, as a numbered event too."""
        order = status.order
        prices = (order.limit_price, order.stop_price, order.trail)
        row = (str(order.side), order.quantity, *prices, str(status.state), status.filled, status.reason, order.id)
        self.connection.execute(
            "UPDATE orders SET side=?, quantity=?, limit_price=?, stop_price=?, trail=?, state=?, filled=?, reason=? "
            "WHERE id=?",
            row,
        )
        event = (order.id, str(status.state), order.quantity, status.filled, status.reason)
        self.connection.execute(
            "INSERT INTO events (order_id, state, quantity, filled, reason) VALUES (?,?,?,?,?)", event
        )

    def add_execution(self, fill: Fill) -> None:
        row = (*fill_values(fill), self._next("executions"))
        self.connection.execute(f"INSERT INTO executions VALUES ({','.join('?' * 11)})", row)
        self.connection.execute("INSERT INTO events (execution_id) VALUES (?)", (fill.id,))

    def executions(self) -> list[Fill]:
        return [fill_of(row) for row in self.connection.execute("SELECT * FROM executions ORDER BY number")]

    def events(self, after: int) -> list[tuple[int, Fill | OrderStatus]]:
        rows = self.connection.execute("SELECT * FROM events WHERE number>? ORDER BY number", (after,)).fetchall()
        return [(row["number"], self._event(row)) for row in rows]

    def _event(self, row: sqlite3.Row) -> Fill | OrderStatus:
        if row["execution_id"] is not None:
            return fill_of(
                self.connection.execute("SELECT * FROM executions WHERE id=?", (row["execution_id"],)).fetchone()
            )
        status = self.order(row["order_id"])
        assert status is not None
        order = replace(status.order, quantity=row["quantity"])
        return OrderStatus(order, OrderState(row["state"]), row["filled"], row["reason"])

    # ---- positions

    def positions(self) -> list[Position]:
        rows = self.connection.execute("SELECT * FROM positions ORDER BY symbol")
        return [Position(row["symbol"], row["quantity"], row["average_price"], row["last_price"]) for row in rows]

    def set_positions(self, positions: Iterable[Position], settlement: Mapping[str, tuple[float, float]]) -> None:
        """What is held from now on; `settlement` has multiplier and settled price by symbol."""
        self.connection.execute("DELETE FROM positions")
        rows = [
            (one.symbol, one.quantity, one.average_price, one.last_price, *settlement[one.symbol]) for one in positions
        ]
        self.connection.executemany("INSERT INTO positions VALUES (?,?,?,?,?,?)", rows)

    def mark(self, prices: Mapping[str, float]) -> None:
        """The prices that positions stand at now."""
        rows = [(price, symbol) for symbol, price in prices.items()]
        self.connection.executemany("UPDATE positions SET last_price=? WHERE symbol=?", rows)

    def account(self, ts: datetime) -> Account:
        """Cash, and equity: what is paid in full at its price, of the rest what cash has not been settled to yet."""
        cash = self.cash()
        rows = self.connection.execute("SELECT * FROM positions ORDER BY symbol")
        worth = [row["quantity"] * (row["last_price"] - row["settled"]) * row["multiplier"] for row in rows]
        return Account(ts, cash, cash + sum(worth))


_OPEN = f"('{OrderState.HELD}', '{OrderState.ACCEPTED}', '{OrderState.PARTIALLY_FILLED}')"


def _status(row: sqlite3.Row) -> OrderStatus:
    return OrderStatus(order_of(row), OrderState(row["state"]), row["filled"], row["reason"])
