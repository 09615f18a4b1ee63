"""The loops of the bootstrap, compiled. Importing this module loads numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy")

SUM, SQUARES, SHORTFALL, GROWTH, DRAWDOWN, SPREAD, JOINT, SPREAD_OF_SQUARES = range(8)
"""Columns of what `resampled` writes: sum of returns, sum of squared deviations from the mean, sum of squared losses,
sum of log returns, the deepest fall of the log wealth below its peak (0 or negative); and how the sums vary from block
to block, as the sample itself shows it: variance of the sum of the deviations from the series' mean, covariance of it
with the sum of their squares, variance of that. They are 0 where one block is the whole sample."""

COLUMNS = 8
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ONE, OTHER = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
TO_UNIT = 2.0**-53


@compiled
def _mixed(state: np.uint64) -> np.uint64:
    """The output of the generator SplitMix64 in a state. Source: Steele, Lea and Flood (2014)."""
    state = (state ^ (state >> np.uint64(30))) * ONE
    state = (state ^ (state >> np.uint64(27))) * OTHER
    return state ^ (state >> np.uint64(31))


@compiled
def resampled(returns: np.ndarray, growth: np.ndarray, block: float, seed: int, out: np.ndarray) -> None:
    """Fill a row of `out` with the sums of each stationary bootstrap sample of a series.

    returns  float64[periods]           simple returns
    growth   float64[periods]           their log returns
    block    mean length of a block, whose lengths are geometric; the series is a circle
    out      float64[samples, COLUMNS]

    Sample i draws from a generator of its own, seeded with (seed, i): the same numbers however many samples there are.
    """
    periods = returns.size
    mean = returns.mean()
    stay = np.log1p(-1.0 / block) if block > 1.0 else -np.inf
    for row in range(out.shape[0]):
        state = _mixed(_mixed(np.uint64(seed)) ^ (np.uint64(row) * GOLDEN))
        total, squares, shortfall, wealth, peak, deepest = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        spread, joint, spread_of_squares, by_length, squares_by_length, lengths = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        done = 0
        while done < periods:
            state += GOLDEN
            place = int((_mixed(state) >> np.uint64(11)) * TO_UNIT * periods)
            state += GOLDEN
            uniform = 1.0 - (_mixed(state) >> np.uint64(11)) * TO_UNIT
            length = min(float(periods - done), 1.0 + np.floor(np.log(uniform) / stay))
            moved, moved_squares = 0.0, 0.0
            for _ in range(int(length)):
                change = returns[place]
                moved += change - mean
                moved_squares += (change - mean) ** 2
                if change < 0.0:
                    shortfall += change * change
                wealth += growth[place]
                if wealth > peak:
                    peak = wealth
                elif wealth - peak < deepest:
                    deepest = wealth - peak
                place += 1
                if place == periods:
                    place = 0
            done += int(length)
            total += moved
            squares += moved_squares
            spread += moved * moved
            joint += moved * moved_squares
            spread_of_squares += moved_squares * moved_squares
            by_length += length * moved
            squares_by_length += length * moved_squares
            lengths += length * length
        if lengths == periods * periods:  # one block
            spread, joint, spread_of_squares = 0.0, 0.0, 0.0
        else:  # every block's sums less what its length would give at the sample's own means
            one, two = total / periods, squares / periods
            spread += one * (one * lengths - 2.0 * by_length)
            joint += one * (two * lengths - squares_by_length) - two * by_length
            spread_of_squares += two * (two * lengths - 2.0 * squares_by_length)
        out[row, SPREAD], out[row, JOINT], out[row, SPREAD_OF_SQUARES] = spread, joint, spread_of_squares
        out[row, SUM] = total + periods * mean
        out[row, SQUARES] = max(squares - total**2 / periods, 0.0)
        out[row, SHORTFALL] = shortfall
        out[row, GROWTH] = wealth
        out[row, DRAWDOWN] = deepest
