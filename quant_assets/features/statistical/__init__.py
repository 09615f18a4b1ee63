"""Statistics of returns over a window."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet
from quant_assets.features.statistical.volatility import VOLATILITY

STATISTICAL = FeatureSet("statistical", (*VOLATILITY,))
