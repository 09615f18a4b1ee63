"""What trading costs and who pushes the price: from trades and quotes where they exist, from bars where not."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet

MICROSTRUCTURE = FeatureSet("microstructure", ())
