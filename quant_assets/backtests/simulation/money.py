"""What fills and positions in a foreign currency are in the account's: the rates at which a simulation converted them.

Whatever is paid in full (shares, options, coins) is bought and sold at the rate of the time: what it earned is what it
brought at the rate of its exit less what it cost at the rate of its entry. Of futures, perpetuals and forex only
changes are paid: what they earned is the change in price, at the rate of the exit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_assets.backtests.market.history import History
from quant_assets.backtests.simulation.simulate import Outcome
from resources.exchange.layout import DUST, NOWHERE, Integers, Records

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Booked:
    """Fills in the currency of the account."""

    multiplier: Floats
    """By fill, account currency for one unit at a price of one: contract multiplier x the rate then."""

    realised: Floats
    """By fill, what the part of the position earned that it closed, after spread and slippage, before commission."""

    cost: dict[int, tuple[Integers, Floats]]
    """By number of a symbol that is paid in full in a foreign currency: the steps that book its fills, and what the
    position had cost after each (negative: what a short had brought)."""


def booked(outcome: Outcome, past: History) -> Booked:
    """What each fill was in the account's currency."""
    done = outcome.fills
    multiplier = done["factor"]
    realised, cost = done["realised"].copy(), {}
    foreign = [number for number, listing in enumerate(past.listings) if listing.paid and is_foreign(past, number)]
    if foreign and done.size:
        splits = _Splits(past)
        order = np.argsort(done["symbol"], kind="stable")
        ends = np.searchsorted(done["symbol"][order], np.arange(len(past.symbols) + 1))
        for number in foreign:
            mine = order[ends[number] : ends[number + 1]]
            if mine.size:
                earned, held = _traded(done[mine], multiplier[mine], splits.until(number, done["step"][mine]))
                closing = ~np.isnan(earned)
                realised[mine[closing]] = earned[closing]
                cost[number] = (done["booked"][mine], held)
    return Booked(multiplier, realised, cost)


def is_foreign(past: History, number: int) -> bool:
    """Whether a symbol is quoted in another currency than the account's."""
    return (past.listings[number].currency or past.currency) != past.currency


def last_multipliers(outcome: Outcome, past: History) -> dict[str, float]:
    """By symbol, account currency for one unit at a price of one as the history ends."""
    factor = outcome.log.factor
    values = factor[-1].tolist() if factor.size else [listing.multiplier for listing in past.listings]
    return dict(zip(past.symbols, values, strict=True))


class _Splits:
    """Products of splits by symbol and step."""

    def __init__(self, past: History) -> None:
        market = past.market
        rows = np.flatnonzero(market.rows["extra"] != NOWHERE)
        ratio = market.extras["split"][market.rows["extra"][rows]]
        self._rows, self._ratio = rows[ratio != 1.0], ratio[ratio != 1.0]
        self._symbol = market.rows["symbol"][self._rows]
        self._step = np.searchsorted(market.start, self._rows, side="right") - 1

    def until(self, number: int, steps: Integers) -> Floats:
        """The product of a symbol's splits up to and including each step."""
        mine = self._symbol == number
        product = np.append(1.0, np.cumprod(self._ratio[mine]))
        return np.asarray(product[np.searchsorted(self._step[mine], steps, side="right")], np.float64)


def _traded(done: Records, multiplier: Floats, split: Floats) -> tuple[Floats, Floats]:
    """By fill of one symbol, what it realised (NaN where it closed nothing), and what is held after it had cost."""
    realised, cost = np.full(done.size, np.nan), np.zeros(done.size)
    position = spent = 0.0
    units = done["side"] * done["quantity"] / split
    values = done["side"] * done["quantity"] * done["price"] * multiplier
    for place, (unit, value, ratio) in enumerate(zip(units.tolist(), values.tolist(), split.tolist(), strict=True)):
        if position * unit >= 0.0:
            position, spent = position + unit, spent + value
        else:
            closed = min(abs(unit), abs(position))
            released, brought = spent * closed / abs(position), -value * closed / abs(unit)
            realised[place] = brought - released
            turned = abs(unit) > abs(position)
            spent = value + brought if turned else spent - released
            position += unit
        if abs(position * ratio) < DUST:
            position = spent = 0.0
        cost[place] = spent
    return realised, cost
