"""TA-Lib's functions as features of this group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from quant_assets.features.definition import UNBOUNDED, Feature
from quant_assets.features.talib import TaLib

CLOSE = ("adj_close",)
OPEN_CLOSE = ("adj_open", "adj_close")
HIGH_LOW = ("adj_high", "adj_low")
HIGH_LOW_CLOSE = (*HIGH_LOW, "adj_close")
OPEN_HIGH_LOW_CLOSE = ("adj_open", *HIGH_LOW_CLOSE)


def indicator(
    family: str,
    name: str,
    what: str,
    function: str,
    inputs: tuple[str, ...],
    parameters: Mapping[str, int | float],
    lookback: int,
    bounds: tuple[float, float] = UNBOUNDED,
    *,
    output: int = 0,
    over: Literal["close", "distance", "below"] | None = None,
    still: int = 0,
    source: str = "",
) -> Feature:
    """A feature that TA-Lib's function gives; TA-Lib stands in its source, after who thought of it."""
    found = f"{source}; TA-Lib {function}" if source else f"TA-Lib {function}"
    build = TaLib(function, inputs, output, over)
    return Feature(name, family, what, build, parameters, lookback=lookback, bounds=bounds, still=still, source=found)
