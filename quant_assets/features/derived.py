"""Every column that features may read beside those of the bars."""

from __future__ import annotations

from quant_assets.features.columns import calendar, records, ticks, universe
from quant_assets.features.context import Derived, Extra

DERIVED: dict[str, Derived] = {**calendar.COLUMNS, **universe.COLUMNS}
"""Columns that are worked out of the bars, by name."""

OPTIONAL: dict[str, Extra] = {
    **ticks.EXTRAS,
    **records.EXTRAS,
    "vwap": Extra("Volume-weighted average price of the bar, as traded"),
}
"""Columns of the bars that may be missing: then they are null, and features do without them."""
