"""A symbol beside the others of the same instant, and what they do as a whole."""

from __future__ import annotations

from quant_assets.features.cross_section.breadth import BREADTH
from quant_assets.features.cross_section.market import BESIDE
from quant_assets.features.cross_section.ranks import COMPARED
from quant_assets.features.definition import FeatureSet

CROSS_SECTION = FeatureSet("cross_section", (*COMPARED, *BESIDE, *BREADTH))
