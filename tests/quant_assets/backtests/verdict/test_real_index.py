"""What `alpha` is for: random members of an index that rose, in real prices.

Members of the S&P 500 of the end of the data, held back to 2010: what they earned is the market's, and the hindsight's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import BacktestResult, History, history, run
from quant_assets.backtests.verdict.assess import Evidence, assess
from quant_assets.evidence.sharpe import moments
from quant_assets.evidence.trials import Counted
from resources.config import BacktestSettings

FIRST, PORTFOLIOS, SETTLED = date(2010, 1, 4), 16, 20
SETTINGS = BacktestSettings()


@dataclass(frozen=True)
class Index:
    past: History
    closes: list[datetime]
    benchmark: pl.DataFrame
    """All members in equal weights, brought back to them every session, without costs."""


@pytest.fixture(scope="module")
def index(shared_data: Path) -> Index:
    day = pl.col("date").cast(pl.Datetime("us", "UTC"))
    rows = (
        pl.scan_parquet(shared_data / "sp500_daily.parquet")
        .filter(pl.col("date") >= FIRST)
        .unique(["symbol", "date"])
        .drop_nulls(["open", "close"])
        .filter(pl.col("low") > 0, pl.all_horizontal(pl.col("open", "close").is_between("low", "high")))
        .filter((pl.len() >= 2_840).over("symbol"), (pl.col("date").min() == FIRST).over("symbol"))
        .sort("date", "symbol")
        .with_columns(session="date", ts=day + timedelta(hours=14.5), known_at=day + timedelta(hours=21))
        .collect()
    )
    change = (pl.col("adjusted_close") / pl.col("adjusted_close").shift() - 1).over("symbol", order_by="session")
    benchmark = rows.with_columns(change=change).group_by("session").agg(pl.col("change").mean().alias("return"))
    return Index(
        history(rows.drop("date", "adjusted_close")),
        rows["known_at"].unique().sort().to_list(),
        benchmark.fill_null(0.0).sort("session"),
    )


@pytest.fixture(scope="module")
def portfolios(index: Index) -> list[BacktestResult]:
    """10, 20 or 50 members at random in equal weights, drawn anew every week, month or quarter; after costs."""
    return [run(index.past, orders(index, seed), SETTINGS, benchmark=index.benchmark) for seed in range(PORTFOLIOS)]


def orders(index: Index, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    every, count = int(random.choice([5, 21, 63])), int(random.choice([10, 20, 50]))
    sent: list[tuple[datetime, str, float]] = []
    held: set[str] = set()
    for session in range(SETTLED, len(index.closes) - 1, every):
        chosen = set(random.choice(index.past.symbols, count, replace=False).tolist())
        sent += [(index.closes[session], name, 1 / count if name in chosen else 0.0) for name in sorted(held | chosen)]
        held = chosen
    return pl.DataFrame(sent, ["ts", "symbol", "target_weight"], orient="row")


def judged(index: Index, portfolios: list[BacktestResult], trials: Counted) -> list[Evidence]:
    return [assess(one, trials, settings=SETTINGS, benchmark=index.benchmark, samples=500) for one in portfolios]


def test_only_alpha_stops_what_a_rising_market_carried(index: Index, portfolios: list[BacktestResult]) -> None:
    """Each taken to be the only one ever tried: nine in ten or more pass every other essential test."""
    found = judged(index, portfolios, Counted(1, 1, None, 1))
    failed = [{test.name for test in evidence.tests if test.essential and test.passed is False} for evidence in found]
    assert sum(names <= {"alpha"} for names in failed) >= 0.9 * PORTFOLIOS
    assert sum("alpha" in names for names in failed) >= 0.95 * PORTFOLIOS
    assert sum(evidence.proven for evidence in found) <= 0.05 * PORTFOLIOS
    only = "Unproven: it fails on skill beyond the benchmark."
    assert [evidence.headline == only for evidence in found] == [names == {"alpha"} for names in failed]


def test_where_they_are_counted_none_is_proven(index: Index, portfolios: list[BacktestResult]) -> None:
    ratios = [moments(one.equity["return"]).sharpe for one in portfolios]
    assert np.mean(ratios) * 252**0.5 > 0.8
    for trials in (Counted(PORTFOLIOS, PORTFOLIOS, float(np.var(ratios, ddof=1)), 1), Counted(1, 1, None, PORTFOLIOS)):
        assert not any(evidence.proven for evidence in judged(index, portfolios, trials))
