"""Backtests: `run` orders over cleaned bars, `sweep` a strategy's parameters, `summary` of any returns.

numba loads with the first run.
"""

from __future__ import annotations

from quant_assets.backtests.engine import BacktestResult, run
from quant_assets.backtests.market.history import History, history
from quant_assets.backtests.metrics import summary
from quant_assets.backtests.simulation.reactive import OnBar
from quant_assets.backtests.sweeps import SweepResult, sweep

__all__ = ["BacktestResult", "History", "OnBar", "SweepResult", "history", "run", "summary", "sweep"]
