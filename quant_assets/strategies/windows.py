"""The features of the catalogue that strategies look up by their window."""

from __future__ import annotations

import re

from quant_assets.features.groups import ALL

CLOSE_TO_SMA = "sma_ratio_{}"
"""close / mean of the last n closes - 1."""

RETURN = "return_{}"
"""close / close n sessions before - 1."""

BREAKOUT = "breakout_{}"
"""Place of the close in the channel of the n sessions before: above 1 over its highest high, below 0 under its low."""

RSI = "rsi_{}"
"""Wilder's relative strength index of n sessions, 0 to 100."""

VOLATILITY = "volatility_{}"
"""Standard deviation of the last n log returns, per session."""

CORRELATION = "average_correlation_63"
"""Mean correlation of all pairs of symbols over 63 sessions."""

CLOSE = "adj_close"
"""Adjusted close, which the panel has beside its features. Factors accumulate forward, so it is never rewritten."""


def check_window(feature: str, parameter: str, window: int) -> None:
    """Raise ValueError, listing the windows there are, where the catalogue lacks the feature for `window`."""
    pattern = re.compile(feature.format(r"(\d+)"))
    offered = sorted(int(found[1]) for name in ALL.names if (found := pattern.fullmatch(name)))
    if window not in offered:
        raise ValueError(
            f"{parameter} {window}: the feature catalogue has no {feature.format(window)}; use one of {offered}"
        )
