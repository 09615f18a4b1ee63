"""The bars and orders that benchmarks/backtest.py trades, and the plain loop that its portfolio must agree with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "sp500_daily.parquet"
FIRST = date(2010, 1, 1)
SYMBOLS, STAKE = 100, 10_000
TERMS = {"fee": 0.0005, "slippage": 0.0005, "cash": 100_000.0}
"""Fractions of the price, on every fill, and what a symbol's account starts with. Ours is one account for all."""

HALF_SPREAD, SLIPPAGE, PER_SHARE, MINIMUM, CASH = 0.0001, 0.0002, 0.005, 1.0, 1e8
"""Costs and cash of the portfolio, for the engine and for the plain loop."""


def write_cross(folder: Path) -> tuple[int, int]:
    """Write bars with the decisions of each close, as backtest_peers/handed.py describes; how many of both.

    Bars are adjusted ones of the first symbols by name that have a bar with volume on every day. An entry is a close
    at which the 20-day mean has come above the 50-day mean, an exit one at which it has left it again; nothing is
    decided on the last day, at which no engine could act any more. An entry buys for about STAKE, in whole units.
    """
    source = pl.scan_parquet(SOURCE).filter(pl.col("date") >= FIRST)
    days = pl.col("date").n_unique()
    steady = (
        source.group_by("symbol")
        .agg(rows=pl.len(), days=days, least=pl.col("volume").min(), gaps=pl.col("close").null_count())
        .filter((pl.col("rows") == pl.col("days")) & (pl.col("days") == pl.col("days").max()))
        .filter((pl.col("least") > 0) & (pl.col("gaps") == 0))
        .sort("symbol")
        .head(SYMBOLS)
    )
    factor = pl.col("adjusted_close") / pl.col("close")
    bars = (
        source.join(steady, on="symbol", how="semi")
        .sort("symbol", "date")
        .select(
            "symbol",
            pl.col("date").cast(pl.Datetime("us", "UTC")).alias("ts"),
            *[pl.col(name) * factor for name in ("open", "high", "low", "close")],
            pl.col("volume").cast(pl.Float64),
        )
    )
    above = pl.col("close").rolling_mean(20) > pl.col("close").rolling_mean(50)
    turned = above & ~above.shift(), ~above & above.shift()
    last = pl.int_range(pl.len()) == pl.len() - 1
    known = pl.int_range(pl.len()) >= 50
    decided = bars.with_columns(
        entry=(turned[0] & known & ~last).fill_null(False).over("symbol"),
        exit=(turned[1] & known & ~last).fill_null(False).over("symbol"),
    ).with_columns(size=pl.when("entry").then((STAKE / pl.col("close")).floor().clip(1)).otherwise(0.0))
    # An exit without an entry before it has nothing to leave.
    entered = pl.col("entry").cum_sum().over("symbol") > 0
    frame = decided.with_columns(exit=pl.col("exit") & entered).collect()
    frame.write_parquet(folder / "bars.parquet")
    (folder / "terms.json").write_text(json.dumps(TERMS))
    return frame.height, frame.filter("entry").height + frame.filter("exit").height


def sessions(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars with what cleaned bars have besides: session, known_at (the close, 6 1/2 hours on), split and dividend."""
    return bars.with_columns(
        session=pl.col("ts").dt.date(), known_at=pl.col("ts").dt.offset_by("390m"), split=1.0, dividend=0.0
    )


def cross_orders(bars: pl.DataFrame) -> pl.DataFrame:
    """The decisions as orders; an exit sells what the entry before it has bought."""
    bought = pl.col("size").replace(0.0, None).forward_fill().over("symbol")
    return (
        bars.with_columns(quantity=bought)
        .filter(pl.col("entry") | pl.col("exit"))
        .select(
            "symbol", "quantity", ts="known_at", side=pl.when("entry").then(pl.lit("buy")).otherwise(pl.lit("sell"))
        )
        .sort("ts", "symbol")
    )


def write_portfolio(folder: Path, symbols: int, days: int) -> None:
    """Random walks with quarterly dividends as cleaned bars, and weights of them at every close, new every week."""
    draw = np.random.default_rng(1)
    day = np.repeat(np.arange(days), symbols)
    close = 50 * np.exp(np.cumsum(draw.normal(0.0002, 0.02, (days, symbols)), axis=0))
    open_ = close * np.exp(draw.normal(0, 0.005, close.shape))
    start = datetime(2005, 1, 3, 14, 30, tzinfo=UTC)
    ts = pl.Series([start + timedelta(days=number) for number in range(days)], dtype=pl.Datetime("us", "UTC"))
    bars = pl.DataFrame(
        {
            "symbol": np.tile([f"S{number:04d}" for number in range(symbols)], days),
            "ts": ts.gather(day),
            "open": open_.ravel(),
            "high": np.maximum(open_, close).ravel() * 1.01,
            "low": np.minimum(open_, close).ravel() * 0.99,
            "close": close.ravel(),
            "volume": np.full(close.size, 1e9),
        }
    )
    dividend = pl.Series(np.where(day % 63 == 62, 0.2, 0.0))
    bars = sessions(bars).with_columns(dividend=dividend)
    weekly = draw.dirichlet(np.ones(symbols), -(-days // 5)) * 0.98
    orders = bars.select("symbol", ts="known_at", target_weight=pl.Series(np.repeat(weekly, 5, axis=0)[:days].ravel()))
    bars.write_parquet(folder / "bars.parquet")
    orders.write_parquet(folder / "orders.parquet")


@dataclass(frozen=True)
class PlainLoop:
    """The portfolio as a first backtest usually is: a loop over dictionaries.

    It knows market orders to target weights only, shares no volume and checks no margin.
    """

    sessions: dict[date, list[tuple[str, float, float, float]]]
    weights: dict[date, dict[str, float]]

    @classmethod
    def prepared(cls, bars: pl.DataFrame, orders: pl.DataFrame) -> PlainLoop:
        made = cls({}, {})
        for session, *row in bars.select("session", "symbol", "open", "close", "dividend").iter_rows():
            made.sessions.setdefault(session, []).append(tuple(row))
        for ts, symbol, weight in orders.select("ts", "symbol", "target_weight").iter_rows():
            made.weights.setdefault(ts.date(), {})[symbol] = weight
        return made

    def run(self) -> list[float]:
        """Equity after each session."""
        cost = HALF_SPREAD + SLIPPAGE
        cash, held, last, wanted = CASH, dict[str, float](), dict[str, float](), dict[str, float]()
        fills: list[tuple[date, str, float, float]] = []
        curve: list[float] = []
        for session, rows in self.sessions.items():
            for symbol, open_, close, dividend in rows:
                cash += held.get(symbol, 0.0) * dividend
                change = wanted.get(symbol, 0.0)
                if change:
                    price = open_ * (1 + cost if change > 0 else 1 - cost)
                    fills.append((session, symbol, change, price))
                    cash -= change * price + max(abs(change) * PER_SHARE, MINIMUM)
                    held[symbol] = held.get(symbol, 0.0) + change
                last[symbol] = close
            equity = cash + sum(quantity * last[symbol] for symbol, quantity in held.items())
            curve.append(equity)
            wanted = {
                symbol: int(weight * equity / last[symbol] + 1e-9) - held.get(symbol, 0.0)
                for symbol, weight in self.weights.get(session, {}).items()
            }
        return curve
