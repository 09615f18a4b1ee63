"""Writes journal transactions as fast as it can until it is killed: `python journal_writer.py <file>`.

Prints a line once the journal is open and one for each session written.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from quant_assets.live.journal import Journal, Plan
from resources.brokers.base import Account, Fill, Order, OrderState, OrderStatus, OrderType, Side, TimeInForce

ORDERS = 5
START = date(2000, 1, 3)
NOW = datetime(2013, 3, 1, 14, 30, tzinfo=UTC)


def order(session: date, number: int) -> Order:
    name = f"{session:%Y%m%d}-writer-S{number}-1"
    return Order(name, f"S{number}", Side.BUY, 10.0, OrderType.MARKET, TimeInForce.DAY, NOW, tag="writer")


def plan(session: date) -> Plan:
    orders = [order(session, number) for number in range(ORDERS)]
    return Plan(session, session - timedelta(days=1), {"S0": 1.0}, orders, {orders[-1].id: "limit gross: 2 exceeds 1"})


def events(first: int, orders: list[Order]) -> list[tuple[int, Fill | OrderStatus]]:
    """For each order: half of it filled, then the other half, as a venue numbers them."""
    told: list[tuple[int, Fill | OrderStatus]] = []
    for one in orders:
        for part, state in ((1, OrderState.PARTIALLY_FILLED), (2, OrderState.FILLED)):
            fill = Fill(f"{one.id}/{part}", one.id, one.symbol, one.side, 5.0, 100.0, 1.0, NOW, "open")
            told.append((first + len(told), fill))
            told.append((first + len(told), OrderStatus(one, state, 5.0 * part)))
    return told


def write(path: Path) -> None:
    """Sessions for ever, each: lease, plan, acknowledgements, events in small batches, equity."""
    journal = Journal(path)
    session = START
    print("ready", flush=True)
    while True:
        journal.take_lease(session, 1, "writer")
        todo = plan(session)
        journal.record_plan(todo)
        sent = [one for one in todo.orders if one.id not in todo.refused]
        for one in sent:
            journal.record_ack(OrderStatus(one, OrderState.ACCEPTED, 0.0))
        told = events(journal.cursor() + 1, sent)
        for start in range(0, len(told), 3):
            journal.apply(told[start : start + 3])
        journal.record_equity(Account(NOW, 1000.0, 1000.0 + session.day))
        session += timedelta(days=1)
        print("session", flush=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
