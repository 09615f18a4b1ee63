"""Half of the bid-ask spread, which market and stop fills pay (fills rule 12)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import Field

from resources.exchange.models.base import PRICE, QUOTED, Spread


class FixedSpread(Spread):
    """The same share of the price for every fill."""

    name: ClassVar[str] = "fixed"
    reads_volatility: ClassVar[bool] = False

    half_bps: float = Field(default=1.0, ge=0, le=500, description="half of the spread, bps of the price")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        return float(p[0] * 1e-4)

    def words(self) -> str:
        return f"half a spread of {self.half_bps:g} bps"


class QuotedSpread(Spread):
    """Half of the last quoted spread (the bars' bid and ask); `half_bps` of the price where nothing was quoted."""

    name: ClassVar[str] = "quoted"
    reads_volatility: ClassVar[bool] = False

    half_bps: float = Field(default=1.0, ge=0, le=500, description="without quotes: half of the spread, bps")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        price = abs(x[PRICE])
        if math.isnan(x[QUOTED]) or price == 0.0:
            return float(p[0] * 1e-4)
        return float(x[QUOTED] / price)

    def words(self) -> str:
        return f"half of the quoted spread ({self.half_bps:g} bps where nothing was quoted)"
