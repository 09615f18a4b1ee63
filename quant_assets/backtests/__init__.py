"""Backtests: `run` orders over cleaned bars, `summary` of any returns. numba loads with the first run."""

from __future__ import annotations

from quant_assets.backtests.engine import BacktestResult, run
from quant_assets.backtests.metrics import summary

__all__ = ["BacktestResult", "run", "summary"]
