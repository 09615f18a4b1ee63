"""What returns remember: autocorrelation, variance ratios, Hurst's exponent, and differences of a fractional order."""

from __future__ import annotations

import math

import numba
import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import inner, kernel
from quant_assets.features.statistical.windows import NEGLIGIBLE, log_returns, products, squares, summing, total

STEPS = (1, 2, 4, 8, 16)
"""Bars over which the scaling exponent measures differences."""

BLOCKS = (12, 21, 36, 63, 126, 252)
"""Bars in a block of the rescaled range; each divides 252."""


@kernel(inputs=["adj_close"], parameters=["window", "lag", "absolute"])
def autocorrelation(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Correlation of `window` log returns (their sizes, where `absolute`) with those `lag` bars before.

    Null where either are all alike.
    """
    n, lag, returns = int(p[0]), int(p[1]), log_returns(x[0])
    if p[2] > 0:
        returns = np.abs(returns)
    for i in range(n + lag, returns.size):
        late, early = returns[i - n + 1 : i + 1], returns[i - lag - n + 1 : i - lag + 1]
        late_mean, early_mean = total(late) / n, total(early) / n
        late_size, early_size = squares(late, late_mean), squares(early, early_mean)
        if min(late_size, early_size) > n * NEGLIGIBLE**2:
            out[0, i] = products(late, early, late_mean, early_mean) / np.sqrt(late_size * early_size)


@summing
def _changes(late: np.ndarray, early: np.ndarray, drift: float) -> tuple[float, float]:
    """The sums of the sizes and of the squares of the changes from one to the other, without their drift."""
    sizes, squared = 0.0, 0.0
    for j in range(late.size):
        change = late[j] - early[j] - drift
        sizes += abs(change)
        squared += change * change
    return sizes, squared


@kernel(inputs=["adj_close"], parameters=["window", "step"], outputs=["ratio", "statistic"])
def variance_ratio(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Variance of the returns over q = `step` bars over q times that over one, from n = `window` log returns.

    With the mean return mu and m = q (n - q + 1) (1 - q / n): (sum (p(t) - p(t-q) - q mu)^2 / m) over
    (sum (r(t) - mu)^2 / (n - 1)). 1 for a random walk, more where moves go on, less where they are taken back. The
    statistic is z*, standard normal for a random walk whatever its volatility: (VR - 1) / sqrt(sum over j < q of
    (2 (q - j) / q)^2 sum(a(t) a(t-j)) / (sum a)^2), with a = (r - mu)^2. Null where the returns are all alike.
    """
    n, step = int(p[0]), int(p[1])
    price, returns = np.log(x[0]), log_returns(x[0])
    weight = step * (n - step + 1) * (1 - step / n)
    for i in range(n, price.size):
        window = returns[i - n + 1 : i + 1]
        mean = total(window) / n
        around = (window - mean) ** 2
        whole = total(around)
        if not whole > n * NEGLIGIBLE**2:
            continue
        spread = _changes(price[i - n + step : i + 1], price[i - n : i - step + 1], step * mean)[1]
        ratio = spread / weight / (whole / (n - 1))
        theta = 0.0
        for lag in range(1, step):
            theta += (
                (2 * (step - lag) / step) ** 2 * products(around[lag:], around[: n - lag], 0.0, 0.0) / (whole * whole)
            )
        out[0, i] = ratio
        if theta > NEGLIGIBLE:
            out[1, i] = (ratio - 1.0) / np.sqrt(theta)


@inner
def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the line of least squares."""
    centre = x.mean()
    return products(x, y, centre, y.mean()) / squares(x, centre)


@kernel(inputs=["adj_close"], parameters=["window"])
def scaling_exponent(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Hurst's exponent by the scaling of differences: the slope of the log mean absolute change of the log price over
    1, 2, 4, 8 and 16 bars against the log of the bars, within `window` changes. Near 0.5 for a random walk; null where
    the price rests.
    """
    n, price = int(p[0]), np.log(x[0])
    bars, sizes = np.empty(len(STEPS)), np.empty(len(STEPS))
    for k in range(len(STEPS)):
        bars[k] = np.log(STEPS[k])
    for i in range(n, price.size):
        for k in range(len(STEPS)):
            step = STEPS[k]
            size = _changes(price[i - n + step : i + 1], price[i - n : i - step + 1], 0.0)[0] / (n - step + 1)
            sizes[k] = np.log(size) if size > NEGLIGIBLE else np.nan
        out[0, i] = _slope(bars, sizes)


@inner
def expected_range(block: int) -> float:
    """What the rescaled range of so many independent normal returns is in the mean (Anis and Lloyd)."""
    found = 0.0
    for i in range(1, block):
        found += np.sqrt((block - i) / i)
    return found * np.exp(math.lgamma((block - 1) / 2) - math.lgamma(block / 2)) / np.sqrt(np.pi)


@numba.njit(error_model="numpy", fastmath={"reassoc", "contract", "nnan", "nsz"})
def _range(price: np.ndarray, time: np.ndarray, mean: float) -> float:
    """Highest less lowest of the log price around the line from its first to its last. All must be numbers."""
    top, bottom = 0.0, 0.0
    for j in range(price.size):
        away = price[j] - price[0] - time[j] * mean
        top, bottom = max(top, away), min(bottom, away)
    return top - bottom


@inner
def _rescaled_range(price: np.ndarray, returns: np.ndarray, time: np.ndarray) -> float:
    """Range of the sums of the returns' distances from their mean, over their deviation; NaN where they are alike."""
    mean = (price[-1] - price[0]) / returns.size
    scale = np.sqrt(squares(returns, mean) / returns.size)
    return _range(price, time, mean) / scale if scale > NEGLIGIBLE else np.nan


@kernel(inputs=["adj_close"])
def rescaled_range(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Hurst's exponent by the rescaled range of 252 log returns, corrected for the few bars.

    The mean R/S of the blocks of 12, 21, 36, 63, 126 and 252 returns; 0.5 + the slope of log(R/S / E(R/S)) against the
    log of the bars, E(R/S) being that of independent normal returns (Anis and Lloyd 1976). Blocks without moves are
    left out; null where all of one length are.
    """
    n, price, returns = 252, np.log(x[0]), log_returns(x[0])
    time = np.arange(n + 1) * 1.0
    blocks = np.full((len(BLOCKS), price.size), -1.0)
    bars, expected, sizes = np.empty(len(BLOCKS)), np.empty(len(BLOCKS)), np.empty(len(BLOCKS))
    for k in range(len(BLOCKS)):
        bars[k] = np.log(BLOCKS[k])
        expected[k] = np.log(expected_range(BLOCKS[k]))
    for i in range(n, price.size):
        for k in range(len(BLOCKS)):
            block, found, count = BLOCKS[k], 0.0, 0
            for start in range(i - n, i, block):
                if blocks[k, start] < 0.0:  # one block lies in the windows of several bars
                    end = start + block + 1
                    blocks[k, start] = _rescaled_range(price[start:end], returns[start + 1 : end], time[: block + 1])
                if blocks[k, start] >= 0.0:
                    found, count = found + blocks[k, start], count + 1
            sizes[k] = np.log(found / count) - expected[k] if count else np.nan
        out[0, i] = 0.5 + _slope(bars, sizes)


@kernel(inputs=["adj_close"], parameters=["order", "window"])
def fractional_difference(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Difference of fractional order d of the log price, over a fixed window of n bars.

    sum of w(k) (log p(t-k) - log p(t-n+1)) over k < n, with w(0) = 1 and w(k) = -w(k-1) (d - k + 1) / k. The weights
    of n bars do not add up to 0, so that the level of the price, its currency, would be left in the sum: each price
    counts from the window's first. That is the difference of the whole series, had it rested there before.
    """
    order, n = p[0], int(p[1])
    weights = np.ones(n)
    for k in range(1, n):
        weights[n - 1 - k] = -weights[n - k] * (order - k + 1) / k
    price = np.log(x[0])
    for i in range(n - 1, price.size):
        out[0, i] = products(weights, price[i - n + 1 : i + 1], 0.0, price[i - n + 1])


def _ratio_bound(n: int, q: int) -> float:
    """No variance ratio is larger: the square of q terms is at most q times their squares."""
    return q * (n - 1) / ((n - q + 1) * (1 - q / n))


_LO_MACKINLAY = "Lo and MacKinlay (1988), Stock Market Prices Do Not Follow Random Walks"

MEMORY = (
    *(
        Feature(
            f"autocorrelation_{window}" + (f"_lag_{lag}" if lag > 1 else ""),
            "memory",
            f"Correlation of {window} log returns with the ones {lag} before",
            autocorrelation,
            {"window": window, "lag": lag, "absolute": 0},
            lookback=window + lag,
            bounds=(-1.0, 1.0),
        )
        for window, lag in ((21, 1), (63, 1), (63, 2), (63, 5), (252, 1))
    ),
    *(
        Feature(
            f"absolute_autocorrelation_{window}",
            "memory",
            f"Correlation of the sizes of {window} log returns with the ones before: whether volatility clusters",
            autocorrelation,
            {"window": window, "lag": 1, "absolute": 1},
            lookback=window + 1,
            bounds=(-1.0, 1.0),
            source="Ding, Granger and Engle (1993), A Long Memory Property of Stock Market Returns",
        )
        for window in (63, 252)
    ),
    *(
        Feature(
            f"variance_ratio_{window}_{step}",
            "memory",
            f"Variance of returns over {step} bars over {step} times that over one, of {window}",
            variance_ratio,
            {"window": window, "step": step},
            lookback=window,
            bounds=(0.0, _ratio_bound(window, step)),
            output="ratio",
            source=_LO_MACKINLAY,
        )
        for window, step in ((63, 2), (126, 5), (252, 10))
    ),
    Feature(
        "variance_ratio_z_252_10",
        "memory",
        "How far the variance ratio of 10 bars is from a random walk's, in standard errors robust to volatility",
        variance_ratio,
        {"window": 252, "step": 10},
        lookback=252,
        output="statistic",
        source=_LO_MACKINLAY,
    ),
    *(
        Feature(
            f"hurst_scaling_{window}",
            "memory",
            f"Hurst's exponent of {window} bars, by how their mean absolute change grows with time",
            scaling_exponent,
            {"window": window},
            lookback=window,
            source="Di Matteo (2007), Multi-Scaling in Finance, the exponent H(1)",
        )
        for window in (126, 252)
    ),
    Feature(
        "hurst_rescaled_range_252",
        "memory",
        "Hurst's exponent of 252 bars, by the rescaled range, corrected for the few bars",
        rescaled_range,
        lookback=252,
        source="Hurst (1951), Long-Term Storage Capacity of Reservoirs; Anis and Lloyd (1976); Weron (2002)",
    ),
    *(
        Feature(
            f"fractional_difference_{order}_126",
            "memory",
            f"Difference of order 0.{order[1:]} of the log close, counted from the first of 126",
            fractional_difference,
            {"order": int(order[1:]) / 10, "window": 126},
            lookback=125,
            source="Lopez de Prado (2018), Advances in Financial Machine Learning, chapter 5; Hosking (1981)",
        )
        for order in ("02", "04", "06", "08")
    ),
)
