"""Orders as rows: nothing of an order is lost, in SQLite or in JSON, and books that would are refused."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quant_assets.live.journal import Journal
from resources.brokers.base import Order, OrderType, Side, Sizing, TimeInForce
from resources.brokers.brackets import exits_of
from resources.brokers.paper.ledger import Ledger
from resources.brokers.rows import ORDER_COLUMNS, OldBooksError, order_content, order_of, order_values
from resources.config import BacktestSettings
from resources.exchange import Exchange

AT = datetime(2013, 2, 25, 14, 29, 0, 250_001, tzinfo=UTC)
PLAIN = Order("o", "AAA", Side.BUY, 10.0, OrderType.MARKET, TimeInForce.DAY, AT)

OTHER: dict[str, object] = {
    "id": "p",
    "symbol": "BBB",
    "side": Side.SELL,
    "quantity": 0.1,
    "type": OrderType.TRAILING_STOP_PERCENT,
    "tif": TimeInForce.GTD,
    "submitted_at": datetime(2013, 2, 26, 9, 0, tzinfo=UTC),
    "limit_price": 1 / 3,
    "stop_price": 2 / 3,
    "tag": "a 'strategy'",
    "sizing": Sizing.TARGET_WEIGHT,
    "trail": 5.0,
    "expire_at": datetime(2013, 3, 1, 21, 0, tzinfo=UTC),
    "reduce_only": True,
    "take_profit": 110.1,
    "stop_loss": 90.9,
    "oco_group": "pair",
    "parent": "q",
}


@pytest.mark.parametrize("field", [field.name for field in fields(Order)])
def test_every_field_of_an_order_comes_back(field: str) -> None:
    """A field that Order gains later fails here until it is given a value above and a column."""
    order = replace(PLAIN, **{field: OTHER[field]})  # type: ignore[arg-type]
    assert order != PLAIN
    assert order_of(json.loads(json.dumps(order_content(order)))) == order
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute(f"CREATE TABLE orders (id TEXT, {ORDER_COLUMNS})")
    row = (order.id, *order_values(order))
    connection.execute(f"INSERT INTO orders VALUES ({','.join('?' * len(row))})", row)
    back = order_of(connection.execute("SELECT * FROM orders").fetchone())
    assert back == order
    assert [type(getattr(back, one.name)) for one in fields(Order)] == [
        type(getattr(order, one.name)) for one in fields(Order)
    ]


@pytest.mark.parametrize(("open_books", "table"), [(Ledger, "orders"), (Journal, "intents")])
def test_books_begun_before_orders_had_brackets_are_refused_and_left_alone(
    tmp_path: Path, open_books: type[Ledger] | type[Journal], table: str
) -> None:
    path = tmp_path / "live" / "books.sqlite"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, symbol TEXT, side TEXT, quantity REAL)")
        connection.execute(f"INSERT INTO {table} VALUES ('old', 'AAA', 'buy', 10.0)")
    with pytest.raises(OldBooksError, match=rf"no type, .*take_profit.* move the whole folder {path.parent} away"):
        open_books(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute(f"SELECT * FROM {table}").fetchall() == [("old", "AAA", "buy", 10.0)]


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@pytest.mark.parametrize("given", [("take_profit",), ("stop_loss",), ("take_profit", "stop_loss"), ()])
def test_the_exits_expected_are_those_that_the_exchange_makes(side: Side, given: tuple[str, ...]) -> None:
    above, below = (110.0, 90.0) if side is Side.BUY else (90.0, 110.0)
    prices = {"take_profit": above, "stop_loss": below}
    order = replace(PLAIN, side=side, tag="t", **{name: prices[name] for name in given})  # type: ignore[arg-type]
    exchange = Exchange(BacktestSettings(cash=100_000))
    exchange.submit(order)
    assert exits_of(order) == exchange.children("o")
    assert [one.id for one in exits_of(order)] == [f"o:{name}" for name in given]
