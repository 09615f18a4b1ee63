"""How much equity a position ties up (fills rule 18): a fill that would need more than there is is rejected.

Checked when a fill adds to what is needed. There are no margin calls: a loss alone closes nothing.
"""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple

from pydantic import Field

from resources.exchange.models.base import Named

SHORT_OPTION = 8.0
"""Premiums that a short option is taken to need. See `OptionShort`."""

CONTRACT = re.compile(r"(.+?)[FGHJKMNQUVXZ]\d{1,4}")
"""The root of a future's symbol, its month letter and year: ESM4, CLZ24."""


class Requirement(NamedTuple):
    """units x (per_unit + rate x worth of a unit), in the instrument's currency; the rate is that of the side held."""

    long_rate: float
    short_rate: float
    per_unit: float = 0.0


class Margin(Named):
    """How much equity a position ties up."""

    def requirement(self, symbol: str, asset_class: str) -> Requirement:
        """What a unit of the symbol needs."""
        raise NotImplementedError


def _short(asset_class: str, rate: float) -> float:
    """The rate of a short position: an option's price says little of what a short can lose."""
    return SHORT_OPTION if asset_class == "option" else rate


class CashMargin(Margin):
    """Every position needs its whole worth, long or short; a short option needs 8 premiums (`option_short`)."""

    name: ClassVar[str] = "cash"

    def requirement(self, symbol: str, asset_class: str) -> Requirement:
        """The whole worth."""
        return Requirement(1.0, _short(asset_class, 1.0))

    def words(self) -> str:
        return "its whole worth"


class RegulationT(Margin):
    """Half of the worth of equities, long and short; everything else as with `cash`.

    Initial margin only: a position is never closed because its maintenance margin (25% long, 30% short at FINRA) is
    gone. A short needs 150% of its worth, 100% of which are the proceeds of its own sale.

    Source: Federal Reserve Regulation T, 12 CFR 220.12.
    """

    name: ClassVar[str] = "reg_t"

    initial: float = Field(default=0.5, gt=0, le=1, description="share of the worth")

    def requirement(self, symbol: str, asset_class: str) -> Requirement:
        """Half of an equity's worth."""
        rate = self.initial if asset_class == "equity" else 1.0
        return Requirement(rate, _short(asset_class, rate))

    def words(self) -> str:
        return f"{self.initial:.0%} of its worth (equities; others the whole)"


class FuturesMargin(Margin):
    """An amount for each contract, by symbol (ESM4) or root (ES), else a share of its worth.

    An instrument's own margin, where the instruments table has one, goes before it.
    """

    name: ClassVar[str] = "futures"

    per_contract: dict[str, float] = Field(default_factory=dict, description="symbol or root: amount a contract")
    share: float = Field(default=0.1, gt=0, le=1, description="of the worth of contracts that are not named")

    def requirement(self, symbol: str, asset_class: str) -> Requirement:
        """The amount named for the symbol or its root, else the share."""
        root = CONTRACT.fullmatch(symbol)
        for name in (symbol, root[1] if root else symbol):
            if name in self.per_contract:
                return Requirement(0.0, 0.0, self.per_contract[name])
        return Requirement(self.share, self.share)

    def words(self) -> str:
        return f"an amount for each contract, or {self.share:.0%} of its worth"


class LeverageMargin(Margin):
    """1 / leverage of the worth: forex and crypto derivatives. Short options need 8 premiums (`option_short`)."""

    name: ClassVar[str] = "leverage"

    leverage: float = Field(default=2.0, ge=1, le=500)

    def requirement(self, symbol: str, asset_class: str) -> Requirement:
        """Worth / leverage."""
        return Requirement(1.0 / self.leverage, _short(asset_class, 1.0 / self.leverage))

    def words(self) -> str:
        return f"1/{self.leverage:g} of its worth"


class OptionShort(Margin):
    """Long options are paid in full; a short one needs a number of times its premium. An approximation.

    Exchanges ask for the premium plus 20% of the underlying less what the option is out of the money (at least 10%).
    That needs the underlying's price; here only the option's is known. Eight premiums come near the rule at the money,
    one month out, at 25% volatility (premium 2.9% of the underlying, so 1 + 20 / 2.9 = 7.9 premiums). They are too
    little far out of the money and for short-dated options, too much deep in the money and for long-dated ones.

    Source of the rule: Cboe Rule 10.3, as in the Cboe Margin Manual (2000).
    """

    name: ClassVar[str] = "option_short"

    premiums: float = Field(default=SHORT_OPTION, ge=1, le=1000, description="times the premium, for shorts")

    def requirement(self, symbol: str, asset_class: str) -> Requirement:
        """The premium when long, so many premiums when short."""
        return Requirement(1.0, self.premiums)

    def words(self) -> str:
        return f"its whole premium, and {self.premiums:g} premiums when short"
