"""Columns of what trades, quotes and order books tell about a bar; `microstructure.attach` makes them. None has a unit
that a split changes."""

from __future__ import annotations

import math

from quant_assets.features.context import Extra

_SIGNED, _ANY = (-1.0, 1.0), (-math.inf, math.inf)

EXTRAS: dict[str, Extra] = {
    "tick_quoted_spread": Extra("Time-weighted (ask - bid) / middle of the bar's quotes", (0.0, 2.0)),
    "tick_effective_spread": Extra("2 |price - middle| / middle of its trades, weighted by size"),
    "tick_realised_spread": Extra("2 side (price - later middle) / middle of trades whose delay ended in it", _ANY),
    "tick_imbalance": Extra("Volume that buyers started less that of sellers, over both", _SIGNED),
    "tick_count": Extra("Number of trades"),
    "tick_vwap_gap": Extra("Log of its last trade over the volume-weighted price of its trades", _ANY),
    "quote_imbalance": Extra("Time-weighted (bid size - ask size) / both at the best quotes", _SIGNED),
    "quote_flow": Extra("Order flow at the best quotes: net over gross", _SIGNED),
    "quote_traffic": Extra("Gross order flow at the best quotes over their time-weighted mean size"),
    "book_imbalance": Extra("Time-weighted (bids - asks) / both, sizes of the best levels of the book", _SIGNED),
    "book_depth": Extra("Time-weighted worth of the best levels of the book, price x size"),
}
"""Null where the bar has none of what it is made of."""
