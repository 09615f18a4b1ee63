"""Statistics of how a backtest traded: activity, costs, exposure and holding times."""

from __future__ import annotations

import math

import polars as pl

from resources.brokers.base import OrderState
from resources.exchange.layout import FILL_REASONS

CORPORATE = FILL_REASONS[4:]
"""Reasons of fills that no order is behind."""


def statistics(
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    positions: pl.DataFrame,
    orders: pl.DataFrame,
    periods_per_year: float = 252,
) -> dict[str, float | None]:
    """Trade statistics from the frames of a BacktestResult; None where there is nothing to measure.

    turnover: half of what was traded, a year, over the equity of its session; cost_drag: all costs and carrying, a
    year, over average equity; costs_bps: spread, slippage and commission over the amount traded.
    """
    traded = fills.filter(~pl.col("reason").is_in(CORPORATE))
    notional = (pl.col("quantity") * pl.col("reference_price")).alias("notional")
    years = equity.height / periods_per_year
    cost = float(traded.select((pl.col("spread_cost") + pl.col("slippage_cost") + pl.col("commission")).sum()).item())
    amount = float(traded.select(notional.sum()).item())
    carried = float(equity.select((pl.col("borrow_cost") + pl.col("interest")).sum()).item())
    mean = equity.select(pl.col("equity", "gross_exposure", "net_exposure").mean()).row(0, named=True)
    by_session = traded.group_by("session").agg(notional.sum()).join(equity, on="session").filter(pl.col("equity") > 0)
    share = by_session.select((pl.col("notional") / pl.col("equity")).sum()).item()
    holdings = _holdings(equity, positions)
    values = {
        "orders": orders.height,
        "orders_rejected": (orders["state"] == OrderState.REJECTED).sum(),
        "fills": traded.height,
        "ambiguous_share": traded["ambiguous"].mean(),
        "turnover": share / 2 / years,
        "amount_traded": amount,
        "costs": cost,
        "costs_bps": cost / amount * 1e4 if amount else None,
        "cost_drag": (cost + carried) / years / mean["equity"] if mean["equity"] > 0 else None,
        "dividends": equity["dividends"].sum(),
        "borrow_cost": equity["borrow_cost"].sum(),
        "interest": equity["interest"].sum(),
        "gross_exposure": mean["gross_exposure"],
        "net_exposure": mean["net_exposure"],
        "time_in_market": positions["session"].n_unique() / equity.height,
        "average_positions": positions.height / equity.height,
        "holdings": holdings,
        "holding_sessions": positions.height / holdings if holdings else None,
    }
    return {name: _finite(value) for name, value in values.items()}


def _holdings(equity: pl.DataFrame, positions: pl.DataFrame) -> int:
    """How many unbroken runs of sessions there are in which a symbol was held on the same side."""
    number, side = pl.col("number"), pl.col("quantity").sign()
    sessions = equity.select("session").with_row_index("number")
    numbered = positions.join(sessions, on="session", how="left", maintain_order="left")
    new = (number != number.shift().over("symbol") + 1) | (side != side.shift().over("symbol"))
    return int(numbered.select(new.fill_null(True).sum()).item())


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
