"""The seeded paths of the synthetic market: a market with regimes, and shares that follow it with minds of their own.

Every path begins on EPOCH and is drawn session by session, so that asking for a later end never changes what came
before, and a symbol is the same whatever else is asked for.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from resources.calendars import sessions

Floats = NDArray[np.float64]

EPOCH = date(1990, 1, 2)
CALENDAR = "XNYS"
SECTORS = ("Energy", "Financials", "Health Care", "Industrials", "Information Technology", "Utilities")
TICK = 0.01

REGIMES = (  # calm, nervous, crash: mean and standard deviation of the market's daily log return
    (0.0006, 0.007),
    (0.0000, 0.015),
    (-0.0060, 0.035),
)
STAY = ((0.985, 0.014, 0.001), (0.030, 0.955, 0.015), (0.020, 0.130, 0.850))
"""Probability of tomorrow's regime (column) given today's (row): a calm year, a nervous month, a week of crash."""

JUMP_CHANCE, JUMP_SIZE = 0.004, 0.07
DEAREST, CHEAPEST = 400.0, 3.0
"""Raw closes beyond these bring a split, or a reverse one, on the next session."""


@dataclass(frozen=True, slots=True)
class Path:
    """A share's sessions from its listing on, one value a session: raw prices to the cent, and what changed them."""

    first: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    split: Floats
    dividend: Floats
    volatility: Floats


@lru_cache(maxsize=8)
def calendar(end: date) -> pl.DataFrame:
    """Sessions from EPOCH to `end`: session, open, close."""
    return sessions(CALENDAR, EPOCH, end)


def generator(seed: int, *of: str | int) -> np.random.Generator:
    """A stream of random numbers for one purpose, the same on every machine."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) if isinstance(name, str) else name for name in of)])


@lru_cache(maxsize=8)
def market(seed: int, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Regime (0 calm, 1 nervous, 2 crash) and log return of the market on each of the first `count` sessions."""
    chance = generator(seed, "regime").random(count)
    edges = np.cumsum(np.array(STAY), axis=1)
    regimes = np.zeros(count, dtype=np.int64)
    for day in range(1, count):
        regimes[day] = min(int(np.searchsorted(edges[regimes[day - 1]], chance[day], side="right")), 2)
    mean, deviation = np.array(REGIMES).T
    return regimes, mean[regimes] + deviation[regimes] * generator(seed, "market").standard_normal(count)


@lru_cache(maxsize=1024)
def path(seed: int, symbol: str, end: date) -> Path:
    """The share's history up to `end`.

    Log return = beta * market + sector + own noise + jumps, each scaled by the market's regime; the dividend is taken
    out of the price on its ex-date. Prices are what was traded: a split divides them.
    """
    count = calendar(end).height
    regimes, of_market = market(seed, count)
    character = generator(seed, symbol, "character")
    beta, own, worth = character.uniform(0.5, 1.6), character.uniform(0.008, 0.022), character.uniform(12.0, 150.0)
    pays, payday = character.uniform(0.002, 0.01) * (character.random() < 0.6), int(character.integers(63))
    # Half of the shares are there from the start; the others list later, within twenty years.
    listing = int(character.integers(1, 5000)) if character.random() < 0.5 else 0
    depth = character.uniform(13.0, 17.0)
    stress = np.array([1.0, 1.5, 2.5])[regimes]
    sector = generator(seed, sector_of(seed, symbol)).standard_normal(count) * 0.005 * stress
    jumps = generator(seed, symbol, "jumps")
    jumped = jumps.random(count) < JUMP_CHANCE
    leaps = np.where(jumped, generator(seed, symbol, "leaps").standard_normal(count) * JUMP_SIZE, 0.0)
    noise = generator(seed, symbol, "noise").standard_normal(count) * own * stress
    moves = (beta * of_market + sector + noise + leaps)[listing:]
    volatility = np.sqrt((beta * np.array(REGIMES)[:, 1][regimes]) ** 2 + (own * stress) ** 2)[listing:]
    days = np.arange(listing, count)
    cut = np.where((days % 63 == payday) & (days > listing), pays, 0.0)
    moves[:1] = 0.0
    close = worth * np.exp(np.cumsum(moves + np.log1p(-cut)))
    split = _split(close)
    return _bars(seed, symbol, listing, count, close, moves, cut, split, volatility, depth)


