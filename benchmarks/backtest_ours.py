"""This project's engine as benchmarks/backtest.py measures it: each function is one child process, answering JSON."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from backtest_worlds import (
    CASH,
    HALF_SPREAD,
    MINIMUM,
    PER_SHARE,
    SLIPPAGE,
    SYMBOLS,
    TERMS,
    PlainLoop,
    cross_orders,
    sessions,
)
from handed import best

from quant_assets.backtests import BacktestResult, run
from quant_assets.backtests.market.history import history
from quant_assets.backtests.simulation.book import book
from quant_assets.backtests.simulation.simulate import simulate
from resources.config import BacktestSettings

BPS = 1e4


def simulation(bars: pl.DataFrame, orders: pl.DataFrame, settings: BacktestSettings, times: int, fills: int) -> float:
    """The engine's loop alone, from a prepared market and book to arrays of fills, positions and of the account.

    The best of several CPU times in seconds. A simulation uses its book up, so that each is given one of its own.
    """
    past = history(bars)
    pending = book(orders, past, settings.latency)
    fastest = float("inf")
    for _ in range(times):
        own = replace(pending, records=pending.records.copy())
        seconds, outcome = best(lambda: simulate(settings, past, own), 1)  # noqa: B023  # called at once
        fastest = min(fastest, seconds)
        if outcome.fills.size != fills:
            raise SystemExit(f"{outcome.fills.size} fills in the simulation, {fills} in run(): not the same work")
    return fastest


def cross(folder: str) -> dict[str, Any]:
    """The orders of the moving-average cross, in one account of all symbols."""
    bars = sessions(pl.read_parquet(Path(folder) / "bars.parquet"))
    orders = cross_orders(bars)
    settings = BacktestSettings.model_validate(
        {
            "cash": TERMS["cash"] * SYMBOLS,
            "spread": {"name": "fixed", "half_bps": 0},
            "slippage": {"name": "fixed", "bps": TERMS["slippage"] * BPS},
            "commission": {"name": "bps", "bps": TERMS["fee"] * BPS},
        }
    )
    result = run(bars, orders, settings)
    seconds = simulation(bars, orders, settings, 15, result.fills.height)
    whole, _ = best(lambda: run(bars, orders, settings), 3)
    return {"what": "this project", "simulation": seconds, "whole": whole, "bars": bars.height} | by_symbol(
        bars, result
    )


def by_symbol(bars: pl.DataFrame, result: BacktestResult) -> dict[str, list[float]]:
    """Fills, profit (what was sold and is held, less what was bought) and value traded of each symbol, sorted."""
    sign = pl.when(pl.col("side") == "buy").then(1).otherwise(-1)
    value = pl.col("quantity") * pl.col("price")
    traded = result.fills.group_by("symbol").agg(
        fills=pl.len(),
        paid=(sign * value + pl.col("commission")).sum(),
        left=(sign * pl.col("quantity")).sum(),
        traded=value.sum(),
    )
    last = bars.sort("ts").group_by("symbol").agg(pl.col("close").last())
    rows = last.join(traded, on="symbol", how="left").fill_null(0).sort("symbol")
    profit = rows["left"] * rows["close"] - rows["paid"]
    return {"fills": rows["fills"].to_list(), "profit": profit.to_list(), "traded": rows["traded"].to_list()}


def portfolio(folder: str, compare: str) -> dict[str, Any]:
    """The portfolio in one account; with `compare`, the plain loop too, whose equity must be the same."""
    bars, orders = (pl.read_parquet(Path(folder) / f"{name}.parquet") for name in ("bars", "orders"))
    settings = BacktestSettings.model_validate(
        {
            "cash": CASH,
            "participation": 1.0,
            "financing_bps_per_year": 0,
            "max_gross": 2.0,
            "spread": {"name": "fixed", "half_bps": HALF_SPREAD * BPS},
            "slippage": {"name": "fixed", "bps": SLIPPAGE * BPS},
            "commission": {"name": "per_share", "per_share": PER_SHARE, "minimum": MINIMUM},
        }
    )
    run(*small(), settings)
    before = peak()
    whole, result = best(lambda: run(bars, orders, settings), 2)
    memory = peak()
    seconds = simulation(bars, orders, settings, 3, result.fills.height)
    found: dict[str, Any] = {"bars": bars.height, "fills": result.fills.height, "simulation": seconds, "whole": whole}
    found |= {"memory": memory, "before": before}
    if compare:
        plain, curve = best(PlainLoop.prepared(bars, orders).run, 1)
        apart = (result.equity["equity"] / pl.Series(curve) - 1).abs().max()
        found |= {"plain": plain, "apart": apart}
    return found


def small() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Twenty days of two symbols, and one order each."""
    days = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 20), "1d", time_zone="UTC", eager=True)
    names = pl.DataFrame({"symbol": ["A", "B"]})
    prices = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5, "volume": 1e6}
    bars = pl.DataFrame({"ts": days}).join(names, how="cross").with_columns(**{k: pl.lit(v) for k, v in prices.items()})
    orders = sessions(bars).head(2).select("symbol", ts="known_at", target_weight=pl.lit(0.4))
    return sessions(bars), orders


def first_run(began: str) -> dict[str, Any]:
    """Seconds since the parent began this process until the first backtest is back, and of that backtest alone."""
    called = time.time()
    run(*small())
    ended = time.time()
    return {"whole": ended - float(began), "run": ended - called}


def peak() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {"cross": cross, "portfolio": portfolio, "start": first_run}
