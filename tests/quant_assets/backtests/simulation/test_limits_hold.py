"""Whatever a strategy sends, cancels and replaces, what it was allowed leaves the account within its limits.

The worlds are made so that only netting matters. Every market order fills whole at the next open, at the close by
which it was judged; a day's range is a hundredth of a percent, so that neither prices nor equity move; nothing costs
anything. So whatever the account holds at more than a bound was let through.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_assets.backtests import BacktestResult, run
from resources.config import LimitSettings
from resources.exchange import Bar
from tests.quant_assets.backtests.worlds import cleaned, closes, sent
from tests.resources.exchange.cases import account

CASH, PRICE = 10_000.0, 100.0
SECTORS = {"X": "tech", "Y": "tech", "Z": "oil"}
INSTRUMENTS = pl.DataFrame({"symbol": list(SECTORS), "sector": list(SECTORS.values())})
DAYS = 4
BARS = cleaned({symbol: [Bar(PRICE, PRICE + 0.01, PRICE - 0.01, PRICE, 1e9)] * DAYS for symbol in SECTORS})
REACHED, AWAY = 0.005, 1.0
"""How far from the price a limit or a stop is: that the day's range reaches, and that it does not."""

WIDE = dict.fromkeys(("gross", "net", "single_name", "order_notional", "leverage", "turnover"), 10.0) | {
    "orders_per_session": 10_000,
    "drawdown_stop": 1.0,
}
ROUNDING = 0.005
"""Of equity: far more than the day's range moves, far less than an order."""


@st.composite
def actions(draw: st.DrawFn, number: int, before: list[dict[str, Any]], one_way: bool) -> dict[str, Any]:
    """One thing that a strategy sends: with `one_way` X and Z are only bought and Y only sold.

    `before` are the orders that were sent before it, which it may replace, cancel or wait for.
    """
    kinds = ["market", "market", "market", "limit", "stop", "alternative"]
    kinds += [] if one_way else ["weight", "weight", "units", "units", "bracket"]
    kind = draw(st.sampled_from(kinds + ["replace", "replace", "cancel", "child", "child"] * min(len(before), 2)))
    quantity = draw(st.sampled_from([20.0, 40.0, 60.0]))
    if kind in ("replace", "cancel"):
        order = draw(st.sampled_from(before))
        change = {"quantity": quantity} if kind == "replace" else {}
        exits = [":take_profit", ":stop_loss"] if "take_profit" in order else []
        order_id = order["order_id"] + draw(st.sampled_from(["", "", *exits]))
        return {"symbol": order["symbol"], "order_id": order_id, "action": kind, **change}
    symbol = draw(st.sampled_from(sorted(SECTORS)))
    way = (-1 if symbol == "Y" else 1) if one_way else draw(st.sampled_from([1, -1]))
    reduces = not one_way and draw(st.sampled_from([False, False, False, True]))
    order = {"symbol": symbol, "order_id": f"o{number}", "reduce_only": reduces}
    if kind == "weight":
        limit = draw(st.sampled_from([{}, {}, {"type": "limit", "limit_price": PRICE - AWAY}]))
        return {**order, "target_weight": way * draw(st.sampled_from([0.0, 0.2, 0.4])), **limit}
    if kind == "units":
        return {**order, "target_position": way * draw(st.sampled_from([0.0, 20.0, 40.0]))}
    order |= {"side": "buy" if way > 0 else "sell", "quantity": quantity}
    near = draw(st.sampled_from([REACHED, AWAY]))
    if kind == "bracket":
        far = AWAY if near == REACHED else REACHED
        return {**order, "take_profit": PRICE + way * near, "stop_loss": PRICE - way * far}
    group = {"oco_group": draw(st.sampled_from(["g", "h"]))} if kind == "alternative" else {}
    parent = {"parent": draw(st.sampled_from(before))["order_id"]} if kind == "child" else {}
    kind = draw(st.sampled_from(["market", "limit", "stop"])) if group or parent else kind
    prices = {"limit": {"limit_price": PRICE - way * near}, "stop": {"stop_price": PRICE + way * near}}
    return {**order, **group, **parent, "type": kind, **prices.get(kind, {})}


