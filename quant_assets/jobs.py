"""The runs that people, schedules and sensors start: one job for each tier of the graph.

A run covers assets that are partitioned alike; the tiers follow one another (sensors/pipeline.py, launch.py).
"""

from __future__ import annotations

import dagster as dg

INSTRUMENTS = dg.AssetSelection.assets("market_data/instruments")
HISTORY_TIER = dg.AssetSelection.assets(
    "market_data/bars", "market_data/corporate_actions", "cleaned/bars", "cleaned/findings", "features/technical"
)
TICK_TIER = dg.AssetSelection.assets("market_data/quotes", "market_data/trades", "cleaned/tick_bars")
QUALITY = dg.AssetSelection.assets("cleaned/quality")
PANEL_TIER = dg.AssetSelection.assets("features/panel", "features/labels")
MODEL_TIER = dg.AssetSelection.assets("models/lightgbm", "models/champion")
SIGNAL_TIER = dg.AssetSelection.assets("models/predictions", "signals/daily")
REPORT_TIER = dg.AssetSelection.assets("backtests/report")

SESSION_TAG = "quant/session"
"""Run tag: the trading session that a run was started for."""

instruments = dg.define_asset_job("instruments", INSTRUMENTS, description="Refresh the table of instruments.")
history = dg.define_asset_job(
    "history", HISTORY_TIER, description="Market data to features, date x symbol, in one range run."
)
ticks = dg.define_asset_job(
    "ticks", TICK_TIER, description="Quotes and trades, and bars made of trades; on demand, for a few symbols and days."
)
quality = dg.define_asset_job("quality", QUALITY, description="The page of coverage and findings, of all that is held.")
panel = dg.define_asset_job("panel", PANEL_TIER, description="All symbols of a session side by side, and labels.")
models = dg.define_asset_job("models", MODEL_TIER, description="Fit a training cut-off and name the champion.")
signals = dg.define_asset_job("signals", SIGNAL_TIER, description="Score sessions and say what each strategy wants.")
session = dg.define_asset_job(
    "session", PANEL_TIER | SIGNAL_TIER, description="One session: panel, labels, predictions, signals."
)
reports = dg.define_asset_job("reports", REPORT_TIER, description="Backtest a strategy as of a month.")

ALL = [instruments, history, ticks, quality, panel, models, signals, session, reports]
