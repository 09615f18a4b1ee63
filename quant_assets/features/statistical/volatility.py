"""How much the price moves. Every volatility is per bar of the bars given, as a fraction, and not annualised.

To annualise one, multiply it by the square root of the bars in a year: sqrt(252) for sessions.
"""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import kernel
from quant_assets.features.statistical.windows import NEGLIGIBLE, deviation, log_returns, squares, total

_GARMAN_KLASS = 2 * math.log(2) - 1
_PARKINSON = 4 * math.log(2)


@kernel(inputs=["adj_close"], parameters=["window"])
def close_to_close(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Standard deviation (n - 1) of the last `window` log returns."""
    window, returns = int(p[0]), log_returns(x[0])
    for i in range(window, returns.size):
        out[0, i] = deviation(returns[i - window + 1 : i + 1])


@kernel(inputs=["adj_close"], parameters=["fast", "slow"])
def volatility_ratio(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Volatility of the last `fast` bars over that of the last `slow` ones; null where the slow one is nothing."""
    fast, slow, returns = int(p[0]), int(p[1]), log_returns(x[0])
    for i in range(slow, returns.size):
        long = deviation(returns[i - slow + 1 : i + 1])
        if long > NEGLIGIBLE:
            out[0, i] = deviation(returns[i - fast + 1 : i + 1]) / long


@kernel(
    inputs=["adj_open", "adj_high", "adj_low", "adj_close"],
    parameters=["window"],
    outputs=["parkinson", "garman_klass", "rogers_satchell", "yang_zhang", "night_share"],
)
def ranges(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Volatility from open, high, low and close, of the last `window` bars.

    With u, d, c the logs of high, low and close over the open, and g that of the open over the close before:
    Parkinson: sqrt(mean((u - d)^2) / (4 ln 2)). Garman-Klass: sqrt(mean((u - d)^2 / 2 - (2 ln 2 - 1) c^2)).
    Rogers-Satchell: sqrt(mean(u (u - c) + d (d - c))). Yang-Zhang: sqrt(var(g) + k var(c) + (1 - k) RS^2) with
    k = 0.34 / (1.34 + (n + 1) / (n - 1)). The night's share: sum(g^2) / (sum(g^2) + sum(c^2)), null without moves.
    """
    opened, high, low, close, n = x[0], x[1], x[2], x[3], int(p[0])
    bars = close.size
    spans, garman, rogers = np.empty(bars), np.empty(bars), np.empty(bars)
    nights, days = np.full(bars, np.nan), np.empty(bars)
    for i in range(bars):
        up, down, day = np.log(high[i] / opened[i]), np.log(low[i] / opened[i]), np.log(close[i] / opened[i])
        spans[i] = (up - down) ** 2
        garman[i] = 0.5 * spans[i] - _GARMAN_KLASS * day**2
        rogers[i] = up * (up - day) + down * (down - day)
        days[i] = day
        if i > 0:
            nights[i] = np.log(opened[i] / close[i - 1])
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    for i in range(n - 1, bars):
        first = i - n + 1
        out[0, i] = np.sqrt(total(spans[first : i + 1]) / n / _PARKINSON)
        out[1, i] = np.sqrt(max(total(garman[first : i + 1]) / n, 0.0))
        inside = max(total(rogers[first : i + 1]) / n, 0.0)
        out[2, i] = np.sqrt(inside)
        if i >= n:
            night, day = deviation(nights[first : i + 1]), deviation(days[first : i + 1])
            out[3, i] = np.sqrt(night * night + k * day * day + (1 - k) * inside)
            between, within = squares(nights[first : i + 1], 0.0), squares(days[first : i + 1], 0.0)
            if between + within > n * NEGLIGIBLE**2:
                out[4, i] = between / (between + within)


@kernel(inputs=["adj_close"], parameters=["window"], outputs=["jump_share", "downside_share"])
def variation(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """What the sum of the last `window` squared log returns (realised variance) is made of.

    Jumps: 1 - BV / RV, at least 0, with the bipower variation BV = pi / 2 n / (n - 1) sum |r(i)| |r(i-1)|, which
    jumps do not enter. Downside: the share of the returns below 0. Null where nothing moved.
    """
    n, returns = int(p[0]), log_returns(x[0])
    for i in range(n, returns.size):
        window = returns[i - n + 1 : i + 1]
        realised = squares(window, 0.0)
        if realised > n * NEGLIGIBLE**2:
            bipower, downside = 0.0, 0.0
            for j in range(n):
                if j > 0:
                    bipower += abs(window[j] * window[j - 1])
                downside += min(window[j], 0.0) ** 2
            out[0, i] = max(1.0 - np.pi / 2 * n / (n - 1) * bipower / realised, 0.0)
            out[1, i] = downside / realised


_POSITIVE = (0.0, math.inf)

# name, outputs' own look-back beyond the window, description, source
_RANGES = (
    (
        "parkinson",
        -1,
        "Volatility from high and low",
        "Parkinson (1980), The Extreme Value Method for Estimating the Variance of the Rate of Return",
    ),
    (
        "garman_klass",
        -1,
        "Volatility from open, high, low and close, without the nights",
        "Garman and Klass (1980), On the Estimation of Security Price Volatilities from Historical Data",
    ),
    (
        "rogers_satchell",
        -1,
        "Volatility from open, high, low and close whatever the drift, without the nights",
        "Rogers and Satchell (1991), Estimating Variance from High, Low and Closing Prices",
    ),
    (
        "yang_zhang",
        0,
        "Volatility from nights, opens and ranges, whatever the drift",
        "Yang and Zhang (2000), Drift-Independent Volatility Estimation Based on High, Low, Open and Close Prices",
    ),
)

VOLATILITY = (
    *(
        Feature(
            f"volatility_{window}",
            "volatility",
            f"Standard deviation of the last {window} log returns, per bar",
            close_to_close,
            {"window": window},
            lookback=window,
            bounds=_POSITIVE,
        )
        for window in (5, 10, 21, 63, 126, 252)
    ),
    *(
        Feature(
            f"volatility_ratio_{fast}_{slow}",
            "volatility",
            f"Volatility of the last {fast} bars over that of the last {slow}",
            volatility_ratio,
            {"fast": fast, "slow": slow},
            lookback=slow,
            bounds=(0.0, math.sqrt((slow - 1) / (fast - 1))),
        )
        for fast, slow in ((5, 21), (21, 63), (63, 252))
    ),
    *(
        Feature(
            f"{name}_{window}",
            "volatility",
            f"{description}, over {window} bars, per bar",
            ranges,
            {"window": window},
            lookback=window + more,
            bounds=_POSITIVE,
            output=name,
            source=source,
        )
        for name, more, description, source in _RANGES
        for window in (10, 21, 63)
    ),
    *(
        Feature(
            f"night_share_{window}",
            "volatility",
            f"Share of the squared moves of {window} bars that lies between a close and the next open",
            ranges,
            {"window": window},
            lookback=window,
            bounds=(0.0, 1.0),
            output="night_share",
        )
        for window in (21, 63)
    ),
    *(
        Feature(
            f"jump_share_{window}",
            "volatility",
            f"Share of the realised variance of {window} bars that is jumps: 1 - bipower variation over it",
            variation,
            {"window": window},
            lookback=window,
            bounds=(0.0, 1.0),
            output="jump_share",
            source="Barndorff-Nielsen and Shephard (2004), Power and Bipower Variation with Stochastic Volatility and "
            "Jumps",
        )
        for window in (21, 63)
    ),
    *(
        Feature(
            f"downside_share_{window}",
            "volatility",
            f"Share of the realised variance of {window} bars that is losses",
            variation,
            {"window": window},
            lookback=window,
            bounds=(0.0, 1.0),
            output="downside_share",
            source="Barndorff-Nielsen, Kinnebrock and Shephard (2010), Measuring Downside Risk: Realised Semivariance",
        )
        for window in (21, 63)
    ),
)
