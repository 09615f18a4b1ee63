"""The technical features: every feature of one symbol's own prices and volume."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet
from quant_assets.features.oscillators import OSCILLATORS
from quant_assets.features.trend import RETURNS, TREND
from quant_assets.features.volatility import VOLATILITY
from quant_assets.features.volume import VOLUMES

TECHNICAL = FeatureSet("technical", (*RETURNS, *TREND, *OSCILLATORS, *VOLATILITY, *VOLUMES))
"""The one registry: what the catalogue lists, what is stored, and what a strategy may ask for by name.

All are ratios without a unit, from adjusted prices, so that symbols and years can be compared.
"""
