"""Cycles in the price, found with Ehlers' Hilbert transform: their period, their phase, and the trend beside them.

TA-Lib's. Their memory is neither a window nor one average: the period that is found steers the filters that find it.
Measured instead, on calm and wild prices, in halts of 80 bars and after them: from a start 300 bars back the values
agree to 1e-5, from 400 to 1e-7, from 500 to 1e-10, and from 600 to the last bits. (Nothing is forgotten while a price
stands still: within the look-back after a halt of 330 bars they agree to 1e-6 only.) The phase itself (HT_DCPHASE) is
given by its sine and by the sine an eighth of a turn ahead, because it jumps from 315 degrees to -45.
"""

from __future__ import annotations

import math
from typing import Literal

from quant_assets.features.definition import UNBOUNDED
from quant_assets.features.technical.library import CLOSE, indicator

LOOKBACK = 560
"""Bars after which the start is forgotten to 1e-11."""

_ONE = (-1.0, 1.0)
_MAMA = {"fastlimit": 0.5, "slowlimit": 0.05}
_Row = tuple[str, str, str, int, Literal["close", "distance"] | None, dict[str, float], tuple[float, float]]
_TABLE: tuple[_Row, ...] = (
    ("cycle_period", "Dominant cycle period in sessions", "HT_DCPERIOD", 0, None, {}, (0.0, 50.0)),
    ("cycle_in_phase", "In-phase part of the cycle over the close", "HT_PHASOR", 0, "close", {}, UNBOUNDED),
    ("cycle_quadrature", "Quadrature part of the cycle over the close", "HT_PHASOR", 1, "close", {}, UNBOUNDED),
    ("cycle_sine", "Sine of the cycle's phase", "HT_SINE", 0, None, {}, _ONE),
    ("cycle_lead_sine", "Sine of the cycle's phase and 45 degrees", "HT_SINE", 1, None, {}, _ONE),
    ("cycle_trend_mode", "Trend mode: 1 in a trend, 0 in a cycle", "HT_TRENDMODE", 0, None, {}, (0.0, 1.0)),
    ("cycle_trendline_ratio", "Close over the instantaneous trendline, less 1", "HT_TRENDLINE", 0, "distance", {},
     (-1.0, math.inf)),
    ("mama_ratio", "Close over the MESA adaptive average, less 1", "MAMA", 0, "distance", _MAMA, (-1.0, 19.0)),
    ("fama_ratio", "Close over the average that follows MAMA, less 1", "MAMA", 1, "distance", _MAMA, (-1.0, math.inf)),
)  # fmt: skip

CYCLES = tuple(
    indicator(
        "cycle", name, what, function, CLOSE, parameters, LOOKBACK, bounds, output=output, over=over,
        source="Ehlers (2001), Rocket Science for Traders",
    )
    for name, what, function, output, over, parameters, bounds in _TABLE
)  # fmt: skip
