"""Indicators of one symbol's own prices and volume, most of them TA-Lib's.

Each module says which are kernels of ours instead, and why.
"""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet
from quant_assets.features.technical.averages import AVERAGES
from quant_assets.features.technical.cycle import CYCLES
from quant_assets.features.technical.momentum import MOMENTUM
from quant_assets.features.technical.patterns import PATTERNS
from quant_assets.features.technical.returns import RETURNS
from quant_assets.features.technical.trend import TREND
from quant_assets.features.technical.volatility import VOLATILITY
from quant_assets.features.technical.volume import VOLUMES

TECHNICAL = FeatureSet("technical", (*RETURNS, *AVERAGES, *TREND, *MOMENTUM, *VOLATILITY, *VOLUMES, *CYCLES, *PATTERNS))
"""All are ratios without a unit, from adjusted prices, so that symbols and years can be compared."""
