"""Columns that all symbols of an instant make together: the market's return, the sector's, breadth and dispersion.

Who takes part: a symbol that has a close at the instant, and, where a return is asked for, at the instant before too
(the one before in its own calendar: a stock on Monday has Friday's). A symbol that comes back after missing bars has
no return of one bar, and waits for the next. A bar without volume takes part: its close is the market's last word.

Sums go symbol by symbol in the order of their names, whatever the rows' order and however long the history, so that
values are the same bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from quant_assets.features.context import Context, Derived
from quant_assets.features.kernels import loop
from quant_assets.features.precision import NOTHING
from resources.errors import ConfigError


@dataclass(frozen=True)
class _Universe:
    """The rows that have a close, and how they lie in time. Arrays with a value a row of `rows`."""

    rows: np.ndarray
    """Places of the rows with a close among all rows."""
    close: np.ndarray
    symbol: np.ndarray
    """Number of the symbol."""
    instant: np.ndarray
    """Number of the instant among those of all symbols."""
    place: np.ndarray
    """Number of the instant among those of the symbol's calendar."""
    calendar: np.ndarray
    """Number of the symbol's calendar."""
    step: np.ndarray
    """Return since the instant before; NaN without a close there."""


def _universe(bars: pl.DataFrame, context: Context) -> _Universe:
    every = bars["adj_close"].to_numpy()
    rows = np.flatnonzero(np.isfinite(every) & (every > 0))
    close = every[rows]
    held = bars.select("symbol", "ts")[rows] if rows.size < bars.height else bars.select("symbol", "ts")
    calendar = _codes(held, context.instruments, "calendar", context.calendar)
    symbol = held["symbol"].rle_id().to_numpy().astype(np.int64)
    instant = _dense(held["ts"])
    place = instant
    if calendar.size and calendar.max() > 0:
        place = np.empty_like(instant)
        for number in range(calendar.max() + 1):
            own = calendar == number
            place[own] = _dense(held["ts"].filter(pl.Series(own)))
    step = np.full(close.size, np.nan)
    if close.size:
        next_to = (symbol[1:] == symbol[:-1]) & (place[1:] == place[:-1] + 1)
        step[1:][next_to] = close[1:][next_to] / close[:-1][next_to] - 1.0
    return _Universe(rows, close, symbol, instant, place, calendar, step)


def _dense(ts: pl.Series) -> np.ndarray:
    return ts.rank("dense").to_numpy().astype(np.int64) - 1


def _codes(held: pl.DataFrame, instruments: pl.DataFrame | None, column: str, otherwise: str | None) -> np.ndarray:
    """A number a row for the instrument's value in `column`, from 0 on; -1 where there is none and no `otherwise`."""
    if instruments is None or column not in instruments.columns:
        return np.full(held.height, 0 if otherwise is not None else -1, dtype=np.int64)
    known = instruments.select("symbol", value=pl.col(column).fill_null(pl.lit(otherwise, dtype=pl.String)))
    named = held["symbol"].rle().struct.unnest()
    values = named.join(known.unique("symbol"), left_on="value", right_on="symbol", how="left", maintain_order="left")
    names = values["value_right"].fill_null(otherwise) if otherwise is not None else values["value_right"]
    numbers = {name: at for at, name in enumerate(sorted(set(names.drop_nulls())))}
    each = np.array([numbers.get(name, -1) for name in names], dtype=np.int64)
    return np.repeat(each, named["len"].to_numpy())


