"""What a fill pays beyond the spread for its size and haste (fills rule 13). Resting limits never pay it.

Whatever a model says, spread and slippage together move a price by 10% at most (rule 15).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import Field

from resources.exchange.models.base import QUANTITY, VOLATILITY, VOLUME, Slippage


class NoSlippage(Slippage):
    """None."""

    name: ClassVar[str] = "none"
    reads_volatility: ClassVar[bool] = False

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        return 0.0

    def words(self) -> str:
        return "no slippage"


class FixedSlippage(Slippage):
    """The same share of the price for every fill."""

    name: ClassVar[str] = "fixed"
    reads_volatility: ClassVar[bool] = False

    bps: float = Field(default=2.0, ge=0, le=500, description="of the price")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        return float(p[0] * 1e-4)

    def words(self) -> str:
        return f"slippage of {self.bps:g} bps"


class VolumeShareSlippage(Slippage):
    """impact x share², share being this fill's part of the bar's volume.

    With the default, a fill of 10% of the volume pays 10 bps. Without a known volume (a quote) it pays nothing: there
    the quoted size limits what fills.

    Source: the model that zipline made common (VolumeShareSlippage, price impact 0.1).
    """

    name: ClassVar[str] = "volume_share"
    reads_volatility: ClassVar[bool] = False

    impact: float = Field(default=0.1, ge=0, le=10, description="fraction of the price for the whole volume")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        if not x[VOLUME] > 0.0:
            return 0.0
        share = x[QUANTITY] / x[VOLUME]
        return float(p[0] * share * share)

    def words(self) -> str:
        return f"slippage of {self.impact:g} times the square of the share of volume taken"


class SquareRootSlippage(Slippage):
    """coefficient x daily volatility x sqrt(quantity / volume of the bar).

    Meant for daily bars; on finer ones the volume is the bar's, so the same order counts as larger. `volatility`
    stands in until a symbol's own is known. Without a known volume (a quote) it is zero.

    Source: Tóth et al. (2011), "Anomalous Price Impact and the Critical Nature of Liquidity in Financial Markets",
    equation 1, whose coefficient is of order one.
    """

    name: ClassVar[str] = "square_root"
    reads_volatility: ClassVar[bool] = True

    coefficient: float = Field(default=1.0, ge=0, le=10, description="of order one")
    volatility: float = Field(default=0.02, ge=0, le=1, description="daily, until the symbol's own is known")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        if not x[VOLUME] > 0.0:
            return 0.0
        volatility = p[1] if math.isnan(x[VOLATILITY]) else x[VOLATILITY]
        return float(p[0] * volatility * math.sqrt(x[QUANTITY] / x[VOLUME]))

    def words(self) -> str:
        return f"slippage of {self.coefficient:g} daily volatilities times the root of the share of volume taken"
