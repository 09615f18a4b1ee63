"""Statistics of returns over a window."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet
from quant_assets.features.statistical.market import MARKET
from quant_assets.features.statistical.memory import MEMORY
from quant_assets.features.statistical.performance import PERFORMANCE
from quant_assets.features.statistical.shape import SHAPE
from quant_assets.features.statistical.volatility import VOLATILITY

STATISTICAL = FeatureSet("statistical", (*VOLATILITY, *SHAPE, *PERFORMANCE, *MEMORY, *MARKET))
