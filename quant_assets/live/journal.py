"""The order journal: what was intended, what the venue answered, what was filled. Append-only, in SQLite.

    leases       one row each time an attempt took over; the newest is the only one that may write or send
    plans        one row a session: what was held when its orders were planned
    intents      every order, recorded before it is sent; a session's whole plan in one transaction. The exits that the
                 venue makes of an order's bracket follow it (`exit`): never sent, and known when the venue reports them
    transitions  every state that an order reached after INTENDED, in order
    fills        every execution, once
    seen         every venue event applied; the highest is where the next poll starts
    equity       cash and equity at each observation
    account      the one account at the venue that all of this is about

A plan is there entirely or not at all. A restarted worker therefore never plans a session twice (after a
partial execution the differences to trade would be other ones); it carries on from what is written here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from resources.brokers.base import TERMINAL, Account, Fill, Order, OrderState, OrderStatus, check_transition
from resources.brokers.brackets import exits_of
from resources.brokers.rows import (
    FILL_COLUMNS,
    ORDER_COLUMNS,
    check_columns,
    fill_of,
    fill_values,
    order_of,
    order_values,
)
from resources.durable import APPEND_ONLY, connect, transaction
from resources.errors import QuantError

_TABLES = f"""
CREATE TABLE leases (token INTEGER PRIMARY KEY, session TEXT NOT NULL, attempt INTEGER NOT NULL,
    holder TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE plans (session TEXT PRIMARY KEY, signals_session TEXT NOT NULL, intents INTEGER NOT NULL,
    fills INTEGER NOT NULL, token INTEGER NOT NULL, at TEXT NOT NULL);
CREATE TABLE held (session TEXT NOT NULL, symbol TEXT NOT NULL, quantity REAL NOT NULL, PRIMARY KEY (session, symbol));
CREATE TABLE intents (id TEXT PRIMARY KEY, {ORDER_COLUMNS}, session TEXT NOT NULL, number INTEGER NOT NULL,
    exit INTEGER NOT NULL, refused TEXT, token INTEGER NOT NULL);
CREATE TABLE transitions (number INTEGER PRIMARY KEY, order_id TEXT NOT NULL REFERENCES intents, state TEXT NOT NULL,
    filled REAL NOT NULL, reason TEXT NOT NULL, token INTEGER NOT NULL, at TEXT NOT NULL);
CREATE INDEX transitions_of_order ON transitions (order_id, number);
CREATE TABLE fills ({FILL_COLUMNS}, session TEXT NOT NULL, token INTEGER NOT NULL, at TEXT NOT NULL);
CREATE TABLE seen (event INTEGER PRIMARY KEY, token INTEGER NOT NULL);
CREATE TABLE equity (number INTEGER PRIMARY KEY, session TEXT NOT NULL, ts TEXT NOT NULL, cash REAL NOT NULL,
    equity REAL NOT NULL, token INTEGER NOT NULL);
"""
TABLES = ("leases", "plans", "held", "intents", "transitions", "fills", "seen", "equity", "account")
_ACCOUNT = "CREATE TABLE IF NOT EXISTS account (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL);"
"""Apart from the rest, because journals begun before it are given it when they are opened."""
_SCHEMA = _TABLES + _ACCOUNT + "".join(APPEND_ONLY.format(table=table) for table in TABLES)


class LeaseLostError(QuantError):
    """A newer attempt has taken over: this one may neither write nor send any more."""


class OtherAccountError(QuantError):
    """The journal is about another account than the venue's: its event numbers and ids mean nothing there."""


class JournalError(QuantError):
    """The journal was asked to record something that contradicts what it holds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was decided for a session: from which signals, with what in hand, and which orders."""

    session: date
    signals_session: date
    held: Mapping[str, float]
    orders: Sequence[Order]
    refused: Mapping[str, str]
    """Reason by order id of the orders that the limits refused; they are recorded and never sent."""


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class Journal:
    """The journal in the file at `path`. Reading is free; writing needs the lease."""

    def __init__(self, path: Path, now: Callable[[], datetime] = _wall_clock) -> None:
        self.path = path
        self._now = now
        self._connection = connect(path, _SCHEMA)
        check_columns(self._connection, "intents", path)
        self._connection.executescript(_ACCOUNT + APPEND_ONLY.format(table="account"))
        self._token = 0
        self._session = ""

    def close(self) -> None:
        self._connection.close()

    # ---- the lease

    def take_lease(self, session: date, attempt: int, holder: str) -> int:
        """Become the only writer, fencing every earlier holder; returns the fencing token.

        Raises LeaseLostError where a later attempt of the same session already took over.
        """
        with transaction(self._connection) as connection:
            latest = connection.execute("SELECT * FROM leases ORDER BY token DESC LIMIT 1").fetchone()
            if latest is not None and latest["session"] == session.isoformat() and latest["attempt"] > attempt:
                raise LeaseLostError(
                    f"attempt {attempt} of {session} comes too late: "
                    f"attempt {latest['attempt']} ({latest['holder']}) has taken over"
                )
            token = (latest["token"] if latest else 0) + 1
            row = (token, session.isoformat(), attempt, holder, self._stamp())
            connection.execute("INSERT INTO leases VALUES (?,?,?,?,?)", row)
        self._token, self._session = token, session.isoformat()
        return token

    def last_attempt(self, session: date) -> int:
        """Highest attempt at the session that ever took the lease; 0 before the first."""
        row = self._connection.execute(
            "SELECT coalesce(max(attempt), 0) FROM leases WHERE session=?", (session.isoformat(),)
        )
        return int(row.fetchone()[0])

    def check_lease(self) -> None:
        """Raise LeaseLostError unless this journal object holds the newest lease. Call before every send."""
        latest = self._connection.execute(
            "SELECT token, session, attempt, holder FROM leases ORDER BY token DESC LIMIT 1"
        ).fetchone()
        if latest is None or self._token == 0:
            raise LeaseLostError(f"{self.path.name}: no lease taken; call take_lease first")
        if latest["token"] != self._token:
            raise LeaseLostError(
                f"lease {self._token} is lost: attempt {latest['attempt']} of {latest['session']} ({latest['holder']}) "
                f"holds lease {latest['token']}"
            )

    # ---- writing

    def bind(self, account: str) -> None:
        """Tie the journal to the venue's account, for good. Call before anything is read from the venue.

        Raises OtherAccountError where it is tied to another one.
        """
        with transaction(self._connection) as connection:
            self.check_lease()
            row = connection.execute("SELECT id FROM account").fetchone()
            if row is None:
                connection.execute("INSERT INTO account VALUES (1, ?)", (account,))
            elif row["id"] != account:
                raise OtherAccountError(
                    f"{self.path} is the journal of account {row['id']}, and the venue's account is {account}: one of "
                    "the two was moved or replaced without the other. Nothing was sent. Bring back the one that "
                    f"belongs, or move the whole folder {self.path.parent} away to begin anew."
                )

    def record_plan(self, plan: Plan) -> None:
        """Record a session's orders, before any is sent. Orders refused by the limits end as REJECTED here."""
        session = plan.session.isoformat()
        with transaction(self._connection) as connection:
            self.check_lease()
            if connection.execute("SELECT 1 FROM plans WHERE session=?", (session,)).fetchone():
                raise JournalError(f"{session}: already planned; a session is planned once")
            before = connection.execute("SELECT count(*) FROM fills").fetchone()[0]
            row = (session, plan.signals_session.isoformat(), len(plan.orders), before, self._token, self._stamp())
            connection.execute("INSERT INTO plans VALUES (?,?,?,?,?,?)", row)
            connection.executemany(
                "INSERT INTO held VALUES (?,?,?)", [(session, *item) for item in sorted(plan.held.items())]
            )
            for order in plan.orders:
                refused = plan.refused.get(order.id)
                self._add_intent(connection, order, session, False, refused)
                for exit_order in exits_of(order) if refused is None else ():
                    self._add_intent(connection, exit_order, session, True, None)
            for order_id, reason in plan.refused.items():
                self._add_transition(connection, order_id, OrderState.REJECTED, 0.0, reason)

    def record_ack(self, status: OrderStatus) -> None:
        """Record the venue's first answer to a sent order.

        Only ACCEPTED and REJECTED are first answers: where the order had been placed before and moved on
        since, the venue's events tell the story in its order.
        """
        with transaction(self._connection) as connection:
            self.check_lease()
            if status.state in (OrderState.ACCEPTED, OrderState.REJECTED):
                self._move(connection, status)

    def apply(self, events: Sequence[tuple[int, Fill | OrderStatus]]) -> list[Fill]:
        """Apply venue events exactly once, in one transaction; returns the fills that were new.

        Raises JournalError where an execution id comes back with another content, and OrderStateError
        where an order would go to a state that it cannot reach.
        """
        new: list[Fill] = []
        with transaction(self._connection) as connection:
            self.check_lease()
            for number, event in events:
                if connection.execute("SELECT 1 FROM seen WHERE event=?", (number,)).fetchone():
                    continue
                if isinstance(event, OrderStatus):
                    self._move(connection, event)
                elif self._add_fill(connection, event):
                    new.append(event)
                connection.execute("INSERT INTO seen VALUES (?,?)", (number, self._token))
        return new

    def record_equity(self, account: Account) -> None:
        """Record cash and equity as observed."""
        with transaction(self._connection) as connection:
            self.check_lease()
            row = (self._session, account.ts.isoformat(), account.cash, account.equity, self._token)
            connection.execute("INSERT INTO equity (session, ts, cash, equity, token) VALUES (?,?,?,?,?)", row)

    # ---- reading

    def cursor(self) -> int:
        """Number of the last venue event applied; 0 before the first."""
        return int(self._connection.execute("SELECT coalesce(max(event), 0) FROM seen").fetchone()[0])

    def plan(self, session: date) -> Plan | None:
        """The session's plan; None before it was recorded."""
        key = session.isoformat()
        row = self._connection.execute("SELECT * FROM plans WHERE session=?", (key,)).fetchone()
        if row is None:
            return None
        held = self._connection.execute("SELECT symbol, quantity FROM held WHERE session=?", (key,))
        intents = self._connection.execute(
            "SELECT * FROM intents WHERE session=? AND NOT exit ORDER BY number", (key,)
        ).fetchall()
        refused = {intent["id"]: intent["refused"] for intent in intents if intent["refused"] is not None}
        signals_session = date.fromisoformat(row["signals_session"])
        return Plan(session, signals_session, dict(map(tuple, held)), list(map(order_of, intents)), refused)

    def orders(self, session: date) -> list[OrderStatus]:
        """Every order of the session's plan as the journal knows it, in the order planned."""
        return self._statuses("i.session=? AND NOT i.exit", session)

    def exits(self, session: date) -> list[OrderStatus]:
        """The exits of the session's orders: INTENDED until the venue has reported them."""
        return self._statuses("i.session=? AND i.exit", session)

    def resting(self, session: date) -> list[OrderStatus]:
        """What orders of earlier sessions left at the venue, as far as the journal knows: theirs and their exits."""
        earlier = self._statuses("i.session<? AND t.state IS NOT NULL", session)
        return [status for status in earlier if status.state not in TERMINAL]

    def _statuses(self, which: str, session: date) -> list[OrderStatus]:
        rows = self._connection.execute(
            "SELECT i.*, t.state, t.filled, t.reason FROM intents i LEFT JOIN transitions t "
            "ON t.number = (SELECT max(number) FROM transitions WHERE order_id = i.id) "
            f"WHERE {which} ORDER BY i.number",
            (session.isoformat(),),
        )
        return [
            OrderStatus(
                order_of(row),
                OrderState(row["state"] or OrderState.INTENDED),
                row["filled"] or 0.0,
                row["reason"] or "",
            )
            for row in rows
        ]

    def fills(self, session: date) -> list[Fill]:
        """Every fill applied in the session, in the order applied."""
        rows = self._connection.execute("SELECT * FROM fills WHERE session=? ORDER BY rowid", (session.isoformat(),))
        return [fill_of(row) for row in rows]

    def fills_since_plan(self, session: date) -> list[Fill]:
        """Those of the session's fills that its plan had not seen: an earlier worker's may be applied before it."""
        rows = self._connection.execute(
            "SELECT * FROM fills WHERE session=? AND rowid > (SELECT fills FROM plans WHERE session=?) ORDER BY rowid",
            (session.isoformat(), session.isoformat()),
        )
        return [fill_of(row) for row in rows]

    def equity(self, session: date) -> list[Account]:
        """Cash and equity at each observation of the session, oldest first."""
        rows = self._connection.execute(
            "SELECT ts, cash, equity FROM equity WHERE session=? ORDER BY number", (session.isoformat(),)
        )
        return [Account(datetime.fromisoformat(row["ts"]), row["cash"], row["equity"]) for row in rows]

    def knows(self, order_id: str) -> bool:
        """Whether an order of this id was ever intended, in any session; an order's exits are intended with it."""
        return self._connection.execute("SELECT 1 FROM intents WHERE id=?", (order_id,)).fetchone() is not None

    def peak_equity(self) -> float:
        """Highest equity ever observed; 0.0 before the first observation."""
        return float(self._connection.execute("SELECT coalesce(max(equity), 0.0) FROM equity").fetchone()[0])

    # ---- inside a transaction

    def _move(self, connection: sqlite3.Connection, status: OrderStatus) -> None:
        row = connection.execute(
            "SELECT state, filled FROM transitions WHERE order_id=? ORDER BY number DESC LIMIT 1", (status.order.id,)
        ).fetchone()
        before = OrderState(row["state"]) if row else OrderState.INTENDED
        if row is not None and (status.state, status.filled) == (before, row["filled"]):
            return
        if not connection.execute("SELECT 1 FROM intents WHERE id=?", (status.order.id,)).fetchone():
            raise JournalError(
                f"order {status.order.id}: the venue reports it {status.state}, and the journal never intended it. "
                "Another program trades this account, or the journal was replaced."
            )
        check_transition(status.order.id, before, status.state)
        self._add_transition(connection, status.order.id, status.state, status.filled, status.reason)

    def _add_intent(
        self, connection: sqlite3.Connection, order: Order, session: str, is_exit: bool, refused: str | None
    ) -> None:
        number = connection.execute("SELECT count(*) FROM intents").fetchone()[0]
        row = (order.id, *order_values(order), session, number, int(is_exit), refused, self._token)
        connection.execute(f"INSERT INTO intents VALUES ({','.join('?' * len(row))})", row)

    def _add_transition(
        self, connection: sqlite3.Connection, order_id: str, state: OrderState, filled: float, reason: str
    ) -> None:
        row = (order_id, str(state), filled, reason, self._token, self._stamp())
        connection.execute(
            "INSERT INTO transitions (order_id, state, filled, reason, token, at) VALUES (?,?,?,?,?,?)", row
        )

    def _add_fill(self, connection: sqlite3.Connection, fill: Fill) -> bool:
        known = connection.execute("SELECT * FROM fills WHERE id=?", (fill.id,)).fetchone()
        if known is not None:
            if fill_of(known) != fill:
                raise JournalError(
                    f"execution {fill.id}: reported twice with different contents: {fill_of(known)} and {fill}"
                )
            return False
        row = (*fill_values(fill), self._session, self._token, self._stamp())
        connection.execute(f"INSERT INTO fills VALUES ({','.join('?' * len(row))})", row)
        return True

    def _stamp(self) -> str:
        return self._now().isoformat()