def sector_of(seed: int, symbol: str) -> str:
    """The share's sector."""
    return SECTORS[int(generator(seed, symbol, "sector").integers(len(SECTORS)))]


def _split(close: Floats) -> Floats:
    """New shares per old on each session, 1.0 where there is no split; `close` is divided in place."""
    ratios, since = np.ones(len(close)), 0
    while True:
        later = close[since:-1]
        beyond = np.flatnonzero((later > DEAREST) | (later < CHEAPEST))
        if not len(beyond):
            return ratios
        day = since + int(beyond[0]) + 1
        ratios[day] = np.ceil(close[day - 1] / 120.0) if close[day - 1] > DEAREST else 0.1
        close[day:] /= ratios[day]
        since = day


def _bars(
    seed: int, symbol: str, listing: int, count: int, close: Floats, moves: Floats, cut: Floats, split: Floats,
    volatility: Floats, depth: float,
) -> Path:  # fmt: skip
    drawn = {
        name: generator(seed, symbol, name).standard_normal(count)[listing:]
        for name in ("overnight", "up", "down", "crowd")
    }
    before = np.concatenate([close[:1], close[:-1]]) / split
    open_ = before * (1 - cut) * np.exp(0.3 * moves + 0.25 * volatility * drawn["overnight"])
    high = np.maximum(open_, close) * np.exp(0.4 * volatility * np.abs(drawn["up"]))
    low = np.minimum(open_, close) * np.exp(-0.4 * volatility * np.abs(drawn["down"]))
    crowd = depth + 0.35 * drawn["crowd"] + np.minimum(np.abs(moves) / volatility, 5.0) * 0.3
    opened, closed = _cents(open_), _cents(close)
    dividend = np.where(cut > 0, np.maximum(np.round(before * cut, 2), TICK), 0.0)
    return Path(
        first=listing,
        open=opened,
        high=np.maximum(_cents(high), np.maximum(opened, closed)),
        low=np.minimum(_cents(low), np.minimum(opened, closed)),
        close=closed,
        volume=np.round(np.exp(crowd) / np.maximum(close, 1.0) / 100) * 100 + 100,
        split=split,
        dividend=dividend,
        volatility=volatility,
    )


def _cents(price: Floats) -> Floats:
    return np.maximum(np.round(price, 2), TICK)


def minutes(seed: int, symbol: str, day: int, of: Path, count: int) -> Floats:
    """Prices at the `count` + 1 edges of a session's minutes: a bridge from its open to its close.

    The day's highest and lowest prices are touched, and nothing lies beyond them.
    """
    at = day - of.first
    first, last, top, bottom = of.open[at], of.close[at], of.high[at], of.low[at]
    chance = generator(seed, symbol, "minutes", day)
    steps = np.concatenate([[0.0], np.cumsum(chance.standard_normal(count))]) * of.volatility[at] / np.sqrt(count)
    along = np.linspace(0.0, 1.0, count + 1)
    prices: Floats = np.exp(np.log(first) * (1 - along) + np.log(last) * along + steps - steps[-1] * along)
    above, below = max(first, last), min(first, last)
    highest, lowest = int(np.argmax(prices[1:-1])) + 1, int(np.argmin(prices[1:-1])) + 1
    if prices.max() > above:
        over = prices > above
        prices[over] = above + (prices[over] - above) * (top - above) / (prices.max() - above)
    if prices.min() < below:
        under = prices < below
        prices[under] = below - (below - prices[under]) * (below - bottom) / (below - prices.min())
    prices[highest], prices[lowest] = top, bottom
    prices = np.clip(np.round(prices, 2), bottom, top)
    prices[0], prices[-1] = first, last
    return prices
