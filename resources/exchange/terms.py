"""The account's terms as compiled code takes them, and what is known of each instrument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from resources.config import BacktestSettings

_BPS = 1e-4


class Terms(NamedTuple):
    """Costs and limits of the account. Rates are fractions, per year where they are carrying costs."""

    half_spread: float
    slippage: float
    per_share: float
    minimum: float
    borrow: float
    interest: float
    participation: float
    max_gross: float
    touch: bool
    shrink: bool


def terms(settings: BacktestSettings) -> Terms:
    """The terms that the configuration describes."""
    return Terms(
        half_spread=settings.half_spread_bps * _BPS,
        slippage=settings.slippage_bps * _BPS,
        per_share=settings.commission_per_share,
        minimum=settings.commission_minimum,
        borrow=settings.borrow_bps_per_year * _BPS,
        interest=settings.financing_bps_per_year * _BPS,
        participation=settings.participation,
        max_gross=settings.max_gross,
        touch=settings.limit_touch_fills,
        shrink=settings.shrink_to_cash,
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """Lot and tick of an instrument. Without a tick (0.0) prices are continuous: what is not known is not rounded."""

    lot: float = 1.0
    tick: float = 0.0
