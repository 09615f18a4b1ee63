"""What is known beyond prices, by the instant it became known."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet

ALTERNATIVE = FeatureSet("alternative", ())
