"""What whoever submits orders in a backtest can know: last closes, conversion rates and equity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resources.exchange.layout import NOWHERE, Floats, Records
from resources.exchange.words import CLOSED, EQUITY, EQUITY_BEFORE

if TYPE_CHECKING:
    from quant_assets.backtests.market.history import History
    from resources.exchange.venue import Venue


@dataclass(frozen=True, slots=True)
class Known:
    """What can be known when orders are submitted."""

    close: Floats
    """Last close by symbol, NaN before the first."""
    factor: Floats
    """By symbol, what a price unit of one unit is worth in account currency."""
    equity: float


def known_at(venue: Venue, past: History, step: int, instant: int) -> Known:
    """What can be known at an instant between the step before and `step`."""
    desk, market = venue.desk, past.market
    symbols = desk.symbols
    opened = symbols["row"] != NOWHERE
    bars = market.rows[np.where(opened, symbols["row"], 0)]
    over = ~opened | (symbols["due"] >= symbols["serial"])
    # A bar that outlasts the step before ends as this one begins, just before its orders are received.
    ends = ~over & (bars["until"] <= market.opens[step])
    last = np.where(ends, bars["close"], symbols["mark"])
    ended = np.where(ends, bars["until"], symbols["closed"])
    close = np.where((over | ends) & (ended <= instant), last, symbols["before"])
    factor = _factor(past, symbols, instant)
    if max(int(desk.tally[CLOSED]), int(bars["until"][ends].max(initial=NOWHERE))) > instant:
        return Known(close, factor, float(desk.account[EQUITY_BEFORE]))
    here = symbols["position"] != 0.0
    held = symbols[here]
    # Of what is paid in full a conversion rate moves the whole worth, of contracts only what they gain.
    before = np.where(held["paid"] != 0, held["factor"], factor[here]) * held["mark"]
    gained = held["position"] * (factor[here] * last[here] - before)
    return Known(close, factor, float(desk.account[EQUITY] + gained.sum()))


def _factor(past: History, symbols: Records, instant: int) -> Floats:
    rates = past.market.rates
    known = rates[: np.searchsorted(rates["at"], instant, side="right")]
    factor: Floats = symbols["factor"].copy()
    for currency in np.unique(known["currency"]):
        theirs = symbols["currency"] == currency
        factor[theirs] = symbols["multiplier"][theirs] * known["rate"][known["currency"] == currency][-1]
    return factor
