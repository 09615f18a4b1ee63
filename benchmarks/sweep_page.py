"""How long the report page takes and how large it is: 20 years of sessions, 5,000 fills in 100 symbols, made up.

    python benchmarks/sweep.py --part page

The page is the whole one: the prices of all symbols with the fills on them, every test of the evidence, the
overfitting of a sweep of 200 runs and its parameter surface. What it is made of is there before the clock starts.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from quant_assets.backtests import BacktestResult
    from quant_assets.backtests.verdict.caveats import Provenance

SESSIONS, SYMBOLS, FILLS, TRIALS = 5_040, 100, 5_000, 200
MOST_SECONDS, MOST_MEGABYTES = 3.0, 5.0


def page(options: argparse.Namespace) -> None:
    """Print seconds (elapsed, and of the processor) and megabytes of the page; exit where one is above its aim."""
    from quant_assets.backtests import report, run

    rng = np.random.default_rng(1)
    bars, orders = _market(rng)
    result = run(bars, orders)
    days = result.equity["session"]
    benchmark = pl.DataFrame({"session": days, "return": rng.normal(0.0002, 0.01, len(days))})
    provenance = _provenance(rng, result)
    wall, processor = time.perf_counter(), time.process_time()
    html = report.page(result, benchmark, provenance, bars)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    size = len(html.encode()) / 1e6
    print(
        f"page: {len(days):,} sessions, {result.fills.height:,} fills in {SYMBOLS} symbols, {TRIALS} trials: "
        f"{wall:.2f} s ({processor:.2f} s of the processor) and {size:.2f} MB; "
        f"the aims are {MOST_SECONDS:g} s and {MOST_MEGABYTES:g} MB"
    )
    if result.fills.height < FILLS or wall > MOST_SECONDS or size > MOST_MEGABYTES:
        raise SystemExit("page: an aim is missed")


def _market(rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars of random walks, and orders that buy and sell 100 shares in turn."""
    days = np.busday_offset(np.datetime64("2005-01-03"), np.arange(SESSIONS), roll="forward")
    closes = 50 * np.exp(np.cumsum(rng.normal(0.0002, 0.015, (SESSIONS, SYMBOLS)), axis=0))
    names = [f"S{number:03d}" for number in range(SYMBOLS)]
    opened = pl.Series("ts", days).cast(pl.Datetime("us", "UTC")) + timedelta(hours=14, minutes=30)
    close = pl.col("close")
    bars = pl.DataFrame(
        {
            "ts": opened.gather(np.repeat(np.arange(SESSIONS), SYMBOLS)),
            "symbol": names * SESSIONS,
            "close": closes.ravel(),
        }
    ).with_columns(
        session=pl.col("ts").dt.date(),
        known_at=pl.col("ts") + timedelta(hours=6, minutes=30),
        open=close,
        high=close * 1.01,
        low=close * 0.99,
        volume=pl.lit(1e6),
    )
    each = FILLS // SYMBOLS
    at = np.sort(np.argsort(rng.random((SYMBOLS, SESSIONS - 1)), axis=1)[:, :each], axis=1)
    orders = pl.DataFrame(
        {
            "ts": (opened + timedelta(hours=6, minutes=30)).gather(at.ravel()),
            "symbol": np.repeat(np.array(names), each),
            "side": np.tile(np.where(np.arange(each) % 2 == 0, "buy", "sell"), SYMBOLS),
            "quantity": 100.0,
        }
    )
    return bars, orders.sort("ts")


def _provenance(rng: np.random.Generator, result: BacktestResult) -> Provenance:
    """A sweep of noise over a grid of two parameters, in which this result was one run."""
    from quant_assets.backtests.verdict.assess import assess
    from quant_assets.backtests.verdict.caveats import Provenance
    from quant_assets.evidence.surface import surface
    from quant_assets.evidence.trials import Counted
    from resources.config import BacktestSettings

    settings = BacktestSettings()
    returns = rng.normal(0.0002, 0.01, (result.equity.height, TRIALS))
    sharpe = returns.mean(axis=0) / returns.std(axis=0) * np.sqrt(252)
    fast, slow = np.meshgrid(np.arange(5, 55, 5), np.arange(20, 220, 10))
    grid = pl.DataFrame({"fast": fast.ravel(), "slow": slow.ravel(), "sharpe_ratio": sharpe})
    figures = ("total_return", "cagr", "sharpe_ratio", "max_drawdown", "turnover", "costs")
    stress = pl.DataFrame(
        [{"times": times, "mean_return": 0.0} | {name: result.metrics[name] for name in figures} for times in (1, 2, 3)]
    )
    evidence = assess(
        result,
        Counted(trials=TRIALS, with_result=TRIALS, sharpe_variance=float(sharpe.var() / 252)),
        settings=settings,
        sweep_returns=returns,
        stress=stress,
        surface=surface(grid, ["fast", "slow"]),
    )
    return Provenance(
        strategy="made_up",
        parameters={"fast": 5, "slow": 20},
        config_name="benchmark",
        data_version="made up",
        code_version="of the day",
        trials=TRIALS,
        settings=settings,
        symbols=sorted(result.fills["symbol"].unique()),
        benchmark="noise",
        created_at=datetime.now(UTC),
        evidence=evidence,
    )
