"""A bar in time: beside its own past, and in the calendar of its instrument."""

from __future__ import annotations

from quant_assets.features.definition import FeatureSet
from quant_assets.features.temporal.dates import CALENDAR
from quant_assets.features.temporal.history import LAGS, RANKS

TEMPORAL = FeatureSet("temporal", (*LAGS, *RANKS, *CALENDAR))
