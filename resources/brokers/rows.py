"""Orders and fills as rows of a database, and back: the same for a trader's journal and a venue's books."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from resources.brokers.base import Fill, Order, OrderType, Side, TimeInForce

ORDER_COLUMNS = """symbol TEXT NOT NULL, side TEXT NOT NULL, quantity REAL NOT NULL, type TEXT NOT NULL,
    tif TEXT NOT NULL, submitted_at TEXT NOT NULL, limit_price REAL, stop_price REAL, tag TEXT NOT NULL"""
"""Columns of an order but its id, in the order of `order_values`."""

FILL_COLUMNS = """id TEXT PRIMARY KEY, order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
    quantity REAL NOT NULL, price REAL NOT NULL, commission REAL NOT NULL, ts TEXT NOT NULL, reason TEXT NOT NULL,
    ambiguous INTEGER NOT NULL"""
"""Columns of a fill, in the order of `fill_values`."""

Row = sqlite3.Row | Mapping[str, Any]


def order_values(order: Order) -> tuple[str | float | None, ...]:
    """Everything of an order but its id, as SQLite and JSON can hold it."""
    return (
        order.symbol,
        str(order.side),
        order.quantity,
        str(order.type),
        str(order.tif),
        order.submitted_at.isoformat(),
        order.limit_price,
        order.stop_price,
        order.tag,
    )


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
    )


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
