"""Orders and fills as rows of a database, and back: the same for a trader's journal and a venue's books."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from resources.brokers.base import Fill, Order, OrderType, Side, Sizing, TimeInForce
from resources.errors import QuantError

_ORDER = {
    "symbol": "TEXT NOT NULL",
    "side": "TEXT NOT NULL",
    "quantity": "REAL NOT NULL",
    "type": "TEXT NOT NULL",
    "tif": "TEXT NOT NULL",
    "submitted_at": "TEXT NOT NULL",
    "limit_price": "REAL",
    "stop_price": "REAL",
    "tag": "TEXT NOT NULL",
    "sizing": "TEXT NOT NULL",
    "trail": "REAL",
    "expire_at": "TEXT",
    "reduce_only": "INTEGER NOT NULL",
    "take_profit": "REAL",
    "stop_loss": "REAL",
    "oco_group": "TEXT NOT NULL",
    "parent": "TEXT NOT NULL",
}

ORDER_COLUMNS = ", ".join(f"{name} {kind}" for name, kind in _ORDER.items())
"""Columns of an order but its id, in the order of `order_values`."""

FILL_COLUMNS = """id TEXT PRIMARY KEY, order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
    quantity REAL NOT NULL, price REAL NOT NULL, commission REAL NOT NULL, ts TEXT NOT NULL, reason TEXT NOT NULL,
    ambiguous INTEGER NOT NULL"""
"""Columns of a fill, in the order of `fill_values`."""

Row = sqlite3.Row | Mapping[str, Any]


class OldBooksError(QuantError):
    """A file of orders was begun by a version that knew less of an order; nothing in it was changed."""


def check_columns(connection: sqlite3.Connection, table: str, path: Path) -> None:
    """Raise OldBooksError unless `table` in the file at `path` can hold everything of an order."""
    held = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
    missing = [name for name in _ORDER if name not in held]
    if missing:
        raise OldBooksError(
            f"{path} was begun by an earlier version: its orders have no {', '.join(missing)}. It is left as it is. "
            f"To begin anew, move the whole folder {path.parent} away: order journal and paper account belong together."
        )


def order_values(order: Order) -> tuple[str | float | None, ...]:
    """Everything of an order but its id, as SQLite and JSON can hold it."""
    return tuple(_plain(getattr(order, name)) for name in _ORDER)


def order_content(order: Order) -> dict[str, str | float | None]:
    """Everything of an order by name, as JSON can hold it: `order_of` reads it back."""
    return {"id": order.id, **dict(zip(_ORDER, order_values(order), strict=True))}


def order_of(row: Row) -> Order:
    """The order in a row with the columns id and ORDER_COLUMNS."""
    return Order(
        id=row["id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        type=OrderType(row["type"]),
        tif=TimeInForce(row["tif"]),
        submitted_at=datetime.fromisoformat(row["submitted_at"]),
        limit_price=row["limit_price"],
        stop_price=row["stop_price"],
        tag=row["tag"],
        sizing=Sizing(row["sizing"]),
        trail=row["trail"],
        expire_at=None if row["expire_at"] is None else datetime.fromisoformat(row["expire_at"]),
        reduce_only=bool(row["reduce_only"]),
        take_profit=row["take_profit"],
        stop_loss=row["stop_loss"],
        oco_group=row["oco_group"],
        parent=row["parent"],
    )


def _plain(value: Any) -> str | float | None:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return str(value)  # a word of an enumeration as plain text
    number: float | None = value
    return number


def fill_values(fill: Fill) -> tuple[str | float, ...]:
    """Everything of a fill, as SQLite can hold it."""
    return (
        fill.id,
        fill.order_id,
        fill.symbol,
        str(fill.side),
        fill.quantity,
        fill.price,
        fill.commission,
        fill.ts.isoformat(),
        fill.reason,
        int(fill.ambiguous),
    )


def fill_of(row: Row) -> Fill:
    """The fill in a row with FILL_COLUMNS."""
    return Fill(
        id=row["id"],
        order_id=row["order_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        price=row["price"],
        commission=row["commission"],
        ts=datetime.fromisoformat(row["ts"]),
        reason=row["reason"],
        ambiguous=bool(row["ambiguous"]),
    )
