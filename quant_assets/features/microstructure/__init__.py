"""What trading costs and who pushes the price: from trades and quotes where they exist, from bars where not."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet
from quant_assets.features.microstructure.flow import ACTIVITY, FLOWS
from quant_assets.features.microstructure.impact import IMPACTS
from quant_assets.features.microstructure.quoted import QUOTED
from quant_assets.features.microstructure.spreads import SPREADS

MICROSTRUCTURE = FeatureSet("microstructure", (*SPREADS, *IMPACTS, *FLOWS, *ACTIVITY, *QUOTED))
"""`attach` (quant_assets.features.microstructure.attach) adds what trades, quotes and books tell to the bars."""
