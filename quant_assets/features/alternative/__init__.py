"""What is known beyond prices, by the instant it became known."""

from __future__ import annotations

from quant_assets.features.alternative.known import KNOWN
from quant_assets.features.definition import FeatureSet

ALTERNATIVE = FeatureSet("alternative", KNOWN)
"""`attach_records` (quant_assets.features.alternative.attach) adds what records tell to the bars."""
