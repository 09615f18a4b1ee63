"""The 158 features of qlib's Alpha158 handler."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet

ALPHA158 = FeatureSet("alpha158", ())
