"""A symbol beside the others of the same instant."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet

CROSS_SECTION = FeatureSet("cross_section", ())
