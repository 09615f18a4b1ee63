"""`orders` works on arrays; the same rule as polars expressions, row by row, must say the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.backtests import run
from quant_assets.strategies.base import BRACKET, INTENT_SCHEMA
from quant_assets.strategies.orders import (
    ORDER_SCHEMA,
    SMALLEST_CHANGE,
    bracketed,
    direction,
    orders,
    previous_target,
    wanted_change,
)
from resources.exchange.orders import OrderError
from tests.quant_assets.backtests.sweeps.world import market


def by_expressions(intents: pl.LazyFrame, tag: str) -> pl.DataFrame:
    target, before = pl.col("target_weight"), previous_target()
    again = pl.col("rebalance") & (target.abs() > SMALLEST_CHANGE) & ~bracketed()
    opens = target.abs() > pl.when(direction(target) == direction(before)).then(before.abs()).otherwise(SMALLEST_CHANGE)
    return (
        intents.with_columns(
            *(pl.when(opens).then(name).alias(name) for name in BRACKET), sent=(wanted_change() != 0) | again
        )
        .filter("sent")
        .select(
            "symbol",
            "target_weight",
            *BRACKET,
            ts="known_at",
            type=pl.lit("market"),
            tif=pl.lit("gtc"),
            reduce_only=target.abs() <= SMALLEST_CHANGE,
            tag=pl.lit(tag),
        )
        .select(ORDER_SCHEMA.names())
        .sort("ts", "symbol")
        .collect()
    )


WEIGHTS = st.sampled_from([0.0, 1e-12, 0.5, 0.5 + 1e-12, 0.25, -0.25, -0.5, 1e-9])
ROWS = st.tuples(
    st.sampled_from(["A", "B", "BRK.B", "a symbol of many letters"]),
    st.integers(0, 9),
    WEIGHTS,
    st.sampled_from([True, False, None]),
    st.sampled_from([None, None, 0.05]),
    st.sampled_from([None, None, 0.1]),
)


def intents(rows: list[tuple[object, ...]]) -> pl.LazyFrame:
    start = datetime(2024, 1, 1, 21, tzinfo=UTC)
    frame = pl.DataFrame(
        [
            (name, start + timedelta(days=day), weight, again, take, stop)
            for name, day, weight, again, take, stop in rows
        ],
        schema=["symbol", "ts", "target_weight", "rebalance", "take_profit_fraction", "stop_loss_fraction"],
        orient="row",
        infer_schema_length=None,
    )
    made = frame.with_columns(known_at="ts", session=pl.col("ts").cast(pl.Datetime("us", "UTC")).dt.date())
    return made.lazy().select(
        pl.col(name).cast(kind) if name in made.columns else pl.lit(None, kind).alias(name)
        for name, kind in INTENT_SCHEMA.items()
    )


@given(st.lists(ROWS, max_size=40, unique_by=lambda row: (row[0], row[1])), st.booleans())
def test_arrays_and_expressions_agree_whatever_the_order_of_the_rows(rows, ordered):
    frame = intents(sorted(rows, key=lambda row: row[:2]) if ordered else rows)
    found = orders(frame, "rule").collect()
    assert found.schema == ORDER_SCHEMA
    assert found.equals(by_expressions(frame, "rule"))


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_target_that_is_no_number_reaches_the_exchange_which_refuses_it(weight):
    bars = market(2, 9)
    frame = intents([("S0", 0, 0.5, False, None, None), ("S0", 1, weight, False, None, None)])
    sent = orders(frame).collect()
    assert sent.height == 2
    with pytest.raises(OrderError, match="target_weight"):
        run(bars, sent)
