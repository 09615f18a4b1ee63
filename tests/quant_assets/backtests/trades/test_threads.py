"""Trade statistics are the same to the last digit, whatever number of threads polars has."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from quant_assets.backtests.trades.statistics import statistics

DAYS, FILLS, SYMBOLS = 1000, 20_000, 50


def figures() -> str:
    """Of many random fills, as text that shows every digit."""
    draw = np.random.default_rng(0)
    ts = [datetime(2010, 1, 1, tzinfo=UTC) + timedelta(minutes=70 * number) for number in range(FILLS)]
    fills = pl.DataFrame(
        {
            "ts": ts,
            "symbol": [f"S{number % SYMBOLS}" for number in range(FILLS)],
            "side": ["sell" if number // SYMBOLS % 2 else "buy" for number in range(FILLS)],
            **{name: draw.random(FILLS) for name in ("quantity", "price", "reference_price")},
            **{name: draw.random(FILLS) for name in ("spread_cost", "slippage_cost", "commission")},
            "reason": "open",
            "ambiguous": False,
        }
    ).with_columns(session=pl.col("ts").dt.date())
    sessions = [date(2010, 1, 1) + timedelta(days=day) for day in range(DAYS)]
    carried = ("gross_exposure", "net_exposure", "dividends", "borrow_cost", "funding", "interest")
    equity = pl.DataFrame(
        {"session": sessions, "equity": 1e5 + draw.random(DAYS)} | {name: draw.random(DAYS) for name in carried}
    )
    positions = pl.DataFrame({"session": sessions, "symbol": "S1", "quantity": draw.random(DAYS)})
    bars = fills.select("symbol", "ts", open=1.0, high=2.0, low=0.1, close=0.5, volume=pl.Series(draw.random(FILLS)))
    found = statistics(equity, fills, positions, pl.DataFrame({"state": ["filled"]}), bars=bars)
    return repr(sorted(found.items()))


def test_whatever_the_number_of_threads():
    code = f"from {__name__} import figures; print(figures())"
    other = os.environ | {"POLARS_MAX_THREADS": "1" if pl.thread_pool_size() > 1 else "4"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=other)
    assert told.stdout.strip() == figures()
