"""Lags, ranks in time, and the calendar of the instrument."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet

TEMPORAL = FeatureSet("temporal", ())
