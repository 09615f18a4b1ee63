"""The runs that people, schedules and sensors start: one job for each tier of the graph.

A run covers assets that are partitioned alike; the tiers follow one another (sensors/pipeline.py, launch.py). Features
that no configured set asks for (configs/features) are in tiers of their own, which run on demand.
"""

from __future__ import annotations

import dagster as dg

from quant_assets.alternative.mapping import TEXTS
from quant_assets.features.sets import configured
from quant_assets.features.stored import ACROSS, STORED
from quant_assets.partitions import SETTINGS

_SETS = configured(SETTINGS)
_ACROSS_ALONE = [ACROSS] if ACROSS in STORED and not _SETS.across else []
_OTHERS = [name for name in _SETS.stored if name not in (*_SETS.assets, ACROSS)]


def _features(*names: str) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(dg.AssetKey(["features", name]) for name in names))


def _alternative(*names: str) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(dg.AssetKey(["alternative", name]) for name in names))


SPOKEN = [kind for kind in SETTINGS.alternative.kinds if kind in TEXTS]
"""Kinds of records whose texts features read: they are fetched with the bars, the others after them."""

INSTRUMENTS = dg.AssetSelection.assets("market_data/instruments") | _alternative(*(["entities"] if SPOKEN else []))
HISTORY_TIER = (
    dg.AssetSelection.assets("market_data/bars", "market_data/corporate_actions", "cleaned/bars", "cleaned/findings")
    | _features(*_SETS.assets)
    | _alternative(*SPOKEN, *(["sentiment"] if SPOKEN else []))
)
ALTERNATIVE_TIER = _alternative(*(kind for kind in SETTINGS.alternative.kinds if kind not in SPOKEN))
OTHER_FEATURES = _features(*_OTHERS)
TICK_TIER = dg.AssetSelection.assets("market_data/quotes", "market_data/trades", "cleaned/tick_bars")
QUALITY = dg.AssetSelection.assets("cleaned/quality")
ACROSS_TIER = _features(*_ACROSS_ALONE)
PANEL_TIER = _features("panel", "labels", *([ACROSS] if _SETS.across else []))
MODEL_TIER = dg.AssetSelection.assets("models/lightgbm", "models/champion")
SIGNAL_TIER = dg.AssetSelection.assets("models/predictions", "signals/daily")
SWEEP_TIER = dg.AssetSelection.assets("backtests/sweep")
REPORT_TIER = dg.AssetSelection.assets("backtests/report")

SESSION_TAG = "quant/session"
"""Run tag: the trading session that a run was started for."""

instruments = dg.define_asset_job("instruments", INSTRUMENTS, description="Refresh the table of instruments.")
history = dg.define_asset_job(
    "history", HISTORY_TIER, description="Market data to features, date x symbol, in one range run."
)
alternative = dg.define_asset_job(
    "alternative", ALTERNATIVE_TIER, description="Records that no feature waits for: filings, ratings, satellites."
)
ticks = dg.define_asset_job(
    "ticks", TICK_TIER, description="Quotes and trades, and bars made of trades; on demand, for a few symbols and days."
)
quality = dg.define_asset_job("quality", QUALITY, description="The page of coverage and findings, of all that is held.")
features = dg.define_asset_job(
    "features", OTHER_FEATURES, description="Groups of features that no configured set asks for, date x symbol."
)
cross_section = dg.define_asset_job(
    ACROSS, ACROSS_TIER, description="Features across symbols, by session, where no configured set asks for them."
)
panel = dg.define_asset_job("panel", PANEL_TIER, description="All symbols of a session side by side, and labels.")
models = dg.define_asset_job("models", MODEL_TIER, description="Fit a training cut-off and name the champion.")
signals = dg.define_asset_job("signals", SIGNAL_TIER, description="Score sessions and say what each strategy wants.")
session = dg.define_asset_job(
    "session", PANEL_TIER | SIGNAL_TIER, description="One session: panel, labels, predictions, signals."
)
reports = dg.define_asset_job("reports", REPORT_TIER, description="Backtest a strategy as of a month.")
sweep = dg.define_asset_job(
    "sweep",
    SWEEP_TIER | REPORT_TIER,
    description="Sweep a strategy's grid as of a month, then make its report, which is judged by the sweep; on demand.",
)

# A job without assets is none: what the sets ask for decides which features are left for these two.
_ON_DEMAND = [*([features] if _OTHERS else []), *([cross_section] if _ACROSS_ALONE else [])]
HAS_ALTERNATIVE = any(kind not in SPOKEN for kind in SETTINGS.alternative.kinds)

ALL = [
    instruments,
    history,
    *([alternative] if HAS_ALTERNATIVE else []),
    ticks,
    quality,
    *_ON_DEMAND,
    panel,
    models,
    signals,
    session,
    reports,
    sweep,
]
