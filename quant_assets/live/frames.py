"""What the live job shows of a session, as frames: executions, positions, equity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from resources.brokers.base import Account, Fill, Position
from resources.calendars import UTC_MICROS

EXECUTIONS = pl.Schema(
    {
        "session": pl.Date(),
        "execution_id": pl.String(),
        "order_id": pl.String(),
        "ts": UTC_MICROS,
        "symbol": pl.String(),
        "side": pl.String(),
        "quantity": pl.Float64(),
        "price": pl.Float64(),
        "commission": pl.Float64(),
        "reason": pl.String(),
        "ambiguous": pl.Boolean(),
    }
)
"""One row an execution, in the order applied. Price after costs; commission in account currency."""

POSITIONS = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "quantity": pl.Float64(),
        "average_price": pl.Float64(),
        "last_price": pl.Float64(),
        "market_value": pl.Float64(),
    }
)
"""What is held, by symbol. Units negative when short."""

EQUITY = pl.Schema({"session": pl.Date(), "ts": UTC_MICROS, "cash": pl.Float64(), "equity": pl.Float64()})
"""One row an observation; ts is the venue's time."""


def executions(session: date, fills: Sequence[Fill]) -> pl.DataFrame:
    rows = [
        (session, fill.id, fill.order_id, fill.ts, fill.symbol, str(fill.side), fill.quantity, fill.price,
         fill.commission, fill.reason, fill.ambiguous)
        for fill in fills
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=EXECUTIONS, orient="row")


def positions(session: date, held: Sequence[Position]) -> pl.DataFrame:
    rows = [
        (session, one.symbol, one.quantity, one.average_price, one.last_price, one.market_value)
        for one in sorted(held, key=lambda one: one.symbol)
        if one.quantity
    ]
    return pl.DataFrame(rows, schema=POSITIONS, orient="row")


def equity(session: date, observed: Sequence[Account]) -> pl.DataFrame:
    return pl.DataFrame([(session, one.ts, one.cash, one.equity) for one in observed], schema=EQUITY, orient="row")
