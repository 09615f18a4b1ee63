"""The short way into the book, for what strategies send, leads where the long way leads."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.backtests import history
from quant_assets.backtests.simulation import book as books
from quant_assets.backtests.simulation.book import PLAIN, book
from quant_assets.strategies.orders import ORDER_SCHEMA
from resources.exchange.models.latency import FixedLatency, JitterLatency
from resources.exchange.orders import OrderError
from tests.quant_assets.backtests.sweeps.world import market

BARS = market(3, 30)
PAST = history(BARS)
FIRST = BARS["ts"].min()


def sent(rows: list[tuple[int, str, float]]) -> pl.DataFrame:
    """What orders() gives, of (day, symbol, target weight)."""
    frame = pl.DataFrame(
        {
            "ts": [FIRST + timedelta(days=day, hours=7) for day, _, _ in rows],
            "symbol": [symbol for _, symbol, _ in rows],
            "target_weight": [weight for _, _, weight in rows],
            "type": "market",
            "tif": "gtc",
            "take_profit_fraction": None,
            "stop_loss_fraction": None,
            "reduce_only": [weight == 0.0 for _, _, weight in rows],
            "tag": "rule",
        }
        if rows
        else {name: [] for name in PLAIN}
    )
    return frame.select(pl.col(name).cast(kind) for name, kind in PLAIN.items())


def long_way(orders: pl.DataFrame) -> pl.DataFrame:
    """The same orders with a column more: their ids, as they would be given."""
    return orders.with_columns(order_id=pl.int_range(pl.len()).cast(pl.String))


def test_what_strategies_send_is_what_goes_the_short_way():
    assert PLAIN == ORDER_SCHEMA


@given(
    st.lists(
        st.tuples(st.integers(0, 29), st.sampled_from(["S0", "S1"]), st.sampled_from([0.0, 0.1, -0.3, 1.0])),
        max_size=20,
    ),
    st.sampled_from([FixedLatency(delay_seconds=0), FixedLatency(delay_seconds=1.5), JitterLatency()]),
)
def test_both_ways_make_the_same_book(rows, latency):
    orders = sent(rows)
    short, long = (book(frame, PAST, latency) for frame in (orders, long_way(orders)))
    assert short.records.tobytes() == long.records.tobytes()
    assert short.ids.equals(long.ids)
    assert short.tags.equals(long.tags)
    assert short.origin.tolist() == long.origin.tolist()


def test_the_short_way_is_taken(monkeypatch):
    monkeypatch.setattr(books, "_frame", lambda orders: pytest.fail("the long way"))
    assert book(sent([(3, "S0", 0.5)]), PAST, FixedLatency()).records.size == 1
    assert book(sent([(3, "S0", 0.5)]).lazy(), PAST, FixedLatency()).records.size == 1


WRONG = [  # what, rows, changes, words of the message
    ("an unknown symbol", [(3, "XX", 0.5)], {}, "symbol is XX; there are no bars of it"),
    ("too early", [(3, "S0", 0.5), (5, "S2", 0.5)], {}, "there are no bars of it yet"),
    ("no number", [(3, "S0", float("nan"))], {}, "target_weight is nan"),
    ("no weight", [(3, "S0", 0.5)], {"target_weight": None}, "exactly one of"),
    ("an unknown type", [(3, "S0", 0.5)], {"type": "iceberg"}, "type is iceberg"),
    ("no instant", [(3, "S0", 0.5)], {"ts": None}, "ts is missing"),
    ("a stop of more than all", [(3, "S0", 0.5)], {"stop_loss_fraction": 1.5}, "stop_loss_fraction is 1.5"),
]


@pytest.mark.parametrize(("what", "rows", "changes", "words"), WRONG, ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_told_as_the_long_way_tells_it(what, rows, changes, words):
    orders = sent(rows).with_columns(pl.lit(value, PLAIN[name]).alias(name) for name, value in changes.items())
    with pytest.raises(OrderError, match=words):
        book(orders, PAST, FixedLatency())


def test_a_bracket_goes_the_long_way():
    orders = sent([(3, "S0", 0.5)]).with_columns(stop_loss_fraction=0.05)
    assert book(orders, PAST, FixedLatency()).records.size == 2
