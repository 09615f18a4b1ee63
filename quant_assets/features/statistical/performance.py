"""What was earned for the risk taken, over a window: per bar, not annualised, above a rate of zero.

To annualise a Sharpe or Sortino ratio, multiply it by the square root of the bars in a year: sqrt(252) for sessions.
"""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import kernel
from quant_assets.features.statistical.windows import (
    NEGLIGIBLE,
    deviation,
    products,
    residuals,
    simple_returns,
    squares,
    summing,
    total,
)


@summing
def _losses(returns: np.ndarray) -> tuple[float, float]:
    """The sum of the losses, as a positive number, and that of their squares."""
    lost, squared = 0.0, 0.0
    for j in range(returns.size):
        loss = min(returns[j], 0.0)
        lost -= loss
        squared += loss * loss
    return lost, squared


@kernel(inputs=["adj_close"], parameters=["window"], outputs=["sharpe", "sortino", "downside_deviation", "omega"])
def reward(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """The last `window` simple returns against their risk.

    Sharpe: mean over standard deviation (n - 1). Downside deviation: sqrt(mean(min(r, 0)^2)). Sortino: mean over
    downside deviation. Omega: sum of gains over sum of losses. Null where the risk is nothing.
    """
    n, returns = int(p[0]), simple_returns(x[0])
    for i in range(n, returns.size):
        window = returns[i - n + 1 : i + 1]
        earned = total(window)
        risk = deviation(window)
        lost, squared = _losses(window)
        downside = np.sqrt(squared / n)
        out[2, i] = downside
        if risk > NEGLIGIBLE:
            out[0, i] = earned / n / risk
        if downside > NEGLIGIBLE:
            out[1, i] = earned / n / downside
            out[3, i] = max(earned + lost, 0.0) / lost


@kernel(inputs=["adj_close"], parameters=["window"], outputs=["drawdown", "max_drawdown", "calmar"])
def drawdowns(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """The close against the highest one before it, within the last `window` closes.

    Drawdown: the current close over the highest, - 1. Maximum drawdown: the lowest that a close stood over the highest
    of those before it, - 1. Calmar: return over the window / the maximum drawdown's size; null without any.
    """
    close, n = x[0], int(p[0])
    for i in range(n - 1, close.size):
        first = i - n + 1
        peak, least = close[first], 1.0
        for j in range(first, i + 1):
            peak = max(peak, close[j])
            if close[j] < least * peak:
                least = close[j] / peak
        out[0, i] = close[i] / peak - 1.0
        out[1, i] = least - 1.0
        if 1.0 - least > NEGLIGIBLE:
            out[2, i] = (close[i] / close[first] - 1.0) / (1.0 - least)


@kernel(inputs=["adj_close"], parameters=["window"])
def trend_statistic(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Student's t of the slope of the last `window` log closes against time; null where they lie on the line."""
    n = int(p[0])
    price = np.log(x[0])
    time = np.arange(n) - (n - 1) / 2
    spread = squares(time, 0.0)
    for i in range(n - 1, price.size):
        window = price[i - n + 1 : i + 1]
        mean = total(window) / n
        slope = products(time, window, 0.0, mean) / spread
        residual = residuals(window, time, mean, slope, 0.0)
        if residual > n * NEGLIGIBLE**2:
            out[0, i] = slope / np.sqrt(residual / (n - 2) / spread)


# name, output, windows, description, bounds, source
_REWARDS = (
    (
        "rolling_sharpe",
        "sharpe",
        (21, 63, 126, 252),
        "Mean return over its standard deviation",
        None,
        "Sharpe (1994), The Sharpe Ratio",
    ),
    (
        "rolling_sortino",
        "sortino",
        (21, 63, 252),
        "Mean return over the downside deviation",
        None,
        "Sortino and Price (1994), Performance Measurement in a Downside Risk Framework",
    ),
    (
        "downside_deviation",
        "downside_deviation",
        (21, 63, 252),
        "Root mean square of the losses, gains counting as 0",
        (0.0, 1.0),
        "Sortino and Price (1994), Performance Measurement in a Downside Risk Framework",
    ),
    (
        "omega",
        "omega",
        (63, 252),
        "Sum of gains over sum of losses",
        (0.0, math.inf),
        "Keating and Shadwick (2002), A Universal Performance Measure",
    ),
)


def _ratio_bound(output: str, window: int) -> tuple[float, float]:
    """|mean| / deviation can be anything for alike returns; mean / downside deviation is at least -1."""
    return (-1.0, math.inf) if output == "sortino" else (-math.inf, math.inf)


PERFORMANCE = (
    *(
        Feature(
            f"{name}_{window}",
            "performance",
            f"{description}, over {window} bars, per bar",
            reward,
            {"window": window},
            lookback=window,
            bounds=bounds or _ratio_bound(output, window),
            output=output,
            source=source,
        )
        for name, output, windows, description, bounds, source in _REWARDS
        for window in windows
    ),
    *(
        Feature(
            f"drawdown_{window}",
            "performance",
            f"Close over the highest of {window} closes, - 1",
            drawdowns,
            {"window": window},
            lookback=window - 1,
            bounds=(-1.0, 0.0),
            output="drawdown",
        )
        for window in (21, 252)
    ),
    *(
        Feature(
            f"max_drawdown_{window}",
            "performance",
            f"Deepest fall from a high within {window} closes",
            drawdowns,
            {"window": window},
            lookback=window - 1,
            bounds=(-1.0, 0.0),
            output="max_drawdown",
        )
        for window in (21, 63, 252)
    ),
    *(
        Feature(
            f"calmar_{window}",
            "performance",
            f"Return over the deepest fall, within {window} closes",
            drawdowns,
            {"window": window},
            lookback=window - 1,
            bounds=(-1.0, math.inf),
            output="calmar",
            source="Young (1991), Calmar Ratio: A Smoother Tool; over the window and not annualised",
        )
        for window in (63, 252)
    ),
    *(
        Feature(
            f"trend_t_statistic_{window}",
            "performance",
            f"Student's t of the slope of {window} log closes against time",
            trend_statistic,
            {"window": window},
            lookback=window - 1,
        )
        for window in (21, 63, 252)
    ),
)
