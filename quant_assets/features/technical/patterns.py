"""Candlestick patterns: TA-Lib's, all 61. 100 is bullish, -100 bearish, 0 none; 80 a weaker form, 200 a confirmed one.

TA-Lib judges a candle's body and shadows against their running averages over the last 5 or 10 bars. Over prices of 36
bits (quant_assets.features.talib) these are exact, so that each pattern's look-back is TA-Lib's own and no bar more.
"""

from __future__ import annotations

from quant_assets.features.technical.library import OPEN_HIGH_LOW_CLOSE, indicator

BULLISH = (0.0, 100.0)
BEARISH = (-100.0, 0.0)
EITHER = (-100.0, 100.0)
CONFIRMED = (-200.0, 200.0)

_MEANING = {
    BULLISH: "100 where the pattern stands",
    BEARISH: "-100 where the pattern stands",
    EITHER: "100 where it is bullish, -100 where bearish",
    CONFIRMED: "100 where it is bullish, -100 where bearish, twice that where a later bar confirms it",
}

_TABLE = (
    ("2CROWS", "two_crows", 12, BEARISH, 0.0),
    ("3BLACKCROWS", "three_black_crows", 13, BEARISH, 0.0),
    ("3INSIDE", "three_inside", 12, EITHER, 0.0),
    ("3LINESTRIKE", "three_line_strike", 8, EITHER, 0.0),
    ("3OUTSIDE", "three_outside", 3, EITHER, 0.0),
    ("3STARSINSOUTH", "three_stars_in_the_south", 12, BULLISH, 0.0),
    ("3WHITESOLDIERS", "three_white_soldiers", 12, BULLISH, 0.0),
    ("ABANDONEDBABY", "abandoned_baby", 12, EITHER, 0.3),
    ("ADVANCEBLOCK", "advance_block", 12, BEARISH, 0.0),
    ("BELTHOLD", "belt_hold", 10, EITHER, 0.0),
    ("BREAKAWAY", "breakaway", 14, EITHER, 0.0),
    ("CLOSINGMARUBOZU", "closing_marubozu", 10, EITHER, 0.0),
    ("CONCEALBABYSWALL", "concealing_baby_swallow", 13, BULLISH, 0.0),
    ("COUNTERATTACK", "counterattack", 11, EITHER, 0.0),
    ("DARKCLOUDCOVER", "dark_cloud_cover", 11, BEARISH, 0.5),
    ("DOJI", "doji", 10, BULLISH, 0.0),
    ("DOJISTAR", "doji_star", 11, EITHER, 0.0),
    ("DRAGONFLYDOJI", "dragonfly_doji", 10, BULLISH, 0.0),
    ("ENGULFING", "engulfing", 2, EITHER, 0.0),
    ("EVENINGDOJISTAR", "evening_doji_star", 12, BEARISH, 0.3),
    ("EVENINGSTAR", "evening_star", 12, BEARISH, 0.3),
    ("GAPSIDESIDEWHITE", "gap_side_by_side_white_lines", 7, EITHER, 0.0),
    ("GRAVESTONEDOJI", "gravestone_doji", 10, BULLISH, 0.0),
    ("HAMMER", "hammer", 11, BULLISH, 0.0),
    ("HANGINGMAN", "hanging_man", 11, BEARISH, 0.0),
    ("HARAMI", "harami", 11, EITHER, 0.0),
    ("HARAMICROSS", "harami_cross", 11, EITHER, 0.0),
    ("HIGHWAVE", "high_wave", 10, EITHER, 0.0),
    ("HIKKAKE", "hikkake", 5, CONFIRMED, 0.0),
    ("HIKKAKEMOD", "modified_hikkake", 10, CONFIRMED, 0.0),
    ("HOMINGPIGEON", "homing_pigeon", 11, BULLISH, 0.0),
    ("IDENTICAL3CROWS", "identical_three_crows", 12, BEARISH, 0.0),
    ("INNECK", "in_neck", 11, BEARISH, 0.0),
    ("INVERTEDHAMMER", "inverted_hammer", 11, BULLISH, 0.0),
    ("KICKING", "kicking", 11, EITHER, 0.0),
    ("KICKINGBYLENGTH", "kicking_by_length", 11, EITHER, 0.0),
    ("LADDERBOTTOM", "ladder_bottom", 14, BULLISH, 0.0),
    ("LONGLEGGEDDOJI", "long_legged_doji", 10, BULLISH, 0.0),
    ("LONGLINE", "long_line", 10, EITHER, 0.0),
    ("MARUBOZU", "marubozu", 10, EITHER, 0.0),
    ("MATCHINGLOW", "matching_low", 6, BULLISH, 0.0),
    ("MATHOLD", "mat_hold", 14, BULLISH, 0.5),
    ("MORNINGDOJISTAR", "morning_doji_star", 12, BULLISH, 0.3),
    ("MORNINGSTAR", "morning_star", 12, BULLISH, 0.3),
    ("ONNECK", "on_neck", 11, BEARISH, 0.0),
    ("PIERCING", "piercing", 11, BULLISH, 0.0),
    ("RICKSHAWMAN", "rickshaw_man", 10, BULLISH, 0.0),
    ("RISEFALL3METHODS", "rising_falling_three_methods", 14, EITHER, 0.0),
    ("SEPARATINGLINES", "separating_lines", 11, EITHER, 0.0),
    ("SHOOTINGSTAR", "shooting_star", 11, BEARISH, 0.0),
    ("SHORTLINE", "short_line", 10, EITHER, 0.0),
    ("SPINNINGTOP", "spinning_top", 10, EITHER, 0.0),
    ("STALLEDPATTERN", "stalled", 12, BEARISH, 0.0),
    ("STICKSANDWICH", "stick_sandwich", 7, BULLISH, 0.0),
    ("TAKURI", "takuri", 10, BULLISH, 0.0),
    ("TASUKIGAP", "tasuki_gap", 7, EITHER, 0.0),
    ("THRUSTING", "thrusting", 11, BEARISH, 0.0),
    ("TRISTAR", "tristar", 12, EITHER, 0.0),
    ("UNIQUE3RIVER", "unique_three_river", 12, BULLISH, 0.0),
    ("UPSIDEGAP2CROWS", "upside_gap_two_crows", 12, BEARISH, 0.0),
    ("XSIDEGAP3METHODS", "gap_three_methods", 2, EITHER, 0.0),
)
"""TA-Lib's name without CDL, the name here, the look-back, the values it can have, and how far it must reach back into
an earlier body (0: no such parameter)."""

PATTERNS = tuple(
    indicator(
        "patterns", f"cdl_{name}", f"{name.replace('_', ' ').capitalize()}: {_MEANING[bounds]}", f"CDL{function}",
        OPEN_HIGH_LOW_CLOSE, {"penetration": reach} if reach else {}, lookback, bounds,
        source="Nison (1991), Japanese Candlestick Charting Techniques",
    )
    for function, name, lookback, bounds, reach in _TABLE
)  # fmt: skip
