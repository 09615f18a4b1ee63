"""Indicators of one symbol's own prices and volume, most of them TA-Lib's."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet
from quant_assets.features.technical.momentum import OSCILLATORS
from quant_assets.features.technical.trend import RETURNS, TREND
from quant_assets.features.technical.volatility import VOLATILITY
from quant_assets.features.technical.volume import VOLUMES

TECHNICAL = FeatureSet("technical", (*RETURNS, *TREND, *OSCILLATORS, *VOLATILITY, *VOLUMES))
"""All are ratios without a unit, from adjusted prices, so that symbols and years can be compared."""
