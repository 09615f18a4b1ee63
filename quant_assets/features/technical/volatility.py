"""How far the price ranges."""

from __future__ import annotations

import math

import polars as pl

from quant_assets.features.definition import Feature
from quant_assets.features.expressions import CLOSE, HIGH, LOW, settle, talib


def atr_fraction(window: int) -> pl.Expr:
    """Wilder's average true range as a fraction of the close."""
    return talib("ATR", [HIGH, LOW, CLOSE], timeperiod=window) / CLOSE


def natr(window: int) -> pl.Expr:
    """Wilder's average true range in percent of the close."""
    return talib("NATR", [HIGH, LOW, CLOSE], timeperiod=window)


_POSITIVE = (0.0, math.inf)

VOLATILITY = (
    Feature(
        "atr_14_pct",
        "volatility",
        "Average true range of 14 sessions as a fraction of the close",
        atr_fraction,
        {"window": 14},
        lookback=14 + settle(1 / 14),
        bounds=_POSITIVE,
        source="Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib ATR",
    ),
    Feature(
        "natr_5",
        "volatility",
        "Average true range of 5 sessions in percent of the close",
        natr,
        {"window": 5},
        lookback=5 + settle(1 / 5),
        bounds=_POSITIVE,
        source="Forman (2006); TA-Lib NATR",
    ),
)
