"""What a cost model is: a few checked parameters, and a function of the facts of a fill that numba can compile.

A model's function has one signature, so that the exchange calls any model by its address, its own and a user's alike:

    cost(p, x) -> float
        p   the model's parameters, in the order of its fields: p[0] is the first
        x   the facts of the fill, at the places named below: x[PRICE], x[QUANTITY], …

It may use `math` and functions decorated with `numba.njit`, and must neither raise nor return NaN. Importing this
module does not load numba; the first `address` does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

(
    PRICE,
    QUANTITY,
    VOLUME,
    VOLATILITY,
    QUOTED,
    MAKER,
    ORDER_UNITS,
    ORDER_NOTIONAL,
    MONTH_UNITS,
    MONTH_NOTIONAL,
    MULTIPLIER,
    SIDE,
    CHARGED,
    ACCRUED,
    RATE,
) = range(15)
"""Places in `x`.

PRICE           before costs, in the instrument's currency
QUANTITY        units of this fill, positive
VOLUME          of the bar, units
VOLATILITY      daily standard deviation of the symbol's log returns, from closes before this bar; NaN until known
QUOTED          half of the last quoted spread, in price units; NaN without quotes
MAKER           1.0 where the order rested in the book as a limit, else 0.0
ORDER_UNITS     units of the same order filled before this fill, as splits since have restated them
ORDER_NOTIONAL  their |price| x quantity x multiplier, in the instrument's currency
MONTH_UNITS     units that the account has traded before this fill in its calendar month (UTC), of all symbols
MONTH_NOTIONAL  their worth in account currency
MULTIPLIER      of the contract
SIDE            +1.0 for a buy, -1.0 for a sell
CHARGED         commission that the same order was charged before this fill, in the instrument's currency
ACCRUED         a number of a commission's own that it keeps for each order, 0.0 before the first fill: the only place
                that may be written to
RATE            account currency per unit of the instrument's
"""
FACTS = 15
PARAMETERS = 8
"""The most parameters that a model's function may read."""


class Named(BaseModel):
    """A model of any kind. Fields are its parameters; `name` is what a configuration calls it.

    A class of your own needs no name: a configuration calls it `package.module:Class`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]

    def words(self) -> str:
        """What it amounts to, as a part of a sentence, for reports."""
        fields = ", ".join(f"{field} {value}" for field, value in self)
        return f"{type(self).__name__} ({fields})" if fields else type(self).__name__


class Model(Named):
    """A model whose cost is a function of the facts of a fill."""

    reads_volatility: ClassVar[bool] = True
    """False where `cost` never reads x[VOLATILITY], so that nobody needs to work it out for each bar."""

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        """The model's function, to be compiled; see the module's docstring."""
        raise NotImplementedError

    @property
    def parameters(self) -> npt.NDArray[np.float64]:
        """The numbers that `cost` reads as `p`: by default the fields, in their order."""
        values = [float(getattr(self, field)) for field in type(self).model_fields]
        return np.array(values + [0.0] * (PARAMETERS - len(values)))

    @property
    def address(self) -> int:
        """Where the machine code of `cost` is, compiled on first use and kept beside its source."""
        from resources.exchange.compiled import model_address

        return model_address(type(self).cost)


class Spread(Model):
    """`cost` is half of the bid-ask spread as a fraction of the price, zero or more. Market and stop fills pay it."""


class Slippage(Model):
    """`cost` is the slippage as a fraction of the price, zero or more. Resting limits never pay it."""


class Commission(Model):
    """`cost` is the WHOLE commission of the order after this fill, in the instrument's currency.

    The fill is charged the difference to what its order was charged before (x[CHARGED]); where that is negative it is a
    rebate. So that later splits, months, rates of conversion and other orders never change what a fill before them
    cost, each fill is priced by itself: added to x[CHARGED], or, under a minimum or maximum an order, to x[ACCRUED],
    which the order keeps:

        x[ACCRUED] += p[0] * x[QUANTITY]
        return max(x[ACCRUED], p[1])
    """

    reads_volatility: ClassVar[bool] = False
