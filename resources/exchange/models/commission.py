"""What the broker takes (fills rule 14), in the instrument's currency. Published price lists are in `presets`.

Minimums and maximums are per order, over all of its fills: a minimum is charged once, by the first fill, and used up by
those that follow. What a fill adds depends on nothing that comes after it, and on other orders only through the month.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from resources.exchange.models.base import (
    ACCRUED,
    CHARGED,
    MAKER,
    MONTH_NOTIONAL,
    MONTH_UNITS,
    MULTIPLIER,
    ORDER_NOTIONAL,
    PARAMETERS,
    PRICE,
    QUANTITY,
    RATE,
    Commission,
)

NEVER = 1e300
"""More than anyone trades in a month: the limit of the last tier."""


class NoCommission(Commission):
    """None."""

    name: ClassVar[str] = "none"

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        return 0.0

    def words(self) -> str:
        return "none"


class PerShare(Commission):
    """per_share x units, at least `minimum` an order, and never more than `maximum_share` of what was traded."""

    name: ClassVar[str] = "per_share"

    per_share: float = Field(default=0.005, ge=0, le=10, description="a unit")
    minimum: float = Field(default=1.0, ge=0, le=1000, description="an order")
    maximum_share: float = Field(default=1.0, gt=0, le=1, description="of the order's worth; it beats the minimum")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        x[ACCRUED] += p[0] * x[QUANTITY]
        worth = x[ORDER_NOTIONAL] + abs(x[PRICE]) * x[QUANTITY] * x[MULTIPLIER]
        return float(min(max(x[ACCRUED], p[1]), p[2] * worth))

    def words(self) -> str:
        return f"{self.per_share:g} a share, at least {self.minimum:g} an order" + (
            f", at most {self.maximum_share:.2%} of it" if self.maximum_share < 1 else ""
        )


class PerOrder(Commission):
    """The same amount for every order that fills at all."""

    name: ClassVar[str] = "per_order"

    amount: float = Field(default=1.0, ge=0, le=1000, description="an order")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        return float(p[0])

    def words(self) -> str:
        return f"{self.amount:g} an order"


class PerContract(Commission):
    """An amount for each contract of a future or option, at least `minimum` an order."""

    name: ClassVar[str] = "per_contract"

    per_contract: float = Field(default=0.85, ge=0, le=1000, description="a contract")
    minimum: float = Field(default=0.0, ge=0, le=1000, description="an order")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        x[ACCRUED] += p[0] * x[QUANTITY]
        return float(max(x[ACCRUED], p[1]))

    def words(self) -> str:
        return f"{self.per_contract:g} a contract, at least {self.minimum:g} an order"


class Bps(Commission):
    """A share of what was traded, at least `minimum` an order."""

    name: ClassVar[str] = "bps"

    bps: float = Field(default=10.0, ge=0, le=1000, description="of price x units x multiplier")
    minimum: float = Field(default=0.0, ge=0, le=1000, description="an order")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        x[ACCRUED] += p[0] * 1e-4 * abs(x[PRICE]) * x[QUANTITY] * x[MULTIPLIER]
        return float(max(x[ACCRUED], p[1]))

    def words(self) -> str:
        return f"{self.bps:g} bps, at least {self.minimum:g} an order"


class MakerTaker(Commission):
    """A share of each fill's worth: one for orders that rested in the book, one for those that took from it.

    Negative maker_bps is a rebate.
    """

    name: ClassVar[str] = "maker_taker"

    maker_bps: float = Field(default=10.0, ge=-100, le=1000, description="of fills that rested")
    taker_bps: float = Field(default=10.0, ge=-100, le=1000, description="of all other fills")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        rate = p[0] if x[MAKER] > 0.5 else p[1]
        return float(x[CHARGED] + rate * 1e-4 * abs(x[PRICE]) * x[QUANTITY] * x[MULTIPLIER])

    def words(self) -> str:
        rested = "" if self.maker_bps == self.taker_bps else f", {self.maker_bps:g} bps where an order rested"
        return f"{self.taker_bps:g} bps{rested}"


class Tiered(Commission):
    """Rates that fall with what the account has traded in the calendar month (UTC), over all symbols.

    by: units     rates are amounts a unit, limits are units of the month
    by: notional  rates are bps, limits are worth of the month in account currency

    Up to three tiers, and one limit fewer: rates [0.0035, 0.002] with limits [300000] charge 0.0035 a share up to
    300,000 shares and 0.002 beyond. Each rate holds for what lies in its own tier, so a fill that crosses a limit pays
    both; what lies in which is known as it fills. At least `minimum` an order.
    """

    name: ClassVar[str] = "tiered"

    by: Literal["units", "notional"] = "units"
    rates: tuple[float, ...] = Field(min_length=1, max_length=3)
    limits: tuple[float, ...] = Field(default=(), max_length=2)
    minimum: float = Field(default=0.0, ge=0, le=1000, description="an order")

    @model_validator(mode="after")
    def _in_order(self) -> Tiered:
        if len(self.limits) != len(self.rates) - 1:
            raise ValueError(f"{len(self.rates)} rates need {len(self.rates) - 1} limits, got {list(self.limits)}")
        if list(self.limits) != sorted(set(self.limits)) or (self.limits and self.limits[0] <= 0):
            raise ValueError(f"limits must be above zero and rise, got {list(self.limits)}")
        return self

    @property
    def parameters(self) -> npt.NDArray[np.float64]:
        """by (1.0: notional), minimum, three rates, two limits; tiers that do not exist repeat the last rate."""
        missing = 3 - len(self.rates)
        rates = [*self.rates, *[self.rates[-1]] * missing]
        limits = [*self.limits, *[NEVER] * missing]
        scale = 1e-4 if self.by == "notional" else 1.0
        values = [float(self.by == "notional"), self.minimum, *(scale * rate for rate in rates), *limits]
        return np.array(values + [0.0] * (PARAMETERS - len(values)))

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        mine, before, unit = x[QUANTITY], x[MONTH_UNITS], 1.0
        if p[0] > 0.5:
            mine, before, unit = abs(x[PRICE]) * x[QUANTITY] * x[MULTIPLIER] * x[RATE], x[MONTH_NOTIONAL], x[RATE]
        in_first = max(min(before + mine, p[5]) - before, 0.0)
        in_last = max(before + mine - max(before, p[6]), 0.0)
        x[ACCRUED] += (p[2] * in_first + p[3] * (mine - in_first - in_last) + p[4] * in_last) / unit
        return float(max(x[ACCRUED], p[1]))

    def words(self) -> str:
        rates, unit = ", then ".join(f"{rate:g}" for rate in self.rates), "bps" if self.by == "notional" else "a unit"
        return f"{rates} {unit} by what was traded in the month, at least {self.minimum:g} an order"
