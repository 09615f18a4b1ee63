"""TA-Lib's functions as features: its Python package, which releases the interpreter while it computes.

Measured against the polars plugin (polars_talib 0.2.1, over 100 symbols of 4,000 bars): 15 ns a bar against 95 for RSI,
19 against 65 for ADX, 25 against 37 for CCI, 13 against 24 for a candlestick pattern; the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

DIGITS = 10
"""Significant digits of the prices that TA-Lib is given.

Adjustment leaves the last bit of a price to chance, and TA-Lib compares exactly: without this, two closes at the same
price would count as a rise or a fall.
"""


@dataclass(frozen=True)
class TaLib:
    """An indicator of TA-Lib over whole columns.

    `output` picks one where it returns several. `over`: None leaves the value as it is; "close" divides it by the close
    (a difference of prices); "distance" gives close / value - 1 (a price).
    """

    function: str
    inputs: tuple[str, ...]
    output: int = 0
    over: Literal["close", "distance"] | None = None

    @cached_property
    def library(self) -> Any:
        """TA-Lib's own function."""
        import talib

        return getattr(talib._ta_lib, self.function)

    def values(self, columns: Mapping[str, np.ndarray], parameters: Mapping[str, Any]) -> np.ndarray:
        """The indicator of the columns by name, one value a bar; NaN or zero during TA-Lib's own warm-up."""
        result = self.library(*[columns[name] for name in self.inputs], **parameters)
        value = np.asarray(result[self.output] if isinstance(result, tuple) else result, dtype=np.float64)
        if self.over == "close":
            return value / columns["adj_close"]
        return columns["adj_close"] / value - 1.0 if self.over == "distance" else value

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns it needs."""
        return tuple(dict.fromkeys([*self.inputs, *(["adj_close"] if self.over else [])]))