def _mean(of: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Mean a group, NaN for one without members."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(group, of, groups) / np.bincount(group, minlength=groups)


def _to_all(found: np.ndarray, code: np.ndarray, universe: _Universe, height: int) -> np.ndarray:
    """The value of its group for every row; NaN for rows without a close."""
    out = np.full(height, np.nan)
    out[universe.rows] = found[code]
    return out


def _filled(bars: pl.DataFrame, columns: dict[str, np.ndarray]) -> pl.DataFrame:
    return bars.with_columns(pl.Series(name, values, nan_to_null=True) for name, values in columns.items())


def market_return(bars: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Simple return of the benchmark since its bar before, else the equal-weighted mean of all symbols' returns.

    Null where the benchmark has no bar, or no symbol a return. Raises ConfigError if the benchmark has no bars at all.
    """
    universe = _universe(bars, context)
    if context.benchmark is None:
        part = np.isfinite(universe.step)
        count = int(universe.instant.max()) + 1 if universe.instant.size else 0
        found = _mean(universe.step[part], universe.instant[part], count)
        return _filled(bars, {"market_return": _to_all(found, universe.instant, universe, bars.height)})
    if bars.height and context.benchmark not in bars["symbol"]:
        raise ConfigError(f"benchmark {context.benchmark!r} has no bars among those given; add them, or name another")
    index = bars.filter(pl.col("symbol") == context.benchmark, pl.col("adj_close") > 0, pl.col("adj_close").is_finite())
    steps = index.select("ts", market_return=pl.col("adj_close") / pl.col("adj_close").shift() - 1)
    return bars.join(steps, on="ts", how="left", maintain_order="left")


def sector_return(bars: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Equal-weighted mean return of the symbol's sector, itself included; null without a sector."""
    universe = _universe(bars, context)
    held = bars.select("symbol")[universe.rows]
    sector = _codes(held, context.instruments, "sector", None)
    out = np.full(bars.height, np.nan)
    if sector.size and sector.max() >= 0:
        count = int(universe.instant.max()) + 1
        code = sector * count + universe.instant
        part = np.isfinite(universe.step) & (sector >= 0)
        found = _mean(universe.step[part], code[part], count * (int(sector.max()) + 1))
        out[universe.rows] = np.where(sector >= 0, found[code], np.nan)
    return _filled(bars, {"sector_return": out})


def instant(bars: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Numbers to group by: instant, and sector_instant (of sector and instant; -1 for a symbol without sector)."""
    of_time, of_sector = _dense(bars["ts"]), _codes(bars, context.instruments, "sector", None)
    both = np.where(of_sector >= 0, of_sector * (of_time.max(initial=0) + 1) + of_time, -1)
    return bars.with_columns(instant=pl.Series(of_time), sector_instant=pl.Series(both))


def breadth(bars: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Shares of the symbols, at the instant, that advance, stand above their mean, or at an extreme; and dispersion.

    breadth_advancing: with a return above 0, of those with a return. breadth_above_50 and _200: whose close is above
    the mean of its last 50 or 200 closes, of those that have so many. breadth_highs_252: at the highest of their last
    252 closes, less those at the lowest. dispersion: sample standard deviation of the returns, of two at least.
    """
    universe = _universe(bars, context)
    count = int(universe.instant.max()) + 1 if universe.instant.size else 0
    states = np.full((3, universe.close.size), np.nan)
    _standings(universe.close, universe.symbol, states)
    rises = np.where(np.isfinite(universe.step), (universe.step > NOTHING) * 1.0, np.nan)
    columns = {}
    for name, state in zip(_BREADTH, (rises, *states), strict=True):
        part = np.isfinite(state)
        found = _mean(state[part], universe.instant[part], count)
        columns[name] = _to_all(found, universe.instant, universe, bars.height)
    part = np.isfinite(universe.step)
    step, instant = universe.step[part], universe.instant[part]
    away = (step - _mean(step, instant, count)[instant]) ** 2
    members = np.bincount(instant, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.bincount(instant, away, count) / (members - 1))
    columns["dispersion"] = _to_all(np.where(members > 1, spread, np.nan), universe.instant, universe, bars.height)
    return _filled(bars, columns)


_BREADTH = ("breadth_advancing", "breadth_above_50", "breadth_above_200", "breadth_highs_252")


@loop()
def _standings(close: np.ndarray, symbol: np.ndarray, out: np.ndarray) -> None:
    """Above the mean of 50 and of 200 closes (1 or 0), and at the highest (1) or lowest (-1) of 252; NaN before."""
    first = 0
    for i in range(close.size):
        if symbol[i] != symbol[first]:
            first = i
        bars, now = i - first + 1, close[i]
        for row, window in ((0, 50), (1, 200)):
            if bars >= window:
                mean = close[i - window + 1 : i + 1].mean()
                out[row, i] = 1.0 if now - mean > NOTHING * now else 0.0
        if bars >= 252:
            high = low = True
            for j in range(i - 1, i - 252, -1):
                high = high and close[j] - now <= NOTHING * now
                low = low and now - close[j] <= NOTHING * now
                if not high and not low:
                    break
            out[2, i] = (1.0 if high else 0.0) - (1.0 if low else 0.0)


CORRELATED = 63
"""Returns that the average correlation looks back on."""


def average_correlation(bars: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Mean correlation of all pairs of symbols of a calendar, over the last 63 returns; null with fewer than two.

    Symbols with a return at each of the last 63 instants of their calendar take part, if it is not always the same.
    The sum of n standardised series has the variance n + n(n-1) x the mean correlation: no pair is looked at.
    """
    universe = _universe(bars, context)
    base = np.zeros(int(universe.calendar.max(initial=0)) + 2, dtype=np.int64)
    for number in range(base.size - 1):
        own = universe.place[universe.calendar == number]
        base[number + 1] = base[number] + (own.max() + 1 if own.size else 0)
    code = universe.place + base[universe.calendar]
    sums, members = np.zeros((int(base[-1]), CORRELATED)), np.zeros(int(base[-1]))
    _standardised(universe.step, universe.symbol, code, sums, members)
    variance = (sums**2).sum(axis=1) / CORRELATED
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(members > 1, (variance - members) / (members * (members - 1)), np.nan)
    return _filled(bars, {"average_correlation_63": _to_all(found, code, universe, bars.height)})


@loop()
def _standardised(
    step: np.ndarray, symbol: np.ndarray, code: np.ndarray, sums: np.ndarray, members: np.ndarray
) -> None:
    """Add up each symbol's last returns less their mean, over their deviation, at each instant."""
    window = sums.shape[1]
    known = 0
    for i in range(step.size):
        if np.isnan(step[i]) or (i > 0 and symbol[i] != symbol[i - 1]):
            known = 0
        known += not np.isnan(step[i])
        if known < window:
            continue
        own = step[i - window + 1 : i + 1]
        mean = own.mean()
        deviation = np.sqrt(((own - mean) ** 2).mean())
        if deviation > NOTHING:
            members[code[i]] += 1
            for k in range(window):
                sums[code[i], k] += (own[k] - mean) / deviation


COLUMNS = {
    "market_return": Derived(market_return, ("adj_close",), universe=True),
    "sector_return": Derived(sector_return, ("adj_close",), universe=True),
    "instant": Derived(instant, (), universe=True),
    "sector_instant": Derived(instant, (), universe=True),
    **{name: Derived(breadth, ("adj_close",), universe=True) for name in (*_BREADTH, "dispersion")},
    "average_correlation_63": Derived(average_correlation, ("adj_close",), universe=True),
}
"""Derived columns of the universe, by name."""
