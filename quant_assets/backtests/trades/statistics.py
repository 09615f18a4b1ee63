"""Statistics of how a backtest traded: activity, costs, exposure, capacity, and its round trips (trips.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from quant_assets.backtests.metrics.sample import longest
from quant_assets.backtests.trades.trips import ROUND_TRIPS, STAMP, by_symbol, round_trips, worth
from resources.brokers.base import OrderState
from resources.exchange.words import CORPORATE

__all__ = ["CORPORATE", "ROUND_TRIPS", "amount_of", "capacity", "round_trips", "statistics", "trade_statistics"]


def statistics(
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    positions: pl.DataFrame,
    orders: pl.DataFrame,
    sessions_per_year: float = 252,
    bars: pl.DataFrame | None = None,
    multipliers: Mapping[str, float] | None = None,
) -> dict[str, float | None]:
    """Trade statistics from the frames of a BacktestResult; None where there is nothing to measure.

    turnover: half of what was traded, a year, over the equity of its session; cost_drag: all costs and carrying, a
    year, over average equity; costs_bps: spread, slippage and commission over the amount traded. Corporate fills are
    part of the round trips (trade_statistics) and of nothing else. `bars` give capacity, the splits between fills and
    the excursions of trades, `multipliers` the worth of a unit at a price of one, both as in round_trips. Money is in
    account currency, of each fill at the rate of its time.

    Raises ValueError, naming the symbol, as round_trips does.
    """
    traded = (
        fills.filter(~pl.col("reason").is_in(CORPORATE)).with_columns(multiplier=worth(fills, multipliers)).rechunk()
    )
    years = equity["session"].n_unique() / sessions_per_year
    values = _activity(equity, traded, orders, years)
    values |= _costs(equity, traded, values["amount_traded"] or 0.0, years)
    values |= _exposure(equity, positions)
    values |= {"participation": None, "capacity": None} if bars is None else capacity(equity, traded, bars)
    values |= trade_statistics(round_trips(fills, bars, multipliers))
    return {name: _finite(value) for name, value in values.items()}


def _activity(
    equity: pl.DataFrame, traded: pl.DataFrame, orders: pl.DataFrame, years: float
) -> dict[str, float | None]:
    # An intraday account has many rows a session: what a session traded is held against its last equity.
    closing = equity.group_by("session").agg(pl.col("equity").last())
    rows = traded.select("session", amount_of(traded).alias("amount"))
    rows = rows.join(closing, on="session", how="left", maintain_order="left")
    # Summed by numpy in the order of the fills: polars sums groups in an order that hangs on the number of threads.
    amount, worth_then = rows["amount"].to_numpy(), rows["equity"].fill_null(np.nan).to_numpy()
    solvent = worth_then > 0
    share = float((amount[solvent] / worth_then[solvent]).sum())
    return {
        "orders": orders.height,
        "orders_rejected": int((orders["state"] == OrderState.REJECTED).sum()),
        "fills": traded.height,
        "ambiguous_share": float(traded["ambiguous"].sum()) / traded.height if traded.height else None,
        "turnover": share / 2 / years if years else None,
        "amount_traded": float(amount.sum()),
    }


def amount_of(fills: pl.DataFrame) -> pl.Expr:
    """What each fill traded, before costs, in account currency."""
    return pl.col("quantity") * pl.col("reference_price") * worth(fills)


def _costs(equity: pl.DataFrame, traded: pl.DataFrame, amount: float, years: float) -> dict[str, float | None]:
    paid = {name: float(traded[name].sum()) for name in ("spread_cost", "slippage_cost", "commission")}
    carried = {
        name: float(equity[name].sum()) if name in equity.columns else 0.0
        for name in ("borrow_cost", "funding", "interest")
    }
    cost, mean = sum(paid.values()), equity.select(pl.col("equity").mean()).item()
    return {
        "costs": cost,
        **paid,
        "costs_bps": cost / amount * 1e4 if amount else None,
        "cost_drag": (cost + sum(carried.values())) / years / mean if mean and mean > 0 else None,
        "dividends": float(equity["dividends"].sum()),
        **carried,
    }


def _exposure(equity: pl.DataFrame, positions: pl.DataFrame) -> dict[str, float | None]:
    holdings, rows = _holdings(equity, positions), max(equity.height, 1)
    daily = equity["session"].n_unique() == equity.height
    held = positions.height if daily else positions.select("session", "symbol").n_unique()
    return {
        "gross_exposure": equity.select(pl.col("gross_exposure").mean()).item(),
        "max_gross_exposure": equity.select(pl.col("gross_exposure").max()).item(),
        "net_exposure": equity.select(pl.col("net_exposure").mean()).item(),
        "time_in_market": positions[_clock(equity, positions)].n_unique() / rows,
        "average_positions": positions.height / rows,
        "holdings": holdings,
        "holding_sessions": held / holdings if holdings else None,
    }


def _clock(equity: pl.DataFrame, positions: pl.DataFrame) -> str:
    """What tells the rows of the account apart: the instant, or the session where positions have no instant."""
    return "ts" if "ts" in equity.columns and "ts" in positions.columns else "session"


def _holdings(equity: pl.DataFrame, positions: pl.DataFrame) -> int:
    """How many unbroken runs of the account's rows there are in which a symbol was held on the same side."""
    if positions.is_empty():
        return 0
    clock = _clock(equity, positions)
    number = np.searchsorted(equity[clock].to_physical().to_numpy(), positions[clock].to_physical().to_numpy())
    symbol = positions["symbol"].cast(pl.Categorical).to_physical().cast(pl.Int64).to_numpy()
    order = by_symbol(symbol, number)
    symbol, number, side = symbol[order], number[order], np.sign(positions["quantity"].to_numpy())[order]
    new = (np.diff(symbol) != 0) | (np.diff(number) != 1) | (np.diff(side) != 0)
    return 1 + int(new.sum())


