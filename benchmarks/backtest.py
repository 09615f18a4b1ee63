"""How fast backtests run: `python benchmarks/backtest.py [--symbols 500 --years 16]`.

Prints one table. A bar is one symbol in one session. The peer is a plain Python loop over the same bars and weekly
target weights with the same costs, in dictionaries, as a first backtest usually is. It knows market orders only,
shares no volume and checks no margin; its equity must agree with the engine's in every session. Both run in this
process. A third-party engine is not among the peers: none is installed with the project.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import numpy as np
import polars as pl

from quant_assets.backtests import run
from quant_assets.backtests.engine import Simulation
from quant_assets.backtests.inputs import Book, History, book, history
from quant_assets.backtests.tables import Recorder
from resources.calendars import UTC_MICROS
from resources.config import BacktestSettings
from resources.exchange import Listing

T = TypeVar("T")
SETTINGS = BacktestSettings(cash=1e8, participation=1.0, financing_bps_per_year=0, max_gross=2.0)


def made_up(symbols: int, sessions: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Random walks with quarterly dividends as cleaned bars, and random weights of them every fifth session."""
    draw = np.random.default_rng(1)
    day = np.repeat(np.arange(sessions), symbols)
    close = 50 * np.exp(np.cumsum(draw.normal(0.0002, 0.02, (sessions, symbols)), axis=0))
    open_ = close * np.exp(draw.normal(0, 0.005, close.shape))
    names = np.tile([f"S{number:04d}" for number in range(symbols)], sessions)
    start = datetime(2005, 1, 3, 14, 30, tzinfo=UTC)
    ts = pl.Series([start + timedelta(days=number) for number in range(sessions)], dtype=UTC_MICROS).gather(day)
    dividend = np.where((day % 63 == 62), 0.2, 0.0)
    bars = pl.DataFrame(
        {
            "symbol": names,
            "ts": ts,
            "session": ts.dt.date(),
            "known_at": ts.dt.offset_by("390m"),
            "open": open_.ravel(),
            "high": np.maximum(open_, close).ravel() * 1.01,
            "low": np.minimum(open_, close).ravel() * 0.99,
            "close": close.ravel(),
            "volume": np.full(close.size, 1e9),
            "split": np.ones(close.size),
            "dividend": dividend,
        }
    )
    weight = draw.dirichlet(np.ones(symbols), sessions).ravel() * 0.98
    weekly = day % 5 == 4
    orders = (
        bars.select("symbol", ts="known_at").with_columns(target_weight=pl.Series(weight)).filter(pl.Series(weekly))
    )
    return bars, orders


@dataclass(frozen=True)
class Peer:
    """The plain loop, with its inputs in dictionaries."""

    sessions: dict[date, list[tuple[str, float, float, float]]]
    weights: dict[date, dict[str, float]]

    @classmethod
    def prepared(cls, bars: pl.DataFrame, orders: pl.DataFrame) -> Peer:
        made = cls({}, {})
        for session, *row in bars.select("session", "symbol", "open", "close", "dividend").iter_rows():
            made.sessions.setdefault(session, []).append(tuple(row))
        for ts, symbol, weight in orders.select("ts", "symbol", "target_weight").iter_rows():
            made.weights.setdefault(ts.date(), {})[symbol] = weight
        return made

    def run(self, settings: BacktestSettings) -> list[float]:
        """Equity after each session, of market orders to target weights."""
        cost = (settings.half_spread_bps + settings.slippage_bps) / 1e4
        cash, held, last, wanted = settings.cash, dict[str, float](), dict[str, float](), dict[str, float]()
        fills: list[tuple[date, str, float, float]] = []
        curve: list[float] = []
        for session, rows in self.sessions.items():
            for symbol, open_, close, dividend in rows:
                cash += held.get(symbol, 0.0) * dividend
                change = wanted.get(symbol, 0.0)
                if change:
                    price = open_ * (1 + cost if change > 0 else 1 - cost)
                    fills.append((session, symbol, change, price))
                    cash -= change * price
                    cash -= max(abs(change) * settings.commission_per_share, settings.commission_minimum)
                    held[symbol] = held.get(symbol, 0.0) + change
                last[symbol] = close
            equity = cash + sum(quantity * last[symbol] for symbol, quantity in held.items())
            curve.append(equity)
            wanted = {
                symbol: int(weight * equity / last[symbol]) - held.get(symbol, 0.0)
                for symbol, weight in self.weights.get(session, {}).items()
            }
        return curve


def simulate(past: History, pending: Book) -> Recorder:
    """The engine's loop alone: arrays in, arrays out."""
    fresh = replace(pending, records=pending.records.copy())
    return Simulation(SETTINGS, past, [Listing()] * len(past.symbols), fresh).run()


def timed(work: Callable[[], T], times: int = 3) -> tuple[float, T]:
    """The best of several wall times in seconds, and the result."""
    best, result = float("inf"), None
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    assert result is not None
    return best, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--years", type=int, default=16)
    options = parser.parse_args()

    bars, orders = made_up(options.symbols, options.years * 252)
    few = made_up(10, 20)
    first, _ = timed(lambda: run(*few, SETTINGS), times=1)
    whole, result = timed(lambda: run(bars, orders, SETTINGS))
    past = history(bars)
    pending = book(orders, past, [Listing()] * len(past.symbols), 0.0)
    loop, _ = timed(lambda: simulate(past, pending))
    gathering, loaded = timed(lambda: Peer.prepared(bars, orders), times=1)
    plain, curve = timed(lambda: loaded.run(SETTINGS))
    difference = float(np.abs(result.equity["equity"].to_numpy() / np.array(curve) - 1).max())
    if difference > 1e-9:
        raise SystemExit(f"engine and peer disagree by {difference:.2e} in some session")

    rows = [
        ("engine, run(): frames in, frames and metrics out", whole, (plain + gathering) / whole),
        ("peer: frames in, equity and fills out", plain + gathering, 1.0),
        ("engine, its loop alone: arrays in and out", loop, plain / loop),
        ("peer, its loop alone: dictionaries in", plain, 1.0),
    ]
    print(f"{bars.height:,} bars of {options.symbols} symbols, {orders.height:,} weekly target weights")
    print(f"{'':52}{'seconds':>10}{'bars/s':>14}{'x peer':>9}")
    for name, seconds, ratio in rows:
        print(f"{name:52}{seconds:10.3f}{bars.height / seconds:14,.0f}{ratio:9.1f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"first run, 200 bars (compiles, or loads machine code): {first:.1f} s; peak memory {memory:,.0f} MiB")
    print(f"Wall seconds, best of three; equity agrees to {difference:.0e} in every session")


if __name__ == "__main__":
    main()
