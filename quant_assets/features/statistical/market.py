"""How a symbol moves with its market: the column `market_return`, the benchmark's simple return of the same bar."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import inner, kernel
from quant_assets.features.statistical.windows import (
    NEGLIGIBLE,
    products,
    residuals,
    simple_returns,
    squares,
    summing,
    total,
)

FEWEST = 10
"""Bars of a falling market that a downside beta needs."""


@summing
def _falling(own: np.ndarray, market: np.ndarray, below: float) -> tuple[float, float, float]:
    """How many of the market's returns are below, and the sums of these and of the symbol's own."""
    falls, own_sum, market_sum = 0.0, 0.0, 0.0
    for j in range(market.size):
        falls += 1.0 if market[j] < below else 0.0
        own_sum += own[j] if market[j] < below else 0.0
        market_sum += market[j] if market[j] < below else 0.0
    return falls, own_sum, market_sum


@summing
def _together(own: np.ndarray, market: np.ndarray, below: float, own_mean: float, mean: float) -> tuple[float, float]:
    """The sums, over the market's returns that are below, of the products with the symbol's and of the squares."""
    both, spread = 0.0, 0.0
    for j in range(market.size):
        away = market[j] - mean if market[j] < below else 0.0
        both += away * (own[j] - own_mean)
        spread += away * away
    return both, spread


@inner
def _downside(own: np.ndarray, market: np.ndarray, mean: float) -> float:
    """Slope of the returns on the market's, of the bars on which that was below its mean; NaN if those are few."""
    below = mean - NEGLIGIBLE
    falls, own_sum, market_sum = _falling(own, market, below)
    if falls < FEWEST:
        return np.nan
    both, spread = _together(own, market, below, own_sum / falls, market_sum / falls)
    return both / spread if spread > falls * NEGLIGIBLE**2 else np.nan


@summing
def _coskewness(own: np.ndarray, market: np.ndarray, own_mean: float, mean: float, beta: float) -> float:
    """The sum of what the line leaves of the returns, times the market's squares."""
    found = 0.0
    for j in range(own.size):
        away = market[j] - mean
        found += (own[j] - own_mean - beta * away) * away * away
    return found


@kernel(
    inputs=["adj_close", "market_return"],
    parameters=["window"],
    outputs=["beta", "alpha", "idiosyncratic_volatility", "market_share", "downside_beta", "coskewness"],
)
def market_model(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """The line of least squares of the last `window` = n simple returns r on those of the market m, per bar.

    Beta: cov(r, m) / var(m). Alpha: mean(r) - beta mean(m). Idiosyncratic volatility: the deviation of what is left e,
    with n - 2. The share of the market: the squared correlation of r and m; null where r rests. Downside beta: beta of
    the bars on which the market was below its mean of the window. Coskewness: mean(e (m - mean)^2) / (sqrt(mean(e^2))
    var(m)); null where nothing is left. All null where the market rests, or a return of it is missing.
    """
    n, returns, market = int(p[0]), simple_returns(x[0]), x[1]
    for i in range(n, returns.size):
        own, other = returns[i - n + 1 : i + 1], market[i - n + 1 : i + 1]
        own_mean, mean = total(own) / n, total(other) / n
        spread = squares(other, mean)
        if not spread > n * NEGLIGIBLE**2:
            continue
        beta = products(own, other, own_mean, mean) / spread
        own_spread = squares(own, own_mean)
        out[0, i] = beta
        out[1, i] = own_mean - beta * mean
        if own_spread > n * NEGLIGIBLE**2:
            out[3, i] = beta * beta * spread / own_spread
        left = residuals(own, other, own_mean, beta, mean)
        out[2, i] = np.sqrt(left / (n - 2))
        if left > n * NEGLIGIBLE**2:
            out[5, i] = _coskewness(own, other, own_mean, mean, beta) / (np.sqrt(left / n) * spread)
        out[4, i] = _downside(own, other, mean)


_FAMA = "Sharpe (1964), Capital Asset Prices; Jensen (1968), The Performance of Mutual Funds"

# output, description, bounds, source
_MODEL = (
    ("beta", "Slope of {n} returns on the market's", (-math.inf, math.inf), _FAMA),
    ("alpha", "Mean of {n} returns beyond beta times the market's, per bar", (-math.inf, math.inf), _FAMA),
    (
        "idiosyncratic_volatility",
        "Deviation of what beta leaves of {n} returns, per bar",
        (0.0, math.inf),
        "Ang, Hodrick, Xing and Zhang (2006), The Cross-Section of Volatility and Expected Returns; one factor",
    ),
    ("market_share", "Share of the variance of {n} returns that the market explains", (0.0, 1.0), _FAMA),
    (
        "downside_beta",
        "Beta of those of {n} bars on which the market was below its mean",
        (-math.inf, math.inf),
        "Ang, Chen and Xing (2006), Downside Risk",
    ),
    (
        "coskewness",
        "Coskewness of what beta leaves of {n} returns with the market's square",
        (-math.inf, math.inf),
        "Harvey and Siddique (2000), Conditional Skewness in Asset Pricing Tests",
    ),
)

MARKET = tuple(
    Feature(
        f"{output}_{window}",
        "market",
        description.format(n=window),
        market_model,
        {"window": window},
        lookback=window,
        bounds=bounds,
        output=output,
        source=source,
    )
    for output, description, bounds, source in _MODEL
    for window in ((252,) if output in ("downside_beta", "coskewness") else (63, 252))
)