def capacity(equity: pl.DataFrame, fills: pl.DataFrame, bars: pl.DataFrame, bound: float = 0.01) -> dict[str, float]:
    """How much equity the strategy can carry before it trades too much of the market.

    participation: a fill's quantity over its bar's volume, averaged over the fills in proportion to their value.
    capacity: mean equity x bound / participation, the equity at which participation reaches `bound`, if the strategy
    trades the same shares of its equity. Bars without volume are left out; NaN where none has any. Impact on prices is
    not in it.
    """
    volume = bars.select("symbol", pl.col("ts").cast(STAMP), "volume").sort("ts")
    located = (
        fills.with_columns(pl.col("ts").cast(STAMP))
        .sort("ts")
        .join_asof(volume, on="ts", by="symbol", strategy="backward", check_sortedness=False)
    )
    known = located.filter((pl.col("volume") > 0) & pl.col("volume").is_finite())
    value = known.select(amount_of(known)).to_series().to_numpy()
    share = (known["quantity"] / known["volume"]).to_numpy()
    participation = float((share * value).sum() / value.sum()) if known.height else math.nan
    mean = equity.select(pl.col("equity").mean()).item()
    return {
        "participation": participation,
        "capacity": mean * bound / participation if participation else math.nan,
    }


def trade_statistics(trips: pl.DataFrame) -> dict[str, float | None]:
    """Statistics of closed trades, from a frame of `round_trips`; None where there is nothing to measure.

    win_rate: of the trades, those with a profit; profit_factor: all profits over all losses; expectancy: mean profit of
    a trade; trade_payoff_ratio: average profit over average loss; sqn: root of the number of trades x mean profit over
    its standard deviation (ddof 1; Tharp 2008, "Super Trader", with profits for R multiples and no cap at 100 trades);
    kelly_fraction: win rate - loss rate / payoff ratio (Kelly 1956). Streaks follow the order of exits.
    """
    closed = trips.filter(~pl.col("open")).sort("exit_ts", maintain_order=True)
    pnl = closed["pnl"].to_numpy()
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]
    win, loss = (each.mean() if each.size else math.nan for each in (wins, losses))
    deviation = pnl.std(ddof=1) if pnl.size > 1 else math.nan
    payoff = -win / loss
    days = closed.select(pl.col("holding").mean().dt.total_microseconds() / 86_400e6).item()
    values = {
        "trades": closed.height,
        "open_trades": trips.height - closed.height,
        "win_rate": wins.size / pnl.size if pnl.size else math.nan,
        "profit_factor": wins.sum() / -losses.sum() if losses.size else math.nan,
        "expectancy": pnl.mean() if pnl.size else math.nan,
        "average_trade_return": closed["return"].mean(),
        "average_winning_trade": win,
        "average_losing_trade": loss,
        "largest_winning_trade": wins.max() if wins.size else math.nan,
        "largest_losing_trade": losses.min() if losses.size else math.nan,
        "trade_payoff_ratio": payoff,
        "kelly_fraction": wins.size / pnl.size - losses.size / pnl.size / payoff if pnl.size else math.nan,
        "sqn": math.sqrt(pnl.size) * pnl.mean() / deviation if deviation > 0 else math.nan,
        "winning_trades_in_a_row": longest(pnl > 0) if pnl.size else math.nan,
        "losing_trades_in_a_row": longest(pnl < 0) if pnl.size else math.nan,
        "average_holding_days": days,
        "average_mae": closed["mae"].mean(),
        "average_mfe": closed["mfe"].mean(),
    }
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
