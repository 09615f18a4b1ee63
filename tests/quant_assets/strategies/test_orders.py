"""Which targets become orders."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.backtests import run
from quant_assets.strategies.base import INTENT_SCHEMA
from quant_assets.strategies.orders import orders
from resources.errors import ConfigError


def intents(
    weights: list[float], rebalances: list[bool], symbol: str = "A", stop_loss: float | None = None
) -> pl.LazyFrame:
    days = [datetime(2024, 1, 1 + number, 21, tzinfo=UTC) for number in range(len(weights))]
    frame = {
        "symbol": [symbol] * len(weights),
        "ts": days,
        "session": [day.date() for day in days],
        "known_at": days,
        "target_weight": [float(weight) for weight in weights],
        "rebalance": rebalances,
        "stop_loss_fraction": [stop_loss if weight else None for weight in weights],
    }
    return pl.LazyFrame(frame).select(
        pl.col(name).cast(dtype) if name in frame else pl.lit(None, dtype).alias(name)
        for name, dtype in INTENT_SCHEMA.items()
    )


CASES = [  # what, targets, rebalance days, (day, weight) of each order
    ("flat stays silent", [0, 0, 0], [], []),
    ("entry", [0, 0.5, 0.5], [], [(2, 0.5)]),
    ("entry on the first row", [0.5, 0.5], [], [(1, 0.5)]),
    ("unchanged target is not sent again", [0.5, 0.5, 0.5], [], [(1, 0.5)]),
    ("exit", [0.5, 0.0, 0.0], [], [(1, 0.5), (2, 0.0)]),
    ("rebalance sends it again", [0.5, 0.5, 0.5], [3], [(1, 0.5), (3, 0.5)]),
    ("rebalance of what was never held", [0, 0, 0], [2], []),
    ("rebalance of what is flat", [0.5, 0.0, 0.0], [3], [(1, 0.5), (2, 0.0)]),
    ("noise is no change", [0.5, 0.5 + 1e-12], [], [(1, 0.5)]),
    ("short", [0, -0.5, -0.5], [3], [(2, -0.5), (3, -0.5)]),
]


def test_a_target_that_is_null_is_refused_and_not_left_out() -> None:
    """Left out, the exit after it would be left out as well: nothing changes from null to flat."""
    wanted = intents([0.5, 0.5, 0.0], [False] * 3).with_columns(
        target_weight=pl.when(pl.col("ts").dt.day() != 2).then("target_weight")
    )
    with pytest.raises(
        ConfigError, match=r"intents: A 2024-01-02 21:00:00\+00:00: target_weight is null; .* 0.0 to be"
    ):
        orders(wanted).collect()


@pytest.mark.parametrize(("what", "weights", "rebalances", "expected"), CASES, ids=[case[0] for case in CASES])
def test_orders(what: str, weights: list[float], rebalances: list[int], expected: list[tuple[int, float]]) -> None:
    flags = [day + 1 in rebalances for day in range(len(weights))]
    found = orders(intents(weights, flags), tag="rule").collect()
    assert [(ts.day, weight) for ts, weight in found.select("ts", "target_weight").rows()] == expected
    exits = ["take_profit_fraction", "stop_loss_fraction"]
    assert found.columns == ["ts", "symbol", "target_weight", "type", "tif", *exits, "reduce_only", "tag"]
    assert (found["reduce_only"] == (found["target_weight"] == 0)).all(), "an order to be flat only reduces"
    assert found.schema["ts"] == pl.Datetime("us", "UTC")
    assert set(found["tag"]) <= {"rule"}


BRACKETED = [  # what, targets, rebalance days, (day, weight, stop) of each order, where each target has a stop of 8%
    ("entry brings its exits", [0, 0.5, 0.5], [], [(2, 0.5, 0.08)]),
    ("rebalance does not buy what the stop sold", [0.5, 0.5, 0.5], [2, 3], [(1, 0.5, 0.08)]),
    ("another size is not sent", [0.5, 0.6, 0.4], [], [(1, 0.5, 0.08)]),
    ("the rule leaves", [0.5, 0.0, 0.0], [2], [(1, 0.5, 0.08), (2, 0.0, None)]),
    ("the rule enters anew", [0.5, 0.0, 0.5], [], [(1, 0.5, 0.08), (2, 0.0, None), (3, 0.5, 0.08)]),
    ("the rule turns round", [0.5, -0.5, -0.5], [3], [(1, 0.5, 0.08), (2, -0.5, 0.08)]),
]


@pytest.mark.parametrize(("what", "weights", "rebalances", "expected"), BRACKETED, ids=[case[0] for case in BRACKETED])
def test_a_target_with_exits_is_sent_when_it_opens_and_when_it_ends(
    what: str, weights: list[float], rebalances: list[int], expected: list[tuple[int, float, float | None]]
) -> None:
    flags = [day + 1 in rebalances for day in range(len(weights))]
    found = orders(intents(weights, flags, stop_loss=0.08)).collect()
    sent = found.select(pl.col("ts").dt.day(), "target_weight", "stop_loss_fraction").rows()
    assert sent == expected
    assert found["take_profit_fraction"].null_count() == found.height


BUY = (3, "buy")
GAPS = [  # what, targets, opens, fills (day, side): a stop of 8% under a close of 100
    ("the stop sells, and nothing buys back", [0, 0.5, 0.5, 0.5, 0.5], [100, 100, 100, 80, 80], [BUY, (4, "sell")]),
    ("stop and rule leave at the same open", [0, 0.5, 0.0, 0.0, 0.0], [100, 100, 100, 80, 80], [BUY, (4, "sell")]),
    ("the rule leaves", [0, 0.5, 0.5, 0.0, 0.0], [100, 100, 100, 100, 100], [BUY, (5, "sell")]),
    ("enters anew", [0, 0.5, 0.0, 0.5, 0.5], [100, 100, 100, 80, 80], [BUY, (4, "sell"), (5, "buy")]),
]


@pytest.mark.parametrize(("what", "weights", "opens", "expected"), GAPS, ids=[case[0] for case in GAPS])
def test_a_bracket_on_the_exchange(
    what: str, weights: list[float], opens: list[float], expected: list[tuple[int, str]]
) -> None:
    days = [datetime(2024, 1, 1 + number, 14, 30, tzinfo=UTC) for number in range(5)]
    prices = {name: [float(price) for price in opens] for name in ("open", "high", "low", "close")}
    bars = pl.DataFrame({"ts": days, **prices, "volume": [1e9] * 5}).with_columns(
        symbol=pl.lit("A"), session=pl.col("ts").dt.date(), known_at=pl.col("ts").dt.replace(hour=21, minute=0)
    )
    wanted = intents(weights, [False, False, True, True, True], stop_loss=0.08)
    result = run(bars, orders(wanted))
    assert result.fills.select(pl.col("session").dt.day(), "side").rows() == expected
    assert result.positions.filter(pl.col("quantity") < 0).is_empty()


def test_symbols_do_not_mix_and_orders_come_by_time() -> None:
    both = pl.concat([intents([0, 0.5], [False] * 2, "B"), intents([0.5, 0.5], [False] * 2, "A")])
    found = orders(both).collect()
    assert found.select(pl.col("ts").dt.day(), "symbol").rows() == [(1, "A"), (2, "B")]


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=1, max_size=20), st.integers(1, 20))
def test_the_last_order_sent_is_always_todays_target(weights: list[float], cut: int) -> None:
    cut = min(cut, len(weights))
    sent = orders(intents(weights, [False] * len(weights))).collect()
    until = sent.filter(pl.col("ts").dt.day() <= cut)
    assert (until["target_weight"][-1] if until.height else 0.0) == weights[cut - 1]
    assert orders(intents(weights[:cut], [False] * cut)).collect().equals(until)
