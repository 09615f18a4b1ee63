"""The shape of one bar: Alpha158's K-bar and price features."""

from __future__ import annotations

import numpy as np

from quant_assets.features.kernels import kernel
from quant_assets.features.precision import NOTHING

CANDLE = ("kmid", "klen", "kmid2", "kup", "kup2", "klow", "klow2", "ksft", "ksft2", "open_0", "high_0", "low_0")


@kernel(inputs=["adj_open", "adj_high", "adj_low", "adj_close"], outputs=CANDLE)
def candle(x, p, out):  # type: ignore[no-untyped-def]
    """Body, range, shadows and shift of the bar over its open, and (…2) over its range: 0 where it has no range.

    OPEN0, HIGH0 and LOW0 are the prices over the close.
    """
    for i in range(x.shape[1]):
        opened, high, low, close = x[0, i], x[1, i], x[2, i], x[3, i]
        top, bottom = max(opened, close), min(opened, close)
        size = high - low
        scale = 1.0 / size if size > NOTHING * close else 0.0
        out[0, i] = (close - opened) / opened
        out[1, i] = size / opened
        out[2, i] = (close - opened) * scale
        out[3, i] = (high - top) / opened
        out[4, i] = (high - top) * scale
        out[5, i] = (bottom - low) / opened
        out[6, i] = (bottom - low) * scale
        shift = (close - low) - (high - close)
        out[7, i] = shift / opened
        out[8, i] = shift * scale
        out[9, i] = opened / close
        out[10, i] = high / close
        out[11, i] = low / close


@kernel(inputs=["adj_high", "adj_low", "adj_close", "vwap", "close"])
def average_price(x, p, out):  # type: ignore[no-untyped-def]
    """Volume-weighted average price over the close, both as traded; of (high + low + close) / 3 where it is unknown."""
    for i in range(x.shape[1]):
        if np.isfinite(x[3, i]):
            out[0, i] = x[3, i] / x[4, i]
        else:
            out[0, i] = (x[0, i] + x[1, i] + x[2, i]) / 3.0 / x[2, i]
