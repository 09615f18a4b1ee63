"""Brokers' published price lists as commissions. Prices change: each docstring says where and when its own were read.

Tiers by the volume of the last 30 days are taken by calendar month (UTC), over all that the account trades.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from resources.exchange.models.base import (
    ACCRUED,
    CHARGED,
    MAKER,
    MONTH_NOTIONAL,
    MONTH_UNITS,
    MULTIPLIER,
    ORDER_NOTIONAL,
    ORDER_UNITS,
    PRICE,
    QUANTITY,
    SIDE,
    Commission,
)
from resources.exchange.models.commission import Bps, MakerTaker, PerContract, PerShare

FOREVER = 1e300

ALPACA_CRYPTO = (
    (100e3, 15e-4, 25e-4),
    (500e3, 12e-4, 22e-4),
    (1e6, 10e-4, 20e-4),
    (10e6, 8e-4, 18e-4),
    (25e6, 5e-4, 15e-4),
    (50e6, 2e-4, 13e-4),
    (100e6, 2e-4, 12e-4),
    (FOREVER, 0.0, 10e-4),
)
"""Worth traded in the month up to which the row holds, maker's and taker's share."""

IB_TIERED = ((300e3, 0.0035), (3e6, 0.002), (20e6, 0.0015), (100e6, 0.001), (FOREVER, 0.0005))
"""Shares traded in the month up to which the rate holds, USD a share."""


class Alpaca(Commission):
    """US equities at Alpaca: no commission; on sells what the regulators take, as the broker passes it on.

    SEC fee on the worth of sells, FINRA trading activity fee on the shares sold, up to a maximum an order. The
    Consolidated Audit Trail's fee ($0.000053 a share or less) and rounding up to the cent are left out.

    The defaults are those in force from May 2024 to May 2025. Both fees are set anew about every year, the SEC's has
    been between 0 and 27.80 since 2021: check. Source: alpaca.markets/support/regulatory-fees, as published in 2025.
    """

    name: ClassVar[str] = "alpaca"

    sec_per_million: float = Field(default=27.80, ge=0, le=1000, description="USD for a million sold")
    taf_per_share: float = Field(default=0.000166, ge=0, le=1, description="USD a share sold")
    taf_maximum: float = Field(default=8.30, ge=0, le=1000, description="USD an order")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        if x[SIDE] > 0.0:
            return 0.0
        before = min(x[ACCRUED], p[2])  # the second fee, which has a maximum
        x[ACCRUED] += p[1] * x[QUANTITY]
        sold = abs(x[PRICE]) * x[QUANTITY] * x[MULTIPLIER]
        return float(x[CHARGED] + (p[0] * 1e-6 * sold + (min(x[ACCRUED], p[2]) - before)))

    def words(self) -> str:
        return (
            f"none; sells pay {self.sec_per_million:g} a million (SEC) and {self.taf_per_share:g} a share, at most "
            f"{self.taf_maximum:g} (FINRA)"
        )


class AlpacaCrypto(Commission):
    """Crypto at Alpaca: maker and taker shares in eight tiers, from 0.15% and 0.25% down to 0% and 0.10%.

    A fill's tier is that of the month before it. The broker takes the fee out of what is received; here it is taken
    from cash.

    Source: alpaca.markets/support/crypto-maker-taker-gmt-faq, in force from 2023-03-13.
    """

    name: ClassVar[str] = "alpaca_crypto"

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        rate = 0.0
        for limit, maker, taker in ALPACA_CRYPTO:
            if x[MONTH_NOTIONAL] < limit:
                rate = maker if x[MAKER] > 0.5 else taker
                break
        return float(x[CHARGED] + rate * abs(x[PRICE]) * x[QUANTITY] * x[MULTIPLIER])

    def words(self) -> str:
        return "Alpaca's for crypto: 25 bps, 15 bps where an order rested, less by the month's volume"


class IbFixed(PerShare):
    """US equities at Interactive Brokers, fixed: 0.005 USD a share, at least 1 USD, at most 1% of the order's worth.

    Exchange fees are included; the regulators' fees on sells are left out.
    Source: interactivebrokers.com, commissions for stocks, IBKR Pro fixed, as published in 2024.
    """

    name: ClassVar[str] = "ib_fixed"

    maximum_share: float = Field(default=0.01, gt=0, le=1, description="of the order's worth; it beats the minimum")


class IbTiered(Commission):
    """US equities at Interactive Brokers, tiered: 0.0035 USD a share, less beyond 300,000 shares a month.

    At least 0.35 USD, at most 1% of the order's worth. On top of it the fees of clearing (0.0002 USD a share) and of
    the exchange: 0.003 USD a share is the most that US rules let an exchange take (Regulation NMS, rule 610), and is
    charged to resting orders too, whose rebates are left out. So are the regulators' fees on sells.

    Source: interactivebrokers.com, commissions for stocks, IBKR Pro tiered, as published in 2024.
    """

    name: ClassVar[str] = "ib_tiered"

    minimum: float = Field(default=0.35, ge=0, le=1000, description="USD an order")
    maximum_share: float = Field(default=0.01, gt=0, le=1, description="of the order's worth; it beats the minimum")
    exchange_per_share: float = Field(default=0.003, ge=0, le=1, description="USD, exchange")
    clearing_per_share: float = Field(default=0.0002, ge=0, le=1, description="USD, clearing")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        # What the broker itself has charged; the others' fees have no minimum and no maximum.
        before = min(max(x[ACCRUED], p[0]), p[1] * x[ORDER_NOTIONAL])
        worth = x[ORDER_NOTIONAL] + abs(x[PRICE]) * x[QUANTITY] * x[MULTIPLIER]
        at = x[MONTH_UNITS]
        end = at + x[QUANTITY]
        for limit, rate in IB_TIERED:
            if at < limit:
                here = min(end, limit)
                x[ACCRUED] += rate * (here - at)
                at = here
                if at >= end:
                    break
        now = min(max(x[ACCRUED], p[0]), p[1] * worth)
        return float(x[CHARGED] + ((now - before) + (p[2] + p[3]) * x[QUANTITY]))

    def words(self) -> str:
        return (
            f"Interactive Brokers' tiers, from 0.0035 a share, at least {self.minimum:g} an order, and "
            f"{self.exchange_per_share + self.clearing_per_share:g} a share for exchange and clearing"
        )


class IbFutures(PerContract):
    """US futures at Interactive Brokers: 0.85 USD a contract, and 1.40 USD for exchange and regulator.

    The second is about what CME takes for an E-mini; it differs by contract: set `per_contract` to the sum of both.
    Source: interactivebrokers.com, commissions for futures, as published in 2024 (0.85 up to 1,000 contracts a month).
    """

    name: ClassVar[str] = "ib_futures"

    per_contract: float = Field(default=2.25, ge=0, le=1000, description="USD a contract, all fees included")


class IbOptions(Commission):
    """US options at Interactive Brokers: by premium 0.25, 0.50 (from 0.05) or 0.65 USD (from 0.10) a contract.

    At least 1 USD an order, and `fees_per_contract` on top of it for clearing (0.02) and regulation (0.02685). Exchange
    fees, which depend on route and side, are left out; months beyond 10,000 contracts would be cheaper. The premium is
    that of each fill.

    Source: interactivebrokers.ca/en/pricing/commissions-options.php, as published in 2024.
    """

    name: ClassVar[str] = "ib_options"

    minimum: float = Field(default=1.0, ge=0, le=1000, description="USD an order")
    fees_per_contract: float = Field(default=0.04685, ge=0, le=10, description="USD, clearing and regulation")

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        before = max(x[ACCRUED], p[0]) if x[ORDER_UNITS] > 0.0 else 0.0
        # Binary rounding must not put a premium of 0.10 below 0.10.
        premium = abs(x[PRICE]) + 1e-9
        rate = 0.25
        if premium >= 0.10:
            rate = 0.65
        elif premium >= 0.05:
            rate = 0.50
        x[ACCRUED] += rate * x[QUANTITY]
        return float(x[CHARGED] + ((max(x[ACCRUED], p[0]) - before) + p[1] * x[QUANTITY]))

    def words(self) -> str:
        return (
            f"Interactive Brokers' for options: up to 0.65 a contract, at least {self.minimum:g} an order, and "
            f"{self.fees_per_contract:g} a contract for clearing and regulation"
        )


class IbForex(Bps):
    """Spot currencies at Interactive Brokers: 0.2 bps, at least 2 USD an order. Cheaper beyond 1 bn USD a month.

    The minimum counts in the instrument's currency, as every amount of a commission does: set it to 2 USD's worth
    for pairs that are not quoted in dollars.
    Source: interactivebrokers.com, commissions for spot currencies, as published in 2024.
    """

    name: ClassVar[str] = "ib_forex"

    bps: float = Field(default=0.2, ge=0, le=1000, description="of the order's worth")
    minimum: float = Field(default=2.0, ge=0, le=100_000, description="an order")


class BinanceSpot(MakerTaker):
    """Spot at Binance, regular users: 0.1% for makers and takers alike. 7.5 bps each where fees are paid in BNB.

    The exchange takes the fee out of what is received; here it is taken from cash.
    Source: binance.com/en/fee/trading, regular user, as published in 2025.
    """

    name: ClassVar[str] = "binance_spot"


class BinanceFutures(MakerTaker):
    """USDT-margined perpetuals and futures at Binance, regular users: 0.02% for makers, 0.05% for takers.

    Source: binance.com/en/fee/futureFee, regular user, as published in 2025.
    """

    name: ClassVar[str] = "binance_futures"

    maker_bps: float = Field(default=2.0, ge=-100, le=1000, description="of fills that rested")
    taker_bps: float = Field(default=5.0, ge=-100, le=1000, description="of all other fills")
