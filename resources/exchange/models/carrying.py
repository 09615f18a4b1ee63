"""What holding a position costs by the time that passes (fills rule 14): borrowed shares, and funding of perpetuals."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from resources.exchange.models.base import Named


class Borrow(Named):
    """What borrowed units cost. Shorts pay it on their worth, by calendar days."""

    def rate(self, symbol: str) -> float:
        """Fraction of the worth a year."""
        raise NotImplementedError


class FixedBorrow(Borrow):
    """The same rate for every symbol."""

    name: ClassVar[str] = "fixed"

    bps_per_year: float = Field(default=50.0, ge=0, le=100_000)

    def rate(self, symbol: str) -> float:
        """Fraction of the worth a year."""
        return self.bps_per_year * 1e-4

    def words(self) -> str:
        return f"{self.bps_per_year:g} bps a year"


class BorrowBySymbol(Borrow):
    """A rate for each symbol, and a default for the others."""

    name: ClassVar[str] = "by_symbol"

    rates: dict[str, float] = Field(default_factory=dict, description="symbol: bps a year")
    default: float = Field(default=50.0, ge=0, le=100_000, description="bps a year")

    def rate(self, symbol: str) -> float:
        """Fraction of the worth a year."""
        return self.rates.get(symbol, self.default) * 1e-4

    def words(self) -> str:
        return f"{self.default:g} bps a year (other rates for {len(self.rates)} symbols)"


class Funding(Named):
    """What a long position in a perpetual pays, and a short one receives. Negative rates: the short pays.

    The bars' column serves other carry too, such as the difference of two currencies' interest rates.
    """

    reads_column: ClassVar[bool] = False
    """Whether the bars' `funding` column is charged: at a bar's open, as a fraction of the position's worth."""

    def per_8h(self, symbol: str) -> float:
        """Fraction of the worth that passes in each 8 hours, besides what the column says."""
        raise NotImplementedError


class NoFunding(Funding):
    """None, whatever the bars say."""

    name: ClassVar[str] = "none"

    def per_8h(self, symbol: str) -> float:
        """Zero."""
        return 0.0

    def words(self) -> str:
        return "perpetuals pay no funding"


class ColumnFunding(Funding):
    """The rates in the bars' `funding` column, each when it was paid; nothing where there is no such column."""

    name: ClassVar[str] = "column"
    reads_column: ClassVar[bool] = True

    def per_8h(self, symbol: str) -> float:
        """Zero: all of it is in the column."""
        return 0.0

    def words(self) -> str:
        return "the funding that comes with the bars"


class FixedFunding(Funding):
    """The same rate all the time, in perpetuals only. 1 bp is the interest part of Binance's and others' rates."""

    name: ClassVar[str] = "fixed"

    bps_per_8h: float = Field(default=1.0, ge=-500, le=500)

    def per_8h(self, symbol: str) -> float:
        """Fraction of the worth that passes in each 8 hours."""
        return self.bps_per_8h * 1e-4

    def words(self) -> str:
        return f"perpetuals pay {self.bps_per_8h:g} bps each 8 hours"
