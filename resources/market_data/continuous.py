"""A continuous series of a future: one contract after the other, back-adjusted. Pure.

Contracts end, and at a roll the next one trades at another price though nobody gained or lost by it. So the prices
before a roll are multiplied by new close / old close of the last session in the old contract (and by the factors of all
later rolls): returns are then what a holder who rolled at that close earned, and the last contract's prices are as
traded. Each later roll changes the levels before it: use returns or ratios of the series, or its own `rolls`, never a
level of the past as if it had been seen then. Volumes are each contract's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from resources.errors import NoDataError
from resources.market_data.base import PRICES, ROLLS, Continuous


@dataclass(frozen=True, slots=True)
class Held:
    """A contract and the sessions, both included, that the series takes from it."""

    symbol: str
    first: date
    last: date


def held(contracts: Sequence[tuple[str, date]], days: Sequence[date], start: date, end: date, ahead: int) -> list[Held]:
    """Which contract is held when, from `start` to `end`.

    `contracts`: symbol and last trading day; `days`: the sessions from before `start` to the last contract's end.
    A contract is left `ahead` sessions before its last one. Raises NoDataError if no contract lasts until `end`.
    """
    found: list[Held] = []
    wanted = [day for day in days if start <= day <= end]
    for symbol, expiry in sorted(contracts, key=lambda each: each[1]):
        alive = [day for day in days if day <= expiry]
        if not wanted or len(alive) <= ahead or alive[-1 - ahead] < wanted[0]:
            continue
        last = min(alive[-1 - ahead], wanted[-1])
        found.append(Held(symbol, wanted[0], last))
        wanted = [day for day in wanted if day > last]
    if wanted or not found:
        raise NoDataError(f"no contract to hold from {wanted[0] if wanted else start} to {end}; choose other dates.")
    return found


def back_adjusted(name: str, parts: Sequence[Held], bars: Mapping[str, pl.DataFrame], calendar_zone: str) -> Continuous:
    """The series `name` of daily bars by symbol; each contract's must begin with the session before it is held.

    Raises NoDataError naming the contract and session where a close is missing at a roll.
    """
    dated = {
        symbol: frame.with_columns(session=pl.col("known_at").dt.convert_time_zone(calendar_zone).dt.date())
        for symbol, frame in bars.items()
    }
    rolls: list[tuple[Any, ...]] = []
    pieces: list[pl.DataFrame] = []
    factor = 1.0
    for at, part in reversed(list(enumerate(parts))):
        if at + 1 < len(parts):
            after = parts[at + 1].symbol
            step = _close(dated[after], after, part.last) / _close(dated[part.symbol], part.symbol, part.last)
            rolls.append((part.last, part.symbol, after, step))
            factor *= step
        piece = dated[part.symbol].filter(pl.col("session").is_between(part.first, part.last)).drop("session")
        pieces.append(piece.with_columns(pl.col(PRICES) * factor, symbol=pl.lit(name)))
    series = pl.concat(pieces[::-1]).lazy()
    return Continuous(series, pl.DataFrame(rolls[::-1], schema=ROLLS, orient="row"))


def _close(bars: pl.DataFrame, symbol: str, session: date) -> float:
    found = bars.filter(session=session)["close"]
    if found.is_empty():
        raise NoDataError(f"{symbol} {session}: no bar to roll at; roll on another day.")
    return float(found[0])