@st.composite
def strategies(draw: st.DrawFn, one_way: bool = False) -> list[dict[str, Any]]:
    """What a strategy sends: positions to begin with, then at two instants before one open, and before the next."""
    rows: list[dict[str, Any]] = []
    for symbol in sorted(SECTORS):
        units = draw(st.sampled_from([20.0, 40.0, 0.0])) * (-1 if symbol == "Y" else 1)
        rows.append({"symbol": symbol, "order_id": f"{symbol}0", "target_position": units, "ts": closes(0)})
    before: list[dict[str, Any]] = []
    for day in (1, 2):
        for ts in (*[closes(day)] * 3, *[closes(day) + timedelta(minutes=1)] * 2):
            row = {**draw(actions(len(rows), before, one_way)), "ts": ts}
            rows.append(row)
            # What was replaced is named again more often than what was not: chains of requests are where mistakes are.
            own = row["order_id"].split(":")[0]
            before += [row] if row.get("action") is None else [one for one in before if one["order_id"] == own][:1] * 3
    return rows


def exposures(result: BacktestResult) -> list[dict[str, float]]:
    """What limits are about, in fractions of equity, after each fill: of those of an open, after the last."""
    held = dict.fromkeys(SECTORS, 0.0)
    fills, found = result.fills.rows(named=True), []
    for number, fill in enumerate(fills):
        units = fill["quantity"] if fill["side"] == "buy" else -fill["quantity"]
        held[fill["symbol"]] += units * PRICE / CASH
        following = fills[number + 1] if number + 1 < len(fills) else None
        if following and following["ts"] == fill["ts"] and following["reason"] in ("open", "gap"):
            continue
        sizes = {symbol: abs(value) for symbol, value in held.items()}
        sectors = [sum(sizes[name] for name in SECTORS if SECTORS[name] == sector) for sector in SECTORS.values()]
        whole = {"gross": sum(sizes.values()), "leverage": sum(sizes.values()), "net": abs(sum(held.values()))}
        found.append({**whole, "single_name": max(sizes.values()), "sector": max(sectors)})
    return found


def held_within(rows: list[dict[str, Any]], latency: float, **bounds: float) -> None:
    limits = LimitSettings.model_validate({**WIDE, **bounds})
    config = account(cash=CASH, max_gross=10, latency_seconds=latency).model_copy(update={"limits": limits})
    for after in exposures(run(BARS, sent(*rows), config, INSTRUMENTS)):
        assert {name: after[name] for name, bound in bounds.items() if after[name] > bound + ROUNDING} == {}


MANY = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
BOUNDS = st.sampled_from([0.4, 0.6])
LATENCIES = st.sampled_from([0.0, 0.0, 30.0, 80_000.0])
"""Seconds: none, until after what is sent next, and until after the next open."""


@MANY
@given(strategies(), st.sampled_from(["gross", "single_name", "sector", "leverage"]), BOUNDS, LATENCIES)
def test_no_fill_leaves_more_held_than_a_limit_allows(rows, limit, bound, latency):
    held_within(rows, latency, **{limit: bound})


@MANY
@given(strategies(one_way=True), BOUNDS, LATENCIES)
def test_nor_a_larger_net_exposure_where_nothing_reduces(rows, bound, latency):
    """An order that reduces a position passes though it leaves another without its hedge: here none does."""
    held_within(rows, latency, net=bound)


@MANY
@given(strategies(one_way=True), st.sampled_from([0.2, 0.4]), LATENCIES)
def test_nor_has_an_order_filled_for_more_than_one_may_be_worth(rows, bound, latency):
    """However it was replaced. Here too nothing reduces, which would pass."""
    limits = LimitSettings.model_validate({**WIDE, "order_notional": bound})
    config = account(cash=CASH, max_gross=10, latency_seconds=latency).model_copy(update={"limits": limits})
    filled = run(BARS, sent(*rows), config, INSTRUMENTS).fills.group_by("order_id").agg(pl.col("quantity").sum())
    assert filled.filter(pl.col("quantity") * PRICE > (bound + ROUNDING) * CASH).is_empty()
